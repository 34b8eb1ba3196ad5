"""Examples of operations: the first of each kind of failure, and the slowest of each label.

A rate says that something is wrong. An example shows what: who asked, what was sent, and what came
back. Their number is limited, so memory does not grow with the load.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from loadkit.recording.sample import OK, Sample

__all__ = ["MOST", "Example", "ExampleLog", "Exchange", "select"]

MOST = 5
"""Examples of each kind of failure of a label, and of the slowest operations of a label."""
_MOST_KINDS = 200
"""Pairs of label and kind of failure of which one worker keeps examples."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """What was sent and what came back, as text in which secrets are masked."""

    request: str = ""
    answer: str = ""
    instance: str = ""
    """The instance that answered, if its answer tells."""
    trace: str = ""
    """The trace id that was sent, 32 hexadecimal digits; "" for none."""


@dataclass(frozen=True, slots=True)
class Example:
    """One operation to look at."""

    at: float
    """Seconds since the run's start instant at which it was to start, by the plan."""
    seconds: float
    """From that moment until the answer, or until it was given up."""
    label: str
    outcome: str
    """`OK`, or the kind of failure."""
    population: str
    user: int
    tenant: str = ""
    region: str = ""
    exchange: Exchange = Exchange()


class ExampleLog:
    """One worker's examples of one population."""

    __slots__ = ("_failures", "_new", "_slowest", "slow_from")

    def __init__(self) -> None:
        self.slow_from: dict[str, float] = {}
        """By label: the seconds above which an operation is among the slowest. The hot path reads it."""
        self._failures: Counter[tuple[str, str]] = Counter()
        self._slowest: dict[str, list[float]] = {}
        self._new: list[Example] = []

    def wants(self, sample: Sample) -> bool:
        """Note an operation; is it to become an example?"""
        seconds, label, outcome = sample.end - sample.intended, sample.label, sample.outcome
        is_slow = seconds > self.slow_from.get(label, 0.0) and self._is_slow(label, seconds)
        if outcome == OK:
            return is_slow
        kind = label, outcome
        if len(self._failures) >= _MOST_KINDS and kind not in self._failures:
            return is_slow
        self._failures[kind] += 1
        return is_slow or self._failures[kind] <= MOST

    def _is_slow(self, label: str, seconds: float) -> bool:
        slowest = self._slowest.setdefault(label, [])
        if not slowest and len(self._slowest) > _MOST_KINDS:
            del self._slowest[label]
            self.slow_from[label] = float("inf")
            return False
        slowest.append(seconds)
        slowest.sort(reverse=True)
        del slowest[MOST:]
        if len(slowest) == MOST:
            self.slow_from[label] = slowest[-1]
        return True

    def add(self, example: Example) -> None:
        """Keep an example for the next report."""
        self._new.append(example)

    def drain(self) -> tuple[Example, ...]:
        """The examples since the previous call."""
        new, self._new = tuple(self._new), []
        return new


def select(examples: Iterable[Example]) -> tuple[Example, ...]:
    """Of the examples of all workers, the first failures of each kind and the slowest of each label.

    They are in the order of time.
    """
    found = sorted(examples, key=lambda example: example.at)
    failures: dict[tuple[str, str, str], list[Example]] = defaultdict(list)
    by_label: dict[tuple[str, str], list[Example]] = defaultdict(list)
    for example in found:
        by_label[example.population, example.label].append(example)
        if example.outcome != OK:
            failures[example.population, example.label, example.outcome].append(example)
    kept = {id(example) for kind in failures.values() for example in kind[:MOST]}
    for same in by_label.values():
        same.sort(key=lambda example: example.seconds, reverse=True)
        kept.update(id(example) for example in same[:MOST])
    return tuple(example for example in found if id(example) in kept)
