"""The figures of each second of a run as tables, for analysis beyond the charts."""

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt
import pandas as pd

from loadkit.criterion import Scope
from loadkit.judging.evidence import EVERYTHING, Evidence
from loadkit.recording.histogram import FAILED, quantiles_of_each
from loadkit.recording.run import Run
from loadkit.recording.slices import Kind, worker_series
from loadkit.recording.timing import OPERATION, OPERATIONS, REQUEST
from loadkit.recording.worker_second import (
    BLOCKED,
    DROPPED,
    HELD,
    HTTPX_REQUESTS,
    IN_FLIGHT,
    JOURNEY_ERROR,
    MET_ERROR,
    OUT_OF_DESCRIPTORS,
    SCHEDULED,
    SENT,
    WorkerSecond,
)

__all__ = ["csv_of", "generator", "one_timing", "seconds"]

_GAUGES = (HELD, IN_FLIGHT)
_COUNTS = (SCHEDULED, SENT, BLOCKED, DROPPED, OUT_OF_DESCRIPTORS, HTTPX_REQUESTS)
"""Counts of every run; other counts follow them."""
_COLUMNS = {HELD: "users_held", BLOCKED: "blocked_by_service"}
"""Columns whose name differs from the name of the count or gauge."""
_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}

Integers = npt.NDArray[np.int64]


def seconds(evidence: Evidence, scope: Scope = EVERYTHING, timing: str = OPERATION.key) -> pd.DataFrame:
    """The traffic of each second: the operations due, their outcomes, their times in seconds.

    Users held and operations in flight are those of the whole load, independent of the scope. Times
    of different timings do not mix. For all operations, the times are those of the requests, or of
    the queries if there are no requests. A percentile is missing if there is no operation, or if it
    is among failed operations.
    """
    whole, traffic = evidence.whole, evidence.traffic(scope, timing=timing)
    timed = evidence.traffic(scope, timing=one_timing(evidence, scope, timing))
    table = pd.DataFrame(
        {
            "users_held": evidence.total(HELD, whole).astype(np.int64),
            "in_flight": evidence.in_flight(whole).astype(np.int64),
            "operations_due": traffic.per_second(),
            "failed": traffic.per_second(FAILED),
            "succeeded_in_it": traffic.completed,
        }
    )
    times = _percentiles(timed.second, timed.bucket, timed.count, whole.seconds)
    return table.join(times).rename_axis("second").reset_index()


def one_timing(evidence: Evidence, scope: Scope, timing: str) -> str:
    """The key of a timing; for all operations, of the first timing with operations in the scope."""
    if timing != OPERATION.key:
        return timing
    return next((each.key for each in OPERATIONS if evidence.has(scope, each.key)), REQUEST.key)


def generator(evidence: Evidence) -> pd.DataFrame:
    """The state of the load generator, by second and worker; times in seconds, memory in bytes."""
    run = evidence.run
    table = _worker_seconds(run).copy()  # in one piece: pandas warns of tables of many small parts
    length = int(table["second"].max()) + 1 if len(table) else 0
    for kind, column in ((Kind.LAG, "loop_lag_p99"), (Kind.LATENESS, "lateness_p99")):
        table[column] = np.nan
        for worker in table["worker"].unique():
            second, _, bucket, count = run.table.select(kind, [worker_series(worker)], 0, length)
            rows = table["worker"] == worker
            delays = _percentiles(second, bucket, count, length)["p99"]
            table.loc[rows, column] = delays.reindex(table.loc[rows, "second"]).to_numpy()
    return table.sort_values(["second", "worker"], ignore_index=True)


def csv_of(table: pd.DataFrame) -> bytes:
    """A table as CSV with a precision of microseconds; missing values are empty."""
    return table.to_csv(index=False, float_format="%.6f").encode()


def _worker_seconds(run: Run) -> pd.DataFrame:
    """One row per worker and second; counts and gauges are sums over all populations."""
    counts, gauges = dict.fromkeys(_COUNTS), dict.fromkeys(_GAUGES)
    for each in run.worker_seconds:
        counts |= dict.fromkeys(
            name
            for named in each.counts.values()
            for name in named
            if not name.startswith((JOURNEY_ERROR, MET_ERROR))  # sentences; the warnings have them
        )
        gauges |= dict.fromkeys(name for named in each.gauges.values() for name in named)
    columns: dict[str, Callable[[WorkerSecond], float]] = {
        "second": lambda each: each.second,
        "worker": lambda each: each.worker,
        **{_column(name): partial(WorkerSecond.gauge, name=name) for name in gauges},
        **{_column(name): partial(WorkerSecond.count, name=name) for name in counts},
        "cpu_seconds": lambda each: each.cpu_seconds,
        "longest_pause": lambda each: each.longest_pause,
        "memory_bytes": lambda each: each.memory_bytes,
        "clock_offset": lambda each: each.clock_offset,
    }
    table = pd.DataFrame({name: [of(each) for each in run.worker_seconds] for name, of in columns.items()})
    return table.astype({_column(name): np.int64 for name in _GAUGES})


def _column(name: str) -> str:
    return _COLUMNS.get(name, name.replace(" ", "_"))


def _percentiles(second: Integers, bucket: Integers, count: Integers, length: int) -> pd.DataFrame:
    """p50, p95 and p99 of each second; missing if there is none, or if it is among the failed."""
    values = quantiles_of_each(second, bucket, count, length, list(_QUANTILES.values()))
    return pd.DataFrame(dict(zip(_QUANTILES, np.where(np.isinf(values), np.nan, values), strict=True)))
