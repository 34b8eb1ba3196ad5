"""Times without any answer."""

from dataclasses import replace
from math import inf

import pytest

from loadkit.drivers.fake import Answer
from loadkit.recording.stalls import SHORTEST, CompletionLog, IdleInterval, Stall, common
from loadkit.recording.timing import QUERY
from loadkit.workload.workload import Stage, Think
from tests.virtual_time import ORIGIN, plan_of, simulate


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


def test_a_log_that_has_ended_is_quiet_since_its_last_answer_and_nothing_waits():
    log = CompletionLog(since=0.0)
    log.sent(0.0)
    log.answered(0.01)
    log.end(0.02)
    assert log.drain() == [IdleInterval(0.01, inf, inf)]


def test_an_operation_that_is_never_answered_waits_until_the_end_of_the_log():
    log = CompletionLog(since=0.0)
    log.sent(1.0)
    log.end(5.0)
    assert log.drain() == [IdleInterval(0.0, 1.0, 5.0), IdleInterval(5.0, inf, inf)]


CASES = [
    ([[IdleInterval(1, 1, 3)]], [Stall(1, 3)], "one worker's quiet is the gap"),
    ([[IdleInterval(1, 2, 3)]], [Stall(2, 3)], "it begins when somebody waits"),
    ([[IdleInterval(1, 3, 3)]], [], "a quiet in which nobody waits is none"),
    ([[IdleInterval(1, 1, 3)], [IdleInterval(2, 2, 5)]], [Stall(2, 3)], "two workers' is what they share"),
    ([[IdleInterval(1, 1, 3)], [IdleInterval(9, inf, inf)]], [], "answers to the other end it"),
    ([[IdleInterval(1, inf, inf)], [IdleInterval(2, inf, inf)]], [], "after the end of all there is none"),
    ([[IdleInterval(1, 1, 3)], [IdleInterval(0, inf, inf)]], [Stall(1, 3)], "one that has ended hides none"),
    ([[IdleInterval(1, 1, 3)], []], [Stall(1, 3)], "one that had no such operation does not count"),
    ([[], [IdleInterval(1, 1, 3)]], [Stall(1, 3)], "nor does it where it is the first"),
    (
        [[IdleInterval(1, 1, 3, timing=QUERY.key)], [IdleInterval(9, inf, inf)]],
        [Stall(1, 3, timing=QUERY.key)],
        "answers of another timing do not end it",
    ),
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


@pytest.mark.parametrize("workers", [1, 2])
def test_the_gaps_of_a_population_are_the_same_whatever_worker_its_users_are_in(workers):
    def stands_still(now, _method, _path):
        """A second in each ten."""
        since = (now - ORIGIN - 5) % 10
        return Answer(0.01 if since >= 1 else 1.01 - since)

    crowd = plan_of(level=4, seconds=30, think=Think(1, 1))
    load = replace(crowd.workload, stages=(Stage(0, 1), Stage(30, 1)), think=Think(0, 0))
    single = replace(crowd.populations[0], name="explorers", workload=load)
    run = simulate(replace(crowd, populations=(*crowd.populations, single)), stands_still, workers=workers)
    found = common([run.idle_intervals[worker] for worker in range(workers)])
    gaps = [gap for gap in found if gap.population == "explorers"]
    assert [gap.start for gap in gaps] == pytest.approx([5, 15, 25], abs=0.05)
    assert [gap.seconds for gap in gaps] == pytest.approx([1, 1, 1], abs=0.05)


def test_a_worker_whose_users_have_left_hides_no_gap_of_the_others():
    def stands_still_late(now, _method, _path):
        since = now - ORIGIN
        return Answer(23 - since if 20 <= since < 23 else 0.01)

    # Of two users the second one, in the second worker, leaves after ten seconds.
    stages = (Stage(0, 2), Stage(10, 2), Stage(0, 1), Stage(20, 1))
    run = simulate(plan_of(stages=stages, think=Think(0.1, 0.1)), stands_still_late, workers=2)
    (gap,) = (gap for gap in common([run.idle_intervals[0], run.idle_intervals[1]]) if gap.seconds > 1)
    assert (gap.start, gap.end) == pytest.approx((20, 23), abs=0.2)
