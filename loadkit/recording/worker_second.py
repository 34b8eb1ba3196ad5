"""The counts and gauges of each worker in each second, by name."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

__all__ = [
    "ALL_PRESENT",
    "BLOCKED",
    "DROPPED",
    "HELD",
    "HTTPX_REQUESTS",
    "IN_FLIGHT",
    "JOURNEYS",
    "JOURNEY_ERROR",
    "MET_ERROR",
    "OUT_OF_DESCRIPTORS",
    "SCHEDULED",
    "SENT",
    "USERS",
    "WHOLE_WORKER",
    "WITH_ERRORS",
    "WorkerSecond",
    "are_rare",
    "journey_errors",
]

# Counts.
SCHEDULED = "scheduled"
"""Operations whose intended start was in the second."""
SENT = "sent"
"""Operations sent in the second."""
BLOCKED = "blocked"
"""Operations that were due but had to wait, because all users were waiting for the service."""
ALL_PRESENT = "all users present"
"""The number of users that may be present. All of them were when an arrival was dropped, and most of
them were not waiting for the service, but thinking."""
ALL_IN_USE = "all in use: "
"""The start of the names that count the accounts of an open load, if all of them were in use while
an arrival waited. The rest is the kind of accounts in words."""
DROPPED = "dropped"
"""Arrivals dropped because `max_in_flight` was reached."""
OUT_OF_DESCRIPTORS = "out of descriptors"
"""Operations that failed because no socket or file descriptor was available."""
HTTPX_REQUESTS = "httpx requests"
"""Operations sent through httpx instead of the load kit's own client."""
JOURNEY_ERROR = "journey error: "
"""The start of the names that count errors in the code of journeys. The rest is a sentence."""
MET_ERROR = "users with journey error: "
"""The start of the names that count users that met the error for the first time."""
WITH_ERRORS = "users with journey errors"
"""Users that met an error in the code of journeys for the first time."""
USERS = "users begun"
"""Users that began to prepare, or that began their first journey without preparation."""
JOURNEYS = "journeys begun"

# Gauges.
HELD = "held"
"""The smallest number of users held during the second (0 for open load)."""
IN_FLIGHT = "in flight"
"""Operations without an answer at the end of the second."""

_RARE = 0.01
"""Errors of journeys are rare up to this share of the users and up to this share of the
journeys."""

WHOLE_WORKER = ""
"""The population of gauges that belong to no population, such as a driver's open connections."""


@dataclass(frozen=True, slots=True)
class WorkerSecond:
    """One worker's state over one second. A driver may add further named counts and gauges."""

    worker: int
    second: int
    """Whole seconds since the run's start instant."""
    cpu_seconds: float
    """Processor time that the worker used in the second, in seconds."""
    longest_pause: float
    """Duration of the longest garbage collection, in seconds."""
    memory_bytes: int
    """Resident memory at the end of the second."""
    clock_offset: float = 0.0
    """Seconds by which the worker's clock is ahead of the clock of the process that started it."""
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """By population, then by name: how often something happened. Missing names are 0."""
    gauges: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """By population, then by name: the value at the end of the second. Missing names are 0."""

    def count_of_all(self, start: str) -> int:
        """The sum of the counts whose names begin with a text, of all populations."""
        counts = (row for named in self.counts.values() for row in named.items())
        return sum(number for name, number in counts if name.startswith(start))

    def count(self, name: str, population: str | None = None) -> int:
        """A count of one population, or the sum over all populations."""
        if population is not None:
            return self.counts.get(population, {}).get(name, 0)
        return sum(named.get(name, 0) for named in self.counts.values())

    def gauge(self, name: str, population: str | None = None) -> float:
        """A gauge of one population, or the sum over all populations."""
        if population is not None:
            return self.gauges.get(population, {}).get(name, 0.0)
        return sum(named.get(name, 0.0) for named in self.gauges.values())


def journey_errors(worker_seconds: Iterable[WorkerSecond]) -> str:
    """A sentence about errors in the code of journeys; "" if there were none.

    It names the most common error, how many users met it, how often it occurred, and how many other
    errors there were.
    """
    counts = sum(_by_population(worker_seconds).values(), Counter[str]())
    numbers = Counter(
        {
            name.removeprefix(JOURNEY_ERROR): number
            for name, number in counts.items()
            if name.startswith(JOURNEY_ERROR)
        }
    )
    if not numbers:
        return ""
    ((error, times),) = numbers.most_common(1)
    others = len(numbers) - 1
    more = f"; {others} other error{'s' if others > 1 else ''} in journeys too" if others else ""
    met = f", met by {counts[MET_ERROR + error]:,} of {counts[USERS]:,} users" if counts[USERS] else ""
    return f"{error}{met}, {f'{times:,} times' if times > 1 else 'once'}{more}"


def are_rare(worker_seconds: Iterable[WorkerSecond]) -> bool:
    """Are errors in the code of journeys too rare to make a verdict invalid?

    They are rare if, in each population, they ended at most 1 % of the journeys. In addition, at
    most 1 % of the users, or a single user, may have met one. Errors are not rare in a run that was
    stored without these numbers.
    """
    for counts in _by_population(worker_seconds).values():
        errors = sum(number for name, number in counts.items() if name.startswith(JOURNEY_ERROR))
        if errors and not (
            errors <= _RARE * counts[JOURNEYS] and counts[WITH_ERRORS] <= max(_RARE * counts[USERS], 1)
        ):
            return False
    return True


def _by_population(worker_seconds: Iterable[WorkerSecond]) -> dict[str, Counter[str]]:
    """The counts of a run's users, journeys and their errors, by population and name."""
    found: dict[str, Counter[str]] = {}
    for each in worker_seconds:
        for population, named in each.counts.items():
            counts = found.setdefault(population, Counter())
            for name, number in named.items():
                if name in _OF_ALL or name.startswith(_OF_ERRORS):
                    counts[name] += number
    return found


_OF_ALL = frozenset({USERS, JOURNEYS, WITH_ERRORS})
_OF_ERRORS = (JOURNEY_ERROR, MET_ERROR)
