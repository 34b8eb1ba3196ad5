"""The data path of one open connection: messages are read and timed when their bytes arrive."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from time import monotonic, time

from websockets.client import ClientProtocol
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import Protocol

from loadkit.drivers.websocket.alarms import GRID, Alarms
from loadkit.drivers.websocket.answer import Answer, Matches
from loadkit.drivers.websocket.closing import CLOSE_SECONDS, ending_of
from loadkit.drivers.websocket.exchanges import asked
from loadkit.drivers.websocket.frames import FrameReader
from loadkit.drivers.websocket.keepalive import Keepalive, Pings
from loadkit.drivers.websocket.record import ConnectionRecord, Ending
from loadkit.drivers.websocket.subscription import Subscription
from loadkit.recording.examples import DeferredExchange
from loadkit.recording.sample import OK

__all__ = ["Connection", "Received", "Shared"]

_FAR = 4 * GRID
"""A deadline nearer than this, in seconds, gets a timer of the loop, which is exact.

A deadline further away gets an alarm on the grid first, until shortly before the deadline."""
_MOST_QUEUED = 256
"""Most messages that wait for the journey. At this number, the socket is no longer read. With a
subscription, it is read, and the oldest waiting message is dropped."""

_NOTHING: "deque[Received]" = deque()
"""The queue that all connections without waiting messages share; nothing is added to it."""

Received = tuple[str | bytes, float]
"""A message, and when its bytes arrived on the monotonic clock."""


@dataclass(frozen=True, slots=True)
class Shared:
    """The state that the connections of a worker share. Each connection has one reference to it."""

    loop: asyncio.AbstractEventLoop
    alarms: Alarms
    on_lost: Callable[[], None]
    """Called for each socket that is closed."""
    clock_offset: float = 0.0
    """Seconds by which the service's clock is ahead of this machine's."""


class Connection(asyncio.Protocol):
    """A connection after its handshake. `websockets` knows the protocol; this class does I/O."""

    __slots__ = (
        "_alarm",
        "_answer",
        "_close_alarm",
        "_lost",
        "_now",
        "_pings",
        "_reader",
        "_record",
        "_shared",
        "_subscription",
        "_transport",
        "_waiter",
        "_writers",
        "discards",
        "ending",
        "handshake_size",
        "is_lost",
        "is_paused",
        "opened_at",
        "queue",
        "subprotocol",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        core: ClientProtocol,
        record: ConnectionRecord,
        keepalive: Keepalive,
        shared: Shared,
        *,
        opened_at: float,
        handshake_size: int,
    ) -> None:
        """Begin after the handshake."""
        self._shared = shared
        self._transport = transport
        self._record = record
        self.is_lost = False
        """Is its socket closed?"""
        self._lost: asyncio.Future[None] | None = None
        """Done when the socket is closed; None while nobody waits for that."""
        # The core's data of the handshake takes 2 KB. So the core is dropped unless it has an
        # extension.
        limits = core.max_message_size, core.max_fragment_size
        self._reader = FrameReader(limits, self._enqueue, self._pong, core if core.extensions else None)
        self._now = opened_at
        """When the last bytes arrived."""
        self._subscription: Subscription | None = None
        self._answer: Answer | None = None
        """The answer that the journey awaits; None for none."""
        self.queue = _NOTHING
        """Messages that wait for the journey.

        A deque takes 0.6 KB, so a connection gets its own only when it needs one."""
        self._waiter: asyncio.Future[None] | None = None
        """Done at the next queued message, the end of the connection, or an alarm."""
        self._alarm: int | asyncio.TimerHandle | None = None
        """The alarm or timer that wakes the waiter if nothing else does."""
        self._writers: asyncio.Future[None] | None = None
        """Done when the socket takes data again; None while it takes data."""
        self._close_alarm: asyncio.TimerHandle | None = None
        self.discards = False
        """Are messages without a subscription dropped, because the connection is only held?"""
        self.is_paused = False
        """Is reading from the socket paused, because too many messages wait?"""
        self.opened_at = opened_at
        """When the last bytes of the handshake arrived."""
        self.handshake_size = handshake_size
        """Bytes of the service's part of the handshake."""
        self.subprotocol: str = core.subprotocol or ""
        """The subprotocol that the service has chosen; "" for none."""
        self.ending: Ending | None = None
        """How it ended; None while it is open."""
        record.opened(opened_at)
        self._pings = Pings(shared.alarms, self, record, keepalive)

    # --- called by the journey's `WebSocket`

    def subscribe(self, subscription: Subscription) -> None:
        """Pass all messages to a subscription, beginning with the waiting ones."""
        self._subscription = subscription
        subscription.pass_on_to(self._enqueue)
        subscription.record = self._record
        waiting, self.queue = self.queue, _NOTHING
        now = self._now
        for message, at in waiting:
            self._now = subscription.now = at
            subscription.shift = monotonic() - time() - self._shared.clock_offset
            subscription.take(message, len(message.encode() if isinstance(message, str) else message))
        self._now = now
        subscription.search_from_now()
        self._reader.take = subscription.take
        self._resume_reading()
        self._tell_end()  # the connection may have ended already, with waiting messages in the queue

    def exchange_with(
        self, message: bytes, is_text: bool, answer: str | bytes | None = None, remark: str = ""
    ) -> DeferredExchange:
        """The description of a message that was sent, for an example."""
        record = self._record
        return asked, record.exchange_format, record.origin, message, is_text, answer, remark

    @property
    def has_subscription(self) -> bool:
        """Do its messages belong to a subscription?"""
        return self._subscription is not None

    def send(self, message: bytes, *, is_text: bool) -> None:
        """Send a message, which may wait in the socket's buffer: see `taken`."""
        self._send_frame(Opcode.TEXT if is_text else Opcode.BINARY, message)
        self._record.sent(len(message))

    def _send_frame(self, opcode: Opcode, content: bytes) -> None:
        """Send a whole frame that does not change the state of the core."""
        core = self._reader.core
        extensions = None if core is None else core.extensions
        self._transport.write(Frame(opcode, content).serialize(mask=True, extensions=extensions))

    async def ask(self, message: bytes, matches: Matches, deadline: float, *, is_text: bool) -> Answer:
        """Send a message, and wait for its answer, the end of the connection, or `deadline`.

        Raises:
            RuntimeError: another task of the user waits already.

        """
        answer = Answer(matches)
        reader = self._reader
        if self.ending is not None:
            return answer
        self._require_no_other()
        self._resume_reading()
        self._answer, reader.take = answer, self._take_while_asking
        try:
            self.send(message, is_text=is_text)
            while not answer.is_over and (event := self._event(deadline)) is not None:
                await event
        finally:
            self._no_waiter()
            subscription = self._subscription
            self._answer, reader.take = None, self._enqueue if subscription is None else subscription.take
        return answer

    async def taken(self, deadline: float) -> bool:
        """Wait until the socket takes data or the connection ends.

        Return False if neither happened by `deadline`.
        """
        while self._writers is not None and self.ending is None:
            done, _ = await asyncio.wait((self._writers,), timeout=max(deadline - monotonic(), 0.0))
            if not done:
                return False
        return True

    def next_event(self, deadline: float) -> "asyncio.Future[None] | None":
        """A future for a message in the queue, the end of the connection, or `deadline`.

        A connection that is held waits for this future only. It may complete early, so call this
        method again after it.

        Returns:
            None if there is nothing to wait for any more.

        Raises:
            RuntimeError: another task of the user waits already.

        """
        return None if self.queue else self._event(deadline)

    def _event(self, deadline: float) -> "asyncio.Future[None] | None":
        # The loop's timers may fire early: see `Pacer`.
        left = deadline - monotonic()
        if self.ending is not None or left <= 0:
            return None
        self._require_no_other()
        self._no_waiter()
        loop, alarms = self._shared.loop, self._shared.alarms
        if left > _FAR:
            self._alarm = None if left == inf else alarms.set(deadline - _FAR / 2, self)
        else:
            self._alarm = loop.call_later(left, self.ring)
        self._waiter = loop.create_future()
        return self._waiter

    def ring(self) -> None:
        """Wake the waiter, because its deadline has come or is near."""
        self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        self._no_waiter()
        if waiter is not None:
            _wake(waiter)

    def _no_waiter(self) -> None:
        alarm, self._waiter, self._alarm = self._alarm, None, None
        if isinstance(alarm, int):
            self._shared.alarms.cancel(alarm, self)
        elif alarm is not None:
            alarm.cancel()

    def _require_no_other(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            raise RuntimeError(
                "a user does one operation after the other; this one began while another waited for a message"
            )

    def pop(self) -> Received:
        """Remove and return the first message of the queue."""
        first = self.queue.popleft()
        if self.is_paused and len(self.queue) <= _MOST_QUEUED // 2:
            self._resume_reading()
        return first

    def drop_queue(self) -> None:
        """Drop the messages that wait for the journey."""
        self.queue = _NOTHING
        self._resume_reading()

    def close(self, code: int, reason: str = "") -> None:
        """Send a close frame, unless the connection has ended."""
        if self.ending is None:
            core = self._reader.needed()
            core.send_close(code, reason)
            self._flush(core)
            self._end(Ending(OK, code, reason, monotonic()))
            self._resume_reading()  # the service's close frame comes after messages that nobody awaits

    async def lost(self) -> None:
        """Wait until the socket is closed, which takes at most `CLOSE_SECONDS`."""
        if not self.is_lost:
            if self._lost is None:
                self._lost = self._shared.loop.create_future()
            await asyncio.wait((self._lost,))

    def leave(self) -> None:
        """Close without waiting for the service; a close frame says that the user goes away."""
        if self.is_lost or self._shared.loop.is_closed():
            return
        self.close(CloseCode.GOING_AWAY)
        self._transport.close()

    def drop(self) -> None:
        """Close the socket without a close frame, as a client does that loses its network."""
        self._end(Ending(OK, CloseCode.ABNORMAL_CLOSURE, "dropped", monotonic()))
        self._transport.abort()

    # --- called by the event loop

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._now = monotonic()
        reader, subscription = self._reader, self._subscription
        if subscription is not None:
            # Unix time is read at each arrival, because the service's timestamps follow the steps
            # of its clock.
            subscription.now = now = self._now
            subscription.shift = now - time() - self._shared.clock_offset
        messages = reader.feed(data)
        record = self._record
        if record.is_recorded or record.begins():
            population = record.population
            population.bytes_received += len(data)
            population.messages_received += messages
            if record.search is not None or record.meter.checks_messages:
                population.messages_searched += messages
        if reader.has_acted:
            reader.has_acted = False
            if reader.core is not None:
                self._flush(reader.core)
            if reader.is_over:
                self._end_by_the_service()
            reader.rest()

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._writers = self._shared.loop.create_future()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        writers, self._writers = self._writers, None
        if writers is not None:
            _wake(writers)

    def connection_lost(self, _problem: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._now = monotonic()
        self._reader.end()
        self._end_by_the_service()
        if self._close_alarm is not None:
            self._close_alarm.cancel()
        self.resume_writing()
        self.is_lost = True
        if self._lost is not None:
            _wake(self._lost)
        self._shared.on_lost()

    # --- messages

    def _take_while_asking(self, message: str | bytes, size: int) -> None:
        """Check whether a message is the awaited answer, and process the message as usual."""
        answer = self._answer
        if answer is not None and not answer.is_over:
            is_over = answer.look(message, size, self._now)
            if is_over:
                self._wake()
        if self._subscription is not None:
            self._subscription.take(message, size)
        else:
            self._enqueue(message, size)

    def _enqueue(self, message: str | bytes, _size: int) -> None:
        if self._subscription is None:  # else the subscription searched it
            self._record.look_for_others(message, self._now)
        answer = self._answer
        if answer is not None and message is answer.message:
            return  # the journey gets it as the answer
        if self.discards or (self.ending is not None and self.ending.kind == OK):
            return  # nobody awaits it
        if self.queue is _NOTHING:
            self.queue = deque()
        self.queue.append((message, self._now))
        if self._waiter is not None:
            self._wake()
        if self._subscription is not None:
            # Its messages must be read on, so the oldest of the others has to go.
            if len(self.queue) > _MOST_QUEUED:
                self.queue.popleft()
        elif len(self.queue) >= _MOST_QUEUED and not self.is_paused and answer is None:
            self.is_paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self.is_paused:
            self.is_paused = False
            self._transport.resume_reading()

    def _flush(self, core: Protocol) -> None:
        for data in core.data_to_send():
            if data:
                self._transport.write(data)
            elif self._transport.can_write_eof():
                self._transport.write_eof()
            else:
                self._transport.close()

    # --- for its pings

    def ping(self, payload: bytes) -> None:
        """See `Pinged`."""
        self._send_frame(Opcode.PING, payload)

    def is_silent_since(self, moment: float) -> bool:
        """See `Pinged`."""
        return self._now < moment and not self.is_paused

    def fail_half_open(self, at: float) -> None:
        """See `Pinged`."""
        self._end(Ending("half-open", CloseCode.ABNORMAL_CLOSURE, "no data after a ping", at))
        self._transport.abort()

    def _pong(self, payload: bytes) -> None:
        self._pings.answered(payload, self._now)

    # --- the end

    def _end_by_the_service(self) -> None:
        """Note what ended the connection, unless the generator closed it before."""
        self._end(ending_of(self._reader.needed(), self._now))

    def _end(self, ending: Ending) -> None:
        if self.ending is not None:
            return
        self.ending = ending
        self._record.ended(ending)
        self._pings.stop()
        self._tell_end()
        if not self.is_lost:
            self._close_alarm = self._shared.loop.call_later(CLOSE_SECONDS, self._give_up)
        self._wake()
        if self._writers is not None:
            _wake(self._writers)

    def _tell_end(self) -> None:
        """Tell the subscription that the connection has ended, once both are known."""
        ending = self.ending
        if self._subscription is None or ending is None:
            return
        resume_by = ending.at
        if ending.kind == OK:
            # A client that drops its connection needs a moment to reconnect, and the load may end
            # meanwhile.
            is_dropped = ending.code == CloseCode.ABNORMAL_CLOSURE
            resume_by = ending.at + self._record.meter.timeout if is_dropped else inf
        self._subscription.ended(ending.at, resume_by=resume_by)

    def _give_up(self) -> None:
        """Close the socket, because the service did not close it within `CLOSE_SECONDS`."""
        core = self._reader.core
        is_answered = core is not None and core.close_rcvd is not None
        if not is_answered and self.ending is not None and self.ending.kind == OK:
            self._record.close_was_not_answered()
        self._transport.abort()


def _wake(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)
