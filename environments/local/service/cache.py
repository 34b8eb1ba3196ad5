"""The cache shared by all instances, and the channel between them.

The cache needs six commands of Valkey. A client library would take half of an instance's memory. A
look-up with it would take more time than the rest of the request.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import urlsplit

_PATIENCE = 1.0
"""Seconds to wait for a connection or an answer."""


class CacheError(Exception):
    """The cache cannot be reached, does not answer in time, or refuses a command."""


class Connection(asyncio.Protocol):
    """A connection to Valkey, in its protocol RESP 2: answers come in the order of the commands."""

    def __init__(self) -> None:
        self._transport: Any = None
        self._unread = b""
        self._waiters: deque[asyncio.Future[Any]] = deque()
        self._pushed: asyncio.Queue[Any] = asyncio.Queue()
        self._push: Callable[[Any], None] = self._pushed.put_nowait
        self.is_closed = False

    @classmethod
    async def open(cls, url: str) -> "Connection":
        """Connect and log in. Raises CacheError."""
        parts = urlsplit(url)
        try:
            async with asyncio.timeout(_PATIENCE):
                _, connection = await asyncio.get_running_loop().create_connection(
                    cls, str(parts.hostname), parts.port or 6379
                )
        except (OSError, TimeoutError) as error:
            raise CacheError(str(error) or "no connection in time") from None
        if parts.password:
            await connection.ask(b"AUTH", parts.password.encode())
        return connection

    async def ask(self, *command: bytes) -> Any:
        """Send a command and return its answer. Raises CacheError."""
        if self.is_closed:
            raise CacheError("the connection is closed")
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._transport.write(
            b"*%d\r\n%b" % (len(command), b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in command))
        )
        try:
            async with asyncio.timeout(_PATIENCE):
                answer = await waiter
        except TimeoutError:
            raise CacheError("no answer in time") from None
        if isinstance(answer, CacheError):
            raise answer
        return answer

    async def pass_on(self, take: Callable[[Any], None]) -> None:
        """Call `take` with each message of a subscription, until the connection ends.

        The call comes from the protocol's callback, so no task has to wake up for a message. Raises
        CacheError at the end of the connection.
        """
        ended = asyncio.get_running_loop().create_future()

        def pass_on(message: Any) -> None:
            if not isinstance(message, CacheError):
                take(message)
            elif not ended.done():
                ended.set_exception(message)

        while not self._pushed.empty():
            pass_on(self._pushed.get_nowait())
        self._push = pass_on
        await ended

    async def pushed(self) -> Any:
        """The next message of a subscription. Raises CacheError when the connection is closed."""
        message = await self._pushed.get()
        if isinstance(message, CacheError):
            raise message
        return message

    def close(self) -> None:
        """Disconnect."""
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport of the new connection."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Pass each complete answer to the caller that waits for it."""
        unread, at = self._unread + data, 0
        while (found := parse(unread, at)) is not None:
            answer, at = found
            self._hand_over(answer)
        self._unread = unread[at:]

    def connection_lost(self, _error: Exception | None) -> None:
        """Report the loss of the connection to all waiting callers."""
        self.is_closed = True
        lost = CacheError("the connection was lost")
        while self._waiters:
            self._hand_over(lost)
        self._push(lost)

    def _hand_over(self, answer: Any) -> None:
        if not self._waiters:
            self._push(answer)
            return
        waiter = self._waiters.popleft()
        if not waiter.done():  # its caller may have timed out
            waiter.set_result(answer)


def parse(data: bytes, at: int) -> tuple[Any, int] | None:
    """The answer that begins at `at`, and where the next begins; None if it is incomplete.

    An answer is bytes, an int, None, a list of answers, or a CacheError for a refusal.
    """
    end = data.find(b"\r\n", at)
    if end < 0:
        return None
    kind, head, after = data[at : at + 1], data[at + 1 : end], end + 2
    match kind:
        case b"+":
            return head, after
        case b"-":
            return CacheError(head.decode()), after
        case b":":
            return int(head), after
        case b"$":
            size = int(head)
            if size < 0:
                return None, after
            return (data[after : after + size], after + size + 2) if len(data) >= after + size + 2 else None
        case _:  # an array
            elements = []
            for _ in range(int(head)):
                found = parse(data, after)
                if found is None:
                    return None
                element, after = found
                elements.append(element)
            return elements, after


class Cache:
    """Bytes by key with an expiry. An unreachable cache behaves like an empty one."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: Connection | None = None
        self._connecting = asyncio.Lock()
        self.is_on = True
        self.place_of: Callable[[str], str] = str
        """Maps a key to the key that is looked up; a fault may replace it."""
        self.hits = 0
        self.misses = 0

    async def _ask(self, *command: bytes) -> Any:
        connection = self._connection
        if connection is None or connection.is_closed:
            async with self._connecting:
                connection = self._connection
                if connection is None or connection.is_closed:
                    connection = self._connection = await Connection.open(self._url)
        return await connection.ask(*command)

    async def get(self, key: str) -> bytes | None:
        """The entry of a key; None if there is none."""
        found: bytes | None = None
        if self.is_on:
            with contextlib.suppress(CacheError):
                found = await self._ask(b"GET", self.place_of(key).encode())
        if found is None:
            self.misses += 1
        else:
            self.hits += 1
        return found

    async def put(self, key: str, value: bytes, seconds: float) -> None:
        """Store an entry for `seconds`."""
        if self.is_on:
            with contextlib.suppress(CacheError):
                await self._ask(b"SET", key.encode(), value, b"PX", b"%d" % int(seconds * 1000))

    async def publish(self, channel: str, message: str) -> None:
        """Publish a message to all instances. Raises CacheError."""
        await self._ask(b"PUBLISH", channel.encode(), message.encode())

    async def messages(self, channel: str) -> AsyncIterator[str]:
        """The messages published on a channel, until cancelled. Raises CacheError."""
        connection = await Connection.open(self._url)
        try:
            await connection.ask(b"SUBSCRIBE", channel.encode())
            while True:
                _kind, _channel, message = await connection.pushed()
                yield message.decode()
        finally:
            connection.close()

    async def ping(self) -> None:
        """Check that the cache answers. Raises CacheError."""
        await self._ask(b"PING")

    async def close(self) -> None:
        """Disconnect."""
        if self._connection is not None:
            self._connection.close()
