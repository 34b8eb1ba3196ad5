"""One worker's users of a closed load."""

import asyncio
import contextlib
import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from loadkit.recording.draws import sessions_of
from loadkit.users.accounts import AccountKind, AccountPool, UsedBefore
from loadkit.users.journey import Arrive, Journey
from loadkit.users.lifecycle import Lifecycle
from loadkit.users.meter import UserFinished
from loadkit.users.user import User, WorkerContext
from loadkit.workload.plan import Population
from loadkit.workload.schedule import Stay, entry_of, stays

__all__ = ["ClosedLoad"]

_CONCURRENT_ARRIVALS = 20
"""Concurrent preparations (log-ins) per worker: enough to be fast, too few to be a load."""
_LATER = 10
"""How many times as many users who replace others may log in at the same time. Sessions of similar
length end together, and after an outage all of these users log in at once."""
_HEAD_START = 3.0
"""Seconds before its join at which a user starts preparing; the first users start immediately."""


@dataclass(frozen=True, slots=True)
class _UserSlot:
    """A place in the load that users take one after the other, and what these users share."""

    number: int
    """The number of its first user within the population."""
    entry: int
    """The index of its users' entry of the mix."""
    place: int
    """The place of its first user's account in the row of the account's kind."""


class ClosedLoad:
    """Adds and removes users by plan; each follows its journey while it is present.

    If the plan has sessions of random duration, another user takes the place of a user whose
    session is over.
    """

    def __init__(
        self,
        context: WorkerContext,
        population: Population,
        journeys: Sequence[Journey],
        arrive: Arrive | None,
        account_pool: AccountPool,
        part: tuple[int, int],
        before: UsedBefore,
        everybody: UsedBefore,
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
        self._later_slots = asyncio.Semaphore(_LATER * _CONCURRENT_ARRIVALS)
        self._before = before
        self._everybody = everybody
        """The first users of all populations, and their accounts."""
        self._lives: dict[int, Lifecycle] = {}
        """The present user of each seat, by the seat's number."""

    async def live(self, origin: float) -> None:
        """Run the load from before the start instant, `origin`, until the last user has left."""
        workload = self._population.workload
        index, of = self._part
        places = Counter(self._before.accounts)
        async with asyncio.TaskGroup() as group:
            for number, present in enumerate(stays(workload.stages)):
                entry = entry_of(number, workload.mix)
                kind = self._journeys[entry].account_kind
                # A user whom the stages add only at their end is never present.
                if number % of == index and present:
                    seat = _UserSlot(number, entry, places[kind])
                    group.create_task(self._occupy(seat, self._life(seat, 0), present, origin))
                places[kind] += 1

    def _life(self, seat: _UserSlot, earlier: int) -> Lifecycle:
        """A new user for a seat that had `earlier` users before."""
        workload = self._population.workload
        kind = self._journeys[seat.entry].account_kind
        user = User(
            self._before.users + seat.number + earlier * self._everybody.users,
            workload.mix[seat.entry],
            self._account_pool.account(kind, self._turns(kind, seat.place, earlier)),
            self._context,
            self._population,
            seat.place,
        )
        life = Lifecycle(user, self._context.pacer, workload.pace)
        self._lives[seat.number] = life
        return life

    def _turns(self, kind: AccountKind, place: int, earlier: int) -> int:
        """The place of the account for a seat that had `earlier` users before.

        The accounts that no first user has are distributed to the seats in turn. So no two users
        have the same account at the same time. If none are left, the same account logs in again.
        """
        first, places = self._everybody.accounts[kind], self._account_pool.places(kind)
        own = 1 if math.isinf(places) else max(1, int((places - place - 1) // first) + 1)
        return place + earlier % own * first

    async def _occupy(self, seat: _UserSlot, life: Lifecycle, present: Sequence[Stay], origin: float) -> None:
        """Keep a user in a seat during the planned stays."""
        recorder, pacer = self._recorder, self._context.pacer
        preparing = self._preparing(life, origin, present[0].join, self._arrival_slots)
        earlier = 0
        try:
            for stay in present:
                begin, leave = origin + stay.join, origin + stay.leave
                await pacer.until(begin)
                recorder.joined(begin, self._context.clock.now())
                # A user that cannot log in counts as held and waits, because the service prevents
                # its work.
                leaving = pacer.until(leave)
                while not leaving.done():
                    if preparing is not None:
                        await asyncio.wait((preparing, leaving), return_when=asyncio.FIRST_COMPLETED)
                    if leaving.done():
                        break
                    if earlier:  # a later user begins when it has logged in
                        begin = self._context.clock.now()
                    end = self._end_of_session(seat, earlier, begin)
                    life.user.meter.start(begin, min(end, leave))
                    with contextlib.suppress(UserFinished):
                        await life.follow(self._journeys[seat.entry])
                    if end >= leave:
                        await leaving
                        break
                    await pacer.until(end)
                    life.user.close()
                    earlier += 1
                    life = self._life(seat, earlier)
                    # Users who replace others come one by one, and do not wait for the first users.
                    preparing = self._preparing(life, origin, 0.0, self._later_slots)
                recorder.left(leave)
        finally:
            if preparing is not None:
                preparing.cancel()
            life.user.close()

    def _preparing(
        self, life: Lifecycle, origin: float, join: float, slots: asyncio.Semaphore
    ) -> asyncio.Task[None] | None:
        """The task of a user's preparation.

        None if there is nothing to prepare, because an ended task would stay in memory as long as
        the user.
        """
        if self._arrive is None:
            return None
        return asyncio.create_task(self._prepare(life, self._arrive, origin, join, slots))

    def _end_of_session(self, seat: _UserSlot, earlier: int, begin: float) -> float:
        """When a session that starts at `begin` ends; infinite if the plan states no sessions."""
        session = self._population.workload.session
        if session is None:
            return math.inf
        number = self._before.users + seat.number
        seconds = session.draw(random.Random(f"{self._context.plan.seed}:session:{number}:{earlier}"))
        self._recorder.drawn[sessions_of(self._population.name)].append(seconds)
        return begin + seconds

    async def _prepare(
        self, life: Lifecycle, arrive: Arrive, origin: float, join: float, slots: asyncio.Semaphore
    ) -> None:
        if join > _HEAD_START:
            await self._context.pacer.until(origin + join - _HEAD_START)
        await life.arrive(arrive, slots)

    def cut(self) -> None:
        """See `Lifecycle.cut`."""
        self._recorder.cut()
        for life in self._lives.values():
            life.cut()
