"""Times without any answer."""

import pytest

from loadkit.recording.stalls import SHORTEST, CompletionLog, IdleInterval, Stall, common


def test_a_time_between_answers_while_an_operation_waits_is_quiet():
    log = CompletionLog(since=0.0)
    log.sent(0.0)
    log.answered(0.01)
    log.sent(0.02)
    log.answered(1.0)
    assert log.drain() == [IdleInterval(0.01, 0.02, 1.0)]


def test_short_times_are_not_kept():
    log = CompletionLog(since=0.0)
    for number in range(10):
        log.sent(number * SHORTEST * 0.9)
        log.answered(number * SHORTEST * 0.9)
    assert log.drain() == []


def test_a_time_in_which_nobody_asked_waits_from_its_end_on():
    log = CompletionLog(since=0.0)
    log.sent(5.0)
    log.answered(5.2)
    assert log.drain() == [IdleInterval(0.0, 5.0, 5.2)]


def test_operations_given_up_do_not_end_the_quiet_while_others_wait():
    log = CompletionLog(since=0.0)
    log.sent(0.0)
    log.sent(1.0)
    log.given_up(10.0)
    log.answered(12.0)
    assert log.drain() == [IdleInterval(0.0, 0.0, 12.0)]


def test_when_the_last_operation_is_given_up_the_quiet_goes_on_idle():
    log = CompletionLog(since=0.0)
    log.sent(0.0)
    log.given_up(10.0)
    log.sent(15.0)
    log.answered(16.0)
    assert log.drain() == [IdleInterval(0.0, 0.0, 10.0), IdleInterval(10.0, 15.0, 16.0)]


def test_an_answer_to_one_of_two_leaves_the_other_waiting_from_then_on():
    log = CompletionLog(since=0.0)
    log.sent(0.0)
    log.sent(0.0)
    log.answered(1.0)
    log.answered(3.0)
    assert log.drain() == [IdleInterval(0.0, 0.0, 1.0), IdleInterval(1.0, 1.0, 3.0)]


CASES = [
    ([[IdleInterval(1, 1, 3)]], [Stall(1, 3)], "one worker's quiet is the gap"),
    ([[IdleInterval(1, 2, 3)]], [Stall(2, 3)], "it begins when somebody waits"),
    ([[IdleInterval(1, 3, 3)]], [], "a quiet in which nobody waits is none"),
    ([[IdleInterval(1, 1, 3)], [IdleInterval(2, 2, 5)]], [Stall(2, 3)], "two workers' is what they share"),
    ([[IdleInterval(1, 1, 3)], []], [], "an answer to the other ends it"),
    (
        [[IdleInterval(1, 1, 3)], [IdleInterval(0, 9, 9)]],
        [Stall(1, 3)],
        "one that is idle does not hide the other's",
    ),
    (
        [[IdleInterval(0, 0, 9)], [IdleInterval(1, 1, 2), IdleInterval(3, 3, 4)]],
        [Stall(1, 2), Stall(3, 4)],
        "one may hold several",
    ),
    ([[IdleInterval(3, 3, 4), IdleInterval(1, 1, 2)]], [Stall(1, 2), Stall(3, 4)], "order does not matter"),
    ([[IdleInterval(1, 1, 3)], [IdleInterval(2.97, 2.97, 5)]], [], "what is left must be long enough"),
    (
        [[IdleInterval(0, 0, 9)], [IdleInterval(1, 1, 8)], [IdleInterval(2, 2, 7)]],
        [Stall(2, 7)],
        "three are as two",
    ),
]


@pytest.mark.parametrize(("workers", "stalls", "sentence"), CASES, ids=[case[2] for case in CASES])
def test_a_gap_is_quiet_in_all_workers_with_an_operation_waiting_in_one(workers, stalls, sentence):
    assert common(workers) == tuple(stalls), sentence
