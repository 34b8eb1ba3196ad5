"""Recovery: the time from a disturbance until the service is as good as before."""

import math
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
import numpy.typing as npt

from loadkit.criterion import Criterion
from loadkit.judging.evidence import Case, Evidence
from loadkit.judging.finding import LONGEST_ADVICE, Finding
from loadkit.judging.statistics import bounds as bounds_of_share
from loadkit.judging.statistics import growth_to_decide, persistence
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
    begun: int = 0
    """The number of operations; 0 in bounds, as in the next field."""
    failed: int = 0
    """The number of failed operations."""

    def is_slow(self, bounds: "Spell") -> bool:
        """Is p95 or the number in flight above its bound?"""
        return self.p95 > bounds.p95 or self.in_flight > bounds.in_flight

    def is_within(self, bounds: "Spell") -> bool:
        """Is no value above its bound?"""
        return not self.is_slow(bounds) and self.error_rate <= bounds.error_rate


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
    if cause.before is None:
        return None
    where = evidence.window_of(cause.before.name)
    before = [] if where is None else spells(evidence, where.start, where.end)
    if len(before) < _IN_A_ROW:
        return None
    # The disturbance also affects operations that were already in flight.
    del before[-1]
    p95 = _usual(np.array([spell.p95 for spell in before]))
    in_flight = _usual(np.array([spell.in_flight for spell in before]))
    return Spell(before[0].start, _TIMES * p95 + _INEXACT, _TIMES * in_flight + _WHOLE, _FAILED)


def _usual(values: Floats) -> float:
    return float(np.quantile(values, _USUAL, method="inverted_cdf"))


def find_recovery(case: Case) -> Finding:
    """Judge "the service recovers within …" on the part of the run after the disturbance.

    The service has recovered at the first moment from which six consecutive five-second windows are
    good. In a good window, p95 and the number in flight are at most `allowed`, and at most 1 % of
    the operations failed.

    A relapse is one or more bad windows in a row after that moment. The service has not recovered
    if a relapse has six windows. The same is true if more than 1 % of all operations after that
    moment failed, or if surely more than 5 % of the windows were slow. Other relapses are a
    warning. A relapse that the end of the load cut short is inconclusive.
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
            f"the load was steady for less than {_IN_A_ROW * _LENGTH} s before {cause.what}: too little to compare with",
        )
    windows = spells(evidence, start, end)
    where = Window(start, max(end - start, 1), f"after {cause.what}")
    found = _recovered(criterion, windows, bounds, cause.what)
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
    if state.status == "invalid" and found.status in {Status.PASS, Status.FAIL}:
        found = found.become(Status.INVALID, state.sentence)
    return found


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
    first = next(
        (
            number
            for number in range(len(good))
            if len(good) >= number + _IN_A_ROW and all(good[number : number + _IN_A_ROW])
        ),
        None,
    )
    if first is not None:
        return _lasting(limit, windows, first, bounds, what)
    # A recovery in time must start within the limit. It is ruled out if a bad window follows each
    # start.
    in_time = range(int(limit // _LENGTH) + 1)
    ruled_out = all(number < len(good) and not all(good[number : number + _IN_A_ROW]) for number in in_time)
    if ruled_out:
        bad = [spell for spell, is_good in zip(windows, good, strict=True) if not is_good]
        return Finding(
            Status.FAIL,
            f"the service had not recovered within {format_seconds(limit)} after {what}: {_badness(bad[-1], bounds, windows)}",
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
    if not relapses:
        return in_time
    began = windows[0].start
    told = [_relapse(relapse, bounds, began) for relapse in relapses]
    more = f"; and {len(told) - _SHOWN} more" if len(told) > _SHOWN else ""
    found = in_time.warned(f"the service relapsed after {what}: {'; '.join(told[:_SHOWN])}{more}")
    weighed = _weigh(relapses, after, bounds)
    if weighed is None or in_time.status is Status.FAIL:
        return found
    status, reason, relapse = weighed
    relapsed = f"the service had recovered {when}, but relapsed {_relapse(relapse, bounds, began)}"
    return found.become(status, f"{relapsed}; {reason}" if reason else relapsed)


def _weigh(
    relapses: list[list[Spell]], after: list[Spell], bounds: Spell
) -> tuple[Status, str, list[Spell]] | None:
    """The status, the reason and the relapse to name; None if the relapses allow a pass.

    `after`: all windows after the recovery.
    """
    longest, last = max(relapses, key=len), relapses[-1]
    if len(longest) >= _IN_A_ROW:
        return Status.FAIL, "", longest
    failed = sum(spell.failed for spell in after) / max(sum(spell.begun for spell in after), 1)
    if failed > _FAILED:
        reason = f"{format_ratio(failed)} of all operations after the recovery failed, and {format_ratio(_FAILED)} may"
        return Status.FAIL, reason, max(relapses, key=_failed)
    are_slow = np.array([spell.is_slow(bounds) for spell in after], np.float64)
    slow = int(are_slow.sum())
    # A slow window is often followed by another: correlated windows are fewer independent ones.
    effect = persistence(are_slow)
    hits, size = slow / effect, len(after) / effect
    is_often = slow > max(1.0, _SLOW * len(after))
    reason = f"{slow} of {len(after)} five-second windows after the recovery were slow, and {format_ratio(_SLOW)} may be"
    if is_often and bounds_of_share(hits, size)[0] > _SLOW:
        return Status.FAIL, reason, longest
    if last[-1] is after[-1]:
        more = format_seconds((_IN_A_ROW - len(last)) * _LENGTH)
        return Status.INCONCLUSIVE, f"the load ended meanwhile, and {more} more would decide it", last
    if is_often:
        growth = growth_to_decide(hits, size, _SLOW)
        if growth > LONGEST_ADVICE:
            advice = "too close to decide with a longer load"
        else:
            needed = format_seconds(math.ceil(growth * len(after) * _LENGTH))
            advice = f"about {needed} of load after the recovery would decide it"
        return Status.INCONCLUSIVE, f"{reason}; {advice}", longest
    return None


def _failed(relapse: list[Spell]) -> int:
    return sum(spell.failed for spell in relapse)


def _relapse(relapse: list[Spell], bounds: Spell, disturbed_at: int) -> str:
    """When a relapse began, how long it lasted, and the worst window's value."""
    worst = max(relapse, key=lambda spell: (spell.error_rate, spell.p95, spell.in_flight))
    length = format_seconds(len(relapse) * _LENGTH)
    return f"for {length} from {format_seconds(relapse[0].start - disturbed_at)} after it, {_excess(worst, bounds)}"


def _badness(worst: Spell, bounds: Spell, windows: list[Spell]) -> str:
    return f"{format_seconds(worst.start - windows[0].start)} after it {_excess(worst, bounds)}"


def _excess(worst: Spell, bounds: Spell) -> str:
    """The value that was bad, and its bound."""
    if worst.error_rate > bounds.error_rate:
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
