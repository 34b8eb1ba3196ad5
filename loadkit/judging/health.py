"""The load generator's own health: was it, and not the service, that was slow?"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from loadkit.criterion import Unit
from loadkit.recording import histogram as buckets
from loadkit.recording.run import Run
from loadkit.recording.slices import Kind, worker_series
from loadkit.recording.worker_second import BLOCKED, HELD, OUT_OF_DESCRIPTORS, SCHEDULED, SENT, WorkerSecond
from loadkit.units import format_quantity
from loadkit.verdict import Window

__all__ = ["NO_TIME_LIMIT", "Health", "HealthCheck", "health", "held_per_second"]

NO_TIME_LIMIT = 1.0
"""Seconds that stand for the limit where a criterion has none in time."""

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]

_SKEW = 0.010
"""Seconds by which workers may differ on when the run started."""
_BUSY = 10
"""Seconds over which processor time and sending are weighed."""


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """One thing by which a generator's health shows."""

    name: str
    title: str
    """As short as a table's column asks for."""
    words: str
    value: float
    """The worst in the window; in base units, as the bounds."""
    warns_from: float
    invalid_from: float
    unit: Unit
    falls: bool = False
    """Is a small value the bad one?"""

    def exceeds(self, bound: float) -> bool:
        """Is the value on the bad side of a bound?"""
        return self.value < bound if self.falls else self.value > bound

    @property
    def sentence(self) -> str:
        """What is amiss, where something is."""
        bound = self.invalid_from if self.exceeds(self.invalid_from) else self.warns_from
        side = "below" if self.falls else "above"
        return f"{self.words} {format_quantity(self.value, self.unit)}, {side} {format_quantity(bound, self.unit)}"


@dataclass(frozen=True, slots=True)
class Health:
    """What the generator's signs say over one window."""

    status: str
    """"ok", "warn" or "invalid"."""
    reasons: tuple[str, ...]
    """One sentence for each sign that is not ok."""
    unhealthy: Booleans
    """By second of the window: is what was measured in it in doubt?"""
    checks: tuple[HealthCheck, ...]
    """All of them, also those that are ok."""

    @property
    def figures(self) -> dict[str, float]:
        """The signs' values by their names."""
        return {health_check.name: health_check.value for health_check in self.checks}


def health(run: Run, window: Window, limit: float = NO_TIME_LIMIT) -> Health:
    """How far the generator was itself at fault in a window, for a criterion with a limit of so many seconds."""
    workers = [worker_series(worker) for worker in range(run.workers)]
    worker_seconds = [
        worker_second
        for worker_second in run.worker_seconds
        if window.start <= worker_second.second < window.end
    ]
    lag, late = (_Delays.of(run, kind, workers, window) for kind in (Kind.LAG, Kind.LATENESS))
    lag_bound, late_bound, pause_bound = max(0.010, 0.05 * limit), 0.10 * limit, 0.20 * limit
    total = _sum(worker_seconds, window, _BUSY)
    cpu = max(
        (_busiest(worker_seconds, window, worker) for worker in range(run.workers)),
        default=np.zeros(window.seconds),
        key=np.max,
    )
    due = total(lambda worker_second: worker_second.count(SCHEDULED) - worker_second.count(BLOCKED))
    sent = np.where(due > 0, total(lambda worker_second: worker_second.count(SENT)) / np.maximum(due, 1), 1.0)
    out_of_descriptors = total(lambda worker_second: worker_second.count(OUT_OF_DESCRIPTORS)) / np.maximum(
        total(lambda worker_second: worker_second.count(SCHEDULED)), 1
    )
    pauses = np.zeros(window.seconds)
    np.maximum.at(
        pauses,
        [worker_second.second - window.start for worker_second in worker_seconds],
        [worker_second.longest_pause for worker_second in worker_seconds],
    )
    all_due = sum(
        worker_second.count(SCHEDULED) - worker_second.count(BLOCKED) for worker_second in worker_seconds
    )
    all_sent = sum(worker_second.count(SENT) for worker_second in worker_seconds)
    all_out_of_descriptors = sum(
        worker_second.count(OUT_OF_DESCRIPTORS) for worker_second in worker_seconds
    ) / max(1, sum(worker_second.count(SCHEDULED) for worker_second in worker_seconds))
    clock_offset = [worker_second.clock_offset for worker_second in worker_seconds] or [0.0]
    skew = max(clock_offset) - min(clock_offset)
    sent_of_due = all_sent / all_due if all_due > 0 else 1.0
    pause, busy, seconds, ratio = float(pauses.max()), float(cpu.max()), Unit.SECONDS, Unit.RATIO
    checks = (
        HealthCheck(
            "loop_lag_p99", "loop lag", "its event loop lagged (p99) by", lag.p99, 0.005, lag_bound, seconds
        ),
        HealthCheck(
            "lateness_p99", "lateness", "it sent late (p99) by", late.p99, 0.02 * limit, late_bound, seconds
        ),
        HealthCheck("busiest_cpu", "CPU", "a worker's processor was busy for", busy, 0.70, 0.85, ratio),
        HealthCheck(
            "sent_ratio", "sent", "of what was due it sent", sent_of_due, 0.995, 0.98, ratio, falls=True
        ),
        HealthCheck(
            "longest_pause",
            "GC pause",
            "garbage collection paused it for",
            pause,
            0.020,
            pause_bound,
            seconds,
        ),
        HealthCheck(
            "starved_ratio",
            "no socket",
            "it lacked sockets or files for",
            all_out_of_descriptors,
            0.0,
            0.001,
            ratio,
        ),
        HealthCheck("clock_skew", "skew", "its workers' clocks differ by", skew, 0.002, _SKEW, seconds),
    )
    unhealthy = (
        (lag.worst > lag_bound)
        | (late.worst > late_bound)
        | (cpu > 0.85)
        | (sent < 0.98)
        | (pauses > pause_bound)
        | (out_of_descriptors > 0.001)
        | (skew > _SKEW)
    )
    invalid = [health_check for health_check in checks if health_check.exceeds(health_check.invalid_from)]
    warned = [health_check for health_check in checks if health_check.exceeds(health_check.warns_from)]
    reasons = [health_check.sentence for health_check in warned]
    if unhealthy.any() and not warned:
        reasons.append(f"it was at fault in {int(unhealthy.sum())} of {window.seconds} seconds")
    return Health(
        "invalid" if invalid else "warn" if reasons else "ok",
        tuple(reasons),
        unhealthy,
        checks,
    )


@dataclass(frozen=True, slots=True)
class _Delays:
    """What the workers counted of one kind of delay."""

    p99: float
    """Seconds, over the window."""
    worst: Floats
    """Seconds, the 99th percentile of each second, shape (`seconds`,)."""

    @classmethod
    def of(cls, run: Run, kind: Kind, series: list[str], window: Window) -> "_Delays":
        second, _, bucket, count = run.table.select(kind, series, window.start, window.end)
        if not len(count):
            return cls(0.0, np.zeros(window.seconds))
        histogram = np.bincount(bucket, count)
        p99 = buckets.middle(int(np.searchsorted(np.cumsum(histogram), 0.99 * count.sum())))
        order = np.lexsort((bucket, second))
        second, bucket, count = second[order] - window.start, bucket[order], count[order]
        # Counting from each second's longest: the bucket in which its last hundredth begins.
        size = np.bincount(second, count, window.seconds)
        running = np.cumsum(count)
        before = np.concatenate([[0.0], np.cumsum(size)])[second]
        reached = running - before >= 0.99 * size[second]
        worst = np.full(window.seconds, buckets.BUCKETS, np.int64)
        np.minimum.at(worst, second[reached], bucket[reached])
        times = np.where(worst < buckets.BUCKETS, buckets.lower_edges(worst), 0.0)
        return cls(p99, times)


def _rolling(values: Floats, length: int) -> Floats:
    """For each second, the sum over the stretch of `length` seconds that it lies in (stretches side by side)."""
    starts = np.arange(0, len(values), length)
    if len(starts) > 1 and len(values) - starts[-1] < length:
        starts = starts[:-1]
    sums = np.add.reduceat(values, starts)
    return np.repeat(sums, np.diff(np.append(starts, len(values))))


def _sum(
    worker_seconds: list[WorkerSecond], window: Window, length: int
) -> Callable[[Callable[[WorkerSecond], float]], Floats]:
    seconds = np.array([worker_second.second - window.start for worker_second in worker_seconds], np.int64)

    def total(of: Callable[[WorkerSecond], float]) -> Floats:
        values = np.array([of(worker_second) for worker_second in worker_seconds], np.float64)
        return _rolling(np.bincount(seconds, values, window.seconds).astype(np.float64), length)

    return total


def _busiest(worker_seconds: list[WorkerSecond], window: Window, worker: int) -> Floats:
    """One worker's share of a processor by second, over stretches of ten."""
    own = [worker_second for worker_second in worker_seconds if worker_second.worker == worker]
    used = _sum(own, window, _BUSY)(lambda worker_second: worker_second.cpu_seconds)
    return used / _rolling(np.ones(window.seconds), _BUSY)


def held_per_second(run: Run, window: Window) -> tuple[Floats, Floats]:
    """Users held and users stated, by second of the window; both of shape (`seconds`,). For closed load."""
    held = np.zeros(window.seconds)
    for worker_second in run.worker_seconds:
        if window.start <= worker_second.second < window.end:
            held[worker_second.second - window.start] += worker_second.gauge(HELD)
    # A ramp's second has as many users as at its lower end: that is the smallest number held in it.
    levels = np.array([run.plan.workload.level_at(second) for second in range(window.start, window.end)])
    ends = np.array(
        [run.plan.workload.level_at(second + 0.999) for second in range(window.start, window.end)]
    )
    stated = np.minimum(levels, ends)
    return held, stated
