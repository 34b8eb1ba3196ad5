"""One worker's users of a closed load."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Sequence

from loadkit.users.accounts import AccountPool, Earlier
from loadkit.users.journey import Arrive, Journey
from loadkit.users.lifecycle import Lifecycle
from loadkit.users.meter import UserFinished
from loadkit.users.user import User, WorkerContext
from loadkit.workload.plan import Population
from loadkit.workload.schedule import Stay, entry_of, stays

__all__ = ["ClosedLoad"]

_CONCURRENT_ARRIVALS = 20
"""Concurrent preparations (log-ins) per worker: fast enough, and too few to be a load."""
_HEAD_START = 3.0
"""Seconds before its join at which a user starts preparing; the first users start immediately."""


class ClosedLoad:
    """Adds and removes users by plan; each follows its journey while it is present."""

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
        self._context = context
        self._population = population
        self._recorder = context.recorder.population(population.name)
        self._journeys = journeys
        self._arrive = arrive
        self._account_pool = account_pool
        self._part = part
        """This worker's index and the number of workers: user k belongs to worker k mod n."""
        self._arrival_slots = asyncio.Semaphore(_CONCURRENT_ARRIVALS)
        self._before = before
        self._lives: list[Lifecycle] = []

    async def live(self, origin: float) -> None:
        """Run the load from before the start instant, `origin`, until the last user has left."""
        workload = self._population.workload
        index, of = self._part
        places: Counter[str] = Counter(self._before.accounts)
        async with asyncio.TaskGroup() as group:
            for number, present in enumerate(stays(workload.stages)):
                entry = entry_of(number, workload.mix)
                journey = self._journeys[entry]
                if number % of == index:
                    account = self._account_pool.account(journey.seat, places[journey.seat])
                    user = User(
                        self._before.users + number,
                        workload.mix[entry],
                        account,
                        self._context,
                        self._population,
                    )
                    life = Lifecycle(user, self._context.pacer, workload.pace)
                    self._lives.append(life)
                    group.create_task(self._live(life, journey, present, origin))
                places[journey.seat] += 1

    async def _live(self, life: Lifecycle, journey: Journey, present: Sequence[Stay], origin: float) -> None:
        pacer, recorder, user = self._context.pacer, self._recorder, life.user
        clock = self._context.clock
        # Where there is nothing to prepare, a task that has ended would stay as long as the user.
        preparing = (
            None
            if self._arrive is None
            else asyncio.create_task(self._prepare(life, self._arrive, origin, present[0].join))
        )
        try:
            for stay in present:
                join, leave = origin + stay.join, origin + stay.leave
                await pacer.until(join)
                recorder.joined(join, clock.now())
                # A user that cannot log in counts as held, and waits: the service prevents its
                # work.
                leaving = pacer.until(leave)
                if preparing is not None:
                    await asyncio.wait((preparing, leaving), return_when=asyncio.FIRST_COMPLETED)
                if not leaving.done():
                    user.meter.start(join, leave)
                    with contextlib.suppress(UserFinished):
                        await life.follow(journey)
                    await leaving
                recorder.left(leave)
        finally:
            if preparing is not None:
                preparing.cancel()
            user.close()

    async def _prepare(self, life: Lifecycle, arrive: Arrive, origin: float, join: float) -> None:
        if join > _HEAD_START:
            await self._context.pacer.until(origin + join - _HEAD_START)
        async with self._arrival_slots:
            await life.arrive(arrive)

    def cut(self) -> None:
        """See `Lifecycle.cut`."""
        for life in self._lives:
            life.cut()
