"""The instance's pool of database connections.

asyncpg's own pool resets each returned connection with an extra round trip, and does not report
waiting requests. The service leaves no state on a connection: every query is one statement, and its
tenant is set for that transaction only. This pool therefore reuses connections without a reset, and
counts waiting requests.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Any

import asyncpg


class PoolTimeoutError(Exception):
    """No connection became free in time."""


class Pool:
    """A limited number of connections, opened when needed; the most recently used is taken first.

    Each connection is a process of PostgreSQL with several megabytes, so surplus connections are
    closed.
    """

    def __init__(self, dsn: str, size: int, patience: float = 5.0) -> None:
        """Create the pool; a request waits at most `patience` seconds for a connection."""
        self._dsn = dsn
        self._patience = patience
        self._idle: list[Any] = []  # the most recently used last
        self._surplus = 0  # the fewest idle connections since the last trimming
        self._waiters: deque[asyncio.Future[None]] = deque()
        self.tenant_of_sums: Callable[[int], int] = int
        """Maps the caller's tenant to the tenant whose sums are read; a fault may replace it."""
        self.size = size  # maximum number in use
        self.used = 0
        self.waiting = 0
        self.acquired = 0  # requests for a connection
        self.unwaited = 0  # requests that got a place immediately
        self.waited = 0

    async def open(self) -> None:
        """Open the first connection, which shows that the database is available."""
        self._idle = [await self._connect()]

    async def _connect(self) -> Any:
        return await asyncpg.connect(self._dsn, ssl=False)

    async def close(self) -> None:
        """Disconnect idle connections; the others end with the process."""
        for connection in self._idle:
            await connection.close()

    async def row(self, query: str, *arguments: object) -> Any:
        """Run a query for one row; None if there is none."""
        connection = await self.take()
        try:
            return await connection.fetchrow(query, *arguments)
        finally:
            self.give_back(connection)

    async def rows(self, query: str, *arguments: object) -> Any:
        """Run a query for all its rows."""
        connection = await self.take()
        try:
            return await connection.fetch(query, *arguments)
        finally:
            self.give_back(connection)

    async def value(self, query: str, *arguments: object) -> Any:
        """Run a query for its first value."""
        connection = await self.take()
        try:
            return await connection.fetchval(query, *arguments)
        finally:
            self.give_back(connection)

    async def take(self) -> Any:
        """Take a connection, waiting for one if necessary. Raises PoolTimeoutError."""
        self.acquired += 1
        if self.used >= self.size:
            await self._wait()
        else:
            self.used += 1
            self.unwaited += 1
        connection = self._idle.pop() if self._idle else None
        self._surplus = min(self._surplus, len(self._idle))
        if connection is None or connection.is_closed():  # the server was restarted, or closed it
            try:
                connection = await self._connect()
            except BaseException:
                self._pass_on()
                raise
        return connection

    def give_back(self, connection: Any) -> None:
        """Return a connection to the pool."""
        self._idle.append(connection)
        self._pass_on()

    async def trim(self) -> None:
        """Close the connections that have been idle since the last call."""
        closing, self._idle = self._idle[: self._surplus], self._idle[self._surplus :]
        self._surplus = len(self._idle)
        for connection in closing:
            with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                await connection.close()

    def resize(self, size: int) -> None:
        """Set the maximum number of connections in use."""
        self.size = size
        while self._waiters and self.used < self.size:
            self.used += 1
            self._wake()

    async def _wait(self) -> None:
        """Wait for a free place; the request that frees it has already counted it as used."""
        self.waited += 1
        self.waiting += 1
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(self._patience):
                await waiter
        except BaseException as error:
            if waiter.done() and not waiter.cancelled():  # a place became free when the wait ended
                self._pass_on()
            elif waiter in self._waiters:
                self._waiters.remove(waiter)
            if isinstance(error, TimeoutError):
                raise PoolTimeoutError(f"no database connection within {self._patience:g} s") from None
            raise
        finally:
            self.waiting -= 1

    def _pass_on(self) -> None:
        """Give the place to the longest waiting request, or leave it free."""
        if self._waiters and self.used <= self.size:
            self._wake()
        else:
            self.used -= 1

    def _wake(self) -> None:
        waiter = self._waiters.popleft()
        if waiter.cancelled():
            self._pass_on()
        else:
            waiter.set_result(None)
