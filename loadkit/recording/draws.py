"""Values drawn at random, such as think times: the names of their series, and how to read them.

All draws are counted in second 0 of a table, so a long run takes no more memory than a short one.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

__all__ = ["PREFIX", "SESSIONS", "THINK_TIMES", "Popularity", "sessions_of", "think_times_of"]

PREFIX = "drawn:"
THINK_TIMES, SESSIONS = f"{PREFIX}think times:", f"{PREFIX}sessions:"
_POPULARITY = f"{PREFIX}popularity:"


def think_times_of(population: str) -> str:
    """The series of a population's think times, in seconds."""
    return f"{THINK_TIMES}{population}"


def sessions_of(population: str) -> str:
    """The series of the planned durations of the sessions of a population's users, in seconds."""
    return f"{SESSIONS}{population}"


@dataclass(frozen=True, slots=True)
class Popularity:
    """Items that are chosen by Zipf's law: the n-th has a weight of 1/n to the power of `exponent`.

    The draws are ranks: 1, 2, 3 …
    """

    name: str
    """The name of the items, in the plural: "metrics"."""
    count: int
    """Number of items to choose from."""
    exponent: float = 1.0

    @property
    def series(self) -> str:
        """The name of the series of the ranks."""
        return f"{_POPULARITY}{self.name}:{self.count}:{self.exponent:g}"

    @classmethod
    def read(cls, series: Iterable[str]) -> list[Self]:
        """Find the popularities whose ranks are in a table, from the names of its series."""
        found = []
        for each in series:
            if each.startswith(_POPULARITY):
                name, count, exponent = each.removeprefix(_POPULARITY).rsplit(":", 2)
                found.append(cls(name, int(count), float(exponent)))
        return found
