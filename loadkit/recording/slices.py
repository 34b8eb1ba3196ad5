"""The record of a load: counts in logarithmic buckets per second, series and outcome.

A `SliceTable` is a multiset. Merging two tables adds their counts. The division into seconds,
workers or hosts therefore does not matter: the same samples give the same table (a property test
checks this). Percentiles are never averaged.

A sample whose outcome turns out later to be another is retracted and recorded again. The table of
that second then has negative counts; the sum of all tables has none.

Each count has one 64-bit key, so adding is a sort and a sum::

    second (22 bits) | series (16) | outcome (6) | kind (3) | bucket (14)
"""

import enum
import pickle
import zlib
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from loadkit.recording import histogram as buckets
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

_BUCKET_BITS, _KIND_BITS, _OUTCOME_BITS, _SERIES_BITS, _SECOND_BITS = 14, 3, 6, 16, 22
_KIND_SHIFT = _BUCKET_BITS
_OUTCOME_SHIFT = _KIND_SHIFT + _KIND_BITS
_SERIES_SHIFT = _OUTCOME_SHIFT + _OUTCOME_BITS
_SECOND_SHIFT = _SERIES_SHIFT + _SERIES_BITS

_TOGETHER = 200
"""Tables added in one pass. All 3600 of an hour at a time take twice as long and 3x the memory."""

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class Kind(enum.IntEnum):
    """The kind of a count."""

    RESPONSE = 0
    """end - intended, in the second of the intended start; the judge uses this."""
    SERVICE = 1
    """end - sent, in the second of the intended start."""
    LATENESS = 2
    """Part of sent - intended caused by the generator, in the second of the intended start."""
    LAG = 3
    """How late the worker's event loop woke, in the second of the measurement."""
    COMPLETED = 4
    """Operations in the second of their end; only the count matters, the bucket is 0."""
    DRAWN = 5
    """Values that users drew at random, all in the second 0: see `loadkit.recording.draws`."""


def _series(kind: str, name: str, timing: Timing) -> str:
    # Series of response times have no timing in their names, as in runs stored before other timings
    # existed.
    return f"{kind}:{name}" if timing == REQUEST else f"{kind}@{timing.key}:{name}"


def label_series(label: str, timing: Timing = REQUEST) -> str:
    """The series of a label. Each sample of a timing is in exactly one; together they cover all."""
    return _series("label", label, timing)


def tenant_series(tenant: str, timing: Timing = REQUEST) -> str:
    """The series of a tenant; a second count of the same samples."""
    return _series("tenant", tenant, timing)


def region_series(region: str, timing: Timing = REQUEST) -> str:
    """The series of a region; a second count of the same samples."""
    return _series("region", region, timing)


def population_series(population: str, timing: Timing = REQUEST) -> str:
    """The series of a population; a second count of the same samples, if a plan has several."""
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
    """Per cell: operations; sums of response time, service time (s), bytes; longest response.

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
        return _number(self.series, self._series_numbers, name, 1 << _SERIES_BITS)

    def outcome_number(self, name: str) -> int:
        """The number of an outcome, assigned on first use."""
        return _number(self.outcomes, self._outcome_numbers, name, 1 << _OUTCOME_BITS)

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
            worker: the worker whose series counts their lateness; None counts no lateness.
            timing: the kind of time that they measure.
            population: the population whose series also counts them; "" for none.
            admit: maps a label to the label that is counted; called once per distinct label.
            admit_outcome: maps an outcome to the outcome that is counted.
            are_retracted: take samples out that were counted before, here or in another table. The
                sum of all tables is as if they had never been counted. Only the longest response of
                their cells stays, as an upper bound.

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
        started, ended = _whole(starts - origin), _whole(ends - origin)
        outcome = _numbered(
            outcomes, {name: self.outcome_number(admit_outcome(name)) for name in set(outcomes)}
        )
        row = np.empty((len(samples), 5))
        row[:, 0], row[:, 1], row[:, 2], row[:, 3], row[:, 4] = 1.0, *durations[:2], sizes, durations[0]
        if are_retracted:
            row[:, :4] *= -1
            row[:, 4] = 0.0
        everywhere: Any = slice(None)
        known = {label: self.series_number(label_series(admit(label), timing)) for label in set(labels)}
        counted = [(_numbered(labels, known), everywhere)]
        for names, series_of in ((tenants, tenant_series), (regions, region_series)):
            known = {name: self.series_number(series_of(name, timing)) if name else -1 for name in set(names)}
            if max(known.values()) >= 0:
                series = _numbered(names, known)
                counted.append((series, everywhere if min(known.values()) >= 0 else series >= 0))
        if population:
            number = self.series_number(population_series(population, timing))
            counted.append((np.full(len(samples), number, np.int64), everywhere))
        keys, cells, sums = [], [], []
        for series, rows_in in counted:
            cell = _pack_cell(started[rows_in], series[rows_in], outcome[rows_in])
            done = _pack_cell(ended[rows_in], series[rows_in], outcome[rows_in])
            keys += [
                _pack_key(cell, Kind.RESPONSE, response_bucket[rows_in]),
                _pack_key(cell, Kind.SERVICE, service_bucket[rows_in]),
                _pack_key(done, Kind.COMPLETED, np.zeros(len(done), np.int64)),
            ]
            cells.append(cell)
            sums.append(row[rows_in])
        if worker is not None:
            cell = _pack_cell(started, np.int64(self.series_number(worker_series(worker))), np.int64(0))
            keys.append(_pack_key(cell, Kind.LATENESS, lateness_bucket))
        found, counts = np.unique(np.concatenate(keys), return_counts=True)
        self._add_counts(found, -counts if are_retracted else counts)
        self._add_cells(*_grouped_sums(np.concatenate(cells), np.concatenate(sums)))

    def record_messages(
        self,
        messages: Floats,
        label: str,
        *,
        timing: Timing,
        tenant: str = "",
        region: str = "",
        origin: float = 0.0,
        population: str = "",
        admit: Callable[[str], str] = str,
    ) -> None:
        """Count messages of one label like successful samples that were sent when intended.

        They have no lateness, because the generator sent none of them.

        Args:
            messages: created and received (s), size (bytes); shape (n, 3).
            label: counts them; `admit` maps it, as in `record`.
            timing: the kind of time between creation and receipt.
            tenant: the tenant whose series also counts them; "" for none.
            region: the same for a region.
            origin: the run's start instant on their clock.
            population: the same for a population.
            admit: maps the label to the label that is counted.

        """
        created, received, sizes = messages.T
        latency = received - created
        bucket = buckets.indices(latency)
        started, ended = _whole(created - origin), _whole(received - origin)
        row = np.column_stack((np.ones(len(messages)), latency, latency, sizes, latency))
        series = [label_series(admit(label), timing)]
        series += [tenant_series(tenant, timing)] if tenant else []
        series += [region_series(region, timing)] if region else []
        series += [population_series(population, timing)] if population else []
        keys, cells = [], []
        for number in map(self.series_number, series):
            cell = _pack_cell(started, np.int64(number), np.int64(0))
            done = _pack_cell(ended, np.int64(number), np.int64(0))
            keys += [_pack_key(cell, kind, bucket) for kind in (Kind.RESPONSE, Kind.SERVICE)]
            keys.append(_pack_key(done, Kind.COMPLETED, np.zeros(len(done), np.int64)))
            cells.append(cell)
        self._add_counts(*np.unique(np.concatenate(keys), return_counts=True))
        self._add_cells(*_grouped_sums(np.concatenate(cells), np.tile(row, (len(series), 1))))

    def count(self, kind: Kind, series: str, seconds: Floats, durations: Floats) -> None:
        """Count durations of a kind at moments of the run, both in seconds; shapes (n,)."""
        cell = _pack_cell(_whole(seconds), np.int64(self.series_number(series)), np.int64(0))
        keys = _pack_key(cell, kind, buckets.indices(durations))
        self._add_counts(*np.unique(keys, return_counts=True))

    def add(self, *others: "SliceTable") -> None:
        """Add the counts of other tables to this one in one pass; the others do not change."""
        low = (1 << _OUTCOME_SHIFT) - 1
        keys, cells = [], []
        for other in others:
            series = np.array([self.series_number(name) for name in other.series] or [0], np.int64)
            outcomes = np.array([self.outcome_number(name) for name in other.outcomes], np.int64)
            cell = _renumbered(other.keys >> _OUTCOME_SHIFT, series, outcomes)
            keys.append((cell << _OUTCOME_SHIFT) | (other.keys & low))
            cells.append(_renumbered(other.cells, series, outcomes))
        if others:
            counts, sums = [other.counts for other in others], [other.sums for other in others]
            self._add_counts(*_grouped_counts(np.concatenate(keys), np.concatenate(counts)))
            self._add_cells(*_grouped_sums(np.concatenate(cells), np.concatenate(sums)))

    def _add_counts(self, keys: Integers, counts: Integers) -> None:
        """Add counts by key; the keys are ascending and unique."""
        at, is_new = _places(self.keys, keys)
        self.counts[at[~is_new]] += counts[~is_new]
        if is_new.any():
            into = at[is_new]
            self.keys, self.counts = _inserted(into, (self.keys, keys[is_new]), (self.counts, counts[is_new]))
        if counts.min(initial=1) < 1:  # retracted samples
            remain = self.counts != 0
            self.keys, self.counts = self.keys[remain], self.counts[remain]

    def _add_cells(self, cells: Integers, sums: Floats) -> None:
        """Add sums by cell; the cells are ascending and unique."""
        at, is_new = _places(self.cells, cells)
        known = at[~is_new]
        self.sums[known, :4] += sums[~is_new, :4]
        self.sums[known, 4] = np.maximum(self.sums[known, 4], sums[~is_new, 4])
        if is_new.any():
            into = at[is_new]
            self.cells, self.sums = _inserted(into, (self.cells, cells[is_new]), (self.sums, sums[is_new]))
        if sums[:, 0].min(initial=1.0) < 1:  # retracted samples
            remain = self.sums[:, 0] != 0
            self.cells, self.sums = self.cells[remain], self.sums[remain]

    # --- packing

    def packed(self) -> bytes:
        """The table compressed to about a tenth, so that memory holds many during a load."""
        steps = np.diff(self.keys, prepend=np.int64(0))  # small numbers, many of them equal
        return zlib.compress(
            pickle.dumps((self.series, self.outcomes, steps, self.counts, self.cells, self.sums)), level=1
        )

    @classmethod
    def unpacked(cls, packed: bytes) -> Self:
        """The table that `packed` returned."""
        # This process made the bytes itself; they never come from outside.
        series, outcomes, steps, counts, cells, sums = pickle.loads(zlib.decompress(packed))  # noqa: S301
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
        """The names of series with a prefix ("label:"), without the prefix, sorted."""
        return sorted(name.removeprefix(prefix) for name in self.series if name.startswith(prefix))

    def select(
        self, kind: Kind, series: Iterable[str], start: int, end: int
    ) -> tuple[Integers, Integers, Integers, Integers]:
        """The counts of some series in the seconds start <= s < end.

        Returns four arrays of one shape (n,): second, outcome number, bucket, count.
        """
        heads, begins = self._stretches()
        lowest, highest = np.searchsorted(
            heads, [second << (_SECOND_SHIFT - _KIND_SHIFT) for second in (start, end)]
        )
        heads, sizes, begins = (
            heads[lowest:highest],
            np.diff(begins)[lowest:highest],
            begins[lowest:highest],
        )
        second, number, outcome = _unpack_cell(heads >> _KIND_BITS)
        selected = ((heads & ((1 << _KIND_BITS) - 1)) == kind) & self._wanted(series)[number]
        second, outcome, sizes, begins = (each[selected] for each in (second, outcome, sizes, begins))
        ends = np.cumsum(sizes)
        places = np.arange(ends[-1] if len(ends) else 0) + np.repeat(begins - ends + sizes, sizes)
        bucket = self.keys[places] & ((1 << _BUCKET_BITS) - 1)
        return np.repeat(second, sizes), np.repeat(outcome, sizes), bucket, self.counts[places]

    def _stretches(self) -> tuple[Integers, Integers]:
        """The heads (cell and kind), ascending, and where the keys of each begin: (n,), (n + 1,).

        The keys of one head are adjacent. The result is cached until the keys change: scanning all
        of ten million operations takes longer than the selection itself.
        """
        if self._looked_through is not self.keys:
            heads = self.keys >> _KIND_SHIFT
            begins = np.flatnonzero(np.diff(heads, prepend=-1))
            self._heads, self._begins = heads[begins], np.append(begins, len(heads))
            self._looked_through = self.keys
        return self._heads, self._begins

    def histograms(self, kind: Kind, series: Iterable[str], start: int, end: int) -> dict[str, Integers]:
        """The counts of each of some series separately, in the seconds start <= s < end.

        Returns, for each non-empty series, the counts by bucket, the failed operations last; shape
        (`buckets.BUCKETS` + 1,).
        """
        lowest, highest = np.searchsorted(self.keys, [start << _SECOND_SHIFT, end << _SECOND_SHIFT])
        keys, counts = self.keys[lowest:highest], self.counts[lowest:highest]
        of_kind = ((keys >> _KIND_SHIFT) & ((1 << _KIND_BITS) - 1)) == kind
        keys, counts = keys[of_kind], counts[of_kind]
        number = (keys >> _SERIES_SHIFT) & ((1 << _SERIES_BITS) - 1)
        failed = ((keys >> _OUTCOME_SHIFT) & ((1 << _OUTCOME_BITS) - 1)) != 0
        bucket = np.where(failed, buckets.BUCKETS, keys & ((1 << _BUCKET_BITS) - 1))
        width = buckets.BUCKETS + 1
        position = np.full(len(self.series), -1, np.int64)
        present = [name for name in series if name in self.series]
        position[[self.series.index(name) for name in present]] = np.arange(len(present))
        selected = position[number] >= 0
        cells = position[number[selected]] * width + bucket[selected]
        table = np.bincount(cells, counts[selected], len(present) * width).astype(np.int64)
        return {name: row for name, row in zip(present, table.reshape(-1, width), strict=True) if row.any()}

    def totals(self, series: Iterable[str], start: int, end: int) -> tuple[Integers, Integers, Floats]:
        """The exact sums of some series in the seconds start <= s < end.

        Returns second (n,), outcome number (n,), and sums (n, 5) with the columns of `sums`.
        """
        lowest, highest = np.searchsorted(
            self.cells, [start << (_SERIES_BITS + _OUTCOME_BITS), end << (_SERIES_BITS + _OUTCOME_BITS)]
        )
        cells, sums = self.cells[lowest:highest], self.sums[lowest:highest]
        second, number, outcome = _unpack_cell(cells)
        selected = self._wanted(series)[number]
        return second[selected], outcome[selected], sums[selected]

    def failures(self, series: Iterable[str], start: int, end: int) -> dict[str, dict[str, int]]:
        """How operations of each of some series failed in the seconds start <= s < end: outcome to count, most first.

        A series of which none failed is left out.
        """
        lowest, highest = np.searchsorted(
            self.cells, [start << (_SERIES_BITS + _OUTCOME_BITS), end << (_SERIES_BITS + _OUTCOME_BITS)]
        )
        _, number, outcome = _unpack_cell(self.cells[lowest:highest])
        here = self._wanted(series)[number] & (outcome != 0)
        places, place = np.unique((number[here] << _OUTCOME_BITS) | outcome[here], return_inverse=True)
        counts = np.bincount(place, self.sums[lowest:highest, 0][here], len(places)).astype(np.int64)
        found: dict[str, dict[str, int]] = {}
        for at in np.argsort(-counts, kind="stable"):
            name = self.series[int(places[at]) >> _OUTCOME_BITS]
            kind = self.outcomes[int(places[at]) & ((1 << _OUTCOME_BITS) - 1)]
            found.setdefault(name, {})[kind] = int(counts[at])
        return found

    def _wanted(self, series: Iterable[str]) -> npt.NDArray[np.bool_]:
        names = set(series)
        return np.array([name in names for name in self.series] or [False], np.bool_)


def _number(names: list[str], numbers: dict[str, int], name: str, most: int) -> int:
    if len(numbers) != len(names):
        numbers.clear()
        numbers.update((known, number) for number, known in enumerate(names))
    number = numbers.get(name)
    if number is None:
        if len(names) >= most:
            # The last number collects all further names (for example labels that contain ids).
            others = names[-1].split(":", 1)[0] + ":(others)"
            del numbers[names[-1]]
            names[-1] = others
            numbers[others] = most - 1
            return most - 1
        number = numbers[name] = len(names)
        names.append(name)
    return number


def _numbered(names: Sequence[str], numbers: Mapping[str, int]) -> Integers:
    """The number of each name; shape (n,)."""
    if len(numbers) == 1:
        (number,) = numbers.values()
        return np.full(len(names), number, np.int64)
    return np.fromiter(map(numbers.__getitem__, names), np.int64, len(names))


def _places(sorted_keys: Integers, keys: Integers) -> tuple[Integers, npt.NDArray[np.bool_]]:
    """The insertion positions of keys among sorted ones, and whether each is new. Shapes (n,)."""
    at = np.searchsorted(sorted_keys, keys)
    is_new = np.ones(len(keys), np.bool_)
    inside = at < len(sorted_keys)
    is_new[inside] = sorted_keys[at[inside]] != keys[inside]
    return at, is_new


def _inserted(at: Integers, *pairs: tuple[npt.NDArray[Any], npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
    """Insert the second array of each pair into the first, before its rows `at` (ascending).

    `np.insert` takes twice as long.
    """
    new = at + np.arange(len(at))
    is_old = np.ones(len(pairs[0][0]) + len(at), np.bool_)
    is_old[new] = False
    results = []
    for old, more in pairs:
        result = np.empty((len(is_old), *old.shape[1:]), old.dtype)
        result[new], result[is_old] = more, old
        results.append(result)
    return results


def _groups(keys: Integers) -> tuple[Integers, Integers, Integers]:
    """The unique keys, ascending; the order that sorts the input; where in it each key begins."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    begins = np.flatnonzero(np.diff(ordered, prepend=-1))
    return ordered[begins], order, begins


def _grouped_counts(keys: Integers, counts: Integers) -> tuple[Integers, Integers]:
    unique, order, begins = _groups(keys)
    return unique, np.add.reduceat(counts[order], begins) if len(keys) else counts


def _grouped_sums(cells: Integers, sums: Floats) -> tuple[Integers, Floats]:
    unique, order, begins = _groups(cells)
    if not len(cells):
        return unique, sums
    rows = sums[order]
    totals = np.add.reduceat(rows, begins, axis=0)
    totals[:, 4] = np.maximum.reduceat(rows[:, 4], begins)
    return unique, totals


def _whole(seconds: Floats) -> Integers:
    """Moments as whole seconds; moments before the start belong to the first second."""
    return np.maximum(np.floor(seconds), 0).astype(np.int64)


def _pack_cell(second: Integers, series: Integers | np.int64, outcome: Integers | np.int64) -> Integers:
    return (((second << _SERIES_BITS) | series) << _OUTCOME_BITS) | outcome


def _unpack_cell(cell: Integers) -> tuple[Integers, Integers, Integers]:
    outcome = cell & ((1 << _OUTCOME_BITS) - 1)
    series = (cell >> _OUTCOME_BITS) & ((1 << _SERIES_BITS) - 1)
    return cell >> (_OUTCOME_BITS + _SERIES_BITS), series, outcome


def _renumbered(cell: Integers, series: Integers, outcomes: Integers) -> Integers:
    """Cells with the numbers of their series and outcomes replaced."""
    second, number, outcome = _unpack_cell(cell)
    return _pack_cell(second, series[number], outcomes[outcome])


def _pack_key(cell: Integers, kind: Kind, bucket: Integers) -> Integers:
    return (((cell << _KIND_BITS) | int(kind)) << _BUCKET_BITS) | bucket
