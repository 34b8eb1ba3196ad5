"""Percentiles, means and maxima of operations' times."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from loadkit.criterion import Criterion, Unit
from loadkit.judging.collapse import Collapse
from loadkit.judging.evidence import Case
from loadkit.judging.finding import Finding, decide, subject, undefined
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
from loadkit.judging.statistics import (
    batch_edges,
    bounds,
    design_effect,
    effective_size,
    grossly_above,
    growth_to_decide,
    is_surely_above,
    is_surely_below,
    mean_of_batches,
    persistences,
    serial_effect,
    student_quantile,
)
from loadkit.recording import histogram as buckets
from loadkit.recording.histogram import FAILED, quantile_of
from loadkit.recording.traffic import Traffic
from loadkit.units import format_number, format_quantity, format_ratio
from loadkit.verdict import Status

__all__ = [
    "examine_maximum",
    "examine_mean",
    "examine_percentile",
    "find_time",
    "limit_effect",
    "otherwise_timed",
    "time_at_collapse",
    "whole_effect",
]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_BULK = (0.25, 0.5, 0.75, 0.9)
"""Quantiles by which operations are scored, to estimate their correlation from all of them."""
_GRAIN = 0.05
"""Times that differ by less than this share of the judged percentile count as equal, because such a
difference does not move the percentile. Without this rule, a 20 ms service that is occasionally
0.3 ms slower would be inconclusive about the twelfth of its operations that take 400 ms."""
_ODDS = 19.0
"""The odds ratio between a percentile and the value used to measure the spread of the times. For
p95 that value is the median."""
_REACH = 1.28
"""Standard errors from a percentile to its upper bound. Found by simulation, as is the next
constant."""
_FEW = 33.0
"""The variance increases by this many standard deviations of one operation, divided by the window's
effective number of operations. Few operations give a poor estimate of their correlation, and the
estimate is worse for a percentile further out in the tail."""
_FARTHEST = math.log(1e6)
"""The logarithm of the longest time (seconds) that is still a bound."""
_FAILED_IN_MEAN = 0.01
"""A mean is undefined where a larger share of the operations than this failed."""


def find_time(case: Case) -> Finding:
    """Judge a percentile, a mean or a maximum of the operations' times."""
    criterion, traffic = case.criterion, case.traffic
    quantile = criterion.measure.quantile
    if quantile is not None:
        lent = case.lent_effect(lambda whole: whole_effect(whole, quantile))
        at_limit = case.lent_effect(lambda whole: limit_effect(whole, criterion.limit))
        found = examine_percentile(criterion, traffic, lent, at_limit, is_steady=case.is_steady)
        return _with_uncorrected(case, found)
    if criterion.measure.statistic == "max":
        return examine_maximum(criterion, traffic)
    return _with_uncorrected(case, examine_mean(criterion, traffic, is_steady=case.is_steady))


def time_at_collapse(case: Case, collapse: Collapse) -> Finding | None:
    """Judge a percentile or mean at a collapse, if failed operations make it undefined."""
    criterion = case.criterion
    quantile = criterion.measure.quantile
    allowed = _FAILED_IN_MEAN if quantile is None else 1 - quantile
    if not criterion.comparison.is_upper or collapse.failing <= allowed:
        return None
    reason = undefined(criterion, allowed)
    return Finding(Status.FAIL, reason, samples=collapse.ended, censored=True)


def otherwise_timed(case: Case) -> Iterator[tuple[str, Case]]:
    """Judge by service time, which does not include the generator's lateness."""
    yield "by service time", case.by_service_time()


def _with_uncorrected(case: Case, found: Finding) -> Finding:
    """Add the uncorrected value if operations were corrected for coordinated omission."""
    traffic, measure = case.traffic, case.criterion.measure
    if not traffic.corrected:
        return found
    as_it_came = case.as_it_came
    uncorrected = (
        as_it_came.mean if measure.quantile is None else quantile_of(as_it_came.histogram(), measure.quantile)
    )
    shown = "above every limit" if uncorrected is None else format_quantity(uncorrected, measure.unit)
    causes = [
        f"up to {each.at_once:,} of {format_number(each.held)} {each.population} waited for one answer for up to "
        f"{format_quantity(each.seconds, Unit.SECONDS)}"
        for each in traffic.stuck
    ]
    if traffic.corrected > sum(each.added for each in traffic.stuck):
        causes.insert(0, "the service stood still")
    return replace(
        found,
        samples=traffic.size - traffic.corrected,
        details={**found.details, "filled": traffic.corrected, "unfilled": uncorrected},
    ).warned(
        f"{', and '.join(causes)}: coordinated-omission correction added {traffic.corrected:,} arrivals; "
        f"the uncorrected value is {shown}"
    )


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
    def of(cls, traffic: Traffic) -> "_Tail":
        used, counts = traffic.by_batch(batch_edges(traffic.seconds))
        counts = counts[counts.any(axis=1)]
        hits = np.zeros((counts.shape[0], len(used) + 1))
        hits[:, :-1] = np.cumsum(counts[:, ::-1], axis=1)[:, ::-1]
        return cls(np.append(used, used[-1] + 1), hits[:, 0], hits)

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


def _test_inverted(tail: _Tail, lower_sizes: Floats, upper_sizes: Floats, allowed: float) -> tuple[int, int]:
    """The interval of a percentile, from tests of the share at or above each threshold.

    `allowed` is the share of the operations above the percentile. With confidence the percentile is
    at or above the lower edge of the first bucket returned. It is below the lower edge of the
    second, which is beyond `FAILED` if there is no upper bound. The sizes (m,) are the effective
    number of independent operations at each threshold.
    """
    above = is_surely_above(tail.over * lower_sizes, lower_sizes, allowed)
    below = is_surely_below(tail.over * upper_sizes, upper_sizes, allowed)
    lowest = int(tail.thresholds[np.flatnonzero(above)[-1]]) if above.any() else 0
    # There are no operations between a threshold and the bucket in use before it.
    first = int(np.argmax(below)) if below.any() else 0
    return lowest, int(tail.thresholds[first - 1]) + 1 if first else FAILED + 1


@dataclass(frozen=True, slots=True)
class _Spread:
    """How far a percentile may be above the measured one, by the spread of log times."""

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
        """How many independent operations give a half-width of `away`; ∞ if no number does."""
        if away <= 0:
            return math.inf
        # The root of size² = needed · (size + few).
        few = _FEW * math.sqrt(self.variance)
        needed = (_REACH * self.slope / away) ** 2 * self.variance
        return (needed + math.sqrt(needed * (needed + 4 * few))) / 2


def whole_effect(traffic: Traffic, quantile: float) -> float:
    """The design effect of all operations of some traffic, from their correlation; at least 1.

    Each operation has two scores. The first is how many quantiles in `_BULK` it reaches. This is a
    rank, so a single slow operation does not dominate. The second is how many of those quantiles it
    exceeds by an amount that matters to the judged `quantile` (`_GRAIN`), because ranks ignore the
    size of a difference. The smaller of the two effects is returned, because the second score
    overweights an event that exceeded all others. The effect is used directly. A run's whole
    traffic also lends it to a part that is too small for an estimate of its own.
    """
    histogram = traffic.histogram()
    total = int(histogram.sum())
    if not total:
        return 1.0
    below = np.cumsum(histogram) - histogram
    ranks = np.searchsorted(below, [each * total for each in _BULK])
    measured = quantile_of(histogram, quantile)
    if measured is None:  # compared with an infinite time, all other times are equal
        steps = np.full_like(ranks, FAILED)
    else:
        moved = buckets.indices(buckets.lower_edges(ranks) + _GRAIN * measured)
        steps = np.maximum(ranks, moved)
    return min(_scored_effect(traffic, ranks), _scored_effect(traffic, steps))


def _scored_effect(traffic: Traffic, thresholds: Integers) -> float:
    """The design effect of a score: how many of the ascending thresholds (buckets) are reached."""
    score = np.searchsorted(thresholds, np.arange(FAILED + 1), side="right").astype(np.float64)
    sums = np.bincount(traffic.second, score[traffic.bucket] * traffic.count, traffic.seconds)
    share = traffic.histogram() / traffic.size
    variance = float(share @ score**2) - float(share @ score) ** 2
    return serial_effect(sums.astype(np.float64), traffic.per_second().astype(np.float64), variance)


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
    lent_effect: float = 1.0,
    lent_at_limit: float = 1.0,
    *,
    is_steady: bool = True,
) -> Finding:
    """Judge a percentile: "p95 below L" means that less than 5 % of operations are at or above L.

    The interval inverts a test of that share (Clopper and Pearson) over the buckets' edges. The
    effective number of independent operations is estimated in two ways. At each edge, it follows
    from how the share varies from batch to batch. For the whole window, it follows from the
    correlation of all operations (`whole_effect`).

    - Lower end: the smaller of the two numbers is used.
    - Upper end: a calm window shows both too few operations over a limit and too little variation
      of them. The number at the edge alone would therefore pass too easily. So the end is also at
      least `_Spread.half_width` above the measured percentile. Far above all seen times, too few
      operations remain over the edge for an estimate. There the half-width alone decides, however
      much the service varied: for example, a drift from 4 ms to 5 ms with a limit of 500 ms.

    A single lasting event (all operations refused from the middle on) gives no estimate of a
    correlation. It violates the criterion if the share is grossly above the allowed one.

    The verdict compares the limit with the interval's ends, so the shown interval is the decision.
    A bucket has a width (0.2 %). The bucket that contains the limit counts as over the limit in the
    test for a pass, and as under it in the test for a fail. The width therefore never decides.

    `lent_effect`, `lent_at_limit`: lower bounds of the two design effects, for a part of the
    traffic too small for its own estimate. They come from the whole traffic (`whole_effect`,
    `limit_effect`). `is_steady`: does the plan demand a constant load, so that the service caused
    any lull?

    Error rates by simulation (`tests/known_answers/verdict_table.py`, 2000 runs): at the limit, at
    most 5 % of the runs of each process pass and at most 5 % fail, for every effective size of the
    window. The price is fewer passes near the limit. For one minute of a queue at 80 % utilization,
    the p95 passes a limit of 1.25 times its true value in 23 % of the runs, and 1.5 times in 48 %.
    A rule without the half-width passes 34 % and 55 %, but errs in 9 % at the limit. For a service
    that is slow in few long spells (six per window), one run in ten shows too few spells to detect
    this.
    """
    quantile = criterion.measure.quantile
    assert quantile is not None
    allowed = 1 - quantile
    limit = buckets.index(criterion.limit)
    tail = _Tail.of(traffic)
    batches = len(tail.sizes)
    if batches < 2:
        return Finding(
            Status.INCONCLUSIVE,
            "all operations began within one short part of the window",
            samples=traffic.size,
        )
    edge_effects = np.maximum(tail.effects, lent_at_limit)
    overall_effect = max(whole_effect(traffic, quantile), lent_effect)
    larger_effects = np.maximum(edge_effects, overall_effect)
    edge_sizes, smaller_sizes = (
        effective_size(tail.total, effects, batches) for effects in (edge_effects, larger_effects)
    )
    lowest, highest = _test_inverted(tail, smaller_sizes, edge_sizes, allowed)
    measured = quantile_of(traffic.histogram(), quantile)
    at_limit = tail.at(limit)
    over = float(tail.over[at_limit])
    sizes = edge_sizes if over < allowed else smaller_sizes
    growth = growth_to_decide(over * float(sizes[at_limit]), float(sizes[at_limit]), allowed)
    if measured is not None:
        spread = _Spread.of(traffic, quantile, measured)
        size = float(effective_size(tail.total, np.array(overall_effect), batches))
        upper = math.log(measured) + spread.half_width(size)
        highest = max(highest, buckets.index(math.exp(min(upper, _FARTHEST))) + 1)
        if over < allowed:
            away = math.log(criterion.limit / measured)
            growth = max(growth, spread.size_to_reach(away) / size)
    if _is_gross(traffic, limit, allowed):
        lowest, highest = max(lowest, limit + 1), max(highest, limit + 2)
    surely_below, surely_above = highest <= limit, lowest > limit
    is_upper = criterion.comparison.is_upper
    interval = (_edge(lowest), _edge(highest))
    status, reason = decide(
        criterion,
        measured,
        interval,
        satisfied=surely_below if is_upper else surely_above,
        violated=surely_above if is_upper else surely_below,
        growth=growth,
        seconds=traffic.seconds,
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
    return weigh(criterion, finding, _spells(criterion, traffic, limit, allowed, is_steady=is_steady))


def _is_gross(traffic: Traffic, limit: int, allowed: float) -> bool:
    """Do so many operations exceed the limit that one lasting event decides (`grossly_above`)?"""
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
    is_surely_over = is_surely_above if is_upper else is_surely_below
    over = is_surely_over(hits, sizes, allowed, confidence_of_each(len(sizes)))
    lull = thin(arrivals) if is_steady else np.zeros(len(sizes), np.bool_)
    return Spells(over | lull, lull)


def examine_mean(criterion: Criterion, traffic: Traffic, *, is_steady: bool = True) -> Finding:
    """Judge the mean time of the operations; a time-out counts with its time limit.

    Another failed operation counts with the time it took, and at least with the mean of the
    others, so failing never lowers a mean. A lower limit ("the mean is above …") is judged so too.
    The criterion is violated if more than 1 % of the operations failed with 95 % confidence,
    whatever the times of the others. If more than 1 % failed without that confidence, it is not
    satisfied.
    """
    edges = batch_edges(traffic.seconds)
    timed = np.add.reduceat(traffic.timed, edges[:-1])
    if not timed[:, 0].any():
        return Finding(
            Status.FAIL, f"{subject(criterion)} is undefined: every operation failed", samples=traffic.size
        )
    mean = mean_of_batches(timed[:, 1], timed[:, 0])
    interval = (max(0.0, mean.lower), mean.upper)
    is_upper, limit = criterion.comparison.is_upper, criterion.limit
    failing = traffic.failed / traffic.size
    status, reason = decide(
        criterion,
        mean.value,
        interval,
        satisfied=interval[1] < limit if is_upper else interval[0] > limit,
        violated=interval[0] > limit if is_upper else interval[1] < limit,
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
        size = float(effective_size(float(sizes.sum()), effect, len(sizes))[0])
        is_violated = bounds(failing * size, size)[0] > _FAILED_IN_MEAN
        return finding.become(
            Status.FAIL if is_violated else Status.INCONCLUSIVE,
            f"{subject(criterion)} is undefined: {format_ratio(failing)} of the operations failed, and at most "
            f"{format_ratio(_FAILED_IN_MEAN)} may; without them, {reason}",
        )
    return weigh(criterion, finding, _mean_spells(criterion, traffic, is_steady=is_steady))


def _mean_spells(criterion: Criterion, traffic: Traffic, *, is_steady: bool) -> Spells:
    """Compare each spell window's mean with the limit; its own seconds give the error."""
    starts = spell_starts(traffic.seconds)
    lengths = np.diff(np.append(starts, traffic.seconds))
    number, spent = in_spells(traffic.timed[:, 0]), in_spells(traffic.timed[:, 1])
    means = np.divide(spent, number, out=np.full(len(number), criterion.limit), where=number > 0)
    spread = in_spells((traffic.timed[:, 1] - np.repeat(means, lengths) * traffic.timed[:, 0]) ** 2)
    freedom = np.maximum(lengths - 1, 1)
    error = np.sqrt(spread * lengths / freedom) / np.maximum(number, 1)
    half_width = error * [student_quantile(confidence_of_each(len(number)), degrees) for degrees in freedom]
    over = (
        means - half_width > criterion.limit
        if criterion.comparison.is_upper
        else means + half_width < criterion.limit
    )
    lull = thin(traffic.per_second()) if is_steady else np.zeros(len(number), np.bool_)
    return Spells(np.asarray(over) | lull, lull)


def examine_maximum(criterion: Criterion, traffic: Traffic) -> Finding:
    """Judge the longest time, for "never exceeds" only: no sample bounds unobserved times."""
    unit, limit = criterion.measure.unit, criterion.limit
    largest = float(traffic.timed[:, 2].max(initial=0.0))
    wanted = format_quantity(limit, unit)
    details = {"failed": traffic.failed, "largest_seen": largest}
    if criterion.comparison.is_upper and traffic.failed:
        return Finding(
            Status.FAIL,
            f"{traffic.failed:,} operations failed, and failed operations count as above every limit; "
            f"the longest of the others took {format_quantity(largest, unit)}",
            samples=traffic.size,
            censored=True,
            details=details,
        )
    satisfied = largest <= limit if criterion.comparison.is_upper else largest >= limit
    return Finding(
        Status.PASS if satisfied else Status.FAIL,
        f"the longest of {traffic.size:,} operations took {format_quantity(largest, unit)}; the limit is {wanted}",
        largest,
        samples=traffic.size,
        details=details,
    )
