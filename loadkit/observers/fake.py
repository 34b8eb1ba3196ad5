"""An observer that was told what to say, for tests."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from loadkit.observers.observation import Observation

__all__ = ["FakeObserver"]


@dataclass(slots=True)
class FakeObserver:
    """Says what it was given, and keeps what it was asked."""

    observations: dict[str, Observation] = field(default_factory=dict)
    asked: list[tuple[float, float]] = field(default_factory=list)
    """Start and end of each question, in Unix seconds."""

    fails: Exception | None = None
    """What is raised in the place of an answer."""

    @property
    def names(self) -> Sequence[str]:
        """See `Observer`."""
        return tuple(self.observations)

    def observe(self, start: float, end: float) -> dict[str, Observation]:
        """See `Observer`."""
        self.asked.append((start, end))
        if self.fails is not None:
            raise self.fails
        return self.observations
