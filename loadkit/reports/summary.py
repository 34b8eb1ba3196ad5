"""A run's figures as JSON values: seconds, bytes, ratios 0-1; described by `run.schema.json` beside this module."""

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from loadkit.criterion import Scope
from loadkit.judging import window as steady
from loadkit.judging.health import health, held_per_second
from loadkit.judging.omission import correct_omission
from loadkit.recording import histogram as buckets
from loadkit.recording.histogram import FAILED, quantile_of
from loadkit.recording.run import Run
from loadkit.recording.slices import Kind, label_series, worker_series
from loadkit.recording.traffic import Traffic, series_of, traffic_of
from loadkit.verdict import Verdict, Window
from loadkit.workload.workload import Model

__all__ = ["SCHEMA", "summarise", "verdict_json"]

SCHEMA = "loadkit-run/1"
"""What the `schema` key says; it changes when a key changes its meaning."""

_QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}

Integers = npt.NDArray[np.int64]


def summarise(run: Run, window: Window | None) -> dict[str, Any]:
    """All figures of a run in a window; of the whole of it where there is none, with a warning.

    `response_time` counts the failed as above every time, and what stalls kept away from a closed load (`corrected`);
    `response_time_ok` are the successes alone, as they came.
    """
    warnings = list(run.warnings)
    if window is None:
        window = steady.whole(run)
        warnings.append("there is no steady window: these figures are of the whole run")
    series = series_of(Scope(), run)
    traffic = traffic_of(run, series, window)
    service = traffic_of(run, series, window, Kind.SERVICE)
    is_closed = run.plan.workload.model is Model.CLOSED
    corrected = correct_omission(traffic, run.stalls, window.start, 0.0) if is_closed else traffic
    late = _merged(run, Kind.LATENESS, window)
    state = health(run, window)
    worker_seconds = [
        worker_second
        for worker_second in run.worker_seconds
        if window.start <= worker_second.second < window.end
    ]
    return {
        "schema": SCHEMA,
        "plan": run.plan.to_json(),
        "window": {"start": run.started + window.start, "seconds": window.seconds, "phase": window.phase},
        "operations": traffic.size,
        "failed": traffic.failed,
        "dropped": sum(worker_second.dropped for worker_second in worker_seconds),
        "filled": corrected.corrected,
        "throughput": float(traffic.completed.sum()) / window.seconds,
        "error_rate": traffic.failed / traffic.size if traffic.size else None,
        "response_time": _times(corrected),
        "response_time_ok": _times(traffic_of(run, series, window, successes_only=True)),
        # Of service times no exact longest is recorded: the middle of the last bucket is within 0.1 %.
        "service_time": _times(service) | ({} if service.failed else {"max": _longest(service.histogram())}),
        "lateness": _quantiles(late) | {"mean": _mean(late), "max": _longest(late)},
        "by_label": _by_label(run, window),
        "held": _held(run, window) if is_closed else None,
        "generator": {
            "cpu_seconds": sum(worker_second.cpu_seconds for worker_second in worker_seconds),
            "peak_memory_bytes": _peak_memory(run, window),
            "workers": run.workers,
            "loop_lag_p99": state.figures["loop_lag_p99"] if _merged(run, Kind.LAG, window).any() else None,
            "signs": {
                result.check.name: {
                    "value": result.value,
                    "warns": result.warns_from,
                    "invalid": result.invalid_from,
                }
                for result in state.checks
            },
            "health": state.status,
            "reasons": list(state.reasons),
        },
        "warnings": warnings,
    }


def verdict_json(verdict: Verdict) -> dict[str, Any]:
    """A verdict as JSON values; a bound that is infinite is null."""
    data = dataclasses.asdict(verdict)
    data["status"] = verdict.status.value
    data["interval"] = (
        [value if math.isfinite(value) else None for value in verdict.interval] if verdict.interval else None
    )
    data["warnings"] = list(verdict.warnings)
    return data


def _times(traffic: Traffic) -> dict[str, Any]:
    """Mean of what has a time, percentiles of all, the longest; null is above every time, and then "censored" says so."""
    figures = _quantiles(traffic.histogram())
    figures["mean"] = traffic.mean
    figures["max"] = float(traffic.timed[:, 2].max()) if traffic.size and not traffic.failed else None
    if traffic.failed:
        figures["censored"] = True
    return figures


def _quantiles(histogram: Integers) -> dict[str, Any]:
    return {name: quantile_of(histogram, quantile) for name, quantile in _QUANTILES.items()}


def _merged(run: Run, kind: Kind, window: Window) -> Integers:
    """What all workers counted of a kind, by bucket."""
    workers = [worker_series(worker) for worker in range(run.workers)]
    each = run.table.histograms(kind, workers, window.start, window.end)
    merged = np.zeros(FAILED + 1, np.int64)
    for histogram in each.values():
        merged += histogram
    return merged


def _mean(histogram: Integers) -> float | None:
    total = int(histogram.sum())
    return float(histogram[:FAILED] @ buckets.lower_edges(np.arange(FAILED))) / total if total else None


def _longest(histogram: Integers) -> float | None:
    used = np.flatnonzero(histogram)
    return buckets.middle(int(used[-1])) if len(used) else None


def _by_label(run: Run, window: Window) -> dict[str, Any]:
    labels = {label_series(label): label for label in run.table.names(label_series(""))}
    figures: dict[str, Any] = {}
    for series, histogram in run.table.histograms(Kind.RESPONSE, labels, window.start, window.end).items():
        size, failed = int(histogram.sum()), int(histogram[FAILED])
        times = _quantiles(histogram)
        if failed:
            times["censored"] = True
        figures[labels[series]] = {
            "operations": size,
            "failed": failed,
            "throughput": (size - failed) / window.seconds,
            "error_rate": failed / size,
            "response_time": times,
        }
    return figures


def _held(run: Run, window: Window) -> dict[str, float]:
    held, stated = held_per_second(run, window)
    return {"stated": float(stated.max()), "mean": float(held.mean()), "min": float(held.min())}


def _peak_memory(run: Run, window: Window) -> int:
    """The workers' together, in the second in which that was the most."""
    memory = np.zeros(window.seconds, np.int64)
    for worker_second in run.worker_seconds:
        if window.start <= worker_second.second < window.end:
            memory[worker_second.second - window.start] += worker_second.memory_bytes
    return int(memory.max())
