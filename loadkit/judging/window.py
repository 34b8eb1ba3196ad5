"""The steady window: the part of a run on which all its criteria and gauges are judged.

The declared ramp is never part of it. Of a phase of constant load, the warm-up is left out: MSER
(White, "An effective truncation heuristic", Simulation 69, 1997) on the means of five seconds, or
of one in short runs. A load that follows a curve is never constant: its window is all of it after
the first ramp, and nothing of that is left out.
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
"""Seconds of one mean."""
_SHORT_PERIOD = 1
_SHORT = 120
"""Seconds; a phase below it is searched in short periods."""
_GAIN = 0.9
"""The mean's standard error must fall to this share for a cut to be worth it."""


def whole(run: Run) -> Window:
    """All of a run, ramps included: for those who look, not for judging."""
    return Window(0, max(1, math.ceil(run.ended_at)), "all")


def window(run: Run, phase: str | None = None) -> Window | None:
    """The steady window of a phase, by name; of the one that criteria are judged on where none is named.

    None where there is no such phase, or the run was cut short before two seconds of it.
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
    """How many seconds to leave out at the start of a phase.

    `counts` and `times` (seconds,): operations and their summed response times, by second. It is
    sought in the first third only, and nothing is cut unless the mean's standard error falls by a
    tenth. A warm-up lasts from the first second on and ends where the means first reach the later
    ones' median: a stall that comes later is no warm-up, and must not be cut away.
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
