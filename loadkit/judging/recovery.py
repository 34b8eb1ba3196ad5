"""Recovery: the time from a disturbance until the service is as good as before."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

import numpy as np
import numpy.typing as npt

from loadkit.criterion import Criterion
from loadkit.judging.evidence import Case, Evidence
from loadkit.judging.finding import LONGEST_ADVICE, Finding
from loadkit.judging.statistics import bounds as bounds_of_share
from loadkit.judging.statistics import growth_to_decide, is_surely_above, persistence
from loadkit.recording.histogram import FAILED, quantiles_of_each
from loadkit.recording.run import Run
from loadkit.units import format_number, format_ratio, format_seconds
from loadkit.verdict import Status, Window
from loadkit.workload.phases import Disturbance, disturbance

__all__ = ["QUANTILE", "Spell", "allowed", "find_recovery", "spells"]

QUANTILE = 0.95
"""The quantile of the response time that is judged."""
_LENGTH = 5
"""The length of one window in seconds."""
_IN_A_ROW = 6
"""The number of consecutive good windows that are a recovery."""
_TIMES = 1.2
"""A value up to this multiple of its value before the disturbance is as good as before."""
_INEXACT = 0.002
"""The allowance for the load generator's own timing error, in seconds."""
_WHOLE = 1.0
"""The allowance for the number in flight, because operations are whole numbers. Without both
allowances, two to six of a hundred undisturbed 3 ms services would fail to recover."""
_FAILED = 0.01
"""The ratio of operations that may fail in a good window, and in the whole time after recovery."""
_SLOW = 0.05
"""More than this share of the windows after recovery, and more than one, may not be slow. It is the
share of the windows before the disturbance that exceed the usual value (see `_USUAL`)."""
_SHOWN = 3
"""A warning describes up to this many relapses."""
_STALL = 1.0
"""Stalls longer than this (seconds without an answer) are corrected for coordinated omission."""
_USUAL = 0.95
"""The share of the windows before the disturbance that count as usual, because five-second values
vary more than values over minutes."""
_A_PEAK = "a load that follows a table from a low level that holds to a high one and back"
"""A peak that can be judged."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Spell:
    """Five seconds of a run."""

    start: int
    """Seconds since the run's start."""
    p95: float
    """Seconds; infinite if the percentile is a failed operation, or if there are no operations."""
    in_flight: float
    """The mean number of unanswered operations."""
    error_rate: float
    """Ratio 0-1; 1 if there are no operations."""
    begun: float = 0
    """The number of operations; in bounds, the mean number before the disturbance."""
    failed: float = 0
    """The number of failed operations; in bounds, the mean number before the disturbance."""

    def is_slow(self, bounds: "Spell") -> bool:
        """Is p95 or the number in flight above its bound?"""
        return self.p95 > bounds.p95 or self.in_flight > bounds.in_flight

    def is_failing(self, bounds: "Spell") -> bool:
        """Is the error rate above its bound, and surely above its value before the disturbance?

        A few failures among few operations are chance where the service failed as rarely before.
        """
        if not self.begun:
            return True
        before = min(bounds.failed / max(bounds.begun, 1), bounds.error_rate)
        return self.error_rate > bounds.error_rate and _surely_too_many([self], before)

    def is_within(self, bounds: "Spell") -> bool:
        """Is no value above its bound?"""
        return not self.is_slow(bounds) and not self.is_failing(bounds)


def spells(evidence: Evidence, start: int, end: int) -> list[Spell]:
    """The complete five-second windows between two seconds of a run."""
    length = (end - start) // _LENGTH * _LENGTH
    if length <= 0:
        return []
    window = Window(start, length)
    traffic = evidence.corrected(_STALL, window=window)
    unanswered = evidence.in_flight(window)
    number = length // _LENGTH
    (p95,) = quantiles_of_each(traffic.second // _LENGTH, traffic.bucket, traffic.count, number, (QUANTILE,))
    begun, failed = (
        each.reshape(number, _LENGTH).sum(axis=1)
        for each in (traffic.per_second(), traffic.per_second(FAILED))
    )
    rows = zip(p95, unanswered.reshape(number, _LENGTH).mean(axis=1), begun, failed, strict=True)
    return [
        Spell(
            start + place * _LENGTH,
            math.inf if np.isnan(p95) else float(p95),
            float(in_flight),
            float(failed / begun) if begun else 1.0,
            int(begun),
            int(failed),
        )
        for place, (p95, in_flight, begun, failed) in enumerate(rows)
    ]


def allowed(evidence: Evidence, cause: Disturbance) -> Spell | None:
    """The bounds of a good window: 1.2 times the usual values in the steady window before.

    Usual is the value that nineteen of twenty five-second windows before the disturbance do not
    exceed. One such window has only a few hundred operations. With a stricter bound, an undisturbed
    service would not recover. None if there are too few windows.
    """
    before = _before(evidence, cause)
    if len(before) < _IN_A_ROW:
        return None
    # The disturbance also affects operations that were already in flight.
    del before[-1]
    p95 = _usual(np.array([spell.p95 for spell in before if spell.begun] or [math.inf]))
    in_flight = _usual(np.array([spell.in_flight for spell in before]))
    failed, begun = (each / len(before) for each in _sums(before))
    return Spell(
        before[0].start, _TIMES * p95 + _INEXACT, _TIMES * in_flight + _WHOLE, _FAILED, begun, failed
    )


def _before(evidence: Evidence, cause: Disturbance) -> list[Spell]:
    """The windows before the disturbance in which the service alone decided how fast it was.

    Another overloaded part would make bounds that a slow service meets.
    """
    where = None if cause.before is None else evidence.window_of(cause.before.name)
    if where is None:
        return []
    is_disturbed = evidence.health(where).unhealthy.copy()
    if (found := evidence.contention(where)) is not None:
        is_disturbed |= found.after
    return [
        spell
        for spell in spells(evidence, where.start, where.end)
        if not is_disturbed[spell.start - where.start :][:_LENGTH].any()
    ]


def _usual(values: Floats) -> float:
    return float(np.quantile(values, _USUAL, method="inverted_cdf"))


def find_recovery(case: Case) -> Finding:
    """Judge "the service recovers within …" on the part of the run after the disturbance.

    The service has recovered at the first moment from which six consecutive five-second windows are
    good. In a good window, p95 and the number in flight are at most `allowed`, and at most 1 % of
    the operations failed, or no more than chance makes of the error rate before. Of all six, surely
    no more than 1 % failed.

    A relapse is one or more bad windows in a row after that moment. The service has not recovered
    if a relapse has six windows. The same is true if surely more than 1 % of all operations after
    that moment failed, or if surely more than 5 % of the windows were slow. Other relapses are a
    warning. A relapse that the end of the load cut short is inconclusive.

    A window without operations is bad, unless so few come that this is chance. Where such windows
    decide, the result is inconclusive.
    """
    criterion, evidence, run = case.criterion, case.evidence, case.evidence.run
    cause = disturbance(run.plan)
    if cause is None:
        return Finding(
            Status.NOT_JUDGED,
            'this plan does not disturb the service; expected a When such as "an instance is killed", or '
            f"{_A_PEAK}",
        )
    if cause.before is None:
        what = f'"{cause.what}"' if run.plan.actions else "the highest load"
        return Finding(
            Status.NOT_JUDGED,
            f"no load was steady before {what}, so there is nothing to compare with; expected {_A_PEAK}",
        )
    if problem := _not_brought_about(run, cause):
        return problem
    began = max((event.at for event in run.events), default=cause.at)
    start, end = math.ceil(max(began, cause.at) - 1e-9), math.floor(min(cause.end, run.ended_at) + 1e-9)
    bounds = allowed(evidence, cause)
    if bounds is None:
        return Finding(
            Status.INCONCLUSIVE,
            f"the load was steady for less than {_IN_A_ROW * _LENGTH} s before {cause.what}, without seconds in which "
            "the load generator or its machine was overloaded: too little to compare with",
        )
    windows = spells(evidence, start, end)
    where = Window(start, max(end - start, 1), f"after {cause.what}")
    found = _compared(criterion, windows, bounds, cause.what, _before(evidence, cause))
    found = found.warned(*_not_recovered_before(case, bounds, start))
    details = {
        "disturbed_by": cause.what,
        "disturbed_at": start,
        "allowed": _figures(bounds),
        "windows": [
            {**_figures(spell), "start": spell.start, "is_good": spell.is_within(bounds)} for spell in windows
        ],
    }
    found = replace(found, samples=len(windows), details=details, window=where)
    state = evidence.health(where)
    if found.status in {Status.PASS, Status.FAIL}:
        if lost := evidence.not_held(where):
            return found.become(Status.INVALID, lost)
        if state.status == "invalid":
            return found.become(Status.INVALID, state.sentence)
    return found


def _compared(
    criterion: Criterion, windows: list[Spell], bounds: Spell, what: str, before: list[Spell]
) -> Finding:
    """The finding, unless there is too little to compare with."""
    if math.isinf(bounds.p95):
        share = format_ratio(float(np.mean([math.isinf(spell.p95) for spell in before])))
        return Finding(
            Status.INCONCLUSIVE,
            f"in {share} of the five-second windows before {what}, more than {format_ratio(1 - QUANTILE)} of the "
            "operations failed, so there is no usual p95 to compare with",
        )
    found = _recovered(criterion, windows, bounds, what)
    none = sum(not spell.begun for spell in windows)
    # Random arrivals leave a window empty with a probability of e⁻ⁿ. Users who come in waves leave
    # more of them empty.
    empty = max(float(np.mean([not spell.begun for spell in before])), math.exp(-bounds.begun))
    if not none or not _is_chance(none, len(windows), empty):
        return found
    usual = replace(bounds, p95=0.0, error_rate=0.0)
    filled = [
        spell if spell.begun else replace(usual, start=spell.start, in_flight=spell.in_flight)
        for spell in windows
    ]
    if _recovered(criterion, filled, bounds, what).status is found.status:
        return found
    return found.become(
        Status.INCONCLUSIVE,
        f"no operation began in {none} of {len(windows)} five-second windows after {what}. Before it, "
        f"{format_number(bounds.begun)} began on average and none in {format_ratio(empty)}, so this shows nothing: "
        "put on more load, or load without waves",
    )


def _is_chance(number: int, size: int, share: float) -> bool:
    """Can so many of `size` windows be empty by chance, if each is with a probability of `share`?"""
    return not is_surely_above(np.array([float(number)]), np.array([float(size)]), share)[0]


def _surely_too_many(windows: Sequence[Spell], share: float) -> bool:
    """Did surely more than a share of the operations of some windows fail?"""
    failed, begun = _sums(windows)
    return bool(is_surely_above(np.array([failed]), np.array([begun]), share)[0])


def _not_recovered_before(case: Case, bounds: Spell, start: int) -> Iterator[str]:
    """Earlier actions from which the service had surely not recovered in time, as warnings."""
    events = sorted(case.evidence.run.events, key=lambda event: event.at)
    for event, following in pairwise(events):
        begin, end = math.ceil(event.at - 1e-9), min(start, math.floor(following.at + 1e-9))
        found = _recovered(case.criterion, spells(case.evidence, begin, end), bounds, event.what)
        if found.status is Status.FAIL:
            yield f"{found.reason}; recovery is judged after the last action"


def _not_brought_about(run: Run, cause: Disturbance) -> Finding | None:
    """The finding if the planned disturbance did not happen; None if it did."""
    failed = next((event for event in run.events if event.failed), None)
    if failed is not None:
        return Finding(Status.NOT_JUDGED, f'"{failed.what}" could not be carried out: {failed.failed}')
    done = len(run.events) >= len(run.plan.actions) and run.ended_at > cause.at
    if done:
        return None
    return Finding(Status.INCONCLUSIVE, f'the run ended ({run.ended}) before "{cause.what}"')


def _recovered(criterion: Criterion, windows: list[Spell], bounds: Spell, what: str) -> Finding:
    good = [spell.is_within(bounds) for spell in windows]
    limit = criterion.limit

    def is_good(number: int) -> bool:
        """Are the windows from this one on good, as far as there are six?"""
        row = slice(number, number + _IN_A_ROW)
        return all(good[row]) and not _surely_too_many(windows[row], bounds.error_rate)

    first = next((number for number in range(len(good) - _IN_A_ROW + 1) if is_good(number)), None)
    if first is not None:
        return _lasting(limit, windows, first, bounds, what)
    # A recovery in time must start within the limit. It is ruled out if a bad window follows each
    # start.
    in_time = range(int(limit // _LENGTH) + 1)
    if all(number < len(good) and not is_good(number) for number in in_time):
        bad = [spell for spell, is_within in zip(windows, good, strict=True) if not is_within]
        failed, begun = _sums(windows)
        share = f"{format_ratio(failed / max(begun, 1))} failed, and {format_ratio(_FAILED)} may"
        excess = _badness(bad[-1], bounds, windows) if bad else share
        return Finding(
            Status.FAIL,
            f"the service had not recovered within {format_seconds(limit)} after {what}: {excess}",
        )
    more = (in_time[-1] + _IN_A_ROW) * _LENGTH - len(windows) * _LENGTH
    return Finding(
        Status.INCONCLUSIVE,
        f"the load held for {format_seconds(len(windows) * _LENGTH)} after {what}, too short to see six good windows of "
        f"five seconds after {format_seconds(limit)}; {format_seconds(more)} more would decide it",
    )


def _lasting(limit: float, windows: list[Spell], first: int, bounds: Spell, what: str) -> Finding:
    """The finding of a service that recovered at the window `first`: was it in time, and did it last?"""
    seconds, after = float(first * _LENGTH), windows[first:]
    when = f"{format_seconds(seconds)} after {what}" if seconds else f"at once after {what}"
    in_time = Finding(
        Status.PASS if seconds <= limit else Status.FAIL,
        f"the service had recovered {when}; the limit is {format_seconds(limit)}",
        seconds,
    )
    relapses = [
        list(group) for is_good, group in groupby(after, lambda spell: spell.is_within(bounds)) if not is_good
    ]
    weighed = _weigh(relapses, after, bounds)
    if not relapses and weighed is None:
        return in_time
    began = windows[0].start
    told = [_relapse(relapse, bounds, began) for relapse in relapses]
    more = f"; and {len(told) - _SHOWN} more" if len(told) > _SHOWN else ""
    found = in_time
    if told:
        found = found.warned(f"the service relapsed after {what}: {'; '.join(told[:_SHOWN])}{more}")
    if weighed is None or in_time.status is Status.FAIL:
        return found
    status, reason, relapse = weighed
    relapsed = f"relapsed {_relapse(relapse, bounds, began)}" if relapse else ""
    return found.become(
        status, f"the service had recovered {when}, but {'; '.join(filter(None, (relapsed, reason)))}"
    )


def _weigh(
    relapses: list[list[Spell]], after: list[Spell], bounds: Spell
) -> tuple[Status, str, list[Spell]] | None:
    """The status, the reason and the relapse to name; None if all this allows a pass.

    `after`: all windows after the recovery.
    """
    longest, last = max(relapses, key=len, default=[]), relapses[-1] if relapses else []
    if len(longest) >= _IN_A_ROW:
        return Status.FAIL, "", longest
    failed, begun = _sums(after)
    if failed > _FAILED * begun:
        is_sure = _surely_too_many(after, _FAILED)
        reason = f"{format_ratio(failed / begun)} of all operations after the recovery failed, and {format_ratio(_FAILED)} may"
        advice = "" if is_sure else _advice(failed, begun, _FAILED, after)
        status = Status.FAIL if is_sure else Status.INCONCLUSIVE
        return status, reason + advice, max(relapses, key=_failed, default=[])
    are_slow = np.array([spell.is_slow(bounds) for spell in after], np.float64)
    slow = int(are_slow.sum())
    # A slow window is often followed by another: correlated windows are fewer independent ones.
    effect = persistence(are_slow)
    hits, size = slow / effect, len(after) / effect
    is_often = slow > max(1.0, _SLOW * len(after))
    reason = f"{slow} of {len(after)} five-second windows after the recovery were slow, and {format_ratio(_SLOW)} may be"
    if is_often and bounds_of_share(hits, size)[0] > _SLOW:
        return Status.FAIL, reason, longest
    if last and last[-1] is after[-1]:
        more = format_seconds((_IN_A_ROW - len(last)) * _LENGTH)
        return Status.INCONCLUSIVE, f"the load ended meanwhile, and {more} more would decide it", last
    if is_often:
        return Status.INCONCLUSIVE, reason + _advice(hits, size, _SLOW, after), longest
    return None


def _advice(hits: float, size: float, share: float, after: list[Spell]) -> str:
    """What would decide it, as the last clause of a reason."""
    growth = growth_to_decide(hits, size, share)
    if growth > LONGEST_ADVICE:
        return "; too close to decide with a longer load"
    needed = format_seconds(math.ceil(growth * len(after) * _LENGTH))
    return f"; about {needed} of load after the recovery would decide it"


def _sums(windows: Sequence[Spell]) -> tuple[float, float]:
    """Failed operations, and all operations."""
    return float(sum(spell.failed for spell in windows)), float(sum(spell.begun for spell in windows))


def _failed(relapse: list[Spell]) -> float:
    return sum(spell.failed for spell in relapse)


def _relapse(relapse: list[Spell], bounds: Spell, disturbed_at: int) -> str:
    """When a relapse began, how long it lasted, and the worst window's value."""
    worst = max(
        relapse,
        key=lambda spell: (spell.is_failing(bounds) and spell.error_rate, spell.p95, spell.in_flight),
    )
    length = format_seconds(len(relapse) * _LENGTH)
    return f"for {length} from {format_seconds(relapse[0].start - disturbed_at)} after it, {_excess(worst, bounds)}"


def _badness(worst: Spell, bounds: Spell, windows: list[Spell]) -> str:
    return f"{format_seconds(worst.start - windows[0].start)} after it {_excess(worst, bounds)}"


def _excess(worst: Spell, bounds: Spell) -> str:
    """The value that was bad, and its bound."""
    if worst.is_failing(bounds):
        return f"{format_ratio(worst.error_rate)} failed, and {format_ratio(bounds.error_rate)} may"
    if worst.p95 > bounds.p95:
        return f"p95 was {format_seconds(worst.p95)}, and {format_seconds(bounds.p95)} is as before"
    return (
        f"{format_number(worst.in_flight)} operations were in flight, and "
        f"{format_number(bounds.in_flight)} is as before"
    )


def _figures(spell: Spell) -> dict[str, float | None]:
    return {
        "p95": spell.p95 if math.isfinite(spell.p95) else None,
        "in_flight": spell.in_flight,
        "error_rate": spell.error_rate,
    }
