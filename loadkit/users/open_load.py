"""One worker's arrivals of an open load: they start when due, independently of the answers."""

import asyncio
import contextlib
import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

from loadkit.recording.examples import Example
from loadkit.recording.sample import Sample
from loadkit.recording.timing import REQUEST, timing_of
from loadkit.recording.worker_second import ALL_IN_USE, ALL_PRESENT
from loadkit.users.accounts import AccountKind, AccountPool, UsedBefore
from loadkit.users.arrival_queue import FEWEST_FREE, ArrivalQueue, users_for
from loadkit.users.journey import Arrive, Journey
from loadkit.users.lifecycle import Lifecycle
from loadkit.users.meter import UserFinished
from loadkit.users.user import User, WorkerContext
from loadkit.workload.plan import Population
from loadkit.workload.schedule import arrivals
from loadkit.workload.workload import MixEntry, Model

__all__ = ["DROPPED_LABEL", "OpenLoad"]

DROPPED_LABEL = "(dropped)"
"""The label of an arrival that no user served and whose operation is unknown, such as a journey."""
_CONCURRENT_ARRIVALS = 20
"""Concurrent preparations (log-ins) per worker."""


@dataclass(slots=True)
class _Pool:
    """The users of one entry of the mix."""

    entry: MixEntry
    journey: Journey
    arrival_queue: ArrivalQueue = field(default_factory=ArrivalQueue)
    preparing: int = 0
    """Users that are preparing."""
    ready: int = 0

    @property
    def in_flight(self) -> int:
        """Arrivals being served or waiting."""
        return self.ready - len(self.arrival_queue.waiting) + len(self.arrival_queue.due)

    @property
    def lacks_users(self) -> bool:
        """Are too few users free or preparing?"""
        free = len(self.arrival_queue.waiting) + self.preparing
        return free < max(FEWEST_FREE, self.ready // 10) + len(self.arrival_queue.due)


class OpenLoad:
    """Starts arrivals by plan, and prepares users to serve them."""

    def __init__(
        self,
        context: WorkerContext,
        population: Population,
        journeys: Sequence[Journey],
        arrive: Arrive | None,
        account_pool: AccountPool,
        part: tuple[int, int],
        before: UsedBefore,
        taken: Counter[AccountKind],
    ) -> None:
        workload = population.workload
        self._context = context
        self._population = population
        self._recorder = context.recorder.population(population.name)
        self._before = before
        # The first population uses the plain seed, so schedules of plans with one population do not
        # change.
        self._seed = f"{context.plan.seed}:{population.name}" if before.users else str(context.plan.seed)
        self._workload = workload
        self._arrive = arrive
        self._account_pool = account_pool
        self._index, self._of = part
        """Arrival k is served by worker k mod n."""
        self._most = max(workload.max_in_flight // self._of, 1)
        self._arrival_slots = asyncio.Semaphore(_CONCURRENT_ARRIVALS)
        self._pools = [_Pool(entry, journey) for entry, journey in zip(workload.mix, journeys, strict=True)]
        self._random = random.Random(f"{self._seed}:dropped:{self._index}")
        self._taken = taken
        """The number of users of all open loads of this worker, by kind of account."""
        self._lives: list[Lifecycle] = []
        self._is_cut = False
        """Are operations without an answer left out of the record?"""

    async def live(self, origin: float) -> None:
        """Run the load from before the start, `origin`, until the last arrival is served."""
        end = origin + self._workload.seconds
        try:
            async with asyncio.TaskGroup() as group:
                first = max(self._workload.stages[0].level, self._workload.level_at(0.0)) / self._of
                ready = [users_for(first * pool.entry.share) for pool in self._pools]
                for users in range(max(ready)):
                    for pool, number in zip(self._pools, ready, strict=True):
                        if users < number:
                            self._add_user(group, pool, end)
                    # The other open loads run in between, so that each of them gets accounts.
                    await asyncio.sleep(0)
                await self._admit_all(group, origin, end)
                for pool in self._pools:
                    pool.arrival_queue.close()
        finally:
            if not self._is_cut:
                self._record_unserved()

    def cut(self) -> None:
        """See `Lifecycle.cut`."""
        self._is_cut = True
        self._recorder.cut(sum(len(pool.arrival_queue.due) for pool in self._pools))
        for life in self._lives:
            life.cut()

    async def _admit_all(self, group: asyncio.TaskGroup, origin: float, end: float) -> None:
        """Admit each arrival when it is due, and add users where too few are free.

        The pacer calls a function for this. A task that waits for the moment would run only in the
        next turn of the loop, and would send each operation one turn later.
        """
        clock, pacer = self._context.clock, self._context.pacer
        coming = islice(arrivals(self._workload, self._seed), self._index, None, self._of)
        upcoming = next(coming, None)
        all_admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def admit_due() -> None:
            nonlocal upcoming
            if all_admitted.done():
                return  # the load was ended
            try:
                while upcoming is not None and (moment := origin + upcoming.at) <= clock.now():
                    pool = self._pools[upcoming.entry]
                    self._admit(pool, moment)
                    if pool.lacks_users:
                        self._add_user(group, pool, end)
                    upcoming = next(coming, None)
            except Exception as error:
                all_admitted.set_exception(error)
                return
            if upcoming is None:
                all_admitted.set_result(None)
            else:
                pacer.call_at(origin + upcoming.at, admit_due)

        admit_due()
        await all_admitted

    def _admit(self, pool: _Pool, moment: float) -> None:
        recorder = self._recorder
        if sum(each.in_flight for each in self._pools) >= self._most:
            due = sum(len(each.arrival_queue.due) for each in self._pools)
            if 2 * (recorder.in_flight + due) < self._most:  # most users wait for nothing
                recorder.counts[ALL_PRESENT] = self._workload.max_in_flight
            recorder.scheduled += 1
            recorder.dropped += 1
            recorder.blocked += 1
            self._record_failed(pool, "dropped", moment)
            return
        if self._workload.model is Model.REQUESTS:
            recorder.scheduled += 1  # for journeys, users count their operations
        if not pool.arrival_queue.admit(moment):
            recorder.blocked += 1

    def _record_unserved(self) -> None:
        """Record the arrivals that still wait for a user, because the service blocks all users."""
        if self._lives and all(life.code_errors for life in self._lives):
            return  # errors in the journeys' code block the users
        for pool in self._pools:
            for moment in pool.arrival_queue.due:
                if self._workload.model is not Model.REQUESTS:
                    self._recorder.scheduled += 1
                self._record_failed(pool, "unfinished", moment)

    def _record_failed(self, pool: _Pool, outcome: str, moment: float) -> None:
        """Record an arrival that was due at `moment` and that no user served.

        Its label, timings and tenant are drawn from the distribution of the served arrivals.
        """
        served, now = pool.arrival_queue.served, self._context.clock.now()
        label, timings, tenant = (
            self._random.choices(list(served), list(served.values()))[0]
            if served
            else (DROPPED_LABEL, REQUEST.key, self._population.tenant)
        )
        recorder, region = self._recorder, pool.entry.region
        sample = Sample(label, outcome, moment, now, now, 0, tenant, region)
        for timing in map(timing_of, timings.split()):
            recorder.timing(timing).samples.append(sample)
            if recorder.examples.wants_unserved(sample, timing):
                at, name = moment - recorder.origin, recorder.name
                recorder.examples.add(
                    Example(at, now - moment, label, outcome, name, None, tenant, region, timing=timing.key)
                )

    def _add_user(self, group: asyncio.TaskGroup, pool: _Pool, end: float) -> None:
        kind = pool.journey.account_kind
        of_closed = self._before.accounts[kind]
        place = of_closed + self._index + self._of * self._taken[kind]
        places = self._account_pool.places(kind)
        if place >= places and pool.arrival_queue.due:
            self._recorder.counts[f"{ALL_IN_USE}{kind}"] = int(places) - of_closed
        if len(self._lives) >= self._most or place >= places:
            return  # arrivals wait for the existing users
        self._taken[kind] += 1
        number = self._before.users + self._index + self._of * len(self._lives)
        account = self._account_pool.account(kind, place)
        user = User(number, pool.entry, account, self._context, self._population)
        life = Lifecycle(user, self._context.pacer)
        self._lives.append(life)
        pool.preparing += 1
        group.create_task(self._serve(life, pool, end))

    async def _serve(self, life: Lifecycle, pool: _Pool, end: float) -> None:
        user, queue = life.user, pool.arrival_queue
        try:
            if self._arrive is not None:
                await life.arrive(self._arrive, self._arrival_slots)
            pool.preparing -= 1
            pool.ready += 1
            drained = end + self._context.plan.drain
            with contextlib.suppress(UserFinished):
                if self._workload.model is Model.REQUESTS:
                    await self._serve_requests(life, pool, end, drained)
                    return
                while True:
                    free = self._context.clock.now()
                    moment = await queue.turn()
                    if moment >= end:
                        return
                    # Otherwise the journeys that wait longest for a user would not be recorded.
                    user.meter.start(moment, end, drained)
                    user.meter.free = free
                    with contextlib.suppress(UserFinished):  # more arrivals may wait for this user
                        await life.follow(pool.journey, is_once=True)
                        queue.note_journey(DROPPED_LABEL, user.meter.timings, user.tenant)
        finally:
            user.close()

    async def _serve_requests(self, life: Lifecycle, pool: _Pool, end: float, drained: float) -> None:
        """Let each operation of a user's journeys wait for an arrival, until all are served."""
        meter, until, clock = life.user.meter, end, self._context.clock
        due = pool.arrival_queue.due
        meter.pace(pool.arrival_queue)
        while True:
            before = len(due)
            meter.start(math.inf, until)
            with contextlib.suppress(UserFinished):
                await life.follow(pool.journey)
            # A journey that failed near the end of the load has ended. More arrivals may wait or
            # come. A journey that serves none of them is not repeated.
            is_over = until == drained and len(due) >= before
            if is_over or clock.now() >= drained or (pool.arrival_queue.is_closed and not due):
                return
            until = drained
