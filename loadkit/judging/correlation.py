"""How the operations of a window depend on each other, estimated from all of them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from loadkit.judging.statistics import (
    batch_edges,
    mean_of_batches,
    recurrence,
    serial_effect,
)
from loadkit.recording import histogram as buckets
from loadkit.recording.histogram import FAILED, quantile_of
from loadkit.recording.traffic import Traffic

__all__ = ["Correlation", "whole_effect"]

Integers = npt.NDArray[np.int64]

_BULK = (0.25, 0.5, 0.75, 0.9)
"""Quantiles by which operations are scored, to estimate their correlation from all of them."""
_GRAIN = 0.05
"""Times that differ by less than this share of the judged percentile count as equal, because such a
difference does not move the percentile. Without this rule, a 20 ms service that is occasionally
0.3 ms slower would be inconclusive about the twelfth of its operations that take 400 ms."""


@dataclass(frozen=True, slots=True)
class Correlation:
    """How operations of a window depend on each other, estimated from all of them."""

    effect: float
    """Their design effect; at least 1."""
    period: int
    """The period (seconds) at which slowness recurs, or 0."""

    @classmethod
    def of(cls, traffic: Traffic, quantile: float) -> "Correlation":
        """Score each operation, and estimate the correlation of the scores.

        Each operation has two scores. The first is how many quantiles in `_BULK` it reaches. This
        is a rank, so a single slow operation does not dominate. The second is how many of those
        quantiles it exceeds by an amount that matters to the judged `quantile` (`_GRAIN`), because
        ranks ignore the size of a difference. The smaller of the two effects is returned, because
        the second score overweights an event that exceeded all others. The effect is used directly.
        """
        histogram = traffic.histogram()
        total = int(histogram.sum())
        if not total:
            return cls(1.0, 0)
        below = np.cumsum(histogram) - histogram
        ranks = np.searchsorted(below, [each * total for each in _BULK])
        measured = quantile_of(histogram, quantile)
        if measured is None:  # compared with an infinite time, all other times are equal
            steps = np.full_like(ranks, FAILED)
        else:
            moved = buckets.indices(buckets.lower_edges(ranks) + _GRAIN * measured)
            steps = np.maximum(ranks, moved)
        return min((cls._of_score(traffic, each) for each in (ranks, steps)), key=lambda each: each.effect)

    @classmethod
    def _of_score(cls, traffic: Traffic, thresholds: Integers) -> "Correlation":
        """The correlation of a score: how many of the ascending thresholds (buckets) are reached."""
        score = np.searchsorted(thresholds, np.arange(FAILED + 1), side="right").astype(np.float64)
        weights = score[traffic.bucket] * traffic.count
        sums = np.bincount(traffic.second, weights, traffic.seconds).astype(np.float64)
        sizes = traffic.per_second().astype(np.float64)
        share = traffic.histogram() / traffic.size
        variance = float(share @ score**2) - float(share @ score) ** 2
        period = recurrence(sums - sums.sum() / sizes.sum() * sizes)
        if not period:
            return cls(serial_effect(sums, sizes, variance), 0)
        edges = batch_edges(traffic.seconds, period)[:-1]
        mean = mean_of_batches(np.add.reduceat(sums, edges), np.add.reduceat(sizes, edges))
        return cls(max(1.0, mean.error**2 * traffic.size / variance), period)


def whole_effect(traffic: Traffic, quantile: float) -> float:
    """The design effect of all operations of some traffic, from their correlation; at least 1.

    A run's whole traffic lends it to a part that is too small for an estimate of its own.
    """
    return Correlation.of(traffic, quantile).effect
