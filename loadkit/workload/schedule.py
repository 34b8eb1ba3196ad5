"""When users join and leave, and when open arrivals start: pure functions of a workload and a seed.

The schedule does not depend on the number of workers that share the load.
"""

import bisect
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from loadkit.workload.workload import MixEntry, Model, Stage, Workload

__all__ = ["ROUNDING", "Arrival", "Stay", "arrivals", "entry_of", "fewest_present", "stays"]

_GOLDEN = (math.sqrt(5) - 1) / 2
ROUNDING = 1e-6
"""Seconds. Rounding makes two computations of the same moment differ by less than this."""


@dataclass(frozen=True, slots=True)
class Stay:
    """A time during which a user is present; seconds since the run's start."""

    join: float
    leave: float


@dataclass(frozen=True, slots=True)
class Arrival:
    """One scheduled start of an open load."""

    number: int
    """0, 1, 2 … over the whole run, whichever worker executes it."""
    at: float
    """Seconds since the run's start."""
    entry: int
    """The index of its entry of the mix."""


def stays(stages: Sequence[Stage]) -> list[tuple[Stay, ...]]:
    """When each user of a closed load is present: the stays of user 0, of user 1, …

    User k joins where the planned level rises through k + ½ and leaves where it falls through it.
    The number of users present is therefore always the rounded level. Users who are present at the
    end leave at the end.
    """
    users = max((math.ceil(stage.level - 0.5) for stage in stages), default=0)
    return [tuple(_stays_above(stages, number + 0.5)) for number in range(users)]


def fewest_present(stages: Sequence[Stage], start: int, end: int) -> list[int]:
    """The smallest number of users of a closed load in each second from `start` to before `end`.

    Only whole users are present: eight at a level of 8.4. The user who joins last leaves first. So
    the smallest number in a second is the number of users who are present throughout it.
    """
    changes = [0] * (end - start + 1)
    for present in stays(stages):
        for stay in present:
            first = max(math.ceil(stay.join - ROUNDING), start)
            after = min(math.floor(stay.leave + ROUNDING), end)
            if first < after:
                changes[first - start] += 1
                changes[after - start] -= 1
    return list(accumulate(changes[:-1]))


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
                # The level was above the threshold before, so the user had joined.
                yield Stay(joined or 0.0, crossed)
                joined = None
        start, before = start + stage.seconds, stage.level
    if joined is not None and start > joined:
        yield Stay(joined, start)


def entry_of(number: int, mix: Sequence[MixEntry]) -> int:
    """The index of the entry of the mix that user `number` follows.

    This is the golden-ratio (Kronecker) sequence. The first n users have the shares of the mix to
    within one or two users, for every n. The same holds for each worker's part, which is every
    k-th user. A plain rotation would give one worker all users of one kind.
    """
    limits = list(accumulate(entry.share for entry in mix))
    place = ((number + 0.5) * _GOLDEN) % 1.0 * limits[-1]
    return min(bisect.bisect_right(limits, place), len(mix) - 1)


def arrivals(workload: Workload, seed: int | str) -> Iterator[Arrival]:
    """The starts of an open load in order: a Poisson process at the planned rate, or evenly spaced.

    The method is a time change (Çınlar 1975). It maps the arrivals of a process of rate one through
    the inverse of the integral of the rate. Each start draws its entry of the mix by the shares.
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
    """Seconds t into a stage where a·t + s·t²/2 = `count`; a is the initial rate, s the slope."""
    slope = (stage.level - before) / stage.seconds
    root = math.sqrt(max(before * before + 2.0 * slope * count, 0.0))
    return min(2.0 * count / (before + root), stage.seconds)
