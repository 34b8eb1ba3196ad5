"""One worker: the virtual users of one process, which execute its share of a plan.

A worker's code is here and not in `run`, so that workers do not import judging and reporting. That
saves 0.4 s of processor time and 30 MB per worker.
"""

import asyncio
import gc
import resource
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import uvloop

from loadkit.child_process import end_with
from loadkit.clock import Clock, MonotonicClock
from loadkit.drivers.base import Driver
from loadkit.drivers.registry import driver_class, drivers_for
from loadkit.engine.channel import Endpoint
from loadkit.errors import ConfigurationError
from loadkit.recording.recorder import Recorder, Report
from loadkit.target import Target
from loadkit.users.accounts import AccountKind, AccountPool, UsedBefore, demand
from loadkit.users.closed_load import ClosedLoad
from loadkit.users.data import WorkerData, tables_of
from loadkit.users.discovery import arrival_of, resolve
from loadkit.users.journey import Arrive, Journey
from loadkit.users.open_load import OpenLoad
from loadkit.users.pacer import BEST_ALARM, Alarm, Pacer, on_grid
from loadkit.users.user import WorkerContext
from loadkit.workload.phases import judged_phase
from loadkit.workload.plan import Plan
from loadkit.workload.workload import Model

__all__ = [
    "SPARE_FILES",
    "Shard",
    "account_pool_of",
    "accounts_of_closed",
    "allow_files",
    "check_worker",
    "how_to_raise",
    "init_worker",
    "journeys_of",
    "protocols_of",
    "run_shard",
    "run_users",
    "used_before",
]

_TICK, _BUSY_TICK = 0.025, 0.01
"""Seconds between measurements of the event loop's lag.

A wake-up of an idle worker costs 80 µs of processor time, so the worker wakes rarely. With longer
ticks, the share of late ticks is the same for stalls shorter than a tick, and higher for longer
stalls. The second value applies while samples are counted at each tick, so that counting does not
block the loop for long.
"""
SPARE_FILES = 100
"""File descriptors that a worker needs besides its users' connections."""
START_TIMEOUT = 10.0
"""Seconds that a worker's process waits for the others to start."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One worker's share, and the data that it needs besides the plan."""

    index: int
    of: int
    """Number of workers."""
    target: Target
    run_id: str
    root: Path
    """The project's root; journeys are imported from there."""


def init_worker(parent: int, barrier: Barrier) -> None:
    """Initialize this process as a worker, which ends when its parent process ends for any reason.

    Workers accept no task before all have started. Otherwise one process could get two tasks, and
    one worker would be missing.
    """
    end_with(parent)
    barrier.wait(START_TIMEOUT)


@dataclass(frozen=True, slots=True)
class Parts:
    """The requirements of a plan's journeys, as a worker found them."""

    account_kinds: tuple[tuple[AccountKind, ...], ...]
    """For each population, the kind of account that each journey of its mix requires."""
    data: tuple[tuple[tuple[str, ...], ...], ...]
    """For each population, the tables that each journey of its mix uses."""
    arrives: bool
    """Do users prepare first (does the package have an ``arrive``)?"""
    uses: tuple[str, ...] = ()
    """The names of the drivers that users need."""


def check_worker(plan: Plan, package: str, root: Path, workers: int) -> Parts:
    """Check that this process can execute its share of a plan.

    Raises:
        ConfigurationError: a journey cannot be imported, or the limit on open files is too low.

    """
    journeys = journeys_of(plan, root)
    arrive = arrival_of(package, root)
    protocols = protocols_of(journeys, arrive)
    allow_files(connections_of(plan, journeys, arrive) // workers)
    kinds = tuple(tuple(journey.account_kind for journey in mix) for mix in journeys)
    data = tuple(tuple(journey.data for journey in mix) for mix in journeys)
    return Parts(kinds, data, arrive is not None, tuple(protocols))


def journeys_of(plan: Plan, root: Path) -> list[list[Journey]]:
    """The journeys of each population's mix."""
    return [
        [
            replace(resolve(entry.journey, root), tenant=population.tenant, group=population.group)
            for entry in population.workload.mix
        ]
        for population in plan.populations
    ]


def protocols_of(journeys: Sequence[Sequence[Journey]], arrive: Arrive | None) -> list[str]:
    """The names of the drivers that users need. The preparation of users needs HTTP."""
    named = [name for mix in journeys for journey in mix for name in journey.uses]
    return list(dict.fromkeys([*(["http"] if arrive is not None else []), *named]))


def connections_of(plan: Plan, journeys: Sequence[Sequence[Journey]], arrive: Arrive | None) -> int:
    """The maximum number of connections of all users.

    The users of a population use the protocols of its own mix.
    """
    return sum(
        population.workload.most_users
        * sum(driver_class(name).descriptors_per_user for name in protocols_of([mix], arrive))
        for population, mix in zip(plan.populations, journeys, strict=True)
    )


def run_shard(plan: Plan, shard: Shard, start_at: float, emit: Endpoint) -> Mapping[str, int]:
    """Execute one worker's share of a plan, from `start_at` (Unix s) until the last answer.

    It is a plain function of picklable values, so any `concurrent.futures.Executor` can run it.

    Returns:
        The number of rows that it took of each table with a row per operation.

    Raises:
        ConfigurationError: a journey cannot be imported, or accounts or open files are too few.
        UnreachableError: the service accepts no connection.
        TimeoutError: the worker was not ready by `start_at`.

    """
    clock = MonotonicClock()
    journeys = journeys_of(plan, shard.root)
    arrive = arrival_of(shard.target.journeys, shard.root)
    protocols = protocols_of(journeys, arrive)
    allow_files(connections_of(plan, journeys, arrive) // shard.of)
    gc.collect()
    gc.freeze()
    # Young collections are cheap and mostly find closed connections; a full collection visits every
    # user.
    gc.set_threshold(50_000, 20, 100)
    with emit, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(
            run_users(
                plan,
                shard,
                clock.moment(start_at),
                emit,
                clock=clock,
                drivers=drivers_for(protocols, shard.target),
                alarm_of=BEST_ALARM,
                clock_offset=emit.clock_offset(clock),
                settled=gc.freeze,
            )
        )


def account_pool_of(plan: Plan, target: Target, journeys: Sequence[Sequence[Journey]]) -> AccountPool:
    """The accounts for all populations."""
    return AccountPool(target, used_before(plan, journeys)[-1].accounts)


def used_before(plan: Plan, journeys: Sequence[Sequence[Journey]]) -> list[UsedBefore]:
    """The users and accounts before each population; the last entry is the total.

    Closed loads take their accounts first. Open loads take the remaining accounts when they need
    them, because their number is not known in advance.
    """
    loads = [
        (population.workload, [journey.account_kind for journey in mix])
        for population, mix in zip(plan.populations, journeys, strict=True)
    ]
    all_closed = UsedBefore()
    for workload, kinds in loads:
        if workload.model is Model.CLOSED:
            all_closed = all_closed.plus(workload, kinds)
    total, closed = UsedBefore(), UsedBefore()
    before = []
    for workload, kinds in loads:
        if workload.model is Model.CLOSED:
            before.append(UsedBefore(total.users, closed.accounts))
            closed = closed.plus(workload, kinds)
        else:
            before.append(UsedBefore(total.users, all_closed.accounts))
        total = total.plus(workload, kinds)
    return [*before, total]


def accounts_of_closed(plan: Plan, journeys: Sequence[Sequence[Journey]]) -> Mapping[AccountKind, int]:
    """The number of accounts of each kind that the users of the first population have.

    It is empty if that population is an open load, because the number of its users varies. The
    first population is closed where others act for its tenants.
    """
    if plan.workload.model is not Model.CLOSED:
        return {}
    return demand(plan.workload, [journey.account_kind for journey in journeys[0]])


async def run_users(
    plan: Plan,
    shard: Shard,
    origin: float,
    emit: Callable[[Report], bool],
    *,
    clock: Clock,
    drivers: Sequence[Driver],
    alarm_of: Callable[[Callable[[], None]], Alarm],
    clock_offset: float = 0.0,
    settled: Callable[[], None] = lambda: None,
) -> Mapping[str, int]:
    """`run_shard` without a process, on any clock and with any drivers.

    `settled` is called when the judged phase begins. All users exist by then.
    """
    journeys = journeys_of(plan, shard.root)
    arrive = arrival_of(shard.target.journeys, shard.root)
    account_pool = account_pool_of(plan, shard.target, journeys)
    for driver in drivers:
        await driver.open()
    if clock.now() > origin:
        raise TimeoutError(
            f"worker {shard.index} was ready {clock.now() - origin:.1f} s after the start instant"
        )

    recorder = Recorder(shard.index, origin, clock_offset, counts_populations=len(plan.populations) > 1)
    pacer = Pacer(clock, alarm_of)
    tenants = account_pool.of_each_tenant(accounts_of_closed(plan, journeys))
    data = WorkerData(tables_of(journeys, shard.target.tables), shard.index, shard.of)
    context = WorkerContext(plan, clock, drivers, recorder, pacer, shard.run_id, tenants, data=data)
    loads: list[ClosedLoad | OpenLoad] = []
    *earlier, everybody = used_before(plan, journeys)
    taken = Counter[AccountKind]()
    for population, mix, before in zip(plan.populations, journeys, earlier, strict=True):
        common = context, population, mix, arrive, account_pool, (shard.index, shard.of), before
        is_closed = population.workload.model is Model.CLOSED
        loads.append(ClosedLoad(*common, everybody) if is_closed else OpenLoad(*common, taken))
    recorder.watch_collector()
    users = asyncio.create_task(_live(loads, origin))
    lag = asyncio.create_task(_watch_loop(context))
    ramp = asyncio.create_task(_at_end_of_ramp(context, origin, settled))
    loop_error = _first_loop_error()
    try:
        if not await _report_until_done(context, origin, emit, (users, loop_error)):
            for load in loads:
                load.cut()
    finally:
        for task in (lag, ramp, users):
            task.cancel()
        await asyncio.wait((lag, ramp, users))
        recorder.unwatch_collector()
        pacer.close()
        data.close()
    context.deliveries.end(clock.now())
    recorder.end(clock.now())
    emit(recorder.report(_gauges(drivers), context.writes.drain(is_final=True)))
    for driver in drivers:
        await driver.close()
    for ended in (users, loop_error):
        if ended.done() and not ended.cancelled():
            ended.result()
    return data.taken


async def _at_end_of_ramp(context: WorkerContext, origin: float, settled: Callable[[], None]) -> None:
    """Call `settled` when the judged phase begins.

    It exempts all users and connections from later garbage collections. The next young collection
    would visit up to 50,000 objects of the ramp, which takes 10 to 40 ms. No collection runs before
    it: 118,000 objects of 1000 connections had no garbage, and a collection would block the load
    for 100 ms. Reference counting frees exempt objects later. Reference cycles among them stay in
    memory, but their number does not grow with the duration of the load.
    """
    phase = judged_phase(context.plan)
    if phase is not None:
        await context.pacer.until(origin + phase.start)
        settled()


async def _live(loads: Sequence[ClosedLoad | OpenLoad], origin: float) -> None:
    """Run all loads until the last user has left."""
    async with asyncio.TaskGroup() as group:
        for load in loads:
            group.create_task(load.live(origin))


def _gauges(drivers: Sequence[Driver]) -> dict[str, float]:
    """The current gauges of the drivers."""
    return {name: value for driver in drivers for name, value in driver.gauges().items()}


async def _report_until_done(
    context: WorkerContext,
    origin: float,
    emit: Callable[[Report], bool],
    ends: Sequence["asyncio.Future[None]"],
) -> bool:
    """Emit a report each second until one of `ends` is done or the drain ends.

    Return False if the load was stopped before.
    """
    plan, clock, pacer = context.plan, context.clock, context.pacer
    last = origin + plan.seconds + plan.drain
    second = origin + 1.0
    while not any(end.done() for end in ends) and clock.now() < last:
        await asyncio.wait((*ends, pacer.until(min(second, last))), return_when=asyncio.FIRST_COMPLETED)
        if clock.now() >= second:
            second += 1.0
            context.deliveries.find_overdue(clock.now())
            if not emit(context.recorder.report(_gauges(context.drivers), context.writes.drain())):
                return False
    return True


def _first_loop_error() -> "asyncio.Future[None]":
    """A future that fails with the first error in an event loop callback, which ends the load.

    Such an error is in the engine itself; errors of a transport are counted by its connection.
    """
    loop = asyncio.get_running_loop()
    loop_error: asyncio.Future[None] = loop.create_future()

    def note(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if "handle" in context and not loop_error.done():
            loop_error.set_exception(context["exception"])

    loop.set_exception_handler(note)
    return loop_error


async def _watch_loop(context: WorkerContext) -> None:
    """Measure how late the event loop wakes, and count collected samples."""
    clock, pacer, recorder = context.clock, context.pacer, context.recorder
    has_counted = False
    while True:
        # A moment of the grid, so that users share the wake-up.
        due = on_grid(clock.now() + (_BUSY_TICK if has_counted else _TICK))
        await pacer.until(due)
        now = clock.now()
        recorder.lag(now, now - due)
        has_counted = recorder.count_full_chunks()


def allow_files(connections: int) -> None:
    """Raise the limit on open files for a number of connections.

    Raises:
        ConfigurationError: the system does not allow it.

    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + SPARE_FILES
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise ConfigurationError(
            f"a worker needs {needed} open files, the system allows it {hard} (ulimit -Hn); "
            f"use more workers, or raise the limit: {how_to_raise(needed)}"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def how_to_raise(files: int) -> str:
    """How to raise the hard limit on open files. In a running shell, only root may raise it."""
    return (
        f'"ulimit -n {files}" in a shell of root, "* hard nofile {files}" in /etc/security/limits.conf and a '
        f"new login, LimitNOFILE={files} for a systemd service, or --ulimit nofile={files} for a container"
    )
