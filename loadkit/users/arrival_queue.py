"""Where the users of an open load wait for arrivals, or the arrivals for them; first come, first served."""

import asyncio
import math
from collections import Counter, deque
from collections.abc import Awaitable

__all__ = ["ArrivalQueue"]


class ArrivalQueue:
    """Pairs arrivals with users who are free."""

    __slots__ = ("_is_closed", "due", "served", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[asyncio.Future[float]] = deque()
        """Users who are free."""
        self.due: deque[float] = deque()
        """Moments of arrivals that no user was free for."""
        self.served: Counter[str] = Counter()
        """How many operations of each label arrivals have become."""
        self._is_closed = False

    def turn(self) -> Awaitable[float]:
        """When the arrival was due that the user who asks serves next; infinity where none will come any more."""
        turn: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        if self.due:
            turn.set_result(self.due.popleft())
        elif self._is_closed:
            turn.set_result(math.inf)
        else:
            self.waiting.append(turn)
        return turn

    def admit(self, moment: float) -> bool:
        """An arrival is due: give it to a free user. Return False where it has to wait for one."""
        if self.waiting:
            self.waiting.popleft().set_result(moment)
            return True
        self.due.append(moment)
        return False

    def close(self) -> None:
        """No more arrivals come; those that are due are still served."""
        self._is_closed = True
        while self.waiting:
            self.waiting.popleft().set_result(math.inf)
