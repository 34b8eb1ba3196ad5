"""Logarithmic buckets: durations counted with a relative width of 0.2 %, so a value read back is off by at most 0.1 %.

Bucket ``i`` holds ``SMALLEST·G^i <= x < SMALLEST·G^(i+1)`` with ``G = 1.002``; the first also holds all that is
shorter. Same idea as HdrHistogram and DDSketch (Masson, Rim, Lee: "DDSketch", VLDB 2019); merging is adding.
"""

import math

import numpy as np
import numpy.typing as npt

__all__ = ["BUCKETS", "GROWTH", "SMALLEST", "index", "indices", "lower_edges", "middle"]

SMALLEST = 1e-6
"""Seconds: the lower edge of the first bucket. Nothing here is shorter than a microsecond."""
GROWTH = 1.002
"""Ratio of a bucket's upper edge to its lower one."""
BUCKETS = 1 << 14
"""How many there are; the last ends far beyond any time-out (1e-6 · 1.002^16384 s)."""

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
    """The lower edges of buckets, in seconds; the upper edge of ``i`` is the lower edge of ``i + 1``."""
    return SMALLEST * np.exp(_LOG_GROWTH * bucket.astype(np.float64))


def middle(bucket: int) -> float:
    """The value a bucket stands for, in seconds: within 0.1 % of all it holds."""
    return SMALLEST * math.exp(_LOG_GROWTH * bucket) * (1 + GROWTH) / 2
