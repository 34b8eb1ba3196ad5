"""Operations above the limit of a criterion on times: how many, which, for whom and since when."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from loadkit.criterion import Criterion, Family, Scope, ScopeKind
from loadkit.judging.evidence import EVERYTHING, Evidence
from loadkit.recording import histogram as buckets
from loadkit.recording.run import Run
from loadkit.recording.slices import Kind, label_series, region_series, tenant_series
from loadkit.recording.timing import OPERATION, OPERATIONS, QUERY, REQUEST, Timing, timing_of
from loadkit.recording.traffic import series_of
from loadkit.units import format_ratio, format_seconds
from loadkit.verdict import Window

__all__ = ["STILL", "SlowOperations", "end_of", "first_few", "slow_operations"]

_ALLOWED_OF_MEAN = 0.05
"""Ratio of operations above the limit that is usual while the mean is below the limit."""
_FEWEST = 3.0
"""The mean number of operations above the limit in a block of seconds with the allowed ratio."""
_IN_A_ROW = 3
"""Consecutive blocks; most are above the allowed ratio where a slow period begins or ends."""
_FAR, _LONG = 3.0, 5
"""Multiple of the allowed ratio, and seconds of length, for a single block to be a slow period."""
STILL = 5.0
"""Seconds before the end of the load.

A fault or a slow period that ends within them counts as lasting until the end."""
_NAMES_SHOWN = 3


@dataclass(frozen=True, slots=True)
class SlowOperations:
    """The successful operations of a criterion that took longer than its limit, in its window."""

    limit: float
    """Seconds."""
    allowed: float
    """The ratio of operations that may be above the limit."""
    count: int
    operations: int
    first: float | None
    """Seconds from the run's start until the slow period began; None if there was none.

    In a slow period, more than the allowed ratio of the operations was above the limit. It can
    begin before the window, as in a ramp."""
    last: float | None
    """Seconds until the slow period ended; None if there was none, or it lasted to the load's end."""
    by_label: Mapping[str, float]
    """The ratio above the limit of each label with more than the allowed one, the highest first."""
    labels: int
    """The number of all labels with operations."""
    by_tenant: Mapping[str, float]
    tenants: int
    by_region: Mapping[str, float]
    regions: int
    noun: str = "operations"

    @property
    def parts(self) -> list[str]:
        """How many, which and for whom, in words; without the slow period."""
        share = format_ratio(self.count / self.operations)
        clauses = [
            f"slower than {format_seconds(self.limit)}: {self.count:,} of {self.operations:,} {self.noun} ({share})"
        ]
        for shares, number, noun in (
            (self.by_label, self.labels, "endpoints" if self.noun == "requests" else "labels"),
            (self.by_tenant, self.tenants, "tenants"),
            (self.by_region, self.regions, "regions"),
        ):
            if shares and number > 1:
                clauses.append(_spread(shares, number, noun))
        return clauses

    def to_json(self) -> dict[str, Any]:
        """As JSON values; seconds and ratios."""
        return {
            "limit": self.limit,
            "count": self.count,
            "operations": self.operations,
            "first": self.first,
            "last": self.last,
            "by_label": dict(self.by_label),
            "by_tenant": dict(self.by_tenant),
            "by_region": dict(self.by_region),
        }


def slow_operations(
    evidence: Evidence, criterion: Criterion, scope: Scope, window: Window
) -> SlowOperations | None:
    """The operations above the limit of a criterion on times.

    None for other criteria, and if no operation is above the limit.
    """
    measure, limit = criterion.measure, criterion.limit
    # The limit of a recovery or an alert is a deadline, not a limit of operations.
    is_on_times = measure.family in {Family.TIME, Family.RECONNECTION}
    if not is_on_times or not criterion.comparison.is_upper or limit <= 0:
        return None
    timings = OPERATIONS if measure.timing == OPERATION.key else (timing_of(measure.timing),)
    allowed = _ALLOWED_OF_MEAN if measure.quantile is None else 1 - measure.quantile
    bucket, table = buckets.index(limit), evidence.run.table
    series = [name for timing in timings for name in series_of(scope, evidence.run, timing)]
    second, outcome, place, number = table.select(Kind.RESPONSE, series, 0, window.end)
    good = outcome == 0
    second, place, number = second[good], place[good], number[good]
    is_above = place >= bucket
    above_so_far, so_far = (
        np.bincount(second[chosen], number[chosen], window.end).astype(np.float64)
        for chosen in (is_above, slice(None))
    )
    above, every = above_so_far[window.start :], so_far[window.start :]
    if not above.sum():
        return None
    first, last = _span(above, every, allowed)
    if first == 0:  # else a fault of the ramp would seem to begin with the window
        length = _block_length(every, allowed)
        first -= _slow_before(above_so_far[: window.start], so_far[: window.start], allowed, length)
    if first is not None and last is not None:
        period = slice(first + window.start, last + window.start + 1)
        first += _begin(above_so_far[period], so_far[period], allowed)
    # A population has no series by label or tenant. Those of the whole run show where it is slow.
    is_whole = scope.kind in {ScopeKind.ALL, ScopeKind.POPULATION}
    of_labels = [each for timing in timings for each in series_of(EVERYTHING, evidence.run, timing)]

    def ratios(names: Mapping[str, str]) -> tuple[dict[str, float], int]:
        found = table.histograms(Kind.RESPONSE, names, window.start, window.end)
        counts = {names[name]: row[: buckets.BUCKETS] for name, row in found.items()}
        shares = {
            name: float(row[bucket:].sum() / row.sum())
            for name, row in counts.items()
            if row.sum() and row[bucket:].sum() > 1
        }
        most = sorted(shares.items(), key=lambda item: -item[1])
        return {name: share for name, share in most if share > allowed}, len(counts)

    by_label, labels = ratios(_labels(evidence, scope, timings, of_labels if is_whole else series))
    by_tenant, tenants = ratios(_all(evidence, timings, tenant_series) if is_whole else {})
    by_region, regions = ratios(_all(evidence, timings, region_series) if is_whole else {})
    return SlowOperations(
        limit,
        allowed,
        int(above.sum()),
        int(every.sum()),
        None if first is None else float(first + window.start),
        None if last is None else end_of(float(last + window.start), evidence.run),
        by_label,
        labels,
        by_tenant,
        tenants,
        by_region,
        regions,
        {REQUEST.key: "requests", QUERY.key: "queries"}.get(timings[0].key, "operations")
        if len(timings) == 1
        else "operations",
    )


def _labels(
    evidence: Evidence, scope: Scope, timings: Sequence[Timing], series: Sequence[str]
) -> dict[str, str]:
    """The labels that a scope covers, by series; none if it is one label or no set of labels."""
    if scope.kind is ScopeKind.LABEL:
        return {}
    every = {
        label_series(each, timing): each for timing in timings for each in evidence.run.table.labels(timing)
    }
    return {name: every[name] for name in series if name in every}


def _all(evidence: Evidence, timings: Sequence[Timing], series: Any) -> dict[str, str]:
    """The tenants or regions of a run, by series of one timing; none for several timings."""
    if len(timings) != 1:
        return {}
    prefix = series("", timings[0])
    return {prefix + name: name for name in evidence.run.table.names(prefix)}


def _span(
    above: npt.NDArray[np.float64], every: npt.NDArray[np.float64], allowed: float
) -> tuple[int | None, int | None]:
    """The first and the last second of the slow period, with too many operations above the limit.

    Seconds are joined to blocks with enough operations. A single block above the ratio may be
    chance. So the period begins and ends with a block above the ratio that has at least one
    neighbour above it. There are two exceptions. A long block that is far above the ratio is not
    chance. In a window of fewer than three blocks, each block counts.
    """
    length = _block_length(every, allowed)
    # A remainder of at most half a block is part of the block before it.
    starts = np.arange(0, max(1, len(every) - length // 2), length)
    ends = np.append(starts[1:], len(every)) - 1
    slow, total = np.add.reduceat(above, starts), np.add.reduceat(every, starts)
    is_above = slow > allowed * total
    most = np.convolve(is_above, np.ones(_IN_A_ROW))[1:-1] >= 2
    is_far_above = (slow > _FAR * allowed * total) & (length >= _LONG)
    is_slow = is_above & (most | is_far_above | (len(starts) < _IN_A_ROW))
    if not is_slow.any():
        return None, None
    places = np.flatnonzero(is_slow)
    return int(starts[places[0]]), int(ends[places[-1]])


def _block_length(every: npt.NDArray[np.float64], allowed: float) -> int:
    """The seconds of a block that has enough operations to be compared with the allowed ratio."""
    rate = every.sum() / max(len(every), 1)
    return max(1, math.ceil(_FEWEST / max(allowed, 1e-6) / max(float(rate), 1e-9)))


def _slow_before(
    above: npt.NDArray[np.float64], every: npt.NDArray[np.float64], allowed: float, length: int
) -> int:
    """The seconds directly before a slow window that were slow too, in blocks of a length."""
    begin = len(every)
    while begin > 0:
        start = max(0, begin - length)
        if above[start:begin].sum() <= allowed * every[start:begin].sum():
            break
        begin = start
    return len(every) - begin


def _begin(above: npt.NDArray[np.float64], every: npt.NDArray[np.float64], allowed: float) -> int:
    """The second of a slow period since which most operations above the limit occurred.

    A short stall can be joined to a slow period that begins some seconds later, or the first block
    can begin before the period. So seconds count in favour of the period or against it, depending
    on whether their ratio is above half of the period's ratio. The second in which the period
    begins is slow only in part.
    """
    score = above - above.sum() / every.sum() / 2 * every
    begin = int(np.argmax(np.cumsum(score[::-1])[::-1]))
    while begin > 0 and above[begin - 1] > allowed * every[begin - 1]:
        begin -= 1
    return begin


def end_of(last: float, run: Run) -> float | None:
    """The end of a period whose last second is known; None if it lasted to the end of the load."""
    return None if last >= run.ended_at - STILL else last


def first_few(texts: Iterable[str]) -> str:
    """The first texts of several, which are the most important: "delos 2, wonka 1, acme 1, …"."""
    every = list(texts)
    return ", ".join([*every[:_NAMES_SHOWN], *(["…"] if len(every) > _NAMES_SHOWN else [])])


def _spread(shares: Mapping[str, float], number: int, noun: str) -> str:
    shown = first_few(f"{name} {format_ratio(share)}" for name, share in shares.items())
    share = f"all {number}" if len(shares) == number else f"{len(shares)} of {number}"
    return f"{share} {noun} ({shown})"
