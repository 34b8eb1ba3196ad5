"""A count that must be zero: one is a fail, and none is a pass only where everything was looked at."""

import dataclasses
import xml.etree.ElementTree as ET

import pytest

from loadkit.criterion import Comparison, Criterion, Family, Measure, Unit
from loadkit.judging.evidence import Evidence
from loadkit.recording.exact import compared, to_compare
from loadkit.reports import charts
from loadkit.verdict import Status
from loadkit.workload.workload import Model
from tests.builders import judge, plan_of, run_of, worker_seconds_of

LOST = "lost messages"
NONE_LOST = Criterion(
    "no message is lost", Measure(LOST, Family.EXACT, Unit.NUMBER), Comparison.IS_AT_MOST, 0.0
)


def run_with(found=0, looked_at=600, due=600, model=Model.REQUESTS, worker=None, **changes):
    """A minute; all counts are made in its last second, and by the population that it has."""
    seconds = worker_seconds_of(60, **(worker or {}))
    counts = {LOST: found, compared(LOST): looked_at, to_compare(LOST): due}
    counted = seconds[-1].counts | {"subscribers": {name: count for name, count in counts.items() if count}}
    seconds[-1] = dataclasses.replace(seconds[-1], counts=counted)
    return run_of([], plan_of(60, model=model), worker_seconds=seconds, **changes)


@pytest.mark.parametrize(
    ("run", "status", "reason"),
    [
        (run_with(), Status.PASS, "Lost messages: none of all 600 that had to be compared."),
        (run_with(1), Status.FAIL, "Lost messages: 1 of 600 compared, and none is allowed."),
        (run_with(2, 10), Status.FAIL, "Lost messages: 2 of 10 compared, and none is allowed."),
        (
            run_with(0, 590),
            Status.INCONCLUSIVE,
            "Lost messages: none of 590 compared, but 10 more had to be compared.",
        ),
        (run_with(0, 0, 0), Status.INCONCLUSIVE, "Lost messages: nothing was compared in this run."),
        (
            run_with(ended="interrupted", ended_at=30.0),
            Status.INCONCLUSIVE,
            "Lost messages: none before the run was cut short (interrupted).",
        ),
        (
            run_with(1, ended="interrupted", ended_at=30.0),
            Status.FAIL,
            "Lost messages: 1 of 600 compared, and none is allowed.",
        ),
    ],
)
def test_one_is_a_fail_and_none_is_a_pass_where_everything_was_compared(run, status, reason):
    verdict = judge(NONE_LOST, run)
    assert (verdict.status, verdict.reason) == (status, reason)


def test_none_under_a_load_that_was_not_put_on_is_invalid_and_one_is_still_a_fail():
    lost_users = {"held": 50}
    assert judge(NONE_LOST, run_with(model=Model.CLOSED, worker=lost_users)).status is Status.INVALID
    assert judge(NONE_LOST, run_with(worker={"cpu_seconds": 0.99})).status is Status.INVALID
    assert judge(NONE_LOST, run_with(1, model=Model.CLOSED, worker=lost_users)).status is Status.FAIL


@pytest.mark.parametrize(("overloaded", "status"), [(50, Status.INVALID), (20, Status.PASS)])
def test_none_is_invalid_if_the_generator_was_overloaded_for_most_of_the_time_and_else_warns(
    overloaded, status
):
    run = run_with()
    seconds = [
        dataclasses.replace(each, cpu_seconds=0.99 if each.second < overloaded else 0.1)
        for each in run.worker_seconds
    ]
    verdict = judge(NONE_LOST, dataclasses.replace(run, worker_seconds=tuple(seconds)))
    assert verdict.status is status
    if status is Status.INVALID:
        assert "a worker's processor was busy" in verdict.reason
        assert verdict.reason.endswith("in 50 of 60 seconds.")
    else:
        (warning,) = verdict.warnings
        assert "the load generator was overloaded" in warning


def test_the_verdict_tells_how_much_was_compared():
    verdict = judge(NONE_LOST, run_with(3))
    assert (verdict.measured, verdict.limit, verdict.samples) == (3.0, 0.0, 600)
    assert verdict.details == {"found": 3, "compared": 600, "to_compare": 600}
    assert verdict.window.seconds == 60


def test_it_is_drawn_second_by_second():
    drawn = charts.measure(Evidence(run_with(3)), None, NONE_LOST)
    assert "no message is lost" in "".join(ET.fromstring(drawn).itertext())
