"""One user's WebSocket client, and the connection that a journey works with."""

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from math import inf
from types import TracebackType
from typing import Any, Self

import orjson

from loadkit.drivers.base import Meter, NoResponse, TransportError
from loadkit.drivers.http.headers import RequestHeaders
from loadkit.drivers.http.paths import know, known, quoted
from loadkit.drivers.websocket.answer import Matches
from loadkit.drivers.websocket.connection import Connection, Keepalive
from loadkit.drivers.websocket.failures import ConnectFailed, ConnectionClosed
from loadkit.drivers.websocket.handshake import Backend, Handshake
from loadkit.drivers.websocket.heads import StreamHeads
from loadkit.drivers.websocket.ledger import Stream
from loadkit.drivers.websocket.record import ConnectionRecord, Ending
from loadkit.drivers.websocket.subscription import Reader, Subscription
from loadkit.recording.sample import OK, Sample
from loadkit.recording.timing import CONNECT, MESSAGE, RECONNECT, ROUND_TRIP, SEND

__all__ = [
    "Backend",
    "ConnectFailed",
    "ConnectionClosed",
    "Handshake",
    "WebSocket",
    "WebSocketClient",
]

_AGENT = "loadkit/0.1"
_MOST_BYTES = 1 << 20
_PING_EVERY = _PING_TIMEOUT = 20.0
_COMPUTED = frozenset(
    {
        "sec-websocket-accept",
        "sec-websocket-extensions",
        "sec-websocket-key",
        "sec-websocket-protocol",
        "sec-websocket-version",
        "upgrade",
    }
)
_FIRST_WAIT, _LONGEST_WAIT = 2.0, 8.0
"""A client that comes back waits for a random time up to the first of these seconds. Each failed
attempt doubles that, up to the second."""
_NORMAL = (1000, 1001)
"""Close codes after which an iteration over the messages ends like a list."""


class WebSocketClient:
    """Opens a user's connections when they are due, and records each attempt by its label."""

    def __init__(self, meter: Meter, backend: Backend) -> None:
        self.headers = RequestHeaders({"user-agent": _AGENT, "x-run-id": meter.run_id})
        """Sent with each handshake: `user.ws.headers["authorization"] = f"Bearer {token}"`."""
        self._meter = meter
        self._backend = backend
        self._connections: list[Connection] = []
        self._subscriptions: list[Subscription] = []
        """Those whose end has not been counted."""

    async def connect(
        self,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        subprotocols: Sequence[str] = (),
        compress: bool = False,
        label: str | None = None,
        timeout: float | None = None,
        max_size: int = _MOST_BYTES,
        max_frame: int | None = None,
        ping_every: float = _PING_EVERY,
        ping_timeout: float = _PING_TIMEOUT,
    ) -> "WebSocket":
        """Open a connection: one operation, whose time is the connection time.

        The connection is closed when the journey no longer refers to it.

        Args:
            path: from the service's WebSocket address: "/api/v1/stream?topics=cpu".
            headers: for this handshake only; they replace the client's of the same name.
            subprotocols: offered ones, the preferred first.
            compress: offer permessage-deflate. Compressed messages take the slow path.
            label: counts the attempts and the messages; default: "WS" and the path, with ids
                replaced by "{id}".
            timeout: seconds for the whole attempt; default: the plan's.
            max_size: bytes of a message; a larger one fails the connection.
            max_frame: bytes of a frame; None for `max_size` alone.
            ping_every: seconds from a pong to the next ping; infinite for no pings.
            ping_timeout: seconds without any data after a ping, after which the connection counts
                as half-open and is closed.

        Raises:
            ConnectFailed: the attempt failed, and is recorded so.
            ValueError: a header contains a line break, or is one that the client computes.

        """
        meter = self._meter
        if label is None:
            label, path = known.get(("WS", path)) or know("WS", path)
        else:
            path = quoted(path)
        sent = self.headers.overlaid(headers) if headers else self.headers
        for name in sent:
            if name in _COMPUTED:
                raise ValueError(
                    f'the header "{name}" cannot be set, the client computes it; '
                    "expected others, and subprotocols= or compress= for what is offered"
                )
        handshake = Handshake(
            path,
            sent,
            subprotocols,
            compress,
            max_size,
            max_frame,
            Keepalive(ping_every, ping_timeout),
        )
        record = ConnectionRecord(meter, label)
        with await meter.begin(label, CONNECT) as operation:
            deadline = meter.now() + (meter.timeout if timeout is None else timeout)
            try:
                connection = await self._backend.connect(handshake, record, deadline)
            except TransportError as failure:
                was_answered = failure.kind.startswith("status ")
                operation.failed(failure.kind, failure.at, was_answered=was_answered)
                if meter.is_recorded:
                    meter.recorder.out_of_descriptors += failure.kind == "no socket"
                raise ConnectFailed(failure.kind) from None
            operation.succeeded(connection.opened_at, connection.handshake_size)
        self._connections = [*(each for each in self._connections if not each.is_lost), connection]
        return WebSocket(meter, connection, label, self._backend.heads, self._subscriptions)

    async def stay(
        self, begin: Callable[["Subscription | None"], Awaitable[tuple["WebSocket", "Subscription"]]]
    ) -> None:
        """Keep a connection until the user's time is over, and come back whenever it drops.

        The client waits before it comes back: a random time, longer after each failed attempt. So
        clients that dropped together do not come back together. The time from the drop until
        `begin` returns is the time to reconnect. Where the plan states that connections drop, it
        also drops them.

        Args:
            begin: opens a connection and subscribes. It gets the subscription to continue, None for
                the first connection, whose failure ends the journey.

        Raises:
            UserFinished: the user's time is over.

        """
        meter = self._meter
        ws, subscription = await begin(None)
        while True:
            try:
                await ws.hold(random.expovariate(meter.churn) if meter.churn else inf)
                dropped = meter.now()
                ws.drop()
            except ConnectionClosed as closed:
                dropped = closed.ending.at
            outcome = "not back"
            try:
                ws, subscription = await self._come_back(begin, subscription)
                outcome = OK
            finally:
                if meter.is_recorded and not meter.is_cut:
                    sample = Sample(
                        ws.label, outcome, dropped, dropped, meter.now(), 0, meter.tenant, meter.region
                    )
                    meter.recorder.timing(RECONNECT).samples.append(sample)

    async def _come_back(
        self,
        begin: Callable[["Subscription | None"], Awaitable[tuple["WebSocket", "Subscription"]]],
        subscription: "Subscription",
    ) -> tuple["WebSocket", "Subscription"]:
        meter, longest = self._meter, _FIRST_WAIT
        while True:
            meter.intended = max(meter.intended, meter.now()) + random.uniform(0.0, longest)
            pause = meter.pause()
            if pause is not None:
                await pause
            try:
                return await begin(subscription)
            except NoResponse:
                longest = min(2 * longest, _LONGEST_WAIT)

    def knows(self, stream: Stream, number: int, tenant: str | None = None) -> None:
        """Tell a number that the service has assigned, such as in its answer to a publisher.

        A subscriber of this worker that never receives it has lost it.

        Args:
            stream: as the readers of messages call it.
            number: the message's number in the stream.
            tenant: whose stream it is; default: the user's tenant.

        """
        self._backend.heads.know(self._meter.tenant if tenant is None else tenant, stream, number)

    def close(self) -> None:
        """Close all connections."""
        for connection in self._connections:
            connection.leave()
        self._connections.clear()
        for subscription in self._subscriptions:
            subscription.settle(is_over=True)
        self._subscriptions.clear()


class WebSocket:
    """An open connection.

    Use it for one thing at a time: `receive` and iteration give the messages one by one, and
    `subscribe` measures them without waking the journey. `hold` waits meanwhile.
    """

    __slots__ = ("__weakref__", "_connection", "_heads", "_meter", "_subscriptions", "label")

    def __init__(
        self,
        meter: Meter,
        connection: Connection,
        label: str,
        heads: StreamHeads,
        subscriptions: list[Subscription],
    ) -> None:
        self._meter = meter
        self._connection = connection
        self.label = label
        """The label that counts it."""
        self._heads = heads
        self._subscriptions = subscriptions

    @property
    def subprotocol(self) -> str:
        """The subprotocol that the service has chosen; "" for none."""
        return self._connection.subprotocol

    @property
    def ending(self) -> Ending | None:
        """How the connection ended; None while it is open."""
        return self._connection.ending

    def subscribe(
        self,
        reader: Reader,
        *,
        label: str | None = None,
        after: Subscription | None = None,
        begins_after: Mapping[Stream, int] | None = None,
    ) -> Subscription:
        """Measure all further messages by stream, number and creation time; no task is woken.

        Args:
            reader: reads a message (text as `str`, binary as `bytes`) and returns its stream, its
                number in the stream and its creation time in Unix seconds. It returns None for a
                message that belongs to no stream, which `receive` then gives. ValueError says that
                the message is unreadable; another exception is an error of the journey.
            label: counts the messages; default: the label of the connection.
            after: the subscription of an earlier connection whose streams go on. Messages lost or
                doubled between the two are counted.
            begins_after: by stream, the last number before the subscription, where the service says
                so. Then a stream of which nothing arrives is missed too.

        Raises:
            RuntimeError: the connection has a subscription.

        """
        if self._connection.has_subscription:
            raise RuntimeError("a connection has one subscription; its reader tells the streams apart")
        self._settle()
        subscription = Subscription(
            reader, self._meter, label or self.label, after, after=begins_after, heads=self._heads
        )
        for earlier in self._subscriptions:
            if earlier.is_ended:
                earlier.settle(is_over=False)
        self._subscriptions[:] = [each for each in self._subscriptions if not each.is_ended]
        self._subscriptions.append(subscription)
        self._connection.subscribe(subscription)
        return subscription

    async def send(
        self, message: str | bytes | dict[str, Any] | list[Any], *, label: str | None = None
    ) -> None:
        """Send a message: text, binary, or a value as JSON text.

        It is an operation of its own timing. It ends when the socket has taken the message, which
        takes longer if the service reads too slowly.

        Raises:
            ConnectionClosed: the connection has ended, and the failure is recorded.
            NoResponse: the service did not read within the plan's time-out.

        """
        content, is_text = _encoded(message)
        meter, connection = self._meter, self._connection
        with await meter.begin(label or self.label, SEND) as operation:
            if connection.ending is None:
                connection.send(content, is_text=is_text)
                if not await connection.taken(meter.now() + meter.timeout):
                    operation.failed("timeout", meter.now())
                    raise NoResponse("timeout")
            if connection.ending is not None:
                operation.failed(_failure(connection.ending), meter.now())
                raise ConnectionClosed(connection.ending)
            operation.succeeded(meter.now())

    async def request(
        self,
        message: str | bytes | dict[str, Any] | list[Any],
        matches: Matches,
        *,
        label: str | None = None,
        timeout: float | None = None,
    ) -> str | bytes:
        """Send a message, wait for its answer, and return that.

        It is one operation, whose time is the message round trip: from its intended start until the
        bytes of the answer arrive. Both moments are of this machine's clock. Without an answer it
        has failed.

        A subscription measures the answer and all other messages as usual. Without a subscription,
        the other messages wait for `receive`.

        Args:
            message: text, binary, or a value that becomes JSON text.
            matches: tells the answer from other messages, such as by an id that is in both. It is
                called with each message that arrives meanwhile.
            label: counts it; default: the label of the connection.
            timeout: seconds; default: the plan's.

        Raises:
            ConnectionClosed: the connection has ended, and the failure is recorded.
            NoResponse: no answer came in time, and the failure is recorded.

        """
        content, is_text = _encoded(message)
        meter, connection = self._meter, self._connection
        with await meter.begin(label or self.label, ROUND_TRIP) as operation:
            deadline = meter.now() + (meter.timeout if timeout is None else timeout)
            answer = await connection.ask(content, matches, deadline, is_text=is_text)
            if answer.error is not None:
                raise answer.error
            if answer.message is not None:
                operation.succeeded(answer.at, answer.size)
                return answer.message
            if connection.ending is not None:
                operation.failed(_failure(connection.ending), meter.now())
                raise ConnectionClosed(connection.ending)
            operation.failed("timeout", meter.now())
            raise NoResponse("timeout")

    async def receive(self, timeout: float | None = None) -> str | bytes:
        """Wait for the next message: text as `str`, binary as `bytes`.

        Args:
            timeout: seconds; default: the plan's. No message by then is a failed message.

        Raises:
            ConnectionClosed: the connection has ended.
            NoResponse: no message came in time.
            UserFinished: the user's time is over.

        """
        meter = self._meter
        begun = meter.now()
        deadline = begun + (meter.timeout if timeout is None else timeout)
        message = await self._next(deadline)
        if message is not None:
            return message
        now = meter.now()
        meter.has_failed = True
        meter.intended = meter.free = max(meter.intended, now)
        if meter.is_recorded:
            sample = Sample(self.label, "timeout", begun, begun, now, 0, meter.tenant, meter.region)
            meter.recorder.timing(MESSAGE).samples.append(sample)
        raise NoResponse("timeout")

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str | bytes:
        """The next message, whenever it comes.

        The iteration ends when the service closes with 1000 or 1001, or the journey closes.

        Raises:
            ConnectionClosed: the connection ended in another way.

        """
        try:
            message = await self._next(inf)
        except ConnectionClosed as closed:
            if closed.ending.kind == OK or closed.code in _NORMAL:
                raise StopAsyncIteration from None
            raise
        assert message is not None
        return message

    async def hold(self, seconds: float = inf) -> None:
        """Keep the connection for a time, by default until the user's time is over.

        Messages without a subscription are dropped.

        Raises:
            ConnectionClosed: the connection ended before.
            UserFinished: the user's time is over.

        """
        self._settle()
        meter, connection = self._meter, self._connection
        until = max(meter.intended, meter.now()) + seconds
        connection.discards = True
        connection.drop_queue()
        try:
            await connection.next_event(min(until, meter.until))
        finally:
            connection.discards = False
        if connection.ending is not None:
            raise self._closed(connection.ending)
        meter.intended = meter.free = max(meter.intended, until)
        self._leave_if_over()

    def drop(self) -> None:
        """Close the socket without a close frame, as a client does that loses its network."""
        self._connection.drop()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close, and wait until the service has closed too, at most five seconds."""
        connection = self._connection
        connection.close(code, reason)
        await connection.lost()
        meter = self._meter
        meter.intended = meter.free = max(meter.intended, meter.now())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self.close()
        else:
            self._connection.leave()

    def __del__(self) -> None:
        # A journey that ends in the middle leaves no connection behind.
        self._connection.leave()

    def __repr__(self) -> str:
        ending = self.ending
        return f"<WebSocket {self.label}: {'open' if ending is None else ending.kind}>"

    async def _next(self, deadline: float) -> str | bytes | None:
        """The next message; None if there is none by `deadline`."""
        meter, connection = self._meter, self._connection
        if meter.pending is not None and meter.pending_record.timing == CONNECT:
            meter.settle()  # a check after a message is about what was sent
        await connection.next_event(min(deadline, meter.until))
        if connection.queue:
            message, at = connection.pop()
            # The user was free to go on when the bytes arrived.
            meter.intended = max(meter.intended, at)
            meter.free = max(meter.free, at)
            return message
        if connection.ending is not None:
            raise self._closed(connection.ending)
        self._leave_if_over()
        return None

    def _closed(self, ending: Ending) -> ConnectionClosed:
        meter = self._meter
        meter.intended = max(meter.intended, ending.at)
        meter.free = max(meter.free, ending.at)
        if ending.kind != OK:
            meter.has_failed = True
        return ConnectionClosed(ending)

    def _leave_if_over(self) -> None:
        if self._meter.now() >= self._meter.until:
            self._meter.leave()

    def _settle(self) -> None:
        if self._meter.pending is not None:
            self._meter.settle()


def _encoded(message: str | bytes | dict[str, Any] | list[Any]) -> tuple[bytes, bool]:
    """The bytes of a message, and whether they are text."""
    if isinstance(message, bytes):
        return message, False
    return (message.encode() if isinstance(message, str) else orjson.dumps(message)), True


def _failure(ending: Ending) -> str:
    """The outcome of an operation on a connection that has ended."""
    return "closed" if ending.kind == OK else ending.kind
