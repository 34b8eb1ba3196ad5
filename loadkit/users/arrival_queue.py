"""Matches the arrivals of an open load with free users, in FIFO order."""

import asyncio
import math
from collections import Counter, deque
from collections.abc import Awaitable

__all__ = ["ArrivalQueue"]


class ArrivalQueue:
    """Matches arrivals with free users."""

    __slots__ = ("_is_closed", "due", "served", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[asyncio.Future[float]] = deque()
        """Free users."""
        self.due: deque[float] = deque()
        """Moments of arrivals that wait for a free user."""
        self.served: Counter[str] = Counter()
        """Number of arrivals that became operations of each label."""
        self._is_closed = False

    def turn(self) -> Awaitable[float]:
        """Wait for the caller's next arrival; gives when it was due, infinity if none follows."""
        turn: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        if self.due:
            turn.set_result(self.due.popleft())
        elif self._is_closed:
            turn.set_result(math.inf)
        else:
            self.waiting.append(turn)
        return turn

    def admit(self, moment: float) -> bool:
        """Give a due arrival to a free user. Return False if it has to wait for one."""
        if self.waiting:
            self.waiting.popleft().set_result(moment)
            return True
        self.due.append(moment)
        return False

    def close(self) -> None:
        """Accept no more arrivals; those that are due are still served."""
        self._is_closed = True
        while self.waiting:
            self.waiting.popleft().set_result(math.inf)
