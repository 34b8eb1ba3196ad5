"""An event loop whose time leaps to whatever comes next: minutes of load in milliseconds, the same each time."""

import asyncio
import selectors
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from loadkit.clock import ManualClock
from loadkit.drivers.fake import Answer, FakeDriver, Service
from loadkit.engine.worker import Shard, run_users
from loadkit.recording import histogram as buckets
from loadkit.recording.examples import Example
from loadkit.recording.recorder import Report
from loadkit.recording.slices import Kind, SliceTable
from loadkit.recording.stalls import IdleInterval
from loadkit.recording.worker_second import WorkerSecond
from loadkit.target import Account, Secret, Target
from loadkit.users.pacer import LoopAlarm
from loadkit.workload.plan import Plan
from loadkit.workload.workload import Lognormal, MixEntry, Model, Stage, Think, Workload

ROOT = Path(__file__).parent.parent
ORIGIN = 1.0
"""Where the run's start instant is on the virtual clock; the loop starts at zero."""

USUAL_THINK = Think()


class _LeapingSelector(selectors.SelectSelector):
    def __init__(self, loop: "VirtualLoop") -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("everybody waits and nothing will come")
        if not ready and timeout:
            self._loop.leap()
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.clock = ManualClock()
        super().__init__(_LeapingSelector(self))

    def time(self) -> float:
        return self.clock.seconds

    def leap(self) -> None:
        scheduled: Sequence[Any] = self._scheduled  # type: ignore[attr-defined]
        self.clock.seconds = max(self.clock.seconds, scheduled[0].when())


class Simulation:
    """What the workers of a simulated run reported."""

    def __init__(self) -> None:
        self.table = SliceTable()
        self.worker_seconds: list[WorkerSecond] = []
        self.idle_intervals: dict[int, list[IdleInterval]] = {}
        self.examples: list[Example] = []

    def take(self, report: Report) -> bool:
        self.table.add(report.table)
        # The only real time in a simulation: it would make verdicts depend on this machine.
        self.worker_seconds.append(replace(report.worker_second, cpu_seconds=0.0, longest_pause=0.0))
        self.examples += report.examples
        self.idle_intervals.setdefault(report.worker, []).extend(report.idle_intervals)
        return True

    def operations(self, label: str | None = None, outcome: str | None = None) -> int:
        """How many operations there were."""
        series = [name for name in self.table.series if name.startswith("label:")]
        if label is not None:
            series = [name for name in series if name == f"label:{label}"]
        _, outcomes, sums = self.table.totals(series, 0, 1 << 22)
        if outcome is None:
            return int(sums[:, 0].sum())
        if outcome not in self.table.outcomes:
            return 0
        return int(sums[outcomes == self.table.outcomes.index(outcome), 0].sum())


def simulate(
    plan: Plan,
    service: Service,
    *,
    workers: int = 1,
    target: Target | None = None,
    root: Path = ROOT,
    emit: Callable[[Report], bool] | None = None,
    late: float | None = None,
    settled: Callable[[], None] = lambda: None,
) -> Simulation:
    """Put a plan on a service of given times, one worker after the other; `late`: ready so long after the start."""
    simulation = Simulation()
    for index in range(workers):
        loop = VirtualLoop()
        if late is not None:
            loop.clock.seconds = ORIGIN + late
        shard = Shard(index, workers, target or Target("fake", "http://fake"), "run-1", root)
        with asyncio.Runner(loop_factory=lambda loop=loop: loop) as runner:
            runner.run(
                run_users(
                    plan,
                    shard,
                    ORIGIN,
                    emit or simulation.take,
                    clock=loop.clock,
                    drivers=(FakeDriver(service, loop.clock),),
                    alarm_of=LoopAlarm,
                    settled=settled,
                )
            )
    return simulation


def plan_of(
    journey: str = "loadkit.journey:fetch",
    *,
    model: Model = Model.CLOSED,
    level: float = 10,
    seconds: float = 30,
    ramp: float = 0.0,
    think: Think = USUAL_THINK,
    pace: float = 0.0,
    mix: tuple[MixEntry, ...] | None = None,
    stages: tuple[Stage, ...] | None = None,
    max_in_flight: int = 5000,
    session: Lognormal | None = None,
    **rest: Any,
) -> Plan:
    """A plan with what a test does not care about filled in."""
    workload = Workload(
        model,
        stages or (Stage(ramp, level), Stage(seconds, level)),
        mix or (MixEntry(journey, 1.0),),
        think=think,
        pace=pace,
        max_in_flight=max_in_flight,
        session=session,
    )
    return Plan.of("fake", workload, **rest)


def after(seconds: float, **rest: Any) -> Service:
    """A service that answers each request after a time."""
    return lambda _now, _method, _path: Answer(seconds, **rest)


def accounts(count: int, role: str = "") -> tuple[Account, ...]:
    """Accounts of three tenants in turn."""
    return tuple(
        Account(f"{role or 'user'}{number}", Secret("x"), f"tenant{number % 3}", role)
        for number in range(count)
    )


def quantile(simulation: Simulation, kind: Kind, share: float, series: str = "") -> float:
    """The time that a share (ratio 0-1) of the recorded ones does not exceed, in seconds."""
    table = simulation.table
    _, _, bucket, count = table.select(kind, [series] if series else table.series, 0, 1 << 22)
    totals = Counter[int]()
    for where, number in zip(bucket.tolist(), count.tolist(), strict=True):
        totals[where] += number
    rank, passed = share * totals.total(), 0
    for where in sorted(totals):
        passed += totals[where]
        if passed >= rank:
            return buckets.middle(where)
    raise AssertionError("empty")


def open_plan(**rest: Any) -> Plan:
    """A plan of 50 requests per second for 20 s."""
    return plan_of(**{"model": Model.REQUESTS, "level": 50, "seconds": 20, **rest})
