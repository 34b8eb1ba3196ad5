import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadkit.judging.statistics import (
    batch_edges,
    bounds,
    design_effect,
    effective_size,
    growth_to_decide,
    is_surely_above,
    is_surely_below,
    mean_of_batches,
    persistence,
    recurrence,
    serial_effect,
    theil_sen,
)


@given(st.integers(1, 5000))
def test_batches_cover_the_window_and_differ_by_a_second_at_most(seconds):
    lengths = np.diff(batch_edges(seconds))
    assert lengths.sum() == seconds
    assert len(lengths) == min(30, seconds)
    assert lengths.max() - lengths.min() <= 1


def test_independent_operations_have_a_design_effect_near_one():
    random = np.random.default_rng(1)
    sizes = np.full(30, 1000.0)
    hits = random.binomial(1000, 0.05, (30, 200)).astype(float)
    effects = design_effect(hits, sizes)
    assert np.median(effects) == pytest.approx(1, abs=0.1)
    assert effects.min() >= 1


def test_hits_that_come_in_twenties_are_worth_a_twentieth():
    random = np.random.default_rng(2)
    hits = 20.0 * random.poisson(5, (3000, 1))
    assert design_effect(hits, np.full(3000, 2000.0))[0] == pytest.approx(20, rel=0.15)


def test_unequal_batches_alone_are_no_spread():
    sizes = np.array([10.0, 20.0, 15.0] * 10)
    assert design_effect((sizes * 0.2)[:, np.newaxis], sizes)[0] == 1


def test_a_share_of_none_or_of_all_has_a_design_effect_of_one():
    sizes = np.array([10.0, 20.0])
    assert design_effect(np.column_stack([sizes * 0, sizes]), sizes).tolist() == [1, 1]


def test_batches_that_go_together_are_worth_fewer():
    random = np.random.default_rng(3)
    noise = random.standard_normal(20_000)
    values = np.empty_like(noise)
    values[0] = 0
    for i in range(1, len(noise)):
        values[i] = 0.5 * values[i - 1] + noise[i]
    assert persistence(values) == pytest.approx(3, rel=0.1)  # (1 + 0.5) / (1 - 0.5)
    assert persistence(noise) == pytest.approx(1, abs=0.1)


def test_persistence_takes_no_notice_of_empty_batches_constants_or_alternation():
    assert persistence(np.array([np.nan, 1.0, np.nan])) == 1
    assert persistence(np.full(30, 0.1)) == 1
    assert persistence(np.array([1.0, -1.0] * 15)) == 1
    assert persistence(np.arange(1000.0)) == pytest.approx(39)


def test_few_batches_pay_for_the_doubt_in_their_own_spread():
    assert effective_size(1000, np.array([1.0]), 30)[0] == pytest.approx(
        1000 * (1.6449 / 1.6991) ** 2, rel=1e-3
    )
    assert effective_size(1000, np.array([1.0]), 3)[0] < 400


def wandering(memory, seconds, random):
    """An AR(1) process, in its steady state from the start."""
    values = random.standard_normal(seconds)
    values[1:] *= np.sqrt(1 - memory**2)
    for second in range(1, seconds):
        values[second] += memory * values[second - 1]
    return values


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.9])
def test_operations_are_worth_what_their_seconds_together_are_worth(memory):
    """A second's operations all have its level, so 50 seconds' worth of it are worth (1+φ)/(1−φ) of them."""
    random = np.random.default_rng(6)
    levels, sizes = wandering(memory, 20_000, random), np.full(20_000, 50.0)
    expected = 50 * (1 + memory) / (1 - memory)
    assert serial_effect(50 * levels, sizes, 1.0) == pytest.approx(expected, rel=0.15)
    unequal = random.poisson(50, 20_000).astype(float)
    assert serial_effect(unequal * levels, unequal, 1.0) == pytest.approx(expected, rel=0.15)


def test_independent_operations_are_worth_themselves():
    random = np.random.default_rng(7)
    sizes = random.poisson(100, 1000).astype(float)
    assert serial_effect(random.normal(3 * sizes, np.sqrt(sizes)), sizes, 1.0) == pytest.approx(1, abs=0.35)


def test_scores_that_are_all_the_same_or_that_alternate_have_no_effect():
    sizes = np.array([10.0, 20.0, 0.0, 30.0])
    assert serial_effect(3 * sizes, sizes, 0.0) == 1
    assert serial_effect(np.tile([45.0, 55.0], 50), np.full(100, 100.0), 1.0) == 1


@given(st.integers(2, 40), st.integers(0, 1000))
def test_the_effect_of_however_few_seconds_is_a_number_of_at_least_one(seconds, seed):
    random = np.random.default_rng(seed)
    effect = serial_effect(random.normal(size=seconds), random.poisson(2, seconds) + 1.0, 1.0)
    assert 1 <= effect < np.inf


@pytest.mark.parametrize(
    ("hits", "size", "lower", "upper"),
    [
        (0, 100, 0, 0.02951),  # the rule of three: 1 - 0.05^(1/100)
        (5, 100, 0.01991, 0.10225),
        (100, 100, 0.97049, 1),
    ],
)
def test_bounds_are_those_of_clopper_and_pearson(hits, size, lower, upper):
    assert bounds(hits, size) == (pytest.approx(lower, abs=2e-5), pytest.approx(upper, abs=2e-5))


@given(st.floats(0, 1), st.floats(1, 1e6), st.floats(0.001, 0.999))
def test_the_test_of_a_share_and_its_bounds_never_disagree(ratio, size, share):
    hits = ratio * size
    lower, upper = bounds(hits, size)
    if abs(upper - share) > 1e-9:
        assert is_surely_below(np.array([hits]), np.array([size]), share)[0] == (upper < share)
    if abs(lower - share) > 1e-9:
        assert is_surely_above(np.array([hits]), np.array([size]), share)[0] == (lower > share)


@pytest.mark.parametrize(
    ("hits", "size", "share"), [(0, 20, 0.05), (4, 100, 0.05), (6, 100, 0.05), (50, 1000, 0.06)]
)
def test_the_growth_that_is_advised_decides_and_half_of_it_does_not(hits, size, share):
    growth = growth_to_decide(hits, size, share)

    def is_decided(times):
        lower, upper = bounds(hits * times, size * times)
        return lower > share or upper < share

    assert is_decided(growth)
    assert not is_decided(growth / 2)


def test_no_growth_decides_what_lies_on_the_limit_or_a_limit_of_nothing():
    assert growth_to_decide(5, 100, 0.05) == math.inf
    assert growth_to_decide(0, 100, 0.0) == math.inf


def test_a_mean_of_independent_batches_is_covered_as_often_as_it_says():
    random = np.random.default_rng(4)
    covered = 0
    for _ in range(1000):
        mean = mean_of_batches(random.normal(50, 5, 30), np.full(30, 5.0))
        covered += mean.upper > 10
    assert covered / 1000 == pytest.approx(
        0.95, abs=0.035
    )  # a little above: doubt of their independence is paid for


def test_the_growth_of_a_mean_shrinks_its_reach_to_the_limit():
    mean = mean_of_batches(np.array([9.0, 10.0, 11.0, 10.0] * 5), np.ones(20))
    limit = mean.value + mean.half_width / 3
    assert mean.growth_to_decide(limit) == pytest.approx(9)
    assert mean.growth_to_decide(mean.value) == math.inf


def test_a_line_has_its_slope_and_is_a_drift():
    trend = theil_sen(10 + 0.1 * np.arange(30))
    assert trend.slope == pytest.approx(0.1)
    assert trend.change == pytest.approx(2.9)
    assert trend.is_drift


def test_a_small_change_is_no_drift_however_sure():
    assert not theil_sen(100 + 0.1 * np.arange(30)).is_drift


def test_noise_alone_is_seldom_a_drift_even_where_it_wanders():
    random = np.random.default_rng(5)
    plain = sum(theil_sen(random.exponential(1, 30)).is_drift for _ in range(400))
    wandering = 0
    for _ in range(400):
        values = np.zeros(30)
        for i, noise in enumerate(random.standard_normal(30)):
            values[i] = 0.5 * values[i - 1] + noise
        wandering += theil_sen(10 + values).is_drift
    assert plain / 400 < 0.08
    assert wandering / 400 < 0.12


def test_one_outlier_makes_no_drift():
    values = np.full(30, 5.0)
    values[-1] = 500
    assert not theil_sen(values).is_drift


def test_an_oscillation_that_grows_and_fades_does_not_recur():
    seconds = np.arange(300)
    oscillation = np.sin(2 * np.pi * seconds / 10)
    assert recurrence(oscillation) == 10
    assert recurrence(oscillation * (1 + 0.7 * np.sin(2 * np.pi * seconds / 150))) == 0
