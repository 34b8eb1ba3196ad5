"""The health of the load generator: was the generator slow, rather than the service?"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from loadkit.recording import health_bounds
from loadkit.recording.health_bounds import CHECKS, CHECKS_OF_MEAN, HealthCheck
from loadkit.recording.histogram import lower_edges, middles, quantile_of, quantiles_of_each
from loadkit.recording.run import Run
from loadkit.recording.slices import Kind, worker_series
from loadkit.recording.worker_second import (
    BLOCKED,
    HELD,
    OUT_OF_DESCRIPTORS,
    SCHEDULED,
    SENT,
    USERS,
    WorkerSecond,
)
from loadkit.units import format_quantity
from loadkit.verdict import Window
from loadkit.workload.schedule import fewest_present
from loadkit.workload.workload import Model

__all__ = ["NO_TIME_LIMIT", "CheckResult", "Health", "health", "held_per_second", "without_users"]

NO_TIME_LIMIT = 1.0
"""The time limit (seconds) that is used for a criterion without one."""

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]

_BUSY = 10
"""Seconds over which processor time and sent operations are summed."""
_STILL = 1.0
"""Seconds of lag from which an event loop stood still."""
_ALL_SECONDS = 1 << 22
"""More seconds than any run has."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of a check of the generator's health in a window."""

    check: HealthCheck
    value: float
    """The worst value in the window. This value and the bounds are in the check's unit."""
    warns_from: float
    invalid_from: float
    population: str = ""
    """The population of the value, if the check examines each population separately."""

    @classmethod
    def of(cls, check: HealthCheck, value: float, limit: float, population: str = "") -> "CheckResult":
        """The result for a time limit in seconds; a value that invalidates also warns."""
        warns_from, invalid_from = check.warns.at(limit), check.invalid.at(limit)
        if check.is_beyond(np.array(warns_from), invalid_from):
            warns_from = invalid_from
        return cls(check, value, warns_from, invalid_from, population)

    @property
    def is_warning(self) -> bool:
        """Is the value beyond the bound for a warning?"""
        return bool(self.check.is_beyond(np.array(self.value), self.warns_from))

    @property
    def is_invalid(self) -> bool:
        """Is the value beyond the bound for an invalid result?"""
        return bool(self.check.is_beyond(np.array(self.value), self.invalid_from))

    @property
    def sentence(self) -> str:
        """A description of the value that is beyond a bound."""
        bound = self.invalid_from if self.is_invalid else self.warns_from
        side, unit = ("below" if self.check.falls else "above"), self.check.unit
        value, population = (
            format_quantity(self.value, unit),
            f" for the {self.population}" if self.population else "",
        )
        return f"{self.check.words} {value}{population}, {side} {format_quantity(bound, unit)}"


@dataclass(frozen=True, slots=True)
class Health:
    """The results of all checks of the generator's health in one window."""

    status: str
    """"ok", "warn" or "invalid"."""
    reasons: tuple[str, ...]
    """One sentence for each check that is not ok."""
    unhealthy: Booleans
    """By second of the window: are its measurements unreliable?"""
    checks: tuple[CheckResult, ...]
    """All checks, including those that are ok."""

    @property
    def figures(self) -> dict[str, float]:
        """The values of the checks, by name."""
        return {result.check.name: result.value for result in self.checks}

    @property
    def sentence(self) -> str:
        """The sentence for a verdict, if the status is not ok."""
        return f"the load generator was overloaded: {'; '.join(self.reasons)}"

    @property
    def sentence_with_seconds(self) -> str:
        """The sentence with the number of unhealthy seconds."""
        return f"{self.sentence}, in {int(self.unhealthy.sum())} of {len(self.unhealthy)} seconds"


@dataclass(frozen=True, slots=True)
class _Measured:
    """The measurements of one check in a window."""

    value: float
    """The value for the whole window."""
    by_second: Floats
    """The values by second; shape (`seconds`,)."""
    population: str = ""
    """The population of the value, if the check examines each population separately."""


def health(run: Run, window: Window, limit: float = NO_TIME_LIMIT, is_mean: bool = False) -> Health:
    """The health of the load generator in a window, for a time limit in seconds.

    `is_mean`: is the limit one of a mean time?
    """
    measured = _measured(run, window)
    checks = tuple(
        CheckResult.of(check, measured[check.name].value, limit, measured[check.name].population)
        for check in (CHECKS_OF_MEAN if is_mean else CHECKS)
    )
    unhealthy = np.zeros(window.seconds, np.bool_)
    for result in checks:
        unhealthy |= result.check.is_beyond(measured[result.check.name].by_second, result.invalid_from)
    reasons = [result.sentence for result in checks if result.is_warning]
    if unhealthy.any() and not reasons:
        reasons.append(f"it was at fault in {int(unhealthy.sum())} of {window.seconds} seconds")
    is_invalid = any(result.is_invalid for result in checks)
    return Health("invalid" if is_invalid else "warn" if reasons else "ok", tuple(reasons), unhealthy, checks)


def _measured(run: Run, window: Window) -> dict[str, _Measured]:
    """The measurements of all checks, by the name of the check."""
    worker_seconds = [each for each in run.worker_seconds if window.start <= each.second < window.end]
    total = _sum(worker_seconds, window, _BUSY)
    cpu = max(
        (_busiest(worker_seconds, window, worker) for worker in range(run.workers)),
        default=np.zeros(window.seconds),
        key=np.max,
    )
    refused, scheduled = (_counts(worker_seconds, name) for name in (OUT_OF_DESCRIPTORS, SCHEDULED))
    pauses = np.zeros(window.seconds)
    np.maximum.at(
        pauses,
        [worker_second.second - window.start for worker_second in worker_seconds],
        [worker_second.longest_pause for worker_second in worker_seconds],
    )
    clock_offset = [worker_second.clock_offset for worker_second in worker_seconds] or [0.0]
    skew = max(clock_offset) - min(clock_offset)
    return {
        health_bounds.LOOP_LAG.name: _lags(run, window),
        health_bounds.LATENESS.name: _delays(run, Kind.LATENESS, window),
        health_bounds.LATENESS_OF_MEAN.name: _mean_delays(run, Kind.LATENESS, window),
        health_bounds.CPU.name: _Measured(float(cpu.max()), cpu),
        health_bounds.SENT.name: _sent(run, worker_seconds, window),
        health_bounds.GC_PAUSE.name: _Measured(float(pauses.max()), pauses),
        health_bounds.OUT_OF_DESCRIPTORS.name: _Measured(
            float(refused.sum()) / max(1.0, float(scheduled.sum())),
            total(refused) / np.maximum(total(scheduled), 1),
        ),
        health_bounds.CLOCK_SKEW.name: _Measured(skew, np.full(window.seconds, skew)),
    }


def _sent(run: Run, worker_seconds: list[WorkerSecond], window: Window) -> _Measured:
    """The share of due operations that were sent; with several populations, the smallest share."""
    populations = run.plan.populations
    names = [each.name for each in populations] if len(populations) > 1 else [None]
    each = [_sent_by(name, worker_seconds, window) for name in names]
    worst = min(each, key=lambda sent: sent.value)
    return _Measured(worst.value, np.min([sent.by_second for sent in each], axis=0), worst.population)


def _sent_by(population: str | None, worker_seconds: list[WorkerSecond], window: Window) -> _Measured:
    total = _sum(worker_seconds, window, _BUSY)
    scheduled, blocked, sent = (
        _counts(worker_seconds, name, population) for name in (SCHEDULED, BLOCKED, SENT)
    )
    due = scheduled - blocked
    all_due, due_by_second = float(due.sum()), total(due)
    return _Measured(
        float(sent.sum()) / all_due if all_due > 0 else 1.0,
        np.where(due_by_second > 0, total(sent) / np.maximum(due_by_second, 1), 1.0),
        population or "",
    )


def _counts(worker_seconds: list[WorkerSecond], name: str, population: str | None = None) -> Floats:
    """A named count in each of the workers' seconds; shape (n,)."""
    return np.array([worker_second.count(name, population) for worker_second in worker_seconds], np.float64)


def _delays(run: Run, kind: Kind, window: Window) -> _Measured:
    """The 99th percentile of a kind of delay that the workers recorded, in seconds."""
    second, bucket, count = _recorded(run, kind, window)
    if not len(count):
        return _Measured(0.0, np.zeros(window.seconds))
    histogram = np.bincount(bucket, count).astype(np.int64)
    (each,) = quantiles_of_each(second, bucket, count, window.seconds, (0.99,))
    return _Measured(quantile_of(histogram, 0.99) or 0.0, np.nan_to_num(each))


def _lags(run: Run, window: Window) -> _Measured:
    """The 99th percentile of the lag of the event loops, in seconds.

    A long lag is recorded when the loop continues. It applies to all seconds for which the loop
    stood still.
    """
    measured = _delays(run, Kind.LAG, window)
    workers = [worker_series(worker) for worker in range(run.workers)]
    until, _, bucket, _ = run.table.select(Kind.LAG, workers, window.start, _ALL_SECONDS)
    lags = lower_edges(bucket)
    by_second = measured.by_second.copy()
    for end, lag in zip(until[lags >= _STILL], lags[lags >= _STILL], strict=True):
        first = max(0, int(end) - math.ceil(lag) - window.start)
        still = slice(first, int(end) + 1 - window.start)
        by_second[still] = np.maximum(by_second[still], lag)
    return replace(measured, by_second=by_second)


def _mean_delays(run: Run, kind: Kind, window: Window) -> _Measured:
    """The mean of a kind of delay that the workers recorded, in seconds."""
    second, bucket, count = _recorded(run, kind, window)
    number, spent = (
        np.bincount(second, weights, window.seconds) for weights in (count, count * middles(bucket))
    )
    return _Measured(float(spent.sum() / max(1.0, number.sum())), spent / np.maximum(number, 1.0))


def _recorded(run: Run, kind: Kind, window: Window) -> tuple[Integers, Integers, Integers]:
    """The workers' delays of one kind: second of the window, bucket and count; shapes (n,)."""
    workers = [worker_series(worker) for worker in range(run.workers)]
    second, _, bucket, count = run.table.select(kind, workers, window.start, window.end)
    return second - window.start, bucket, count


def _rolling(values: Floats, length: int) -> Floats:
    """For each second, the sum over the interval of `length` seconds that contains it."""
    starts = np.arange(0, len(values), length)
    if len(starts) > 1 and len(values) - starts[-1] < length:
        starts = starts[:-1]
    sums = np.add.reduceat(values, starts)
    return np.repeat(sums, np.diff(np.append(starts, len(values))))


def _sum(worker_seconds: list[WorkerSecond], window: Window, length: int) -> Callable[[Floats], Floats]:
    """A function that sums values of the workers' seconds, (n,), over `length` seconds."""
    seconds = np.array([worker_second.second - window.start for worker_second in worker_seconds], np.int64)

    def total(values: Floats) -> Floats:
        return _rolling(np.bincount(seconds, values, window.seconds).astype(np.float64), length)

    return total


def _busiest(worker_seconds: list[WorkerSecond], window: Window, worker: int) -> Floats:
    """One worker's share of a processor by second, averaged over intervals of ten seconds."""
    own = [worker_second for worker_second in worker_seconds if worker_second.worker == worker]
    used = _sum(own, window, _BUSY)(
        np.array([worker_second.cpu_seconds for worker_second in own], np.float64)
    )
    return used / _rolling(np.ones(window.seconds), _BUSY)


def held_per_second(run: Run, window: Window, population: str = "") -> tuple[Floats, Floats]:
    """Users held and users stated, by second of the window; both of shape (`seconds`,).

    They are those of the named closed population, or by default of all closed populations.
    """
    populations = run.plan.populations
    closed = [
        each for each in populations if each.workload.model is Model.CLOSED and population in {"", each.name}
    ]
    # A stored run may have its single population under another name.
    names = [each.name for each in closed] if len(populations) > 1 else [None]
    held, stated = np.zeros(window.seconds), np.zeros(window.seconds)
    for worker_second in run.worker_seconds:
        if window.start <= worker_second.second < window.end:
            held[worker_second.second - window.start] += sum(
                worker_second.gauge(HELD, name) for name in names
            )
    for each in closed:
        # The engine holds whole users, so a fraction of a user is never missing.
        stated += fewest_present(each.workload.stages, window.start, window.end)
    return held, stated


def without_users(run: Run) -> str:
    """A clause if an open population had no user for its arrivals; "" if each had users.

    Only the generator can lack users. If users cannot log in or are delayed, the service is the
    cause.
    """
    populations = run.plan.populations
    for each in populations:
        name = each.name if len(populations) > 1 else None

        def counted(count: str, name: str | None = name) -> bool:
            return any(worker_second.count(count, name) for worker_second in run.worker_seconds)

        is_open = each.workload.model is not Model.CLOSED
        if is_open and not counted(SENT) and not counted(USERS) and counted(SCHEDULED):
            return f"none of the {each.name} that were due was sent, because the load had no user for them"
    return ""
