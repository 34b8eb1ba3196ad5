"""The verdict on a gauge or counter from its readings; the worst instance decides."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import special

from loadkit.criterion import Comparison, Scope, ScopeKind, Unit
from loadkit.observers.observation import Judged, Reading
from loadkit.verdict import Status
from tests.builders import gauge
from tests.scrapes import EXTREMES, NEVER, SLOW, START, busy, found, level, observed


def test_the_worst_instance_is_judged():
    finding = found(gauge(0.7), observed(busy(0.4), busy(0.9), busy(0.5), reading=Reading.COUNTER))
    assert finding.status is Status.FAIL
    assert "metrics-2" in finding.reason
    assert finding.details["by_instance"]["metrics-3"] == pytest.approx(0.5, abs=0.05)


def test_for_a_lower_limit_the_worst_is_the_lowest():
    lowest = gauge(0.5, comparison=Comparison.STAYS_ABOVE)
    finding = found(lowest, observed(np.full(301, 0.9), np.full(301, 0.2)))
    assert finding.status is Status.FAIL
    assert finding.measured == pytest.approx(0.2)


def test_an_instance_that_cannot_be_judged_takes_a_pass_back():
    finding = found(gauge(0.7), observed(busy(0.4), busy(0.4)[:100], reading=Reading.COUNTER))
    assert finding.status is Status.INCONCLUSIVE
    assert "metrics-2" in finding.reason
    assert "gap" in finding.reason


def test_an_instance_that_cannot_be_judged_does_not_hide_a_fail():
    finding = found(gauge(0.7), observed(busy(0.9), busy(0.4)[:100], reading=Reading.COUNTER))
    assert finding.status is Status.FAIL


def test_an_instance_that_was_gone_before_the_window_is_not_missed():
    observation = observed(
        busy(0.4), np.zeros(0), reading=Reading.COUNTER, lifespans={"metrics-2": (START - 99, START - 9)}
    )
    assert found(gauge(0.7), observation).status is Status.PASS


def test_a_value_of_all_instances_together_shows_nothing_of_every_instance():
    together = observed(np.full(301, 0.5))
    together = replace(together, series=tuple(replace(each, instance="") for each in together.series))
    assert found(gauge(0.7), together).status is Status.PASS
    everywhere = replace(gauge(0.7), scope=Scope(ScopeKind.INSTANCE, ""))
    finding = found(everywhere, together)
    assert finding.status is Status.NOT_JUDGED
    assert "cannot be judged on every instance" in finding.reason
    assert found(everywhere, observed(np.full(301, 0.5))).status is Status.PASS


def test_a_source_without_an_answer_is_inconclusive_with_its_reason():
    assert "the source is down" in found(gauge(0.7), observed(problem="the source is down")).reason
    nothing = found(gauge(0.7), observed())
    assert nothing.status is Status.INCONCLUSIVE
    assert "no series" in nothing.reason


def test_memory_is_judged_by_its_maximum():
    values = np.full(301, 1.0e9)
    values[150] = 2.5e9
    observation = observed(values, judged=Judged.MAXIMUM, unit="bytes")
    finding = found(gauge(2e9, "CPU utilization", Unit.BYTES), observation)
    assert finding.status is Status.FAIL
    assert "2.5 GB at its highest" in finding.reason


def test_a_brief_peak_breaks_never_and_not_stays():
    values = np.full(301, 0.4)
    values[100:105] = 0.95
    assert found(gauge(0.8), observed(values)).status is Status.PASS
    assert found(gauge(0.8, comparison=Comparison.NEVER_EXCEEDS), observed(values)).status is Status.FAIL


def test_never_exceeds_includes_its_limit():
    exactly = found(gauge(0.8, comparison=Comparison.NEVER_EXCEEDS), observed(np.full(301, 0.8)))
    assert exactly.status is Status.PASS


def test_a_lasting_spell_breaks_stays_although_the_p95_keeps_the_limit():
    values = np.full(2401, 0.4)
    values[500:535] = 0.95  # 35 s of 2400: well below 5 %
    stays = found(gauge(0.8), observed(values), 2400)
    is_below = found(gauge(0.8, comparison=Comparison.IS_BELOW), observed(values), 2400)
    assert stays.status is Status.FAIL
    assert "in a row" in stays.reason
    assert is_below.status is Status.PASS


def test_near_the_limit_wandering_readings_cannot_tell():
    random = np.random.default_rng(8)
    values = np.empty(301)
    values[0] = 0.6
    for i in range(1, 301):
        values[i] = 0.6 + 0.97 * (values[i - 1] - 0.6) + 0.01 * random.standard_normal()
    limit = float(np.quantile(values, 0.95)) + 0.01
    finding = found(gauge(limit, comparison=Comparison.IS_BELOW), observed(values))
    assert finding.status is Status.INCONCLUSIVE
    assert "would decide it" in finding.reason


@pytest.mark.parametrize(
    ("memory", "skewed", "most"),
    [
        (0, False, 0.1),
        (0.8, False, 0.1),
        (0.97, False, 0.1),
        (0, True, 0.1),
        (0.8, True, 0.1),
        (0.97, True, 0.18),
    ],
)
def test_at_the_limit_a_gauge_seldom_errs(memory, skewed, most):
    """The limit is the true p95, so a pass and a fail are both wrong. The last case is worth five readings."""
    random = np.random.default_rng(3)
    errors = {Status.PASS: 0, Status.FAIL: 0, Status.INCONCLUSIVE: 0}
    runs = 150
    for _ in range(runs):
        noise = random.standard_normal(301)
        values = np.empty(301)
        values[0] = noise[0]
        for i in range(1, 301):
            values[i] = memory * values[i - 1] + np.sqrt(1 - memory**2) * noise[i]
        true = 1.6449
        if skewed:  # the same order, exponentially distributed
            values, true = -special.log_ndtr(-values), 2.9957
        errors[found(gauge(10 + true, comparison=Comparison.IS_BELOW), observed(10 + values)).status] += 1
    assert errors[Status.PASS] / runs <= most
    assert errors[Status.FAIL] / runs <= most


def test_a_leak_is_told_beside_the_verdict():
    observation = observed(np.linspace(1e9, 1.5e9, 301), judged=Judged.MAXIMUM, unit="bytes")
    finding = found(gauge(2e9, "CPU utilization", Unit.BYTES), observation)
    assert finding.status is Status.PASS
    assert any("rose by" in warning for warning in finding.warnings)


def test_the_interval_of_a_share_ends_where_shares_end():
    """A pool that is mostly free, and at times full: what lies below 0 or above 100 % is not said."""
    random = np.random.default_rng(1)
    finding = found(gauge(0.8), observed(np.where(random.random(60) < 0.2, 1.0, 0.02)), seconds=60)
    assert finding.interval[0] >= 0.0
    assert finding.interval[1] == 1.0


NEVER_BELOW = gauge(0.5, comparison=Comparison.NEVER_FALLS_BELOW)


@pytest.mark.parametrize(
    ("criterion", "value", "status"),
    [
        (NEVER, np.inf, Status.FAIL),
        (NEVER, -np.inf, Status.PASS),
        (NEVER_BELOW, -np.inf, Status.FAIL),
        (NEVER_BELOW, np.inf, Status.PASS),
    ],
)
def test_an_infinite_value_is_beyond_every_limit(criterion, value, status):
    finding = found(criterion, observed(level(100, value=value)))
    assert finding.status is status
    assert finding.samples == 301


def test_an_infinite_extreme_is_stated_as_the_source_writes_it():
    finding = found(NEVER, observed(level(100)))
    assert finding.reason.endswith("on metrics-1 was +Inf at its highest, above the limit of 70 %")
    assert (finding.measured, finding.details["infinite"]) == (None, "+Inf")


def test_the_instance_with_an_infinite_value_is_the_worst():
    finding = found(NEVER, observed(np.full(301, 0.9), level(100)))
    assert "metrics-2 was +Inf" in finding.reason


def test_a_p95_bears_a_few_infinite_values_and_fails_at_more_than_a_twentieth():
    is_below = gauge(0.7, comparison=Comparison.IS_BELOW)
    few = found(is_below, observed(level(100, 101, size=601)), 600)
    many = found(is_below, observed(level(*range(100, 120))))
    assert few.status is Status.PASS
    assert few.measured == pytest.approx(0.6)
    assert many.status is Status.FAIL
    assert many.reason == "p95 of CPU utilization on metrics-1 was +Inf, above the limit of 70 %"


def test_infinite_values_make_a_lasting_spell():
    finding = found(gauge(0.7), observed(level(*range(500, 535), size=2401)), 2400)
    assert finding.status is Status.FAIL
    assert "in a row" in finding.reason


def test_readings_that_are_all_infinite_fail():
    for criterion in (NEVER, gauge(0.7)):
        assert found(criterion, observed(np.full(301, np.inf))).status is Status.FAIL


@pytest.mark.parametrize(
    ("values", "comparison", "status", "why"),
    [
        (level(5), Comparison.IS_BELOW, Status.FAIL, "was +Inf, above the limit"),
        (level(5), Comparison.IS_ABOVE, Status.INCONCLUSIVE, "1 of 301 readings are infinite"),
        (level(5, value=-np.inf), Comparison.IS_BELOW, Status.INCONCLUSIVE, "1 of 301 readings are infinite"),
        (level(5, value=-np.inf), Comparison.IS_ABOVE, Status.FAIL, "was -Inf, below the limit"),
    ],
)
def test_a_mean_with_an_infinite_value_never_passes(values, comparison, status, why):
    finding = found(gauge(0.7, comparison=comparison), observed(values, judged=Judged.MEAN))
    assert finding.status is status
    assert why in finding.reason


@pytest.mark.parametrize(("judged", "comparison"), EXTREMES)
def test_an_extreme_does_not_pass_on_an_answer_in_part(judged, comparison):
    finding = found(
        gauge(0.7, comparison=comparison), observed(level(), judged=judged, warnings=("store-2 is gone",))
    )
    assert finding.status is Status.INCONCLUSIVE
    assert finding.reason.endswith("but the source answered only in part: store-2 is gone")


@pytest.mark.parametrize("judged", [Judged.P95, Judged.MEAN])
def test_an_answer_in_part_is_a_warning_beside_a_p95_and_a_mean(judged):
    finding = found(gauge(0.7), observed(level(), judged=judged, warnings=("store-2 is gone",)))
    assert finding.status is Status.PASS
    assert "the source answered only in part: store-2 is gone" in finding.warnings


@pytest.mark.parametrize("judged", [Judged.P95, Judged.MEAN])
@pytest.mark.parametrize(
    ("value", "unit", "comparison", "status"),
    [
        (0.0, Unit.NUMBER, Comparison.IS_AT_MOST, Status.PASS),
        (0.0, Unit.NUMBER, Comparison.IS_BELOW, Status.FAIL),
        (5.0, Unit.NUMBER, Comparison.IS_AT_LEAST, Status.PASS),
        (5.0, Unit.NUMBER, Comparison.STAYS_ABOVE, Status.FAIL),
        (0.0, Unit.RATIO, Comparison.IS_AT_MOST, Status.PASS),
        (1.0, Unit.RATIO, Comparison.IS_AT_LEAST, Status.PASS),
        (0.7, Unit.RATIO, Comparison.IS_AT_MOST, Status.PASS),
        (1.0, Unit.RATIO, Comparison.STAYS_BELOW, Status.FAIL),
    ],
)
def test_readings_that_are_always_the_limit_are_decided_by_the_words(value, unit, comparison, status, judged):
    criterion = gauge(value, "CPU utilization", unit, comparison)
    assert found(criterion, observed(np.full(301, value), judged=judged)).status is status


def test_a_pass_of_never_says_how_seldom_it_was_read():
    slow = found(NEVER, observed(np.full(21, 0.4), interval=SLOW))
    assert slow.status is Status.PASS
    assert slow.warnings == ("one reading covers 15 s: a shorter peak may be missed",)
    counter = found(NEVER, observed(busy(0.4, interval=SLOW), interval=SLOW, reading=Reading.COUNTER))
    assert "one reading covers 30 s" in counter.warnings[0]
    assert not found(NEVER, observed(np.full(301, 0.4))).warnings


def test_readings_that_rise_from_a_median_of_zero_are_judged_without_a_trend():
    """The median of the batches is 0, so the drift is no share of it."""
    random = np.random.default_rng(15)
    is_waiting = (np.arange(301) >= 165) & (random.uniform(size=301) < 0.33)
    waits = is_waiting * random.lognormal(1, 1.2, 301)
    finding = found(gauge(1000.0, unit=Unit.NUMBER), observed(waits, unit=""))
    assert finding.status is Status.PASS
    assert not any("rose" in warning for warning in finding.warnings)
