"""An observer that was told what to say, for tests."""

from dataclasses import dataclass, field

from loadkit.observers.observation import Observation

__all__ = ["FakeObserver"]


@dataclass(slots=True)
class FakeObserver:
    """Says what it was given, and keeps what it was asked."""

    observations: dict[str, Observation] = field(default_factory=dict)
    asked: list[tuple[float, float]] = field(default_factory=list)
    """Start and end of each question, in Unix seconds."""

    def observe(self, start: float, end: float) -> dict[str, Observation]:
        """See `Observer.observe`."""
        self.asked.append((start, end))
        return self.observations
