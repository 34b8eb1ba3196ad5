"""How long after what disturbs it the service is as it was before."""

import dataclasses
import re

import numpy as np
import pytest

from loadkit import grammar
from loadkit.recording.run import Event
from loadkit.recording.slices import Kind, worker_series
from loadkit.recording.worker_second import JOURNEY_ERROR
from loadkit.verdict import Status
from loadkit.workload.plan import Action
from loadkit.workload.workload import Model, Stage
from tests.builders import changed, judge, plan_of, run_of, samples_of, worker_seconds_of

WITHIN_30 = grammar.recovery_within("the service recovers within 30 seconds", 30.0)
KILLED = Action("an instance is killed", at=60.0)
PLAN = plan_of(180, 10, 100, Model.CLOSED, actions=(KILLED,))
KILL = Event(70.0, KILLED.name, 0.4)


def disturbed(slow=(), failing=(), *, waiting=(), seconds=190, plan=PLAN, events=(KILL,), **changes):
    """A hundred operations per second of about 20 ms; in some seconds slow (2 s) or failing, in some many in flight."""
    starts = np.arange(seconds * 100) / 100
    times = 0.02 * np.random.default_rng(1).uniform(0.9, 1.1, len(starts))
    times[np.isin(starts.astype(int), list(slow))] = 2.0
    outcomes = np.where(np.isin(starts.astype(int), list(failing)), "refused", "ok").tolist()
    worker_seconds = [
        changed(worker_second, in_flight=40 if worker_second.second in waiting else 2)
        for worker_second in worker_seconds_of(seconds)
    ]
    return run_of(
        samples_of(starts, times, outcome=outcomes),
        plan,
        worker_seconds=worker_seconds,
        events=events,
        **changes,
    )


def test_a_service_that_nothing_of_it_reaches_recovers_at_once():
    verdict = judge(WITHIN_30, disturbed())
    assert (verdict.status, verdict.measured, verdict.unit) == (Status.PASS, 0.0, "s")
    assert verdict.window.phase == "after an instance is killed"
    assert verdict.window.start == 70


def test_a_recovery_seen_through_a_journey_that_itself_failed_is_invalid():
    run = disturbed()
    mistake = dataclasses.replace(run.worker_seconds[0], counts={"users": {f"{JOURNEY_ERROR}the journey": 1}})
    verdict = judge(WITHIN_30, dataclasses.replace(run, worker_seconds=(mistake, *run.worker_seconds[1:])))
    assert (verdict.status, verdict.reason) == (Status.INVALID, "The journey, once.")


@pytest.mark.parametrize("trouble", ["slow", "failing", "waiting"])
def test_recovered_is_the_first_of_six_good_windows(trouble):
    verdict = judge(WITHIN_30, disturbed(**{trouble: range(70, 87)}))
    assert (verdict.status, verdict.measured) == (Status.PASS, 20.0)


@pytest.mark.parametrize("trouble", ["slow", "failing", "waiting"])
def test_a_service_that_takes_longer_than_the_limit_fails_with_the_figure(trouble):
    verdict = judge(WITHIN_30, disturbed(**{trouble: range(70, 112)}))
    assert (verdict.status, verdict.measured) == (Status.FAIL, 45.0)


def test_a_few_failures_in_a_hundred_are_no_recovery():
    run = disturbed()
    starts = np.arange(190 * 100) / 100
    outcomes = ["refused" if 70 <= start < 87 and int(start * 100) % 33 == 0 else "ok" for start in starts]
    failing = run_of(
        samples_of(starts, np.full(len(starts), 0.02), outcome=outcomes),
        PLAN,
        worker_seconds=run.worker_seconds,
        events=(KILL,),
    )
    assert judge(WITHIN_30, failing).measured == 20.0


def test_a_relapse_within_six_windows_is_no_recovery():
    relapsing = disturbed(slow=[*range(70, 75), *range(95, 97)])
    assert judge(WITHIN_30, relapsing).measured == 30.0


def test_a_service_that_stays_bad_fails_and_says_what_was_bad():
    verdict = judge(WITHIN_30, disturbed(slow=range(70, 190)))
    assert verdict.status is Status.FAIL
    assert "the p95 response time was 2 s" in verdict.reason
    assert "failed" in judge(WITHIN_30, disturbed(failing=range(70, 190))).reason
    assert "in flight" in judge(WITHIN_30, disturbed(waiting=range(70, 190))).reason


def test_a_load_too_short_to_see_six_good_windows_is_inconclusive_and_says_how_much_longer():
    plan = plan_of(100, 10, 100, Model.CLOSED, actions=(KILLED,))
    verdict = judge(WITHIN_30, disturbed(slow=range(70, 90), seconds=110, plan=plan))
    assert verdict.status is Status.INCONCLUSIVE
    assert "20 s more would decide it" in verdict.reason


def test_a_short_load_fails_all_the_same_where_every_window_in_time_was_followed_by_a_bad_one():
    plan = plan_of(100, 10, 100, Model.CLOSED, actions=(KILLED,))
    verdict = judge(WITHIN_30, disturbed(slow=range(70, 110), seconds=110, plan=plan))
    assert verdict.status is Status.FAIL


def test_a_service_that_stands_still_has_not_recovered_although_nobody_asks_it_anything():
    starts = np.arange(190 * 100) / 100
    asked = (starts < 70.4) | (starts >= 88)
    times = np.where((starts >= 70) & (starts < 88), 17.8, 0.02)[asked]
    samples = samples_of(starts[asked], times)
    run = run_of(samples, PLAN, worker_seconds=worker_seconds_of(190), stalls=[(70.0, 87.8)], events=(KILL,))
    assert judge(WITHIN_30, run).measured == 20.0


def test_what_was_under_way_when_it_came_is_no_measure_of_before():
    starts = np.arange(190 * 100) / 100
    outcomes = np.where((starts > 69) & (starts < 80), "refused", "ok").tolist()
    times = np.where((starts >= 80) & (starts < 100), 1.0, 0.5)
    run = run_of(
        samples_of(starts, times, outcome=outcomes),
        PLAN,
        worker_seconds=worker_seconds_of(190),
        events=(KILL,),
    )
    assert judge(WITHIN_30, run).measured == 30.0


@pytest.mark.parametrize("seed", range(10))
def test_a_quick_service_recovers_at_once_from_nothing(seed):
    chance = np.random.default_rng(seed)
    starts = np.arange(190 * 100) / 100
    wander = np.repeat(np.exp(chance.normal(0, 0.1, 38)), 500)
    worker_seconds = [
        changed(worker_second, in_flight=int(waiting))
        for worker_second, waiting in zip(worker_seconds_of(190), chance.poisson(0.4, 190), strict=True)
    ]
    times = 0.0015 * (1 + chance.exponential(1, len(starts))) * wander
    run = run_of(samples_of(starts, times), PLAN, worker_seconds=worker_seconds, events=(KILL,))
    verdict = judge(WITHIN_30, run)
    assert (verdict.status, verdict.measured) == (Status.PASS, 0.0)


def test_more_than_a_fifth_slower_is_no_recovery_where_that_can_be_felt():
    starts = np.arange(190 * 100) / 100
    times = np.where(starts < 70, 0.1, np.where(starts < 92, 0.13, 0.12))
    run = run_of(samples_of(starts, times), PLAN, worker_seconds=worker_seconds_of(190), events=(KILL,))
    assert judge(WITHIN_30, run).measured == 25.0


def test_an_action_that_did_not_come_about_is_not_judged():
    failed = dataclasses.replace(KILL, failed="no such instance")
    verdict = judge(WITHIN_30, disturbed(events=(failed,)))
    assert verdict.status is Status.NOT_JUDGED
    assert "no such instance" in verdict.reason


def test_a_run_cut_short_before_the_action_is_inconclusive():
    run = disturbed(events=(), ended="interrupted", ended_at=50.0)
    assert judge(WITHIN_30, run).status is Status.INCONCLUSIVE


ROWS_GONE = 'the table "users" has no rows left; expected more'


@pytest.mark.parametrize(
    ("ended", "ended_at", "slow", "status"),
    [
        ("interrupted", 110.0, (), Status.INCONCLUSIVE),
        ("worker 1 died", 110.0, (), Status.INCONCLUSIVE),
        ("interrupted", 110.0, range(70, 110), Status.FAIL),
        ("interrupted", 191.0, (), Status.PASS),
        ("the network relay of the regions died: exit code 1", 110.0, (), Status.INVALID),
        ("the network relay of the regions died: exit code 1", 110.0, range(70, 110), Status.INVALID),
        (ROWS_GONE, 110.0, (), Status.INVALID),
    ],
)
def test_a_run_cut_short_after_the_action_shows_no_recovery(ended, ended_at, slow, status):
    run = disturbed(slow, seconds=min(int(ended_at), 190), ended=ended, ended_at=ended_at)
    verdict = judge(WITHIN_30, run)
    assert verdict.status is status
    told = " ".join([verdict.reason, *verdict.warnings]).lower()
    assert ended.lower() in told
    assert ("after its recovery window was complete" in told) is (status is Status.PASS)


def test_nothing_to_recover_from_is_not_judged():
    run = disturbed(plan=plan_of(180, 10, 100, Model.CLOSED), events=())
    assert judge(WITHIN_30, run).status is Status.NOT_JUDGED


def test_a_generator_that_was_not_well_gives_no_verdict():
    run = disturbed(slow=range(70, 112))
    run.worker_seconds = tuple(
        dataclasses.replace(worker_second, cpu_seconds=0.99 if worker_second.second > 70 else 0.1)
        for worker_second in run.worker_seconds
    )
    assert judge(WITHIN_30, run).status is Status.INVALID


@pytest.mark.parametrize(
    ("until", "status", "expected"),
    [
        (87, Status.INVALID, ", which may be why the service had recovered 40 s after"),  # else after 20 s
        (112, Status.FAIL, "; the verdict is the same without it"),
        (72, Status.PASS, "; the verdict is the same without it"),
    ],
)
def test_a_stall_of_the_generator_in_one_window_is_no_fail_of_the_service(until, status, expected):
    """The loop stands still for two seconds, 35 s after the kill: too few to be seen in all of the time."""
    late = [] if until == 72 else [105, 106]
    run = disturbed(slow=[*range(70, until), *late], plan=LONG, seconds=310)
    moments, lags = np.arange(0, 310, 0.02), np.full(310 * 50, 0.001)
    lags[np.isin(moments.astype(int), [105, 106])] = 2.0
    run.table.count(Kind.LAG, worker_series(0), moments, lags)
    verdict = judge(WITHIN_30, run)
    assert verdict.status is status
    told = "; ".join([verdict.reason, *verdict.warnings])
    assert "he load generator was overloaded: it was at fault in 4 of 240 seconds" in told
    assert expected in told


def test_an_odd_window_before_the_disturbance_lets_no_slower_service_pass():
    """A stall of 1.5 s before the kill; after it, all operations take twelve times as long as usual."""
    starts = np.arange(190 * 100) / 100
    times = np.where(starts < 70, 0.02, 0.25)
    is_stalled = (starts >= 30) & (starts < 31.5)
    times[is_stalled] = 31.52 - starts[is_stalled]
    waiting = {30: 102} | dict.fromkeys(range(70, 190), 25)
    seconds = [changed(each, in_flight=waiting.get(each.second, 2)) for each in worker_seconds_of(190)]
    verdict = judge(
        WITHIN_30, run_of(samples_of(starts, times), PLAN, worker_seconds=seconds, events=(KILL,))
    )
    assert verdict.status is Status.INCONCLUSIVE
    assert re.search(
        r"1 of \d+ five-second windows before an instance is killed were far worse", verdict.reason
    )
    assert "compared with the others, the service had not recovered within 30 s" in verdict.reason
    times[starts >= 70] = 0.02
    seconds = [changed(each, in_flight=102 if each.second == 30 else 2) for each in worker_seconds_of(190)]
    recovered = run_of(samples_of(starts, times), PLAN, worker_seconds=seconds, events=(KILL,))
    assert judge(WITHIN_30, recovered).status is Status.PASS


@pytest.mark.parametrize(("after", "status"), [(2, Status.PASS), (12, Status.INCONCLUSIVE)])
def test_stalls_that_are_as_frequent_as_before_are_no_reason_to_doubt_a_recovery(after, status):
    """A stall of 1.5 s before the kill and some after it; each makes one five-second window odd."""
    starts = np.arange(190 * 100) / 100
    stalls = [30.0, *(100.0 + 6 * number for number in range(after))]
    times, waiting = np.full(len(starts), 0.02), {}
    for begin in stalls:
        is_stalled = (starts >= begin) & (starts < begin + 1.5)
        times[is_stalled] = begin + 1.52 - starts[is_stalled]
        waiting[int(begin)] = 102
    seconds = [changed(each, in_flight=waiting.get(each.second, 2)) for each in worker_seconds_of(190)]
    run = run_of(samples_of(starts, times), PLAN, worker_seconds=seconds, events=(KILL,))
    verdict = judge(WITHIN_30, run)
    assert verdict.status is status, verdict.reason
    told = " ".join([verdict.reason, *verdict.warnings])
    assert "1 of 12 five-second windows before an instance is killed were far worse" in told


@pytest.mark.parametrize("in_flight", [2, 25])
def test_an_odd_window_before_the_disturbance_excuses_no_relapse_at_the_end_of_the_load(in_flight):
    starts = np.arange(190 * 100) / 100
    times = np.where(starts < 165, 0.02, 0.25)
    is_stalled = (starts >= 30) & (starts < 31.5)
    times[is_stalled] = 31.52 - starts[is_stalled]
    waiting = {30: 102} | dict.fromkeys(range(165, 190), in_flight)
    seconds = [changed(each, in_flight=waiting.get(each.second, 2)) for each in worker_seconds_of(190)]
    run = run_of(samples_of(starts, times), PLAN, worker_seconds=seconds, events=(KILL,))
    verdict = judge(WITHIN_30, run)
    assert verdict.status is Status.INCONCLUSIVE, verdict.reason
    assert "were far worse than the others" in verdict.reason


@pytest.mark.parametrize(("load", "status"), [(86, Status.INCONCLUSIVE), (130, Status.PASS)])
def test_a_recovery_exactly_at_a_limit_within_a_window_is_not_excluded_by_a_short_load(load, status):
    within_12 = grammar.recovery_within("the service recovers within 12 seconds", 12.0)
    plan = plan_of(load - 10, 10, 100, Model.CLOSED, actions=(KILLED,))
    verdict = judge(within_12, disturbed(failing=range(70, 82), seconds=load, plan=plan))
    assert verdict.status is status, verdict.reason


def test_a_load_that_is_too_short_by_less_than_a_window_advises_more_than_nothing():
    within_12 = grammar.recovery_within("the service recovers within 12 seconds", 12.0)
    plan = plan_of(101, 10, 100, Model.CLOSED, actions=(KILLED,))
    verdict = judge(within_12, disturbed(failing=range(70, 82), seconds=111, plan=plan))
    assert verdict.status is Status.INCONCLUSIVE
    assert "2 s more would decide it" in verdict.reason


def test_a_second_of_failures_before_the_disturbance_excuses_none_after_it():
    assert judge(WITHIN_30, disturbed(failing=[40, *range(70, 190)])).status is Status.FAIL
    assert judge(WITHIN_30, disturbed(failing=[40])).status is Status.PASS


@pytest.mark.parametrize("per_second", [10, 100])
def test_single_failures_among_few_operations_are_chance(per_second):
    starts = np.arange(190 * per_second) / per_second
    outcomes = np.where(np.isin(starts, [71.0, 103.0]), "refused", "ok").tolist()
    run = run_of(
        samples_of(starts, np.full(len(starts), 0.02), outcome=outcomes),
        PLAN,
        worker_seconds=worker_seconds_of(190),
        events=(KILL,),
    )
    verdict = judge(WITHIN_30, run)
    assert (verdict.status, verdict.measured) == (Status.PASS, 0.0)


@pytest.mark.parametrize(
    ("at", "until", "status"), [(70.003, 100.9, Status.FAIL), (70.9, 100.9, Status.PASS)]
)
def test_the_time_counts_from_the_second_in_which_the_action_was_carried_out(at, until, status):
    starts = np.arange(190 * 100) / 100
    outcomes = np.where((starts >= at) & (starts < until), "refused", "ok").tolist()
    run = run_of(
        samples_of(starts, np.full(len(starts), 0.02), outcome=outcomes),
        PLAN,
        worker_seconds=worker_seconds_of(190),
        events=(dataclasses.replace(KILL, at=at),),
    )
    assert judge(WITHIN_30, run).status is status


@pytest.mark.parametrize(
    ("until", "status", "measured"),
    [(81, Status.PASS, 12.0), (82, Status.PASS, 12.0), (83, Status.FAIL, 15.0)],
)
def test_a_recovery_exactly_at_a_limit_between_two_windows_passes(until, status, measured):
    within = grammar.recovery_within("the service recovers within 12 seconds", 12.0)
    verdict = judge(within, disturbed(failing=range(70, until)))
    assert (verdict.status, verdict.measured) == (status, measured)


def test_the_timeline_is_kept_as_evidence():
    windows = judge(WITHIN_30, disturbed(slow=range(70, 75))).details["windows"]
    assert [window["is_good"] for window in windows[:3]] == [False, True, True]
    assert windows[0]["start"] == 70
    assert windows[0]["p95"] == pytest.approx(2.0, rel=0.01)


# --- relapses after the recovery

LONG = plan_of(300, 10, 100, Model.CLOSED, actions=(KILLED,))


def relapsing(plan=LONG, seconds=310, slow=(), share=0.0, failing=()):
    """As `disturbed`, but only a share of the operations fails in the seconds that fail."""
    starts = np.arange(seconds * 100) / 100
    times = np.where(np.isin(starts.astype(int), list(slow)), 1.0, 0.02)
    is_failing = np.isin(starts.astype(int), list(failing)) & (np.arange(len(starts)) % 100 < 100 * share)
    return run_of(
        samples_of(starts, times, outcome=np.where(is_failing, "refused", "ok").tolist()),
        plan,
        worker_seconds=worker_seconds_of(seconds),
        events=(KILL,),
    )


def test_a_service_that_is_slow_and_fails_from_35_seconds_on_has_not_recovered():
    verdict = judge(WITHIN_30, relapsing(PLAN, 190, slow=range(105, 190), share=0.5, failing=range(105, 190)))
    assert (verdict.status, verdict.measured) == (Status.FAIL, 0.0)
    assert "degraded again for 85 s from 35 s after it" in verdict.reason
    assert "50 % of the requests failed, and 1 % is allowed" in verdict.reason


@pytest.mark.parametrize("trouble", ["slow", "failing", "waiting"])
def test_thirty_bad_seconds_after_the_recovery_fail(trouble):
    verdict = judge(WITHIN_30, disturbed(**{trouble: range(120, 150)}))
    assert (verdict.status, verdict.measured) == (Status.FAIL, 0.0)
    assert "degraded again for 30 s from 50 s after it" in verdict.reason


def test_a_service_that_fails_from_the_recovery_to_the_end_has_not_recovered():
    verdict = judge(WITHIN_30, disturbed(failing=range(100, 190)))
    assert (verdict.status, verdict.measured) == (Status.FAIL, 0.0)
    assert "degraded again for 90 s from 30 s after it" in verdict.reason


def test_short_failures_again_and_again_fail_by_their_share_of_all_operations():
    failing = [second for start in range(105, 310, 40) for second in range(start, start + 5)]
    verdict = judge(WITHIN_30, relapsing(share=0.8, failing=failing))
    assert (verdict.status, verdict.measured) == (Status.FAIL, 0.0)
    assert "10 % of all requests after the recovery failed, and 1 % is allowed" in verdict.reason


def test_a_single_slow_window_after_the_recovery_passes_with_a_warning():
    verdict = judge(WITHIN_30, relapsing(slow=range(120, 125)))
    assert (verdict.status, verdict.measured) == (Status.PASS, 0.0)
    (warning,) = [warning for warning in verdict.warnings if "degraded again" in warning]
    assert (
        "the service degraded again after an instance is killed: for 5 s from 50 s after it, the p95 response time was 1 s"
        in warning
    )


def test_fewer_failures_than_the_criterion_allows_pass_with_a_warning():
    verdict = judge(WITHIN_30, relapsing(share=0.3, failing=range(120, 122)))
    assert verdict.status is Status.PASS
    assert any(
        "for 5 s from 50 s after it, 12 % of the requests failed, and 1 % is allowed" in warning
        for warning in verdict.warnings
    )


def test_a_relapse_that_the_end_cuts_short_is_inconclusive_and_says_how_much_longer():
    verdict = judge(WITHIN_30, disturbed(slow=range(175, 190)))
    assert verdict.status is Status.INCONCLUSIVE
    assert "degraded again for 15 s from 105 s after it" in verdict.reason
    assert "15 s more would decide it" in verdict.reason


def test_slow_windows_that_are_surely_more_than_a_twentieth_fail():
    slow = [second for start in range(110, 310, 40) for second in range(start, start + 10)]
    verdict = judge(WITHIN_30, relapsing(slow=slow))
    assert verdict.status is Status.FAIL
    assert "10 of 48 five-second windows after the recovery were slow, and 5 % are allowed" in verdict.reason


def test_slow_windows_that_surely_are_too_many_fail_also_if_failures_in_them_are_not_sure():
    slow = [second for start in range(110, 310, 40) for second in range(start, start + 10)]
    verdict = judge(WITHIN_30, relapsing(slow=slow, share=0.05, failing=slow))
    assert verdict.status is Status.FAIL
    assert "10 of 48 five-second windows after the recovery were slow" in verdict.reason


def test_slow_windows_that_may_be_chance_are_inconclusive_and_say_how_much_longer():
    verdict = judge(WITHIN_30, disturbed(slow=[*range(120, 125), *range(160, 165)]))
    assert verdict.status is Status.INCONCLUSIVE
    assert "2 of 24 five-second windows after the recovery were slow" in verdict.reason
    assert "of load after the recovery would decide it" in verdict.reason


def test_slow_windows_too_close_to_a_twentieth_are_inconclusive_without_advice():
    plan = plan_of(255, 10, 100, Model.CLOSED, actions=(KILLED,))
    slow = [*range(120, 125), *range(160, 165)]
    verdict = judge(WITHIN_30, disturbed(slow=slow, seconds=265, plan=plan))
    assert verdict.status is Status.INCONCLUSIVE
    assert "2 of 39 five-second windows" in verdict.reason
    assert "too close to decide with a longer load" in verdict.reason


def test_a_recovery_too_late_still_fails_by_its_time_and_tells_of_the_relapse():
    verdict = judge(WITHIN_30, disturbed(slow=[*range(70, 112), *range(150, 155)]))
    assert (verdict.status, verdict.measured) == (Status.FAIL, 45.0)
    assert "45 s after an instance is killed; the limit is 30 s" in verdict.reason
    assert any("for 5 s from 80 s after it" in warning for warning in verdict.warnings)


# --- after a peak

STAGES = (Stage(10, 100), Stage(60, 100), Stage(20, 400), Stage(60, 400), Stage(10, 100), Stage(90, 100))


def peaked(stages=STAGES, **trouble):
    plan = plan_of(model=Model.CLOSED).with_workloads(lambda load: dataclasses.replace(load, stages=stages))
    return disturbed(plan=plan, events=(), seconds=int(plan.seconds), **trouble)


def test_after_a_peak_the_level_before_it_is_the_measure_and_time_counts_from_the_return_to_its_load():
    verdict = judge(WITHIN_30, peaked(slow=range(80, 170), waiting=range(80, 170)))
    assert (verdict.status, verdict.measured) == (Status.PASS, 10.0)
    assert (verdict.window.start, verdict.window.phase) == (160, "after the load falls back")


def test_a_service_that_stays_slow_after_the_peak_fails():
    assert judge(WITHIN_30, peaked(slow=range(80, 250))).status is Status.FAIL


@pytest.mark.parametrize(
    "stages",
    [
        (Stage(10, 400), Stage(60, 400), Stage(0, 100), Stage(90, 100)),
        (Stage(10, 100), Stage(60, 100), Stage(20, 400), Stage(60, 400)),
        (Stage(10, 100), Stage(60, 100), Stage(20, 400), Stage(60, 400), Stage(10, 300), Stage(90, 300)),
    ],
    ids=["nothing before it", "it never falls", "it falls to more than before"],
)
def test_a_peak_without_the_same_load_before_and_after_it_is_not_judged(stages):
    verdict = judge(WITHIN_30, peaked(stages))
    assert verdict.status is Status.NOT_JUDGED
    assert "a load that follows a table from a low level that holds to a high one" in verdict.reason


def test_a_load_that_only_falls_back_shows_nothing_to_be_as_good_as():
    falling = (Stage(10, 400), Stage(60, 400), Stage(0, 100), Stage(90, 100))
    assert "steady before the highest load" in judge(WITHIN_30, peaked(falling)).reason


def test_an_action_that_comes_at_once_leaves_nothing_to_be_as_good_as():
    plan = plan_of(180, 10, 100, Model.CLOSED, actions=(dataclasses.replace(KILLED, at=0.0),))
    verdict = judge(WITHIN_30, disturbed(plan=plan))
    assert verdict.status is Status.NOT_JUDGED
    assert 'steady before "an instance is killed"' in verdict.reason


# --- what there is to compare with


def at_random(per_second, *, seed=1, share=0.0, share_before=None, nothing=(), plan=PLAN, **changes):
    """Operations that come at random; a share of them fails, before the kill and after it."""
    chance = np.random.default_rng(seed)
    starts = np.sort(chance.uniform(0, 190, chance.poisson(190 * per_second)))
    starts = starts[~np.isin(starts.astype(int), list(nothing))]
    shares = np.where(starts < 70, share if share_before is None else share_before, share)
    outcomes = np.where(chance.random(len(starts)) < shares, "refused", "ok").tolist()
    times = 0.02 * chance.uniform(0.9, 1.1, len(starts))
    worker_seconds = changes.pop("worker_seconds", worker_seconds_of(190))
    return run_of(
        samples_of(starts, times, outcome=outcomes),
        plan,
        worker_seconds=worker_seconds,
        events=changes.pop("events", (KILL,)),
        **changes,
    )


def test_users_who_were_lost_after_the_action_make_it_invalid():
    held = [changed(each, held=100 if each.second < 70 else 10) for each in worker_seconds_of(190, held=100)]
    verdict = judge(WITHIN_30, at_random(100, worker_seconds=held))
    assert verdict.status is Status.INVALID
    assert "Only 10 of 100 users were held" in verdict.reason


@pytest.mark.parametrize("share", [0.002, 0.005, 0.008])
def test_failures_as_rare_as_before_and_as_allowed_seldom_prevent_a_recovery(share):
    statuses = [judge(WITHIN_30, at_random(100, seed=seed, share=share)).status for seed in range(10)]
    assert statuses.count(Status.PASS) >= 8
    assert statuses.count(Status.FAIL) <= 1


def test_more_failures_than_allowed_in_all_windows_fail_though_no_window_shows_it():
    statuses = [judge(WITHIN_30, at_random(100, seed=seed, share=0.015)).status for seed in range(10)]
    assert statuses.count(Status.PASS) == 0
    assert statuses.count(Status.FAIL) >= 8


def test_a_service_that_failed_before_has_nothing_to_be_as_good_as():
    starts = np.arange(190 * 100) / 100
    outcomes = np.where((starts < 70) & (np.arange(len(starts)) % 16 == 0), "refused", "ok").tolist()
    slow = run_of(
        samples_of(starts, np.where(starts < 70, 0.02, 5.0), outcome=outcomes),
        PLAN,
        worker_seconds=worker_seconds_of(190),
        events=(KILL,),
    )
    verdict = judge(WITHIN_30, slow)
    assert verdict.status is Status.INCONCLUSIVE
    assert "more than 5 % of the requests failed, so there is no usual p95" in verdict.reason


@pytest.mark.parametrize("per_second", [0.2, 0.5])
def test_windows_that_are_empty_by_chance_are_no_failure(per_second):
    statuses = [judge(WITHIN_30, at_random(per_second, seed=seed)).status for seed in range(20)]
    assert statuses.count(Status.FAIL) <= 2


def test_windows_that_users_in_waves_leave_empty_are_no_failure():
    between = [second for second in range(190) if second % 20 >= 7]
    verdict = judge(WITHIN_30, at_random(10, nothing=between))
    assert verdict.status is Status.INCONCLUSIVE
    assert "no requests began in" in verdict.reason.lower()
    assert "use more load" in verdict.reason


def test_traffic_that_stops_after_the_action_is_a_failure_however_little_came_before():
    assert judge(WITHIN_30, at_random(1, nothing=range(70, 190))).status is Status.FAIL


def test_an_earlier_action_from_which_it_did_not_recover_is_told():
    emptied = Action("the cache is emptied", at=120.0)
    plan = plan_of(180, 10, 100, Model.CLOSED, actions=(KILLED, emptied))
    events = (KILL, Event(130.0, emptied.name, 0.4))
    verdict = judge(WITHIN_30, disturbed(slow=range(70, 130), plan=plan, events=events))
    assert verdict.status is Status.PASS
    (warning,) = verdict.warnings
    assert "had not recovered within 30 s after an instance is killed" in warning
    assert warning.endswith("recovery is judged after the last action")


def test_seconds_in_which_the_generator_was_overloaded_are_no_measure_of_before():
    """The load generator made half of the operations before the kill as slow as the service is after it."""
    run = disturbed(slow=[*range(40, 70), *range(80, 190)])
    run.worker_seconds = tuple(
        dataclasses.replace(each, cpu_seconds=0.99 if 40 <= each.second < 70 else 0.1)
        for each in run.worker_seconds
    )
    assert judge(WITHIN_30, run).status is Status.FAIL


def test_a_time_before_that_is_no_measure_says_what_overloaded_the_machine():
    run = disturbed()
    run.worker_seconds = tuple(
        dataclasses.replace(each, cpu_seconds=0.99 if each.second < 60 else 0.1)
        for each in run.worker_seconds
    )
    verdict = judge(WITHIN_30, run)
    assert verdict.status is Status.INCONCLUSIVE
    assert "too little to compare with (the load generator was overloaded: " in verdict.reason
    assert re.search(r"in \d+ of \d+ seconds\)\.$", verdict.reason), verdict.reason


def sparse(seed, *, times_ten=range(0), slow_share=0.0, seconds=310):
    """Two or three operations a second, log-normal with a p95 of 6.6 ms: in five seconds, p95 is the slowest.

    `times_ten`: the seconds in which all take ten times as long. `slow_share`: the share of the
    operations after the disturbance that takes 50 ms.
    """
    chance = np.random.default_rng(seed)
    starts = np.sort(chance.uniform(0, seconds, chance.poisson(2.5 * seconds)))
    times = 0.0015 * chance.lognormal(0, 0.9, len(starts))
    times[np.isin(starts.astype(int), times_ten)] *= 10
    times[(starts > 70) & (chance.random(len(starts)) < slow_share)] = 0.05
    plan = plan_of(seconds - 10, 10, 100, Model.CLOSED, actions=(KILLED,))
    return run_of(samples_of(starts, times), plan, worker_seconds=worker_seconds_of(seconds), events=(KILL,))


@pytest.mark.parametrize("seed", range(20))
def test_a_single_slow_operation_of_few_is_no_sign_of_a_disturbance(seed):
    verdict = judge(WITHIN_30, sparse(seed))
    assert (verdict.status, verdict.measured, verdict.warnings) == (Status.PASS, 0.0, ())


def test_few_operations_that_all_are_slow_show_a_late_recovery():
    verdicts = [judge(WITHIN_30, sparse(seed, times_ten=range(70, 115))) for seed in range(20)]
    assert sum(each.status is Status.FAIL for each in verdicts) >= 18
    assert sum(each.measured in {40.0, 45.0} for each in verdicts) >= 18
    assert any("requests were slow until 45 s after it" in each.reason for each in verdicts)


def test_a_tenth_of_few_operations_that_stay_slow_is_seen_in_all_of_them_together():
    verdicts = [judge(WITHIN_30, sparse(seed, slow_share=0.1)) for seed in range(20)]
    assert sum(each.status is Status.FAIL for each in verdicts) >= 17
    assert any("of the requests after the recovery took longer than" in each.reason for each in verdicts)


def test_windows_that_are_good_only_one_by_one_are_no_recovery():
    """Two of fifteen slow operations may be chance, but not in each of six windows."""
    starts = np.arange(190 * 3) / 3
    times = np.full(len(starts), 0.02)
    times[(starts >= 70) & (starts < 130) & (np.arange(len(starts)) % 15 < 2)] = 1.0
    run = run_of(samples_of(starts, times), PLAN, worker_seconds=worker_seconds_of(190), events=(KILL,))
    verdict = judge(WITHIN_30, run)
    assert (verdict.status, verdict.details["windows"][0]["is_good"]) == (Status.FAIL, True)
    assert "requests were slow until" in verdict.reason
    assert verdict.measured > 30


def test_windows_that_are_good_only_one_by_one_until_the_end_fail_with_their_share():
    starts = np.arange(190 * 3) / 3
    times = np.full(len(starts), 0.02)
    times[(starts >= 70) & (np.arange(len(starts)) % 15 < 2)] = 1.0
    run = run_of(samples_of(starts, times), PLAN, worker_seconds=worker_seconds_of(190), events=(KILL,))
    verdict = judge(WITHIN_30, run)
    assert verdict.status is Status.FAIL
    assert "13.3 % of the requests took longer than 26 ms, and 5 % is as before" in verdict.reason
