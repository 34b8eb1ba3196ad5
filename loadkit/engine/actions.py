"""What happens to the service while the load is on: brought about in time, noted, and undone at the end."""

import threading
import time
from collections.abc import Sequence
from typing import Protocol, Self

from loadkit.errors import ConfigurationError, LoadkitError
from loadkit.recording.run import Event
from loadkit.workload.phases import action_at
from loadkit.workload.plan import Action, Plan

__all__ = ["ActionScheduler", "Actor"]


class Actor(Protocol):
    """Who can do something to the service."""

    def do(self, action: Action) -> None:
        """Bring an action about; return when it is.

        Raises:
            LoadkitError: it did not come about.

        """
        ...

    def undo(self, action: Action) -> None:
        """Make the service as it was before an action.

        Raises:
            LoadkitError: it is not.

        """
        ...


class ActionScheduler:
    """The actions of one run, each in a thread of its own, so that a slow one delays nothing.

    On leaving, those still to come are called off, and those that began are undone, the last one first.
    """

    def __init__(self, plan: Plan, actor: Actor | None, started: float) -> None:
        """Prepare them.

        Args:
            plan: whose actions.
            actor: brings them about.
            started: Unix seconds of the run's start instant.

        Raises:
            ConfigurationError: there are actions, and nobody who could bring them about.

        """
        if plan.actions and actor is None:
            raise ConfigurationError(f'nobody here can bring about "{plan.actions[0].name}"')
        hold = plan.workload.hold
        self.troubles: list[str] = []
        """What could not be undone, one sentence each."""
        self._actor = actor
        self._started = started
        self._is_over = threading.Event()
        self._lock = threading.Lock()
        self._begun: list[Action] = []
        self._noted: list[Event] = []
        due = [] if hold is None else [(action_at(hold, action.at), action) for action in plan.actions]
        self._threads = [threading.Thread(target=self._bring_about, args=each, daemon=True) for each in due]

    @property
    def events(self) -> Sequence[Event]:
        """What happened so far, in the order in which it began."""
        with self._lock:
            return tuple(sorted(self._noted, key=lambda event: event.at))

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()
        for action in reversed(self._begun):
            assert self._actor is not None
            try:
                self._actor.undo(action)
            except LoadkitError as error:
                self.troubles.append(f'"{action.name}" could not be undone: {error}')

    def _bring_about(self, at: float, action: Action) -> None:
        assert self._actor is not None
        if self._is_over.wait(max(0.0, self._started + at - time.time())):
            return
        began, failed = time.time(), ""
        with self._lock:
            self._begun.append(action)
        try:
            self._actor.do(action)
        except Exception as error:
            # Whatever keeps it from happening, the criteria that wait for it must know.
            failed = str(error) or type(error).__name__
        event = Event(began - self._started, action.name, time.time() - began, failed)
        with self._lock:
            self._noted.append(event)
