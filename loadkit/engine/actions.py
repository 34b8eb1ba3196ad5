"""Actions on the service during the load: executed on time, recorded, and undone at the end."""

import threading
from collections.abc import Sequence
from typing import Protocol, Self

from loadkit.clock import MonotonicClock
from loadkit.errors import ConfigurationError, one_line
from loadkit.recording.run import Event
from loadkit.workload.phases import action_at
from loadkit.workload.plan import Action, Plan

__all__ = ["ActionScheduler", "Actor"]

_LONGEST_WAIT = 600.0
"""Seconds after the planned end of the load that an action may still take."""


class Actor(Protocol):
    """Executes actions on the service."""

    def do(self, action: Action, within: float) -> None:
        """Execute an action; return when it is done.

        Args:
            action: the action.
            within: seconds after which it must stop. Otherwise the results of the run would wait
                for it, and it would disturb the next run.

        Raises:
            LoadkitError: the action failed, or did not end in time.

        """
        ...

    def undo(self, action: Action) -> None:
        """Restore the service to its state before an action.

        Raises:
            LoadkitError: it could not be restored.

        """
        ...


class ActionScheduler:
    """Schedules the actions of one run. Each has its own thread, so a slow action delays no other.

    On exit, pending actions are cancelled, and started ones are undone in reverse order.
    """

    def __init__(self, plan: Plan, actor: Actor | None, started: float) -> None:
        """Prepare the threads.

        Args:
            plan: the plan with the actions.
            actor: executes them.
            started: the run's start instant in Unix seconds.

        Raises:
            ConfigurationError: the plan has actions, but there is no actor.

        """
        if plan.actions and actor is None:
            raise ConfigurationError(f'no actor can execute the action "{plan.actions[0].name}" here')
        hold = plan.workload.hold
        self.troubles: list[str] = []
        """Actions that could not be undone, one sentence each."""
        self._actor = actor
        self._started = started
        self._last = plan.seconds + _LONGEST_WAIT
        self._clock = MonotonicClock()
        self._is_over = threading.Event()
        self._lock = threading.Lock()
        self._started_actions: list[Action] = []
        self._events: list[Event] = []
        due = [] if hold is None else [(action_at(hold, action.at), action) for action in plan.actions]
        self._threads = [threading.Thread(target=self._execute, args=each, daemon=True) for each in due]

    @property
    def events(self) -> Sequence[Event]:
        """The events so far, in order of their start."""
        with self._lock:
            return tuple(sorted(self._events, key=lambda event: event.at))

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()
        for action in reversed(self._started_actions):
            assert self._actor is not None
            try:
                self._actor.undo(action)
            except Exception as error:
                # The measurements are valid, and the next run checks whether the environment is
                # ready.
                self.troubles.append(f'"{action.name}" could not be undone: {one_line(error)}')

    def _execute(self, at: float, action: Action) -> None:
        assert self._actor is not None
        if self._is_over.wait(max(0.0, self._started + at - self._clock.unix_now())):
            return
        began, failed = self._clock.unix_now(), ""
        with self._lock:
            self._started_actions.append(action)
        try:
            self._actor.do(action, self._last - (began - self._started))
        except Exception as error:
            # Any error is recorded, because criteria depend on the action.
            failed = one_line(error)
        event = Event(
            began - self._started, action.name, self._clock.unix_now() - began, failed, action.restarts
        )
        with self._lock:
            self._events.append(event)
