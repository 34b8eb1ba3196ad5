"""Examples of operations: the first failures of each kind, and the slowest operations.

Both are kept for each label and timing. An error rate shows that something is wrong. An example
shows what: who sent the request, what was sent, and what came back. The number of examples is
limited, so memory does not grow with the load.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from loadkit.recording.sample import OK, Sample
from loadkit.recording.timing import REQUEST, Timing

__all__ = ["MOST", "DeferredExchange", "Example", "ExampleLog", "Exchange", "select"]

MOST = 5
"""The number of examples for each timing: of each kind of failure of a label, and of the slowest
operations of a label."""
_MOST_KINDS = 200
"""Combinations of timing and label, with or without a kind of failure, of which one worker keeps
examples."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """What was sent and what came back, as text in which secrets are masked."""

    request: str = ""
    answer: str = ""
    instance: str = ""
    """The instance that answered, if the answer names it."""
    trace: str = ""
    """The trace id that was sent, 32 hexadecimal digits; "" if none was sent."""


_Kind = tuple[str, str, str]
"""Timing, label and outcome of a failure."""
DeferredExchange = tuple[Callable[..., Exchange], *tuple[Any, ...]]
"""A function that describes an exchange in words, and its arguments. It is called later, because
few operations need the words."""


@dataclass(frozen=True, slots=True)
class Example:
    """One operation with its details."""

    at: float
    """Seconds from the run's start instant to the intended start; for a message, to its
    creation."""
    seconds: float
    """Seconds from that moment until the answer, or until the operation was given up."""
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
    """The kind of time in `seconds`, a key of `loadkit.recording.timing`."""
    service: float | None = None
    """Seconds from sending to the answer; None if they are not known."""


class ExampleLog:
    """One worker's examples of one population."""

    __slots__ = ("_failures", "_new", "_slow_from", "_slowest", "_unserved")

    def __init__(self) -> None:
        self._slow_from: dict[str, dict[str, float]] = {}
        self._failures: Counter[_Kind] = Counter()
        self._unserved: Counter[_Kind] = Counter()
        """Counted separately: an overload drops arrivals of all labels, and these must leave room
        for other failures."""
        self._slowest: dict[tuple[str, str], list[float]] = {}
        self._new: list[Example] = []

    def slow_from(self, timing: Timing) -> dict[str, float]:
        """By label: the seconds above which an operation is among the slowest of a timing.

        The hot path keeps the result and reads it for each operation.
        """
        return self._slow_from.setdefault(timing.key, {})

    def wants(self, sample: Sample, timing: Timing = REQUEST) -> bool:
        """Note an operation. Should it become an example?"""
        seconds, label, outcome = sample.end - sample.intended, sample.label, sample.outcome
        slow_from = self.slow_from(timing)
        is_slow = seconds > slow_from.get(label, 0.0) and self._is_slow(timing.key, label, seconds, slow_from)
        if outcome == OK:
            return is_slow
        return _is_one_of_the_first(self._failures, (timing.key, label, outcome)) or is_slow

    def wants_unserved(self, sample: Sample, timing: Timing = REQUEST) -> bool:
        """Note an arrival that no user served. Should it become an example?

        It is never one of the slowest, because those show a request that was sent.
        """
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
        """Return the examples since the previous call."""
        new, self._new = tuple(self._new), []
        return new


def _is_one_of_the_first(counted: Counter[_Kind], kind: _Kind) -> bool:
    """Count one operation of a kind. Is it one of the first `MOST`?"""
    if len(counted) >= _MOST_KINDS and kind not in counted:
        return False
    counted[kind] += 1
    return counted[kind] <= MOST


def select(examples: Iterable[Example]) -> tuple[Example, ...]:
    """Select, from the examples of all workers, the first failures and the slowest operations.

    The first failures are kept for each kind, the slowest operations for each label, both for each
    timing. The result is in the order of time.
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
