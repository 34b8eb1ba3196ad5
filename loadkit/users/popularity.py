"""Choices by Zipf's law, like those of people: a few things are chosen often, and most rarely."""

from bisect import bisect
from functools import cache
from itertools import accumulate
from random import Random

from loadkit.recording.draws import Popularity

__all__ = ["place", "ranks_of"]


def place(choices: Random, count: int, exponent: float) -> int:
    """Draw the place of one of `count` things, 0 for the first. The n-th weight is 1/n^exponent."""
    weights = _weights(count, exponent)
    return bisect(weights, choices.random() * weights[-1], 0, count - 1)


@cache
def ranks_of(name: str, count: int, exponent: float) -> str:
    """The name of the series of their ranks (`Popularity.series`), computed once."""
    return Popularity(name, count, exponent).series


@cache
def _weights(count: int, exponent: float) -> list[float]:
    """The cumulative weights."""
    return list(accumulate(rank**-exponent for rank in range(1, count + 1)))
