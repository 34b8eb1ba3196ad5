"""The possible effect of unseen time, which has no readings, on the verdict on a gauge.

Unseen time counts as bad where it could change a pass. It does not hide a violation that was seen.
"""

import dataclasses
import math

import numpy as np
import numpy.typing as npt

from loadkit.criterion import Criterion, Unit
from loadkit.judging.finding import Finding
from loadkit.judging.readings import Points
from loadkit.judging.spells import SPELL, Spells, confidence_of_each
from loadkit.judging.statistics import is_surely_above, is_surely_below
from loadkit.observers.observation import Judged
from loadkit.units import format_quantity, format_ratio, format_seconds

__all__ = [
    "TAIL",
    "are_over",
    "could_be_spell",
    "is_certain",
    "mean_could_be_over",
    "missed",
    "p95_could_be_over",
    "spells_of",
]

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]

TAIL = 0.95
"""A p95 (for a lower limit, a p5) is judged."""
_LATE = 0.05
"""Unseen time up to this share of a scrape interval is ignored: scrapes can be slightly late."""


def are_over(criterion: Criterion, values: Floats) -> Booleans:
    """Mark the readings over the limit; for a lower limit, those under it."""
    return values > criterion.limit if criterion.comparison.is_upper else values < criterion.limit


def missed(points: Points, start: float) -> str:
    """The reason why the extreme reading may be unknown: a hole in the scrapes; "" if none."""
    if points.hole is None:
        return ""
    first, last = points.hole
    return (
        f"it has no readings for {format_seconds(last - first)}, from second {first - start:.0f} "
        f"to second {last - start:.0f} of the window"
    )


def p95_could_be_over(criterion: Criterion, points: Points) -> str:
    """The reason why the p95 may violate the limit because of unseen time; "" if it cannot."""
    unseen, over = points.unseen_seconds, points.seen_seconds(are_over(criterion, points.values))
    share = (unseen + over) / points.seconds
    if not unseen or unseen + over <= (1 - TAIL) * points.seconds + _LATE * points.interval:
        return ""
    side = "above" if criterion.comparison.is_upper else "below"
    known = f" and {format_seconds(over)} are {side} the limit" if over > 0 else ""
    return (
        f"{format_seconds(unseen)} of {format_seconds(points.seconds)} have no readings{known}: "
        f"{format_ratio(share)} of the time, and a p95 allows {format_ratio(1 - TAIL)}"
    )


def mean_could_be_over(criterion: Criterion, points: Points, finding: Finding) -> str:
    """The reason why the mean may violate the limit because of unseen time; "" if it cannot.

    The interval of the mean moves by as much as the worst plausible values move the mean.
    """
    worst = _mean_with_unseen(criterion, points, is_worst=True)
    if worst is None or finding.measured is None or finding.interval is None or not points.unread_seconds:
        return ""
    is_upper = criterion.comparison.is_upper
    end = finding.interval[1 if is_upper else 0] + worst - finding.measured
    if not are_over(criterion, np.array([end]))[0]:
        return ""
    return (
        f"{format_seconds(points.unread_seconds)} of {format_seconds(points.seconds)} have no readings; with the "
        f"worst values there it would be {format_quantity(end, criterion.measure.unit)} at "
        f"{'most' if is_upper else 'least'}"
    )


def _mean_with_unseen(criterion: Criterion, points: Points, *, is_worst: bool) -> float | None:
    """The mean if the unseen time had the worst (best) plausible value; None if that is unknown.

    A share lies between 0 and 1, or between 0 and its largest reading. Other measures are at least
    0 and have no upper bound. If their highest value is the worst case, it is the largest reading.
    If it is the best case, it is unknown. The unseen time has the usual weight, such as the mean
    number of lookups per second for a hit rate.
    """
    if not np.isfinite(points.values).all():
        return None
    is_share, is_high = criterion.measure.unit is Unit.RATIO, criterion.comparison.is_upper is is_worst
    if is_high and not is_share and not is_worst:
        return None
    highest, lowest = float(points.values.max()), float(points.values.min())
    value = max(highest, 1.0 if is_share else highest) if is_high else min(lowest, 0.0)
    weight = float(points.wholes.sum() / points.lengths.sum()) * points.unread_seconds
    return float((points.parts.sum() + value * weight) / (points.wholes.sum() + weight))


def could_be_spell(criterion: Criterion, points: Points) -> str:
    """The reason why unseen time could hide a lasting bad spell; "" if it cannot."""
    length = float(np.median(points.lengths))
    if not len(points.unseen):
        return ""
    missing = []
    for first, last in points.unseen:
        readings = max(1, round((last - first) / length))
        missing.append(np.linspace(first, last, 2 * readings + 1)[1::2])
    times = np.concatenate([points.times, *missing])
    worst = math.inf if criterion.comparison.is_upper else -math.inf
    values = np.concatenate([points.values, np.full(len(times) - len(points.times), worst)])
    order = np.argsort(times, kind="stable")
    spells = spells_of(
        criterion,
        dataclasses.replace(points, times=times[order], values=values[order], unseen=np.empty((0, 2))),
    )
    if not spells.is_lasting:
        return ""
    return f"{format_seconds(points.unseen_seconds)} have no readings, which could hide a lasting bad spell"


def is_certain(criterion: Criterion, judged: Judged, points: Points) -> bool:
    """Is a violation or a forbidden bad spell certain, whatever happened in the unseen time?"""
    comparison = criterion.comparison
    if comparison.forbids_spells and spells_of(criterion, points).is_lasting:
        return True
    if comparison.holds_always and spells_of(criterion, points).number:
        return True
    if judged is Judged.P95:
        over = points.seen_seconds(are_over(criterion, points.values))
        return over > (1 - TAIL) * points.seconds + 1e-9
    best = _mean_with_unseen(criterion, points, is_worst=False)
    return best is not None and bool(are_over(criterion, np.array([best]))[0])


def spells_of(criterion: Criterion, points: Points) -> Spells:
    """The ten-second windows in which all readings are over the limit.

    A window without readings is not over the limit, so it interrupts a row of bad windows. A share
    of counted events must surely be over the limit.
    """
    over = are_over(criterion, points.values)
    edges = np.append(points.unseen.ravel(), points.times)
    begin, end = float(edges.min()), float(edges.max())
    window = ((points.times - begin) // SPELL).astype(np.int64)
    present, starts = np.unique(window, return_index=True)
    middles = begin + (np.arange((end - begin) // SPELL + 1) + 0.5) * SPELL
    is_judged = np.zeros(len(middles), np.bool_)
    for first, last in points.unseen:
        is_judged |= (first <= middles) & (middles <= last)
    is_judged[present] = True
    bad = np.zeros(len(middles), np.bool_)
    bad[present] = np.logical_and.reduceat(over, starts)
    if points.is_counted:
        # A few lookups miss by chance, so a window counts only if its share is surely over.
        are_surely_over = is_surely_above if criterion.comparison.is_upper else is_surely_below
        parts, wholes = np.add.reduceat(points.parts, starts), np.add.reduceat(points.wholes, starts)
        bad[present] &= are_surely_over(parts, wholes, criterion.limit, confidence_of_each(len(present)))
    return Spells.of(bad[is_judged])
