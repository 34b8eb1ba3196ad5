"""Examples of operations: the first of each kind of failure, and the slowest of each label and timing.

A rate says that something is wrong. An example shows what: who asked, what was sent, and what came
back. Their number is limited, so memory does not grow with the load.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from loadkit.recording.sample import OK, Sample
from loadkit.recording.timing import REQUEST, Timing

__all__ = ["MOST", "Example", "ExampleLog", "Exchange", "Told", "select"]

MOST = 5
"""Examples of each kind of failure of a label, and of the slowest of a label, for each timing."""
_MOST_KINDS = 200
"""Labels of timings, with kind of failure or without, of which one worker keeps examples."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """What was sent and what came back, as text in which secrets are masked."""

    request: str = ""
    answer: str = ""
    instance: str = ""
    """The instance that answered, if its answer tells."""
    trace: str = ""
    """The trace id that was sent, 32 hexadecimal digits; "" for none."""


_Kind = tuple[str, str, str]
"""Timing, label and outcome of a failure."""
Told = tuple[Callable[..., Exchange], *tuple[Any, ...]]
"""A function that puts an exchange into words, and its arguments: few operations need the words."""


@dataclass(frozen=True, slots=True)
class Example:
    """One operation to look at."""

    at: float
    """Seconds since the run's start instant at which it was to start, by the plan; of a message when
    it was created."""
    seconds: float
    """From that moment until the answer, or until it was given up."""
    label: str
    outcome: str
    """`OK`, or the kind of failure."""
    population: str
    user: int | None
    """None for an arrival that no user served."""
    tenant: str = ""
    region: str = ""
    exchange: Exchange = Exchange()
    timing: str = REQUEST.key
    """The kind of time that `seconds` is, a key of `loadkit.recording.timing`."""
    service: float | None = None
    """The seconds since it was sent; None where that is not known."""


class ExampleLog:
    """One worker's examples of one population."""

    __slots__ = ("_failures", "_new", "_slow_from", "_slowest", "_unserved")

    def __init__(self) -> None:
        self._slow_from: dict[str, dict[str, float]] = {}
        self._failures: Counter[_Kind] = Counter()
        self._unserved: Counter[_Kind] = Counter()
        """Counted apart: an overload drops arrivals of all labels, and must leave room for other failures."""
        self._slowest: dict[tuple[str, str], list[float]] = {}
        self._new: list[Example] = []

    def slow_from(self, timing: Timing) -> dict[str, float]:
        """By label: the seconds above which an operation is among the slowest of a timing.

        The hot path keeps the result, and reads it for each operation.
        """
        return self._slow_from.setdefault(timing.key, {})

    def wants(self, sample: Sample, timing: Timing = REQUEST) -> bool:
        """Note an operation; is it to become an example?"""
        seconds, label, outcome = sample.end - sample.intended, sample.label, sample.outcome
        slow_from = self.slow_from(timing)
        is_slow = seconds > slow_from.get(label, 0.0) and self._is_slow(timing.key, label, seconds, slow_from)
        if outcome == OK:
            return is_slow
        return _is_one_of_the_first(self._failures, (timing.key, label, outcome)) or is_slow

    def wants_unserved(self, sample: Sample, timing: Timing = REQUEST) -> bool:
        """The same of an arrival that no user served. It is none of the slowest, which show what was asked."""
        return _is_one_of_the_first(self._unserved, (timing.key, sample.label, sample.outcome))

    def _is_slow(self, timing: str, label: str, seconds: float, slow_from: dict[str, float]) -> bool:
        slowest = self._slowest.setdefault((timing, label), [])
        if not slowest and len(self._slowest) > _MOST_KINDS:
            del self._slowest[timing, label]
            slow_from[label] = float("inf")
            return False
        slowest.append(seconds)
        slowest.sort(reverse=True)
        del slowest[MOST:]
        if len(slowest) == MOST:
            slow_from[label] = slowest[-1]
        return True

    def add(self, example: Example) -> None:
        """Keep an example for the next report."""
        self._new.append(example)

    def drain(self) -> tuple[Example, ...]:
        """The examples since the previous call."""
        new, self._new = tuple(self._new), []
        return new


def _is_one_of_the_first(counted: Counter[_Kind], kind: _Kind) -> bool:
    """Count one of a kind; is it one of the first `MOST`?"""
    if len(counted) >= _MOST_KINDS and kind not in counted:
        return False
    counted[kind] += 1
    return counted[kind] <= MOST


def select(examples: Iterable[Example]) -> tuple[Example, ...]:
    """Of the examples of all workers, the first failures of each kind and the slowest of each label.

    Both are kept for each timing. They are in the order of time.
    """
    found = sorted(examples, key=lambda example: example.at)
    failures: dict[tuple[str, str, str, str], list[Example]] = defaultdict(list)
    by_label: dict[tuple[str, str, str], list[Example]] = defaultdict(list)
    for example in found:
        if example.user is not None:
            by_label[example.timing, example.population, example.label].append(example)
        if example.outcome != OK:
            kind = example.timing, example.population, example.label, example.outcome
            failures[kind].append(example)
    kept = {id(example) for kind in failures.values() for example in kind[:MOST]}
    for same in by_label.values():
        same.sort(key=lambda example: example.seconds, reverse=True)
        kept.update(id(example) for example in same[:MOST])
    return tuple(example for example in found if id(example) in kept)
