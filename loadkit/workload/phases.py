"""The phases of a plan: their loads, which one is judged, and what disturbs the service."""

import dataclasses
from dataclasses import dataclass

from loadkit.workload.plan import Plan
from loadkit.workload.workload import Phase

__all__ = ["Disturbance", "action_at", "constant_phase", "disturbance", "judged_phase", "phases"]

_LEAST_CURVE = 3
"""Minimum number of stages of a curve: the first ramp, and the judged stages."""


def phases(plan: Plan) -> tuple[Phase, ...]:
    """The plan's phases: its stages, with the hold split at its actions.

    The name of a part is "before ACTION" or "after ACTION", with the action at its boundary.
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
    """The time of an action, in seconds since the run's start.

    `at` is relative to the start of the hold; None stands for a third of the hold.
    """
    return hold.start + ((hold.end - hold.start) / 3 if at is None else at)


def constant_phase(plan: Plan) -> Phase | None:
    """The last phase of constant load at the highest constant level, up to the first action.

    None if the load is never constant, or if an action starts with the hold.
    """
    hold = plan.workload.hold
    if hold is None:
        return None
    first = min((action_at(hold, action.at) for action in plan.actions), default=hold.end)
    return next((phase for phase in phases(plan) if phase.start == hold.start and phase.end <= first), None)


def judged_phase(plan: Plan) -> Phase | None:
    """The phase on which criteria are judged: `constant_phase`, or a curve after its first ramp."""
    stages = plan.workload.phases()
    if plan.workload.hold is not None or len(stages) < _LEAST_CURVE:
        return constant_phase(plan)
    last = stages[-1]
    return Phase("the curve", stages[0].end, last.end, last.level, is_constant=False)


@dataclass(frozen=True, slots=True)
class Disturbance:
    """A disturbance from which a service must recover."""

    what: str
    """"an instance is killed", "the load falls back"."""
    at: float
    """Planned seconds since the run's start; the next two fields have the same unit."""
    end: float
    """When the observation of the recovery ends."""
    before: Phase | None
    """The constant load before it, which is the undisturbed baseline; None if there is none."""


def disturbance(plan: Plan) -> Disturbance | None:
    """The disturbance of a plan: its last action, or else the end of its highest load.

    None if the plan has neither. The highest load ends where the level returns to the one before
    it. Under a higher load, the service cannot return to its earlier state.
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
