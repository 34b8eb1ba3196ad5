"""What the service's own alerts did."""

import dataclasses

import numpy as np
import pytest

from loadkit import grammar
from loadkit.judging.alerts import samples_apart
from loadkit.observers.observation import LIFE_SIGN, Observation, Reading, Series
from loadkit.recording.run import Event
from loadkit.verdict import Status
from loadkit.workload.plan import Action
from loadkit.workload.workload import Model
from tests.builders import judge, plan_of, run_of, worker_seconds_of

START = 1_700_000_000.0
FIRES = grammar.criterion('the "HighLatency" alert fires within 20 seconds')
NONE = grammar.criterion("no alert fires")
KILL = Event(40.0, "an instance is killed")


def observed(criterion, *firing: tuple[str, range], alive=range(-2, 100), **beside):
    """Alerts that had samples in some seconds of the run, and the seconds in which the source was at work."""
    series = [
        Series(name, START + np.array(seconds, float), np.ones(len(seconds)))
        for name, seconds in ((LIFE_SIGN, alive), *firing)
    ]
    name = grammar.observed_as(criterion.measure)
    return Observation(name, Reading.GAUGE, "", tuple(series), 1.0, **beside)


def judged(criterion, *firing, events=(KILL,), worker_seconds=(), model=Model.REQUESTS, **given):
    ended = {name: given.pop(name) for name in ("ended", "ended_at") if name in given}
    plan = plan_of(90, 10, model=model, actions=(Action(KILL.what, at=30),) if events else ())
    run = run_of(
        [],
        plan,
        observations=[observed(criterion, *firing, **given)],
        events=events,
        worker_seconds=worker_seconds,
        **ended,
    )
    return judge(criterion, run)


def test_an_alert_that_fires_in_time_passes_with_the_seconds_it_took():
    verdict = judged(FIRES, ("HighLatency,group=auth", range(52, 60)))
    assert (verdict.status, verdict.measured) == (Status.PASS, 12.0)


def test_an_alert_that_fires_late_or_never_or_another_one_fails():
    assert judged(FIRES, ("HighLatency", range(61, 70))).status is Status.FAIL
    assert judged(FIRES).status is Status.FAIL
    assert judged(FIRES, ("HighLatencyOfAll", range(50, 70))).status is Status.FAIL


@pytest.mark.parametrize("criterion", [FIRES, NONE])
def test_the_absence_of_an_alert_shows_nothing_in_an_answer_in_part(criterion):
    verdict = judged(criterion, warnings=("store-2 is gone",))
    assert verdict.status is Status.INCONCLUSIVE
    assert "the source answered only in part: store-2 is gone" in verdict.reason


def test_without_an_action_it_counts_from_the_hold():
    verdict = judged(FIRES, ("HighLatency", range(15, 20)), events=())
    assert (verdict.status, verdict.measured) == (Status.PASS, 5.0)


def test_an_alert_that_was_firing_before_says_nothing():
    assert judged(FIRES, ("HighLatency", range(30, 60))).status is Status.INCONCLUSIVE


def test_an_alert_whose_rule_is_evaluated_once_a_minute_was_firing_before():
    within_30 = grammar.criterion('the "HighLatency" alert fires within 30 seconds')
    assert judged(within_30, ("HighLatency", range(5, 90, 60))).status is Status.INCONCLUSIVE


def test_an_alert_that_fired_is_a_fact_although_another_rule_failed():
    firing = ("HighLatency", range(52, 60))
    assert judged(NONE, firing, problem="the rule of another alert failed").status is Status.FAIL
    assert judged(FIRES, firing, problem="there is no alerting rule").status is Status.PASS
    late = ("HighLatency", range(70, 80))
    assert judged(FIRES, late, problem="there is no alerting rule").status is Status.INCONCLUSIVE


def test_two_samples_that_are_minutes_apart_are_two_alerts():
    assert samples_apart(np.array([0.0, 60.0, 120.0]), 15.0) == pytest.approx(90.0)
    assert samples_apart(np.array([0.0, 300.0]), 15.0) < 300


@pytest.mark.parametrize("criterion", [FIRES, NONE])
def test_a_source_that_is_gone_is_inconclusive(criterion):
    assert judged(criterion, alive=range(-2, 45)).status is Status.INCONCLUSIVE
    assert judged(criterion, problem="it does not answer").status is Status.INCONCLUSIVE


@pytest.mark.parametrize("criterion", [FIRES, NONE])
def test_a_run_cut_short_shows_no_silence(criterion):
    assert judged(criterion, ended="interrupted", ended_at=50.0).status is Status.INCONCLUSIVE


def test_no_alert_fires_or_is_named():
    assert judged(NONE).status is Status.PASS
    verdict = judged(NONE, ("InstanceDown,instance=metrics-2", range(45, 60)))
    assert (verdict.status, verdict.measured) == (Status.FAIL, 1.0)
    assert '"InstanceDown"' in verdict.reason


def test_alerts_during_the_first_ramp_do_not_count():
    assert judged(NONE, ("InstanceDown", range(2, 9))).status is Status.PASS


def test_silence_under_a_load_that_was_not_put_on_says_nothing_and_an_alert_that_fired_does():
    busy = [dataclasses.replace(worker_second, cpu_seconds=0.99) for worker_second in worker_seconds_of(100)]
    assert judged(NONE, worker_seconds=busy).status is Status.INVALID
    assert judged(FIRES, worker_seconds=busy).status is Status.INVALID
    firing = ("HighLatency", range(52, 60))
    assert judged(NONE, firing, worker_seconds=busy).status is Status.FAIL
    assert judged(FIRES, firing, worker_seconds=busy).status is Status.PASS


def paused_in(overloaded):
    return [
        dataclasses.replace(each, longest_pause=1.0) if each.second in overloaded else each
        for each in worker_seconds_of(100)
    ]


@pytest.mark.parametrize(
    ("overloaded", "status"),
    [
        (range(96), Status.INVALID),
        (range(60), Status.INVALID),
        ([second for second in range(100) if second % 16 >= 9], Status.INVALID),
        (range(50), Status.PASS),
        (range(90, 93), Status.PASS),
    ],
)
def test_no_alert_fires_passes_only_with_ten_seconds_and_most_seconds_of_the_stated_load(overloaded, status):
    assert judged(NONE, worker_seconds=paused_in(overloaded)).status is status


def test_no_alert_fires_tells_the_time_of_load_on_which_it_rests():
    verdict = judged(NONE, worker_seconds=paused_in(range(50)))
    assert verdict.reason == "No alert fired; the stated load was there for 50 s at a stretch."
    assert (verdict.window.start, verdict.window.seconds, verdict.samples) == (50, 50, 50)
    assert any("overloaded" in warning and "in 40 of 90 seconds" in warning for warning in verdict.warnings)
    healthy = judged(NONE, worker_seconds=worker_seconds_of(100))
    assert (healthy.reason, healthy.warnings) == ("No alert fired in 90 s of load.", ())


def test_without_the_stated_users_the_absence_of_an_alert_shows_nothing():
    half, all_users = worker_seconds_of(100, held=50), worker_seconds_of(100, held=100)
    for criterion, as_stated in ((NONE, Status.PASS), (FIRES, Status.FAIL)):
        assert judged(criterion, worker_seconds=all_users, model=Model.CLOSED).status is as_stated
        verdict = judged(criterion, worker_seconds=half, model=Model.CLOSED)
        assert verdict.status is Status.INVALID
        assert "only 50 of 100 users were held" in verdict.reason.lower()
    firing = ("HighLatency", range(52, 60))
    assert judged(NONE, firing, worker_seconds=half, model=Model.CLOSED).status is Status.FAIL
    assert judged(FIRES, firing, worker_seconds=half, model=Model.CLOSED).status is Status.PASS


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"worker_seconds": worker_seconds_of(100), "model": Model.CLOSED}, Status.FAIL),
        ({"worker_seconds": worker_seconds_of(100, held=50), "model": Model.CLOSED}, Status.INVALID),
        ({"worker_seconds": paused_in(range(40, 48))}, Status.INVALID),
        ({"worker_seconds": paused_in(range(62, 70))}, Status.FAIL),
    ],
    ids=["all users", "half of the users", "overloaded before the limit", "overloaded after it"],
)
def test_an_alert_that_fires_late_fails_only_under_the_stated_load(changes, status):
    verdict = judged(FIRES, ("HighLatency", range(61, 70)), **changes)
    assert verdict.status is status
    assert ("fired 21 s after" in verdict.reason) is (status is Status.FAIL)


def test_an_alert_that_fires_at_once_passes_with_what_it_did():
    verdict = judged(FIRES, ("HighLatency", range(40, 60)), worker_seconds=paused_in(range(50, 60)))
    assert (verdict.status, verdict.measured) == (Status.PASS, 0.0)
    assert '"HighLatency" alert fired' in verdict.reason


@pytest.mark.parametrize("seconds", [8, 15])
def test_an_alert_that_should_fire_is_not_missed_where_the_load_was_missing(seconds):
    verdict = judged(FIRES, worker_seconds=paused_in(range(40, 40 + seconds)))
    assert verdict.status is Status.INVALID
    assert f"in {seconds} of 20 seconds" in verdict.reason
    assert judged(FIRES, worker_seconds=worker_seconds_of(100)).status is Status.FAIL


def test_alerts_that_nobody_watched_are_not_judged():
    assert judge(NONE, run_of([], plan_of(60))).status is Status.NOT_JUDGED
