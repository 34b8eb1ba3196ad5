"""The counts and gauges of each worker in each second, by name."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

__all__ = [
    "BLOCKED",
    "DROPPED",
    "HELD",
    "HTTPX_REQUESTS",
    "IN_FLIGHT",
    "JOURNEY_ERROR",
    "OUT_OF_DESCRIPTORS",
    "SCHEDULED",
    "SENT",
    "WHOLE_WORKER",
    "WorkerSecond",
    "journey_errors",
]

# Counts.
SCHEDULED = "scheduled"
"""Operations whose intended start was in the second."""
SENT = "sent"
"""Operations sent in the second."""
BLOCKED = "blocked"
"""Operations that were due but had to wait, because all users were waiting for the service."""
DROPPED = "dropped"
"""Arrivals dropped because `max_in_flight` was reached."""
OUT_OF_DESCRIPTORS = "out of descriptors"
"""Operations that failed because no socket or file descriptor was available."""
HTTPX_REQUESTS = "httpx requests"
"""Operations sent through httpx instead of the load kit's own client."""
JOURNEY_ERROR = "journey error: "
"""The start of the names that count errors in the code of journeys; the rest is a sentence."""

# Gauges.
HELD = "held"
"""The smallest number of users held during the second (0 for open load)."""
IN_FLIGHT = "in flight"
"""Operations unanswered at the end of the second."""

WHOLE_WORKER = ""
"""Used as the population of gauges that belong to none, such as a driver's open connections."""


@dataclass(frozen=True, slots=True)
class WorkerSecond:
    """One worker's state over one second. A driver may add further named counts and gauges."""

    worker: int
    second: int
    """Whole seconds since the run's start instant."""
    cpu_seconds: float
    """Processor time that the worker used in the second."""
    longest_pause: float
    """Duration of the longest garbage collection, in seconds."""
    memory_bytes: int
    """Resident memory at the end of the second."""
    clock_offset: float = 0.0
    """Seconds by which the worker's clock is ahead of that of the process that started it."""
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """By population, then by name: how often something happened. Missing names are 0."""
    gauges: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """By population, then by name: the value at the end of the second. Missing names are 0."""

    def count(self, name: str, population: str | None = None) -> int:
        """A count of one population, or the sum over all."""
        if population is not None:
            return self.counts.get(population, {}).get(name, 0)
        return sum(named.get(name, 0) for named in self.counts.values())

    def gauge(self, name: str, population: str | None = None) -> float:
        """A gauge of one population, or the sum over all."""
        if population is not None:
            return self.gauges.get(population, {}).get(name, 0.0)
        return sum(named.get(name, 0.0) for named in self.gauges.values())


def journey_errors(worker_seconds: Iterable[WorkerSecond]) -> str:
    """A sentence about errors in the code of journeys; "" if there were none.

    It names the commonest error, how often it occurred, and how many others there were.
    """
    numbers: Counter[str] = Counter()
    for each in worker_seconds:
        for named in each.counts.values():
            for name, number in named.items():
                if name.startswith(JOURNEY_ERROR):
                    numbers[name.removeprefix(JOURNEY_ERROR)] += number
    if not numbers:
        return ""
    ((error, times),) = numbers.most_common(1)
    others = len(numbers) - 1
    more = f"; {others} other error{'s' if others > 1 else ''} in journeys too" if others else ""
    return f"{error}, {f'{times:,} times' if times > 1 else 'once'}{more}"
