"""What is said of one criterion, when nothing is wrong with the run."""

import copy
import dataclasses
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadkit.criterion import Comparison, Criterion, Family, Measure, Scope, ScopeKind, Unit
from loadkit.judging import percentiles
from loadkit.recording import packing
from loadkit.recording.sample import OK
from loadkit.verdict import Status
from loadkit.workload.plan import Plan, Population
from loadkit.workload.workload import MixEntry, Model, Stage, Workload
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
)

PASS, FAIL, INCONCLUSIVE, NOT_JUDGED = Status.PASS, Status.FAIL, Status.INCONCLUSIVE, Status.NOT_JUDGED


@cache
def exponential_run(
    number=30_000, seconds=300, mean=0.02, failed=0.0, seed=1, model=Model.REQUESTS, **changes
):
    """Independent operations, evenly spread at random; a share of them fails at once."""
    random = np.random.default_rng(seed)
    starts = np.sort(random.uniform(0, seconds, number))
    outcomes = np.where(random.uniform(size=number) < failed, "status 500", "ok").tolist()
    samples = samples_of(starts, random.exponential(mean, number), outcome=outcomes)
    return run_of(samples, plan_of(seconds, level=1.5 * number / seconds, model=model), **changes)


P95 = 0.02 * -np.log(0.05)


@pytest.mark.parametrize(("factor", "status"), [(0.9, FAIL), (1.0, INCONCLUSIVE), (1.1, PASS), (10, PASS)])
def test_a_percentile_is_judged_by_what_is_sure_of_it(factor, status):
    verdict = judge(response_time(limit=factor * P95), exponential_run())
    assert verdict.status is status
    assert verdict.measured == pytest.approx(P95, rel=0.03)
    assert verdict.interval[0] <= verdict.measured <= verdict.interval[1]
    assert verdict.samples == 30_000
    assert 10_000 < verdict.effective_samples < 30_000


def test_what_is_shown_and_what_is_decided_agree():
    run = exponential_run()
    lower, upper = judge(response_time(limit=P95), run).interval
    assert judge(response_time(limit=upper * 1.0001), run).status is PASS
    assert judge(response_time(limit=upper * 0.9999), run).status is INCONCLUSIVE
    assert judge(response_time(limit=lower * 1.0001), run).status is INCONCLUSIVE
    assert judge(response_time(limit=lower * 0.9979), run).status is FAIL


def test_the_width_of_a_bucket_never_decides():
    """All operations take 100 ms; limits within the bucket that holds them can be told neither way."""
    run = run_of(samples_of(np.arange(0, 300, 0.1), np.full(3000, 0.1)))
    assert judge(response_time(limit=0.1), run).status is INCONCLUSIVE
    assert judge(response_time(limit=0.1 * 1.002), run).status is PASS
    assert judge(response_time(limit=0.1 / 1.002), run).status is FAIL


def test_504_ms_is_not_500():
    run = run_of(samples_of(np.arange(0, 300, 0.1), np.full(3000, 0.504)))
    assert judge(response_time(limit=0.5), run).status is FAIL


def test_the_reason_is_a_sentence_with_the_figures():
    verdict = judge(response_time(limit=0.5), exponential_run())
    assert verdict.reason == (
        "p95 response time was 59.6 ms (at most 60.8 ms with 95 % confidence), 8.38 times below the limit of 500 ms."
    )


def test_an_undecided_verdict_says_how_long_would_decide_it():
    short = judge(response_time(limit=0.5), run_of(samples_of(np.arange(0, 30, 1.0), np.full(30, 0.02))))
    assert short.status is INCONCLUSIVE
    assert "of steady load would decide it" in short.reason
    on_the_limit = judge(throughput(100), exponential_run())
    assert "too close to the limit to decide with a longer run" in on_the_limit.reason


def test_what_a_bad_spell_decides_is_told_without_doubt():
    starts = np.arange(0, 300, 0.01)
    run = run_of(samples_of(starts, np.where((starts > 100) & (starts < 140), 1.0, 0.02)), plan_of(300))
    assert "with 95 % confidence it is" in judge(response_time(limit=0.5), run).reason
    reason = judge(response_time(limit=0.5, comparison=Comparison.STAYS_BELOW), run).reason
    assert "in a row; over the whole window, p95 response time was" in reason
    assert "with 95 % confidence it is" not in reason


def test_a_percentile_among_failed_operations_is_undefined_and_the_reason_says_so():
    verdict = judge(
        response_time(limit=0.5),
        run_of(samples_of(np.arange(0, 60, 0.02), np.full(3000, 0.01), outcome="reset"), plan_of(60)),
    )
    assert verdict.reason == (
        "p95 response time is undefined: more than 5 % of the operations failed, and failed operations count as above "
        "every limit."
    )


def test_a_service_that_wanders_far_below_its_limit_passes():
    """4 ms drifting to 5 ms against 500."""
    random = np.random.default_rng(1)
    starts = np.sort(random.uniform(0, 60, 3000))
    run = run_of(samples_of(starts, 0.004 + starts / 60_000 + random.uniform(0, 0.0005, 3000)), plan_of(60))
    verdict = judge(response_time(limit=0.5), run)
    assert verdict.status is PASS
    assert any("rose" in warning and "worst third" in warning for warning in verdict.warnings)


def test_a_service_that_is_always_far_too_slow_fails_however_it_wanders():
    starts = np.arange(0, 60, 0.02)
    run = run_of(samples_of(starts, 2 + starts / 60), plan_of(60))
    assert judge(response_time(limit=0.5), run).status is FAIL


# --- failures


def test_failures_count_as_above_every_limit():
    run = exponential_run(failed=0.08)
    verdict = judge(response_time(limit=0.5), run)
    assert verdict.status is FAIL
    assert (verdict.measured, verdict.censored) == (None, True)
    assert verdict.details["successes_only"] == pytest.approx(P95, rel=0.03)
    assert "failed" in verdict.reason


def test_a_few_fast_failures_do_not_flatter_a_percentile():
    assert judge(response_time(limit=1.02 * P95), exponential_run(60_000)).status is not FAIL
    assert judge(response_time(limit=1.02 * P95), exponential_run(60_000, failed=0.03)).status is FAIL


@pytest.mark.parametrize(
    ("share", "status"), [(0.0, PASS), (0.005, PASS), (0.0101, INCONCLUSIVE), (0.02, FAIL), (1.0, FAIL)]
)
def test_an_error_rate_is_judged_by_what_is_sure_of_it(share, status):
    verdict = judge(error_rate(0.01), exponential_run(failed=share, seed=3))
    assert verdict.status is status
    assert verdict.measured == pytest.approx(share, abs=0.002)


def test_no_failures_among_few_operations_prove_little():
    verdict = judge(error_rate(0.01), exponential_run(200))
    assert verdict.status is INCONCLUSIVE
    assert "would decide it" in verdict.reason


def test_a_limit_of_nothing_can_be_broken_and_never_proven():
    never = error_rate(0.0, Comparison.IS_AT_MOST)
    assert judge(never, exponential_run(failed=0.001)).status is FAIL
    clean = judge(never, exponential_run())
    assert clean.status is INCONCLUSIVE
    assert "no number of operations proves" in clean.reason


def test_availability_is_what_the_error_rate_leaves_and_says_what_outage_it_sees():
    run = exponential_run(failed=0.005)
    verdict = judge(availability(0.99), run)
    assert verdict.status is PASS
    assert verdict.measured == pytest.approx(1 - judge(error_rate(), run).measured)
    assert "only if it recurs within 100 s" in verdict.reason
    assert judge(availability(0.999), run).status is FAIL


# --- mean, maximum, throughput, uptime


@pytest.mark.parametrize(("limit", "status"), [(0.019, FAIL), (0.02, INCONCLUSIVE), (0.021, PASS)])
def test_a_mean_is_judged_by_its_interval(limit, status):
    assert judge(response_time(None, limit, statistic="mean"), exponential_run()).status is status


def test_a_mean_has_no_meaning_where_more_than_a_hundredth_failed():
    mean = response_time(None, 0.5, statistic="mean")
    assert judge(mean, exponential_run(failed=0.005)).status is PASS
    assert judge(mean, exponential_run(failed=0.03)).status is FAIL
    assert judge(mean, exponential_run(failed=1.0)).status is FAIL
    assert judge(mean, exponential_run(1000, failed=0.012, seed=4)).status is INCONCLUSIVE


def test_timeouts_enter_a_mean_with_their_time():
    times = np.full(3000, 0.01)
    times[::200] = 10.0
    outcomes = np.where(times == 10, "timeout", "ok").tolist()
    run = run_of(samples_of(np.arange(0, 300, 0.1), times, outcome=outcomes))
    assert judge(response_time(None, 0.5, statistic="mean"), run).measured == pytest.approx(0.06, rel=0.01)


def test_a_maximum_is_the_largest_seen():
    longest = response_time(None, 0.5, Comparison.NEVER_EXCEEDS, statistic="max")
    assert judge(longest, exponential_run()).status is PASS
    assert judge(dataclasses.replace(longest, limit=0.1), exponential_run()).status is FAIL
    failed = judge(longest, exponential_run(failed=0.001))
    assert (failed.status, failed.censored) == (FAIL, True)


@pytest.mark.parametrize(("limit", "status"), [(95, PASS), (100, INCONCLUSIVE), (106, FAIL)])
def test_throughput_is_judged_by_its_interval(limit, status):
    verdict = judge(throughput(limit), exponential_run())
    assert verdict.status is status
    assert verdict.measured == pytest.approx(100, abs=1)


def test_throughput_counts_successes_alone():
    assert judge(throughput(95), exponential_run(failed=0.2)).status is FAIL


def test_too_little_throughput_of_a_closed_load_is_the_services_fault():
    assert judge(throughput(120), exponential_run(model=Model.CLOSED)).status is FAIL


UPTIME = Criterion(
    "uptime is above 90%", Measure("uptime", Family.UPTIME, Unit.RATIO), Comparison.IS_ABOVE, 0.9
)


@pytest.mark.parametrize(
    ("down", "status"), [(range(0), PASS), (range(100, 280), FAIL), (range(100, 125), PASS)]
)
def test_uptime_is_the_share_of_probes_answered(down, status):
    probes = tuple((second + 0.2, second not in down) for second in range(300))
    verdict = judge(UPTIME, exponential_run(probes=probes))
    assert verdict.status is status
    assert verdict.measured == pytest.approx(1 - len(down) / 300)


def test_uptime_without_probes_is_no_uptime():
    assert judge(UPTIME, exponential_run()).status is INCONCLUSIVE


# --- scopes, and missing data


def run_of_groups():
    random = np.random.default_rng(1)
    fast = samples_of(random.uniform(0, 60, 3000), random.exponential(0.01, 3000), "GET /a/x", tenant="acme")
    slow = samples_of(random.uniform(0, 60, 3000), random.exponential(0.1, 3000), "GET /b/y", region="Europe")
    groups = {"a": ("GET /a/*",), "b": ("GET /b/*",), "c": ("GET /c/*",)}
    return run_of(fast + slow, plan_of(60), groups=groups)


@pytest.mark.parametrize(
    ("kind", "name", "status"),
    [
        (ScopeKind.GROUP, "a", PASS),
        (ScopeKind.GROUP, "b", FAIL),
        (ScopeKind.LABEL, "GET /a/x", PASS),
        (ScopeKind.TENANT, "acme", PASS),
        (ScopeKind.REGION, "Europe", FAIL),
    ],
)
def test_a_scope_is_judged_on_its_own(kind, name, status):
    assert judge(response_time(limit=0.1, scope=Scope(kind, name)), run_of_groups()).status is status


@pytest.mark.parametrize(
    ("kind", "name", "has"),
    [
        (ScopeKind.GROUP, "x", '"a", "b", "c"'),
        (ScopeKind.LABEL, "GET /x", '"GET /a/x", "GET /b/y"'),
        (ScopeKind.TENANT, "x", '"acme"'),
        (ScopeKind.REGION, "x", '"Europe"'),
        (ScopeKind.INSTANCE, "", "by instance"),
    ],
)
def test_a_name_that_the_run_has_never_heard_of_is_not_judged_and_those_it_knows_are_told(kind, name, has):
    verdict = judge(response_time(scope=Scope(kind, name)), run_of_groups())
    assert verdict.status is NOT_JUDGED
    assert has in verdict.reason


def test_a_group_without_operations_never_passes():
    for criterion in (response_time, error_rate):
        verdict = judge(criterion(scope=Scope(ScopeKind.GROUP, "c")), run_of_groups())
        assert verdict.status is INCONCLUSIVE


@pytest.mark.parametrize(
    "criterion",
    [response_time(), error_rate(), availability(), throughput(0), response_time(None, 1, statistic="mean")],
)
def test_no_operations_never_pass(criterion):
    assert judge(criterion, run_of([], plan_of(60))).status is INCONCLUSIVE
    outside = run_of(samples_of([65.0], [0.01]), plan_of(60))
    assert judge(criterion, outside).status is INCONCLUSIVE


def test_a_gauge_that_was_not_observed_is_not_judged():
    verdict = judge(gauge(0.7), exponential_run(3000))
    assert verdict.status is NOT_JUDGED
    assert "CPU utilization" in verdict.reason


def test_a_small_label_borrows_from_the_run_how_its_operations_go_together():
    """Slow for ten seconds of every sixty: 200 operations of a label tell less than as many independent ones."""
    random = np.random.default_rng(1)
    starts = np.sort(random.uniform(0, 300, 30_000))
    times = np.where(starts % 60 < 10, 0.2, 0.02) * random.uniform(0.5, 1.5, 30_000)
    labels = np.where(random.uniform(size=30_000) < 0.02, "rare", "usual").tolist()
    run = run_of(samples_of(starts, times, labels))
    rare = judge(response_time(limit=5, scope=Scope(ScopeKind.LABEL, "rare")), run)
    alone = run_of(
        [
            sample
            for sample, label in zip(samples_of(starts, times, labels), labels, strict=True)
            if label == "rare"
        ]
    )
    assert rare.details["design_effect"] > judge(response_time(limit=5), alone).details["design_effect"] >= 1


# --- monotone


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.3, 3), st.floats(1, 3), st.booleans())
def test_a_looser_limit_never_turns_a_pass_into_anything_else(seed, factor, looser, correlated):
    run = exponential_run(2000, 60, seed=seed) if not correlated else wandering_run(seed)
    limit = factor * P95
    first = judge(response_time(limit=limit), run).status
    second = judge(response_time(limit=limit * looser), run).status
    order = [FAIL, INCONCLUSIVE, PASS]
    assert order.index(second) >= order.index(first)


def wandering_run(seed):
    random = np.random.default_rng(seed)
    starts = np.sort(random.uniform(0, 60, 2000))
    levels = np.exp(np.cumsum(random.normal(0, 0.2, 61)))
    return run_of(
        samples_of(starts, random.exponential(0.02, 2000) * levels[starts.astype(int)]), plan_of(60)
    )


def longer(run, turns):
    """The same run that many times over: the first of them is all that the original has."""
    seconds = int(run.plan.workload.seconds)
    whole = run_of([], plan_of(seconds * turns))
    for turn in range(turns):
        part = copy.deepcopy(run.table)
        part.keys += turn * seconds << packing.SECOND_SHIFT
        part.cells += turn * seconds << (packing.SERIES_BITS + packing.OUTCOME_BITS)
        whole.table.add(part)
    return whole


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.3, 3), st.sampled_from([2, 5]))
def test_more_of_the_same_never_turns_what_is_sure_into_doubt(seed, factor, turns):
    """But within a tenth of the limit: longer batches tell anew how operations go together, and move a bound (by 5 % at
    most in a trial of all seeds; in 99 % of them the interval only narrows)."""
    run, limit = exponential_run(2000, 60, seed=seed), factor * P95
    first, more = judge(response_time(limit=limit), run).status, longer(run, turns)
    if first is not INCONCLUSIVE:
        assert judge(response_time(limit=limit), more).status in {first, INCONCLUSIVE}
        surer = limit * 1.1 if first is PASS else limit / 1.1
        assert judge(response_time(limit=surer), more).status is first


def test_more_of_the_same_narrows_the_interval_of_nearly_every_run():
    narrows = 0
    for seed in range(100):
        run = exponential_run(2000, 60, seed=seed)
        (lower, upper), (lowest, highest) = (
            judge(response_time(limit=P95), each).interval for each in (run, longer(run, 2))
        )
        narrows += lowest >= lower and highest <= upper
    assert narrows >= 95


@given(st.floats(0.001, 3), st.floats(0.001, 10), st.sampled_from([0.5, 0.95, 0.999]))
def test_the_size_that_is_advised_reaches_just_to_the_limit(slope, away, quantile):
    spread = percentiles._Spread(slope, 1 / (quantile * (1 - quantile)))
    assert spread.half_width(spread.size_to_reach(away)) == pytest.approx(away)
    assert spread.size_to_reach(0.0) == np.inf


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.5, 2), st.floats(0, 0.2))
def test_more_failures_never_turn_a_fail_into_a_pass(seed, factor, more):
    random = np.random.default_rng(seed)
    run = exponential_run(2000, 60, seed=seed, failed=0.01)
    hit = random.uniform(size=2000) < more
    starts = np.sort(np.random.default_rng(seed).uniform(0, 60, 2000))
    samples = samples_of(starts[hit], np.full(int(hit.sum()), 0.001), outcome="status 500")
    worse = copy.deepcopy(run)
    worse.table.record(samples)
    for criterion in (response_time(limit=factor * P95), error_rate(0.01 * factor)):
        if judge(criterion, run).status is FAIL:
            assert judge(criterion, worse).status is not PASS


def test_a_hiccup_far_below_the_limit_leaves_a_small_label_its_verdict():
    """Three seconds in which all took 40 ms instead of 2 make the bulk go together; at 500 ms nothing does."""
    random = np.random.default_rng(1)
    starts = np.sort(random.uniform(0, 40, 10_000))
    times = np.where((starts > 20) & (starts < 23), 0.04, random.exponential(0.002, len(starts)))
    labels = np.where(random.random(len(starts)) < 0.1, "GET /small", "GET /large").tolist()
    run = run_of(samples_of(starts, times, label=labels), plan_of(40))
    small = Scope(ScopeKind.LABEL, "GET /small")
    assert judge(response_time(0.95, 0.5, scope=small), run).status is Status.PASS
    assert judge(response_time(0.95, 0.0061, scope=small), run).status is not Status.PASS


def test_the_only_population_of_a_run_is_the_whole():
    run = exponential_run(2000, 60)
    of_requests = response_time(limit=2 * P95, scope=Scope(ScopeKind.POPULATION, "requests"))
    whole, part = judge(response_time(limit=2 * P95), run), judge(of_requests, run)
    assert (part.status, part.measured, part.interval) == (whole.status, whole.measured, whole.interval)
    assert "the requests" in part.reason


def test_a_population_that_a_run_does_not_have_is_not_judged_and_one_without_operations_is_inconclusive():
    run = exponential_run(2000, 60)
    (requests,) = run.plan.populations
    analysts = response_time(scope=Scope(ScopeKind.POPULATION, "analysts"))
    verdict = judge(analysts, run)
    assert verdict.status is Status.NOT_JUDGED
    assert verdict.reason == 'There is no population "analysts" in this run; it has "requests".'
    populations = (requests, dataclasses.replace(requests, name="analysts"))
    both = dataclasses.replace(run, plan=dataclasses.replace(run.plan, populations=populations))
    verdict = judge(analysts, both)
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.reason == "No operation of the analysts was recorded."


@pytest.mark.parametrize("outcome", [OK, "status 503"])
def test_a_failure_counts_in_a_mean_with_the_time_it_took(outcome):
    starts = np.arange(0, 60, 0.01)
    is_slow = np.arange(len(starts)) % 111 == 0
    outcomes = [outcome if slow else OK for slow in is_slow]
    run = run_of(samples_of(starts, np.where(is_slow, 9.5, 0.1), outcome=outcomes), plan_of(60))
    verdict = judge(response_time(None, 0.15, statistic="mean"), run)
    assert verdict.measured == pytest.approx(0.185, abs=0.003)
    assert verdict.status is Status.FAIL


def test_a_quick_failure_does_not_lower_a_mean():
    starts = np.arange(0, 60, 0.01)
    is_bad = np.arange(len(starts)) % 200 == 0
    outcomes = ["status 503" if bad else OK for bad in is_bad]
    run = run_of(samples_of(starts, np.where(is_bad, 0.001, 0.1), outcome=outcomes), plan_of(60))
    assert judge(response_time(None, 0.15, statistic="mean"), run).measured == pytest.approx(0.1)


def test_a_pass_says_how_rare_a_problem_it_may_have_missed():
    starts = np.arange(0, 300, 0.01)
    run = run_of(samples_of(starts, np.full(len(starts), 0.02)), plan_of(300))
    assert judge(response_time(limit=0.5), run).details["not_seen"] == (
        "5 min were judged: a problem that occurs less often than every 100 s may not have occurred in this time"
    )
    assert "not_seen" not in judge(response_time(limit=0.01), run).details


def test_a_mean_of_times_that_are_all_zero_is_judged():
    run = run_of(samples_of(np.arange(600) / 10, np.zeros(600)), plan_of(60))
    assert judge(response_time(None, 0.5, statistic="mean"), run).status is Status.PASS


@pytest.mark.parametrize(
    ("number", "status"), [(1, Status.INCONCLUSIVE), (19, Status.INCONCLUSIVE), (20, Status.PASS)]
)
def test_a_mean_of_a_few_operations_does_not_pass(number, status):
    run = run_of(samples_of(np.linspace(0, 59, number), np.full(number, 0.01)), plan_of(60))
    verdict = judge(response_time(None, 0.5, statistic="mean"), run)
    assert verdict.status is status
    if status is Status.INCONCLUSIVE:
        assert verdict.reason.endswith(f"of {number} operations; a mean needs at least 20.")


def on_a_curve(without=()):
    """Arrivals that rise to 200 per second and fall to 100: 150 on average in the judged time."""
    workload = Workload(
        Model.REQUESTS, (Stage(60, 100), Stage(120, 200), Stage(120, 100)), (MixEntry("j:b", 1.0),)
    )
    random = np.random.default_rng(1)
    number = random.poisson(np.interp(np.arange(300) + 0.5, [0, 60, 180, 300], [0, 100, 200, 100]))
    starts = np.repeat(np.arange(300), number) + random.uniform(0, 1, number.sum())
    starts = starts[~np.isin(starts.astype(int), list(without))]
    plan = Plan("local", (Population("requests", workload),))
    return run_of(samples_of(starts, random.exponential(0.02, len(starts))), plan)


@pytest.mark.parametrize(("limit", "status"), [(90, PASS), (140, PASS), (150, NOT_JUDGED), (160, NOT_JUDGED)])
@pytest.mark.parametrize(
    "comparison", [Comparison.IS_ABOVE, Comparison.STAYS_ABOVE, Comparison.NEVER_FALLS_BELOW]
)
def test_a_throughput_is_judged_by_what_a_curve_offers(limit, status, comparison):
    assert judge(throughput(limit, comparison), on_a_curve()).status is status


def test_a_throughput_that_falls_where_a_curve_offers_enough_fails():
    verdict = judge(throughput(120, Comparison.STAYS_ABOVE), on_a_curve(without=range(160, 200)))
    assert verdict.status is FAIL
    assert "4 in a row" in verdict.reason
