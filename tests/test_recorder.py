"""One worker's record of its load."""

import gc

import psutil
import pytest

from loadkit.recording.recorder import CHUNK, Recorder
from loadkit.recording.sample import OK, Sample
from loadkit.recording.slices import Kind

ORIGIN = 100.0


def sample(intended: float, lateness: float = 0.0) -> Sample:
    return Sample("GET /a", OK, intended, intended + lateness, intended + 0.1, 10, lateness=lateness)


def test_samples_are_counted_from_the_start_instant_on():
    recorder = Recorder(0, ORIGIN)
    recorder.population("users").requests.samples += [sample(ORIGIN + 0.5), sample(ORIGIN + 1.5)]
    table = recorder.report().table
    assert table.select(Kind.RESPONSE, ["label:GET /a"], 0, 10)[0].tolist() == [0, 1]


def test_lateness_is_counted_for_each_operation_under_the_worker():
    recorder = Recorder(3, ORIGIN)
    recorder.population("users").requests.samples += [sample(ORIGIN + 0.5, 0.02), sample(ORIGIN + 1.5)]
    assert recorder.report().table.select(Kind.LATENESS, ["worker:3"], 0, 10)[3].sum() == 2


def test_only_full_chunks_are_counted_before_the_report():
    recorder = Recorder(0, ORIGIN)
    recorder.population("users").requests.samples += [sample(ORIGIN)] * (2 * CHUNK + 7)
    recorder.count_full_chunks()
    assert len(recorder.population("users").requests.samples) == 7
    assert recorder.report().table.counts.max() == 2 * CHUNK + 7


def test_a_report_is_of_what_came_since_the_one_before():
    recorder = Recorder(0, ORIGIN)
    users = recorder.population("users")
    users.sent = users.scheduled = 5
    recorder.population("users").requests.samples.append(sample(ORIGIN))
    first, second = recorder.report(), recorder.report()
    assert (first.worker_second.second, first.worker_second.count("sent"), len(first.table.cells)) == (
        0,
        5,
        1,
    )
    assert (second.worker_second.second, second.worker_second.count("sent"), len(second.table.cells)) == (
        1,
        0,
        0,
    )


def test_held_is_the_least_of_the_second():
    recorder = Recorder(0, ORIGIN)
    for _ in range(3):
        recorder.population("users").joined(ORIGIN, ORIGIN + 0.001)
    recorder.population("users").left(ORIGIN + 0.5)
    recorder.population("users").joined(ORIGIN + 0.6, ORIGIN + 0.6)
    assert recorder.report().worker_second.gauge("held") == 2
    assert recorder.report().worker_second.gauge("held") == 3


def test_users_who_come_late_to_the_start_are_not_held_in_that_second():
    recorder = Recorder(0, ORIGIN)
    recorder.population("users").joined(ORIGIN, ORIGIN + 0.7)
    assert recorder.report().worker_second.gauge("held") == 0


def test_users_who_leave_with_the_second_were_held_in_it():
    recorder = Recorder(0, ORIGIN)
    recorder.population("users").joined(ORIGIN, ORIGIN)
    recorder.population("users").left(ORIGIN + 1.0)
    assert recorder.report().worker_second.gauge("held") == 1


def test_lags_and_pauses_and_quiets_are_reported():
    recorder = Recorder(0, ORIGIN)
    recorder.lag(ORIGIN + 0.2, 0.004)
    recorder.population("users").requests.completions.sent(ORIGIN)
    recorder.population("users").requests.completions.answered(ORIGIN + 0.5)
    recorder.watch_collector()
    gc.collect()
    recorder.unwatch_collector()
    report = recorder.report()
    assert report.table.select(Kind.LAG, ["worker:0"], 0, 1)[3].tolist() == [1]
    assert report.worker_second.longest_pause > 0
    assert [(completion_log.start, completion_log.end) for completion_log in report.idle_intervals] == [
        (0.0, pytest.approx(0.5))
    ]
    assert recorder.report().worker_second.longest_pause == 0


def test_a_workers_memory_is_what_the_system_says_it_is():
    memory = Recorder(0, ORIGIN).report().worker_second.memory_bytes
    assert memory == pytest.approx(psutil.Process().memory_info().rss, rel=0.05)
