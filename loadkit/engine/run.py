"""A plan put on a service: workers started together at one instant, followed, and gathered into a `Run`."""

import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from pathlib import Path

from loadkit.engine import machine
from loadkit.engine.actions import ActionScheduler, Actor
from loadkit.engine.executors import interrupts_held_back, results_of, worker_processes, workers_for
from loadkit.engine.local_channel import LocalChannel
from loadkit.engine.monitor import RunMonitor
from loadkit.engine.progress import Progress
from loadkit.engine.uptime import Probes, require_answer
from loadkit.engine.worker import Parts, Shard, check_worker, run_shard, try_arrivals
from loadkit.recording.labels import advice
from loadkit.recording.run import Run
from loadkit.recording.slices import SliceTable
from loadkit.recording.stalls import common
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
        actor: brings about what the plan has happen meanwhile, and undoes it.
        watch: told once a second how it goes.
        stop: ends the load when it is set.

    Raises:
        ConfigurationError: the plan cannot be put on from here; nothing was sent.
        UnreachableError: the service does not answer; no load was put on.

    """
    count = workers or workers_for(plan)
    begun = time.monotonic()
    require_answer(target)
    with ExitStack() as stack:
        if executor is None:
            executor = stack.enter_context(worker_processes(count))
        arrives = _prepare(plan, target, root, executor, count)
        channel = stack.enter_context(LocalChannel(count))
        monitor = RunMonitor(plan, channel, count, stop or threading.Event(), watch)
        lead = min(max(time.monotonic() - begun, _LEAST_LEAD), _MOST_LEAD)
        started = time.time() + lead + (_arrivals_before_start(plan) if arrives else 0.0)
        run_id = run_id or new_id()
        with (
            monitor.interruptible(),
            ActionScheduler(plan, actor, started) as scheduler,
            Probes(target, started) as probes,
        ):
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
            monitor.follow(futures, started)
    table = SliceTable.sum_of(monitor.tables)
    return Run(
        id=run_id,
        plan=plan,
        started=started,
        table=table,
        worker_seconds=tuple(
            sorted(
                monitor.worker_seconds, key=lambda worker_second: (worker_second.second, worker_second.worker)
            )
        ),
        stalls=common([monitor.idle_intervals[index] for index in range(count)]),
        events=tuple(scheduler.events),
        warnings=(
            *monitor.warnings,
            *scheduler.troubles,
            *_httpx_warning(monitor.worker_seconds),
            *advice(table.labels(), table.outcomes),
        ),
        probes=tuple(probe for probe in probes.answered if probe[0] < monitor.ended_at),
        workers=count,
        groups=target.groups,
        ended=monitor.ended,
        ended_at=monitor.ended_at,
        facts=machine.facts(),
    )


def new_id() -> str:
    """A fresh run id, which sorts by time: "20261123-1502-ab12"."""
    return f"{time.strftime('%Y%m%d-%H%M', time.gmtime())}-{secrets.token_hex(2)}"


def _prepare(plan: Plan, target: Target, root: Path, executor: Executor, workers: int) -> bool:
    """See in the workers that the plan can be put on from there. Return whether users get ready before they begin.

    Raises:
        ConfigurationError: it cannot.

    """
    with interrupts_held_back():
        futures = [
            executor.submit(check_worker, plan, target.journeys, root, workers) for _ in range(workers)
        ]
    parts: Parts = results_of(*futures)[0]
    everybody, at_once = Earlier(), Counter[str]()
    for population, roles in zip(plan.populations, parts.roles, strict=True):
        everybody = everybody.and_then(population.workload, roles)
        # Users of an open load are made as arrivals need them, as long as there are accounts: one is enough to begin.
        is_closed = population.workload.model is Model.CLOSED
        at_once.update(demand(population.workload, roles) if is_closed else dict.fromkeys(roles, 1))
    AccountPool(target, everybody.accounts).require(at_once)
    if parts.arrives:
        results_of(executor.submit(try_arrivals, plan, target, root))
    return parts.arrives


def _arrivals_before_start(plan: Plan) -> float:
    """Seconds that the users who are there from the start need to get ready."""
    users = sum(_users_at_start(population.workload) for population in plan.populations)
    return 1.0 + users / _ARRIVING_PER_SECOND


def _users_at_start(workload: Workload) -> float:
    level = workload.level_at(0.0) if workload.stages[0].seconds else workload.stages[0].level
    return level if workload.model is Model.CLOSED else level * EXPECTED_SECONDS


def _httpx_warning(worker_seconds: Sequence[WorkerSecond]) -> tuple[str, ...]:
    """What to know of operations that did not go through the load's own client."""
    number = sum(worker_second.count(HTTPX_REQUESTS) for worker_second in worker_seconds)
    told = (
        f"{number:,} operations went through httpx: it costs the generator many times what its own client does, "
        "and that is part of their times"
    )
    return (told,) if number else ()
