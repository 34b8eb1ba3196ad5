"""The correlation of the operations of a window, estimated from all of them."""

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

__all__ = ["Correlation", "Scores", "whole_effect"]

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]

_BULK = (0.25, 0.5, 0.75, 0.9)
"""Quantiles by which operations are scored, to estimate their correlation from all of them."""
_GRAIN = 0.05
"""Times that differ by less than this share of the judged percentile count as equal, because such a
difference does not move the percentile. For example, a 20 ms service is occasionally 0.3 ms slower,
and a twelfth of its operations take 400 ms. Without this rule, its verdict would be
inconclusive."""


@dataclass(frozen=True, slots=True)
class Correlation:
    """The correlation of the operations of a window."""

    effect: float
    """Their design effect; at least 1."""
    period: int
    """The period (seconds) at which slowness recurs, or 0."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Two scores of each operation, summed by second, from which their correlation is estimated.

    The first is how many quantiles in `_BULK` it reaches. This is a rank, so a single slow
    operation does not dominate. But a rank ignores the size of a difference. Therefore the second
    score is how many of those quantiles it exceeds by an amount that matters to the judged
    percentile (`_GRAIN`). A failed operation is scored by the time that it took, so more failures
    do not change the scores.
    """

    sizes: Floats
    """Operations by second; shape (s,)."""
    sums: tuple[Floats, Floats]
    """The sums of both scores by second; shapes (s,)."""
    squares: tuple[Floats, Floats]
    """The sums of their squares."""

    @classmethod
    def of(cls, traffic: Traffic, quantile: float) -> "Scores":
        """Score the operations of traffic whose `quantile` is judged."""
        histogram = np.bincount(traffic.took, traffic.count, FAILED + 1)
        total = int(histogram.sum())
        below = np.cumsum(histogram) - histogram
        ranks = np.searchsorted(below, [each * total for each in _BULK])
        measured = quantile_of(histogram.astype(np.int64), quantile)
        if measured is None:  # compared with an infinite time, all other times are equal
            steps = np.full_like(ranks, FAILED)
        else:
            moved = buckets.indices(buckets.lower_edges(ranks) + _GRAIN * measured)
            steps = np.maximum(ranks, moved)
        sums: list[Floats] = []
        squares: list[Floats] = []
        for thresholds in (ranks, steps):
            score = np.searchsorted(thresholds, np.arange(FAILED + 1), side="right").astype(np.float64)
            scored = score[traffic.took]
            for into, values in ((sums, scored), (squares, scored**2)):
                by_second = np.bincount(traffic.second, values * traffic.count, traffic.seconds)
                into.append(by_second.astype(np.float64))
        sizes = traffic.per_second().astype(np.float64)
        return cls(sizes, (sums[0], sums[1]), (squares[0], squares[1]))

    def correlation(self, is_kept: Booleans | None = None) -> Correlation:
        """The correlation of the operations, or of those in the marked seconds, shape (s,).

        It is that of the score with the smaller effect, because the second score overweights an
        event that exceeded all others.
        """
        kept = np.ones(len(self.sizes)) if is_kept is None else is_kept.astype(np.float64)
        each = (
            _correlation(sums * kept, squares * kept, self.sizes * kept)
            for sums, squares in zip(self.sums, self.squares, strict=True)
        )
        return min(each, key=lambda correlation: correlation.effect)


def _correlation(sums: Floats, squares: Floats, sizes: Floats) -> Correlation:
    """The correlation of a score from its sums, its squares' sums and the operations by second."""
    total = float(sizes.sum())
    if not total:
        return Correlation(1.0, 0)
    mean = float(sums.sum()) / total
    variance = float(squares.sum()) / total - mean**2
    period = recurrence(sums - mean * sizes) if variance > 0 else 0
    if not period:
        return Correlation(serial_effect(sums, sizes, variance), 0)
    edges = batch_edges(len(sizes), period)[:-1]
    of_batches = mean_of_batches(np.add.reduceat(sums, edges), np.add.reduceat(sizes, edges))
    return Correlation(max(1.0, of_batches.error**2 * total / variance), period)


def whole_effect(traffic: Traffic, quantile: float) -> float:
    """The design effect of all operations of some traffic, from their correlation; at least 1.

    A part of a run that is too small for its own estimate uses the effect of the whole traffic.
    """
    return Scores.of(traffic, quantile).correlation().effect
