"""The phases of a plan: where its actions split the hold, and what disturbs the service."""

from loadkit.workload.phases import disturbance, phases
from loadkit.workload.plan import Action
from tests.builders import plan_of


def test_actions_split_the_hold_into_named_phases() -> None:
    plan = plan_of(90, 10, actions=(Action("kill instance"), Action("empty cache", at=60)))
    assert [(phase.name, phase.start, phase.end) for phase in phases(plan)] == [
        ("ramp", 0, 10),
        ("before kill instance", 10, 40),
        ("after kill instance", 40, 70),
        ("after empty cache", 70, 100),
    ]


def test_what_disturbs_a_service_is_the_last_action_else_the_end_of_the_highest_load() -> None:
    plan = plan_of(90, 10, actions=(Action("kill", at=30), Action("empty", at=60)))
    cause = disturbance(plan)
    assert cause is not None
    assert cause.before is not None
    assert (cause.what, cause.at, cause.end, cause.before.name) == ("empty", 70, 100, "before kill")
    assert disturbance(plan_of(90, 10)) is None
