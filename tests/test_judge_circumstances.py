"""What a run's own circumstances make of a verdict: spells, stalls, drift, health, users held, ends, rehearsals."""

import dataclasses
import math
from functools import cache

import numpy as np
import pytest

from loadkit import grammar
from loadkit.criterion import Comparison, Scope, ScopeKind
from loadkit.judging import judge as judging
from loadkit.judging.evidence import Evidence
from loadkit.observers.observation import Judged, Observation, Reading, Series
from loadkit.recording.sample import OK, Sample
from loadkit.recording.slices import Kind, worker_series
from loadkit.recording.timing import QUERY, WORKFLOW
from loadkit.recording.worker_second import (
    JOURNEY_ERROR,
    JOURNEYS,
    MET_ERROR,
    USERS,
    WITH_ERRORS,
)
from loadkit.verdict import Status
from loadkit.workload.plan import Action, Scaling
from loadkit.workload.workload import Model, Stage
from tests.builders import (
    availability,
    changed,
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

PASS, FAIL, INCONCLUSIVE = Status.PASS, Status.FAIL, Status.INCONCLUSIVE
INVALID, NOT_JUDGED = Status.INVALID, Status.NOT_JUDGED
STAYS, NEVER = Comparison.STAYS_BELOW, Comparison.NEVER_EXCEEDS


@cache
def samples_with(slow=(), seconds=300, rate=100, seed=1, slow_time=1.0, outcome="ok", without=()):
    """20 ms on average; in the seconds of `slow`, all take as long as told, or fail; in those of `without` none start."""
    random = np.random.default_rng(seed)
    starts = np.sort(random.uniform(0, seconds, rate * seconds))
    starts = starts[~np.isin(starts.astype(int), list(without))]
    hit = np.isin(starts.astype(int), list(slow))
    times = np.where(hit, slow_time, random.exponential(0.02, len(starts)))
    return samples_of(starts, times, outcome=np.where(hit, outcome, "ok").tolist())


def run_with(**changes):
    seconds = changes.get("seconds", 300)
    return run_of(samples_with(**changes), plan_of(seconds))


# --- spells


@pytest.mark.parametrize(
    ("slow", "comparison", "status"),
    [
        (range(100, 110), Comparison.IS_BELOW, PASS),
        (range(100, 110), STAYS, PASS),  # one window: a warning
        (range(100, 110), NEVER, FAIL),
        (range(100, 103), NEVER, FAIL),
        ((), NEVER, PASS),
    ],
)
def test_the_words_differ_in_the_spells_that_they_forgive(slow, comparison, status):
    """40 minutes, so that an event of 10 s, come as often as it may have, is under 5 % of the time."""
    run = run_with(slow=slow, seconds=2400, rate=20)
    verdict = judge(response_time(limit=0.5, comparison=comparison), run)
    assert verdict.status is status
    if slow and status is PASS:
        assert any("ten-second windows broke the limit" in warning for warning in verdict.warnings)


def test_one_event_of_ten_seconds_in_five_minutes_leaves_it_open_how_often_it_comes():
    assert judge(response_time(limit=0.5), run_with(slow=range(100, 110))).status is INCONCLUSIVE


def test_three_windows_in_a_row_are_a_lasting_bad_spell():
    run = run_with(slow=range(300, 330), seconds=3600, rate=20)
    assert judge(response_time(limit=0.5), run).status is PASS
    verdict = judge(response_time(limit=0.5, comparison=STAYS), run)
    assert verdict.status is FAIL
    assert "3 in a row" in verdict.reason
    assert verdict.details["spells"]["over"] == [30, 31, 32]


def test_scattered_bad_windows_are_too_many_above_a_twentieth():
    """In every tenth window three in ten operations are slow: 3 % of all."""
    random = np.random.default_rng(1)
    starts = np.sort(random.uniform(0, 1200, 60_000))
    slow = (starts % 100 < 10) & (random.uniform(size=60_000) < 0.3)
    run = run_of(samples_of(starts, np.where(slow, 1.0, random.exponential(0.02, 60_000))), plan_of(1200))
    assert judge(response_time(limit=0.5), run).status is PASS
    assert judge(response_time(limit=0.5, comparison=STAYS), run).status is FAIL


def test_a_window_with_half_the_usual_traffic_is_a_bad_one():
    run = run_with(without=range(100, 130))
    assert judge(response_time(limit=0.5), run).status is PASS
    verdict = judge(response_time(limit=0.5, comparison=STAYS), run)
    assert verdict.status is FAIL
    assert "under half the usual traffic" in verdict.reason


def test_a_lull_by_chance_is_no_bad_window():
    random = np.random.default_rng(1)
    for seed in range(10):
        starts = np.sort(np.random.default_rng(seed).uniform(0, 300, 90))  # three in ten seconds
        run = run_of(samples_of(starts, random.exponential(0.02, 90)), plan_of(300))
        assert "over" in judge(response_time(limit=0.5, comparison=STAYS), run).details["spells"]
        assert judge(response_time(limit=0.5, comparison=STAYS), run).details["spells"]["over"] == []


def test_chance_alone_is_no_bad_spell():
    """The limit is the true p95 of each window; Bonferroni holds over all of them."""
    broken = 0
    for seed in range(20):
        verdict = judge(
            response_time(limit=-0.02 * np.log(0.05), comparison=NEVER), run_with(seed=seed, seconds=120)
        )
        broken += bool(verdict.details["spells"]["over"])
    assert broken <= 2


@pytest.mark.parametrize(
    ("comparison", "status"), [(Comparison.IS_ABOVE, PASS), (Comparison.STAYS_ABOVE, FAIL)]
)
def test_throughput_has_spells_too(comparison, status):
    run = run_with(without=range(200, 230), seconds=1200)
    assert judge(throughput(90, comparison), run).status is status


def test_a_burst_of_errors_is_a_spell_of_the_error_rate():
    run = run_with(slow=range(200, 203), outcome="status 500", seconds=2400, rate=20, slow_time=0.001)
    assert judge(error_rate(0.02), run).status is PASS
    assert judge(error_rate(0.02, NEVER), run).status is FAIL


def test_a_service_that_refuses_everything_from_the_middle_on_fails():
    run = run_with(slow=range(150, 300), outcome="refused", slow_time=0.001)
    for criterion in (response_time(), response_time(comparison=STAYS), error_rate(), availability(0.99)):
        assert judge(criterion, run).status is FAIL


def test_a_service_that_is_slow_from_the_middle_on_fails():
    run = run_with(slow=range(150, 300))
    for comparison in (Comparison.IS_BELOW, STAYS, NEVER):
        assert judge(response_time(comparison=comparison), run).status is FAIL


# --- stalls


def closed_run(seconds=300, freeze=(), limit_worker_seconds=None):
    """100 users; while frozen nobody is answered, and all wait to its end."""
    random = np.random.default_rng(1)
    starts = np.sort(random.uniform(0, seconds, 100 * seconds))
    if not freeze:
        return run_of(
            samples_of(starts, random.exponential(0.02, len(starts))), plan_of(seconds, model=Model.CLOSED)
        )
    begin, end = freeze
    starts = starts[~((starts > begin + 1) & (starts < end))]
    times = random.exponential(0.02, len(starts))
    stuck = (starts >= begin) & (starts < end)
    times[stuck] = end - starts[stuck]
    plan = plan_of(seconds, model=Model.CLOSED)
    return run_of(samples_of(starts, times), plan, stalls=[(begin, end)])


def test_a_freeze_of_a_closed_load_is_filled_and_fails():
    run = closed_run(freeze=(100.0, 120.0))
    for comparison in (Comparison.IS_BELOW, STAYS, NEVER):
        verdict = judge(response_time(limit=0.5, comparison=comparison), run)
        assert verdict.status is not PASS
    verdict = judge(response_time(limit=0.5, comparison=NEVER), run)
    assert verdict.status is FAIL
    assert verdict.measured > 5
    assert verdict.details["filled"] == pytest.approx(1900, rel=0.03)
    assert verdict.details["unfilled"] < 0.1
    assert any("stood still" in warning for warning in verdict.warnings)
    assert verdict.samples == run.table.sums[:, 0].sum()


def test_a_mean_is_filled_too_and_a_maximum_needs_none():
    run = closed_run(freeze=(100.0, 120.0))
    mean = judge(response_time(None, 0.1, statistic="mean"), run)
    assert mean.measured > 2 * mean.details["unfilled"]
    longest = judge(response_time(None, 30, NEVER, statistic="max"), run)
    assert longest.measured == pytest.approx(20, abs=0.05)


def test_an_open_load_is_never_filled():
    run = closed_run(freeze=(100.0, 120.0))
    run.plan = plan_of(300)
    assert "filled" not in judge(response_time(), run).details


def test_a_freeze_in_the_first_third_is_not_taken_for_a_warm_up():
    assert judge(response_time(comparison=NEVER), closed_run(freeze=(50.0, 70.0))).status is FAIL


# --- drift


def drifting(low, high, seconds=300):
    random = np.random.default_rng(1)
    starts = np.sort(random.uniform(0, seconds, 100 * seconds))
    level = low + (high - low) * starts / seconds
    return run_of(samples_of(starts, level * random.uniform(0.9, 1.1, len(starts))), plan_of(seconds))


def test_a_drift_far_below_the_limit_is_a_warning():
    verdict = judge(response_time(limit=0.5), drifting(0.004, 0.005))
    assert verdict.status is PASS
    assert any("rose by" in warning for warning in verdict.warnings)


def test_a_drift_takes_a_pass_back_where_the_worst_third_does_not_keep_the_limit():
    rising = [
        changed(worker_second, in_flight=10 + worker_second.second)
        for worker_second in worker_seconds_of(300)
    ]
    taken_back = 0
    for seed in range(6):
        steady_run = run_of(samples_with(seed=seed), plan_of(300))
        criterion = response_time(limit=1.003 * judge(response_time(), steady_run).interval[1])
        assert judge(criterion, steady_run).status is PASS
        verdict = judge(criterion, run_of(samples_with(seed=seed), plan_of(300), worker_seconds=rising))
        taken_back += verdict.status is INCONCLUSIVE and "worst third" in verdict.reason
    assert taken_back


def test_rising_numbers_in_flight_are_a_drift_too():
    worker_seconds = [
        changed(worker_second, in_flight=10 + worker_second.second)
        for worker_second in worker_seconds_of(300)
    ]
    run = run_of(samples_with(), plan_of(300), worker_seconds=worker_seconds)
    assert any("in flight rose" in warning for warning in judge(response_time(), run).warnings)


# --- the generator


def unhealthy(run, seconds, delay=0.2):
    """A loop that was blocked in some seconds."""
    moments = np.arange(float(run.plan.workload.seconds))
    lag = np.where(np.isin(moments, list(seconds)), delay, 0.0005)
    run.table.count(Kind.LAG, worker_series(0), moments, lag)
    return run


def test_a_generator_at_fault_all_the_time_makes_the_verdict_invalid():
    for slow in ((), range(300)):
        verdict = judge(response_time(), unhealthy(run_with(slow=slow), range(300)))
        assert verdict.status is INVALID
        assert "event loop" in verdict.reason


def test_a_generator_at_fault_now_and_then_is_a_warning_where_it_changes_nothing():
    verdict = judge(response_time(), unhealthy(run_with(), range(0, 300, 20)))
    assert verdict.status is PASS
    assert any("overloaded" in warning for warning in verdict.warnings)


def test_a_fail_that_comes_from_unhealthy_seconds_alone_is_invalid():
    slow = range(100, 140)
    verdict = judge(response_time(), unhealthy(run_with(slow=slow), slow))
    assert verdict.status is INVALID
    assert "without those seconds the verdict would be pass instead of" in verdict.reason


def test_an_event_loop_that_stands_still_is_at_fault_in_all_seconds_before_it_continues():
    frozen = closed_run(freeze=(100.0, 120.0))
    assert judge(response_time(comparison=NEVER), unhealthy(frozen, [120], delay=20.0)).status is INVALID
    assert judge(response_time(comparison=NEVER), closed_run(freeze=(100.0, 120.0))).status is FAIL
    later = unhealthy(closed_run(freeze=(100.0, 120.0)), [200], delay=20.0)
    assert judge(response_time(comparison=NEVER), later).status is FAIL


def test_a_bad_window_without_a_fault_of_the_generator_stays_a_fail():
    """Without the faulty seconds, the other seconds would form windows in which it does not show."""
    random = np.random.default_rng(1)
    starts = np.sort(random.uniform(0, 300, 30_000))
    is_slow = (starts // 10 == 6) & (random.uniform(size=len(starts)) < 0.1)
    run = run_of(samples_of(starts, np.where(is_slow, 1.0, 0.02)), plan_of(300))
    assert judge(response_time(comparison=NEVER), run).status is FAIL
    assert judge(response_time(comparison=NEVER), unhealthy(run, range(20, 25))).status is FAIL


def test_times_in_the_bucket_of_the_limit_are_too_close_for_any_length():
    starts = np.arange(0, 300, 0.01)
    verdict = judge(response_time(), run_of(samples_of(starts, np.full(len(starts), 0.4999)), plan_of(300)))
    assert verdict.status is Status.INCONCLUSIVE
    assert "too close to the limit" in verdict.reason


def test_a_fail_that_the_generators_lateness_makes_is_invalid():
    random = np.random.default_rng(1)
    starts = np.sort(random.uniform(0, 60, 6000))
    run = run_of(samples_of(starts, 0.6 + random.exponential(0.02, 6000), late=0.6), plan_of(60))
    run.table.count(Kind.LATENESS, worker_series(0), starts, np.where(starts % 20 < 19, 0.6, 0.0))
    verdict = judge(response_time(), run)
    assert verdict.status is INVALID
    assert "by service time" in verdict.reason


@pytest.mark.parametrize(("service", "status"), [(0.49, INVALID), (0.51, FAIL)])
def test_a_maximum_above_the_limit_that_the_generators_lateness_makes_is_invalid(service, status):
    starts = np.arange(0, 60, 0.01)
    run = run_of(samples_of(starts, np.full(len(starts), service + 0.03), late=0.03), plan_of(60))
    run.table.count(Kind.LATENESS, worker_series(0), starts, np.full(len(starts), 0.03))
    verdict = judge(response_time(None, 0.5, Comparison.NEVER_EXCEEDS, statistic="max"), run)
    assert verdict.status is status


def test_a_fail_is_never_invalid_because_the_service_was_slow_to_take_requests():
    worker_seconds = worker_seconds_of(300, scheduled=100, sent=40, blocked=60)
    run = run_of(samples_with(slow=range(300)), plan_of(300), worker_seconds=worker_seconds)
    assert judge(response_time(), run).status is FAIL


@pytest.mark.parametrize(
    ("model", "level", "status"),
    [
        (Model.REQUESTS, 150, NOT_JUDGED),  # 1.05 times the limit is needed
        (Model.REQUESTS, 160, FAIL),
        (Model.JOURNEYS, 160, NOT_JUDGED),  # whatever their number, they made 100 requests per second
        (Model.CLOSED, 100, NOT_JUDGED),  # with 0.8 s of thinking: 125 per second at most
        (Model.CLOSED, 130, FAIL),
    ],
)
def test_a_throughput_that_the_plan_cannot_reach_says_nothing_of_the_service(model, level, status):
    run = run_of(samples_with(), plan_of(300, level=level, model=model))
    assert judge(throughput(150), run).status is status
    assert judge(throughput(90), run).status is PASS


def journeys_of(attempts, *, failing=0.0, capacity=math.inf, started=20):
    """Twenty journeys starting per second: `attempts` requests per second, of which a share fails at once.

    The service answers at most `capacity` per second, and each further one later. Arrivals that
    are not `started` wait for a user.
    """
    starts = np.arange(300 * attempts) / attempts
    times = np.maximum(0.02, (np.arange(len(starts)) + 1) / capacity - starts)
    outcomes = np.where(np.random.default_rng(1).random(len(starts)) < failing, "timeout", OK).tolist()
    begun = [
        dataclasses.replace(each, counts={"users": {**each.counts["users"], JOURNEYS: started}})
        for each in worker_seconds_of(300)
    ]
    plan = plan_of(300, level=20, model=Model.JOURNEYS)
    return run_of(samples_of(starts, times, outcome=outcomes), plan, worker_seconds=begun)


@pytest.mark.parametrize(
    ("made", "status"),
    [
        # Ten requests each. Of 40 % the first one failed, so there were no more: 20 + 12 * 9 per second.
        ({"attempts": 128, "failing": 8 / 128}, FAIL),
        ({"attempts": 145, "capacity": 130}, FAIL),  # no error, and ever more of them in flight
        (
            {"attempts": 120, "started": 12},
            FAIL,
        ),  # the others waited, as the service was slow to log users in
        ({"attempts": 100}, NOT_JUDGED),  # five requests each: the plan offers no more
        ({"attempts": 100, "failing": 0.01}, NOT_JUDGED),
    ],
)
def test_requests_of_journeys_that_the_service_prevented_are_no_fault_of_the_plan(made, status):
    assert judge(throughput(150), journeys_of(**made)).status is status


def test_throughput_that_the_generator_did_not_offer_is_invalid():
    worker_seconds = worker_seconds_of(300, scheduled=200, sent=100)
    run = run_of(samples_with(), plan_of(300, level=200), worker_seconds=worker_seconds)
    assert judge(throughput(150), run).status is INVALID


def closed_and_late(late, users=100):
    """Users of 0.9 s thinking and 0.1 s service; the generator sends each request too late by `late` seconds."""
    random = np.random.default_rng(1)
    starts = np.sort(random.uniform(0, 300, int(300 * users / (1 + late))))
    if users < 10:
        starts = np.linspace(0, 299.9, len(starts))
    run = run_of(
        samples_of(starts, np.full(len(starts), 0.1 + late), late=late),
        plan_of(300, model=Model.CLOSED),
        worker_seconds=worker_seconds_of(300, held=users),
    )
    run.table.count(Kind.LATENESS, worker_series(0), starts, np.full(len(starts), late))
    return run


def test_lateness_counts_also_where_it_takes_less_than_one_operation_of_a_second():
    run = closed_and_late(0.09, users=5)
    assert judge(throughput(4.85, Comparison.IS_ABOVE), run).status is INVALID


@pytest.mark.parametrize(
    ("late", "limit", "status"),
    [
        (0.0, 97, PASS),
        (0.05, 97, INVALID),  # 95 per second, but 100 had it sent in time
        (0.05, 105, FAIL),  # not even then
        (0.05, 90, PASS),
    ],
)
def test_throughput_of_a_closed_load_that_the_generators_lateness_lowers_is_no_fail(late, limit, status):
    promised = throughput(limit, Comparison.IS_ABOVE)
    assert judge(promised, closed_and_late(late)).status is status


def test_the_limit_sets_what_lag_matters():
    run = unhealthy(run_with(), range(300), delay=0.03)
    assert judge(response_time(limit=2.0), run).status is PASS
    assert judge(response_time(limit=0.2), run).status is INVALID


@pytest.mark.parametrize(("busy", "sent", "status"), [(0.4, 100, PASS), (0.4, 50, INVALID), (0.9, 50, FAIL)])
def test_a_gauge_keeps_no_promise_under_a_load_that_was_not_put_on(busy, sent, status):
    times = 1_700_000_000.0 + np.arange(301.0)
    cpu = Observation(
        "CPU utilization", Reading.GAUGE, "ratio", (Series("", times, np.full(301, busy)),), 1.0
    )
    worker_seconds = worker_seconds_of(300, scheduled=100, sent=sent)
    run = run_of(samples_with(), plan_of(300), worker_seconds=worker_seconds, observations=[cpu])
    assert judge(gauge(0.7), run).status is status


def frozen_open_load(pause):
    """200 arrivals a second of 10 ms; in a freeze of 8 s, 22 are sent, and the others wait for a user.

    `pause`: the longest of the generator's collections of garbage, in seconds.
    """
    starts, samples = np.arange(0, 120, 0.005), []
    for number, start in enumerate(starts.tolist()):
        freed = 68.0 if 60 <= start < 68 else start
        sent = start if number < 60 * 200 + 22 else freed
        samples.append(Sample("GET /", OK, start, sent, freed + 0.01, 100))
    worker_seconds = worker_seconds_of(120, scheduled=200)
    worker_seconds[20] = changed(worker_seconds[20], longest_pause=pause)
    return run_of(samples, plan_of(120, level=200), worker_seconds=worker_seconds)


@pytest.mark.parametrize("pause", [0.001, 0.021])
def test_a_wait_for_a_user_is_the_services_also_where_the_generator_was_warned_of(pause):
    verdict = judge(response_time(comparison=NEVER), frozen_open_load(pause))
    assert verdict.status is FAIL
    assert any("garbage collection" in warning for warning in verdict.warnings) is (pause > 0.02)


@pytest.mark.parametrize(("service", "status"), [(0.47, INVALID), (0.6, FAIL)])
def test_a_never_that_only_the_lateness_of_the_generator_broke_is_invalid(service, status):
    starts, samples = np.arange(0, 300, 0.02), []
    for start in starts.tolist():
        late, took = (0.045, service) if 100 <= start < 110 else (0.0, 0.02)
        samples.append(
            Sample("GET /", OK, start, start + late, start + late + took, 100, lateness=max(late, 1e-6))
        )
    run = run_of(samples, plan_of(300, level=50))
    late = np.array([sample.lateness for sample in samples])
    run.table.count(Kind.LATENESS, worker_series(0), starts, late)
    verdict = judge(response_time(comparison=NEVER), run)
    assert verdict.status is status, verdict.reason
    if status is FAIL:
        assert any("the verdict is the same without it" in warning for warning in verdict.warnings)


def with_gauge(values, lagged, probes=()):
    """A healthy service under a generator whose loop was blocked in some seconds; CPU by second."""
    cpu = Observation(
        "CPU utilization",
        Reading.GAUGE,
        "ratio",
        (Series("", 1_700_000_000.0 + np.arange(301.0), np.append(values, values[-1])),),
        1.0,
        judged=Judged.MEAN,
    )
    return unhealthy(run_of(samples_with(), plan_of(300), observations=[cpu], probes=probes), lagged)


IDLE, LATE = np.full(300, 0.4), np.where(np.arange(300) < 288, 0.4, 0.9)
"""Processor time below the limit; and above it in the last twelve seconds, which a mean bears."""


@pytest.mark.parametrize(
    ("values", "lagged", "status"),
    [
        (IDLE, range(300), INVALID),
        (IDLE, [second for second in range(300) if second not in {100, 200}], INVALID),
        (IDLE, range(0, 300, 2), INVALID),  # at most a second of full load at a time
        (IDLE, range(9, 300), INVALID),  # nine seconds show too little
        (IDLE, range(150), PASS),
        (IDLE, (100, 108, 116), PASS),  # too few to change the load
        (LATE, (), PASS),
        (LATE, range(288), INVALID),  # under the full load it was above the limit
        (LATE, range(288, 300), PASS),
    ],
)
def test_a_gauge_passes_only_if_it_does_under_the_load_that_was_put_on(values, lagged, status):
    verdict = judge(gauge(0.7, comparison=Comparison.IS_BELOW), with_gauge(values, lagged))
    assert verdict.status is status, verdict.reason
    if lagged:
        assert "overloaded" in (verdict.reason if status is INVALID else " ".join(verdict.warnings))


def test_uptime_passes_only_if_it_does_under_the_load_that_was_put_on():
    probes = tuple((second + 0.5, True) for second in range(300))
    criterion = grammar.criterion("uptime is above 90%")
    assert judge(criterion, with_gauge(IDLE, range(150), probes)).status is PASS
    assert judge(criterion, with_gauge(IDLE, range(2, 300), probes)).status is INVALID


def test_scattered_lags_of_the_generator_do_not_take_a_gauges_pass_back():
    """Two of a hundred looks at the loop in every eighth second: the load is as stated."""
    run = with_gauge(IDLE, ())
    moments = np.arange(0, 300, 0.01)
    lag = np.where((moments.astype(int) % 8 == 0) & (moments % 1 < 0.02), 0.2, 0.0005)
    run.table.count(Kind.LAG, worker_series(0), moments, lag)
    verdict = judge(gauge(0.7), run)
    assert verdict.status is PASS
    assert any("it was at fault in 38 of 300 seconds" in warning for warning in verdict.warnings)


# --- users held


def test_users_that_were_not_held_make_the_verdict_invalid():
    plan = plan_of(300, model=Model.CLOSED)
    half = run_of(samples_with(), plan, worker_seconds=worker_seconds_of(300, held=50))
    assert judge(response_time(), half).status is INVALID
    assert "50 of 100 users were held" in judge(response_time(), half).reason
    nobody_counted = run_of(samples_with(), plan, worker_seconds=())
    assert judge(response_time(), nobody_counted).status is INVALID


def test_a_few_seconds_with_fewer_users_are_forgiven():
    plan = plan_of(300, model=Model.CLOSED)
    worker_seconds = [
        changed(worker_second, held=50 if worker_second.second % 30 == 0 else 98)
        for worker_second in worker_seconds_of(300)
    ]
    assert judge(response_time(), run_of(samples_with(), plan, worker_seconds=worker_seconds)).status is PASS


# --- mistakes of journeys

MISTAKE = """the journey "browse" itself failed: KeyError: 'idd' at steps/journeys/browse.py:12"""


def with_mistakes(*code_errors, busy=0.4, **changes):
    times = 1_700_000_000.0 + np.arange(301.0)
    cpu = Observation(
        "CPU utilization", Reading.GAUGE, "ratio", (Series("", times, np.full(301, busy)),), 1.0
    )
    worker_seconds = worker_seconds_of(300)
    for second, mistake in enumerate(code_errors):
        counts = worker_seconds[second].counts["users"] | {JOURNEY_ERROR + mistake: 20}
        worker_seconds[second] = dataclasses.replace(worker_seconds[second], counts={"users": counts})
    return run_of(samples_with(**changes), plan_of(300), worker_seconds=worker_seconds, observations=[cpu])


@pytest.mark.parametrize(("slow", "status"), [((), PASS), (range(300), FAIL)])
def test_a_mistake_of_a_journey_makes_any_verdict_on_operations_invalid(slow, status):
    assert judge(response_time(), with_mistakes(slow=slow)).status is status
    verdict = judge(response_time(), with_mistakes(MISTAKE, MISTAKE, slow=slow))
    assert verdict.status is INVALID
    assert verdict.reason == f"T{MISTAKE[1:]}, 40 times."


def test_the_commonest_mistake_is_told_and_the_others_are_counted():
    reason = judge(response_time(), with_mistakes("one", MISTAKE, MISTAKE, "two")).reason
    assert reason == f"T{MISTAKE[1:]}, 40 times; 2 other errors in journeys too."


def with_users(run, met, errors, users=200, journeys=10_000, **others):
    """The run with these numbers in its first second."""
    first, *rest = run.worker_seconds
    counts = {USERS: users, JOURNEYS: journeys, WITH_ERRORS: met, MET_ERROR + MISTAKE: met}
    counts[JOURNEY_ERROR + MISTAKE] = errors
    first = dataclasses.replace(first, counts={"users": first.counts["users"] | counts, **others})
    return dataclasses.replace(run, worker_seconds=(first, *rest))


@pytest.mark.parametrize(
    ("met", "errors", "is_rare"),
    [(1, 1, True), (2, 100, True), (3, 3, False), (200, 200, False), (1, 101, False)],
)
@pytest.mark.parametrize("slow", [(), range(300)])
def test_a_mistake_of_at_most_one_in_a_hundred_users_and_journeys_only_warns(met, errors, is_rare, slow):
    verdict = judge(response_time(), with_users(with_mistakes(slow=slow), met, errors))
    times = "once" if errors == 1 else f"{errors} times"
    sentence = f"{MISTAKE}, met by {met} of 200 users, {times}"
    if is_rare:
        assert verdict.status is (FAIL if slow else PASS)
        assert f"{sentence}; errors of journeys are too rare to matter" in verdict.warnings
    else:
        assert verdict.status is INVALID
        assert verdict.reason == f"T{sentence[1:]}."


def with_rare(run, errors=90, population="users"):
    """The run with errors of two users, one every three seconds, that ended 90 of 10,000 journeys."""
    run = with_users(run, 2, 0)
    each = {
        second: each.counts[population] | {JOURNEY_ERROR + MISTAKE: 1}
        for second, each in enumerate(run.worker_seconds[: 3 * errors])
        if second % 3 == 0
    }
    seconds = [
        dataclasses.replace(one, counts={**one.counts, population: each.get(second, one.counts[population])})
        for second, one in enumerate(run.worker_seconds)
    ]
    return dataclasses.replace(run, worker_seconds=tuple(seconds))


@pytest.mark.parametrize(
    ("criterion", "status"),
    [
        (error_rate(0.001), INCONCLUSIVE),
        (error_rate(0.02), PASS),
        (availability(0.999), INCONCLUSIVE),
        (response_time(0.999, 1), INCONCLUSIVE),
        (response_time(0.95), PASS),
        (response_time(None, 1.0, statistic="mean"), PASS),
        (response_time(None, 5, NEVER, statistic="max"), INCONCLUSIVE),
        (throughput(90), PASS),
    ],
)
def test_rare_mistakes_do_not_let_a_criterion_pass_that_they_could_break(criterion, status):
    """An error can be the effect of a wrong answer, and it keeps the rest of the journey away."""
    assert judge(criterion, with_mistakes()).status is PASS
    verdict = judge(criterion, with_rare(with_mistakes()))
    assert verdict.status is status
    if status is INCONCLUSIVE:
        assert f"{MISTAKE}, met by 2 of 200 users, 90 times" in verdict.reason
        assert "hides up to 270 operations of this window; if they had failed" in verdict.reason


def test_mistakes_hide_operations_of_the_kind_that_is_judged():
    run = with_rare(with_mistakes())
    run.table.record(samples_of(np.arange(60_000) / 200, np.full(60_000, 0.01), "orders"), timing=QUERY)
    verdict = judge(grammar.criterion("the p99.9 query time stays below 100 ms"), run)
    assert "hides up to 540 operations of this window" in verdict.reason


def test_the_workflows_that_a_stall_of_requests_prevents_count():
    run = closed_run(freeze=(100.0, 130.0))
    random = np.random.default_rng(2)
    starts = np.sort(random.uniform(0, 300, 3_000))
    starts = starts[(starts < 101) | (starts > 130)]
    times = np.where((starts > 100) & (starts < 101), 30.0, 0.1)
    run.table.record(samples_of(starts, times, "visit"), timing=WORKFLOW)
    verdict = judge(grammar.criterion("the p95 workflow time is below 1 s"), run)
    assert verdict.details["filled"] == pytest.approx(290, rel=0.1)
    assert verdict.status is not PASS


def test_rare_mistakes_leave_a_fail_as_it_is():
    assert (
        judge(error_rate(0.01), with_rare(with_mistakes(slow=range(300), outcome="refused"))).status is FAIL
    )


def test_mistakes_of_one_population_hide_no_operation_of_another():
    users, admins = (Scope(ScopeKind.POPULATION, name) for name in ("users", "admins"))
    run = with_rare(with_mistakes())
    (one,) = run.plan.populations
    both = tuple(dataclasses.replace(one, name=name) for name in ("users", "admins"))
    for name in ("users", "admins"):
        run.table.record(samples_of(np.arange(30_000) / 100, np.full(30_000, 0.01)), population=name)
    first, *rest = run.worker_seconds
    counts = {**first.counts, "admins": {JOURNEYS: 50_000}}
    seconds = (dataclasses.replace(first, counts=counts), *rest)
    plan = dataclasses.replace(run.plan, populations=both)
    run = dataclasses.replace(run, plan=plan, worker_seconds=seconds)
    verdict = judge(error_rate(0.001, scope=users), run)
    assert verdict.status is INCONCLUSIVE
    assert "hides up to 270 operations of this window" in verdict.reason
    assert judge(error_rate(0.001, scope=admins), run).status is PASS


def test_one_error_of_one_user_in_a_long_run_only_warns_however_few_users_there_are():
    assert judge(response_time(), with_users(with_mistakes(), 1, 1, users=5)).status is PASS
    assert judge(response_time(), with_users(with_mistakes(), 2, 2, users=5)).status is INVALID


def test_a_mistake_that_is_rare_in_the_run_and_frequent_in_one_population_is_not_rare():
    admins = {USERS: 10, JOURNEYS: 100, WITH_ERRORS: 1, JOURNEY_ERROR + "of admins": 9}
    run = with_users(with_mistakes(), 0, 0, admins=admins)
    assert judge(response_time(), run).status is INVALID


def test_a_journey_that_fails_before_any_operation_is_told_as_the_reason():
    run = run_of([], plan_of(300), worker_seconds=with_mistakes(MISTAKE).worker_seconds)
    assert judge(response_time(), run).status is INVALID


def test_a_verdict_on_the_service_alone_stands_whatever_the_journeys_mistakes():
    assert judge(gauge(0.7), with_mistakes(MISTAKE)).status is PASS
    assert judge(gauge(0.7), with_mistakes(MISTAKE, busy=0.9)).status is FAIL


# --- how it ended

EMERGENCY = "emergency stop: more than half of the operations failed"


def cut_short(ended_at, ended="interrupted", **changes):
    samples = [sample for sample in samples_with(**changes) if sample.intended < ended_at]
    return run_of(samples, plan_of(300), ended=ended, ended_at=ended_at)


def test_a_run_cut_short_can_fail_and_cannot_pass():
    assert judge(response_time(), cut_short(100.0, slow=range(300))).status is FAIL
    verdict = judge(response_time(), cut_short(100.0))
    assert verdict.status is INCONCLUSIVE
    assert "cut short after 100 s (interrupted)" in verdict.reason


def test_a_run_cut_short_after_its_window_has_shown_all():
    run = cut_short(302.0)
    verdict = judge(response_time(), run)
    assert verdict.status is PASS
    assert any("cut short after its steady window" in warning for warning in verdict.warnings)


def stopped_in_the_drain(waiting, *, hangs_from=300, seconds=302, ended="interrupted", timeout=10.0):
    """A load of 300 s; from a second on the service answers nothing, and `waiting` operations hang when it is stopped."""
    samples = [sample for sample in samples_with() if sample.intended < hangs_from]
    worker_seconds = [
        changed(each, in_flight=waiting if each.second >= hangs_from - 1 else 2)
        for each in worker_seconds_of(seconds)
    ]
    plan = plan_of(300, timeout=timeout)
    return run_of(samples, plan, worker_seconds=worker_seconds, ended=ended)


@pytest.mark.parametrize("ended", ["interrupted", "worker 1 died", "the workers did not end"])
def test_operations_without_an_answer_when_the_drain_was_cut_short_do_not_let_a_criterion_pass(ended):
    run = stopped_in_the_drain(800, hangs_from=292, ended=ended)
    for criterion in (error_rate(0.01), availability(0.99)):
        verdict = judge(criterion, run)
        assert verdict.status is INCONCLUSIVE
        assert (
            "800 operations had no answer yet when the run was cut short; if they had failed"
            in verdict.reason
        )


def test_arrivals_that_wait_for_a_user_when_the_drain_is_cut_short_do_not_let_a_criterion_pass():
    """The gauge counts only what users sent; the last one also the arrivals that wait."""
    samples = [sample for sample in samples_with() if sample.intended < 292]
    worker_seconds = [
        changed(each, blocked=100 if each.second >= 292 else 0, in_flight=800 if each.second == 301 else 10)
        for each in worker_seconds_of(302)
    ]
    run = run_of(samples, plan_of(300), worker_seconds=worker_seconds, ended="interrupted")
    verdict = judge(error_rate(0.01), run)
    assert verdict.status is INCONCLUSIVE
    assert "800 operations had no answer yet" in verdict.reason


def test_operations_without_an_answer_are_no_doubt_where_they_change_nothing():
    assert judge(error_rate(0.01), stopped_in_the_drain(3)).status is PASS
    assert judge(response_time(), stopped_in_the_drain(50)).status is PASS
    assert judge(throughput(90), stopped_in_the_drain(800, hangs_from=292)).status is PASS


def test_what_has_no_answer_a_time_out_after_the_window_did_not_begin_in_it():
    assert judge(error_rate(0.01), stopped_in_the_drain(800, seconds=309)).status is INCONCLUSIVE
    assert judge(error_rate(0.01), stopped_in_the_drain(800, seconds=311)).status is PASS
    assert (
        judge(error_rate(0.01), stopped_in_the_drain(800, seconds=311, timeout=20.0)).status is INCONCLUSIVE
    )


def test_what_hangs_after_the_window_was_answered_is_no_doubt():
    """The action makes the service hang, and somebody stops the load three seconds later."""
    plan = plan_of(300, actions=(Action("kill instance"),))
    waits = [changed(each, in_flight=2 if each.second < 100 else 300) for each in worker_seconds_of(104)]
    samples = [sample for sample in samples_with() if sample.intended < 100]
    run = run_of(samples, plan, worker_seconds=waits, ended="interrupted", ended_at=103.0)
    assert judge(error_rate(0.01), run).status is PASS


def test_a_run_cut_short_before_its_window_is_inconclusive():
    run = run_of([], plan_of(60, 60), ended="interrupted", ended_at=30.0)
    assert judge(response_time(), run).status is INCONCLUSIVE


def test_an_emergency_stop_in_the_ramp_fails_where_most_operations_failed_and_else_says_nothing():
    for outcome, status in (("refused", FAIL), ("ok", INCONCLUSIVE)):
        samples = samples_of(np.arange(0, 30, 0.01), np.full(3000, 0.01), outcome=outcome)
        run = run_of(samples, plan_of(60, 60), ended=EMERGENCY, ended_at=30.0)
        for criterion in (error_rate(), response_time()):
            verdict = judge(criterion, run)
            assert verdict.status is status
            assert verdict.window.phase == "until the emergency stop"


def test_an_outage_fails_although_it_began_just_before_the_emergency_stop():
    starts = np.arange(0, 52, 0.005)
    outcomes = np.where(starts > 46, "refused", "ok").tolist()
    samples = samples_of(starts, np.full(len(starts), 0.01), outcome=outcomes)
    run = run_of(samples, plan_of(90, 3), ended=EMERGENCY, ended_at=52.0)
    for criterion in (error_rate(), response_time()):
        assert judge(criterion, run).status is FAIL


def test_a_service_that_stands_still_fails_although_all_that_failed_began_long_before_the_emergency_stop():
    starts = np.arange(0, 151, 0.01)
    times, outcomes = np.full(len(starts), 0.01), np.full(len(starts), "ok", dtype="U7")
    times[starts >= 150], outcomes[starts >= 150] = 10.0, "timeout"
    plan = plan_of(300, 3, 100, Model.CLOSED)
    stalls = [(151.0, 160.0)]
    samples = samples_of(starts, times, outcome=outcomes.tolist())
    run = run_of(samples, plan, stalls=stalls, ended=EMERGENCY, ended_at=161.0)
    assert judge(response_time(), run).status is FAIL


def test_judged_is_what_came_before_the_first_action():
    run = run_of(samples_with(slow=range(100, 300)), plan_of(300, actions=(Action("kill instance"),)))
    verdict = judge(response_time(), run)
    assert verdict.status is PASS
    assert verdict.window.end == 100


def test_a_load_that_is_never_constant_is_not_judged():
    plan = plan_of(300)
    plan = plan.with_workloads(lambda load: dataclasses.replace(load, stages=(Stage(300, 100),)))
    assert judge(response_time(), run_of(samples_with(), plan)).status is NOT_JUDGED


# --- rehearsals


def test_a_rehearsal_is_told_with_what_was_scaled():
    scaling = Scaling(users=0.1, time=0.1, stated_hold=300)
    plan = plan_of(30, 12, 100, Model.CLOSED, stated_level=1000, scaling=scaling)
    run = run_of(samples_with(seconds=42), plan)
    assert judge(response_time(), run).rehearsed == "100 of 1000 users, 30 s of 5 min"


def test_amounts_are_not_judged_with_fewer_users():
    plan = plan_of(300, stated_level=1000, scaling=Scaling(users=0.1))
    run = run_of(samples_with(), plan)
    assert judge(throughput(10), run).status is NOT_JUDGED
    assert judge(response_time(), run).status is PASS
    shorter = run_of(samples_with(), plan_of(300, scaling=Scaling(time=0.5, stated_hold=600)))
    assert judge(throughput(90), shorter).status is PASS


def test_every_verdict_tells_its_run_its_window_and_its_limit():
    verdict = judge(response_time(scope=Scope(ScopeKind.LABEL, "GET /")), run_with())
    assert (verdict.run, verdict.limit, verdict.unit) == ("run-1", 0.5, "s")
    assert (verdict.window.start, verdict.window.seconds) == (0, 300)


# --- a start that looks like a warm-up


def run_with_a_broken_start(seconds, outcome):
    """Twenty operations per second; the first 30 % of the hold fail in part, or are slow."""
    starts = np.arange(0, seconds, 0.05)
    is_start = starts < 0.3 * seconds
    if outcome == "slow":
        return run_of(samples_of(starts, np.where(is_start, 3.0, 0.02)), plan_of(seconds, level=20))
    is_bad = is_start & (np.arange(len(starts)) % 10 < 3)
    outcomes = ["status 503" if bad else OK for bad in is_bad]
    return run_of(
        samples_of(starts, np.where(is_bad, 2.0, 0.02), outcome=outcomes), plan_of(seconds, level=20)
    )


@pytest.mark.parametrize("seconds", [60, 300, 1800])
@pytest.mark.parametrize("outcome", ["slow", "failing"])
def test_a_broken_start_is_never_excluded_as_a_warm_up_to_pass(seconds, outcome):
    run = run_with_a_broken_start(seconds, outcome)
    evidence = Evidence(run)
    criteria = [response_time(), response_time(comparison=Comparison.NEVER_EXCEEDS)]
    if outcome == "failing":
        criteria += [error_rate(), error_rate(comparison=Comparison.NEVER_EXCEEDS), availability()]
        criteria += [throughput(19.5)]
    for criterion in criteria:
        verdict = judging.judge(criterion, evidence)
        assert verdict.status is not Status.PASS, verdict
    hold, window = evidence.hold, evidence.window
    assert window.start - hold.start <= 60


def test_an_excluded_warm_up_is_stated_with_the_verdict():
    starts = np.arange(0, 60, 0.05)
    times = np.where(starts < 10, 0.2, 0.02)
    verdict = judge(response_time(), run_of(samples_of(starts, times), plan_of(60, level=20)))
    assert verdict.status is Status.PASS
    assert verdict.details["warm_up"] == 10
    assert any("10 s of the hold were excluded as warm-up" in warning for warning in verdict.warnings)


def test_a_verdict_that_depends_on_an_excluded_warm_up_is_inconclusive():
    starts = np.arange(0, 60, 0.05)
    times = np.where(starts < 10, 0.2, 0.02)
    verdict = judge(response_time(limit=0.1), run_of(samples_of(starts, times), plan_of(60, level=20)))
    assert verdict.status is Status.INCONCLUSIVE
    assert "which look like a warm-up" in verdict.reason
