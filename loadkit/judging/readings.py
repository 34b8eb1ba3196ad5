"""The readings of an instance, from raw scrapes, and the unseen time, which has no readings.

A reading is the value of a gauge at a scrape, or the rate of a counter between scrapes.
"""

import dataclasses
import re
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from loadkit.observers.observation import Observation, Reading, Series
from loadkit.units import format_ratio, format_seconds

__all__ = ["LEAST", "Coverage", "Points", "coverage_of", "lookback", "partly_answered", "points_of"]

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]

LEAST = 6
"""The fewest readings that allow a statement about 95 % of the time."""
_LEAST_COVERAGE = 0.9
"""The share of the window that the scrapes must cover."""
_LONGEST_GAP = 3
"""The longest gap between scrapes, in scrape intervals."""
_BEARABLE = 0.05
"""A longer gap is acceptable if no more than this share of the time is unseen. The module `unseen`
examines what it could change."""
_UNSEEN_GAP = 1.5
"""A longer gap between scrapes, in scrape intervals, contains unseen time."""
_HOLE = 2.5
"""A longer gap, in scrape intervals, is a hole: at least two scrapes in a row are missing."""
_SAME = 0.75
"""A value and its capacity belong together if they are at most this many scrape intervals apart.
Two sources scrape at different times, so the nearest scrape is at most half an interval away."""
_SHORTEST_DIFFERENCE = 5.0
"""The shortest time (seconds) over which a counter's increase is computed. If two scrape intervals
are longer, they are used."""

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
    """The numerators of the values; `wholes` are the denominators. They are needed if only the
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
    """Start and end (Unix seconds) of the longest gap in which two or more scrapes are missing."""
    interval: float = 0.0
    """The seconds between two scrapes."""
    is_counted: bool = False
    """Are the readings shares of counted events, such as hits of lookups?"""
    problem: str = ""
    """The reason why the readings, if any, do not represent the window; "" if they do."""

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

    @property
    def unread_seconds(self) -> float:
        """The part of the unseen time that no reading spans, in seconds.

        A counter's increase over a gap between scrapes is known, but not its distribution in time.
        """
        spanned = float(self.lengths.sum()) - self.seen_seconds(np.ones(len(self.lengths), np.bool_))
        return self.unseen_seconds - spanned

    def seen_seconds(self, chosen: Booleans) -> float:
        """The time in seconds that the chosen readings cover; `unseen` time is not part of it."""
        starts = (self.times - self.lengths / 2)[chosen, None]
        ends = (self.times + self.lengths / 2)[chosen, None]
        both = np.minimum(ends, self.unseen[:, 1]) - np.maximum(starts, self.unseen[:, 0])
        return float(self.lengths[chosen].sum() - np.clip(both, 0, None).sum())


@dataclass(frozen=True, slots=True)
class Coverage:
    """The part of a stretch of time that some scrapes represent."""

    unseen: Floats
    """Start and end (Unix seconds) of each unseen stretch, in order; shape (h, 2)."""
    longest: tuple[float, float]
    """Start and end (Unix seconds) of the longest gap between scrapes."""
    problem: str
    """The reason why the scrapes do not represent the time, as a clause; "" if they do."""


def coverage_of(times: Floats, start: float, end: float, interval: float, bearable: float = 0.0) -> Coverage:
    """The coverage of the time from `start` to `end` by scrapes at `times`, (n,), in Unix seconds.

    A scrape represents half a scrape interval on each side of it. The rest of a gap is unseen. A
    gap is a problem if it is longer than three intervals, and more than the `bearable` share of the
    time is unseen.
    """
    edges = np.concatenate([[start], np.clip(times, start, end), [end]])
    gaps, lengths = np.stack([edges[:-1], edges[1:]], axis=1), np.diff(edges)
    unseen = gaps[lengths > _UNSEEN_GAP * interval] + [interval / 2, -interval / 2]
    first, last = gaps[lengths.argmax()].tolist()
    covered = float(np.minimum(lengths, interval * _UNSEEN_GAP).sum()) / max(end - start, 1e-9)
    problem = ""
    if not len(times):
        problem, unseen = "it was not scraped in the window", np.array([[start, end]])
    elif last - first > _LONGEST_GAP * interval + 1e-6 * interval and (
        float(np.diff(unseen).sum()) > bearable * (end - start)
    ):
        problem = f"its scrapes have a gap of {format_seconds(last - first)}"
    elif covered < _LEAST_COVERAGE:
        problem = f"its scrapes cover only {format_ratio(covered)} of the window"
    return Coverage(unseen, (first, last), problem)


def points_of(observation: Observation, series: Series, start: float, end: float) -> Points:
    """One instance's readings between two Unix times, limited to its lifespan in the plan.

    A share has no reading at times at which its capacity was not scraped.
    """
    born, gone = observation.lifespans.get(series.instance, (start, end))
    start, end = max(start, born), min(end, gone)
    interval = observation.scrape_interval
    # One scrape before and one after the window cover its edges. A scrape without a value (such as
    # 0/0) is a missing scrape. So is an infinite counter, because it has no increase.
    is_gauge = observation.reading is Reading.GAUGE
    is_known = ~np.isnan(series.values) if is_gauge else np.isfinite(series.values)
    near = (series.times >= start - interval) & (series.times <= end + interval)
    problem = coverage_of(series.times[near & is_known], start, end, interval, _BEARABLE).problem
    whole = _capacity(observation, series.instance) if observation.capacity else None
    if whole is not None:
        is_known &= _away(whole, series.times) <= _SAME * interval
    times, values = series.times[near & is_known], series.values[near & is_known]
    coverage = coverage_of(times, start, end, interval, _BEARABLE)
    if whole is not None and coverage.problem and not problem:
        problem = (
            f"of what it is a share of, {coverage.problem}"
            if len(times)
            else "what it is a share of was not scraped with a value above 0"
        )
    if is_gauge:
        inside = (times >= start) & (times <= end)
        times, values = times[inside], values[inside]
        wholes = np.ones(len(times)) if whole is None else _at(whole, times)
        lengths = np.full(len(times), interval)
        points = Points(series.instance, times, _share(values, wholes), lengths, values, wholes)
    else:
        points = _increases(observation, series.instance, times, values, whole, end)
    if len(points.times) < LEAST:
        problem = problem or f"only {len(points.times)} readings lie in the window, and {LEAST} are needed"
    resets = _joined(np.clip(points.unseen, start, end))
    first, last = max([coverage.longest, *map(tuple, resets.tolist())], key=lambda gap: gap[1] - gap[0])
    inside = (series.times >= start) & (series.times <= end)
    return dataclasses.replace(
        points,
        seconds=end - start,
        unseen=_joined(np.concatenate([coverage.unseen, resets])),
        hole=(first, last) if last - first > _HOLE * interval else None,
        missing=int((inside & ~is_known).sum()),
        scrapes=int(inside.sum()),
        interval=interval,
        is_counted=observation.capacity_reading is Reading.COUNTER and whole is not None,
        problem=problem,
    )


def _capacity(observation: Observation, instance: str) -> Series:
    """The scrapes of an instance's capacity that have a size; empty if it was not scraped.

    A capacity of 0 or -1 often means that there is no limit. A share of it has no meaning.
    """
    found = (each for each in observation.capacity if each.instance == instance)
    whole = next(found, Series(instance, np.empty(0), np.empty(0)))
    is_size = np.isfinite(whole.values)
    if observation.capacity_reading is Reading.GAUGE:
        is_size &= whole.values > 0
    return Series(instance, whole.times[is_size], whole.values[is_size])


def _joined(stretches: Floats) -> Floats:
    """Stretches of time, (start, end) each, as disjoint stretches in order; shape (n, 2)."""
    joined: list[list[float]] = []
    for first, last in sorted(stretches.tolist()):
        if joined and first <= joined[-1][1]:
            joined[-1][1] = max(joined[-1][1], last)
        elif first < last:
            joined.append([first, last])
    return np.array(joined, np.float64).reshape(-1, 2)


def _nearest(series: Series, times: Floats) -> npt.NDArray[np.int64]:
    """The index of the scrape nearest to each time."""
    after = np.clip(np.searchsorted(series.times, times), 1, max(len(series.times) - 1, 1))
    middles = (series.times[after - 1] + series.times[np.minimum(after, len(series.times) - 1)]) / 2
    return np.where(times <= middles, after - 1, np.minimum(after, len(series.times) - 1))


def _away(series: Series, times: Floats) -> Floats:
    """Seconds from each time to the nearest scrape; infinite if there is none."""
    if not len(series.times):
        return np.full(len(times), np.inf)
    return np.abs(series.times[_nearest(series, times)] - times)


def _at(series: Series, times: Floats) -> Floats:
    """The value at the scrape nearest to each time."""
    return series.values[_nearest(series, times)] if len(times) else np.empty(0)


def _share(parts: Floats, wholes: Floats) -> Floats:
    """`parts` ÷ `wholes`; 0 where the whole is not above 0."""
    return np.divide(parts, wholes, out=np.zeros(len(parts)), where=wholes > 0)


def _increases(
    observation: Observation,
    instance: str,
    times: Floats,
    values: Floats,
    whole: Series | None,
    end: float,
) -> Points:
    """A counter's increase over intervals of max(5 s, 2 scrape intervals).

    The increase between the two scrapes around a counter reset is unknown: a counter may restart at
    any value. That time is `unseen`, and no reading spans it. The last interval before it, and
    before the `end` of the window (Unix seconds), can be shorter than the others. Its rate is that
    of the full length up to its last scrape.
    """
    least = max(_SHORTEST_DIFFERENCE, 2 * observation.scrape_interval) - 0.25 * observation.scrape_interval
    fell = _fell(values)
    resets, counts = int(fell.sum()), None
    if whole is not None and observation.capacity_reading is Reading.COUNTER:
        counts = _at(whole, times)
        fell |= _fell(counts)
    begins, since, ends = [], [], []
    starts = np.flatnonzero(fell)
    unseen = [(times[number - 1], times[number]) for number in starts]
    for segment in np.split(np.arange(len(times)), starts):
        if not len(segment):
            continue
        first, last = segment[0], segment[-1]
        if times[last] - times[first] < least:
            unseen.append((times[first], times[last]))
            continue
        edges = [first]
        for number in segment:
            if times[number] - times[edges[-1]] >= least:
                edges.append(number)
        begins += edges[:-1]
        since += edges[:-1]
        ends += edges[1:]
        # The scrape nearest to the end of the window; what follows is not part of the window.
        rest = segment[(segment > edges[-1]) & (times[segment] <= end + observation.scrape_interval / 2)]
        if len(rest):
            begins.append(edges[-1])
            since.append(segment[times[segment] <= times[rest[-1]] - least][-1])
            ends.append(rest[-1])

    def increase(of: Floats | None, firsts: list[np.int64]) -> Floats:
        if of is not None:
            return np.asarray(of[ends] - of[firsts])
        return np.asarray((times[ends] - times[firsts]) * (1.0 if whole is None else _at(whole, times[ends])))

    parts, wholes = increase(values, begins), increase(counts, begins)
    over, shares = increase(counts, since), _share(increase(values, since), increase(counts, since))
    lengths = times[ends] - times[begins]
    # A share of counted events is undefined in an interval in which there were none.
    is_known = (wholes > 0) & (over > 0) if counts is not None else np.ones(len(ends), np.bool_)
    return Points(
        instance,
        (times[ends] - lengths / 2)[is_known],
        shares[is_known],
        lengths[is_known],
        parts[is_known],
        wholes[is_known],
        resets=resets,
        unseen=_joined(np.array(unseen).reshape(-1, 2)),
    )


def _fell(values: Floats) -> Booleans:
    """Mark the values of a counter below the previous one: it was reset; same shape as `values`."""
    return np.diff(values, prepend=values[:1]) < 0


def partly_answered(observation: Observation) -> str:
    """The warnings of the source, as a clause."""
    return f"the source answered only in part: {'; '.join(observation.warnings)}"


def lookback(promql: str) -> float:
    """The seconds that a query looks back: its longest range + all subqueries + its longest offset.

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
