"""An observer with fixed observations, for tests."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from loadkit.observers.observation import Observation

__all__ = ["FakeObserver"]


@dataclass(slots=True)
class FakeObserver:
    """Returns fixed observations, and records the time spans of its calls."""

    observations: dict[str, Observation] = field(default_factory=dict)
    spans: list[tuple[float, float]] = field(default_factory=list)
    """Start and end of each call of `observe`, in Unix seconds."""

    fails: Exception | None = None
    """The exception that `observe` raises, if any."""

    @property
    def names(self) -> Sequence[str]:
        """See `Observer`."""
        return tuple(self.observations)

    def observe(self, start: float, end: float) -> dict[str, Observation]:
        """See `Observer`."""
        self.spans.append((start, end))
        if self.fails is not None:
            raise self.fails
        return self.observations
