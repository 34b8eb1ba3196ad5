"""The steady window: the part of a run on which all its criteria and gauges are judged.

The declared ramp is never part of it. The warm-up of a phase of constant load is excluded by MSER
(White, "An effective truncation heuristic", Simulation 69, 1997). MSER uses means over five
seconds, or over one second in short runs. A load that follows a curve is never constant. Its window
is everything after the first ramp, without a warm-up.
"""

import math

import numpy as np
import numpy.typing as npt

from loadkit.recording.run import Run
from loadkit.recording.slices import label_series
from loadkit.verdict import Window
from loadkit.workload.phases import judged_phase, phases

__all__ = ["warm_up", "whole", "window"]

_PERIOD = 5
"""Seconds over which one mean is computed."""
_SHORT_PERIOD = 1
"""The same in seconds for short phases."""
_SHORT = 120
"""Phases shorter than this (seconds) use the short period."""
_GAIN = 0.9
"""The warm-up is excluded only if this reduces the mean's standard error to this share or less."""


def whole(run: Run) -> Window:
    """The whole run, including its ramps: for display, not for judging."""
    return Window(0, max(1, math.ceil(run.ended_at)), "all")


def window(run: Run, phase: str | None = None) -> Window | None:
    """The steady window of the named phase, or of the phase that criteria are judged on.

    None if there is no such phase, or if the run was cut short before two seconds of it.
    """
    named = {each.name: each for each in phases(run.plan)}
    chosen = judged_phase(run.plan) if phase is None else named.get(phase)
    if chosen is None:
        return None
    end = chosen.end if run.is_complete else min(chosen.end, run.ended_at)
    first, last = math.ceil(chosen.start - 1e-9), math.floor(end + 1e-9)
    if last - first < 2:
        return None
    cut = 0
    if chosen.is_constant:
        series = [label_series(label) for label in run.table.labels()]
        second, _, sums = run.table.totals(series, first, last)
        counts = np.bincount(second - first, sums[:, 0], last - first).astype(np.float64)
        times = np.bincount(second - first, sums[:, 1], last - first).astype(np.float64)
        cut = warm_up(counts, times)
    return Window(first + cut, last - first - cut, chosen.name)


def warm_up(counts: npt.NDArray[np.float64], times: npt.NDArray[np.float64]) -> int:
    """The number of warm-up seconds to exclude at the start of a phase.

    `counts` and `times` (seconds,): operations and their summed response times, by second. The
    search covers the first third only. The warm-up is excluded only if this reduces the mean's
    standard error by a tenth. It starts at the first second and ends where the means first reach
    the median of the later ones. A later stall is not part of the warm-up, and must not be
    excluded.
    """
    period = _SHORT_PERIOD if len(counts) < _SHORT else _PERIOD
    periods = len(counts) // period
    shape = (periods, period)
    number = counts[: periods * period].reshape(shape).sum(axis=1)
    spent = times[: periods * period].reshape(shape).sum(axis=1)
    present = np.flatnonzero(number)
    means = spent[present] / number[present]
    third = int(np.searchsorted(present, periods // 3))
    if third < 1 or len(means) - third < 3:
        return 0
    median = np.median(means[third:])
    reached = np.sign(means - median) != np.sign(means[0] - median)
    most = min(third, int(np.argmax(reached)) if reached.any() else third)
    errors = np.array([means[cut:].var() / len(means[cut:]) for cut in range(most + 1)])
    cut = int(np.argmin(errors))
    if errors[cut] > _GAIN**2 * errors[0] or cut == 0:
        return 0
    return int(present[cut]) * period
