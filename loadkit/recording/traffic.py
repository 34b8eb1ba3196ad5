"""The operations that a criterion concerns: their counts and times per second, for judging."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from itertools import chain

import numpy as np
import numpy.typing as npt

from loadkit.criterion import Scope, ScopeKind
from loadkit.recording import histogram as buckets
from loadkit.recording.histogram import FAILED
from loadkit.recording.run import Run
from loadkit.recording.slices import Kind, label_series, population_series, region_series, tenant_series
from loadkit.recording.timing import OPERATION, OPERATIONS, REQUEST, Timing
from loadkit.recording.writes import RECORDS
from loadkit.verdict import Window

__all__ = ["LONGEST", "TIMEOUTS", "StuckUsers", "Traffic", "records_of", "series_of", "traffic_of"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

TIMEOUTS = ("timeout", "connect timeout", "read timeout")
"""The outcomes of operations that timed out. Their time is a time limit."""

_N, _RESPONSE, _SERVICE = 0, 1, 2
LONGEST = 4
"""Columns of `SliceTable.sums`. The last one is the longest response time. No column has the longest
service time."""
_TIMED_N, _TIMED_SUM, _LONGEST_TIMED = 0, 1, 2
"""Columns of `Traffic.timed`."""


@dataclass(frozen=True, slots=True)
class StuckUsers:
    """Users of a closed population who waited much longer than usual for one answer."""

    population: str
    at_once: int
    """The largest number of such users at one moment."""
    held: float
    """Users that the population held, as a mean over the window."""
    seconds: float
    """The longest wait, in seconds."""
    added: int
    """Number of arrivals added for them by the coordinated-omission correction."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """The operations of one window, by the second of their intended start."""

    seconds: int
    """Length of the window in seconds."""
    second: Integers
    """Seconds from the window's start, 0 ≤ s < `seconds`; shape (n,), like `bucket` and `count`."""
    bucket: Integers
    """Bucket of `loadkit.recording.histogram`, or `FAILED`."""
    took: Integers
    """Bucket of the time that it took, also for a failed operation; shape (n,)."""
    count: Integers
    timed: Floats
    """Per second: operations that a mean includes, sum of their times (s), longest time (s).

    Only successes and time-outs have a time, and the longest time is one of these. In a mean, a
    failed operation counts with the time it took, but at least with the mean of the others. So a
    failure never lowers a mean. Shape (`seconds`, 3).
    """
    completed: Integers
    """Successes that ended in each second; shape (`seconds`,)."""
    corrected: int = 0
    """Number of arrivals added by the coordinated-omission correction."""
    stuck: tuple[StuckUsers, ...] = ()
    """The users for whom some of these arrivals were added, by population. The other arrivals were
    added for stalls."""
    _sums: dict[str, Integers] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Cached sums, because each sum takes 20 ms or more for ten million operations."""

    @property
    def size(self) -> int:
        """Total number of operations."""
        return int(self.per_second().sum())

    @property
    def failed(self) -> int:
        """Number of operations that failed."""
        return int(self.histogram()[FAILED])

    def per_second(self, from_bucket: int = 0) -> Integers:
        """Operations in `from_bucket` or above, by second; shape (`seconds`,)."""
        if from_bucket:
            selected = self.bucket >= from_bucket
            return np.bincount(self.second[selected], self.count[selected], self.seconds).astype(np.int64)
        return self._summed("by second", self.second, self.seconds)

    def histogram(self) -> Integers:
        """Operations by bucket, the failed operations last; shape (`FAILED` + 1,)."""
        return self._summed("by bucket", self.bucket, FAILED + 1)

    def by_batch(self, edges: Integers) -> tuple[Integers, Floats]:
        """The non-empty buckets, ascending (m,), and the operations in them by batch (b, m)."""
        used = np.flatnonzero(self.histogram())
        column = np.zeros(FAILED + 1, np.int64)
        column[used] = np.arange(len(used))
        batch = np.repeat(np.arange(len(edges) - 1), np.diff(edges))
        cell = batch[self.second] * len(used) + column[self.bucket]
        shape = (len(edges) - 1, len(used))
        counts = np.bincount(cell, self.count, shape[0] * shape[1]).astype(np.float64)
        return used, counts.reshape(shape)

    def only(self, seconds: npt.NDArray[np.bool_]) -> "Traffic":
        """The operations of the marked seconds, joined into a window without gaps.

        `seconds`: the marks, shape (`seconds`,).
        """
        position = np.cumsum(seconds) - 1
        selected = seconds[self.second]
        return Traffic(
            int(seconds.sum()),
            position[self.second[selected]],
            self.bucket[selected],
            self.took[selected],
            self.count[selected],
            self.timed[seconds],
            self.completed[seconds],
            self.corrected,
            self.stuck,
        )

    @classmethod
    def sum_of(cls, parts: Sequence["Traffic"]) -> "Traffic":
        """The sum of several parts of the traffic; their windows have the same length."""
        timed = np.sum([part.timed for part in parts], axis=0)
        timed[:, _LONGEST_TIMED] = np.max([part.timed[:, _LONGEST_TIMED] for part in parts], axis=0)
        return cls(
            parts[0].seconds,
            np.concatenate([part.second for part in parts]),
            np.concatenate([part.bucket for part in parts]),
            np.concatenate([part.took for part in parts]),
            np.concatenate([part.count for part in parts]),
            timed,
            np.sum([part.completed for part in parts], axis=0),
            sum(part.corrected for part in parts),
            tuple(stuck for part in parts for stuck in part.stuck),
        )

    def plus(self, second: Integers, times: Floats, *stuck: StuckUsers) -> "Traffic":
        """Add arrivals of the coordinated-omission correction; times in seconds, shapes (n,)."""
        bucket = buckets.indices(times)
        timed = self.timed.copy()
        timed[:, _TIMED_N] += np.bincount(second, minlength=self.seconds)
        timed[:, _TIMED_SUM] += np.bincount(second, times, self.seconds)
        return replace(
            self,
            second=np.concatenate([self.second, second]),
            bucket=np.concatenate([self.bucket, bucket]),
            took=np.concatenate([self.took, bucket]),
            count=np.concatenate([self.count, np.ones(len(second), np.int64)]),
            timed=timed,
            corrected=self.corrected + len(second),
            stuck=self.stuck + stuck,
        )

    def with_failures(self, failures: Integers) -> "Traffic":
        """Add failed operations, each with the mean time.

        `failures`: their number by second, shape (`seconds`,).
        """
        second = np.flatnonzero(failures)
        number, mean = failures[second], self.mean or 0.0
        timed = self.timed.copy()
        timed[second, _TIMED_N] += number
        timed[second, _TIMED_SUM] += mean * number
        return replace(
            self,
            second=np.concatenate([self.second, second]),
            bucket=np.concatenate([self.bucket, np.full(len(second), FAILED)]),
            took=np.concatenate([self.took, np.full(len(second), buckets.index(mean))]),
            count=np.concatenate([self.count, number]),
            timed=timed,
        )

    def _summed(self, name: str, places: Integers, number: int) -> Integers:
        """Operations by place, cached under `name` and read-only; shape (`number`,)."""
        sums = self._sums.get(name)
        if sums is None:
            sums = self._sums[name] = np.bincount(places, self.count, number).astype(np.int64)
            sums.flags.writeable = False
        return sums

    @property
    def mean(self) -> float | None:
        """The mean time (see `timed`) in seconds; None if no operation has a time."""
        number, spent = self.timed[:, _TIMED_N].sum(), self.timed[:, _TIMED_SUM].sum()
        return float(spent / number) if number else None


def series_of(scope: Scope, run: Run, timing: Timing = REQUEST) -> tuple[str, ...]:
    """The series of a timing that a scope covers in the run's table; empty if none was recorded."""
    if timing == OPERATION:
        return tuple(chain.from_iterable(series_of(scope, run, each) for each in OPERATIONS))
    labels = run.table.labels(timing)
    match scope.kind:
        case ScopeKind.ALL:
            wanted: Sequence[str] = [label_series(label, timing) for label in labels]
        case ScopeKind.GROUP:
            patterns = run.groups.get(scope.name, ())
            wanted = [
                label_series(label, timing)
                for label in labels
                if any(fnmatchcase(label, pattern) for pattern in patterns)
            ]
        case ScopeKind.LABEL:
            wanted = [label_series(scope.name, timing)]
        case ScopeKind.TENANT:
            wanted = [tenant_series(scope.name, timing)]
        case ScopeKind.REGION:
            wanted = [region_series(scope.name, timing)]
        case ScopeKind.POPULATION if [each.name for each in run.plan.populations] == [scope.name]:
            return series_of(Scope(), run, timing)
        case ScopeKind.POPULATION:
            wanted = [population_series(scope.name, timing)]
        case ScopeKind.INSTANCE:
            wanted = []
    return tuple(name for name in wanted if name in run.table.series)


def records_of(run: Run, window: Window, population: str | None = None) -> Traffic:
    """Each acknowledged record as an operation without a time, in the second of its end.

    The end of a record is its acknowledgement. The records are those of a population, or of all
    populations that the plan states to write records. Records of other users count only if the plan
    states none. Otherwise they would hide missing records.
    """
    stated = [each.name for each in run.plan.populations if each.records]
    writers: list[str | None] = [population] if population is not None else [*stated] or [None]
    counts = np.zeros(window.seconds, np.int64)
    for each in run.worker_seconds:
        if window.start <= each.second < window.end:
            counts[each.second - window.start] += sum(each.count(RECORDS, writer) for writer in writers)
    none = np.zeros(window.seconds, np.int64)
    return Traffic(
        window.seconds, np.arange(window.seconds), none, none, counts, np.zeros((window.seconds, 3)), counts
    )


def traffic_of(
    run: Run,
    series: Sequence[str],
    window: Window,
    kind: Kind = Kind.RESPONSE,
    *,
    successes_only: bool = False,
) -> Traffic:
    """The operations of some series in a window, by response time (judged) or service time."""
    second, outcome, bucket, count = run.table.select(kind, series, window.start, window.end)
    when, result, sums = run.table.totals(series, window.start, window.end)
    timed_out = [number for number, name in enumerate(run.table.outcomes) if name in TIMEOUTS]
    good, has_time = result == 0, result == 0
    if successes_only:
        kept = outcome == 0
        second, outcome, bucket, count = (each[kept] for each in (second, outcome, bucket, count))
    else:
        has_time = good | np.isin(result, timed_out)
    timed = np.zeros((window.seconds, 3))
    place = when - window.start
    timed[:, 0] = np.bincount(place[good], sums[good, _N], window.seconds)
    spent = sums[:, _SERVICE if kind is Kind.SERVICE else _RESPONSE]
    timed[:, 1] = np.bincount(place[good], spent[good], window.seconds)
    np.maximum.at(timed[:, 2], place[has_time], sums[has_time, LONGEST])
    if kind is Kind.SERVICE:
        timed[:, 2] = np.minimum(timed[:, 2], _longest_service(window, timed_out, second, outcome, bucket))
    succeeded = timed[:, 0].sum()
    # If no operation succeeded, only time-outs have a time.
    counted = outcome != 0 if succeeded else np.isin(outcome, timed_out)
    if counted.any():
        place, number, times = (
            second[counted] - window.start,
            count[counted],
            buckets.middles(bucket[counted]),
        )
        times = np.maximum(times, _mean_of_others(float(timed[:, 1].sum()), float(succeeded), times, number))
        timed[:, 0] += np.bincount(place, number, window.seconds)
        timed[:, 1] += np.bincount(place, times * number, window.seconds)
    took = bucket
    if not successes_only:
        bucket = np.where(outcome == 0, bucket, FAILED)
    ended, result, _, ends = run.table.select(Kind.COMPLETED, series, window.start, window.end)
    good = result == 0
    completed = np.bincount(ended[good] - window.start, ends[good], window.seconds).astype(np.int64)
    return Traffic(window.seconds, second - window.start, bucket, took, count, timed, completed)


def _longest_service(
    window: Window, timed_out: list[int], second: Integers, outcome: Integers, bucket: Integers
) -> Floats:
    """The longest service time of each second, shape (`seconds`,), to the width of a bucket."""
    longest = np.zeros(window.seconds)
    has_time = (outcome == 0) | np.isin(outcome, timed_out)
    np.maximum.at(longest, second[has_time] - window.start, buckets.middles(bucket[has_time]))
    return longest


def _mean_of_others(spent: float, succeeded: float, times: Floats, number: Integers) -> float:
    """The mean of the successes and of the failures that took longer than this mean, in seconds.

    `spent`, `succeeded`: the sum of the successes' times, and their number. `times`, `number` (n,):
    those of the failures. Each failure counts with at least this mean. So an operation that fails
    instead of succeeding cannot lower the mean.
    """
    longest_first = np.argsort(-times, kind="stable")
    times, number = times[longest_first], number[longest_first]
    with_longest = np.append(spent, spent + np.cumsum(times * number))
    means = with_longest / np.maximum(np.append(succeeded, succeeded + np.cumsum(number)), 1.0)
    is_shorter = times < means[:-1]
    return float(means[int(np.argmax(is_shorter)) if is_shorter.any() else len(times)])
