"""What can be told of a run while it goes on."""

import math

import pytest

from loadkit.engine.progress import LiveStats
from loadkit.recording.messages import CONNECTIONS
from loadkit.recording.recorder import Recorder
from loadkit.recording.sample import OK, Sample
from loadkit.recording.timing import CONNECT, MESSAGE, QUERY
from loadkit.users.lifecycle import ARRIVAL_LABEL
from loadkit.workload.plan import Plan
from loadkit.workload.workload import MixEntry, Model, Stage, Workload

PLAN = Plan.of("shop", Workload(Model.CLOSED, (Stage(10, 5), Stage(20, 5)), (MixEntry("m:f", 1.0),)))


def report(recorder: Recorder, *, ok: int = 0, failed: int = 0, seconds: float = 0.01, lag: float = 0.0):
    recorder.population("users").requests.samples += [Sample("GET /a", OK, 0.0, 0.0, seconds, 0)] * ok
    recorder.population("users").requests.samples += [Sample("GET /a", "timeout", 0.0, 0.0, 9.0, 0)] * failed
    recorder.lag(0.0, lag)
    return recorder.report()


def live_stats_of(reports, workers=1) -> LiveStats:
    live_stats = LiveStats(PLAN, workers)
    for each in reports:
        live_stats.add(each)
    return live_stats


def test_the_last_second_of_all_workers_is_told():
    ones = [Recorder(worker, 0.0) for worker in range(2)]
    for recorder in ones:
        recorder.population("users").joined(0.0, 0.0)
    reports = [report(ones[0], ok=99, failed=1), report(ones[1], ok=100, seconds=0.02)]
    progress = live_stats_of(reports, 2).progress(12.0)
    assert progress.rate == 200
    assert progress.errors == pytest.approx(1 / 200)
    assert progress.users == 2
    assert progress.p50 == pytest.approx(0.02, rel=0.01)
    assert progress.p95 == pytest.approx(0.02, rel=0.01)
    assert progress.health == "ok"


@pytest.mark.parametrize(
    ("elapsed", "phase"), [(-1, "start"), (0, "ramp"), (9.9, "ramp"), (10, "hold"), (30, "drain")]
)
def test_the_phase_is_told(elapsed, phase):
    assert LiveStats(PLAN, 1).progress(elapsed).phase == phase


def test_before_anything_is_known_nothing_is_made_up():
    progress = LiveStats(PLAN, 1).progress(0.0)
    assert math.isnan(progress.p95)
    assert (progress.rate, progress.errors, progress.users) == (0.0, 0.0, 0)


def test_a_late_generator_is_told():
    progress = live_stats_of([report(Recorder(0, 0.0), ok=1, lag=0.050)]).progress(1.0)
    assert progress.health == "generator 50 ms late"


def test_more_than_half_failed_over_ten_seconds_is_an_emergency():
    recorder = Recorder(0, 0.0)
    assert live_stats_of([report(recorder, ok=4, failed=6) for _ in range(9)]).failing is None
    assert live_stats_of([report(recorder, ok=4, failed=6) for _ in range(10)]).failing == (100, 60)
    assert live_stats_of([report(recorder, ok=5, failed=5) for _ in range(10)]).failing is None
    assert live_stats_of([report(recorder) for _ in range(10)]).failing is None


def test_operations_that_failed_after_they_were_counted_are_told_once_and_stop_a_load():
    recorder = Recorder(0, 0.0)
    requests = recorder.population("users").requests
    reports, earlier = [], []
    for _ in range(12):
        for sample in earlier:
            requests.correct(sample, sample._replace(outcome="body is not JSON"))
        earlier = [Sample("GET /a", OK, 0.0, 0.0, 0.01, 0) for _ in range(10)]
        requests.samples += earlier
        reports.append(recorder.report())
    assert live_stats_of(reports).failing == (100, 100)
    progress = live_stats_of([reports[-1]]).progress(1.0)
    assert (progress.rate, progress.errors) == (10, 1.0)


def test_an_emergency_that_is_over_is_none():
    recorder = Recorder(0, 0.0)
    reports = [report(recorder, failed=9) for _ in range(10)] + [report(recorder, ok=10) for _ in range(10)]
    assert live_stats_of(reports).failing is None


def connecting(recorder, ok=0, failed=0, messages=0):
    population = recorder.population("connections")
    population.timing(CONNECT).samples += [Sample("WS /", OK, 0.0, 0.0, 0.01, 0)] * ok
    population.timing(CONNECT).samples += [Sample("WS /", "status 503", 0.0, 0.0, 0.01, 0)] * failed
    log = population.timing(MESSAGE).messages("WS /")
    for _ in range(messages):
        log.add(0.0, 0.005, 100)
    return recorder.report()


def test_a_load_of_messages_is_told_by_its_messages_and_open_connections():
    recorder = Recorder(0, 0.0)
    recorder.population("connections").gauges[CONNECTIONS] = 40.0
    progress = live_stats_of([connecting(recorder, ok=2, messages=500)]).progress(12.0)
    assert (progress.messages, progress.connections, progress.rate) == (500, 40, 2)
    assert progress.p95 == pytest.approx(0.005, rel=0.01)


def test_messages_that_no_journey_expects_are_told_too():
    recorder = Recorder(0, 0.0)
    recorder.population("dashboards").messages_received = 150
    assert live_stats_of([recorder.report()]).progress(12.0).messages == 150


def test_refused_connections_stop_a_load_unless_messages_still_arrive():
    recorder = Recorder(0, 0.0)
    refused = [connecting(recorder, ok=1, failed=9) for _ in range(10)]
    assert live_stats_of(refused).failing == (100, 90)
    streaming = [connecting(recorder, ok=1, failed=9, messages=100) for _ in range(10)]
    assert live_stats_of(streaming).failing is None


def test_failed_queries_stop_a_load_although_messages_arrive():
    recorder = Recorder(0, 0.0)
    reports = []
    for _ in range(10):
        queries = recorder.population("analysts").timing(QUERY).samples
        queries += [Sample("overview", "out of memory (53200)", 0.0, 0.0, 0.01, 0)] * 9
        reports.append(connecting(recorder, failed=9, messages=100))
    assert live_stats_of(reports).failing == (90, 90)


def locked_out(recorder: Recorder, *, arrivals: int = 0, failed: int = 0, connections: float = 0.0):
    """A second in which users cannot log in, and the others hold their connections."""
    population = recorder.population("connections")
    population.gauges[CONNECTIONS] = connections
    population.requests.samples += [Sample(ARRIVAL_LABEL, "status 401", 0.0, 0.0, 0.01, 0)] * arrivals
    return report(recorder, failed=failed)


@pytest.mark.parametrize(("each_second", "found"), [(1, None), (2, (20, 20))])
def test_a_few_failures_are_no_emergency_although_there_is_nothing_else(each_second, found):
    recorder = Recorder(0, 0.0)
    assert live_stats_of([report(recorder, failed=each_second) for _ in range(10)]).failing == found
    assert live_stats_of([locked_out(recorder, arrivals=each_second) for _ in range(10)]).failing == found


def test_users_who_cannot_log_in_are_no_emergency_while_connections_are_open():
    recorder = Recorder(0, 0.0)
    lonely = [locked_out(recorder, arrivals=5, connections=995.0) for _ in range(10)]
    assert live_stats_of(lonely).failing is None
    assert live_stats_of([locked_out(recorder, arrivals=5) for _ in range(10)]).failing == (50, 50)
    busy = [locked_out(recorder, arrivals=5, failed=3, connections=995.0) for _ in range(10)]
    assert live_stats_of(busy).failing == (30, 30)


def test_connections_of_another_worker_are_open_too():
    ones = [Recorder(worker, 0.0) for worker in range(2)]
    reports = [
        each
        for _ in range(10)
        for each in (locked_out(ones[0], arrivals=5), locked_out(ones[1], connections=500.0))
    ]
    assert live_stats_of(reports, 2).failing is None


def test_queries_are_operations_and_their_times_are_told_where_there_are_more_of_them_than_requests():
    recorder = Recorder(0, 0.0)
    queries = recorder.population("analysts").timing(QUERY).samples
    queries += [Sample("overview", OK, 0.0, 0.0, 0.25, 0)] * 9
    queries += [Sample("overview", "deadlock (40P01)", 0.0, 0.0, 0.25, 0)]
    progress = live_stats_of([report(recorder, ok=2)]).progress(1.0)
    assert (progress.rate, progress.errors) == (12, pytest.approx(1 / 12))
    assert progress.p50 == pytest.approx(0.25, rel=0.01)
