"""What each worker counted and held in each second, by name."""

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = [
    "BLOCKED",
    "DROPPED",
    "HELD",
    "HTTPX_REQUESTS",
    "IN_FLIGHT",
    "OUT_OF_DESCRIPTORS",
    "SCHEDULED",
    "SENT",
    "WHOLE_WORKER",
    "WorkerSecond",
]

# Counts.
SCHEDULED = "scheduled"
"""Operations whose intended start lay in the second."""
SENT = "sent"
"""Operations put on the wire in it."""
BLOCKED = "blocked"
"""Operations that were due and waited for a place that the service occupied."""
DROPPED = "dropped"
"""Arrivals refused beyond `max_in_flight`."""
OUT_OF_DESCRIPTORS = "out of descriptors"
"""Operations that found no socket or file to use."""
HTTPX_REQUESTS = "httpx requests"
"""Operations that went through httpx instead of the load kit's own client."""

# Gauges.
HELD = "held"
"""The smallest number of users held during the second (0 for open load)."""
IN_FLIGHT = "in flight"
"""Operations unanswered at its end."""

WHOLE_WORKER = ""
"""In the place of a population: what belongs to none, such as a driver's open connections."""


@dataclass(frozen=True, slots=True)
class WorkerSecond:
    """One worker's state over one second. A driver adds counts and gauges by naming them."""

    worker: int
    second: int
    """Whole seconds since the run's start instant."""
    cpu_seconds: float
    """Processor time the worker used in it."""
    longest_pause: float
    """Seconds of the longest garbage collection."""
    memory_bytes: int
    """Resident memory at its end."""
    clock_offset: float = 0.0
    """Seconds by which the worker's clock is ahead of the clock of the process that started it."""
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """By population, then by name: how often something happened in it. Names that are missing are 0."""
    gauges: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """By population, then by name: how much there was at its end. Names that are missing are 0."""

    def count(self, name: str, population: str | None = None) -> int:
        """How often something happened in one population, or in all."""
        if population is not None:
            return self.counts.get(population, {}).get(name, 0)
        return sum(named.get(name, 0) for named in self.counts.values())

    def gauge(self, name: str, population: str | None = None) -> float:
        """How much there was of something in one population, or in all together."""
        if population is not None:
            return self.gauges.get(population, {}).get(name, 0.0)
        return sum(named.get(name, 0.0) for named in self.gauges.values())
