"""One worker: a process's share of a plan, put on by virtual users.

What a worker's process runs stands here, and not in `run`, so that it imports nothing of what judges and gathers: that
is 0.4 s of processor time and 30 MB for each of them.
"""

import asyncio
import ctypes
import gc
import os
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import uvloop

from loadkit.clock import Clock, MonotonicClock
from loadkit.drivers.base import Driver, NoResponse
from loadkit.drivers.http.response import StatusError
from loadkit.drivers.registry import driver_class, drivers_for
from loadkit.errors import ConfigurationError
from loadkit.recording.recorder import Recorder, Report
from loadkit.target import Target
from loadkit.users.accounts import AccountPool, Earlier
from loadkit.users.closed_load import ClosedLoad
from loadkit.users.discovery import arrival_of, resolve
from loadkit.users.journey import Arrive, Journey
from loadkit.users.open_load import OpenLoad
from loadkit.users.pacer import BEST_ALARM, Alarm, Pacer
from loadkit.users.user import User, WorkerContext
from loadkit.workload.plan import Plan
from loadkit.workload.workload import Model

__all__ = [
    "SPARE_FILES",
    "Emit",
    "Shard",
    "allow_files",
    "check_worker",
    "init_worker",
    "run_shard",
    "run_users",
    "try_arrivals",
]

_TICK = 0.01
"""Seconds between looks at the event loop's lag."""
SPARE_FILES = 100
"""Descriptors that a worker needs besides its users' connections."""
_REFUSED = frozenset({401, 403})
"""Statuses that say of an account that it has no business here."""
_SET_PARENT_DEATH_SIGNAL = 1
START_TIMEOUT = 10.0
"""Seconds that a worker's process waits for the others to be there."""


class Emit(Protocol):
    """Where a worker's reports go; opened and closed by the worker, so that it can be sent to another process."""

    def __enter__(self) -> Self:
        """Open it."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it, when all reports are on their way."""
        ...

    def __call__(self, report: Report) -> bool:
        """Hand over a report without waiting. Return whether to go on."""
        ...

    def clock_offset(self, clock: Clock) -> float:
        """By how many seconds a clock is ahead of that of who started the worker."""
        ...


@dataclass(frozen=True, slots=True)
class Shard:
    """One worker's part, and what it needs to know besides the plan."""

    index: int
    of: int
    """How many workers there are."""
    target: Target
    run_id: str
    root: Path
    """The project's root; journeys are imported from there."""


def init_worker(parent: int, all_there: Barrier) -> None:
    """Make this process a worker's: it ends when `parent`, which started it, does, however that ends.

    Nobody takes an order before all are there: two orders to one process would be a worker too few.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    all_there.wait(START_TIMEOUT)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a worker found of a plan's journeys."""

    roles: tuple[tuple[str, ...], ...]
    """For each population, the role that each journey of its mix asks for."""
    arrives: bool
    """Do users get ready first (has the package an ``arrive``)?"""


def check_worker(plan: Plan, package: str, root: Path, workers: int) -> Parts:
    """See that this process can put on its share of a plan.

    Raises:
        ConfigurationError: a journey cannot be imported, or too few files may be open.

    """
    journeys = _journeys_of(plan, root)
    arrive = arrival_of(package, root)
    _allow_files_for(plan, _protocols(journeys, arrive), workers)
    roles = tuple(tuple(journey.role for journey in mix) for mix in journeys)
    return Parts(roles, arrive is not None)


def _journeys_of(plan: Plan, root: Path) -> list[list[Journey]]:
    """The journeys of each population's mix."""
    return [
        [resolve(entry.journey, root) for entry in population.workload.mix] for population in plan.populations
    ]


def _protocols(journeys: Sequence[Sequence[Journey]], arrive: Arrive | None) -> list[str]:
    """The names of the drivers that users need; getting ready is done over HTTP."""
    named = [name for mix in journeys for journey in mix for name in journey.uses]
    return list(dict.fromkeys([*(["http"] if arrive is not None else []), *named]))


def _allow_files_for(plan: Plan, protocols: Sequence[str], workers: int) -> None:
    users = sum(population.workload.most_users for population in plan.populations)
    each = sum(driver_class(name).descriptors_per_user for name in protocols)
    allow_files(users // workers * each)


def run_shard(plan: Plan, shard: Shard, start_at: float, emit: Emit) -> None:
    """Put on one worker's share of a plan, from `start_at` (Unix seconds) until its last operation is answered.

    A plain function of values that can be pickled, so that any `concurrent.futures.Executor` can carry it.

    Raises:
        ConfigurationError: a journey cannot be imported, there are too few accounts, or too few files may be open.
        UnreachableError: the service takes no connection.
        TimeoutError: the worker was not ready by `start_at`.

    """
    clock = MonotonicClock()
    journeys = _journeys_of(plan, shard.root)
    protocols = _protocols(journeys, arrival_of(shard.target.journeys, shard.root))
    _allow_files_for(plan, protocols, shard.of)
    gc.collect()
    gc.freeze()
    # Young garbage is cheap and mostly cycles of closed connections; a full collection walks every user.
    gc.set_threshold(50_000, 20, 100)
    with emit, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(
            run_users(
                plan,
                shard,
                clock.moment(start_at),
                emit,
                clock=clock,
                drivers=drivers_for(protocols, shard.target),
                alarm_of=BEST_ALARM,
                clock_offset=emit.clock_offset(clock),
            )
        )


def try_arrivals(plan: Plan, target: Target, root: Path) -> None:
    """Have one user of each role get ready, so that accounts that are refused are found before any load.

    A service that fails in another way is not ours to excuse: that is what a run would show.

    Raises:
        ConfigurationError: the service refuses an account (401 or 403).

    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_try_arrivals(plan, target, root))


async def _try_arrivals(plan: Plan, target: Target, root: Path) -> None:
    arrive = arrival_of(target.journeys, root)
    if arrive is None:
        return
    journeys = _journeys_of(plan, root)
    account_pool = _account_pool(plan, target, journeys)
    clock, drivers = MonotonicClock(), drivers_for(_protocols(journeys, arrive), target)
    for driver in drivers:
        await driver.open()
    pacer = Pacer(clock, BEST_ALARM)
    context = WorkerContext(plan, clock, drivers, Recorder(0, clock.now()), pacer, "")
    one_of_each = {
        journey.role: (population, entry)
        for population, mix in zip(plan.populations, journeys, strict=True)
        for journey, entry in zip(mix, population.workload.mix, strict=True)
    }
    try:
        for role, (population, entry) in one_of_each.items():
            account = account_pool.account(role, 0)
            user = User(0, entry, account, context, population)
            try:
                await arrive(user)
            except StatusError as error:
                if error.status_code in _REFUSED:
                    who = f"the account {account.username}" if account is not None else "a user"
                    raise ConfigurationError(
                        f"the service does not let {who} in ({error}): check the accounts of environment {target.name}"
                    ) from None
            except NoResponse:
                pass
            finally:
                user.close()
    finally:
        pacer.close()
        for driver in drivers:
            await driver.close()


def _account_pool(plan: Plan, target: Target, journeys: Sequence[Sequence[Journey]]) -> AccountPool:
    """The accounts for all populations."""
    return AccountPool(target, _earlier(plan, journeys)[-1].accounts)


def _earlier(plan: Plan, journeys: Sequence[Sequence[Journey]]) -> list[Earlier]:
    """What the populations before each have taken; the last one is what all have."""
    before = [Earlier()]
    for population, mix in zip(plan.populations, journeys, strict=True):
        before.append(before[-1].and_then(population.workload, [journey.role for journey in mix]))
    return before


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
) -> None:
    """`run_shard` without a process around it: on any clock, over any drivers."""
    journeys = _journeys_of(plan, shard.root)
    arrive = arrival_of(shard.target.journeys, shard.root)
    account_pool = _account_pool(plan, shard.target, journeys)
    for driver in drivers:
        await driver.open()
    if clock.now() > origin:
        raise TimeoutError(
            f"worker {shard.index} was ready {clock.now() - origin:.1f} s after the start instant"
        )

    recorder = Recorder(shard.index, origin, clock_offset, counts_populations=len(plan.populations) > 1)
    pacer = Pacer(clock, alarm_of)
    context = WorkerContext(plan, clock, drivers, recorder, pacer, shard.run_id)
    loads: list[ClosedLoad | OpenLoad] = []
    for population, mix, before in zip(plan.populations, journeys, _earlier(plan, journeys), strict=False):
        load_type = ClosedLoad if population.workload.model is Model.CLOSED else OpenLoad
        part = shard.index, shard.of
        loads.append(load_type(context, population, mix, arrive, account_pool, part, before))
    recorder.watch_collector()
    users = asyncio.create_task(_live(loads, origin))
    lag = asyncio.create_task(_watch_loop(context))
    mishap = _first_mishap()
    try:
        if not await _report_until_done(context, origin, emit, (users, mishap)):
            for load in loads:
                load.cut()
    finally:
        for task in (lag, users):
            task.cancel()
        await asyncio.wait((lag, users))
        recorder.unwatch_collector()
        pacer.close()
    emit(recorder.report(_gauges(drivers)))
    for driver in drivers:
        await driver.close()
    for ended in (users, mishap):
        if ended.done() and not ended.cancelled():
            ended.result()


async def _live(loads: Sequence[ClosedLoad | OpenLoad], origin: float) -> None:
    """Until the last user of all populations has left."""
    async with asyncio.TaskGroup() as group:
        for load in loads:
            group.create_task(load.live(origin))


def _gauges(drivers: Sequence[Driver]) -> dict[str, float]:
    """What the drivers hold now."""
    return {name: value for driver in drivers for name, value in driver.gauges().items()}


async def _report_until_done(
    context: WorkerContext,
    origin: float,
    emit: Callable[[Report], bool],
    ends: Sequence["asyncio.Future[None]"],
) -> bool:
    """A report at the end of each second, until one of `ends` is done or the drain is over; False where told to stop."""
    plan, clock, pacer = context.plan, context.clock, context.pacer
    last = origin + plan.seconds + plan.drain
    second = origin + 1.0
    while not any(end.done() for end in ends) and clock.now() < last:
        await asyncio.wait((*ends, pacer.until(min(second, last))), return_when=asyncio.FIRST_COMPLETED)
        if clock.now() >= second:
            second += 1.0
            if not emit(context.recorder.report(_gauges(context.drivers))):
                return False
    return True


def _first_mishap() -> "asyncio.Future[None]":
    """A future that fails with the first error in a callback of the event loop: the engine's own, so the load must end.

    Errors of a transport come to its connection, and are counted there.
    """
    loop = asyncio.get_running_loop()
    mishap: asyncio.Future[None] = loop.create_future()

    def note(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if "handle" in context and not mishap.done():
            mishap.set_exception(context["exception"])

    loop.set_exception_handler(note)
    return mishap


async def _watch_loop(context: WorkerContext) -> None:
    """See how late the event loop wakes, and have samples counted as they gather."""
    clock, pacer, recorder = context.clock, context.pacer, context.recorder
    while True:
        due = clock.now() + _TICK
        await pacer.until(due)
        now = clock.now()
        recorder.lag(now, now - due)
        recorder.count_full_chunks()


def allow_files(connections: int) -> None:
    """Let this process hold that many connections.

    Raises:
        ConfigurationError: the system does not allow it.

    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + SPARE_FILES
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise ConfigurationError(
            f"a worker needs {needed} open files, the system allows it {hard} (ulimit -Hn); "
            "allow more, or use more workers"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
