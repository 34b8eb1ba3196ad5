"""Percentiles from buckets: one way for all who ask."""

import numpy as np
import pytest

from loadkit.recording.histogram import BUCKETS, FAILED, indices, quantile_of, quantiles_of_each


def counts_of(seconds, failed=0):
    histogram = np.bincount(indices(np.asarray(seconds, float)), minlength=FAILED + 1)
    histogram[FAILED] += failed
    return histogram


@pytest.mark.parametrize(("quantile", "value"), [(0.5, 0.05), (0.95, 0.095), (0.99, 0.099), (1.0, 0.1)])
def test_a_quantile_is_the_smallest_value_with_that_share_at_or_below_it(quantile, value):
    assert quantile_of(counts_of(np.arange(1, 101) / 1000), quantile) == pytest.approx(value, rel=0.001)


def test_a_quantile_among_the_failed_and_one_of_nothing_have_no_value():
    assert quantile_of(counts_of([0.1] * 94, failed=6), 0.95) is None
    assert quantile_of(counts_of([0.1] * 95, failed=5), 0.95) == pytest.approx(0.1, rel=0.001)
    assert quantile_of(np.zeros(BUCKETS, np.int64), 0.95) is None


def test_a_histogram_may_end_at_its_last_bucket_in_use():
    whole = counts_of([0.001, 0.002, 0.003])
    assert quantile_of(whole[: np.flatnonzero(whole)[-1] + 1], 0.5) == quantile_of(whole, 0.5)


def test_the_quantiles_of_each_place_are_those_of_its_own_counts():
    draw = np.random.default_rng(1)
    place, bucket = draw.integers(0, 9, 3000), indices(draw.exponential(0.02, 3000))
    place[place == 4] = 3  # nothing in the fourth
    bucket[draw.uniform(size=3000) < 0.04] = FAILED
    bucket[place == 7] = FAILED
    count = draw.integers(1, 5, 3000)
    quantiles = (0.5, 0.95, 0.99)
    values = quantiles_of_each(place, bucket, count, 10, quantiles)
    assert values.shape == (3, 10)
    for number in range(10):
        here = place == number
        histogram = np.bincount(bucket[here], count[here], FAILED + 1).astype(np.int64)
        for row, quantile in zip(values, quantiles, strict=True):
            alone = quantile_of(histogram, quantile)
            if alone is None:
                assert np.isinf(row[number]) if here.any() else np.isnan(row[number])
            else:
                assert row[number] == pytest.approx(alone, rel=1e-12)
    assert np.isnan(values[:, [4, 9]]).all()
    assert np.isinf(values[:, 7]).all()


def test_no_counts_have_no_quantiles():
    empty = np.empty(0, np.int64)
    assert np.isnan(quantiles_of_each(empty, empty, empty, 3, (0.5,))).all()
