import dataclasses

import numpy as np
import pytest

from loadkit.judging.evidence import Evidence
from loadkit.judging.health import CheckResult, health, held_per_second
from loadkit.recording.health_bounds import CHECKS, CPU, Bound
from loadkit.recording.slices import Kind, worker_series
from loadkit.verdict import Window
from loadkit.workload.schedule import stays
from loadkit.workload.workload import Model, Stage
from tests.builders import changed, plan_of, run_of, worker_seconds_of

WINDOW = Window(0, 60)


def run_with(worker_seconds=None, lag=None, lateness=None, workers=1):
    """A minute of a generator; lag and lateness: seconds of delay, one a second, of worker 0."""
    run = run_of([], plan_of(60), worker_seconds=worker_seconds, workers=workers)
    for kind, delays in ((Kind.LAG, lag), (Kind.LATENESS, lateness)):
        if delays is not None:
            run.table.count(kind, worker_series(0), np.arange(60.0), np.asarray(delays, float))
    return run


def worker_seconds_with(**changes):
    return worker_seconds_of(60, **changes)


def test_a_quiet_generator_is_well():
    state = health(run_with(lag=np.full(60, 0.001), lateness=np.full(60, 0.0001)), WINDOW, 0.5)
    assert state.status == "ok"
    assert not state.reasons
    assert not state.unhealthy.any()


def two_clocks(first, second):
    """Two workers, whose clocks are ahead of that of who started them by so many seconds."""
    worker_seconds = [
        *worker_seconds_with(clock_offset=first),
        *worker_seconds_of(60, worker=1, clock_offset=second),
    ]
    return run_with(worker_seconds, workers=2)


@pytest.mark.parametrize(
    ("health_check", "run", "limit", "status"),
    [
        ("loop_lag_p99", run_with(lag=np.full(60, 0.006)), 0.5, "warn"),
        ("loop_lag_p99", run_with(lag=np.full(60, 0.020)), 0.5, "warn"),
        ("loop_lag_p99", run_with(lag=np.full(60, 0.030)), 0.5, "invalid"),
        ("loop_lag_p99", run_with(lag=np.full(60, 0.009)), 0.01, "warn"),
        ("loop_lag_p99", run_with(lag=np.full(60, 0.011)), 0.01, "invalid"),
        ("lateness_p99", run_with(lateness=np.full(60, 0.011)), 0.5, "warn"),
        ("lateness_p99", run_with(lateness=np.full(60, 0.051)), 0.5, "invalid"),
        ("busiest_cpu", run_with(worker_seconds_with(cpu_seconds=0.71)), 0.5, "warn"),
        ("busiest_cpu", run_with(worker_seconds_with(cpu_seconds=0.86)), 0.5, "invalid"),
        ("sent_ratio", run_with(worker_seconds_with(scheduled=1000, sent=993)), 0.5, "warn"),
        ("sent_ratio", run_with(worker_seconds_with(scheduled=1000, sent=970)), 0.5, "invalid"),
        ("sent_ratio", run_with(worker_seconds_with(scheduled=1000, sent=500, blocked=500)), 0.5, "ok"),
        ("longest_pause", run_with(worker_seconds_with(longest_pause=0.021)), 0.5, "warn"),
        ("longest_pause", run_with(worker_seconds_with(longest_pause=0.11)), 0.5, "invalid"),
        (
            "starved_ratio",
            run_with(worker_seconds_with(scheduled=10_000, sent=10_000, out_of_descriptors=1)),
            0.5,
            "warn",
        ),
        (
            "starved_ratio",
            run_with(worker_seconds_with(scheduled=1000, sent=1000, out_of_descriptors=2)),
            0.5,
            "invalid",
        ),
        ("clock_skew", two_clocks(0.0, 0.0), 0.5, "ok"),
        ("clock_skew", two_clocks(0.5, 0.5), 0.5, "ok"),
        ("clock_skew", two_clocks(-0.001, 0.0015), 0.5, "warn"),
        ("clock_skew", two_clocks(0.0, 0.011), 0.5, "invalid"),
    ],
)
def test_each_sign_warns_and_then_invalidates(health_check, run, limit, status):
    state = health(run, WINDOW, limit)
    assert state.status == status
    assert health_check in state.figures
    assert len(state.reasons) == (status != "ok")
    assert state.unhealthy.all() == (status == "invalid")


@pytest.mark.parametrize("limit", [0.01, 0.05, 0.5, 10.0])
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_what_invalidates_warns_too_whatever_the_limit(check, limit):
    for step in (-1e-6, 1e-6):
        value = check.invalid.at(limit) + step
        result = CheckResult.of(check, value, limit)
        assert result.is_invalid == ((step > 0) is not check.falls)
        assert result.is_warning >= result.is_invalid


@pytest.mark.parametrize(
    ("late", "seldom_late", "of_mean", "status"),
    [
        (0.0001, 0.004, False, "invalid"),
        (0.0001, 0.004, True, "warn"),
        (0.00005, 0.0001, True, "ok"),
        (0.0006, 0.0006, True, "invalid"),
    ],
)
def test_a_mean_is_in_doubt_by_the_mean_lateness_and_not_by_the_latest(late, seldom_late, of_mean, status):
    """A limit of 5 ms: two of 60 operations were sent 4 ms late, which adds 0.13 ms to the mean."""
    lateness = np.where(np.arange(60) % 30 == 7, seldom_late, late)
    state = health(run_with(lateness=lateness), WINDOW, 0.005, of_mean)
    assert state.status == status
    assert ("lateness_mean" in state.figures) == of_mean
    if status == "warn":
        assert state.reasons == ("it sent late on average by 230 µs, above 100 µs",)


def test_a_pause_that_invalidates_a_short_limit_is_named_as_the_reason():
    state = health(run_with(worker_seconds_with(longest_pause=0.015)), WINDOW, 0.05)
    assert state.status == "invalid"
    assert state.reasons == ("garbage collection paused it for 15 ms, above 10 ms",)


def test_the_status_and_the_seconds_in_doubt_follow_from_one_definition(monkeypatch):
    """Whoever changes a bound changes it for the window, for its seconds and for the live status at once."""
    lenient = dataclasses.replace(CPU, warns=Bound(0.95), invalid=Bound(0.99))
    run = run_with(worker_seconds_with(cpu_seconds=0.9))
    assert health(run, WINDOW).unhealthy.all()
    monkeypatch.setattr(
        "loadkit.judging.health.CHECKS", [lenient if check is CPU else check for check in CHECKS]
    )
    state = health(run, WINDOW)
    assert state.status == "ok"
    assert not state.unhealthy.any()


def test_ten_busy_seconds_of_one_worker_are_enough():
    worker_seconds = [
        dataclasses.replace(worker_second, cpu_seconds=0.95)
        if 20 <= worker_second.second < 30
        else worker_second
        for worker_second in worker_seconds_of(60, worker=1)
    ]
    state = health(run_with([*worker_seconds_of(60), *worker_seconds], workers=2), WINDOW, 0.5)
    assert state.status == "invalid"
    assert state.unhealthy.sum() == 10
    assert state.unhealthy[20:30].all()


def test_one_busy_second_is_not():
    worker_seconds = [
        dataclasses.replace(worker_second, cpu_seconds=1.0) if worker_second.second == 20 else worker_second
        for worker_second in worker_seconds_of(60)
    ]
    assert health(run_with(worker_seconds), WINDOW, 0.5).status == "ok"


def test_a_block_now_and_then_marks_its_seconds():
    lag = np.full(60, 0.0005)
    lag[[10, 40]] = 0.2
    state = health(run_with(lag=lag), WINDOW, 0.5)
    assert np.flatnonzero(state.unhealthy).tolist() == [10, 40]
    assert state.status != "ok"


def test_a_window_looks_at_its_own_seconds_only():
    lag = np.full(60, 0.0005)
    lag[:30] = 0.2
    assert health(run_with(lag=lag), Window(30, 30), 0.5).status == "ok"


def test_held_users_are_added_over_workers_beside_what_was_stated():
    plan = plan_of(10, 10, 100, Model.CLOSED)
    run = run_of(
        [],
        plan,
        worker_seconds=[*worker_seconds_of(20, held=60), *worker_seconds_of(20, held=39, worker=1)],
        workers=2,
    )
    held, stated = held_per_second(run, Window(5, 15))
    assert held.tolist() == [99] * 15
    # A second of the ramp, from 50 to 60: the smallest number held in it is that of its beginning.
    assert stated[0] == pytest.approx(50)
    assert stated[5:].tolist() == [100] * 10


CURVE = (
    (37.5, 0.3),
    (37.5, 0.5),
    (37.5, 0.8),
    (37.5, 1.0),
    (37.5, 0.9),
    (37.5, 1.0),
    (37.5, 0.7),
    (37.5, 0.4),
)
RAMP = ((30.0, 1.0), (60.0, 1.0), (30.0, 0.0))


@pytest.mark.parametrize("users", range(1, 21))
@pytest.mark.parametrize("curve", [CURVE, RAMP])
def test_few_users_on_a_curve_are_as_many_as_the_schedule_has(users, curve):
    stages = tuple(Stage(seconds, share * users) for seconds, share in curve)
    plan = plan_of(10, model=Model.CLOSED).with_workloads(
        lambda load: dataclasses.replace(load, stages=stages)
    )
    seconds = int(plan.seconds)
    present = np.zeros(seconds)
    for own in stays(stages):
        for stay in own:
            # One who comes or goes within a second is not held in it.
            present[int(np.ceil(stay.join)) : int(stay.leave)] += 1
    _, stated = held_per_second(run_of([], plan), Window(0, seconds))
    # Both numbers are right in a second in which a user comes or goes; no more may be stated than there are.
    assert np.mean(stated <= present) > 0.95
    assert np.mean(stated == present) > 0.85
    assert (np.abs(present - stated) <= 1).all()


@pytest.mark.parametrize("missing", [0, 1])
def test_a_missing_one_of_ten_users_on_a_curve_is_found(missing):
    stages = tuple(Stage(seconds, share * 10) for seconds, share in CURVE)
    plan = plan_of(10, model=Model.CLOSED).with_workloads(
        lambda load: dataclasses.replace(load, stages=stages)
    )
    window = Window(0, 300)
    _, planned = held_per_second(run_of([], plan), window)
    worker_seconds = [
        changed(second, held=max(planned[second.second] - missing, 0)) for second in worker_seconds_of(300)
    ]
    lost = Evidence(run_of([], plan, worker_seconds=worker_seconds)).not_held(window)
    assert ("users were held" in lost) == bool(missing), lost
