"""A plan put on a service: workers started together at one instant, watched, and gathered into a `Run`."""

import math
import os
import secrets
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from types import FrameType
from typing import Any

from loadkit.engine.actions import ActionScheduler, Actor
from loadkit.engine.channel import Channel, Disconnected
from loadkit.engine.local_channel import LocalChannel
from loadkit.engine.progress import LiveStats, Progress
from loadkit.engine.uptime import Probes, require_answer
from loadkit.engine.worker import Parts, Shard, check_worker, init_worker, run_shard, try_arrivals
from loadkit.errors import ConfigurationError, LoadkitError
from loadkit.observers.base import Observer
from loadkit.observers.lifespans import lifespans
from loadkit.recording.ending import COMPLETE, INTERRUPTED, Ending, EndingKind
from loadkit.recording.recorder import Report
from loadkit.recording.run import Run
from loadkit.recording.slices import SliceTable
from loadkit.recording.stalls import IdleInterval, common
from loadkit.recording.worker_second import HTTPX_REQUESTS, WorkerSecond
from loadkit.target import Target
from loadkit.users.accounts import AccountPool, Earlier, demand
from loadkit.users.open_load import EXPECTED_SECONDS
from loadkit.workload.plan import Plan
from loadkit.workload.workload import Model, Workload

__all__ = ["Progress", "new_id", "run"]

_LEAST_LEAD, _MOST_LEAD = 0.5, 1.0
"""Seconds from the order to the start instant, for the workers to take it in: as many as all before it took, since a
machine that is slow to start workers is slow to give them orders."""
_OPERATIONS_PER_WORKER = 3_000.0
"""Operations per second that a worker manages at half a core, where users pause and arrivals are random: 36 % of one at
2,000 a second and 70 % at 4,000, on a virtual machine on which each waking from idleness alone costs 45 µs. Without any
pause a worker does ten times as many; but then nobody asks how many workers are needed."""
_PATIENCE = 10.0
"""Seconds that workers may take to end, once they should."""
_ARRIVING_PER_SECOND = 250.0
"""Users that are expected to get ready (log in) in a second."""


def run(
    plan: Plan,
    target: Target,
    *,
    root: Path,
    run_id: str | None = None,
    workers: int | None = None,
    executor: Executor | None = None,
    observer: Observer | None = None,
    actor: Actor | None = None,
    watch: Callable[[Progress], None] | None = None,
    stop: threading.Event | None = None,
) -> Run:
    """Put a plan's load on a service and return what was measured, also where it was cut short.

    Ctrl-C ends the load, not the call: the run says that it was interrupted. A second one ends the call.

    Args:
        plan: the load.
        target: where it goes.
        root: the project's root; journeys are imported from there.
        run_id: else a fresh one.
        workers: how many processes; else as many as the plan needs.
        executor: carries the workers, all at the same time; else processes of this machine, gone when this one is.
        observer: asked when the load is over.
        actor: brings about what the plan has happen meanwhile, and undoes it.
        watch: told once a second how it goes.
        stop: ends the load when it is set.

    Raises:
        ConfigurationError: the plan cannot be put on from here; nothing was sent.
        UnreachableError: the service does not answer; no load was put on.

    """
    count = workers or _workers_for(plan.workload)
    begun = time.monotonic()
    require_answer(target)
    with ExitStack() as stack:
        if executor is None:
            executor = stack.enter_context(_processes(count))
        arrives = _prepare(plan, target, root, executor, count)
        channel = stack.enter_context(LocalChannel(count))
        monitor = _RunMonitor(plan, channel, count, stop or threading.Event(), watch)
        lead = min(max(time.monotonic() - begun, _LEAST_LEAD), _MOST_LEAD)
        started = time.time() + lead + (_arrivals_before_start(plan.workload) if arrives else 0.0)
        run_id = run_id or new_id()
        with ActionScheduler(plan, actor, started) as scheduler, Probes(target, started) as probes:
            futures = [
                executor.submit(
                    run_shard,
                    plan,
                    Shard(index, count, target, run_id, root),
                    started,
                    channel.endpoint(index),
                )
                for index in range(count)
            ]
            with monitor.interruptible():
                ended = monitor.watch_over(futures, started)
    ended_at = plan.workload.seconds if ended == COMPLETE else monitor.ended_at
    observations = observer.observe(started, started + ended_at) if observer else {}
    if scheduler.events:
        acted = started + scheduler.events[0].at
        observations = {
            name: replace(seen, lifespans=lifespans(seen, acted, started, started + ended_at))
            for name, seen in observations.items()
        }
    return Run(
        id=run_id,
        plan=plan,
        started=started,
        table=SliceTable.sum_of(monitor.tables),
        worker_seconds=tuple(
            sorted(
                monitor.worker_seconds, key=lambda worker_second: (worker_second.second, worker_second.worker)
            )
        ),
        stalls=common([monitor.idle_intervals[index] for index in range(count)]),
        observations=observations,
        events=tuple(scheduler.events),
        warnings=(*scheduler.troubles, *_httpx_warning(monitor.worker_seconds)),
        probes=tuple(probe for probe in probes.answered if probe[0] < ended_at),
        workers=count,
        groups=target.groups,
        ended=ended,
        ended_at=ended_at,
        facts=_facts(),
    )


def new_id() -> str:
    """A fresh run id, which sorts by time: "20261123-1502-ab12"."""
    return f"{time.strftime('%Y%m%d-%H%M', time.gmtime())}-{secrets.token_hex(2)}"


@dataclass(slots=True)
class _RunMonitor:
    """The workers while they are at it: gathers what they report, and ends it when it must end."""

    plan: Plan
    channel: Channel
    workers: int
    stop: threading.Event
    watch: Callable[[Progress], None] | None
    tables: list[bytes] = field(default_factory=list)
    """Packed, so that memory hardly grows however long the load lasts."""
    worker_seconds: list[WorkerSecond] = field(default_factory=list)
    idle_intervals: dict[int, list[IdleInterval]] = field(init=False)
    is_interrupted: bool = False
    """Has Ctrl-C been pressed?"""
    ended_at: float = 0.0
    """Seconds since the start at which it was cut short."""
    _ended: Ending = COMPLETE
    _started: float = 0.0
    _live_stats: LiveStats = field(init=False)

    def __post_init__(self) -> None:
        self.idle_intervals = {index: [] for index in range(self.workers)}
        self._live_stats = LiveStats(self.plan.workload, self.workers)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Have Ctrl-C noted; a second one is a `KeyboardInterrupt`, as ever.

        Noted and not raised: raised in the midst of anything, it would leave workers behind that nobody told to stop.
        """
        before = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is not threading.main_thread() or before is signal.SIG_IGN:
            yield
            return

        def note(_signal: int, _frame: FrameType | None) -> None:
            if self.is_interrupted:
                raise KeyboardInterrupt
            self.is_interrupted = True

        signal.signal(signal.SIGINT, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def watch_over(self, futures: Sequence["Future[None]"], started: float) -> Ending:
        """Until all workers have ended. Return how it ended.

        Raises:
            LoadkitError: a worker could not begin.

        """
        self._started = started
        workload = self.plan.workload
        deadline = started + workload.seconds + self.plan.drain + _PATIENCE
        told = started
        while not (all(future.done() for future in futures) and self.channel.is_drained):
            self._listen()
            now = time.time()
            if self.watch is not None and now >= told + 1.0:
                told = now
                self.watch(self._live_stats.progress(now - started))
            if self._ended == COMPLETE:
                self._end(self._reason(futures, now))
            if self._ended != COMPLETE:
                deadline = min(deadline, started + self.ended_at + _PATIENCE)
            if now > deadline:
                self._end(Ending(EndingKind.WORKERS_STUCK))
                self.channel.kill()
        return self._ended

    def _listen(self) -> None:
        said = self.channel.next(timeout=0.1)
        if isinstance(said, Report):
            self.tables.append(said.table.packed())
            self.worker_seconds.append(said.worker_second)
            self.idle_intervals[said.worker] += said.idle_intervals
            self._live_stats.add(said)
        elif isinstance(said, Disconnected) and not said.is_done:
            self._end(Ending(EndingKind.WORKER_DIED, f"worker {said.worker}"))

    def _reason(self, futures: Sequence["Future[None]"], now: float) -> Ending:
        """Why to end now; `COMPLETE` where there is no reason."""
        if self.stop.is_set() or self.is_interrupted:
            return INTERRUPTED
        for index, future in enumerate(futures):
            error = future.exception() if future.done() else None
            if isinstance(error, LoadkitError) and now < self._started + 1.0:
                # A worker could not begin: that is no run.
                self.channel.stop()
                error.__cause__ = None
                raise error
            if error is not None:
                return Ending(EndingKind.WORKER_FAILED, f"worker {index}: {type(error).__name__}: {error}")
        failing = self._live_stats.failing
        if failing and not self.plan.actions:
            operations, failures = failing
            return Ending(
                EndingKind.EMERGENCY_STOP,
                f"{failures} of {operations} operations failed in the last ten seconds",
            )
        return COMPLETE

    def _end(self, reason: Ending) -> None:
        if self._ended == COMPLETE != reason:
            self._ended = reason
            self.ended_at = min(max(time.time() - self._started, 0.0), self.plan.workload.seconds)
            self.channel.stop()


def _httpx_warning(worker_seconds: Sequence[WorkerSecond]) -> tuple[str, ...]:
    """What to know of operations that did not go through the load's own client."""
    number = sum(worker_second.count(HTTPX_REQUESTS) for worker_second in worker_seconds)
    told = (
        f"{number:,} operations went through httpx: it costs the generator many times what its own client does, "
        "and that is part of their times"
    )
    return (told,) if number else ()


def _prepare(plan: Plan, target: Target, root: Path, executor: Executor, workers: int) -> bool:
    """See in the workers that the plan can be put on from there. Return whether users get ready before they begin.

    Raises:
        ConfigurationError: it cannot.

    """
    with _interrupts_held_back():
        futures = [
            executor.submit(check_worker, plan, target.journeys, root, workers) for _ in range(workers)
        ]
    parts: Parts = _asked(*futures)[0]
    everybody, at_once = Earlier(), Counter[str]()
    for population, roles in zip(plan.populations, parts.roles, strict=True):
        everybody = everybody.and_then(population.workload, roles)
        # Users of an open load are made as arrivals need them, as long as there are accounts: one is enough to begin.
        is_closed = population.workload.model is Model.CLOSED
        at_once.update(demand(population.workload, roles) if is_closed else dict.fromkeys(roles, 1))
    AccountPool(target, everybody.accounts).require(at_once)
    if parts.arrives:
        _asked(executor.submit(try_arrivals, plan, target, root))
    return parts.arrives


def _asked(*futures: "Future[Any]") -> list[Any]:
    """What workers answer; their errors without their own traces, which say nothing that the sentence does not."""
    try:
        return [future.result() for future in futures]
    except LoadkitError as error:
        error.__cause__ = None
        raise
    except BrokenExecutor:
        raise ConfigurationError("the worker processes could not be started, or ended at once") from None


def _workers_for(workload: Workload) -> int:
    """How many workers a load needs."""
    rate = workload.peak
    if workload.model is Model.CLOSED:
        # Users who never pause make as many as the service answers: one worker, unless somebody asks for more.
        rate = workload.peak / workload.think.mean if workload.think.mean else 0.0
    return max(1, min(math.ceil(rate / _OPERATIONS_PER_WORKER), os.cpu_count() or 1))


def _arrivals_before_start(workload: Workload) -> float:
    """Seconds that the users who are there from the start need to get ready."""
    users = workload.level_at(0.0) if workload.stages[0].seconds else workload.stages[0].level
    if workload.model is not Model.CLOSED:
        users = users * EXPECTED_SECONDS
    return 1.0 + users / _ARRIVING_PER_SECOND


@contextmanager
def _processes(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Processes of this machine that end when this one does, however it ends."""
    context = get_context("spawn")
    initial = (os.getpid(), context.Barrier(workers))
    executor = ProcessPoolExecutor(workers, mp_context=context, initializer=init_worker, initargs=initial)
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Processes that are started meanwhile never see Ctrl-C: they inherit that it is blocked. Their parent decides."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _facts() -> dict[str, Any]:
    """What the run was made with."""
    import platform  # after the load, so that it does not begin later
    from importlib.metadata import version

    packages = ("sla-acceptance", "uvloop", "httptools", "numpy")
    return {
        "versions": {
            "python": platform.python_version(),
            **{package: version(package) for package in packages},
        },
        "machine": {
            "system": platform.platform(),
            "cpu": _cpu_model() or platform.processor(),
            "cores": os.cpu_count(),
            "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        },
    }


def _cpu_model() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return ""
