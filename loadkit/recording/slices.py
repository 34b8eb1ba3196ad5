"""The record of a load: counts in logarithmic buckets per second, series and outcome.

A `SliceTable` is a multiset. Merging two tables adds their counts. The division into seconds,
workers or hosts therefore does not matter: the same samples give the same table (a property test
checks this). Percentiles are never averaged.

If the outcome of a sample changes later, the sample is retracted and recorded again. The table of
that second then has negative counts. The sum of all tables has none.

Each count has one 64-bit key: see `loadkit.recording.packing`.
"""

import enum
import pickle
import zlib
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from loadkit.recording import histogram as buckets
from loadkit.recording.messages import MessageLog
from loadkit.recording.packing import (
    BUCKET_BITS,
    KIND_BITS,
    KIND_SHIFT,
    OUTCOME_BITS,
    OUTCOME_SHIFT,
    SECOND_SHIFT,
    SERIES_BITS,
    SERIES_SHIFT,
    Floats,
    Integers,
    grouped_counts,
    grouped_sums,
    insertion_places,
    number_of,
    numbered,
    pack_cell,
    pack_key,
    renumbered,
    rows_inserted,
    successful_cells,
    unpack_cell,
    whole_seconds,
)
from loadkit.recording.sample import OK, Sample
from loadkit.recording.timing import REQUEST, Timing

__all__ = [
    "Kind",
    "SliceTable",
    "label_series",
    "population_series",
    "region_series",
    "tenant_series",
    "worker_series",
]

_TOGETHER = 200
"""Tables added in one pass. Adding all 3600 tables of an hour in one pass takes twice as long and
3x the memory."""


class Kind(enum.IntEnum):
    """The kind of a count."""

    RESPONSE = 0
    """end - intended, in the second of the intended start; the judge uses this."""
    SERVICE = 1
    """end - sent, in the second of the intended start."""
    LATENESS = 2
    """The part of sent - intended that the generator caused, in the second of the intended
    start."""
    LAG = 3
    """How late the worker's event loop woke, in the second of the measurement."""
    COMPLETED = 4
    """Operations in the second of their end. Only the count matters; the bucket is 0."""
    DRAWN = 5
    """Values that users drew at random, all in second 0: see `loadkit.recording.draws`."""


def _series(kind: str, name: str, timing: Timing) -> str:
    # The names of response time series contain no timing. So they are the same as in runs that were
    # stored before other timings existed.
    return f"{kind}:{name}" if timing == REQUEST else f"{kind}@{timing.key}:{name}"


def label_series(label: str, timing: Timing = REQUEST) -> str:
    """The series of a label. Each sample of a timing is in exactly one label series."""
    return _series("label", label, timing)


def tenant_series(tenant: str, timing: Timing = REQUEST) -> str:
    """The series of a tenant. It counts samples again that a label series counts."""
    return _series("tenant", tenant, timing)


def region_series(region: str, timing: Timing = REQUEST) -> str:
    """The series of a region. It counts samples again that a label series counts."""
    return _series("region", region, timing)


def population_series(population: str, timing: Timing = REQUEST) -> str:
    """The series of a population, if a plan has several.

    It counts samples again that a label series counts.
    """
    return _series("population", population, timing)


def worker_series(worker: int) -> str:
    """The series of a worker's loop lag and lateness."""
    return f"worker:{worker}"


@dataclass(slots=True)
class SliceTable:
    """Counts by key, and exact sums per second, series and outcome.

    `record`, `record_messages`, `count` and `add` write to it; the other methods read.
    """

    series: list[str] = field(default_factory=list)
    """Series names by number: "label:GET /x", "tenant:acme" …"""
    outcomes: list[str] = field(default_factory=lambda: [OK])
    """Outcomes by number; 0 is success."""
    keys: Integers = field(default_factory=lambda: np.empty(0, np.int64))
    """Packed keys, ascending and unique; shape (n,)."""
    counts: Integers = field(default_factory=lambda: np.empty(0, np.int64))
    """Count of each key; shape (n,)."""
    cells: Integers = field(default_factory=lambda: np.empty(0, np.int64))
    """Packed second, series and outcome, ascending and unique; shape (m,)."""
    sums: Floats = field(default_factory=lambda: np.empty((0, 5), np.float64))
    """Per cell: number of operations; sums of response time (s), service time (s) and bytes;
    longest response time (s).

    Shape (m, 5).
    """

    _series_numbers: dict[str, int] = field(default_factory=dict, repr=False, compare=False)
    _outcome_numbers: dict[str, int] = field(default_factory=dict, repr=False, compare=False)
    _looked_through: Integers | None = field(default=None, init=False, repr=False, compare=False)
    """The keys from which `_heads` and `_begins` were computed: see `_stretches`."""
    _heads: Integers = field(
        default_factory=lambda: np.empty(0, np.int64), init=False, repr=False, compare=False
    )
    _begins: Integers = field(
        default_factory=lambda: np.zeros(1, np.int64), init=False, repr=False, compare=False
    )

    # --- writing

    def series_number(self, name: str) -> int:
        """The number of a series, assigned on first use."""
        return number_of(self.series, self._series_numbers, name, 1 << SERIES_BITS)

    def outcome_number(self, name: str) -> int:
        """The number of an outcome, assigned on first use."""
        return number_of(self.outcomes, self._outcome_numbers, name, 1 << OUTCOME_BITS)

    def record(
        self,
        samples: Sequence[Sample],
        origin: float = 0.0,
        worker: int | None = None,
        *,
        timing: Timing = REQUEST,
        population: str = "",
        admit: Callable[[str], str] = str,
        admit_outcome: Callable[[str], str] = str,
        are_retracted: bool = False,
    ) -> None:
        """Count samples by label, and again by tenant, region and population if they have one.

        Args:
            samples: the operations, all of one timing.
            origin: the run's start instant on the samples' clock.
            worker: the worker whose series counts their lateness; None to count no lateness.
            timing: the kind of time that they measure.
            population: the population whose series also counts them; "" for none.
            admit: maps a label to the label that is counted; called once per distinct label.
            admit_outcome: maps an outcome to the outcome that is counted.
            are_retracted: remove samples that were counted before, here or in another table. The
                sum of all tables is then as if they had never been counted. Only the longest
                response of their cells remains, as an upper bound.

        """
        if not samples:
            return
        labels, outcomes, *columns, tenants, regions, late = zip(*samples, strict=True)
        # array.array converts a tuple of floats in half the time that numpy takes.
        starts, sends, ends, sizes, lateness = (
            np.frombuffer(array("d", column)) for column in (*columns, late)
        )
        durations = np.array([ends - starts, ends - sends, lateness])
        response_bucket, service_bucket, lateness_bucket = buckets.indices(durations)
        started, ended = whole_seconds(starts - origin), whole_seconds(ends - origin)
        outcome = numbered(
            outcomes, {name: self.outcome_number(admit_outcome(name)) for name in set(outcomes)}
        )
        row = np.empty((len(samples), 5))
        row[:, 0], row[:, 1], row[:, 2], row[:, 3], row[:, 4] = 1.0, *durations[:2], sizes, durations[0]
        if are_retracted:
            row[:, :4] *= -1
            row[:, 4] = 0.0
        everywhere: Any = slice(None)
        known = {label: self.series_number(label_series(admit(label), timing)) for label in set(labels)}
        counted = [(numbered(labels, known), everywhere)]
        for names, series_of in ((tenants, tenant_series), (regions, region_series)):
            known = {name: self.series_number(series_of(name, timing)) if name else -1 for name in set(names)}
            if max(known.values()) >= 0:
                series = numbered(names, known)
                counted.append((series, everywhere if min(known.values()) >= 0 else series >= 0))
        if population:
            number = self.series_number(population_series(population, timing))
            counted.append((np.full(len(samples), number, np.int64), everywhere))
        keys, cells, sums = [], [], []
        for series, rows_in in counted:
            cell = pack_cell(started[rows_in], series[rows_in], outcome[rows_in])
            done = pack_cell(ended[rows_in], series[rows_in], outcome[rows_in])
            keys += [
                pack_key(cell, Kind.RESPONSE, response_bucket[rows_in]),
                pack_key(cell, Kind.SERVICE, service_bucket[rows_in]),
                pack_key(done, Kind.COMPLETED, np.zeros(len(done), np.int64)),
            ]
            cells.append(cell)
            sums.append(row[rows_in])
        if worker is not None:
            cell = pack_cell(started, np.int64(self.series_number(worker_series(worker))), np.int64(0))
            keys.append(pack_key(cell, Kind.LATENESS, lateness_bucket))
        found, counts = np.unique(np.concatenate(keys), return_counts=True)
        self._add_counts(found, -counts if are_retracted else counts)
        self._add_cells(*grouped_sums(np.concatenate(cells), np.concatenate(sums)))

    def record_messages(
        self,
        messages: Floats,
        owners: Integers,
        logs: Sequence[MessageLog],
        *,
        timing: Timing,
        origin: float = 0.0,
        population: str = "",
        admit: Callable[[str], str] = str,
    ) -> None:
        """Count messages of several logs like successful samples that were sent when intended.

        They have no lateness, because the generator did not send them. All logs are counted in one
        pass. A pass for each of 50 tenants took 10 to 25 ms once a second.

        Args:
            messages: created and received (s), size (bytes); shape (n, 3).
            owners: the log of each message, as its index in `logs`; shape (n,).
            logs: the logs. A message counts under the label of its log, and also under the log's
                tenant and region if it has one.
            timing: the kind of time between creation and receipt.
            origin: the run's start instant on the messages' clock.
            population: the population whose series also counts them; "" for none.
            admit: maps a label to the label that is counted, as in `record`; called once per
                distinct label.

        """
        created, received, sizes = messages.T
        latency = received - created
        started, ended = whole_seconds(created - origin), whole_seconds(received - origin)
        row = np.column_stack((np.ones(len(messages)), latency, latency, sizes, latency))
        # Group by second and log first: this is less work than by second and series.
        place = started * len(logs) + owners
        begun, sums = grouped_sums(place, row)
        timed, times = np.unique((place << BUCKET_BITS) | buckets.indices(latency), return_counts=True)
        done, completed = np.unique(ended * len(logs) + owners, return_counts=True)
        bucket = timed & ((1 << BUCKET_BITS) - 1)
        keys, counts, cells, parts = [], [], [], []
        for series in self._series_of(logs, timing, population, admit):
            cell, is_in = successful_cells(timed >> BUCKET_BITS, series)
            keys += [pack_key(cell, kind, bucket[is_in]) for kind in (Kind.RESPONSE, Kind.SERVICE)]
            counts += [times[is_in]] * 2
            cell, is_in = successful_cells(done, series)
            keys.append(pack_key(cell, Kind.COMPLETED, np.zeros(len(cell), np.int64)))
            counts.append(completed[is_in])
            cell, is_in = successful_cells(begun, series)
            cells.append(cell)
            parts.append(sums[is_in])
        self._add_counts(*grouped_counts(np.concatenate(keys), np.concatenate(counts)))
        self._add_cells(*grouped_sums(np.concatenate(cells), np.concatenate(parts)))

    def _series_of(
        self, logs: Sequence[MessageLog], timing: Timing, population: str, admit: Callable[[str], str]
    ) -> list[Integers]:
        """For each way to divide the messages: the series number of each log, or -1.

        Shapes (logs,).
        """
        admitted = {label: admit(label) for label in dict.fromkeys(log.label for log in logs)}
        divisions = (
            [label_series(admitted[log.label], timing) for log in logs],
            [log.tenant and tenant_series(log.tenant, timing) for log in logs],
            [log.region and region_series(log.region, timing) for log in logs],
            [population and population_series(population, timing)] * len(logs),
        )
        return [
            numbered(names, {name: self.series_number(name) if name else -1 for name in dict.fromkeys(names)})
            for names in divisions
            if any(names)
        ]

    def count(self, kind: Kind, series: str, seconds: Floats, durations: Floats) -> None:
        """Count durations of a kind at moments of the run, both in seconds; shapes (n,)."""
        cell = pack_cell(whole_seconds(seconds), np.int64(self.series_number(series)), np.int64(0))
        keys = pack_key(cell, kind, buckets.indices(durations))
        self._add_counts(*np.unique(keys, return_counts=True))

    def add(self, *others: "SliceTable") -> None:
        """Add the counts of other tables to this one in one pass; the others do not change."""
        low = (1 << OUTCOME_SHIFT) - 1
        keys, cells = [], []
        for other in others:
            series = np.array([self.series_number(name) for name in other.series] or [0], np.int64)
            outcomes = np.array([self.outcome_number(name) for name in other.outcomes], np.int64)
            cell = renumbered(other.keys >> OUTCOME_SHIFT, series, outcomes)
            keys.append((cell << OUTCOME_SHIFT) | (other.keys & low))
            cells.append(renumbered(other.cells, series, outcomes))
        if others:
            counts, sums = [other.counts for other in others], [other.sums for other in others]
            self._add_counts(*grouped_counts(np.concatenate(keys), np.concatenate(counts)))
            self._add_cells(*grouped_sums(np.concatenate(cells), np.concatenate(sums)))

    def _add_counts(self, keys: Integers, counts: Integers) -> None:
        """Add counts by key; the keys are ascending and unique."""
        at, is_new = insertion_places(self.keys, keys)
        self.counts[at[~is_new]] += counts[~is_new]
        if is_new.any():
            into = at[is_new]
            self.keys, self.counts = rows_inserted(
                into, (self.keys, keys[is_new]), (self.counts, counts[is_new])
            )
        if counts.min(initial=1) < 1:  # retracted samples
            remain = self.counts != 0
            self.keys, self.counts = self.keys[remain], self.counts[remain]

    def _add_cells(self, cells: Integers, sums: Floats) -> None:
        """Add sums by cell; the cells are ascending and unique."""
        at, is_new = insertion_places(self.cells, cells)
        known = at[~is_new]
        self.sums[known, :4] += sums[~is_new, :4]
        self.sums[known, 4] = np.maximum(self.sums[known, 4], sums[~is_new, 4])
        if is_new.any():
            into = at[is_new]
            self.cells, self.sums = rows_inserted(
                into, (self.cells, cells[is_new]), (self.sums, sums[is_new])
            )
        if sums[:, 0].min(initial=1.0) < 1:  # retracted samples
            remain = self.sums[:, 0] != 0
            self.cells, self.sums = self.cells[remain], self.sums[remain]

    # --- packing

    def packed(self) -> bytes:
        """Compress the table to about a tenth, so that memory holds many tables during a load."""
        steps = np.diff(self.keys, prepend=np.int64(0))  # small numbers, many of them equal
        return zlib.compress(
            pickle.dumps((self.series, self.outcomes, steps, self.counts, self.cells, self.sums)), level=1
        )

    @classmethod
    def unpacked(cls, packed: bytes) -> Self:
        """Restore a table that `packed` compressed."""
        # This process created the bytes itself; they never come from outside.
        series, outcomes, steps, counts, cells, sums = pickle.loads(zlib.decompress(packed))  # noqa: S301  its own bytes
        return cls(series, outcomes, np.cumsum(steps), counts, cells, sums)

    @classmethod
    def sum_of(cls, packed: Sequence[bytes]) -> Self:
        """The sum of packed tables."""
        whole = cls()
        for start in range(0, len(packed), _TOGETHER):
            whole.add(*map(cls.unpacked, packed[start : start + _TOGETHER]))
        return whole

    # --- reading

    def labels(self, timing: Timing = REQUEST) -> list[str]:
        """The labels of a timing, sorted."""
        return self.names(label_series("", timing))

    def names(self, prefix: str) -> list[str]:
        """The names of series with a prefix such as "label:", without the prefix, sorted."""
        return sorted(name.removeprefix(prefix) for name in self.series if name.startswith(prefix))

    def select(
        self, kind: Kind, series: Iterable[str], start: int, end: int
    ) -> tuple[Integers, Integers, Integers, Integers]:
        """The counts of several series in the seconds start <= s < end.

        Returns four arrays of one shape (n,): second, outcome number, bucket, count.
        """
        heads, begins = self._stretches()
        lowest, highest = np.searchsorted(
            heads, [second << (SECOND_SHIFT - KIND_SHIFT) for second in (start, end)]
        )
        heads, sizes, begins = (
            heads[lowest:highest],
            np.diff(begins)[lowest:highest],
            begins[lowest:highest],
        )
        second, number, outcome = unpack_cell(heads >> KIND_BITS)
        selected = ((heads & ((1 << KIND_BITS) - 1)) == kind) & self._wanted(series)[number]
        second, outcome, sizes, begins = (each[selected] for each in (second, outcome, sizes, begins))
        ends = np.cumsum(sizes)
        places = np.arange(ends[-1] if len(ends) else 0) + np.repeat(begins - ends + sizes, sizes)
        bucket = self.keys[places] & ((1 << BUCKET_BITS) - 1)
        return np.repeat(second, sizes), np.repeat(outcome, sizes), bucket, self.counts[places]

    def _stretches(self) -> tuple[Integers, Integers]:
        """The heads (cell and kind), ascending, and where the keys of each begin: (n,), (n + 1,).

        The keys of one head are adjacent. The result is cached until the keys change, because
        scanning all keys of ten million operations takes longer than the selection itself.
        """
        if self._looked_through is not self.keys:
            heads = self.keys >> KIND_SHIFT
            begins = np.flatnonzero(np.diff(heads, prepend=-1))
            self._heads, self._begins = heads[begins], np.append(begins, len(heads))
            self._looked_through = self.keys
        return self._heads, self._begins

    def histograms(self, kind: Kind, series: Iterable[str], start: int, end: int) -> dict[str, Integers]:
        """The counts of several series, each separately, in the seconds start <= s < end.

        Returns, for each non-empty series, the counts by bucket, the failed operations last; shape
        (`buckets.BUCKETS` + 1,).
        """
        lowest, highest = np.searchsorted(self.keys, [start << SECOND_SHIFT, end << SECOND_SHIFT])
        keys, counts = self.keys[lowest:highest], self.counts[lowest:highest]
        of_kind = ((keys >> KIND_SHIFT) & ((1 << KIND_BITS) - 1)) == kind
        keys, counts = keys[of_kind], counts[of_kind]
        number = (keys >> SERIES_SHIFT) & ((1 << SERIES_BITS) - 1)
        failed = ((keys >> OUTCOME_SHIFT) & ((1 << OUTCOME_BITS) - 1)) != 0
        bucket = np.where(failed, buckets.BUCKETS, keys & ((1 << BUCKET_BITS) - 1))
        width = buckets.BUCKETS + 1
        position = np.full(len(self.series), -1, np.int64)
        present = [name for name in series if name in self.series]
        position[[self.series.index(name) for name in present]] = np.arange(len(present))
        selected = position[number] >= 0
        cells = position[number[selected]] * width + bucket[selected]
        table = np.bincount(cells, counts[selected], len(present) * width).astype(np.int64)
        return {name: row for name, row in zip(present, table.reshape(-1, width), strict=True) if row.any()}

    def totals(self, series: Iterable[str], start: int, end: int) -> tuple[Integers, Integers, Floats]:
        """The exact sums of several series in the seconds start <= s < end.

        Returns second (n,), outcome number (n,), and sums (n, 5) with the columns of `sums`.
        """
        lowest, highest = np.searchsorted(
            self.cells, [start << (SERIES_BITS + OUTCOME_BITS), end << (SERIES_BITS + OUTCOME_BITS)]
        )
        cells, sums = self.cells[lowest:highest], self.sums[lowest:highest]
        second, number, outcome = unpack_cell(cells)
        selected = self._wanted(series)[number]
        return second[selected], outcome[selected], sums[selected]

    def failures(self, series: Iterable[str], start: int, end: int) -> dict[str, dict[str, int]]:
        """The failures of several series, each separately, in the seconds start <= s < end.

        Returns, for each series, the number of failures by outcome, the most frequent outcome
        first. A series without failures is left out.
        """
        lowest, highest = np.searchsorted(
            self.cells, [start << (SERIES_BITS + OUTCOME_BITS), end << (SERIES_BITS + OUTCOME_BITS)]
        )
        _, number, outcome = unpack_cell(self.cells[lowest:highest])
        here = self._wanted(series)[number] & (outcome != 0)
        places, place = np.unique((number[here] << OUTCOME_BITS) | outcome[here], return_inverse=True)
        counts = np.bincount(place, self.sums[lowest:highest, 0][here], len(places)).astype(np.int64)
        found: dict[str, dict[str, int]] = {}
        for at in np.argsort(-counts, kind="stable"):
            name = self.series[int(places[at]) >> OUTCOME_BITS]
            kind = self.outcomes[int(places[at]) & ((1 << OUTCOME_BITS) - 1)]
            found.setdefault(name, {})[kind] = int(counts[at])
        return found

    def _wanted(self, series: Iterable[str]) -> npt.NDArray[np.bool_]:
        names = set(series)
        return np.array([name in names for name in self.series] or [False], np.bool_)
