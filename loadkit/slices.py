"""The record of a load: per second, label and outcome, counts in logarithmic buckets.

A `SliceTable` is a multiset. Merging two is adding their counts, so it does not matter how seconds, workers or hosts
were cut: the same samples give the same table (a property test holds it so). Percentiles are never averaged.

Each count stands under one 64-bit key, which makes adding a sort and a sum::

    second (22 bits) | series (16) | outcome (6) | kind (3) | bucket (14)
"""

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from loadkit import buckets
from loadkit.sample import OK, Sample

__all__ = [
    "Beat",
    "Gap",
    "Kind",
    "SliceTable",
    "label_series",
    "region_series",
    "tenant_series",
    "worker_series",
]

_BUCKET_BITS, _KIND_BITS, _OUTCOME_BITS, _SERIES_BITS, _SECOND_BITS = 14, 3, 6, 16, 22
_KIND_SHIFT = _BUCKET_BITS
_OUTCOME_SHIFT = _KIND_SHIFT + _KIND_BITS
_SERIES_SHIFT = _OUTCOME_SHIFT + _OUTCOME_BITS
_SECOND_SHIFT = _SERIES_SHIFT + _SERIES_BITS

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class Kind(enum.IntEnum):
    """What is counted."""

    RESPONSE = 0
    """end - intended, in the second of the intended start: what is judged."""
    SERVICE = 1
    """end - sent, in the second of the intended start."""
    LATENESS = 2
    """sent - intended as far as the generator caused it, in the second of the intended start."""
    LAG = 3
    """How late the worker's event loop woke."""
    COMPLETED = 4
    """Operations in the second of their end; only the count has a meaning, the bucket is 0."""


def label_series(label: str) -> str:
    """The name of the series of a label. Every sample is in exactly one of them: together they are the whole."""
    return f"label:{label}"


def tenant_series(tenant: str) -> str:
    """The name of the series of a tenant; a second count of the same samples."""
    return f"tenant:{tenant}"


def region_series(region: str) -> str:
    """The name of the series of a region; a second count of the same samples."""
    return f"region:{region}"


def worker_series(worker: int) -> str:
    """The name of the series in which a worker's loop lag and lateness are counted."""
    return f"worker:{worker}"


@dataclass(frozen=True, slots=True)
class Beat:
    """One worker's state over one second."""

    worker: int
    second: int
    """Whole seconds since the run's start instant."""
    held: int
    """The smallest number of users held during the second (0 for open load)."""
    in_flight: int
    """Operations unanswered at its end."""
    scheduled: int
    """Operations whose intended start lay in it."""
    sent: int
    """Operations put on the wire in it."""
    blocked: int
    """Operations that were due and waited for a place that the service occupied."""
    dropped: int
    """Arrivals refused beyond `max_in_flight`."""
    cpu_seconds: float
    """Processor time the worker used in it."""
    longest_pause: float
    """Seconds of the longest garbage collection."""
    memory_bytes: int
    """Resident memory at its end."""
    starved: int
    """Operations that found no socket or file to use."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A time with operations in flight and not one completion; seconds since the run's start instant."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        """How long it was."""
        return self.end - self.start


@dataclass(slots=True)
class SliceTable:
    """Counts, and per second, series and outcome the exact sums. Add to it with `record` and `add`; read with the rest."""

    series: list[str] = field(default_factory=list)
    """Names by number: "label:GET /x", "tenant:acme" …"""
    outcomes: list[str] = field(default_factory=lambda: [OK])
    """Outcomes by number; 0 is success."""
    keys: Integers = field(default_factory=lambda: np.empty(0, np.int64))
    """Packed keys, rising, each once; shape (n,)."""
    counts: Integers = field(default_factory=lambda: np.empty(0, np.int64))
    """How many of each; shape (n,)."""
    cells: Integers = field(default_factory=lambda: np.empty(0, np.int64))
    """Packed second, series and outcome, rising, each once; shape (m,)."""
    sums: Floats = field(default_factory=lambda: np.empty((0, 5), np.float64))
    """Per cell: operations, seconds of response time, seconds of service time, bytes, longest response; shape (m, 5)."""

    # --- writing

    def series_number(self, name: str) -> int:
        """The number of a series, made where it is new."""
        return _number(self.series, name, 1 << _SERIES_BITS)

    def outcome_number(self, name: str) -> int:
        """The number of an outcome, made where it is new."""
        return _number(self.outcomes, name, 1 << _OUTCOME_BITS)

    def record(self, samples: Sequence[Sample]) -> None:
        """Count samples: under their label, and again under their tenant and region where they have one."""
        if not samples:
            return
        labels, outcomes, intended, sent, end, size, tenants, regions = zip(*samples, strict=True)
        outcome = np.array([self.outcome_number(name) for name in outcomes], np.int64)
        starts, sends, ends = (np.array(column, np.float64) for column in (intended, sent, end))
        response, service = ends - starts, ends - sends
        started = np.maximum(np.floor(starts), 0).astype(np.int64)
        ended = np.maximum(np.floor(ends), 0).astype(np.int64)
        sizes = np.array(size, np.float64)
        ones = np.ones(len(samples), np.int64)
        for names, prefix in ((labels, label_series), (tenants, tenant_series), (regions, region_series)):
            numbers = np.array([self.series_number(prefix(name)) if name else -1 for name in names], np.int64)
            here = numbers >= 0
            if not here.any():
                continue
            cell = _pack_cell(started[here], numbers[here], outcome[here])
            done = _pack_cell(ended[here], numbers[here], outcome[here])
            keys = np.concatenate(
                [
                    _pack_key(cell, Kind.RESPONSE, buckets.indices(response[here])),
                    _pack_key(cell, Kind.SERVICE, buckets.indices(service[here])),
                    _pack_key(done, Kind.COMPLETED, np.zeros(len(done), np.int64)),
                ]
            )
            self._add_counts(keys, np.ones(len(keys), np.int64))
            sums = np.column_stack([ones[here], response[here], service[here], sizes[here], response[here]])
            self._add_cells(cell, sums)

    def count(self, kind: Kind, series: str, seconds: Floats, durations: Floats) -> None:
        """Count durations (seconds, shape (n,)) of a kind that belong to moments `seconds` (shape (n,)) of the run."""
        number = np.full(len(durations), self.series_number(series), np.int64)
        second = np.maximum(np.floor(seconds), 0).astype(np.int64)
        cell = _pack_cell(second, number, np.zeros(len(durations), np.int64))
        self._add_counts(_pack_key(cell, kind, buckets.indices(durations)), np.ones(len(durations), np.int64))

    def add(self, other: "SliceTable") -> None:
        """Add another table's counts to this one; the other keeps its own."""
        series = np.array([self.series_number(name) for name in other.series] or [0], np.int64)
        outcomes = np.array([self.outcome_number(name) for name in other.outcomes], np.int64)

        def renumbered(cell: Integers) -> Integers:
            second, number, outcome = _unpack_cell(cell)
            return _pack_cell(second, series[number], outcomes[outcome])

        low = (1 << _OUTCOME_SHIFT) - 1
        if len(other.keys):
            cell = renumbered(other.keys >> _OUTCOME_SHIFT)
            self._add_counts((cell << _OUTCOME_SHIFT) | (other.keys & low), other.counts)
        if len(other.cells):
            self._add_cells(renumbered(other.cells), other.sums)

    def _add_counts(self, keys: Integers, counts: Integers) -> None:
        self.keys, inverse = np.unique(np.concatenate([self.keys, keys]), return_inverse=True)
        totals = np.zeros(len(self.keys), np.int64)
        np.add.at(totals, inverse, np.concatenate([self.counts, counts]))
        self.counts = totals

    def _add_cells(self, cells: Integers, sums: Floats) -> None:
        self.cells, inverse = np.unique(np.concatenate([self.cells, cells]), return_inverse=True)
        rows = np.concatenate([self.sums, sums])
        totals = np.zeros((len(self.cells), 5), np.float64)
        np.add.at(totals[:, :4], inverse, rows[:, :4])
        np.maximum.at(totals[:, 4], inverse, rows[:, 4])
        self.sums = totals

    # --- reading

    def names(self, prefix: str) -> list[str]:
        """The series whose name starts with a prefix ("label:"), without it, sorted."""
        return sorted(name.removeprefix(prefix) for name in self.series if name.startswith(prefix))

    def select(
        self, kind: Kind, series: Iterable[str], start: int, end: int
    ) -> tuple[Integers, Integers, Integers, Integers]:
        """The counts of some series in the seconds start <= s < end.

        Returns four arrays of one shape (n,): second, outcome number, bucket, count.
        """
        lowest, highest = np.searchsorted(self.keys, [start << (_SECOND_SHIFT), end << (_SECOND_SHIFT)])
        keys, counts = self.keys[lowest:highest], self.counts[lowest:highest]
        wanted = self._wanted(series)
        of_kind = ((keys >> _KIND_SHIFT) & ((1 << _KIND_BITS) - 1)) == kind
        here = of_kind & wanted[(keys >> _SERIES_SHIFT) & ((1 << _SERIES_BITS) - 1)]
        keys, counts = keys[here], counts[here]
        second, _, outcome = _unpack_cell(keys >> _OUTCOME_SHIFT)
        return second, outcome, keys & ((1 << _BUCKET_BITS) - 1), counts

    def totals(self, series: Iterable[str], start: int, end: int) -> tuple[Integers, Integers, Floats]:
        """The exact sums of some series in the seconds start <= s < end.

        Returns second (n,), outcome number (n,), and sums (n, 5) as in `sums`.
        """
        lowest, highest = np.searchsorted(
            self.cells, [start << (_SERIES_BITS + _OUTCOME_BITS), end << (_SERIES_BITS + _OUTCOME_BITS)]
        )
        cells, sums = self.cells[lowest:highest], self.sums[lowest:highest]
        second, number, outcome = _unpack_cell(cells)
        here = self._wanted(series)[number]
        return second[here], outcome[here], sums[here]

    def _wanted(self, series: Iterable[str]) -> npt.NDArray[np.bool_]:
        names = set(series)
        return np.array([name in names for name in self.series] or [False], np.bool_)


def _number(names: list[str], name: str, most: int) -> int:
    try:
        return names.index(name)
    except ValueError:
        if len(names) >= most:
            # The last one gathers what is too varied to count apart (ids in labels, say).
            names[-1] = names[-1].split(":", 1)[0] + ":(others)"
            return most - 1
        names.append(name)
        return len(names) - 1


def _pack_cell(second: Integers, series: Integers, outcome: Integers) -> Integers:
    return (((second << _SERIES_BITS) | series) << _OUTCOME_BITS) | outcome


def _unpack_cell(cell: Integers) -> tuple[Integers, Integers, Integers]:
    outcome = cell & ((1 << _OUTCOME_BITS) - 1)
    series = (cell >> _OUTCOME_BITS) & ((1 << _SERIES_BITS) - 1)
    return cell >> (_OUTCOME_BITS + _SERIES_BITS), series, outcome


def _pack_key(cell: Integers, kind: Kind, bucket: Integers) -> Integers:
    return (((cell << _KIND_BITS) | int(kind)) << _BUCKET_BITS) | bucket
