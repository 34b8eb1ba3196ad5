"""An open connection as a journey uses it: send, request, receive, subscribe, hold, close."""

import asyncio
from collections.abc import Mapping
from math import inf
from types import TracebackType
from typing import Any, Self

import orjson

from loadkit.drivers.base import Meter, NoResponse, Operation
from loadkit.drivers.websocket.answer import Matches
from loadkit.drivers.websocket.connection import Connection
from loadkit.drivers.websocket.failures import ConnectionClosed
from loadkit.drivers.websocket.heads import StreamHeads
from loadkit.drivers.websocket.ledger import Stream
from loadkit.drivers.websocket.record import Ending
from loadkit.drivers.websocket.subscription import Reader, Subscription
from loadkit.recording.sample import OK, Sample
from loadkit.recording.timing import CONNECT, MESSAGE, ROUND_TRIP, SEND

__all__ = ["WebSocket"]

_NORMAL = (1000, 1001)
"""Close codes at which an iteration over the messages ends without an exception."""
_BRIEF = 1.0
"""Seconds that a connection is held in a trial, so that the trial ends soon."""


class WebSocket:
    """An open connection.

    Use it for one thing at a time. `receive` and iteration return the messages one by one.
    `subscribe` measures them without waking the journey, which waits in `hold` meanwhile.
    """

    __slots__ = (
        "__weakref__",
        "_connection",
        "_heads",
        "_is_begun",
        "_meter",
        "_subscription",
        "_subscriptions",
        "label",
    )

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
        """The label under which it is counted."""
        self._heads = heads
        self._subscriptions = subscriptions
        self._subscription: Subscription | None = None
        self._is_begun = False
        """Has the journey received a message?"""

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
                message that belongs to no stream; `receive` then returns that message. It raises
                ValueError for an unreadable message. Any other exception is an error of the
                journey.
            label: the label under which the messages are counted; default: that of the connection.
            after: the subscription of an earlier connection whose streams continue. Messages lost
                or duplicated between the two are counted.
            begins_after: by stream, the last number before the subscription, if the service states
                it. Then the messages of a stream are missed even if none of them arrives.

        Raises:
            RuntimeError: the connection already has a subscription.

        """
        if self._connection.has_subscription:
            raise RuntimeError("a connection has one subscription; its reader tells the streams apart")
        self._settle()
        subscription = Subscription(
            reader, self._meter, label or self.label, after, after=begins_after, heads=self._heads
        )
        for earlier in self._subscriptions:
            if earlier.is_ended and not earlier.is_continued_by(subscription):
                earlier.settle(is_over=False)
        self._subscriptions[:] = [each for each in self._subscriptions if not each.is_ended]
        self._subscriptions.append(subscription)
        self._subscription = subscription
        self._connection.subscribe(subscription)
        return subscription

    async def send(
        self, message: str | bytes | dict[str, Any] | list[Any], *, label: str | None = None
    ) -> None:
        """Send a message: text, binary, or a value as JSON text.

        The operation has its own timing. It ends when the socket has taken the message, which takes
        longer if the service reads too slowly.

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
                    meter.exchange = connection.exchange_with(
                        content, is_text, remark="the socket took no data"
                    )
                    raise NoResponse("timeout")
            if connection.ending is not None:
                raise self._failed_by(connection.ending, operation, content, is_text)
            operation.succeeded(meter.now())
            if meter.is_slow:
                meter.exchange = connection.exchange_with(content, is_text)

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
        bytes of the answer arrive. Both moments are on this machine's clock. Without an answer, the
        operation has failed.

        A subscription measures the answer and all other messages as usual. Without a subscription,
        the other messages wait for `receive`.

        Args:
            message: text, binary, or a value that becomes JSON text.
            matches: is a message the answer? It may compare an id that is in both, for example. It
                is called with each message that arrives meanwhile.
            label: the label under which it is counted; default: the label of the connection.
            timeout: seconds; default: the plan's.

        Raises:
            ConnectionClosed: the connection has ended, and the failure is recorded.
            NoResponse: no answer came in time, and the failure is recorded.

        """
        content, is_text = _encoded(message)
        meter, connection = self._meter, self._connection
        with await meter.begin(label or self.label, ROUND_TRIP) as operation:
            deadline = meter.now() + (meter.timeout if timeout is None else timeout)
            try:
                answer = await connection.ask(content, matches, deadline, is_text=is_text)
            except asyncio.CancelledError:  # for the example of a message without an answer
                meter.exchange = connection.exchange_with(content, is_text, remark="no answer")
                raise
            if answer.error is not None:
                raise answer.error
            if answer.message is not None:
                operation.succeeded(answer.at, answer.size)
                if meter.is_slow:
                    meter.exchange = connection.exchange_with(content, is_text, answer.message)
                return answer.message
            if connection.ending is not None:
                raise self._failed_by(connection.ending, operation, content, is_text)
            operation.failed("timeout", meter.now())
            meter.exchange = connection.exchange_with(content, is_text, remark="no answer")
            raise NoResponse("timeout")

    async def receive(self, timeout: float | None = None) -> str | bytes:
        """Wait for the next message: text as `str`, binary as `bytes`.

        Args:
            timeout: seconds; default: the plan's. If no message arrives by then, a failed message
                is recorded.

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
            meter.record_example(sample, MESSAGE)
        raise NoResponse("timeout")

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str | bytes:
        """The next message, whenever it comes.

        The iteration ends when the service closes with 1000 or 1001, or the journey closes it.

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
            ConnectionClosed: the connection ended before that.
            UserFinished: the user's time is over.

        """
        self._settle()
        meter, connection = self._meter, self._connection
        until = max(meter.intended, meter.now()) + seconds
        connection.discards = True
        connection.drop_queue()
        try:
            if seconds > meter.longest_hold:
                await self._try_to_hold()
            deadline = min(until, meter.until)
            while (event := connection.next_event(deadline)) is not None:
                await event
        finally:
            connection.discards = False
        if connection.ending is not None:
            raise self._closed(connection.ending)
        meter.intended = meter.free = max(meter.intended, until)
        self._leave_if_over()

    async def _try_to_hold(self) -> None:
        """Hold the connection for a second, and until its subscription, if any, has got a message.

        Raises:
            UserFinished: the connection is still open then.

        """
        meter, connection = self._meter, self._connection
        awaits_first = True
        while awaits_first and connection.ending is None:
            deadline = meter.now() + _BRIEF
            while (event := connection.next_event(deadline)) is not None:
                await event
            subscription = self._subscription
            awaits_first = subscription is not None and not (self._is_begun or subscription.has_begun)
        if connection.ending is None:
            meter.leave()

    def drop(self) -> None:
        """Close the socket without a close frame, as a client does that loses its network."""
        self._connection.drop()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection, and wait at most five seconds until the service has closed too."""
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
            meter.settle()  # a check after a message concerns what the journey sent
        deadline = min(deadline, meter.until)
        while (event := connection.next_event(deadline)) is not None:
            await event
        if connection.queue:
            message, at = connection.pop()
            self._is_begun = True
            # The user was free to continue when the bytes arrived.
            meter.intended = max(meter.intended, at)
            meter.free = max(meter.free, at)
            return message
        if connection.ending is not None:
            raise self._closed(connection.ending)
        self._leave_if_over()
        return None

    def _failed_by(
        self, ending: Ending, operation: Operation, content: bytes, is_text: bool
    ) -> ConnectionClosed:
        """Record that a message failed because the connection has ended."""
        meter, kind = self._meter, "closed" if ending.kind == OK else ending.kind
        operation.failed(kind, meter.now())
        meter.exchange = self._connection.exchange_with(
            content, is_text, remark=f"{kind}: {ending.reason}".rstrip(": ")
        )
        return ConnectionClosed(ending)

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
