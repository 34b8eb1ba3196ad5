"""The seam to whatever watches the service."""

from typing import Protocol

from loadkit.observers.observation import Observation

__all__ = ["Observer"]


class Observer(Protocol):
    """A source of raw scrapes, set up with what it will be asked for."""

    def observe(self, start: float, end: float) -> dict[str, Observation]:
        """All named measures and free queries as they were from `start` to `end` (Unix seconds), by name or query.

        What cannot be told is said in `Observation.problem`; this never raises.
        """
        ...
