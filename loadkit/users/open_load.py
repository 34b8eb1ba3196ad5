"""The arrivals of an open load, as far as one worker has them: they come when they are due, whatever the answers."""

import asyncio
import contextlib
import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

from loadkit.recording.sample import Sample
from loadkit.users.accounts import AccountPool, Earlier
from loadkit.users.arrival_queue import ArrivalQueue
from loadkit.users.journey import Arrive, Journey
from loadkit.users.lifecycle import Lifecycle
from loadkit.users.meter import UserFinished
from loadkit.users.user import User, WorkerContext
from loadkit.workload.plan import Population
from loadkit.workload.schedule import arrivals
from loadkit.workload.workload import MixEntry, Model

__all__ = ["DROPPED_LABEL", "EXPECTED_SECONDS", "OpenLoad"]

DROPPED_LABEL = "(dropped)"
"""Under which an arrival beyond `max_in_flight` is counted where nobody can say what it would have become."""
_ARRIVING_AT_ONCE = 20
"""Users of one worker who get ready at the same time."""
EXPECTED_SECONDS = 0.1
"""How long an arrival is expected to keep a user, for the number of users that are ready at the start."""
_FEWEST_FREE = 2
"""Users of a pool that should be free at any time; a tenth of them, where that is more."""


@dataclass(slots=True)
class _Pool:
    """The users who follow one entry of the mix."""

    entry: MixEntry
    journey: Journey
    arrival_queue: ArrivalQueue = field(default_factory=ArrivalQueue)
    making: int = 0
    """Users who are getting ready."""
    ready: int = 0

    @property
    def in_flight(self) -> int:
        """Arrivals that are being served, or wait for it."""
        return self.ready - len(self.arrival_queue.waiting) + len(self.arrival_queue.due)

    @property
    def lacks_users(self) -> bool:
        """Are fewer users free, or soon to be, than should be?"""
        free = len(self.arrival_queue.waiting) + self.making
        return free < max(_FEWEST_FREE, self.ready // 10) + len(self.arrival_queue.due)


class OpenLoad:
    """Lets arrivals in by plan, and has users ready to serve them."""

    def __init__(
        self,
        context: WorkerContext,
        population: Population,
        journeys: Sequence[Journey],
        arrive: Arrive | None,
        account_pool: AccountPool,
        part: tuple[int, int],
        before: Earlier,
    ) -> None:
        workload = population.workload
        self._context = context
        self._population = population
        self._recorder = context.recorder.population(population.name)
        self._before = before
        # The first population's schedule is the seed's own: plans of one population keep theirs.
        self._seed = f"{context.plan.seed}:{population.name}" if before.users else str(context.plan.seed)
        self._workload = workload
        self._arrive = arrive
        self._account_pool = account_pool
        self._index, self._of = part
        """Arrival k is served by worker k mod n."""
        self._most = max(workload.max_in_flight // self._of, 1)
        self._doors = asyncio.Semaphore(_ARRIVING_AT_ONCE)
        self._pools = [_Pool(entry, journey) for entry, journey in zip(workload.mix, journeys, strict=True)]
        self._random = random.Random(f"{self._seed}:dropped:{self._index}")
        self._places: Counter[str] = Counter()
        self._lives: list[Lifecycle] = []

    async def live(self, origin: float) -> None:
        """From before the start instant, `origin`, until the last arrival has been served."""
        pacer, clock = self._context.pacer, self._context.clock
        end = origin + self._workload.seconds
        async with asyncio.TaskGroup() as group:
            first = max(self._workload.stages[0].level, self._workload.level_at(0.0)) / self._of
            for pool in self._pools:
                for _ in range(_FEWEST_FREE + math.ceil(first * pool.entry.share * EXPECTED_SECONDS)):
                    self._add_user(group, pool, end)
            for arrival in islice(arrivals(self._workload, self._seed), self._index, None, self._of):
                moment = origin + arrival.at
                if moment > clock.now():
                    await pacer.until(moment)
                pool = self._pools[arrival.entry]
                self._admit(pool, moment)
                if pool.lacks_users:
                    self._add_user(group, pool, end)
            for pool in self._pools:
                pool.arrival_queue.close()

    def cut(self) -> None:
        """See `Lifecycle.cut`."""
        for life in self._lives:
            life.cut()

    def _admit(self, pool: _Pool, moment: float) -> None:
        recorder = self._recorder
        if sum(each.in_flight for each in self._pools) >= self._most:
            recorder.scheduled += 1
            recorder.dropped += 1
            recorder.blocked += 1
            now = self._context.clock.now()
            recorder.requests.samples.append(
                Sample(self._missed(pool), "dropped", moment, now, now, 0, region=pool.entry.region)
            )
            return
        if self._workload.model is Model.REQUESTS:
            recorder.scheduled += 1  # users count the operations of journeys themselves
        if not pool.arrival_queue.admit(moment):
            recorder.blocked += 1

    def _missed(self, pool: _Pool) -> str:
        """The label of an operation that an arrival will not become: drawn as those were that its like became."""
        served = pool.arrival_queue.served
        return self._random.choices(list(served), list(served.values()))[0] if served else DROPPED_LABEL

    def _add_user(self, group: asyncio.TaskGroup, pool: _Pool, end: float) -> None:
        role = pool.journey.role
        place = self._before.accounts.get(role, 0) + self._index + self._of * self._places[role]
        if len(self._lives) >= self._most or place >= self._account_pool.places(role):
            return  # arrivals wait for those who are there
        self._places[role] += 1
        number = self._before.users + self._index + self._of * len(self._lives)
        account = self._account_pool.account(role, place)
        user = User(number, pool.entry, account, self._context, self._population)
        life = Lifecycle(user, self._context.pacer)
        self._lives.append(life)
        pool.making += 1
        group.create_task(self._serve(life, pool, end))

    async def _serve(self, life: Lifecycle, pool: _Pool, end: float) -> None:
        user = life.user
        try:
            if self._arrive is not None:
                async with self._doors:
                    await life.arrive(self._arrive)
            pool.making -= 1
            pool.ready += 1
            with contextlib.suppress(UserFinished):
                if self._workload.model is Model.REQUESTS:
                    user.meter.start(math.inf, end)
                    user.meter.pace(pool.arrival_queue)
                    await life.follow(pool.journey)
                while (moment := await pool.arrival_queue.turn()) < end:
                    user.meter.start(moment, end)
                    await life.follow(pool.journey, is_once=True)
        finally:
            user.close()
