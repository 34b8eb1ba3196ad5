"""Runs made of arrays instead of load, for tests of what is judged."""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np

from loadkit.criterion import Comparison, Criterion, Family, Measure, Scope, Unit
from loadkit.judging import judge as judging
from loadkit.judging.evidence import Evidence
from loadkit.observers.observation import Observation
from loadkit.recording import histogram, packing
from loadkit.recording.ending import Ending
from loadkit.recording.messages import MessageLog
from loadkit.recording.run import Run
from loadkit.recording.sample import OK, Sample
from loadkit.recording.slices import Kind, SliceTable, label_series
from loadkit.recording.stalls import Stall
from loadkit.recording.timing import MESSAGE, Timing
from loadkit.recording.worker_second import (
    BLOCKED,
    DROPPED,
    HELD,
    HTTPX_REQUESTS,
    IN_FLIGHT,
    OUT_OF_DESCRIPTORS,
    SCHEDULED,
    SENT,
    WorkerSecond,
)
from loadkit.verdict import Verdict
from loadkit.workload.plan import PLAIN_NAMES, Plan, Population
from loadkit.workload.workload import MixEntry, Model, Stage, Workload


def judge(criterion: Criterion, run: Run) -> Verdict:
    """What a run says of a criterion, its evidence looked up afresh."""
    return judging.judge(criterion, Evidence(run))


def plan_of(
    seconds: float = 60,
    ramp: float = 0,
    level: float = 100,
    model: Model = Model.REQUESTS,
    stated_level: float = 0.0,
    **changes,
) -> Plan:
    """A ramp and a hold of one population; further fields of `Plan` by name."""
    stages = (Stage(ramp, level), Stage(seconds, level))
    workload = Workload(model, stages, (MixEntry("journeys:browse", 1.0),))
    return Plan("local", (Population(PLAIN_NAMES[model], workload, stated_level),), **changes)


def count_messages(table: SliceTable, rows: np.ndarray, label: str, timing: Timing = MESSAGE) -> None:
    """Count messages of one label in a table; `rows`: created, received, size; shape (n, 3)."""
    table.record_messages(rows, np.zeros(len(rows), np.int64), [MessageLog(label)], timing=timing)


def samples_of(
    starts: np.ndarray,
    times: np.ndarray,
    label: str | Sequence[str] = "GET /",
    outcome: str | Sequence[str] = OK,
    late: float = 0.0,
    **kind: str,
) -> list[Sample]:
    """Operations that were intended at `starts` and took `times`, in seconds; `late`: how much later each was sent."""
    labels = [label] * len(starts) if isinstance(label, str) else label
    outcomes = [outcome] * len(starts) if isinstance(outcome, str) else outcome
    rows = zip(labels, outcomes, np.asarray(starts).tolist(), np.asarray(times).tolist(), strict=True)
    return [
        Sample(name, how, start, start + late, start + time, 100, **kind) for name, how, start, time in rows
    ]


def table_of(
    starts: np.ndarray, times: np.ndarray, failed: np.ndarray | None = None, label: str = "GET /"
) -> SliceTable:
    """The table of `samples_of` in a tenth of the time, for simulations; all succeed, or those not `failed`."""
    table = SliceTable()
    series, outcome = np.int64(table.series_number(label_series(label))), np.int64(0)
    if failed is not None:
        outcome = failed.astype(np.int64) * table.outcome_number("503")
    cell = packing.pack_cell(starts.astype(np.int64), series, outcome)
    done = packing.pack_cell((starts + times).astype(np.int64), series, outcome)
    bucket = histogram.indices(times)
    keys = [
        packing.pack_key(cell, Kind.RESPONSE, bucket),
        packing.pack_key(cell, Kind.SERVICE, bucket),
        packing.pack_key(done, Kind.COMPLETED, np.zeros_like(bucket)),
    ]
    table.keys, table.counts = np.unique(np.concatenate(keys), return_counts=True)
    table.cells, place = np.unique(cell, return_inverse=True)
    columns = [np.bincount(place, weights) for weights in (None, times, times, np.full(len(times), 100.0))]
    longest = np.zeros(len(table.cells))
    np.maximum.at(longest, place, times)
    table.sums = np.column_stack([*columns, longest])
    return table


def worker_seconds_of(
    seconds: int, held: int = 100, scheduled: int = 100, worker: int = 0, **changes: float
) -> list[WorkerSecond]:
    """A healthy worker, second by second; further fields of `WorkerSecond`, counts and gauges by name."""
    usual = WorkerSecond(worker, 0, 0.1, 0.001, 50_000_000)
    counted = {"held": held, "in_flight": 1, "scheduled": scheduled, "sent": scheduled}
    each = changed(usual, **(counted | changes))
    return [dataclasses.replace(each, second=second) for second in range(seconds)]


def changed(worker_second: WorkerSecond, **changes: float) -> WorkerSecond:
    """A worker's second with other fields, or other counts and gauges of its population: "out_of_descriptors=3"."""
    counts, gauges, fields = (
        dict(worker_second.counts.get("users", {})),
        dict(worker_second.gauges.get("users", {})),
        {},
    )
    for name, value in changes.items():
        spoken = name.replace("_", " ")
        if spoken in (HELD, IN_FLIGHT):
            gauges[spoken] = float(value)
        elif spoken in (SCHEDULED, SENT, BLOCKED, DROPPED, OUT_OF_DESCRIPTORS, HTTPX_REQUESTS):
            counts[spoken] = value
        else:
            fields[name] = value
    return dataclasses.replace(worker_second, counts={"users": counts}, gauges={"users": gauges}, **fields)


def run_of(
    samples: Sequence[Sample] | SliceTable,
    plan: Plan | None = None,
    *,
    worker_seconds: Sequence[WorkerSecond] | None = None,
    stalls: Sequence[tuple[float, float]] = (),
    observations: Sequence[Observation] = (),
    groups: Mapping[str, tuple[str, ...]] | None = None,
    ended: str = "complete",
    **changes,
) -> Run:
    """A complete run of a healthy generator; `ended` in words, further fields of `Run` by name."""
    if isinstance(samples, SliceTable):
        table = samples
        plan = plan or plan_of(60)
    else:
        plan = plan or plan_of(int(max((sample.intended for sample in samples), default=59)) + 1)
        table = SliceTable()
        table.record(samples)
    seconds = int(plan.seconds)
    if worker_seconds is None:
        worker_seconds = _healthy_seconds(seconds, int(plan.workload.peak))
    return Run(
        "run-1",
        plan,
        1_700_000_000.0,
        table,
        worker_seconds=tuple(worker_seconds),
        stalls=tuple(Stall(*stall) for stall in stalls),
        observations={each.name: each for each in observations},
        groups=groups or {},
        ended=Ending.read(ended),
        **{"ended_at": float(seconds), **changes},
    )


@cache
def _healthy_seconds(seconds: int, held: int) -> tuple[WorkerSecond, ...]:
    """`worker_seconds_of`, made once: simulations ask for it thousands of times."""
    return tuple(worker_seconds_of(seconds, held=held))


EVERYTHING = Scope()


def response_time(
    quantile: float | None = 0.95,
    limit: float = 0.5,
    comparison: Comparison = Comparison.IS_BELOW,
    scope: Scope = EVERYTHING,
    statistic: str = "",
) -> Criterion:
    """A criterion on the response time, in seconds."""
    name = statistic or f"p{quantile * 100:g}"
    measure = Measure("response time", Family.TIME, Unit.SECONDS, quantile, name)
    return Criterion(f"the {name} response time {comparison} {limit} s", measure, comparison, limit, scope)


def error_rate(
    limit: float = 0.01, comparison: Comparison = Comparison.IS_BELOW, scope: Scope = EVERYTHING
) -> Criterion:
    """A criterion on the error rate, as a ratio."""
    measure = Measure("error rate", Family.ERROR_RATE, Unit.RATIO, timing="operation")
    return Criterion(f"the error rate {comparison} {limit}", measure, comparison, limit, scope)


def availability(limit: float = 0.999, comparison: Comparison = Comparison.IS_ABOVE) -> Criterion:
    """A criterion on availability, as a ratio."""
    measure = Measure("availability", Family.AVAILABILITY, Unit.RATIO, timing="operation")
    return Criterion(f"availability {comparison} {limit}", measure, comparison, limit)


def throughput(limit: float, comparison: Comparison = Comparison.IS_ABOVE) -> Criterion:
    """A criterion on successes per second."""
    measure = Measure("throughput", Family.THROUGHPUT, Unit.PER_SECOND)
    return Criterion(f"throughput {comparison} {limit}", measure, comparison, limit)


def gauge(
    limit: float,
    name: str = "CPU utilization",
    unit: Unit = Unit.RATIO,
    comparison: Comparison = Comparison.STAYS_BELOW,
) -> Criterion:
    """A criterion on a named measure of the environment."""
    return Criterion(f"{name} {comparison} {limit}", Measure(name, Family.GAUGE, unit), comparison, limit)
