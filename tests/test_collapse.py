"""The rule for an emergency stop: what the window leaves open is judged on the ten seconds for which the load was stopped."""

import dataclasses

import numpy as np
import pytest

from loadkit.criterion import Comparison, Scope, ScopeKind
from loadkit.recording.slices import Kind, worker_series
from loadkit.verdict import Status
from loadkit.workload.workload import Model
from tests.builders import (
    availability,
    error_rate,
    gauge,
    judge,
    plan_of,
    response_time,
    run_of,
    samples_of,
    throughput,
    worker_seconds_of,
)

EMERGENCY = "emergency stop: 1200 of 2000 operations failed in the last ten seconds"
MEAN = response_time(None, 0.5, statistic="mean")
FINE = Scope(ScopeKind.LABEL, "GET /fine")


def stopped(failing=6, *, seconds=300, level=200, ended=EMERGENCY, outcome="refused", time=0.001, **changes):
    """Two hundred operations per second, all of which fail in the last seconds; and another label that goes on."""
    starts = np.arange(0, seconds, 0.005)
    is_failing = starts >= seconds - failing
    outcomes = np.where(is_failing, outcome, "ok").tolist()
    samples = samples_of(starts, np.where(is_failing, time, 0.01), outcome=outcomes)
    samples += samples_of(starts[::10], np.full(len(starts[::10]), 0.01), "GET /fine")
    plan = plan_of(600, 3, level)
    changes = {"worker_seconds": worker_seconds_of(seconds, held=0, scheduled=220)} | changes
    return run_of(samples, plan, ended=ended, ended_at=float(seconds), **changes)


@pytest.mark.parametrize(
    ("criterion", "measured"),
    [
        (error_rate(0.05), 0.545),
        (error_rate(0.05, Comparison.STAYS_BELOW), 0.545),
        (availability(0.95), 0.455),
        (throughput(180), 100.2),
        (response_time(), None),
        (response_time(0.6), None),
        (MEAN, None),
    ],
    ids=lambda value: getattr(value, "sentence", None),
)
def test_a_service_that_collapsed_is_judged_on_the_ten_seconds_before_the_stop(criterion, measured):
    assert judge(criterion, stopped(ended="interrupted")).status is Status.INCONCLUSIVE
    verdict = judge(criterion, stopped())
    assert verdict.status is Status.FAIL
    assert (
        "judged on the ten seconds before the emergency stop, in which 1,200 of the 2,202" in verdict.reason
    )
    assert verdict.details["judged_on"] == "the ten seconds before the emergency stop"
    assert (verdict.window.start, verdict.window.seconds) == (290, 10)
    assert verdict.measured == (measured and pytest.approx(measured, abs=0.001))
    assert verdict.censored == (measured is None)
    assert any("cut short after 5 min" in warning for warning in verdict.warnings)


def test_what_the_window_decides_is_judged_on_the_window():
    run = stopped(failing=100)
    for criterion in (error_rate(0.01), response_time(comparison=Comparison.STAYS_BELOW)):
        verdict = judge(criterion, run)
        assert (verdict.status, verdict.window.phase) == (Status.FAIL, "hold")
        assert "judged_on" not in verdict.details


def test_operations_count_by_their_end_as_they_do_for_the_stop():
    """All that fails began ten seconds before; nothing began in the last nine."""
    starts = np.concatenate([np.arange(0, 150, 0.01), np.arange(150, 151, 0.01)])
    is_stuck = starts >= 150
    outcomes = np.where(is_stuck, "timeout", "ok").tolist()
    samples = samples_of(starts, np.where(is_stuck, 10.0, 0.01), outcome=outcomes)
    run = run_of(samples, plan_of(600), ended=EMERGENCY, ended_at=161.0)
    verdict = judge(error_rate(0.05), run)
    assert verdict.status is Status.FAIL
    assert verdict.measured == 1.0


@pytest.mark.parametrize(
    "criterion",
    [
        error_rate(0.05, scope=FINE),  # it did not collapse
        error_rate(0.7),  # it allows as much
        throughput(90),
        response_time(0.4),  # as few were slow
        response_time(limit=0.006, comparison=Comparison.IS_ABOVE),
    ],
    ids=lambda criterion: criterion.sentence,
)
def test_what_the_collapse_does_not_break_stays_inconclusive(criterion):
    verdict = judge(criterion, stopped())
    assert (verdict.status, verdict.window.phase) == (Status.INCONCLUSIVE, "hold")


def test_no_more_than_half_is_no_collapse():
    assert judge(error_rate(0.05), stopped(failing=5)).status is Status.INCONCLUSIVE


def test_a_gauge_is_never_judged_on_ten_seconds():
    assert judge(gauge(0.7), stopped()).status is Status.NOT_JUDGED


def in_ramp(**changes):
    samples = samples_of(np.arange(0, 30, 0.01), np.full(3000, 0.01), outcome="refused")
    plan = plan_of(60, 60, **changes.pop("plan", {}))
    return run_of(samples, plan, ended=EMERGENCY, ended_at=30.0, **changes)


def test_a_collapse_in_the_ramp_breaks_what_does_not_depend_on_how_much_load_there_is():
    for criterion in (error_rate(), availability(), response_time(), MEAN):
        verdict = judge(criterion, in_ramp())
        assert (verdict.status, verdict.window.phase) == (Status.FAIL, "until the emergency stop")
    assert judge(throughput(50), in_ramp()).status is Status.INCONCLUSIVE


def test_a_generator_at_fault_in_those_seconds_is_looked_at_without_them():
    def lagging(seconds, failing, limit):
        run = stopped(failing)
        moments = np.arange(300.0)
        lag = np.where(np.isin(moments, list(seconds)), 0.2, 0.0005)
        run.table.count(Kind.LAG, worker_series(0), moments, lag)
        return judge(error_rate(limit), run)

    verdict = lagging([299], 6, 0.05)
    assert verdict.status is Status.FAIL
    assert any("the verdict is the same without it" in warning for warning in verdict.warnings)
    verdict = lagging(range(293, 300), 8, 0.005)
    assert verdict.status is Status.INVALID
    assert "without those seconds no more than half of the operations failed" in verdict.reason
    verdict = lagging(range(290, 300), 12, 0.005)
    assert verdict.status is Status.INVALID
    assert "all the time" in verdict.reason


def test_a_collapse_without_the_users_stated_is_invalid():
    closed = {"plan": {"model": Model.CLOSED}}
    there = worker_seconds_of(30, held=50)
    gone = [
        dataclasses.replace(each, gauges={"users": {"held": 10.0}}) if each.second >= 20 else each
        for each in there
    ]
    assert judge(error_rate(), in_ramp(**closed, worker_seconds=there)).status is Status.FAIL
    assert judge(error_rate(), in_ramp(**closed, worker_seconds=gone)).status is Status.INVALID
