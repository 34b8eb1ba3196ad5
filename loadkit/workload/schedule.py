"""When users come and go, and when open arrivals start: pure functions of a workload and a seed.

Nothing here depends on how many workers share the load, so one worker and four put on the same schedule.
"""

import bisect
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from loadkit.workload.workload import MixEntry, Model, Stage, Workload

__all__ = ["Arrival", "Stay", "arrivals", "entry_of", "stays"]

_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True, slots=True)
class Stay:
    """The time during which a user is there; seconds since the run's start."""

    join: float
    leave: float


@dataclass(frozen=True, slots=True)
class Arrival:
    """One scheduled start of an open load."""

    number: int
    """0, 1, 2 … over the whole run, whatever worker serves it."""
    at: float
    """Seconds since the run's start."""
    entry: int
    """Which entry of the mix it follows."""


def stays(stages: Sequence[Stage]) -> list[tuple[Stay, ...]]:
    """When each user of a closed load is there: the stays of user 0, of user 1, …

    User k joins where the planned level rises through k + ½ and leaves where it falls through it: at every moment
    the users present are the level, rounded. Those who are there at the end leave at the end.
    """
    users = max((math.ceil(stage.level - 0.5) for stage in stages), default=0)
    return [tuple(_stays_above(stages, number + 0.5)) for number in range(users)]


def _stays_above(stages: Sequence[Stage], threshold: float) -> Iterator[Stay]:
    joined: float | None = None
    start = before = 0.0
    for stage in stages:
        rises = before < threshold <= stage.level
        falls = stage.level < threshold <= before
        if rises or falls:
            crossed = start + stage.seconds * (threshold - before) / (stage.level - before)
            if rises:
                joined = crossed
            else:
                # The level was above before, so somebody joined.
                yield Stay(joined or 0.0, crossed)
                joined = None
        start, before = start + stage.seconds, stage.level
    if joined is not None and start > joined:
        yield Stay(joined, start)


def entry_of(number: int, mix: Sequence[MixEntry]) -> int:
    """Which entry of the mix user `number` follows.

    The golden-ratio (Kronecker) sequence: any first n users have the shares of the mix to within a user or two, and so
    has each worker's every-nth part of them (a plain rotation would give one worker all users of one kind).
    """
    limits = list(accumulate(entry.share for entry in mix))
    place = ((number + 0.5) * _GOLDEN) % 1.0 * limits[-1]
    return min(bisect.bisect_right(limits, place), len(mix) - 1)


def arrivals(workload: Workload, seed: int | str) -> Iterator[Arrival]:
    """The starts of an open load, rising in time: a Poisson process at the planned rate, or evenly spaced.

    Made by time change (Çınlar 1975): arrivals of a process of rate one, taken back through the integral of the rate.
    Each start draws its entry of the mix at random by the shares.
    """
    assert workload.model is not Model.CLOSED, "closed loads have users, not arrivals"
    generator = random.Random(f"{seed}:arrivals")
    limits = list(accumulate(entry.share for entry in workload.mix))
    number, due = 0, 0.0
    start = passed = before = 0.0
    due = generator.expovariate(1.0) if workload.is_poisson else 0.5
    for stage in workload.stages:
        expected = stage.seconds * (before + stage.level) / 2
        while due < passed + expected:
            at = start + _moment(due - passed, before, stage)
            entry = bisect.bisect_right(limits, generator.random() * limits[-1])
            yield Arrival(number, at, min(entry, len(limits) - 1))
            number += 1
            due += generator.expovariate(1.0) if workload.is_poisson else 1.0
        start, passed, before = start + stage.seconds, passed + expected, stage.level


def _moment(count: float, before: float, stage: Stage) -> float:
    """Seconds into a stage at which the rate's integral a·t + s·t²/2 is `count`; a its first rate, s its slope."""
    slope = (stage.level - before) / stage.seconds
    root = math.sqrt(max(before * before + 2.0 * slope * count, 0.0))
    return min(2.0 * count / (before + root), stage.seconds)
