"""A run second by second, as CSV: for those who want to look at the figures behind a chart themselves."""

import csv
import io
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from loadkit.criterion import Scope
from loadkit.record import Run
from loadkit.slices import Kind, worker_series
from loadkit.traffic import FAILED, quantile_of, series_of, traffic_of
from loadkit.verdict import Window

__all__ = ["generator", "seconds"]

_QUANTILES = (0.5, 0.95, 0.99)


def seconds(run: Run) -> bytes:
    """The traffic of each second: operations that were due in it, how they ended, their response times in seconds.

    A percentile that lies among failed operations is empty, as one of no operation is.
    """
    whole = Window(0, max(1, int(np.ceil(run.ended_at))))
    traffic = traffic_of(run, series_of(Scope(), run), whole)
    due, failed = traffic.per_second(), traffic.per_second(FAILED)
    held, in_flight = np.zeros(whole.seconds, np.int64), np.zeros(whole.seconds, np.int64)
    for beat in run.beats:
        if beat.second < whole.seconds:
            held[beat.second] += beat.held
            in_flight[beat.second] += beat.in_flight
    columns = (
        "second",
        "users_held",
        "in_flight",
        "operations_due",
        "failed",
        "succeeded_in_it",
        "p50",
        "p95",
        "p99",
    )
    rows = (
        (
            second,
            held[second],
            in_flight[second],
            due[second],
            failed[second],
            traffic.completed[second],
            *times,
        )
        for second, times in enumerate(
            _percentiles(traffic.second, traffic.bucket, traffic.count, whole.seconds)
        )
    )
    return _csv(columns, rows)


def generator(run: Run) -> bytes:
    """The load generator's own state, by worker and second; times in seconds, memory in bytes."""
    columns = (
        "second", "worker", "users_held", "scheduled", "sent", "blocked_by_service", "dropped", "starved",
        "cpu_seconds", "longest_pause", "memory_bytes", "loop_lag_p99", "lateness_p99",
    )  # fmt: skip
    end = max((beat.second for beat in run.beats), default=0) + 1
    delays = {
        (worker, kind): _delays(run, kind, worker, end)
        for worker in {beat.worker for beat in run.beats}
        for kind in (Kind.LAG, Kind.LATENESS)
    }
    rows = (
        (
            beat.second, beat.worker, beat.held, beat.scheduled, beat.sent, beat.blocked, beat.dropped, beat.starved,
            f"{beat.cpu_seconds:.4f}", f"{beat.longest_pause:.6f}", beat.memory_bytes,
            delays[beat.worker, Kind.LAG][beat.second], delays[beat.worker, Kind.LATENESS][beat.second],
        )
        for beat in sorted(run.beats, key=lambda beat: (beat.second, beat.worker))
    )  # fmt: skip
    return _csv(columns, rows)


def _delays(run: Run, kind: Kind, worker: int, end: int) -> list[str]:
    """The p99 of a worker's own delays, by second."""
    second, _, bucket, count = run.table.select(kind, [worker_series(worker)], 0, end)
    return [row[-1] for row in _percentiles(second, bucket, count, end)]


def _percentiles(second: Any, bucket: Any, count: Any, length: int) -> list[list[str]]:
    """p50, p95 and p99 of each second, as text; empty where there is none."""
    order = np.argsort(second, kind="stable")
    bucket, count = bucket[order], count[order]
    cuts = np.searchsorted(second[order], np.arange(length + 1))
    rows: list[list[str]] = []
    for low, high in pairwise(cuts):
        histogram = np.bincount(bucket[low:high], count[low:high], FAILED + 1).astype(np.int64)
        found = (quantile_of(histogram, quantile) for quantile in _QUANTILES)
        rows.append(["" if value is None else f"{value:.6f}" for value in found])
    return rows


def _csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    held = io.StringIO()
    writer = csv.writer(held, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return held.getvalue().encode()
