"""A run as a service under load leaves it, made of drawn latencies: what charts, tables and reports are tried on."""

import dataclasses

import numpy as np

from loadkit.criterion import Unit
from loadkit.observers.observation import Judged, Observation, Reading, Series
from loadkit.recording.run import Event, Run
from loadkit.recording.sample import OK
from loadkit.verdict import Window
from loadkit.workload.workload import Model
from tests.builders import changed, plan_of, run_of, samples_of, worker_seconds_of

STARTED = 1_700_000_000.0
"""As `run_of` has it."""
GROUPS = {"auth": ("* /api/v1/auth/*",), "metrics": ("* /api/v1/metrics/*",)}


def steady_run(seconds: int = 180, ramp: int = 60, *, failing: bool = False, **changes) -> Run:
    """Users arrive over the ramp and stay; 40 operations per second, log-normal around 20 ms; some fail when told to."""
    random = np.random.default_rng(7)
    total = ramp + seconds
    starts = np.sort(random.uniform(0, total, 40 * total))
    starts = starts[random.uniform(0, ramp or 1, len(starts)) < np.maximum(starts, 1)]
    times = random.lognormal(np.log(0.02), 0.5, len(starts)) * (1 + starts / total)
    labels = np.where(
        random.uniform(size=len(starts)) < 0.3, "POST /api/v1/auth/login", "GET /api/v1/metrics/events"
    )
    outcomes = np.full(len(starts), OK, dtype=object)
    if failing:
        late = (starts > total * 0.6) & (random.uniform(size=len(starts)) < 0.2)
        outcomes[late] = np.where(random.uniform(size=late.sum()) < 0.7, "status 503", "timeout")
    plan = plan_of(seconds, ramp, 1000, Model.CLOSED)
    worker_seconds = [
        changed(worker_second, held=int(min(1, (worker_second.second + 1) / max(ramp, 1)) * 1000))
        for worker_second in worker_seconds_of(total)
    ]
    samples = samples_of(starts, times, labels.tolist(), outcomes.tolist(), late=0.0005)
    observations = (cpu(total), memory(total), pool(total))
    return run_of(
        samples,
        plan,
        worker_seconds=worker_seconds,
        groups=GROUPS,
        **{"observations": observations, **changes},
    )


def window_of(run: Run) -> Window:
    """The hold of `steady_run`, without its first five seconds."""
    ramp = int(run.plan.workload.stages[0].seconds)
    return Window(ramp + 5, int(run.plan.workload.seconds) - ramp - 5)


def cpu(seconds: int) -> Observation:
    """Two instances, scraped every second for as long: a counter of processor seconds, of one core each."""
    times = STARTED + np.arange(0.0, seconds)
    series = tuple(
        Series(name, times, np.cumsum(busy * (1 + 0.2 * np.sin(times / 9))))
        for name, busy in (("metrics-1", 0.45), ("metrics-2", 0.52))
    )
    return Observation("CPU utilization", Reading.COUNTER, Unit.RATIO, series, 1.0, source="prometheus")


def memory(seconds: int) -> Observation:
    """Two instances that grow a little."""
    times = STARTED + np.arange(0.0, seconds)
    series = tuple(
        Series(name, times, 180e6 + growth * np.arange(seconds))
        for name, growth in (("metrics-1", 2e5), ("metrics-2", 1e5))
    )
    return Observation(
        "memory usage", Reading.GAUGE, Unit.BYTES, series, 1.0, judged=Judged.MAXIMUM, source="prometheus"
    )


def pool(seconds: int) -> Observation:
    """A source that was gone for a while."""
    times = STARTED + np.delete(np.arange(0.0, seconds), slice(seconds // 2, seconds // 2 + 20))
    used = Series("metrics-1", times, np.round(6 + 3 * np.sin(times / 4)))
    size = Series("metrics-1", times, np.full(len(times), 20.0))
    return Observation(
        "database connection pool utilization",
        Reading.GAUGE,
        Unit.RATIO,
        (used,),
        1.0,
        (size,),
        source="prometheus",
    )


def happened(run: Run) -> Run:
    """With an instance killed in the middle of the hold."""
    return dataclasses.replace(run, events=(Event(run.ended_at / 2, "instance killed: metrics-2"),))
