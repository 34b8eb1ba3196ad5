"""Times without any answer, although operations were waiting for one: what a closed load would hide."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from loadkit.recording.slices import Gap

__all__ = ["SHORTEST", "Quiet", "QuietLog", "common"]

SHORTEST = 0.05
"""Seconds: shorter times without an answer are not kept."""


@dataclass(frozen=True, slots=True)
class Quiet:
    """A time in which one worker got no answer; seconds since the run's start."""

    start: float
    waiting: float
    """From when on an operation of this worker was waiting for one; `end` where none was."""
    end: float


@dataclass(slots=True)
class QuietLog:
    """One worker's answers, told as they come; keeps the quiet times between them. Moments on the caller's clock."""

    since: float
    """The last answer, or the beginning."""
    in_flight: int = 0
    """Operations that wait for an answer."""
    waiting: float = 0.0
    """From when on at least one has."""
    quiets: list[Quiet] = field(default_factory=list)

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
            self.quiets.append(Quiet(self.since, waiting, now))
        self.since = now

    def taken(self) -> list[Quiet]:
        """The quiet times since the last call."""
        quiets, self.quiets = self.quiets, []
        return quiets


def common(workers: Sequence[Iterable[Quiet]]) -> tuple[Gap, ...]:
    """The times in which no worker got an answer although an operation of one of them was waiting."""
    shared: list[Quiet] = []
    for number, quiets in enumerate(workers):
        rising = sorted(quiets, key=lambda quiet: quiet.start)
        shared = _overlaps(shared, rising) if number else rising
    gaps = (Gap(max(quiet.start, quiet.waiting), quiet.end) for quiet in shared)
    return tuple(gap for gap in gaps if gap.seconds > SHORTEST)


def _overlaps(ones: Sequence[Quiet], others: Sequence[Quiet]) -> list[Quiet]:
    overlaps: list[Quiet] = []
    one = other = 0
    while one < len(ones) and other < len(others):
        a, b = ones[one], others[other]
        start, end = max(a.start, b.start), min(a.end, b.end)
        if start < end:
            overlaps.append(Quiet(start, min(max(min(a.waiting, b.waiting), start), end), end))
        if a.end < b.end:
            one += 1
        else:
            other += 1
    return overlaps
