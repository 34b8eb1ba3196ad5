"""Judge percentiles of the operations' times."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from loadkit.criterion import Criterion
from loadkit.judging.correlation import Scores
from loadkit.judging.finding import Finding, decide
from loadkit.judging.shares import lower_bounds
from loadkit.judging.spells import (
    Spells,
    longest_stretch,
    surely_over,
    surely_under,
    weigh,
    within,
)
from loadkit.judging.statistics import (
    FARTHEST,
    batch_edges,
    design_effect,
    effective_size,
    grossly_above,
    growth_to_decide,
    is_surely_above,
    is_surely_below,
    persistences,
)
from loadkit.recording import histogram as buckets
from loadkit.recording.histogram import FAILED, quantile_of
from loadkit.recording.traffic import Traffic
from loadkit.verdict import Status

__all__ = ["examine_percentile", "limit_effect"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]

_ODDS = 19.0
"""The odds ratio between a percentile and the value used to measure the spread of the times. For
p95 that value is the median."""
_REACH = 1.28
"""Standard errors from a percentile to its upper bound. Found by simulation, as is the next
constant."""
_FEW = 33.0
"""The relative increase of the variance is this many standard deviations of one operation, divided
by the window's effective number of operations. Few operations give a poor estimate of their
correlation, and the estimate is worse for a percentile further out in the tail."""
_RANGES = 2.0
"""The upper bound is at most this many ranges of the batches' own percentiles above the largest of
them. Beyond that, it would only extrapolate: a step from 4 ms to 12 ms says nothing about 1 s."""


@dataclass(frozen=True, slots=True)
class _Tail:
    """Operations at or above each threshold (a bucket's lower edge), by batch."""

    thresholds: Integers
    """Buckets in ascending order: those in use, and the one after the last; shape (m,)."""
    sizes: Floats
    """Operations of each batch that is not empty, shape (b,)."""
    hits: Floats
    """Operations at or above each threshold, shape (b, m)."""

    @classmethod
    def of(cls, traffic: Traffic, period: int = 0) -> "_Tail":
        used, counts = traffic.by_batch(batch_edges(traffic.seconds, period))
        counts = counts[counts.any(axis=1)]
        hits = np.zeros((counts.shape[0], len(used) + 1))
        hits[:, :-1] = np.cumsum(counts[:, ::-1], axis=1)[:, ::-1]
        return cls(np.append(used, used[-1] + 1), hits[:, 0], hits)

    @property
    def batches(self) -> int:
        """The number of batches that are not empty."""
        return len(self.sizes)

    @property
    def total(self) -> float:
        """The number of all operations."""
        return float(self.sizes.sum())

    @property
    def over(self) -> Floats:
        """The share of the operations at or above each threshold, shape (m,)."""
        return np.asarray(self.hits.sum(axis=0) / self.total)

    @property
    def effects(self) -> Floats:
        """The design effect of the share at or above each threshold, shape (m,)."""
        shares = self.hits / self.sizes[:, np.newaxis]
        return np.asarray(design_effect(self.hits, self.sizes) * persistences(shares))

    def at(self, limit: int) -> int:
        """The index of the threshold at a bucket, or of the next threshold in use."""
        return min(int(np.searchsorted(self.thresholds, limit)), len(self.thresholds) - 1)

    def percentiles(self, allowed: float) -> Floats:
        """Each batch's own percentile (seconds), with a share of `allowed` above it; shape (b,)."""
        reached = self.hits > allowed * self.sizes[:, np.newaxis]
        return _edges(self.thresholds[reached.sum(axis=1) - 1])


def _surely_at_least(thresholds: Integers, shares: Floats, sizes: Floats, allowed: float) -> int:
    """The last threshold (bucket) that surely more than the `allowed` share reach; 0 if none."""
    above = is_surely_above(shares * sizes, sizes, allowed)
    return int(thresholds[np.flatnonzero(above)[-1]]) if above.any() else 0


def _surely_below(thresholds: Integers, shares: Floats, sizes: Floats, allowed: float) -> int:
    """The first bucket that surely less than the `allowed` share reach; beyond `FAILED` if none."""
    below = is_surely_below(shares * sizes, sizes, allowed)
    first = int(np.argmax(below)) if below.any() else 0
    # There are no operations between a threshold and the bucket in use before it.
    return int(thresholds[first - 1]) + 1 if first else FAILED + 1


@dataclass(frozen=True, slots=True)
class _Spread:
    """The distance of a percentile's upper bound from its value, from the spread of log times."""

    slope: float
    """Increase of the time's logarithm per unit of the odds' logarithm."""
    variance: float
    """The variance of the odds' logarithm, times the number of independent operations."""

    @classmethod
    def of(cls, traffic: Traffic, quantile: float, measured: float) -> "_Spread":
        odds = quantile / (1 - quantile)
        lower = quantile_of(traffic.histogram(), odds / (_ODDS + odds))
        assert lower is not None
        return cls(math.log(measured / lower) / math.log(_ODDS), 1 / (quantile * (1 - quantile)))

    def half_width(self, size: float) -> float:
        """The logarithm of upper bound ÷ measured value, for `size` independent operations."""
        few = _FEW * math.sqrt(self.variance)
        return _REACH * self.slope * math.sqrt(self.variance / size * (1 + few / size))

    def size_to_reach(self, away: float) -> float:
        """The number of independent operations with a half-width of `away`; ∞ if there is none."""
        if away <= 0:
            return math.inf
        # The root of size² = needed · (size + few).
        few = _FEW * math.sqrt(self.variance)
        needed = (_REACH * self.slope / away) ** 2 * self.variance
        return (needed + math.sqrt(needed * (needed + 4 * few))) / 2


def limit_effect(traffic: Traffic, limit: float) -> float:
    """The design effect of the share of operations at or above a limit (seconds).

    Operations far below the limit do not affect it.
    """
    if not traffic.size:
        return 1.0
    tail = _Tail.of(traffic)
    return float(tail.effects[tail.at(buckets.index(limit))]) if len(tail.sizes) > 1 else 1.0


def examine_percentile(
    criterion: Criterion,
    traffic: Traffic,
    borrowed_effect: float = 1.0,
    lent_at_limit: float = 1.0,
    *,
    lulls: Booleans | None = None,
) -> Finding:
    """Judge a percentile: "p95 below L" means that less than 5 % of operations are at or above L.

    The interval inverts a test of that share (Clopper and Pearson) over the buckets' edges. The
    effective number of independent operations is estimated in two ways. At each edge, it follows
    from how the share varies from batch to batch. For the whole window, it follows from the
    correlation of all operations (`Scores`). If slowness recurs, batches are whole periods of it.

    - Lower end: the smaller of the two numbers is used.
    - Upper end: a calm window shows both too few operations over a limit and too little variation
      of them. The number at the edge alone would therefore pass too easily. So the end is also at
      least `_Spread.half_width` above the measured percentile. Far above all measured times, too
      few operations remain over the edge for an estimate. There the half-width alone decides. It is
      limited to `_RANGES` above the percentiles of the batches, however much the service varied. So
      a drift from 4 ms to 12 ms passes a limit of 500 ms.

    A single lasting event (all operations refused from the middle on) gives no estimate of a
    correlation. It violates the criterion if the share is grossly above the allowed one. Such an
    event casts no doubt on a certain violation in the rest of the window (`lower_bounds`).

    The verdict compares the limit with the interval's ends, so the shown interval is the one that
    decides. A bucket has a width (0.2 %). In the test for a pass, the bucket that contains the
    limit counts as over the limit. In the test for a fail, it counts as under it. So the width
    never decides.

    `borrowed_effect`, `lent_at_limit`: lower bounds of the two design effects, for a part of the
    traffic too small for its own estimate. They come from the whole traffic (`whole_effect`,
    `limit_effect`). `lulls`: the spell windows with little traffic because of the service, shape
    (windows,); None if there are none.

    Error rates by simulation (`tests/known_answers/verdict_table.py`, 300 runs of each row): at the
    limit, at most 5 % of the runs of each process pass and at most 5 % fail, within the error of
    300 runs. The cost is fewer passes near the limit. For one minute of a queue at 80 %
    utilization, the p95 passes a limit of 1.5 times its true value in 48 % of the runs.

    Two exceptions are known. One is a service that is slow in few long spells. With five spells in
    a window, 14 % of the runs pass at the limit, and with ten, 8 %. A window that happens to have
    too few spells cannot show them. The other is an oscillation of 10 s whose size wanders over 50
    s (AR(2), r 0.98). Its memory is longer than a tenth of the window. Over 300 s, its p90 passed
    in 10 % of 300 runs at the limit.
    """
    quantile = criterion.measure.quantile
    assert quantile is not None
    allowed = 1 - quantile
    limit = buckets.index(criterion.limit)
    scores = Scores.of(traffic, quantile)
    correlation = scores.correlation()
    tail = _Tail.of(traffic, correlation.period)
    batches = tail.batches
    if batches < 2:
        return Finding(
            Status.INCONCLUSIVE,
            "all operations began within one short part of the window",
            samples=traffic.size,
        )
    edge_effects = np.maximum(tail.effects, lent_at_limit)
    overall_effect = max(correlation.effect, borrowed_effect)
    larger_effects = np.maximum(edge_effects, overall_effect)
    edge_sizes = effective_size(tail.total, edge_effects, batches)
    overall_size = float(effective_size(tail.total, np.array(overall_effect), batches))
    smaller_sizes = np.minimum(edge_sizes, overall_size)
    lowest = _surely_at_least(tail.thresholds, tail.over, smaller_sizes, allowed)
    highest = _surely_below(tail.thresholds, tail.over, edge_sizes, allowed)
    measured = quantile_of(traffic.histogram(), quantile)
    at_limit = tail.at(limit)
    over = float(tail.over[at_limit])
    is_upper = criterion.comparison.is_upper
    sizes = edge_sizes if over < allowed else smaller_sizes
    growth = growth_to_decide(over * float(sizes[at_limit]), float(sizes[at_limit]), allowed)
    if over > allowed and measured is not None and measured <= criterion.limit:
        growth = math.inf  # the times are so close to the limit that they share its bucket
    if measured is not None:
        spread = _Spread.of(traffic, quantile, measured)
        upper = math.exp(min(math.log(measured) + spread.half_width(overall_size), FARTHEST))
        percentiles = tail.percentiles(allowed)
        upper = min(upper, (1 + _RANGES) * percentiles.max() - _RANGES * percentiles.min())
        highest = max(highest, buckets.index(max(upper, measured)) + 1)
        if over < allowed:
            away = math.log(criterion.limit / measured)
            growth = max(growth, spread.size_to_reach(away) / overall_size)
    lent = max(borrowed_effect, lent_at_limit)
    is_doubtful = over > allowed and lowest <= limit
    is_over = is_doubtful and _is_over_beside_events(traffic, scores, limit, allowed, lent)
    if is_over or _is_gross(traffic, limit, allowed):
        lowest, highest = max(lowest, limit + 1), max(highest, limit + 2)
    surely_below, surely_above = highest <= limit, lowest > limit
    interval = (_edge(lowest), _edge(highest))
    status, reason = decide(
        criterion,
        measured,
        interval,
        satisfied=surely_below if is_upper else surely_above,
        violated=surely_above if is_upper else surely_below,
        growth=growth,
        seconds=traffic.seconds,
        size=traffic.size,
    )
    effect = float(larger_effects[at_limit])
    finding = Finding(
        status,
        reason,
        measured,
        interval,
        traffic.size,
        float(smaller_sizes[at_limit]),
        censored=measured is None,
        details={
            "over_limit": over,
            "design_effect": effect,
            "batches": batches,
            "failed": traffic.failed,
            "successes_only": quantile_of(traffic.histogram()[:FAILED], quantile),
        },
    )
    return weigh(criterion, finding, _spells(criterion, traffic, limit, allowed, lulls))


def _is_gross(traffic: Traffic, limit: int, allowed: float) -> bool:
    """Do so many operations exceed the limit that one lasting event decides (`grossly_above`)?"""
    arrivals, late = traffic.per_second(), traffic.per_second(limit + 1)
    effect = within(late, arrivals)
    return grossly_above(float(late.sum()) / effect, float(arrivals.sum()) / effect) > allowed


def _is_over_beside_events(
    traffic: Traffic, scores: Scores, limit: int, allowed: float, borrowed_effect: float
) -> bool:
    """Does the window without its worst seconds surely violate the limit (`lower_bounds`)?"""
    late, arrivals = traffic.per_second(limit + 1), traffic.per_second()

    def correlation_of(is_kept: Booleans) -> tuple[float, int]:
        correlation = scores.correlation(is_kept)
        return max(correlation.effect, borrowed_effect), correlation.period

    return next(lower_bounds(arrivals, late, allowed, correlation_of), None) is not None


def _edges(thresholds: Integers) -> Floats:
    """The lower edges of buckets in seconds; infinite for failed operations."""
    edges = buckets.lower_edges(np.minimum(thresholds, FAILED - 1))
    return np.where(thresholds >= FAILED, math.inf, edges)


def _edge(bucket: int) -> float:
    return float(_edges(np.array([bucket]))[0])


def _spells(
    criterion: Criterion, traffic: Traffic, limit: int, allowed: float, lulls: Booleans | None
) -> Spells:
    arrivals = traffic.per_second()
    if not criterion.comparison.is_upper:
        return Spells.of(surely_under(criterion, traffic.per_second(limit), arrivals, allowed), lulls)
    late = traffic.per_second(limit + 1)
    over = surely_over(criterion, late, arrivals, allowed)
    return Spells.of(over, lulls, longest_stretch(late, arrivals, allowed), traffic.seconds)
