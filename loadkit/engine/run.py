"""Executes a plan: starts workers at one instant, monitors them, and assembles the `Run`."""

import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loadkit.drivers.network import SENT_AGAIN
from loadkit.engine import machine
from loadkit.engine.actions import ActionScheduler, Actor
from loadkit.engine.executors import interrupts_blocked, results_of, worker_processes, workers_for
from loadkit.engine.local_channel import LocalChannel
from loadkit.engine.monitor import RunMonitor
from loadkit.engine.progress import Progress
from loadkit.engine.relays import relayed
from loadkit.engine.service_clock import clock_facts, service_offset
from loadkit.engine.trial import LONGEST_TRIAL, try_journeys
from loadkit.engine.uptime import Probes, probes_of, require_answer, require_up
from loadkit.engine.worker import Parts, Shard, check_worker, run_shard
from loadkit.observers.proc import MachineWatcher
from loadkit.recording.distributions import TENANT_ACCOUNTS, distribution_warnings
from loadkit.recording.exact import CANARIES
from loadkit.recording.examples import select
from loadkit.recording.labels import advice
from loadkit.recording.messages import LATENCY
from loadkit.recording.run import DATABASE, HTTP, STOP_REQUESTED, WEBSOCKET, Run
from loadkit.recording.slices import SliceTable
from loadkit.recording.stalls import common
from loadkit.recording.timing import ROUND_TRIP
from loadkit.recording.worker_second import HTTPX_REQUESTS, SENT, WorkerSecond, journey_errors
from loadkit.recording.writes import Writes
from loadkit.target import Target
from loadkit.users.accounts import AccountKind, AccountPool, UsedBefore, accounts_in_use, least_demand
from loadkit.users.arrival_queue import EXPECTED_SECONDS
from loadkit.users.data import require_rows
from loadkit.workload.plan import Plan
from loadkit.workload.workload import Model, Workload

if TYPE_CHECKING:
    from loadkit.observers.postgres import PostgresObserver

__all__ = ["ROWS_TAKEN", "Progress", "new_id", "run", "without_rows"]

ROWS_TAKEN = "rows taken"
"""The name of the run's fact that states how many rows of each table its operations took.

The rows are counted from the first row of the table."""

_LEAST_LEAD, _MOST_LEAD = 0.5, 4.0
"""Minimum and maximum seconds between the submission and the start instant.

Workers get ready during this lead. It is as long as the preparation, because a machine that starts
workers slowly also submits slowly. Workers were ready after a quarter of it."""
_FOREIGN_LEAD = 2.0
"""Minimum lead for an executor of the caller, because its delay before a task is unknown."""
_ARRIVING_PER_SECOND = 250.0
"""Expected number of users that prepare (log in) per second."""
_FEW_SENT_AGAIN = 0.001
"""The share of the requests that may be sent a second time without a warning."""


def run(
    plan: Plan,
    target: Target,
    *,
    root: Path,
    run_id: str | None = None,
    workers: int | None = None,
    executor: Executor | None = None,
    actor: Actor | None = None,
    database: "PostgresObserver | None" = None,
    watch: Callable[[Progress], None] | None = None,
    stop: threading.Event | None = None,
) -> Run:
    """Execute a plan's load and return the measured run, even if it was cut short.

    Ctrl-C ends the load, and the returned run is marked as interrupted. A second Ctrl-C ends the
    call.

    Args:
        plan: the load.
        target: the service.
        root: the project's root; journeys are imported from there.
        run_id: default: a new id.
        workers: number of processes; default: as many as the plan needs.
        executor: runs all workers concurrently; default: processes of this machine that end with
            this one.
        actor: executes and undoes the plan's actions.
        database: reads the statistics of the service's database while the load runs.
        watch: called once a second with the progress.
        stop: ends the load when set.

    Raises:
        ConfigurationError: the plan cannot be executed here, or the code of a journey failed in the
            trial; no load was sent.
        UnreachableError: the service does not answer; no load was sent.

    """
    count = workers or workers_for(plan)
    begun = time.monotonic()
    least_lead = _LEAST_LEAD if executor is None else _FOREIGN_LEAD
    require_answer(target)
    with ExitStack() as stack:
        relays = stack.enter_context(relayed(plan, target))
        target = relays.target
        if executor is None:
            executor = stack.enter_context(worker_processes(count))
        parts = _prepare(plan, target, root, executor, count)
        lead = min(max(time.monotonic() - begun, least_lead), _MOST_LEAD)
        run_id = run_id or new_id()
        trial = executor.submit(try_journeys, plan, Shard(0, count, target, run_id, root))
        (tried,) = results_of(trial, within=LONGEST_TRIAL)
        # After the trial, because the errors of the trial name the address and the reason.
        to_probe = probes_of(target, parts.uses)
        require_up(to_probe)
        target = without_rows(target, tried.rows)
        require_rows(plan, target.tables, parts.data, count)
        offset = service_offset(target) if target.clock else None
        if offset is not None:
            target = replace(target, clock_offset=offset.seconds)
        channel = stack.enter_context(LocalChannel(count))
        monitor = RunMonitor(plan, channel, count, stop or threading.Event(), watch, lambda: relays.trouble)
        # Its first reading is the baseline of the statistics, so it comes before the load.
        stack.enter_context(database or nullcontext())
        started = time.time() + lead + (_arrivals_before_start(plan) if parts.arrives else 0.0)
        with (
            monitor.interruptible(),
            ActionScheduler(plan, actor, started) as scheduler,
            Probes(to_probe, started) as probes,
            MachineWatcher(target) as watcher,
        ):
            futures: list[Future[Any]] = [
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
        relays.close()
    table = SliceTable.sum_of(monitor.tables)
    rows = _rows_taken(tried.rows, futures)
    probed = {
        name: tuple(probe for probe in probes.answered(name) if probe[0] < monitor.ended_at)
        for name in (HTTP, WEBSOCKET, DATABASE)
    }
    done = Run(
        id=run_id,
        plan=plan,
        started=started,
        table=table,
        worker_seconds=tuple(
            sorted(
                monitor.worker_seconds, key=lambda worker_second: (worker_second.second, worker_second.worker)
            )
        ),
        observations={
            **watcher.observations(),
            **({} if database is None else database.observations()),
        },
        stalls=common([monitor.idle_intervals[index] for index in range(count)]),
        events=tuple(scheduler.events),
        examples=select(monitor.examples),
        warnings=(
            *monitor.warnings,
            *scheduler.troubles,
            *relays.warnings,
            *_httpx_warning(monitor.worker_seconds),
            *accounts_in_use(monitor.worker_seconds),
            *_sent_again_warning(monitor.worker_seconds),
            *filter(None, [journey_errors(monitor.worker_seconds)]),
            *advice(table.labels(), table.outcomes),
        ),
        probes=probed[HTTP],
        protocol_probes={name: made for name, made in probed.items() if name != HTTP and made},
        workers=count,
        groups=target.groups,
        writes=Writes.sum_of(
            [tried.writes.as_unknown, *monitor.writes, Writes(are_all=monitor.has_all_reports)]
        ),
        ended=monitor.ended,
        ended_at=monitor.ended_at,
        facts={
            **machine.facts(),
            **clock_facts(target, offset),
            **_database(target),
            **_tenants(target),
            **_canaries(target),
            **({LATENCY: ROUND_TRIP.name} if target.judges_round_trips else {}),
            **relays.facts(started),
            **({"trace_url": target.trace_url} if target.trace_url else {}),
            **({STOP_REQUESTED: True} if monitor.is_interrupted else {}),
            **({ROWS_TAKEN: rows} if rows else {}),
        },
    )
    done.warnings += distribution_warnings(done)
    return done


def _database(target: Target) -> dict[str, dict[str, Any]]:
    """How journeys use the database, for the report: pool of each worker, retries, time-outs."""
    if not target.database:
        return {}
    use = target.database_use
    return {
        "database use": {
            "connections per worker": use.pool,
            "retries": use.retries,
            "statement timeout": use.statement_timeout,
        }
    }


def _tenants(target: Target) -> dict[str, dict[str, int]]:
    """How many accounts each tenant has, to compare with the sizes of the tenants in the load."""
    counts = Counter(account.tenant for account in target.accounts if account.tenant)
    return {TENANT_ACCOUNTS: dict(counts)} if counts else {}


def _canaries(target: Target) -> dict[str, int]:
    """How many tenants have a canary."""
    tenants = {account.tenant for account in target.accounts if account.canary}
    return {CANARIES: len(tenants)} if tenants else {}


def new_id() -> str:
    """Create a run id that sorts by time: "20261123-150205-ab12"."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(2)}"


def _prepare(plan: Plan, target: Target, root: Path, executor: Executor, workers: int) -> Parts:
    """Check in the workers that they can execute the plan. Return its requirements.

    Raises:
        ConfigurationError: they cannot execute it.

    """
    with interrupts_blocked():
        futures = [
            executor.submit(check_worker, plan, target.journeys, root, workers) for _ in range(workers)
        ]
    parts: Parts = results_of(*futures)[0]
    all_users, initial = UsedBefore(), Counter[AccountKind]()
    for population, kinds in zip(plan.populations, parts.account_kinds, strict=True):
        all_users = all_users.plus(population.workload, kinds)
        initial.update(least_demand(population.workload, kinds, workers))
    AccountPool(target, all_users.accounts).require(initial)
    require_rows(plan, target.tables, parts.data, workers)
    return parts


def without_rows(target: Target, taken: Mapping[str, int]) -> Target:
    """The target with tables that begin after the rows that a trial or a load took."""
    tables = {name: table.after(taken.get(name, 0)) for name, table in target.tables.items()}
    return replace(target, tables=tables)


def _rows_taken(tried: Mapping[str, int], workers: Sequence["Future[Any]"]) -> dict[str, int]:
    """The number of rows of each table that a load took, from the first row on.

    The trial takes the first rows. After them, the result includes all rows up to the last one that
    a worker took: worker w of n takes the rows w, w + n, w + 2n … The rows of a worker that failed
    are unknown.
    """
    taken = Counter[str]()
    for worker, future in enumerate(workers):
        if future.exception() is None:
            for name, number in future.result().items():
                taken[name] = max(taken[name], worker + len(workers) * (number - 1) + 1)
    return dict(Counter(tried) + taken)


def _arrivals_before_start(plan: Plan) -> float:
    """Seconds that the initial users need to prepare."""
    users = sum(_users_at_start(population.workload) for population in plan.populations)
    return 1.0 + users / _ARRIVING_PER_SECOND


def _users_at_start(workload: Workload) -> float:
    level = workload.level_at(0.0) if workload.stages[0].seconds else workload.stages[0].level
    return level if workload.model is Model.CLOSED else level * EXPECTED_SECONDS


def _httpx_warning(worker_seconds: Sequence[WorkerSecond]) -> tuple[str, ...]:
    """A warning if operations were sent through httpx."""
    number = sum(worker_second.count(HTTPX_REQUESTS) for worker_second in worker_seconds)
    warning = (
        f"{number:,} operations went through httpx. It costs the generator many times as much as its own client, "
        "and that cost is included in their times"
    )
    return (warning,) if number else ()


def _sent_again_warning(worker_seconds: Sequence[WorkerSecond]) -> tuple[str, ...]:
    """A warning if more than a few requests were sent a second time. Each request counts once."""
    again = round(sum(worker_second.gauge(SENT_AGAIN) for worker_second in worker_seconds))
    sent = sum(worker_second.count(SENT) for worker_second in worker_seconds)
    warning = (
        f"{again:,} of {sent:,} requests were sent again, because the service closed their kept connection as they "
        "left; each counts once. It may keep idle connections too briefly, or drop requests"
    )
    return (warning,) if again > _FEW_SENT_AGAIN * sent else ()
