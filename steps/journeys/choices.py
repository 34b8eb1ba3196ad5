"""Skewed choices: few things are asked for often, most of them seldom (Zipf's law)."""

from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from random import Random
from typing import TypeVar

__all__ = ["METRICS", "fresh_key", "popular"]

Thing = TypeVar("Thing")

METRICS = (
    "page.view",
    "page.load_time",
    "api.latency",
    "click",
    "api.requests",
    "session.duration",
    "render.time",
    "search.query",
    "cpu.load",
    "memory.used",
    "error.client",
    "checkout.value",
    "signup",
    "crash",
)
"""Names of metrics, the most popular first."""


def popular(random: Random, things: Sequence[Thing]) -> Thing:
    """One of some things in the order of their popularity: the n-th with a weight of 1/n."""
    return random.choices(things, cum_weights=_weights(len(things)))[0]


@cache
def _weights(count: int) -> list[float]:
    return list(accumulate(1 / rank for rank in range(1, count + 1)))


def fresh_key(run_id: str, number: int, random: Random) -> str:
    """A text that no other user and no other run has, although the seed fixes what `random` gives."""
    return f"{run_id}-{number}-{random.getrandbits(48):x}"
