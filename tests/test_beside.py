"""A measure beside itself at another load."""

import dataclasses

import numpy as np
import pytest

from loadkit import grammar
from loadkit.analysis.comparison import agreed, compare_loads
from loadkit.criterion import Comparison
from loadkit.judging.evidence import Evidence
from loadkit.recording.run import Run
from loadkit.verdict import Status, Verdict
from loadkit.workload.plan import Scaling
from tests.builders import judge, plan_of, run_of, samples_of, worker_seconds_of

TWICE = grammar.criterion("the p95 response time is at most 2 times that at the baseline load")
TWICE_OR_50 = grammar.criterion(
    "the p95 response time is at most 2 times that at the baseline load, or below 50 ms"
)
FIXED = grammar.criterion("the p95 response time is below 50 ms")
GROWS = grammar.criterion("throughput is at least 1.5 times that at the baseline load")


def run_with(seconds: float, *, rate: int = 100, failing: float = 0.0, seed: int = 1, **changes):
    """Five minutes of operations that take about so long (p95 at about 1.5 times that)."""
    random = np.random.default_rng(seed)
    starts = np.sort(random.uniform(0, 300, 300 * rate))
    times = seconds * random.uniform(0.5, 1.5, len(starts)) / 1.45
    outcomes = np.where(random.random(len(starts)) < failing, "refused", "ok").tolist()
    return run_of(samples_of(starts, times, outcome=outcomes), plan_of(300), **changes)


BASE = run_with(0.1, seed=2)


@pytest.mark.parametrize(
    ("seconds", "status"),
    [(0.1, Status.PASS), (0.18, Status.PASS), (0.2, Status.INCONCLUSIVE), (0.25, Status.FAIL)],
)
def test_the_ratio_decides_and_what_is_too_near_does_not(seconds, status):
    verdict = compare_loads(TWICE, Evidence(run_with(seconds)), Evidence(BASE))
    assert verdict.status is status
    assert verdict.measured == pytest.approx(seconds / 0.1, rel=0.05)
    low, high = verdict.interval
    assert low < verdict.measured < high
    assert (verdict.unit, verdict.limit) == ("times", 2.0)
    assert "at the baseline load" in verdict.reason


def test_the_interval_is_that_of_both_values():
    run = run_with(0.15)
    verdict = compare_loads(TWICE, Evidence(run), Evidence(BASE))
    alone = [
        judge(grammar.criterion("the p95 response time is at most 200 ms"), each) for each in (run, BASE)
    ]
    (a_low, a_high), (b_low, b_high) = alone[0].interval, alone[1].interval
    assert verdict.interval == pytest.approx((a_low / b_high, a_high / b_low), rel=0.02)


def test_or_below_is_enough_alone():
    fast, faster = run_with(0.04), run_with(0.004, seed=2)
    assert compare_loads(TWICE, Evidence(fast), Evidence(faster)).status is Status.FAIL
    verdict = compare_loads(TWICE_OR_50, Evidence(fast), Evidence(faster))
    assert verdict.status is Status.PASS
    assert "it is below 50 ms with 95 % confidence" in verdict.reason
    assert compare_loads(TWICE_OR_50, Evidence(run_with(0.1)), Evidence(faster)).status is Status.FAIL


def test_throughput_must_grow():
    assert compare_loads(GROWS, Evidence(run_with(0.1, rate=200)), Evidence(BASE)).status is Status.PASS
    plenty = plan_of(300, level=1000)
    verdict = compare_loads(
        GROWS, Evidence(dataclasses.replace(run_with(0.1, rate=110), plan=plenty)), Evidence(BASE)
    )
    assert (verdict.status, verdict.measured) == (Status.FAIL, pytest.approx(1.1, rel=0.02))


def test_a_reference_that_failed_is_nothing_to_compare_with():
    verdict = compare_loads(TWICE, Evidence(run_with(0.1)), Evidence(run_with(0.1, failing=0.2)))
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.reason.startswith("At the baseline load: ")


def test_a_run_of_failures_is_no_pass():
    assert compare_loads(TWICE, Evidence(run_with(0.1, failing=0.2)), Evidence(BASE)).status is Status.FAIL


@pytest.mark.parametrize("which", ["here", "there"])
def test_a_generator_that_was_overloaded_in_either_run_gives_no_verdict(which):
    ill = run_with(0.19, worker_seconds=worker_seconds_of(300, cpu_seconds=0.99))
    here, there = (ill, BASE) if which == "here" else (run_with(0.1), ill)
    verdict = compare_loads(TWICE, Evidence(here), Evidence(there))
    assert verdict.status is Status.INVALID
    assert "load generator was overloaded" in verdict.reason


def test_a_run_cut_short_carries_over():
    cut = run_with(0.1, ended="interrupted", ended_at=200.0)
    assert compare_loads(TWICE, Evidence(run_with(0.1)), Evidence(cut)).status is Status.INCONCLUSIVE
    assert compare_loads(TWICE, Evidence(cut), Evidence(BASE)).status is Status.INCONCLUSIVE


def test_one_run_alone_cannot_tell():
    assert judge(TWICE, BASE).status is Status.NOT_JUDGED


def a_tenth_of_1000(run: Run) -> Run:
    stated = tuple(dataclasses.replace(each, stated_level=1000) for each in run.plan.populations)
    plan = dataclasses.replace(run.plan, populations=stated, scaling=Scaling(users=0.1))
    return dataclasses.replace(run, plan=plan)


def test_a_rehearsal_compares_throughput_too_since_both_loads_are_scaled_and_says_so():
    here, there = (a_tenth_of_1000(run) for run in (run_with(0.1, rate=200), BASE))
    verdict = compare_loads(GROWS, Evidence(here), Evidence(there))
    assert verdict.status is Status.PASS
    assert verdict.rehearsed.endswith("of 1000 requests per second")


def test_what_is_shown_and_what_is_decided_agree():
    noisy = run_with(0.1, rate=2, seed=3)
    for seconds in np.arange(0.17, 0.23, 0.002):
        verdict = compare_loads(TWICE, Evidence(run_with(seconds, rate=2)), Evidence(noisy))
        low, high = verdict.interval
        assert verdict.status is (
            Status.PASS if high <= 2 else Status.FAIL if low > 2 else Status.INCONCLUSIVE
        ), verdict.interval


NEIGHBOUR = grammar.criterion('the p95 response time is at most 1.5 times that without tenant "globex"')


def compared_with_both(seconds: float, before: float, after: float):
    with_it = Evidence(run_with(seconds))
    return agreed(
        NEIGHBOUR,
        [
            compare_loads(NEIGHBOUR, with_it, Evidence(run_with(each, seed=seed)))
            for seed, each in ((2, before), (3, after))
        ],
    )


@pytest.mark.parametrize(
    ("seconds", "before", "after", "status"),
    [
        (0.11, 0.1, 0.1, Status.PASS),
        (0.3, 0.1, 0.1, Status.FAIL),
        (0.2, 0.1, 0.2, Status.INCONCLUSIVE),
        (0.2, 0.2, 0.1, Status.INCONCLUSIVE),
    ],
)
def test_a_noisy_tenant_is_blamed_only_where_the_runs_before_and_after_it_agree(
    seconds: float, before: float, after: float, status: Status
) -> None:
    verdict = compared_with_both(seconds, before, after)
    assert verdict.status is status
    assert 'without tenant "globex"' in verdict.reason
    low, high = verdict.interval
    assert low < verdict.measured < high


def test_two_references_that_disagree_say_that_something_else_changed() -> None:
    assert compared_with_both(0.2, 0.1, 0.2).reason.endswith("something else changed between them.")


@pytest.mark.parametrize(
    ("comparison", "ratios", "worst"),
    [
        (Comparison.IS_AT_MOST, (0.9, 1.2), 1.2),
        (Comparison.IS_AT_LEAST, (0.93, 1.1), 0.93),
        (Comparison.IS_AT_LEAST, (0.55, None), 0.55),
        (Comparison.IS_AT_MOST, (None, 1.2), 1.2),
    ],
)
@pytest.mark.parametrize("status", [Status.PASS, Status.FAIL])
def test_of_two_comparisons_that_agree_the_worse_one_is_shown(status, comparison, ratios, worst) -> None:
    criterion = dataclasses.replace(NEIGHBOUR, comparison=comparison)
    verdicts = [
        Verdict(criterion.sentence, status, f"it was {ratio} times", measured=ratio) for ratio in ratios
    ]
    shown = agreed(criterion, verdicts)
    assert (shown.status, shown.measured, shown.reason) == (status, worst, f"it was {worst} times")


FAILING = dataclasses.replace(run_with(0.1, failing=0.2, seed=2), id="run-of-baseline")


def test_the_figures_of_both_runs_are_told_apart() -> None:
    there = dataclasses.replace(BASE, id="run-of-baseline")
    verdict = compare_loads(TWICE, Evidence(run_with(0.25)), Evidence(there))
    here, other = verdict.details["here"], verdict.details["there"]
    assert (here["measured"], here["limit"]) == (pytest.approx(0.25, rel=0.05), pytest.approx(0.2, rel=0.05))
    assert (other["measured"], other["run"]) == (pytest.approx(0.1, rel=0.05), "run-of-baseline")


def test_a_reference_that_does_not_count_is_told_as_the_other_run() -> None:
    own = run_with(0.02)
    verdict = compare_loads(TWICE_OR_50, Evidence(own), Evidence(FAILING))
    assert verdict.status is Status.PASS
    assert verdict.details["here"]["measured"] == pytest.approx(0.02, rel=0.05)
    assert verdict.details["here"]["limit"] == 0.05
    assert verdict.details["there"]["run"] == "run-of-baseline"
    assert (verdict.samples, verdict.window) == (judge(FIXED, own).samples, judge(FIXED, own).window)


def test_a_run_that_was_not_judged_has_no_figures_of_the_reference() -> None:
    verdict = compare_loads(TWICE, Evidence(run_with(0.1)), Evidence(FAILING))
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.details["here"] is None
    assert verdict.details["there"]["run"] == "run-of-baseline"
    assert (verdict.run, verdict.samples) == ("run-1", 0)


@pytest.mark.parametrize(("seconds", "told"), [(0.25, "% above"), (0.1, "times below")])
def test_the_reason_tells_how_far_the_ratio_is_from_its_limit(seconds, told):
    verdict = compare_loads(TWICE, Evidence(run_with(seconds)), Evidence(BASE))
    assert verdict.reason.endswith(f"{told} the limit of 2 times.")


def test_a_ratio_that_reads_as_its_limit_is_told_to_be_above_it():
    # Nearly constant times: both intervals are so narrow that a ratio of 2.005 fails.
    starts = np.arange(0, 300, 0.01)
    here, there = (
        Evidence(run_of(samples_of(starts, np.full(len(starts), seconds)), plan_of(300)))
        for seconds in (0.2008, 0.1)
    )
    verdict = compare_loads(TWICE, here, there)
    assert verdict.status is Status.FAIL
    assert ", 0.4" in verdict.reason
    assert verdict.reason.endswith(" % above the limit of 2 times.")
