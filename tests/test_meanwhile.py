"""What happens while the load is on: in time, noted, undone."""

import threading
import time

import pytest

from loadkit.engine.actions import ActionScheduler
from loadkit.errors import ConfigurationError
from loadkit.workload.plan import Action
from tests.builders import plan_of

KILL, EMPTY = Action("kill", at=0.0), Action("empty", at=0.0)
FAR = Action("far", at=1000.0)


class Recorder:
    """Does nothing, and notes it; may fail, or take until it is told."""

    def __init__(self, fails: str = "", *, hangs: bool = False) -> None:
        self.fails, self.noted = fails, []
        self.within = 0.0
        self.done = threading.Event()
        self.go_on = threading.Event()
        if not hangs:
            self.go_on.set()

    def do(self, action: Action, within: float) -> None:
        self.noted.append(f"do {action.name}")
        self.within = within
        self.done.set()
        self.go_on.wait(60)
        if self.fails == "do":
            raise ConfigurationError("no such instance")

    def undo(self, action: Action) -> None:
        self.noted.append(f"undo {action.name}")
        if self.fails == "undo":
            raise ConfigurationError("it does not start")


def brought_about(actor: Recorder, *actions: Action) -> ActionScheduler:
    with ActionScheduler(plan_of(60, actions=actions), actor, time.time()) as scheduler:
        if any(action.at == 0 for action in actions):
            assert actor.done.wait(60)
    return scheduler


def test_an_action_is_done_noted_and_undone():
    actor = Recorder()
    scheduler = brought_about(actor, KILL)
    assert actor.noted == ["do kill", "undo kill"]
    assert [(each.what, each.failed) for each in scheduler.events] == [("kill", "")]
    assert scheduler.troubles == []


def test_an_event_says_how_many_instances_its_action_restarts():
    events = brought_about(Recorder(), Action("deploy", at=0.0, restarts=3), KILL).events
    assert {each.what: each.restarts for each in events} == {"deploy": 3, "kill": 0}


def test_a_step_of_the_wall_clock_changes_no_moment_of_an_action(monkeypatch):
    actor, now = Recorder(), time.time
    scheduler = ActionScheduler(plan_of(60, actions=(KILL, FAR)), actor, now())
    monkeypatch.setattr(time, "time", lambda: now() + 3600.0)
    with scheduler:
        assert actor.done.wait(60)
    assert [each.what for each in scheduler.events] == ["kill"], "the other one is due in 1000 s"
    assert scheduler.events[0].at < 600


def test_an_action_still_to_come_is_called_off():
    actor = Recorder()
    scheduler = brought_about(actor, KILL, FAR)
    assert actor.noted == ["do kill", "undo kill"]
    assert len(scheduler.events) == 1


def test_a_failure_is_noted_and_undone_all_the_same():
    actor = Recorder("do")
    scheduler = brought_about(actor, KILL)
    assert scheduler.events[0].failed == "no such instance"
    assert actor.noted[-1] == "undo kill"


def test_what_cannot_be_undone_is_told():
    assert brought_about(Recorder("undo"), KILL).troubles == ['"kill" could not be undone: it does not start']


def test_a_mistake_in_undoing_is_told_too_and_costs_no_run():
    class Mistaken(Recorder):
        def undo(self, action: Action) -> None:
            raise KeyError("restore")

    (trouble,) = brought_about(Mistaken(), KILL).troubles
    assert trouble.startswith("\"kill\" could not be undone: KeyError: 'restore' (")


def test_the_last_action_is_undone_first():
    actor = Recorder()
    with ActionScheduler(plan_of(60, actions=(KILL, EMPTY)), actor, time.time()) as scheduler:
        while len(scheduler.events) < 2:
            time.sleep(0.005)
    # Each action notes itself in a thread of its own, which may be late.
    begun = [action.name for action in scheduler._started_actions]
    assert sorted(actor.noted[:2]) == ["do empty", "do kill"]
    assert actor.noted[2:] == [f"undo {name}" for name in reversed(begun)]


def test_a_slow_action_delays_nothing_and_is_waited_for_at_the_end():
    actor = Recorder(hangs=True)
    with ActionScheduler(plan_of(60, actions=(KILL,)), actor, time.time()) as scheduler:
        assert actor.done.wait(60)
        assert scheduler.events == ()
        actor.go_on.set()
    assert [each.what for each in scheduler.events] == ["kill"]


def test_an_action_may_take_until_ten_minutes_after_the_load():
    plan, actor = plan_of(60, actions=(KILL,)), Recorder()
    with ActionScheduler(plan, actor, time.time() - 20.0):
        assert actor.done.wait(60)
    assert 0.0 <= plan.seconds + 600.0 - 20.0 - actor.within < 60.0


def test_a_plan_with_actions_needs_somebody_to_bring_them_about():
    with pytest.raises(ConfigurationError, match='no actor can execute the action "kill"'):
        ActionScheduler(plan_of(60, actions=(KILL,)), None, 0.0)
