"""The service that users get before and after a disturbance, in windows of five seconds.

There are up to four kinds of traffic: requests, database queries, messages and connections. The
time before the disturbance gives the bounds of each kind. A window within its bounds is as good as
before.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from loadkit.judging.evidence import EVERYTHING, Evidence
from loadkit.judging.statistics import bounds as bounds_of_share
from loadkit.judging.statistics import is_surely_above
from loadkit.recording.histogram import FAILED, middles, quantiles_of_each
from loadkit.recording.messages import CONNECTIONS, FILLED, MISSING, TAIL_LOST
from loadkit.recording.timing import MESSAGE, QUERY, REQUEST
from loadkit.recording.traffic import Traffic
from loadkit.units import format_number, format_ratio, format_seconds
from loadkit.verdict import Window
from loadkit.workload.phases import Disturbance
from loadkit.workload.plan import Population

__all__ = [
    "FAILED_SHARE",
    "IN_A_ROW",
    "LENGTH",
    "QUANTILE",
    "Course",
    "Kind",
    "Spell",
    "courses",
    "overload_before",
    "populations_with",
    "sums",
    "surely_too_many",
    "surely_too_slow",
]

QUANTILE = 0.95
"""The quantile of the times that is judged."""
LENGTH = 5
"""The length of one window in seconds."""
IN_A_ROW = 6
"""The number of consecutive good windows that are a recovery."""
_TIMES = 1.2
"""A value up to this multiple of its value before the disturbance is as good as before."""
_INEXACT = 0.002
"""The allowance for the load generator's own timing error, in seconds."""
_WHOLE = 1.0
"""The allowance for the number in flight, because it is a whole number. Without both
allowances, two to six of a hundred undisturbed 3 ms services would fail to recover."""
FAILED_SHARE = 0.01
"""The ratio of operations that may fail in a good window, and in the whole time after recovery."""
_STALL = 1.0
"""Stalls longer than this (seconds without an answer) are corrected for coordinated omission."""
_USUAL = 0.95
"""The share of the windows before the disturbance that count as usual, because five-second values
vary more than values over minutes."""
_ODD, _FAR, _LEAST_USUAL = 2, 2.0, 3
"""Up to two windows before the disturbance are odd if their times or numbers in flight are more than
twice those of the others. At least three others must remain."""
_HELD = 0.98
"""The ratio of the connections before the disturbance that must be open in a good window."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Spell:
    """A five-second window of one kind of traffic, or the bounds of a good window."""

    start: int
    """Seconds since the run's start."""
    p95: float = 0.0
    """Seconds; infinite if the percentile is a failed operation, or if there are no operations."""
    in_flight: float = 0.0
    """The mean number of unanswered operations."""
    error_rate: float = 0.0
    """The ratio of failed operations or lost messages, 0-1; 1 if there are no operations."""
    begun: float = 0
    """The number of operations; in bounds, the mean number before the disturbance."""
    failed: float = 0
    """The number of failed operations; in bounds, the mean number before the disturbance."""
    level: float = 0.0
    """Open connections, or messages that arrived, converted to the highest constant load (see
    `_planned`). In bounds, the fewest."""
    slow: float = 0
    """The number of operations that took longer than the bound of p95, failed ones included."""
    chance: float = 0.0
    """In bounds: the highest error rate that the failures before the disturbance can show, 0-1."""

    def is_slow(self, bounds: "Spell") -> bool:
        """Is p95 above its bound, and surely so?

        With fewer than twenty operations, p95 is the slowest one. A single slow operation is no sign
        that the service is slower than before.
        """
        return self.p95 > bounds.p95 and surely_too_slow([self])

    def is_worse(self, bounds: "Spell") -> bool:
        """Is p95 surely above its bound, or the number in flight above it, or the level below it?"""
        return self.is_slow(bounds) or self.in_flight > bounds.in_flight or self.level < bounds.level

    def is_failing(self, bounds: "Spell") -> bool:
        """Is the error rate above its bound, and surely above its value before the disturbance?

        A few failures among few operations can be chance. The operations before the disturbance
        show an error rate only with an uncertainty, also if none of them failed.
        """
        if not self.begun:
            return bounds.begun > 0
        before = min(bounds.chance, bounds.error_rate)
        return self.error_rate > bounds.error_rate and surely_too_many([self], before)

    def is_within(self, bounds: "Spell") -> bool:
        """Is each value within its bound?"""
        return not self.is_worse(bounds) and not self.is_failing(bounds)


@dataclass(frozen=True, slots=True)
class Kind:
    """The words for one kind of traffic."""

    name: str
    """In the plural: "requests"."""
    time: str
    """"response time"; "" for none."""
    began: str
    """The verb for the event that counts: "began", "arrived", "were open"."""
    are_slow: str
    """The words for long times: "were slow", "were late"."""
    are_bad: str
    """The words for windows that were worse: "were slow", "had too few connections"."""
    have_failed: tuple[str, str]
    """The words for a failure, and the words after the allowed share: "were lost", "is allowed"."""

    def trouble(self, spell: Spell, bounds: Spell) -> str:
        """The trouble in a window in words, without figures: "messages were late"."""
        if spell.is_failing(bounds):
            return f"{self.name} {self.have_failed[0]}" if spell.begun else f"no {self.name} {self.began}"
        if spell.is_slow(bounds):
            return f"{self.name} {self.are_slow}"
        return f"{self.name} {'waited' if spell.in_flight > bounds.in_flight else 'were too few'}"

    def excess(self, spell: Spell, bounds: Spell) -> str:
        """The value of a window that was beyond its bound, and this bound, in words."""
        if spell.is_failing(bounds):
            if not spell.begun:
                return f"no {self.name} {self.began}"
            what, may = self.have_failed
            return (
                f"{format_ratio(spell.error_rate)} of the {self.name} {what}, "
                f"and {format_ratio(bounds.error_rate)} {may}"
            )
        if spell.is_slow(bounds):
            return f"the p95 {self.time} was {format_seconds(spell.p95)}, and {format_seconds(bounds.p95)} is as before"
        if spell.in_flight > bounds.in_flight:
            return (
                f"{format_number(spell.in_flight)} operations were in flight, and "
                f"{format_number(bounds.in_flight)} is as before"
            )
        return (
            f"only {format_number(spell.level)} {self.name} {self.began}, and "
            f"{format_number(bounds.level)} is as before"
        )


_FAILED_WORDS = ("failed", "is allowed")
_REQUESTS = Kind("requests", "response time", "began", "were slow", "were slow", _FAILED_WORDS)
_QUERIES = Kind("queries", "query time", "began", "were slow", "were slow", _FAILED_WORDS)
_MESSAGES = Kind(
    "messages",
    "message latency",
    "arrived",
    "were late",
    "had late or too few messages",
    ("were lost", "is allowed"),
)
_CONNECTIONS = Kind("connections", "", "were open", "", "had too few connections", ("", ""))
_TIMINGS = {_REQUESTS: REQUEST.key, _QUERIES: QUERY.key, _MESSAGES: MESSAGE.key}

Windows = Callable[[int, int], list[Spell]]
"""Returns the complete windows between two seconds of the run."""


@dataclass(frozen=True, slots=True)
class Course:
    """One kind of traffic over a run: its bounds and its windows."""

    kind: Kind
    before: tuple[Spell, ...]
    """The windows before the disturbance in which nothing but the service delayed operations."""
    bounds: Spell | None
    """The bounds of a good window; None if there are too few windows before the disturbance."""
    windows: Windows
    doubt: str = ""
    """The reason why its times are not known, so that it cannot pass; "" if they are known."""
    without_odd: "Course | None" = None
    """The same course without the odd windows before the disturbance; None if there are none."""


def courses(evidence: Evidence, cause: Disturbance | None) -> list[Course]:
    """The kinds of traffic that existed before the disturbance, or all kinds if none did.

    The result has at least one kind. Without a disturbance, no kind has bounds.
    """
    held = evidence.total(CONNECTIONS, evidence.whole).any()
    present = [kind for kind, timing in _TIMINGS.items() if evidence.has(EVERYTHING, timing)]
    first = present[0] if present and present[0] is not _MESSAGES else _REQUESTS
    found = []
    for kind in (*present, *([_CONNECTIONS] if held else []), *([] if present or held else [_REQUESTS])):
        doubt = evidence.latency_doubt if kind is _MESSAGES else ""
        before = _before(evidence, cause, _windows(evidence, kind, kind is first, math.inf))
        course = _course(evidence, kind, kind is first, before, doubt)
        usual = _without_odd(before)
        if course.bounds is not None and len(usual) < len(before):
            course = replace(
                course, without_odd=_course(evidence, kind, kind is first, usual, doubt, _LEAST_USUAL + 1)
            )
        found.append(course)
    # A kind that began after the disturbance cannot be compared.
    known = [each for each in found if any(spell.begun for spell in each.before)]
    return known or found


def _course(
    evidence: Evidence,
    kind: Kind,
    has_in_flight: bool,
    before: Sequence[Spell],
    doubt: str,
    fewest: int = IN_A_ROW,
) -> Course:
    bounds = _bounds(evidence, kind, before, fewest)
    windows = _windows(evidence, kind, has_in_flight, math.inf if bounds is None else bounds.p95)
    return Course(kind, tuple(before), bounds, windows, doubt)


def _without_odd(before: Sequence[Spell]) -> Sequence[Spell]:
    """The windows before the disturbance without up to two that are far worse than all others.

    The bounds rest on the worst of few windows. So a single stall before the disturbance would let
    a service pass that is many times slower after it. One stall can be in two windows. The last
    window is kept: the bounds leave it out anyway.
    """
    considered = before[:-1]
    if len(considered) < _LEAST_USUAL + _ODD:
        return before
    odd: set[int] = set()
    for far, more, values in (
        (_FAR, _INEXACT, [spell.p95 if spell.begun else 0.0 for spell in considered]),
        (_FAR, _WHOLE, [spell.in_flight for spell in considered]),
        (_TIMES, 0.0, [1 / spell.level if spell.level else math.inf for spell in considered]),
    ):
        highest_usual = sorted(values)[-_ODD - 1]
        odd |= {place for place, value in enumerate(values) if value > far * highest_usual + more}
    rest = [spell for place, spell in enumerate(before) if place not in odd]
    return rest if len(rest) > _LEAST_USUAL else before


def _windows(evidence: Evidence, kind: Kind, has_in_flight: bool, bound: float) -> Windows:
    """The windows of a kind. `bound`: operations that took longer, in seconds, are slow."""
    if kind is _CONNECTIONS:
        return partial(_connections, evidence)
    if kind is _MESSAGES:
        return partial(_messages, evidence, bound)
    return partial(_operations, evidence, _TIMINGS[kind], has_in_flight, bound)


def _before(evidence: Evidence, cause: Disturbance | None, windows: Windows) -> list[Spell]:
    """The windows before the disturbance in which nothing but the service delayed operations.

    If the generator or the machine were overloaded, the bounds would be so wide that a slow service
    is within them.
    """
    where = _window_before(evidence, cause)
    if where is None:
        return []
    is_disturbed = evidence.health(where).unhealthy.copy()
    if (found := evidence.contention(where)) is not None:
        is_disturbed |= found.after
    return [
        spell
        for spell in windows(where.start, where.end)
        if not is_disturbed[spell.start - where.start :][:LENGTH].any()
    ]


def _window_before(evidence: Evidence, cause: Disturbance | None) -> Window | None:
    """The steady load before the disturbance."""
    before = None if cause is None else cause.before
    return None if before is None else evidence.window_of(before.name)


def overload_before(evidence: Evidence, cause: Disturbance) -> list[str]:
    """The causes, other than the service, of delay before the disturbance, one clause each."""
    where = _window_before(evidence, cause)
    if where is None:
        return []
    health, contention = evidence.health(where), evidence.contention(where)
    return [
        *([health.sentence_with_seconds] if health.unhealthy.any() else []),
        *([] if contention is None else [contention.sentence]),
    ]


def _bounds(evidence: Evidence, kind: Kind, before: Sequence[Spell], fewest: int) -> Spell | None:
    """The bounds of a good window: 1.2 times the usual values in the steady window before.

    Nineteen of twenty five-second windows before the disturbance do not exceed the usual value. One
    such window has only a few hundred operations. With a stricter bound, an undisturbed service
    would not recover. The result is None if there are too few windows.

    The level has a lower bound: the lowest usual value, minus its distance from the median. For
    connections, the bound is at most 98 % of the lowest usual value. For messages, it is at most
    1/1.2 of that value, because messages arrive at random.

    `fewest`: with fewer windows, the result is None.
    """
    if len(before) < fewest:
        return None
    # The disturbance also affects operations that were already in flight, so the last window does
    # not count.
    before = before[:-1]
    clock = float((evidence.run.facts.get("clock") or {}).get("uncertainty", 0.0))
    p95 = _usual([spell.p95 for spell in before if spell.begun] or [math.inf])
    in_flight = _usual([spell.in_flight for spell in before])
    all_failed, all_begun = sums(before)
    failed, begun = all_failed / len(before), all_begun / len(before)
    levels = [spell.level for spell in before]
    lowest = -_usual([-level for level in levels])
    share = _HELD if kind is _CONNECTIONS else 1 / _TIMES
    return Spell(
        before[0].start,
        _TIMES * p95 + _INEXACT + (clock if kind is _MESSAGES else 0.0),
        _TIMES * in_flight + _WHOLE,
        FAILED_SHARE,
        begun,
        failed,
        max(0.0, min(share * lowest, 2 * lowest - float(np.median(levels)))),
        chance=bounds_of_share(all_failed, all_begun)[1],
    )


def _usual(values: Sequence[float]) -> float:
    return float(np.quantile(np.array(values), _USUAL, method="inverted_cdf"))


# --- the windows of each kind


def _window(start: int, end: int) -> Window | None:
    length = (end - start) // LENGTH * LENGTH
    return Window(start, length) if length > 0 else None


def _by_spell(values: npt.NDArray[np.generic]) -> npt.NDArray[Any]:
    """Values by second as rows of one window each."""
    return values.reshape(-1, LENGTH)


def _p95(traffic: Traffic) -> Floats:
    """The p95 of each window in seconds; infinite where it is a failure, or without operations."""
    number = traffic.seconds // LENGTH
    (p95,) = quantiles_of_each(traffic.second // LENGTH, traffic.bucket, traffic.count, number, (QUANTILE,))
    return np.where(np.isnan(p95), np.inf, p95)


def _slow(traffic: Traffic, bound: float) -> Floats:
    """The operations of each window that took longer than `bound` seconds, with the failed ones."""
    slow = middles(traffic.bucket) > bound
    counts = np.bincount(traffic.second[slow] // LENGTH, traffic.count[slow], traffic.seconds // LENGTH)
    return counts.astype(np.float64)


def _operations(
    evidence: Evidence, timing: str, has_in_flight: bool, bound: float, start: int, end: int
) -> list[Spell]:
    """The windows of requests or queries; only one of the two kinds has the number in flight."""
    window = _window(start, end)
    if window is None:
        return []
    traffic = evidence.corrected(_STALL, window=window, timing=timing)
    unanswered = evidence.in_flight(window) if has_in_flight else np.zeros(window.seconds)
    begun, failed = (
        _by_spell(each).sum(axis=1) for each in (traffic.per_second(), traffic.per_second(FAILED))
    )
    in_flight = _by_spell(unanswered).mean(axis=1)
    rows = zip(_p95(traffic), in_flight, begun, failed, _slow(traffic, bound), strict=True)
    return [
        Spell(
            start + place * LENGTH,
            float(p95),
            float(waiting),
            float(failed / begun) if begun else 1.0,
            int(begun),
            int(failed),
            slow=float(slow),
        )
        for place, (p95, waiting, begun, failed, slow) in enumerate(rows)
    ]


def _messages(evidence: Evidence, bound: float, start: int, end: int) -> list[Spell]:
    """The windows of messages, by second of creation; a lost one counts at the end of its gap."""
    window = _window(start, end)
    if window is None:
        return []
    traffic = evidence.traffic(window=window, timing=MESSAGE.key)
    arrived = _by_spell(traffic.per_second()).sum(axis=1)
    lost = _by_spell(_lost(evidence)[window.start : window.end]).sum(axis=1)
    planned = _by_spell(_planned(evidence, window, np.prod)).mean(axis=1)
    return [
        Spell(
            start + place * LENGTH,
            p95=float(p95),
            error_rate=float(missing / (came + missing)) if came + missing else 1.0,
            begun=float(came + missing),
            failed=float(missing),
            level=float(came / of_plan),
            slow=float(slow),
        )
        for place, (p95, came, missing, of_plan, slow) in enumerate(
            zip(_p95(traffic), arrived, lost, planned, _slow(traffic, bound), strict=True)
        )
    ]


def _lost(evidence: Evidence) -> Floats:
    """Messages that never arrived, by second of the run; shape (`whole.seconds`,).

    The messages of a gap that was filled later are late, not lost, and their times are recorded.
    Messages that a subscription lacked at the end of the load can be missing since any moment. So
    they are spread over the time after the last action, or over the run.
    """
    whole, run = evidence.whole, evidence.run
    missing = evidence.per_second(lambda each: each.count(MISSING), whole)
    filled = evidence.per_second(lambda each: each.count(FILLED), whole)
    lost, arrives_later = np.zeros(whole.seconds), 0.0
    for second in reversed(range(whole.seconds)):
        arrives_later += filled[second]
        found = min(missing[second], arrives_later)
        arrives_later -= found
        lost[second] = missing[second] - found
    lost += evidence.per_second(lambda each: each.count(TAIL_LOST), whole)
    end = min(whole.seconds, math.floor(run.plan.seconds))
    last = max(end - 1, 0)
    at_end = float(sum(each.count(TAIL_LOST) for each in run.worker_seconds if each.second >= last))
    if at_end:
        lost[last:] -= evidence.per_second(lambda each: each.count(TAIL_LOST), whole)[last:]
        since = math.ceil(max((event.at for event in run.events), default=0.0))
        if since < end:
            lost[since:end] += at_end / (end - since)
    return lost


def _connections(evidence: Evidence, start: int, end: int) -> list[Spell]:
    """The windows of connections: the fewest that were open at the end of a second of each window.

    Users leave when the load ends, before its last second is reported.
    """
    window = _window(start, end)
    if window is None:
        return []
    held = evidence.total(CONNECTIONS, window)
    if window.end >= evidence.run.plan.seconds:
        held[-1] = held[-2]
    level = _by_spell(held / _planned(evidence, window, np.min, CONNECTIONS)).min(axis=1)
    return [
        Spell(start + place * LENGTH, begun=float(fewest), level=float(fewest))
        for place, fewest in enumerate(level)
    ]


def _planned(evidence: Evidence, window: Window, of: Callable[..., Any], gauge: str = "") -> Floats:
    """The planned load by second, as a ratio of the highest constant one; shape (`seconds`,).

    `of`: combines the ratios of several populations, shape (populations,). `gauge`: only the
    populations that have this gauge count. A planned load of 0 counts as 1, because it explains no
    level.
    """
    loads = [each.workload for each in populations_with(evidence, gauge)]
    at = [load.hold.level if load.hold else load.peak for load in loads]
    middles = np.arange(window.start, window.end) + 0.5
    ratios = [
        [
            min(1.0, load.level_at(middle) / level) if level else 1.0
            for load, level in zip(loads, at, strict=True)
        ]
        for middle in middles
    ]
    planned = np.array([float(of(each)) for each in ratios])
    return np.where(planned > 0, planned, 1.0)


def populations_with(evidence: Evidence, gauge: str) -> Sequence[Population]:
    """The populations that recorded a gauge; all populations if none of them did."""
    run = evidence.run
    having = {name for each in run.worker_seconds for name, gauges in each.gauges.items() if gauge in gauges}
    return [each for each in run.plan.populations if each.name in having] or run.plan.populations


def sums(windows: Sequence[Spell]) -> tuple[float, float]:
    """The numbers of failed operations and of all operations in some windows."""
    return float(sum(spell.failed for spell in windows)), float(sum(spell.begun for spell in windows))


def surely_too_many(windows: Sequence[Spell], share: float) -> bool:
    """Did surely more than a share of the operations of some windows fail?"""
    failed, begun = sums(windows)
    return bool(is_surely_above(np.array([failed]), np.array([begun]), share)[0])


def surely_too_slow(windows: Sequence[Spell]) -> bool:
    """Did surely more operations of some windows exceed the bound of p95 than p95 allows?"""
    slow, begun = sum(spell.slow for spell in windows), sums(windows)[1]
    return bool(is_surely_above(np.array([slow]), np.array([begun]), 1 - QUANTILE)[0])
