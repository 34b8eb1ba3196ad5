"""The users of a closed load, as far as one worker has them."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Sequence

from loadkit.users.accounts import AccountPool
from loadkit.users.journey import Arrive, Journey
from loadkit.users.user import User, UserFinished, WorkerContext
from loadkit.workload.schedule import Stay, entry_of, stays

__all__ = ["ClosedLoad"]

_ARRIVING_AT_ONCE = 20
"""Users of one worker who get ready at the same time: enough to be quick, too few to be a load."""
_HEAD_START = 3.0
"""Seconds before its join at which a user begins to get ready; the first ones begin at once."""


class ClosedLoad:
    """Joins and leaves users by plan; each follows its journey while it is there."""

    def __init__(
        self,
        context: WorkerContext,
        journeys: Sequence[Journey],
        arrive: Arrive | None,
        account_pool: AccountPool,
        part: tuple[int, int],
    ) -> None:
        self._context = context
        self._journeys = journeys
        self._arrive = arrive
        self._account_pool = account_pool
        self._part = part
        """This worker's index, and how many there are: user k lives in worker k mod n."""
        self._doors = asyncio.Semaphore(_ARRIVING_AT_ONCE)
        self._users: list[User] = []

    async def live(self, origin: float) -> None:
        """From before the start instant, `origin`, until the last user has left."""
        workload = self._context.plan.workload
        index, of = self._part
        places: Counter[str] = Counter()
        async with asyncio.TaskGroup() as group:
            for number, present in enumerate(stays(workload.stages)):
                entry = entry_of(number, workload.mix)
                journey = self._journeys[entry]
                if number % of == index:
                    account = self._account_pool.account(journey.role, places[journey.role])
                    user = User(number, workload.mix[entry], account, self._context)
                    self._users.append(user)
                    group.create_task(self._live(user, journey, present, origin))
                places[journey.role] += 1

    async def _live(self, user: User, journey: Journey, present: Sequence[Stay], origin: float) -> None:
        pacer, recorder = self._context.pacer, self._context.recorder
        clock = self._context.clock
        readying = asyncio.create_task(self._ready(user, origin, present[0].join))
        try:
            for stay in present:
                join, leave = origin + stay.join, origin + stay.leave
                await pacer.until(join)
                recorder.joined(join, clock.now())
                # Who cannot log in is there all the same, and waits: the service keeps it from its work.
                leaving = pacer.until(leave)
                await asyncio.wait((readying, leaving), return_when=asyncio.FIRST_COMPLETED)
                if not leaving.done():
                    user.start(join, leave)
                    with contextlib.suppress(UserFinished):
                        await user.follow(journey)
                    await leaving
                recorder.left(leave)
        finally:
            readying.cancel()
            user.close()

    async def _ready(self, user: User, origin: float, join: float) -> None:
        if self._arrive is not None:
            if join > _HEAD_START:
                await self._context.pacer.until(origin + join - _HEAD_START)
            async with self._doors:
                await user.arrive(self._arrive)

    def cut(self) -> None:
        """See `User.cut`."""
        for user in self._users:
            user.cut()
