"""Choices by Zipf's law, as people choose: few things are chosen often, and most of them seldom."""

from bisect import bisect
from functools import cache
from itertools import accumulate
from random import Random

from loadkit.recording.draws import Popularity

__all__ = ["place", "ranks_of"]


def place(choices: Random, count: int, exponent: float) -> int:
    """The place of one of `count` things, 0 for the first: the n-th has a weight of 1/n^exponent."""
    weights = _weights(count, exponent)
    return bisect(weights, choices.random() * weights[-1], 0, count - 1)


@cache
def ranks_of(name: str, count: int, exponent: float) -> str:
    """The series of the ranks of such things (`Popularity.series`), made once."""
    return Popularity(name, count, exponent).series


@cache
def _weights(count: int, exponent: float) -> list[float]:
    """The cumulative weights."""
    return list(accumulate(rank**-exponent for rank in range(1, count + 1)))
