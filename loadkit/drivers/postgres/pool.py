"""The connections of one worker.

asyncpg's own pool resets each returned connection with a round trip. It reports neither which
operations wait nor how long. This pool hands over a free connection without a task switch.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from loadkit.drivers.postgres.session import Session

__all__ = ["Pool"]


_MOST_RETIRED = 1000
"""Most retired connections that are remembered, to be closed at the end.

Each of them closes soon by itself."""


class Pool:
    """A limited number of connections, opened when needed; the one used last is taken first.

    Every operation that takes a session gives it back exactly once, even if the session failed.
    """

    __slots__ = ("_connect", "_idle", "_is_closed", "_retired", "_waiters", "in_use", "size")

    def __init__(self, connect: Callable[[], Awaitable[Session]], size: int) -> None:
        """Create a pool without connections.

        Args:
            connect: opens a connection.
            size: most connections at once.

        """
        self._connect = connect
        self._idle: list[Session] = []
        self._waiters: deque[asyncio.Future[Session | None]] = deque()
        self._is_closed = False
        self._retired: deque[Session] = deque(maxlen=_MOST_RETIRED)
        self.size = size
        self.in_use = 0
        """Connections taken, and those being opened."""

    @property
    def waiting(self) -> int:
        """Operations that wait for a connection."""
        return len(self._waiters)

    def take_now(self) -> Session | None:
        """Take a free connection; None if `take` must wait for one or open one."""
        while self._idle:
            session = self._idle.pop()
            if not session.is_closed:
                self.in_use += 1
                return session
        return None

    async def take(self, seconds: float) -> Session:
        """Take a connection: a free one, a new one, or the next one that is given back.

        Raises:
            TimeoutError: none was free within the time.
            OSError, asyncpg.PostgresError: a new one could not be opened.

        """
        session = self.take_now()
        if session is not None:
            return session
        async with asyncio.timeout(seconds):
            if self.in_use < self.size:
                self.in_use += 1
            else:
                session = await self._turn()
                if session is not None:
                    return session
            # At this point, a place for one connection is reserved.
            try:
                return await self._connect()
            except BaseException:
                self._free_place()
                raise

    def give_back(self, session: Session) -> None:
        """Return a connection; the operation that has waited longest gets it.

        A closed connection makes place for a new one.
        """
        if session.is_retired and not self._is_closed:
            self._retired.append(session)
            self._free_place()
            return
        if session.is_closed or self._is_closed:
            session.terminate()
            self._free_place()
            return
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(session)
                return
        self.in_use -= 1
        self._idle.append(session)

    async def close(self) -> None:
        """Close all connections that are free; those in use are closed when they are given back."""
        self._is_closed = True
        for session in self._retired:
            session.terminate()
        idle, self._idle = self._idle, []
        await asyncio.gather(*(session.close() for session in idle), return_exceptions=True)

    async def _turn(self) -> Session | None:
        """Wait for a connection, or for a place to open one (None)."""
        waiter: asyncio.Future[Session | None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            return await waiter
        except BaseException:
            if not waiter.cancelled() and waiter.done():
                # The connection was handed over at the moment when the wait ended.
                session = waiter.result()
                if session is None:
                    self._free_place()
                else:
                    self.give_back(session)
            elif waiter in self._waiters:
                self._waiters.remove(waiter)
            raise

    def _free_place(self) -> None:
        """Give the place of a connection to the operation that has waited longest, if any waits."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self.in_use -= 1

    def __repr__(self) -> str:
        return f"<Pool: {self.in_use} of {self.size} in use, {len(self._idle)} free, {len(self._waiters)} waiting>"
