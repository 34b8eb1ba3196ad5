"""Judge the service's gauges and counters (CPU, memory, pools, hit rates) from raw scrapes.

They are judged over the steady window.
"""

import dataclasses
import math
import re
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from loadkit.criterion import Criterion, Unit
from loadkit.judging.evidence import Case, Evidence
from loadkit.judging.finding import Finding, decide, listed, subject
from loadkit.judging.spells import SPELL, Spells, weigh
from loadkit.judging.statistics import batch_edges, mean_of_batches, persistence, theil_sen
from loadkit.observers.observation import Judged, Observation, Reading, Series
from loadkit.units import distance, format_quantity, format_ratio, format_seconds
from loadkit.verdict import Status

__all__ = [
    "Points",
    "coverage_problem",
    "examine_gauge",
    "find_gauge",
    "lookback",
    "partly_answered",
    "points_of",
    "unobserved",
]

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]

_LEAST_WINDOWS = 6
"""The fewest readings that allow a statement about 95 % of the time."""
_LEAST_COVERAGE = 0.9
"""The share of the window that the scrapes must cover."""
_LONGEST_GAP = 3
"""The longest gap between scrapes, in scrape intervals."""
_UNSEEN_GAP = 1.5
"""A longer gap between scrapes, in scrape intervals, contains time that nobody saw."""
_HOLE = 2.5
"""A longer gap, in scrape intervals, is a hole: at least two scrapes in a row are missing."""
_SHORTEST_DIFFERENCE = 5.0
"""The shortest time (seconds) over which a counter's increase is computed. If two scrape intervals
are longer, they are used."""
_TAIL = 0.95
_TAIL_ERROR = math.sqrt(_TAIL * (1 - _TAIL))
"""√(q(1−q)). Divided by the density at the quantile, it is the standard error for one reading."""
_NORMAL_DENSITY = 0.1031
"""The density of the standard normal distribution at its p95."""
_NEARBY = 0.04
"""The density at the p95 is estimated between the quantiles this far below and above it."""

_QUOTED = re.compile(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'|`[^`]*`')
_RANGE = re.compile(r"\[([^\]:]+)(:[^\]]*)?\]")
_OFFSET = re.compile(r"\boffset\s+([0-9a-z]+)")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdwy]|$)")
_UNITS = {
    "ms": 0.001,
    "s": 1.0,
    "": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86_400.0,
    "w": 604_800.0,
    "y": 31_536_000.0,
}


@dataclass(frozen=True, slots=True)
class Points:
    """One instance's readings in the window, each for an interval of time."""

    instance: str
    times: Floats
    """Unix seconds of the middle of each interval; shape (n,), as for all following arrays."""
    values: Floats
    """The readings in the measure's unit."""
    lengths: Floats
    """The length of each interval in seconds."""
    parts: Floats
    """The numerators of the values; `wholes` are the denominators. They are needed where only the
    ratio of the sums over the window has a meaning."""
    wholes: Floats
    resets: int = 0
    """The number of counter resets."""
    missing: int = 0
    """The number of scrapes in the window that have no value."""
    scrapes: int = 0
    """The number of scrapes in the window, with and without a value."""
    seconds: float = 0.0
    """The part of the window in which the instance was planned, in seconds."""
    unseen: Floats = field(default_factory=lambda: np.empty((0, 2)))
    """Start and end (Unix seconds) of each stretch without readings, disjoint; shape (h, 2)."""
    hole: tuple[float, float] | None = None
    """Start and end (Unix seconds) of the longest gap in which two or more readings are missing."""
    problem: str = ""
    """Why the readings cannot be judged; empty if they can."""

    def quantile(self, share: float) -> float:
        """The value that the readings do not exceed for a share of the time."""
        order = np.argsort(self.values, kind="stable")
        elapsed = np.cumsum(self.lengths[order])
        return float(
            self.values[order][min(np.searchsorted(elapsed, share * elapsed[-1] - 1e-9), len(order) - 1)]
        )

    @property
    def unseen_seconds(self) -> float:
        """The time without readings, in seconds."""
        return float(np.diff(self.unseen).sum())

    def seen_seconds(self, chosen: Booleans) -> float:
        """The time in seconds that the chosen readings cover; `unseen` time is not part of it."""
        starts = (self.times - self.lengths / 2)[chosen, None]
        ends = (self.times + self.lengths / 2)[chosen, None]
        both = np.minimum(ends, self.unseen[:, 1]) - np.maximum(starts, self.unseen[:, 0])
        return float(self.lengths[chosen].sum() - np.clip(both, 0, None).sum())


def points_of(observation: Observation, series: Series, start: float, end: float) -> Points:
    """One instance's readings between two Unix times, limited to its lifespan in the plan."""
    born, gone = observation.lifespans.get(series.instance, (start, end))
    start, end = max(start, born), min(end, gone)
    interval = observation.scrape_interval
    # One scrape before and one after the window cover its edges. A scrape without a value (such as
    # 0/0) is a missing one. So is an infinite counter, because it has no increase.
    is_gauge = observation.reading is Reading.GAUGE
    is_known = ~np.isnan(series.values) if is_gauge else np.isfinite(series.values)
    inside = (series.times >= start) & (series.times <= end)
    missing, total = int((inside & ~is_known).sum()), int(inside.sum())
    near = (series.times >= start - interval) & (series.times <= end + interval) & is_known
    times, values = series.times[near], series.values[near]
    scraped = times
    problem = coverage_problem(times, start, end, interval)
    whole = next((each for each in observation.capacity if each.instance == series.instance), None)
    if whole is not None:
        is_size = np.isfinite(whole.values)
        whole = Series(whole.instance, whole.times[is_size], whole.values[is_size])
    if observation.capacity and (whole is None or not len(whole.times)):
        problem = problem or "what it is a share of was not scraped"
    empty = np.empty(0)
    if problem:
        points = Points(series.instance, empty, empty, empty, empty, empty, problem=problem)
        return dataclasses.replace(points, missing=missing, scrapes=total)
    if is_gauge:
        inside = (times >= start) & (times <= end)
        times, values = times[inside], values[inside]
        wholes = _at(whole, times) if whole else np.ones(len(times))
        lengths = np.full(len(times), interval)
        points = Points(series.instance, times, _share(values, wholes), lengths, values, wholes)
    else:
        points = _increases(observation, series.instance, times, values, whole)
    if len(points.times) < _LEAST_WINDOWS:
        few = f"only {len(points.times)} readings lie in the window, and {_LEAST_WINDOWS} are needed"
        return dataclasses.replace(points, problem=few)
    gaps, hole = _unseen(scraped, start, end, interval)
    resets = _joined(np.clip(points.unseen, start, end))
    if hole is None and len(resets):
        # One reading may be missing, as for a gauge.
        first, last = resets[np.diff(resets, axis=1).argmax()].tolist()
        hole = (first, last) if last - first > _UNSEEN_GAP * _difference(interval) else None
    unseen = _joined(np.concatenate([gaps, resets]))
    return dataclasses.replace(
        points, seconds=end - start, unseen=unseen, hole=hole, missing=missing, scrapes=total
    )


def _joined(stretches: Floats) -> Floats:
    """Stretches of time, (start, end) each, as disjoint stretches in order; shape (n, 2)."""
    joined: list[list[float]] = []
    for first, last in sorted(stretches.tolist()):
        if joined and first <= joined[-1][1]:
            joined[-1][1] = max(joined[-1][1], last)
        elif first < last:
            joined.append([first, last])
    return np.array(joined, np.float64).reshape(-1, 2)


def _unseen(
    times: Floats, start: float, end: float, interval: float
) -> tuple[Floats, tuple[float, float] | None]:
    """The time from `start` to `end` that scrapes at `times` do not represent.

    Returns the stretches, shape (h, 2), and the longest gap in which two or more scrapes are
    missing. A stretch is a gap without half a scrape interval at either end: the scrapes there
    represent that time.
    """
    edges = np.concatenate([[start], np.clip(times, start, end), [end]])
    gaps = np.stack([edges[:-1], edges[1:]], axis=1)
    lengths = np.diff(edges)
    unseen = gaps[lengths > _UNSEEN_GAP * interval] + [interval / 2, -interval / 2]
    longest = int(lengths.argmax())
    hole = (float(gaps[longest, 0]), float(gaps[longest, 1])) if lengths[longest] > _HOLE * interval else None
    return unseen, hole


def coverage_problem(times: Floats, start: float, end: float, interval: float) -> str:
    """Why the scrapes at `times` do not represent the time from `start` to `end`; empty if they do.

    The reason is a clause.
    """
    if not len(times):
        return "it was not scraped in the window"
    edges = np.concatenate([[start], np.clip(times, start, end), [end]])
    gaps = np.diff(edges)
    longest = float(gaps.max())
    if longest > _LONGEST_GAP * interval + 1e-6 * interval:
        return f"its scrapes have a gap of {format_seconds(longest)}"
    # A scrape covers the interval before it.
    covered = float(np.minimum(gaps, interval * 1.5).sum()) / max(end - start, 1e-9)
    if covered < _LEAST_COVERAGE:
        return f"its scrapes cover only {format_ratio(covered)} of the window"
    return ""


def _at(series: Series, times: Floats) -> Floats:
    """The value of a gauge at the last scrape up to each time."""
    return series.values[np.clip(np.searchsorted(series.times, times, "right") - 1, 0, None)]


def _share(parts: Floats, wholes: Floats) -> Floats:
    """`parts` ÷ `wholes`; 0 where the whole is not above 0."""
    return np.divide(parts, wholes, out=np.zeros(len(parts)), where=wholes > 0)


def _increases(
    observation: Observation, instance: str, times: Floats, values: Floats, whole: Series | None
) -> Points:
    """A counter's increase over intervals of max(5 s, 2 scrape intervals).

    The increase in an interval with a counter reset is unknown: a counter may restart at any value.
    Such intervals are left out, and are `unseen`.
    """
    least = _difference(observation.scrape_interval)
    edges = [0]
    for number, moment in enumerate(times):
        if moment - times[edges[-1]] >= least - 0.25 * observation.scrape_interval:
            edges.append(number)
    ends = times[edges]
    fell = _fell(values)
    resets, is_reset = int(fell.sum()), np.diff(np.cumsum(fell)[edges]) > 0
    parts, lengths = np.diff(values[edges]), np.diff(ends)
    is_known = ~is_reset
    if whole is not None and observation.capacity_reading is Reading.COUNTER:
        counts = _at(whole, times)
        wholes = np.diff(counts[edges])
        is_reset |= np.diff(np.cumsum(_fell(counts))[edges]) > 0
        # A share is undefined in an interval in which the whole did not increase.
        is_known = ~is_reset & (wholes > 0)
    else:
        wholes = lengths * (_at(whole, ends[1:]) if whole else 1.0)
    unseen = np.stack([ends[:-1], ends[1:]], axis=1)[is_reset]
    middles = (ends[1:] - lengths / 2)[is_known]
    parts, wholes, lengths = parts[is_known], wholes[is_known], lengths[is_known]
    return Points(
        instance, middles, _share(parts, wholes), lengths, parts, wholes, resets=resets, unseen=unseen
    )


def _difference(interval: float) -> float:
    """The shortest time in seconds over which a counter's increase is computed."""
    return max(_SHORTEST_DIFFERENCE, 2 * interval)


def _fell(values: Floats) -> Booleans:
    """Which values of a counter are below the value before: it was reset; shape as `values`."""
    return np.diff(values, prepend=values[:1]) < 0


def unobserved(criterion: Criterion, evidence: Evidence) -> Finding | None:
    """Why a run cannot judge a measure: the run did not observe it. None if it did."""
    observations = evidence.run.observations
    if criterion.measure.name in observations:
        return None
    known = listed(sorted(observations))
    return Finding(Status.NOT_JUDGED, f'"{criterion.measure.name}" was not observed; this run has {known}')


def find_gauge(case: Case) -> Finding:
    """Judge a named measure, or free PromQL, over the window."""
    run, window = case.evidence.run, case.window
    begin = run.started + window.start
    observation = run.observations[case.criterion.measure.name]
    return examine_gauge(case.criterion, observation, begin, begin + window.seconds)


def examine_gauge(criterion: Criterion, observation: Observation, start: float, end: float) -> Finding:
    """Judge a named measure between two Unix times, by instance; the worst instance decides.

    Time that was not scraped counts as bad. Where it could change a pass, the result is
    inconclusive.

    If an instance cannot be judged, the result is a fail of another instance or inconclusive, never
    a pass.
    """
    if observation.problem:
        return Finding(Status.INCONCLUSIVE, f"{subject(criterion)} was not observed: {observation.problem}")
    if not observation.series:
        return Finding(
            Status.INCONCLUSIVE, f"{subject(criterion)} was not observed: the source knows no series of it"
        )
    seconds_back = lookback(observation.query)
    if seconds_back and end - start - seconds_back < _LEAST_WINDOWS * observation.scrape_interval:
        return Finding(
            Status.INCONCLUSIVE,
            f"{subject(criterion)} cannot be judged: it looks back {format_seconds(seconds_back)}, "
            f"and the window has {format_seconds(end - start)}",
        )
    # A reading that looks back ten seconds includes the ramp during the window's first ten seconds.
    window, start = (start, end), start + seconds_back
    present = [
        series
        for series in observation.series
        if _overlaps(observation.lifespans.get(series.instance, (start, end)), start, end)
    ]
    points = [points_of(observation, series, start, end) for series in present]
    findings = [_examine(criterion, observation, each, window) for each in points]
    if not findings:
        return Finding(Status.INCONCLUSIVE, f"{subject(criterion)}: no instance was there in the window")
    worst_first = (Status.FAIL, Status.INCONCLUSIVE, Status.PASS)
    sign = 1 if criterion.comparison.is_upper else -1

    def badness(finding: Finding) -> tuple[int, float]:
        if "infinite" in finding.details and finding.status is Status.FAIL:
            return worst_first.index(finding.status), -math.inf
        return worst_first.index(finding.status), -sign * (
            finding.measured if finding.measured is not None else -math.inf
        )

    worst = min(findings, key=badness)
    by_instance = {
        each.instance: finding.measured
        for each, finding in zip(points, findings, strict=True)
        if each.instance
    }
    warnings = [
        f"the counter of {each.instance or 'the source'} began again {each.resets} times"
        for each in points
        if each.resets
    ]
    warnings += [
        f"{each.missing} of {each.scrapes} values of {each.instance or 'the source'} are missing"
        for each in points
        if each.missing
    ]
    if observation.warnings and partly_answered(observation) not in worst.reason:
        warnings.append(partly_answered(observation))
    return dataclasses.replace(
        worst,
        warnings=(*worst.warnings, *warnings),
        details={
            **worst.details,
            "by_instance": by_instance,
            "source": observation.source,
            "query": observation.query,
        },
    )


def partly_answered(observation: Observation) -> str:
    """The warnings of the source, as a clause."""
    return f"the source answered only in part: {'; '.join(observation.warnings)}"


def lookback(promql: str) -> float:
    """The seconds that a query looks back: its longest range, all subqueries, its longest offset.

    The nesting of ranges and subqueries is ignored, so the result may be too large but never too
    small. It is 0 for a query without any of these, and for text that is not PromQL.
    """
    text = _QUOTED.sub("", promql)
    ranges = [(_seconds_of(length), bool(resolution)) for length, resolution in _RANGE.findall(text)]
    longest = max((length for length, is_subquery in ranges if not is_subquery), default=0.0)
    subqueries = sum(length for length, is_subquery in ranges if is_subquery)
    return longest + subqueries + max(map(_seconds_of, _OFFSET.findall(text)), default=0.0)


def _seconds_of(duration: str) -> float:
    return sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(duration.strip()))


def _overlaps(life: tuple[float, float], start: float, end: float) -> bool:
    return life[0] < end and life[1] > start


def _examine(
    criterion: Criterion, observation: Observation, points: Points, window: tuple[float, float]
) -> Finding:
    on_instance = f" on {points.instance}" if points.instance else ""
    if points.problem:
        return Finding(
            Status.INCONCLUSIVE, f"{subject(criterion)}{on_instance} cannot be judged: {points.problem}"
        )
    if criterion.comparison.holds_always or observation.judged is Judged.MAXIMUM:
        finding = _extreme(criterion, points, on_instance)
        doubt = _missed(points, window[0]) or (partly_answered(observation) if observation.warnings else "")
    else:
        finding = _typical(criterion, observation.judged, points, window[1] - window[0], on_instance)
        doubt = _could_be_over(criterion, points) if observation.judged is Judged.P95 else ""
        if criterion.comparison.forbids_spells:
            finding = weigh(criterion, finding, _spells(criterion, points))
            doubt = doubt or _could_be_spell(criterion, points)
    if doubt and finding.status is Status.PASS:
        finding = finding.become(Status.INCONCLUSIVE, f"{finding.value_in_words}, but {doubt}")
    trend = _trend(_bounded(points.values, criterion.limit))
    if trend:
        finding = finding.warned(f"{subject(criterion)}{on_instance} {trend}")
    return finding


def _missed(points: Points, start: float) -> str:
    """Why the extreme reading may not be known: a hole in the scrapes; empty if there is none."""
    if points.hole is None:
        return ""
    first, last = points.hole
    return (
        f"it has no readings for {format_seconds(last - first)}, from second {first - start:.0f} "
        f"to second {last - start:.0f} of the window"
    )


def _could_be_over(criterion: Criterion, points: Points) -> str:
    """Why the p95 may violate the limit: what was not scraped could be over it; empty if not."""
    unseen, over = points.unseen_seconds, points.seen_seconds(_over(criterion, points.values))
    share = (unseen + over) / points.seconds
    if not unseen or share <= 1 - _TAIL + 1e-9:
        return ""
    side = "above" if criterion.comparison.is_upper else "below"
    known = f" and {format_seconds(over)} are {side} the limit" if over > 0 else ""
    return (
        f"{format_seconds(unseen)} of {format_seconds(points.seconds)} have no readings{known}: "
        f"{format_ratio(share)} of the time, and a p95 allows {format_ratio(1 - _TAIL)}"
    )


def _could_be_spell(criterion: Criterion, points: Points) -> str:
    """Why a lasting bad spell may not be known: nobody scraped then; empty if that is excluded."""
    length = float(np.median(points.lengths))
    missing = [
        np.linspace(first, last, 2 * count + 1)[1::2]
        for first, last in points.unseen
        if (count := round((last - first) / length))
    ]
    if not missing:
        return ""
    times = np.concatenate([points.times, *missing])
    worst = math.inf if criterion.comparison.is_upper else -math.inf
    values = np.concatenate([points.values, np.full(len(times) - len(points.times), worst)])
    order = np.argsort(times, kind="stable")
    spells = _spells(criterion, dataclasses.replace(points, times=times[order], values=values[order]))
    if not spells.is_lasting:
        return ""
    return f"{format_seconds(points.unseen_seconds)} have no readings, which could hide a lasting bad spell"


def _over(criterion: Criterion, values: Floats) -> Booleans:
    """Which readings are over the limit; for a lower limit, under it."""
    return values > criterion.limit if criterion.comparison.is_upper else values < criterion.limit


def _extreme(criterion: Criterion, points: Points, on_instance: str) -> Finding:
    """Judge the largest reading (for a lower limit, the smallest), which has no interval."""
    is_upper, limit, unit = criterion.comparison.is_upper, criterion.limit, criterion.measure.unit
    extreme = float(points.values.max() if is_upper else points.values.min())
    word = "highest" if is_upper else "lowest"
    if math.isinf(extreme):
        return _infinite(criterion, extreme, points, f"{subject(criterion)}{on_instance}", f" at its {word}")
    satisfied = extreme < limit if is_upper else extreme > limit
    satisfied = satisfied or (criterion.comparison.includes_limit and extreme == limit)
    return Finding(
        Status.PASS if satisfied else Status.FAIL,
        f"{subject(criterion)}{on_instance} was {format_quantity(extreme, unit)} at its {word}, "
        f"{distance(extreme, limit)} the limit of {format_quantity(limit, unit)}",
        extreme,
        samples=len(points.values),
    )


def _infinite(criterion: Criterion, value: float, points: Points, name: str, at: str = "") -> Finding:
    """Compare an infinite value: +Inf is above every limit, and -Inf is below every limit."""
    is_above = value > 0
    return Finding(
        Status.FAIL if is_above is criterion.comparison.is_upper else Status.PASS,
        f"{name} was {'+Inf' if is_above else '-Inf'}{at}, {'above' if is_above else 'below'} "
        f"the limit of {format_quantity(criterion.limit, criterion.measure.unit)}",
        samples=len(points.values),
        details={"infinite": "+Inf" if is_above else "-Inf"},
    )


def _infinite_mean(criterion: Criterion, points: Points, name: str) -> Finding:
    """A mean with infinite readings: a fail if all of them violate the limit; never a pass."""
    infinite = points.values[np.isinf(points.values)]
    if _over(criterion, infinite).all():
        return _infinite(criterion, float(infinite[0]), points, name)
    reason = f"{name} cannot be judged: {len(infinite)} of {len(points.values)} readings are infinite"
    return Finding(Status.INCONCLUSIVE, reason, samples=len(points.values))


def _bounded(values: Floats, limit: float) -> Floats:
    """The readings with each infinite one at the largest (smallest) finite one, or at the limit."""
    if np.isfinite(values).all():
        return values
    finite = np.append(values[np.isfinite(values)], limit)
    return np.clip(values, finite.min(), finite.max())


def _typical(
    criterion: Criterion, judged: Judged, points: Points, seconds: float, on_instance: str
) -> Finding:
    """Judge the p95 over time, or the mean; the variation of the readings gives its error.

    The readings cover the whole window, so there is no error from sampling within the window. The
    error says how well this window represents other windows like it. It is the error of the mean
    over batches. For a p95 it is larger, as far as the density of the readings there is smaller.
    """
    edges = batch_edges(len(points.values))[:-1]
    about = f"{subject(criterion)}{on_instance}"
    if judged is Judged.MEAN and np.isinf(points.values).any():
        return _infinite_mean(criterion, points, about)
    if judged is Judged.MEAN:
        mean = mean_of_batches(np.add.reduceat(points.parts, edges), np.add.reduceat(points.wholes, edges))
        value, half_width, name = mean.value, mean.half_width, ""
    else:
        value = points.quantile(_TAIL if criterion.comparison.is_upper else 1 - _TAIL)
        if math.isinf(value):
            return _infinite(criterion, value, points, f"p95 of {about}")
        points = dataclasses.replace(points, values=_bounded(points.values, criterion.limit))
        weighted = np.add.reduceat(points.values * points.lengths, edges)
        mean = mean_of_batches(weighted, np.add.reduceat(points.lengths, edges))
        half_width, name = (
            mean.half_width * _tail_to_mean(points.values, is_upper=criterion.comparison.is_upper),
            "p95 of ",
        )
    interval = (value - half_width, value + half_width)
    if criterion.measure.unit is Unit.RATIO and criterion.limit <= 1:
        # A share cannot be outside 0 … 1 (or 0 … its measured value, if that is above 1). The limit
        # is within these bounds too, so clipping the interval changes no verdict.
        interval = (max(0.0, interval[0]), min(max(1.0, value), interval[1]))
    limit, is_upper = criterion.limit, criterion.comparison.is_upper
    surely_below, surely_above = interval[1] < limit, interval[0] > limit
    growth = math.inf if value == limit else max(1.0, (half_width / (value - limit)) ** 2)
    status, reason = decide(
        criterion,
        value,
        interval,
        satisfied=surely_below if is_upper else surely_above,
        violated=surely_above if is_upper else surely_below,
        growth=growth,
        seconds=seconds,
    )
    return Finding(
        status,
        reason.replace(subject(criterion), f"{name}{about}", 1),
        value,
        interval,
        len(points.values),
        len(points.values) / persistence(points.values),
    )


def _tail_to_mean(values: Floats, *, is_upper: bool) -> float:
    """The ratio of a p95's (p5's) standard error to the mean's.

    It follows from the density of the readings there, or from the normal density if that gives
    more.
    """
    deviation = float(values.std())
    if deviation == 0:
        return 0.0
    centre = _TAIL if is_upper else 1 - _TAIL
    low, high = np.quantile(values, [centre - _NEARBY, centre + _NEARBY])
    return _TAIL_ERROR * max(float(high - low) / (2 * _NEARBY) / deviation, 1 / _NORMAL_DENSITY)


def _spells(criterion: Criterion, points: Points) -> Spells:
    """The ten-second windows in which all readings are over the limit."""
    over = _over(criterion, points.values)
    window = ((points.times - points.times[0]) // SPELL).astype(np.int64)
    _, starts = np.unique(window, return_index=True)
    bad = np.logical_and.reduceat(over, starts)
    return Spells(bad, np.zeros(len(bad), np.bool_))


def _trend(values: Floats) -> str:
    """The drift of the readings over the window, in words; empty if there is none."""
    edges = batch_edges(len(values))
    means = np.add.reduceat(values, edges[:-1]) / np.diff(edges)
    trend = theil_sen(means)
    if not trend.is_drift:
        return ""
    share = format_ratio(abs(trend.change) / abs(trend.median))
    return f"{'rose' if trend.change > 0 else 'fell'} by {share} of its median over the window"
