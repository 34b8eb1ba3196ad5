"""The steady window: the part of a run on which all its criteria and gauges are judged.

The declared ramp is never part of it. MSER excludes the warm-up of a phase of constant load (White,
"An effective truncation heuristic", Simulation 69, 1997). MSER uses means over five seconds, or
over one second in short phases. A load that follows a curve is never constant. Its window is
everything after the first ramp, and no warm-up is excluded.
"""

import math
from itertools import groupby

import numpy as np
import numpy.typing as npt

from loadkit.recording.run import Run
from loadkit.recording.slices import label_series
from loadkit.verdict import Window
from loadkit.workload.phases import judged_phase, phases

__all__ = ["hold", "longest_part", "warm_up", "whole", "window"]

_PERIOD = 5
"""Seconds over which one mean is computed."""
_SHORT_PERIOD = 1
"""The same for short phases."""
_SHORT = 120
"""Phases shorter than this (seconds) use the short period."""
_GAIN = 0.5
"""The warm-up is excluded only if this reduces the mean's standard error to this share or less.

The search for a cut also selects random variation of the run. In 300 runs of an AR(1) level
of 0.98 over 300 s, 5.0 % passed at the limit with 0.9, and 3.7 % with 0.5.
"""
_REACHED = 0.05
"""A mean that differs from the median by less than this share of it has reached it."""
_LONGEST = 60
"""The longest warm-up in seconds. What lasts longer is part of the service's behaviour."""


def whole(run: Run) -> Window:
    """The whole run, including its ramps: for display, not for judging."""
    return Window(0, max(1, math.ceil(run.ended_at)), "all")


def longest_part(of: Window, chosen: npt.NDArray[np.bool_]) -> Window:
    """The longest stretch of chosen seconds of a window; it has no seconds if none is chosen."""
    start, longest = of.start, Window(of.start, 0, of.phase)
    for is_chosen, stretch in groupby(chosen.tolist()):
        seconds = len(list(stretch))
        if is_chosen and seconds > longest.seconds:
            longest = Window(start, seconds, of.phase)
        start += seconds
    return longest


def hold(run: Run, phase: str | None = None) -> Window | None:
    """The named phase, or the phase that criteria are judged on, including its warm-up.

    None if there is no such phase, or if the run had less than two whole seconds of it.
    """
    found = _phase(run, phase)
    return None if found is None else found[0]


def window(run: Run, phase: str | None = None) -> Window | None:
    """The steady window of a phase: `hold` without its warm-up."""
    found = _phase(run, phase)
    if found is None:
        return None
    whole_hold, is_constant = found
    if not is_constant:
        return whole_hold
    first, last = whole_hold.start, whole_hold.end
    series = [label_series(label) for label in run.table.labels()]
    second, _, sums = run.table.totals(series, first, last)
    counts = np.bincount(second - first, sums[:, 0], last - first).astype(np.float64)
    times = np.bincount(second - first, sums[:, 1], last - first).astype(np.float64)
    cut = warm_up(counts, times)
    return Window(first + cut, last - first - cut, whole_hold.phase)


def _phase(run: Run, phase: str | None) -> tuple[Window, bool] | None:
    """A phase as a window of whole seconds, and whether its load is constant."""
    named = {each.name: each for each in phases(run.plan)}
    chosen = judged_phase(run.plan) if phase is None else named.get(phase)
    if chosen is None:
        return None
    end = chosen.end if run.is_complete else min(chosen.end, run.ended_at)
    first, last = math.ceil(chosen.start - 1e-9), math.floor(end + 1e-9)
    return (Window(first, last - first, chosen.name), chosen.is_constant) if last - first >= 2 else None


def warm_up(counts: npt.NDArray[np.float64], times: npt.NDArray[np.float64]) -> int:
    """The number of warm-up seconds to exclude at the start of a phase.

    `counts` and `times` (seconds,): operations and their summed response times, by second. The
    search covers only the first third, and at most a minute. The warm-up is excluded only if this
    at least halves the mean's standard error. It starts at the first second. It ends at the latest
    when the means first reach the median of the later ones. A later stall is not part of the
    warm-up, and must not be excluded.
    """
    period = _SHORT_PERIOD if len(counts) < _SHORT else _PERIOD
    periods = len(counts) // period
    shape = (periods, period)
    number = counts[: periods * period].reshape(shape).sum(axis=1)
    spent = times[: periods * period].reshape(shape).sum(axis=1)
    present = np.flatnonzero(number)
    means = spent[present] / number[present]
    third = int(np.searchsorted(present, min(periods // 3, _LONGEST // period)))
    if third < 1 or len(means) - third < 3:
        return 0
    median = np.median(means[third:])
    reached = np.sign(means - median) != np.sign(means[0] - median)
    reached |= np.abs(means - median) <= _REACHED * abs(median)
    most = min(third, int(np.argmax(reached)) if reached.any() else third)
    errors = np.array([means[cut:].var() / len(means[cut:]) for cut in range(most + 1)])
    cut = int(np.argmin(errors))
    if errors[cut] > _GAIN**2 * errors[0] or cut == 0:
        return 0
    return int(present[cut]) * period
