"""Tries each journey of a plan once before the load, to find errors in it and refused accounts."""

import asyncio
import contextlib
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import uvloop

from loadkit.clock import Clock, MonotonicClock
from loadkit.drivers.base import Driver
from loadkit.drivers.http.response import BodyError, Response, StatusError
from loadkit.drivers.registry import drivers_for
from loadkit.engine.worker import (
    Shard,
    account_pool_of,
    accounts_of_closed,
    journeys_of,
    protocols_of,
    used_before,
)
from loadkit.errors import ConfigurationError
from loadkit.recording.recorder import Recorder
from loadkit.recording.writes import NO_WRITES, Writes
from loadkit.target import Target
from loadkit.users.data import WorkerData, tables_of
from loadkit.users.discovery import arrival_of
from loadkit.users.journey import Arrive, Journey, fetch
from loadkit.users.lifecycle import Lifecycle
from loadkit.users.meter import UserFinished
from loadkit.users.pacer import BEST_ALARM, Alarm, Pacer
from loadkit.users.user import User, WorkerContext
from loadkit.workload.plan import Plan
from loadkit.workload.schedule import entry_of
from loadkit.workload.workload import Model, Think, Workload

__all__ = ["LONGEST_TRIAL", "Tried", "try_journeys", "try_users"]

_JOURNEY_SECONDS = 10.0
"""Seconds after which the trial of a journey is stopped; a longer journey is not an error."""
_ALL_SECONDS = 30.0
"""Seconds after which no further trial begins."""
LONGEST_TRIAL = 120.0
"""Seconds after which a worker that tries the journeys is stuck; its start and its end included."""
_REFUSED = frozenset({401, 403})
"""Statuses of a refused account."""
_HEAD = 60
"""Characters of a body that are shown."""
_VALUES = re.compile(r"""(?<==)[^&\s"'<>]+|[\w.+=-]{24,}""")
"""Parts of a body that may be a token: the value of a form field, or a long word."""


@dataclass(frozen=True, slots=True)
class Tried:
    """The lasting effects of a trial."""

    writes: Writes = NO_WRITES
    """The writes of its users. They carry the run's id, like the writes of the run."""
    rows: Mapping[str, int] = field(default_factory=dict)
    """For each table of test data with a row per operation, the number of rows that it took."""


def try_journeys(plan: Plan, shard: Shard) -> Tried:
    """Let one user follow each journey of a plan once, as it would in the run, without pauses.

    Nothing is recorded. Failures of the service are ignored, because the run will show them. A
    trial takes at most ten seconds; a longer journey is stopped. A journey that would hold a
    connection for longer ends after a second, or with the first message of its subscription.

    Args:
        plan: the plan of the run.
        shard: any share of the run; each contains the target, its journeys and the run's id.

    Raises:
        ConfigurationError: the code of a journey or of ``arrive`` raised an error. Or the service
            refuses an account (401 or 403), or answers ``arrive`` with an unreadable body.

    """
    journeys, arrive = journeys_of(plan, shard.root), arrival_of(shard.target.journeys, shard.root)
    if arrive is None and all(journey == fetch for mix in journeys for journey in mix):
        return Tried()  # the load kit's own journey needs no trial, so `loadkit run` starts sooner
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        drivers = drivers_for(protocols_of(journeys, arrive), shard.target)
        return runner.run(
            try_users(plan, shard, clock=MonotonicClock(), drivers=drivers, alarm_of=BEST_ALARM)
        )


async def try_users(
    plan: Plan,
    shard: Shard,
    *,
    clock: Clock,
    drivers: Sequence[Driver],
    alarm_of: Callable[[Callable[[], None]], Alarm],
) -> Tried:
    """`try_journeys` without a process, on any clock and with any drivers."""
    arrive = arrival_of(shard.target.journeys, shard.root)
    pacer = Pacer(clock, alarm_of)
    journeys = journeys_of(plan, shard.root)
    account_pool = account_pool_of(plan, shard.target, journeys)
    tenants = account_pool.of_each_tenant(accounts_of_closed(plan, journeys))
    data = WorkerData(tables_of(journeys, shard.target.tables))
    recorder = Recorder(0, clock.now())
    context = WorkerContext(plan, clock, drivers, recorder, pacer, shard.run_id, tenants, data=data)
    end = clock.now() + _ALL_SECONDS
    try:
        for driver in drivers:
            await driver.open()
        for user, journey in _users(context, shard):
            try:
                if clock.now() < end:
                    await _try(Lifecycle(user, pacer), journey, arrive, shard.target)
            finally:
                user.close()
    finally:
        data.close()
        pacer.close()
        for driver in drivers:
            await driver.close()
    return Tried(context.writes.drain(is_final=True), data.taken)


def _users(context: WorkerContext, shard: Shard) -> Iterator[tuple[User, Journey]]:
    """A user for each different journey of the plan that users follow.

    It has a number and an account of its population. Each user is created after the previous one
    has ended, so users can have the same account.
    """
    plan = context.plan
    journeys = journeys_of(plan, shard.root)
    account_pool = account_pool_of(plan, shard.target, journeys)
    tried: set[tuple[str, tuple[tuple[str, str], ...]]] = set()
    for population, mix, before in zip(plan.populations, journeys, used_before(plan, journeys), strict=False):
        hurried = replace(population, workload=replace(population.workload, think=Think(0.0, 0.0)))
        followed = _followed(population.workload)
        for place, (entry, journey) in enumerate(zip(population.workload.mix, mix, strict=True)):
            if (entry.journey, entry.arguments) in tried or place not in followed:
                continue
            tried.add((entry.journey, entry.arguments))
            account = account_pool.account(journey.account_kind, before.accounts[journey.account_kind])
            user = User(before.users + place, entry, account, context, hurried)
            # Requests carry the run's id. But names that the user derives from its own id must not
            # occur again in the run.
            user.run_id = f"{shard.run_id}-trial"
            yield user, journey


def _followed(workload: Workload) -> Collection[int]:
    """The entries of the mix that users follow. A few users of a closed load do not follow all."""
    if workload.model is not Model.CLOSED:
        return range(len(workload.mix))
    return {entry_of(number, workload.mix) for number in range(workload.most_users)}


async def _try(life: Lifecycle, journey: Journey, arrive: Arrive | None, target: Target) -> None:
    trial = asyncio.create_task(_follow(life, journey, arrive, target))
    ended, _ = await asyncio.wait((trial,), timeout=_JOURNEY_SECONDS)
    if not ended:
        trial.cancel()
        await asyncio.wait((trial,))
        return
    trial.result()
    for mistake in life.code_errors or ():
        raise ConfigurationError(f"{mistake} (found in one trial before the load)")


async def _follow(life: Lifecycle, journey: Journey, arrive: Arrive | None, target: Target) -> None:
    user = life.user
    error = await life.arrive_once(arrive) if arrive is not None else None
    if isinstance(error, StatusError) and error.status_code in _REFUSED:
        who = f"the account {user.account.username}" if target.accounts else "a user"
        raise ConfigurationError(
            f"the service refuses {who} ({error}): check the accounts of environment {target.name}"
        )
    if isinstance(error, BodyError):
        raise ConfigurationError(_unreadable(error, target))
    if error is None:
        user.meter.start(user.meter.now(), math.inf)
        user.meter.longest_hold = _JOURNEY_SECONDS  # a longer hold would be stopped anyway
        with contextlib.suppress(UserFinished):
            await life.follow(journey, is_once=True)


def _unreadable(error: BodyError, target: Target) -> str:
    """The error message if a user's preparation was answered with an unreadable body."""
    answer = error.response
    what = error.kind.removeprefix("body is ")
    return (
        f"{answer.label} at {target.base} answered with status {answer.status_code} and a body that is {what}: "
        f'"{_head(answer)}"; check the address of environment {target.name}'
    )


def _head(answer: Response) -> str:
    """The first characters of a body, without possible tokens."""
    try:
        content = answer.content
    except BodyError:
        content = answer.body
    words = " ".join(content[: 4 * _HEAD].decode("utf-8", "replace").split())
    shown = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in words)
    shown = _VALUES.sub("***", shown)
    return f"{shown[:_HEAD]}…" if len(shown) > _HEAD or len(content) > 4 * _HEAD else shown
