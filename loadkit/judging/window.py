"""The steady window: the part of a run on which all its criteria and gauges are judged.

The declared ramp is never part of it. Of a phase of constant load, the warm-up is left out: MSER (White, "An effective
truncation heuristic", Simulation 69, 1997) on the means of five seconds, or of one in short runs. A load that follows
a curve is never constant: its window is all of it after the first ramp, and nothing of that is left out.
"""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from loadkit.recording.run import Run
from loadkit.recording.slices import label_series
from loadkit.verdict import Window
from loadkit.workload.plan import Plan
from loadkit.workload.workload import Phase

__all__ = [
    "Disturbance",
    "constant_phase",
    "disturbance",
    "judged_phase",
    "phases",
    "warm_up",
    "whole",
    "window",
]

_PERIOD = 5
"""Seconds of one mean."""
_SHORT_PERIOD = 1
_SHORT = 120
"""Seconds; a phase below it is searched in short periods."""
_LEAST_CURVE = 3
"""Stages that make a curve: the first ramp, and what is judged."""
_GAIN = 0.9
"""The mean's standard error must fall to this share for a cut to be worth it."""


def phases(plan: Plan) -> tuple[Phase, ...]:
    """The plan's phases: its stages, and its hold split where its actions happen.

    The parts are named "before KILL INSTANCE" and "after KILL INSTANCE" by the action that bounds them.
    """
    stages = plan.workload.phases()
    hold = plan.workload.hold
    if hold is None or not plan.actions:
        return stages
    parts: list[Phase] = []
    start, name = hold.start, ""
    for at, action in sorted((action_at(hold, action.at), action.name) for action in plan.actions):
        if hold.start <= at < hold.end:
            if at > start:
                parts.append(dataclasses.replace(hold, name=name or f"before {action}", start=start, end=at))
            start, name = at, f"after {action}"
    parts.append(dataclasses.replace(hold, name=name or hold.name, start=start))
    return tuple(part for stage in stages for part in (parts if stage == hold else (stage,)))


def action_at(hold: Phase, at: float | None) -> float:
    """When an action happens, in seconds since the run's start: so far into the hold, or a third of it."""
    return hold.start + ((hold.end - hold.start) / 3 if at is None else at)


def constant_phase(plan: Plan) -> Phase | None:
    """The last phase of constant load at the highest level that is held, up to the first action.

    None where the load is never constant, or the action comes at once.
    """
    hold = plan.workload.hold
    if hold is None:
        return None
    first = min((action_at(hold, action.at) for action in plan.actions), default=hold.end)
    return next((phase for phase in phases(plan) if phase.start == hold.start and phase.end <= first), None)


def judged_phase(plan: Plan) -> Phase | None:
    """The phase that criteria are judged on: `constant_phase`, or of a curve all that follows its first ramp."""
    stages = plan.workload.phases()
    if plan.workload.hold is not None or len(stages) < _LEAST_CURVE:
        return constant_phase(plan)
    last = stages[-1]
    return Phase("the curve", stages[0].end, last.end, last.level, is_constant=False)


@dataclass(frozen=True, slots=True)
class Disturbance:
    """What a service is to recover from."""

    what: str
    """"an instance is killed", "the load falls back"."""
    at: float
    """Seconds since the run's start, by plan; as the two that follow."""
    end: float
    """Until when it can be seen to recover."""
    before: Phase | None
    """The steady load before it, which shows how the service is when nothing disturbs it; None where there is none."""


def disturbance(plan: Plan) -> Disturbance | None:
    """What disturbs the service: the last action; else the highest load, once it is over. None where nothing does.

    The load is over where it is back at the level before it, since a service cannot be as it was under more load.
    """
    hold = plan.workload.hold
    if hold is None:
        return None
    if plan.actions:
        at, what = max((action_at(hold, action.at), action.name) for action in plan.actions)
        return Disturbance(what, at, hold.end, constant_phase(plan))
    stages = plan.workload.phases()
    before = [phase for phase in stages if phase.is_constant and phase.level > 0 and phase.end <= hold.start]
    allowed = before[-1].level if before else hold.level
    after = (phase for phase in stages if phase.is_constant and hold.end <= phase.start)
    fallen = next((phase for phase in after if 0 < phase.level <= allowed and phase.level < hold.level), None)
    if fallen is None:
        return None
    return Disturbance("the load falls back", fallen.start, fallen.end, before[-1] if before else None)


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
        series = [label_series(label) for label in run.table.names(label_series(""))]
        second, _, sums = run.table.totals(series, first, last)
        counts = np.bincount(second - first, sums[:, 0], last - first).astype(np.float64)
        times = np.bincount(second - first, sums[:, 1], last - first).astype(np.float64)
        cut = warm_up(counts, times)
    return Window(first + cut, last - first - cut, chosen.name)


def warm_up(counts: npt.NDArray[np.float64], times: npt.NDArray[np.float64]) -> int:
    """How many seconds to leave out at the start of a phase.

    `counts` and `times` (seconds,): operations and their summed response times, by second. It is sought in the first
    third only, and nothing is cut unless the mean's standard error falls by a tenth. A warm-up lasts from the first
    second on and ends where the means first reach the later ones' median: a stall that comes later is no warm-up, and
    must not be cut away.
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
