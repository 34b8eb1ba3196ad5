"""Logarithmic buckets with a relative width of 0.2 %; a value read back is off by at most 0.1 %.

Bucket ``i`` holds ``SMALLEST·G^i <= x < SMALLEST·G^(i+1)`` with ``G = 1.002``. The first bucket
also holds all shorter durations. HdrHistogram and DDSketch use the same idea (Masson, Rim, Lee:
"DDSketch", VLDB 2019). Merging adds the counts.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = [
    "BUCKETS",
    "FAILED",
    "GROWTH",
    "SMALLEST",
    "index",
    "indices",
    "lower_edges",
    "middle",
    "middles",
    "quantile_of",
    "quantiles_of_each",
]

SMALLEST = 1e-6
"""Seconds: the lower edge of the first bucket. No measured duration is below a microsecond."""
GROWTH = 1.002
"""Ratio of a bucket's upper edge to its lower one."""
BUCKETS = 1 << 14
"""Number of buckets; the last ends far beyond any time-out (1e-6 · 1.002^16384 s)."""
FAILED = BUCKETS
"""Index of failed operations, after the last bucket: above every duration."""

_LOG_GROWTH = math.log(GROWTH)
_LOG_SMALLEST = math.log(SMALLEST)


def index(seconds: float) -> int:
    """The bucket that holds a duration in seconds."""
    if seconds <= SMALLEST:
        return 0
    return min(int((math.log(seconds) - _LOG_SMALLEST) / _LOG_GROWTH), BUCKETS - 1)


def indices(seconds: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """`index` for an array of durations in seconds, shape (n,) to (n,)."""
    logs = np.log(np.maximum(seconds, SMALLEST))
    return np.minimum(((logs - _LOG_SMALLEST) / _LOG_GROWTH).astype(np.int64), BUCKETS - 1)


def lower_edges(bucket: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """The lower edges of buckets, in seconds; the upper edge of ``i`` is that of ``i + 1``."""
    return SMALLEST * np.exp(_LOG_GROWTH * bucket.astype(np.float64))


def middle(bucket: int) -> float:
    """The value that represents a bucket, in seconds: within 0.1 % of every duration in it."""
    return SMALLEST * math.exp(_LOG_GROWTH * bucket) * (1 + GROWTH) / 2


def middles(bucket: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """`middle` for an array of buckets, shape (n,) to (n,)."""
    return lower_edges(bucket) * (1 + GROWTH) / 2


def quantile_of(histogram: npt.NDArray[np.int64], quantile: float) -> float | None:
    """A quantile of the durations, in seconds, within 0.1 %.

    `histogram`: counts by bucket, `FAILED` last if there is one. `quantile`: 0 to 1. None where the
    histogram is empty, or where the quantile falls among the failed operations.
    """
    total = int(histogram.sum())
    if not total:
        return None
    bucket = int(np.searchsorted(np.cumsum(histogram), _ranks(quantile, np.array(total))))
    return None if bucket >= FAILED else middle(bucket)


def quantiles_of_each(
    place: npt.NDArray[np.int64],
    bucket: npt.NDArray[np.int64],
    count: npt.NDArray[np.int64],
    places: int,
    quantiles: Sequence[float],
) -> npt.NDArray[np.float64]:
    """Several quantiles of the counts of each place, such as a second; shape (q, `places`).

    The arrays `place` (0 ≤ p < `places`), `bucket` and `count` are parallel; shapes (n,). The
    result is NaN where a place has no counts. It is infinite where the quantile falls among the
    failed operations.
    """
    order = np.lexsort((bucket, place))
    place, bucket, count = place[order], bucket[order], count[order]
    sizes = np.bincount(place, count, places)
    reached = np.cumsum(count) - (np.cumsum(sizes) - sizes)[place]
    values = np.full((len(quantiles), places), np.nan)
    for row, quantile in zip(values, quantiles, strict=True):
        candidates = np.flatnonzero(reached >= _ranks(quantile, sizes)[place])
        found, first = np.unique(place[candidates], return_index=True)
        bucket_found = bucket[candidates[first]]
        row[found] = np.where(bucket_found < FAILED, lower_edges(bucket_found) * (1 + GROWTH) / 2, np.inf)
    return values


def _ranks(
    quantile: float, sizes: npt.NDArray[np.float64] | npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Ranks of quantiles, by the inverse of the empirical distribution function."""
    return np.maximum(1, np.ceil(quantile * sizes - 1e-9))
