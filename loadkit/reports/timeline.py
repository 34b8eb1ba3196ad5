"""A run second by second, as tables: for those who want to look at the figures behind a chart themselves."""

import dataclasses

import numpy as np
import numpy.typing as npt
import pandas as pd

from loadkit.criterion import Scope
from loadkit.judging.evidence import EVERYTHING, Evidence
from loadkit.recording.histogram import FAILED, quantiles_of_each
from loadkit.recording.run import Run
from loadkit.recording.slices import Kind, WorkerSecond, worker_series

__all__ = ["csv_of", "generator", "seconds"]

_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}

Integers = npt.NDArray[np.int64]


def seconds(evidence: Evidence, scope: Scope = EVERYTHING) -> pd.DataFrame:
    """The traffic of each second: operations that were due in it, how they ended, their response times in seconds.

    Users held and operations in flight are those of the whole load, whatever the scope. A percentile that lies among
    failed operations is missing, as one of no operation is.
    """
    whole, traffic = evidence.whole, evidence.traffic(scope)
    worker_seconds = (
        _worker_seconds(evidence.run)
        .groupby("second")[["held", "in_flight"]]
        .sum()
        .reindex(range(whole.seconds), fill_value=0)
    )
    table = pd.DataFrame(
        {
            "users_held": worker_seconds["held"],
            "in_flight": worker_seconds["in_flight"],
            "operations_due": traffic.per_second(),
            "failed": traffic.per_second(FAILED),
            "succeeded_in_it": traffic.completed,
        }
    )
    times = _percentiles(traffic.second, traffic.bucket, traffic.count, whole.seconds)
    return table.join(times).rename_axis("second").reset_index()


def generator(evidence: Evidence) -> pd.DataFrame:
    """The load generator's own state, by second and worker; times in seconds, memory in bytes."""
    run = evidence.run
    table = _worker_seconds(run).rename(columns={"held": "users_held", "blocked": "blocked_by_service"})
    length = int(table["second"].max()) + 1 if len(table) else 0
    for kind, column in ((Kind.LAG, "loop_lag_p99"), (Kind.LATENESS, "lateness_p99")):
        table[column] = np.nan
        for worker in table["worker"].unique():
            second, _, bucket, count = run.table.select(kind, [worker_series(worker)], 0, length)
            here = table["worker"] == worker
            delays = _percentiles(second, bucket, count, length)["p99"]
            table.loc[here, column] = delays.reindex(table.loc[here, "second"]).to_numpy()
    return table.sort_values(["second", "worker"], ignore_index=True)


def csv_of(table: pd.DataFrame) -> bytes:
    """A table as CSV, microseconds the last digit; what is missing is empty."""
    return table.to_csv(index=False, float_format="%.6f").encode()


def _worker_seconds(run: Run) -> pd.DataFrame:
    columns = [field.name for field in dataclasses.fields(WorkerSecond)]
    table = pd.DataFrame(
        [dataclasses.astuple(worker_second) for worker_second in run.worker_seconds], columns=columns
    )
    return table[["second", "worker", *(name for name in columns if name not in {"second", "worker"})]]


def _percentiles(second: Integers, bucket: Integers, count: Integers, length: int) -> pd.DataFrame:
    """p50, p95 and p99 of each second; missing where there is none, or where it lies among the failed."""
    values = quantiles_of_each(second, bucket, count, length, list(_QUANTILES.values()))
    return pd.DataFrame(dict(zip(_QUANTILES, np.where(np.isinf(values), np.nan, values), strict=True)))
