"""Times without any answer, although operations were waiting for one: what a closed load would hide."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from loadkit.recording.timing import REQUEST

__all__ = ["SHORTEST", "CompletionLog", "IdleInterval", "Stall", "common"]

SHORTEST = 0.05
"""Seconds: shorter times without an answer are not kept."""


@dataclass(frozen=True, slots=True)
class Stall:
    """A time with operations in flight and not one completion; seconds since the run's start instant."""

    start: float
    end: float
    population: str = ""
    """Whose operations waited; "" in runs that were kept when a plan had one population."""
    timing: str = REQUEST.key
    """The key of their timing."""

    @property
    def seconds(self) -> float:
        """How long it was."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class IdleInterval:
    """A time in which one worker got no answer of a timing for a population; seconds since the run's start."""

    start: float
    waiting: float
    """From when on an operation of this worker was waiting for one; `end` where none was."""
    end: float
    population: str = ""
    timing: str = REQUEST.key

    def since(self, origin: float) -> "IdleInterval":
        """The same, in seconds since another moment."""
        return replace(self, start=self.start - origin, waiting=self.waiting - origin, end=self.end - origin)


@dataclass(slots=True)
class CompletionLog:
    """One worker's answers, told as they come; keeps the quiet times between them. Moments on the caller's clock."""

    since: float
    """The last answer, or the beginning."""
    population: str = ""
    timing: str = REQUEST.key
    in_flight: int = 0
    """Operations that wait for an answer."""
    waiting: float = 0.0
    """From when on at least one has."""
    idle_intervals: list[IdleInterval] = field(default_factory=list)

    def sent(self, now: float) -> None:
        """An operation begins to wait."""
        if not self.in_flight:
            self.waiting = now
        self.in_flight += 1

    def answered(self, now: float) -> None:
        """An operation got its answer."""
        if now - self.since > SHORTEST:
            self.close(now)
        else:
            self.since = now
        self.in_flight -= 1

    def given_up(self, now: float) -> None:
        """An operation ends without an answer: the quiet goes on, and where nothing else waits, it does so idle."""
        if self.in_flight == 1:
            self.close(now)
        self.in_flight -= 1

    def close(self, now: float) -> None:
        """End the quiet time that is running, and begin the next."""
        if now - self.since > SHORTEST:
            waiting = max(self.waiting, self.since) if self.in_flight else now
            self.idle_intervals.append(IdleInterval(self.since, waiting, now, self.population, self.timing))
        self.since = now

    def drain(self) -> list[IdleInterval]:
        """The quiet times since the last call."""
        idle_intervals, self.idle_intervals = self.idle_intervals, []
        return idle_intervals


def common(workers: Sequence[Iterable[IdleInterval]]) -> tuple[Stall, ...]:
    """The times in which no worker got an answer although an operation of one of them was waiting.

    Each population and timing is looked at on its own.
    """
    stalls: list[Stall] = []
    intervals = [list(each) for each in workers]
    kinds = dict.fromkeys((each.population, each.timing) for worker in intervals for each in worker)
    for population, timing in kinds:
        shared: list[IdleInterval] = []
        for number, worker in enumerate(intervals):
            own = [each for each in worker if (each.population, each.timing) == (population, timing)]
            rising = sorted(own, key=lambda interval: interval.start)
            shared = _overlaps(shared, rising) if number else rising
        stalls += [Stall(max(each.start, each.waiting), each.end, population, timing) for each in shared]
    lasting = (stall for stall in stalls if stall.seconds > SHORTEST)
    return tuple(sorted(lasting, key=lambda stall: stall.start))


def _overlaps(ones: Sequence[IdleInterval], others: Sequence[IdleInterval]) -> list[IdleInterval]:
    overlaps: list[IdleInterval] = []
    one = other = 0
    while one < len(ones) and other < len(others):
        a, b = ones[one], others[other]
        start, end = max(a.start, b.start), min(a.end, b.end)
        if start < end:
            overlaps.append(IdleInterval(start, min(max(min(a.waiting, b.waiting), start), end), end))
        if a.end < b.end:
            one += 1
        else:
            other += 1
    return overlaps
