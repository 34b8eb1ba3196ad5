"""Matches the arrivals of an open load with free users, in FIFO order."""

import asyncio
import math
from collections import Counter, deque
from collections.abc import Awaitable
from collections.abc import Set as AbstractSet

from loadkit.recording.timing import OPERATIONS, WORKFLOW, Timing

__all__ = ["EXPECTED_SECONDS", "FEWEST_FREE", "ArrivalQueue", "users_for"]

EXPECTED_SECONDS = 0.1
"""Seconds that an arrival is expected to occupy a user; determines the users at the start."""
FEWEST_FREE = 2
"""Users of one kind that should be free at any time; a tenth of them if that is more."""
_OF_JOURNEYS = frozenset(each.key for each in (*OPERATIONS, WORKFLOW))
"""The timings (`Timing.key`) in which an unserved journey fails. Each is judged separately."""


def users_for(arrivals_per_second: float) -> int:
    """The users of one kind that a worker keeps ready for a rate of arrivals."""
    return FEWEST_FREE + math.ceil(arrivals_per_second * EXPECTED_SECONDS)


class ArrivalQueue:
    """Matches arrivals with free users."""

    __slots__ = ("due", "is_closed", "served", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[asyncio.Future[float]] = deque()
        """Free users."""
        self.due: deque[float] = deque()
        """Moments of arrivals that wait for a free user."""
        self.served: Counter[tuple[str, str, str]] = Counter()
        """Arrivals that became operations, by label, timing (`Timing.key`) and tenant.

        An arrival that became a journey has several timings, separated by spaces.
        """
        self.is_closed = False
        """Have all arrivals been admitted?"""

    def turn(self) -> Awaitable[float]:
        """Wait for the caller's next arrival. Its due time is the result; infinity without one."""
        turn: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        if self.due:
            turn.set_result(self.due.popleft())
        elif self.is_closed:
            turn.set_result(math.inf)
        else:
            # A time limit of a journey may have ended older waits; each would count as a free user.
            while self.waiting and self.waiting[0].done():
                self.waiting.popleft()
            self.waiting.append(turn)
        return turn

    def admit(self, moment: float) -> bool:
        """Give a due arrival to a free user. Return False if it has to wait for one."""
        while self.waiting:
            turn = self.waiting.popleft()
            if not turn.done():  # else a time limit of the journey has ended the wait
                turn.set_result(moment)
                return True
        self.due.append(moment)
        return False

    def note_operation(self, label: str, timing: Timing, tenant: str) -> None:
        """Note what an arrival became. A message that was only sent is not in the error rate."""
        if timing in OPERATIONS:
            self.served[label, timing.key, tenant] += 1

    def note_journey(self, label: str, timings: AbstractSet[str], tenant: str) -> None:
        """Note what a journey recorded; `timings` are those (`Timing.key`) of its operations."""
        if found := timings & _OF_JOURNEYS:
            self.served[label, " ".join(sorted(found)), tenant] += 1

    def close(self) -> None:
        """Accept no more arrivals; those that are due are still served."""
        self.is_closed = True
        while self.waiting:
            turn = self.waiting.popleft()
            if not turn.done():
                turn.set_result(math.inf)
