"""The figures of a run as JSON values: seconds, bytes, ratios 0-1; see `run.schema.json`."""

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from loadkit.judging.evidence import EVERYTHING, Evidence
from loadkit.recording import histogram as buckets
from loadkit.recording.health_bounds import LOOP_LAG
from loadkit.recording.histogram import FAILED, quantile_of
from loadkit.recording.run import Run
from loadkit.recording.slices import Kind, label_series, region_series, worker_series
from loadkit.recording.traffic import Traffic, series_of
from loadkit.recording.worker_second import DROPPED
from loadkit.reports import database
from loadkit.verdict import Verdict, Window

__all__ = ["SCHEMA", "generator_cost", "summarise", "verdict_json"]

SCHEMA = "loadkit-run/1"
"""Value of the `schema` key; it changes when the meaning of a key changes."""

_QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}

Integers = npt.NDArray[np.int64]


def summarise(evidence: Evidence, window: Window | None = None) -> dict[str, Any]:
    """All figures of a run in a window (default: the steady window, else the whole run).

    `response_time` counts failed operations as above every time. For a closed load, it includes the
    coordinated-omission correction. `response_time_ok` counts only successes, uncorrected.
    """
    run, warnings = evidence.run, list(evidence.run.warnings)
    window = window or evidence.window
    if window is None:
        window = evidence.whole
        warnings.append("there is no steady window; the figures cover the whole run")
    traffic = evidence.traffic(window=window)
    service = evidence.traffic(window=window, kind=Kind.SERVICE)
    corrected = evidence.corrected(0.0, window=window)
    late = _merged(run, Kind.LATENESS, window)
    failures = run.table.failures(series_of(EVERYTHING, run), window.start, window.end)
    dropped = evidence.per_second(lambda worker_second: worker_second.count(DROPPED), window)
    return {
        "schema": SCHEMA,
        "plan": run.plan.to_json(),
        "window": {"start": run.started + window.start, "seconds": window.seconds, "phase": window.phase},
        "operations": traffic.size,
        "failed": traffic.failed,
        "failures_by_kind": _together(failures.values()),
        "examples": [dataclasses.asdict(example) for example in run.examples],
        "dropped": int(dropped.sum()),
        "filled": corrected.corrected,
        "throughput": float(traffic.completed.sum()) / window.seconds,
        "error_rate": traffic.failed / traffic.size if traffic.size else None,
        "response_time": _times(corrected),
        "response_time_ok": _times(evidence.traffic(window=window, successes_only=True)),
        # The exact maximum service time is not recorded. The middle of the last bucket is within
        # 0.1 % of it.
        "service_time": _times(service) | ({} if service.failed else {"max": _longest(service.histogram())}),
        "lateness": _quantiles(late) | {"mean": _mean(late), "max": _longest(late)},
        "by_label": _by_name(run, window, failures, _series_of_labels(run)),
        "by_region": _by_name(
            run,
            window,
            run.table.failures(_series_of_regions(run), window.start, window.end),
            _series_of_regions(run),
        ),
        "held": _held(evidence, window) if evidence.closed else None,
        "generator": _generator(evidence, window),
        **({} if run.database is None else {"database": database.summary(run.database)}),
        "warnings": warnings,
    }


def _generator(evidence: Evidence, window: Window) -> dict[str, Any]:
    """The figures of the load generator itself."""
    run, state = evidence.run, evidence.health(window)
    cpu_seconds, memory = generator_cost(evidence, window)
    return {
        "cpu_seconds": cpu_seconds,
        "peak_memory_bytes": memory,
        "workers": run.workers,
        "loop_lag_p99": state.figures[LOOP_LAG.name] if _merged(run, Kind.LAG, window).any() else None,
        "signs": {
            result.check.name: {
                "value": result.value,
                "warns": result.warns_from,
                "invalid": result.invalid_from,
            }
            for result in state.checks
        },
        "relay": run.facts.get("relay"),
        "health": state.status,
        "reasons": list(state.reasons),
    }


def generator_cost(evidence: Evidence, window: Window) -> tuple[float, int]:
    """The processor time of the workers in a window in seconds, and their peak memory in bytes."""
    cpu = evidence.per_second(lambda worker_second: worker_second.cpu_seconds, window)
    memory = evidence.per_second(lambda worker_second: worker_second.memory_bytes, window)
    return float(cpu.sum()), int(memory.max())


def verdict_json(verdict: Verdict) -> dict[str, Any]:
    """A verdict as JSON values; an infinite bound is null."""
    data = dataclasses.asdict(verdict)
    data["status"] = verdict.status.value
    data["interval"] = (
        [value if math.isfinite(value) else None for value in verdict.interval] if verdict.interval else None
    )
    data["warnings"] = list(verdict.warnings)
    return data


def _times(traffic: Traffic) -> dict[str, Any]:
    """Mean of the successes; percentiles and maximum of all operations.

    A percentile or maximum that is null is above every time; then "censored" is true.
    """
    figures = _quantiles(traffic.histogram())
    figures["mean"] = traffic.mean
    figures["max"] = float(traffic.timed[:, 2].max()) if traffic.size and not traffic.failed else None
    if traffic.failed:
        figures["censored"] = True
    return figures


def _quantiles(histogram: Integers) -> dict[str, Any]:
    return {name: quantile_of(histogram, quantile) for name, quantile in _QUANTILES.items()}


def _merged(run: Run, kind: Kind, window: Window) -> Integers:
    """The counts of a kind over all workers, by bucket."""
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


def _series_of_labels(run: Run) -> dict[str, str]:
    """The labels of requests by their series."""
    return {label_series(label): label for label in run.table.labels()}


def _series_of_regions(run: Run) -> dict[str, str]:
    """The regions by the series of their requests; empty in a run without regions."""
    return {region_series(region): region for region in run.table.names(region_series(""))}


def _by_name(
    run: Run, window: Window, failures: Mapping[str, Mapping[str, int]], labels: Mapping[str, str]
) -> dict[str, Any]:
    """The figures of some series, by the names of the series in `labels`."""
    figures: dict[str, Any] = {}
    for series, histogram in run.table.histograms(Kind.RESPONSE, labels, window.start, window.end).items():
        size, failed = int(histogram.sum()), int(histogram[FAILED])
        times = _quantiles(histogram)
        if failed:
            times["censored"] = True
        figures[labels[series]] = {
            "operations": size,
            "failed": failed,
            "failures_by_kind": failures.get(series, {}),
            "throughput": (size - failed) / window.seconds,
            "error_rate": failed / size,
            "response_time": times,
        }
    return figures


def _together(failures: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """The counts by kind over all labels, the most frequent kind first."""
    return dict(sum((Counter(kinds) for kinds in failures), Counter[str]()).most_common())


def _held(evidence: Evidence, window: Window) -> dict[str, float]:
    held, stated = evidence.held(window)
    return {"stated": float(stated.max()), "mean": float(held.mean()), "min": float(held.min())}
