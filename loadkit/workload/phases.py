"""The phases of a plan: when which load is on, what is judged of it, and what disturbs the service."""

import dataclasses
from dataclasses import dataclass

from loadkit.workload.plan import Plan
from loadkit.workload.workload import Phase

__all__ = ["Disturbance", "action_at", "constant_phase", "disturbance", "judged_phase", "phases"]

_LEAST_CURVE = 3
"""Stages that make a curve: the first ramp, and what is judged."""


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
