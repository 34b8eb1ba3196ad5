"""Statistics of a run for the live status."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from loadkit.recording import histogram as buckets
from loadkit.recording.ending import EMERGENCY_SECONDS, EMERGENCY_SHARE
from loadkit.recording.health_bounds import CPU, LOOP_LAG
from loadkit.recording.histogram import quantile_of
from loadkit.recording.messages import CONNECTIONS, MESSAGES_RECEIVED
from loadkit.recording.recorder import Report
from loadkit.recording.sample import OK
from loadkit.recording.slices import Kind, SliceTable, label_series
from loadkit.recording.timing import CONNECT, MESSAGE, QUERY, REQUEST, Timing
from loadkit.recording.worker_second import HELD
from loadkit.users.lifecycle import ARRIVAL_LABEL
from loadkit.workload.plan import Plan

__all__ = ["LiveStats", "Progress"]

_FEWEST = 20
"""Minimum failed operations for an emergency stop. One failing log-in is retried each second."""


@dataclass(frozen=True, slots=True)
class Progress:
    """A run at one moment, for the live status."""

    elapsed: float
    """Seconds since the start instant; negative before it."""
    seconds: float
    """Planned duration of the load."""
    phase: str
    """"ramp", "hold", "stage 3"; "drain" at the end."""
    users: int
    """Users held; 0 for open load."""
    rate: float
    """Operations that ended in the last second: requests, queries, and attempts to connect."""
    p50: float
    """Seconds; of the recent successful operations, or of the messages if they are more.

    NaN if there are none."""
    p95: float
    p99: float
    errors: float
    """Ratio of the recent operations that failed."""
    health: str
    """Health of the generator: "ok", or the problem."""
    messages: float = 0.0
    """Messages that arrived in the last second, also those without a time."""
    connections: int = 0
    """Connections open at the end of the last second."""


class LiveStats:
    """Summarizes the last second of all workers, and detects loads that must stop."""

    def __init__(self, plan: Plan, workers: int) -> None:
        self._plan = plan
        self._latest: dict[int, Report] = {}
        self._workers = workers
        self._recent: deque[tuple[int, int, int]] = deque(maxlen=EMERGENCY_SECONDS * workers)
        """For each report: operations, failures, and the failed arrivals, which both include."""

    def add(self, report: Report) -> None:
        """Add a report."""
        self._latest[report.worker] = report
        self._recent.append((*_vital(report.table), _arrivals(report.table)))

    @property
    def failing(self) -> tuple[int, int] | None:
        """Operations and failures of the last ten seconds if more than half failed; else None.

        A few failures are not a collapse. While connections are open, users who cannot log in are
        not counted, because users who hold a connection record no operation.
        """
        if len(self._recent) < EMERGENCY_SECONDS * self._workers:
            return None
        is_open = any(report.worker_second.gauge(CONNECTIONS) for report in self._latest.values())
        operations, failures = _sum(
            (operations - is_open * arrivals, failures - is_open * arrivals)
            for operations, failures, arrivals in self._recent
        )
        is_collapse = failures >= _FEWEST and failures > EMERGENCY_SHARE * operations
        return (operations, failures) if is_collapse else None

    def progress(self, elapsed: float) -> Progress:
        """The progress at `elapsed` seconds since the start."""
        reports = list(self._latest.values())
        operations, failures = _sum(_attempts(report.table) for report in reports)
        tables = [report.table for report in reports]
        messages, queries, requests = (
            sum(_counted(table, timing)[0] for table in tables) for timing in (MESSAGE, QUERY, REQUEST)
        )
        timing = MESSAGE if messages > operations else QUERY if queries > requests else REQUEST
        p50, p95, p99 = _quantiles(tables, (0.50, 0.95, 0.99), timing)
        phases = [phase.name for phase in self._plan.workload.phases() if phase.start <= elapsed < phase.end]
        return Progress(
            elapsed=elapsed,
            seconds=self._plan.seconds,
            phase=phases[0] if phases else "start" if elapsed < 0 else "drain",
            users=round(sum(report.worker_second.gauge(HELD) for report in reports)),
            rate=float(operations),
            p50=p50,
            p95=p95,
            p99=p99,
            errors=failures / operations if operations else 0.0,
            health=_health(reports),
            messages=float(max(messages, _received(reports))),
            connections=round(sum(report.worker_second.gauge(CONNECTIONS) for report in reports)),
        )


def _received(reports: Iterable[Report]) -> int:
    """The messages of a second. Those that a journey does not expect have no time."""
    return sum(report.worker_second.count(MESSAGES_RECEIVED) for report in reports)


def _sum(attempts: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """The sum of the operations and the sum of the failures.

    There are at least as many operations as failures. A success that later became a failure may be
    older than these operations.
    """
    pairs = list(attempts)
    failures = sum(failed for _, failed in pairs)
    return max(sum(attempted for attempted, _ in pairs), failures), failures


def _attempts(table: SliceTable, timings: Sequence[Timing] = (REQUEST, QUERY, CONNECT)) -> tuple[int, int]:
    """Requests, queries and attempts to connect in a table, and how many of them failed."""
    pairs = [_counted(table, timing) for timing in timings]
    return sum(attempted for attempted, _ in pairs), sum(failed for _, failed in pairs)


def _vital(table: SliceTable) -> tuple[int, int]:
    """Operations whose failures can end a load, and how many failed.

    While messages arrive, attempts to connect do not count. A few clients that cannot reconnect
    are not a collapse.
    """
    timings = (REQUEST, QUERY) if _counted(table, MESSAGE)[0] else (REQUEST, QUERY, CONNECT)
    return _attempts(table, timings)


def _arrivals(table: SliceTable) -> int:
    """Failed arrivals in a table; those that succeeded are not recorded."""
    _, _, sums = table.totals([label_series(ARRIVAL_LABEL)], 0, 1 << 22)
    return int(sums[:, 0].sum())


def _counted(table: SliceTable, timing: Timing) -> tuple[int, int]:
    """Operations of a timing in a table, and how many of them failed."""
    series = [label_series(label, timing) for label in table.labels(timing)]
    _, outcome, sums = table.totals(series, 0, 1 << 22)
    counts = sums[:, 0]
    return int(counts.sum()), int(counts[outcome != 0].sum())


def _quantiles(tables: Sequence[SliceTable], shares: Sequence[float], timing: Timing) -> list[float]:
    """Quantiles of the successes' times of a timing, in seconds."""
    totals = np.zeros(buckets.BUCKETS, np.int64)
    for table in tables:
        _, outcome, bucket, counts = table.select(
            Kind.RESPONSE, [label_series(label, timing) for label in table.labels(timing)], 0, 1 << 22
        )
        np.add.at(totals, bucket[outcome == 0], counts[outcome == 0])
    np.maximum(totals, 0, out=totals)
    values = (quantile_of(totals, share) for share in shares)
    return [float("nan") if value is None else value for value in values]


def _health(reports: Sequence[Report]) -> str:
    """The generator's health in the last second.

    The time limits of criteria are not known here, so the judge's result may differ.
    """
    lag = max((_lag(report.table) for report in reports), default=0.0)
    cpu = max((report.worker_second.cpu_seconds for report in reports), default=0.0)
    if cpu > CPU.invalid.fixed:
        return f"generator at {cpu:.0%} of a core"
    if lag > LOOP_LAG.invalid.fixed:
        return f"generator {lag * 1e3:.0f} ms late"
    return OK


def _lag(table: SliceTable) -> float:
    """The 99th percentile of the event loop's lag, in seconds."""
    workers = [name for name in table.series if name.startswith("worker:")]
    _, _, bucket, counts = table.select(Kind.LAG, workers, 0, 1 << 22)
    return quantile_of(np.bincount(bucket, counts).astype(np.int64), 0.99) or 0.0
