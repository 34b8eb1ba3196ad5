"""Stalls: intervals in which operations wait and no answer arrives. A closed load hides them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from math import inf

from loadkit.recording.timing import REQUEST

__all__ = ["SHORTEST", "CompletionLog", "IdleInterval", "Stall", "common"]

SHORTEST = 0.05
"""Seconds. Shorter intervals without an answer are not recorded."""


@dataclass(frozen=True, slots=True)
class Stall:
    """An interval with operations in flight and without a completion.

    Moments are seconds since the run's start instant.
    """

    start: float
    end: float
    population: str = ""
    """The population whose operations waited; "" in runs from the time when a plan had one
    population."""
    timing: str = REQUEST.key
    """The key of the operations' timing."""

    @property
    def seconds(self) -> float:
        """Its duration in seconds."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class IdleInterval:
    """An interval in which one worker received no answer; seconds since the run's start.

    It concerns one timing of one population.
    """

    start: float
    waiting: float
    """When an operation of this worker began to wait for an answer; equal to `end` if none
    waited."""
    end: float
    population: str = ""
    timing: str = REQUEST.key

    def since(self, origin: float) -> "IdleInterval":
        """The same interval relative to `origin`, a moment in seconds."""
        return replace(self, start=self.start - origin, waiting=self.waiting - origin, end=self.end - origin)


@dataclass(slots=True)
class CompletionLog:
    """Records idle intervals between one worker's answers. Moments are on the caller's clock."""

    since: float
    """The moment of the last answer, or of the start of the log."""
    population: str = ""
    timing: str = REQUEST.key
    in_flight: int = 0
    """Operations that wait for an answer."""
    waiting: float = 0.0
    """The moment since which at least one operation has waited."""
    idle_intervals: list[IdleInterval] = field(default_factory=list)

    def sent(self, now: float) -> None:
        """Note that an operation begins to wait."""
        if not self.in_flight:
            self.waiting = now
        self.in_flight += 1

    def answered(self, now: float) -> None:
        """Note that an operation received its answer."""
        if now - self.since > SHORTEST:
            self.close(now)
        else:
            self.since = now
        self.in_flight -= 1

    def given_up(self, now: float) -> None:
        """Note that an operation ended without an answer.

        The worker stays idle. If nothing else waits, the rest of the idle time counts as not
        waiting.
        """
        if self.in_flight == 1:
            self.close(now)
        self.in_flight -= 1

    def close(self, now: float) -> None:
        """End the current idle interval, and begin the next."""
        if now - self.since > SHORTEST:
            waiting = max(self.waiting, self.since) if self.in_flight else now
            self.idle_intervals.append(IdleInterval(self.since, waiting, now, self.population, self.timing))
        self.since = now

    def end(self, now: float) -> None:
        """End the log: from now on, the worker is idle and no operation of it waits.

        This holds however long other workers continue.
        """
        if self.in_flight:
            self.close(now)
        self.idle_intervals.append(IdleInterval(self.since, inf, inf, self.population, self.timing))

    def drain(self) -> list[IdleInterval]:
        """Return the idle intervals since the last call."""
        idle_intervals, self.idle_intervals = self.idle_intervals, []
        return idle_intervals


def common(workers: Sequence[Iterable[IdleInterval]]) -> tuple[Stall, ...]:
    """The intervals in which operations of the workers waited and no worker received an answer.

    One waiting operation of any worker is enough. Each population and timing is handled separately.
    A worker without an interval for it does not count: it had no such operation, because
    `CompletionLog.end` gives each log an interval.
    """
    stalls: list[Stall] = []
    intervals = [list(each) for each in workers]
    kinds = dict.fromkeys((each.population, each.timing) for worker in intervals for each in worker)
    for population, timing in kinds:
        own = (
            [each for each in worker if (each.population, each.timing) == (population, timing)]
            for worker in intervals
        )
        rising = [sorted(each, key=lambda interval: interval.start) for each in own if each]
        shared = reduce(_overlaps, rising)
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
