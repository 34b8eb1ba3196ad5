"""Skewed choices: few items are requested often, most of them rarely (Zipf's law)."""

from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from random import Random
from typing import TypeVar

__all__ = ["METRICS", "fresh_key", "popular"]

Item = TypeVar("Item")

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


def popular(random: Random, items: Sequence[Item]) -> Item:
    """Choose one of the items, which are in order of popularity: the n-th has a weight of 1/n."""
    return random.choices(items, cum_weights=_weights(len(items)))[0]


@cache
def _weights(count: int) -> list[float]:
    return list(accumulate(1 / rank for rank in range(1, count + 1)))


def fresh_key(run_id: str, number: int, random: Random) -> str:
    """A key that is unique over users and runs, although the seed determines `random`."""
    return f"{run_id}-{number}-{random.getrandbits(48):x}"
