"""Percentiles, means and maxima of operations' times."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from loadkit import buckets
from loadkit.criterion import Criterion
from loadkit.judging.finding import Finding, decide, subject
from loadkit.judging.spells import (
    Spells,
    confidence_of_each,
    in_spells,
    spell_effect,
    spell_starts,
    thin,
    weigh,
    within,
)
from loadkit.judging.traffic import FAILED, Traffic, quantile_of
from loadkit.quantities import format_quantity, format_ratio
from loadkit.statistics import (
    CONFIDENCE,
    batch_edges,
    bounds,
    design_effect,
    effective_size,
    grossly_above,
    growth_to_decide,
    is_surely_above,
    is_surely_below,
    mean_of_batches,
    persistence,
    persistences,
    student_quantile,
)
from loadkit.verdict import Status

__all__ = ["examine_maximum", "examine_mean", "examine_percentile", "limit_effect", "whole_effect"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_BULK = (0.5, 0.75, 0.9)
"""Quantiles at which the run's own bulk tells how its operations go together."""
_UPPER_CONFIDENCE = 0.97
"""Nominal, so that it comes to 95 %: a calm window shows too few operations over a limit and too little spread at once."""
_SAFETY = 3.25
"""Times the usual reach of a t interval: the batches of a short window differ less than windows do."""
_FARTHEST = 20.0
"""A reach beyond this, as a logarithm, is no bound at all."""
_FAILED_IN_MEAN = 0.01
"""A mean has no meaning where more of the operations than this have no time."""


@dataclass(frozen=True, slots=True)
class _Tail:
    """For each threshold, a bucket's lower edge: how many operations lasted that long, by batch."""

    thresholds: Integers
    """Buckets, rising: those in use, and the one after the last; shape (m,)."""
    sizes: Floats
    """Operations per batch that has any, shape (b,)."""
    hits: Floats
    """Operations at or above each threshold, shape (b, m)."""
    means: Floats
    """Mean time of the operations that succeeded, per batch; shape (b,), not-a-number where there are none."""

    @classmethod
    def of(cls, traffic: Traffic) -> "_Tail":
        used, counts = traffic.by_batch(batch_edges(traffic.seconds))
        counts = counts[counts.any(axis=1)]
        hits = np.zeros((counts.shape[0], len(used) + 1))
        hits[:, :-1] = np.cumsum(counts[:, ::-1], axis=1)[:, ::-1]
        timed = used != FAILED
        number = counts[:, timed].sum(axis=1)
        spent = counts[:, timed] @ buckets.lower_edges(used[timed])
        means = np.divide(spent, number, out=np.full(len(number), np.nan), where=number > 0)
        return cls(np.append(used, used[-1] + 1), hits[:, 0], hits, means)

    @property
    def total(self) -> float:
        """Operations in all."""
        return float(self.sizes.sum())

    @property
    def over(self) -> Floats:
        """The share of the operations at or above each threshold, shape (m,)."""
        return np.asarray(self.hits.sum(axis=0) / self.total)

    def bulk_effect(self, effects: Floats) -> float:
        """The largest of the thresholds' effects at the bulk's quantiles."""
        return float(max(effects[int(np.argmax(self.over <= 1 - quantile))] for quantile in _BULK))

    def quantile_of_batches(self, quantile: float) -> Floats:
        """The logarithm of each batch's own quantile; shape (b,)."""
        is_over = self.hits > (1 - quantile) * self.sizes[:, np.newaxis]
        return np.log(buckets.lower_edges(self.thresholds[is_over.sum(axis=1) - 1]))


@dataclass(frozen=True, slots=True)
class _Interval:
    """Where a percentile surely lies, in buckets: at or above the lower edge of one, below the lower edge of another."""

    lowest: int
    highest: int
    """Beyond `FAILED` where nothing bounds it."""

    def narrowed(self, other: "_Interval") -> "_Interval":
        return _Interval(max(self.lowest, other.lowest), min(self.highest, other.highest))

    def widened(self, lower: float, upper: float) -> "_Interval":
        """To hold two times, in seconds."""
        highest = max(self.highest, buckets.index(upper) + 1) if math.isfinite(upper) else FAILED + 1
        return _Interval(min(self.lowest, buckets.index(lower)), highest)


def _test_inverted(tail: _Tail, sizes: Floats, allowed: float) -> _Interval:
    """The interval of the percentile above which a share `allowed` lies, with effective sizes (m,)."""
    hits = tail.over * sizes
    above = is_surely_above(hits, sizes, allowed)
    below = is_surely_below(hits, sizes, allowed, _UPPER_CONFIDENCE)
    lowest = int(tail.thresholds[np.flatnonzero(above)[-1]]) if above.any() else 0
    # Nothing lies between a threshold and the bucket in use before it.
    first = int(np.argmax(below)) if below.any() else 0
    return _Interval(lowest, int(tail.thresholds[first - 1]) + 1 if first else FAILED + 1)


def _reach(tail: _Tail, quantile: float) -> float:
    """How far a percentile may be from the one measured, as a logarithm, by how the batches' own differ.

    Batches that go together are worth fewer, in their error and in its degrees of freedom.
    """
    reach = 0.0
    for values in (tail.quantile_of_batches(quantile), np.log(tail.means[np.isfinite(tail.means)])):
        if len(values) < 2:
            return math.inf
        worth = len(values) / persistence(values)
        error = float(values.std(ddof=1)) / math.sqrt(worth)
        reach = max(reach, error * student_quantile(CONFIDENCE, max(1.0, worth - 1)))
    return _SAFETY * reach


def whole_effect(traffic: Traffic) -> float:
    """The design effect of a run's whole traffic, for a part of it that is too small to tell its own."""
    if not traffic.size:
        return 1.0
    tail = _Tail.of(traffic)
    if len(tail.sizes) < 2:
        return 1.0
    return tail.bulk_effect(design_effect(tail.hits, tail.sizes)) * persistence(tail.means)


def limit_effect(traffic: Traffic, limit: float) -> float:
    """The same of the share of operations at or above a limit (seconds) alone, whatever the bulk does far below it."""
    if not traffic.size:
        return 1.0
    tail = _Tail.of(traffic)
    if len(tail.sizes) < 2:
        return 1.0
    at_limit = min(int(np.searchsorted(tail.thresholds, buckets.index(limit))), len(tail.thresholds) - 1)
    effects = design_effect(tail.hits, tail.sizes) * persistences(tail.hits / tail.sizes[:, np.newaxis])
    return float(effects[at_limit])


def examine_percentile(
    criterion: Criterion,
    traffic: Traffic,
    lent_effect: float = 1.0,
    lent_at_limit: float = 1.0,
    *,
    is_steady: bool = True,
) -> Finding:
    """Judge a percentile: "p95 below L" says that the share of operations at or above L is below 5 %.

    Two intervals are made, and the narrower end of each holds. Both invert a test of that share over the buckets'
    edges, and differ in what guards against operations that go together:

    - the share's design effect is taken as at least the one of the run's bulk (median, p75, p90);
    - the share's own design effect is enough, but the interval is at least as wide as the batches' percentiles, on a
      logarithmic scale, differ. It decides where the limit is far away from all that was seen, however much that
      wandered: 4 ms drifting to 5 ms against 500.

    One event that lasted (everything refused from the middle on) shows no correlation that could be estimated; it
    breaks the promise where the share is grossly above the one allowed.

    The verdict compares the limit with the interval's ends, so what is shown and what is decided agree. A bucket has a
    width (0.2 %): the one that holds the limit counts as over it where the promise might be kept, and as under it
    where it might be broken, so that the width never decides.

    `lent_effect`, `lent_at_limit`: the least design effect of each interval, which a part of the traffic too small to
    tell its own has from the whole (`whole_effect`, `limit_effect`). `is_steady`: does the plan ask for the same load
    throughout, so that a lull is the service's doing? `tests/known_answers/verdict_table.py` shows how often it errs.
    """
    quantile = criterion.measure.quantile
    assert quantile is not None
    allowed = 1 - quantile
    limit = buckets.index(criterion.limit)
    tail = _Tail.of(traffic)
    batches = len(tail.sizes)
    if batches < 2:
        return Finding(
            Status.INCONCLUSIVE, "all operations lie in one short stretch of time", samples=traffic.size
        )
    own = design_effect(tail.hits, tail.sizes)
    wary = np.maximum(np.maximum(own, tail.bulk_effect(own)) * persistence(tail.means), lent_effect)
    bold = np.maximum(own * persistences(tail.hits / tail.sizes[:, np.newaxis]), lent_at_limit)
    wary_sizes, bold_sizes = (effective_size(tail.total, effects, batches) for effects in (wary, bold))
    found = _test_inverted(tail, wary_sizes, allowed)
    measured = quantile_of(traffic.histogram(), quantile)
    at_limit = min(int(np.searchsorted(tail.thresholds, limit)), len(tail.thresholds) - 1)
    over = float(tail.over[at_limit])
    growth = growth_to_decide(over * float(wary_sizes[at_limit]), float(wary_sizes[at_limit]), allowed)
    if measured is not None:
        reach = min(_reach(tail, quantile), _FARTHEST)
        spread = _test_inverted(tail, bold_sizes, allowed)
        found = found.narrowed(spread.widened(measured * math.exp(-reach), measured * math.exp(reach)))
        bold_growth = growth_to_decide(
            over * float(bold_sizes[at_limit]), float(bold_sizes[at_limit]), allowed
        )
        away = abs(math.log(criterion.limit / measured)) if criterion.limit > 0 else math.inf
        growth = min(growth, max(bold_growth, (reach / away) ** 2 if away else math.inf))
    if _is_gross(traffic, limit, allowed):
        found = _Interval(max(found.lowest, limit + 1), max(found.highest, limit + 2))
    surely_below, surely_above = found.highest <= limit, found.lowest > limit
    is_upper = criterion.comparison.is_upper
    interval = (_edge(found.lowest), _edge(found.highest))
    status, reason = decide(
        criterion,
        measured,
        interval,
        keeps=surely_below if is_upper else surely_above,
        breaks=surely_above if is_upper else surely_below,
        growth=growth,
        seconds=traffic.seconds,
    )
    effect = float(wary[at_limit])
    finding = Finding(
        status,
        reason,
        measured,
        interval,
        traffic.size,
        float(wary_sizes[at_limit]),
        censored=measured is None,
        details={
            "over_limit": over,
            "design_effect": effect,
            "batches": batches,
            "failed": traffic.failed,
            "successes_only": quantile_of(traffic.successes().histogram(), quantile),
        },
    )
    return weigh(criterion, finding, _spells(criterion, traffic, limit, allowed, is_steady=is_steady))


def _is_gross(traffic: Traffic, limit: int, allowed: float) -> bool:
    """Did so many operations last too long that one lasting event of it is enough (see `grossly_above`)?"""
    arrivals, late = traffic.per_second(), traffic.per_second(limit + 1)
    effect = within(late, arrivals)
    return grossly_above(float(late.sum()) / effect, float(arrivals.sum()) / effect) > allowed


def _edge(bucket: int) -> float:
    return math.inf if bucket >= FAILED else float(buckets.lower_edges(np.array([bucket]))[0])


def _spells(criterion: Criterion, traffic: Traffic, limit: int, allowed: float, *, is_steady: bool) -> Spells:
    arrivals = traffic.per_second()
    is_upper = criterion.comparison.is_upper
    late = traffic.per_second(limit + 1 if is_upper else limit)
    effect = spell_effect(criterion, late, arrivals)
    hits, sizes = in_spells(late) / effect, in_spells(arrivals) / effect
    surely = is_surely_above if is_upper else is_surely_below
    over = surely(hits, sizes, allowed, confidence_of_each(len(sizes)))
    lull = thin(arrivals) if is_steady else np.zeros(len(sizes), np.bool_)
    return Spells(over | lull, lull)


def examine_mean(criterion: Criterion, traffic: Traffic, *, is_steady: bool = True) -> Finding:
    """Judge the mean time of successes, and of time-outs at the time after which they were given up.

    With surely more than 1 % failed the promise is broken, whatever the rest took; with more than that, but not
    surely, it is not kept.
    """
    edges = batch_edges(traffic.seconds)
    timed = np.add.reduceat(traffic.timed, edges[:-1])
    if not timed[:, 0].any():
        return Finding(
            Status.FAIL, f"{subject(criterion)} has no value: every operation failed", samples=traffic.size
        )
    mean = mean_of_batches(timed[:, 1], timed[:, 0])
    interval = (max(0.0, mean.lower), mean.upper)
    is_upper, limit = criterion.comparison.is_upper, criterion.limit
    failing = traffic.failed / traffic.size
    status, reason = decide(
        criterion,
        mean.value,
        interval,
        keeps=interval[1] < limit if is_upper else interval[0] > limit,
        breaks=interval[0] > limit if is_upper else interval[1] < limit,
        growth=mean.growth_to_decide(limit),
        seconds=traffic.seconds,
    )
    finding = Finding(
        status,
        reason,
        mean.value,
        interval,
        traffic.size,
        details={"independent_batches": mean.worth, "failed": traffic.failed, "standard_error": mean.error},
    )
    if failing > _FAILED_IN_MEAN and status is not Status.FAIL:
        sizes = np.add.reduceat(traffic.per_second(), edges[:-1]).astype(np.float64)
        bad = np.add.reduceat(traffic.per_second(FAILED), edges[:-1]).astype(np.float64)
        effect = design_effect(bad[:, np.newaxis], sizes)
        worth = float(effective_size(float(sizes.sum()), effect, len(sizes))[0])
        surely = bounds(failing * worth, worth)[0] > _FAILED_IN_MEAN
        return finding.become(
            Status.FAIL if surely else Status.INCONCLUSIVE,
            f"{format_ratio(failing)} of the operations failed, more than the 1 % with which a mean has a meaning; "
            f"the others' {reason}",
        )
    return weigh(criterion, finding, _mean_spells(criterion, traffic, is_steady=is_steady))


def _mean_spells(criterion: Criterion, traffic: Traffic, *, is_steady: bool) -> Spells:
    """Each spell window's mean with the error that its own seconds show."""
    starts = spell_starts(traffic.seconds)
    lengths = np.diff(np.append(starts, traffic.seconds))
    number, spent = in_spells(traffic.timed[:, 0]), in_spells(traffic.timed[:, 1])
    means = np.divide(spent, number, out=np.full(len(number), criterion.limit), where=number > 0)
    spread = in_spells((traffic.timed[:, 1] - np.repeat(means, lengths) * traffic.timed[:, 0]) ** 2)
    freedom = np.maximum(lengths - 1, 1)
    error = np.sqrt(spread * lengths / freedom) / np.maximum(number, 1)
    reach = error * [student_quantile(confidence_of_each(len(number)), degrees) for degrees in freedom]
    over = (
        means - reach > criterion.limit if criterion.comparison.is_upper else means + reach < criterion.limit
    )
    lull = thin(traffic.per_second()) if is_steady else np.zeros(len(number), np.bool_)
    return Spells(np.asarray(over) | lull, lull)


def examine_maximum(criterion: Criterion, traffic: Traffic) -> Finding:
    """Judge the longest time seen. Only "never exceeds" can be said of it: no sample bounds what was not seen."""
    unit, limit = criterion.measure.unit, criterion.limit
    largest = float(traffic.timed[:, 2].max(initial=0.0))
    wanted = format_quantity(limit, unit)
    details = {"failed": traffic.failed, "largest_seen": largest}
    if criterion.comparison.is_upper and traffic.failed:
        return Finding(
            Status.FAIL,
            f"{traffic.failed} operations failed, and a failed one counts as above every limit; "
            f"the longest other took {format_quantity(largest, unit)}",
            samples=traffic.size,
            censored=True,
            details=details,
        )
    keeps = largest <= limit if criterion.comparison.is_upper else largest >= limit
    return Finding(
        Status.PASS if keeps else Status.FAIL,
        f"the longest of {traffic.size:,} operations took {format_quantity(largest, unit)}; the limit is {wanted}",
        largest,
        samples=traffic.size,
        details=details,
    )
