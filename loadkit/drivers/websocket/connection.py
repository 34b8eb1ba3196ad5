"""One WebSocket connection: handshake, messages, pings and close, timed when their bytes arrive."""

import asyncio
import random
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from time import monotonic, time
from typing import cast

from websockets.client import ClientProtocol
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import Protocol, State

from loadkit.drivers.base import TransportError
from loadkit.drivers.network import kind_of
from loadkit.drivers.websocket.answer import Answer, Matches
from loadkit.drivers.websocket.frames import FrameReader
from loadkit.drivers.websocket.record import ConnectionRecord, Ending
from loadkit.drivers.websocket.subscription import Subscription
from loadkit.recording.sample import OK

__all__ = ["CLOSE_SECONDS", "Connection", "Keepalive", "Received"]

CLOSE_SECONDS = 5.0
"""Seconds that the service has to answer a close frame and to close the connection."""
_MOST_QUEUED = 256
"""Messages that wait for the journey; with more of them the socket is not read."""
_END_OF_HEAD = b"\r\n\r\n"
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])\b")
_FAILURES = {
    CloseCode.PROTOCOL_ERROR: "invalid frame",
    CloseCode.INVALID_DATA: "bad UTF-8",
    CloseCode.MESSAGE_TOO_BIG: "message too big",
}
"""Outcomes by the close code with which the client failed the connection."""

_NOTHING: "deque[Received]" = deque()
"""The queue of each connection without waiting messages; nothing is added to it."""

Received = tuple[str | bytes, float]
"""A message, and when its bytes arrived on the monotonic clock."""


@dataclass(frozen=True, slots=True)
class Keepalive:
    """How often a connection is pinged. A half-open one is found within the sum of both times."""

    every: float
    """Seconds from a pong to the next ping; infinite for no pings."""
    timeout: float
    """Seconds without any data after a ping, after which the connection is half-open."""


class Connection(asyncio.Protocol):
    """A connection from its socket on. `ClientProtocol` decides; this class does the I/O."""

    __slots__ = (
        "_answer",
        "_clock_offset",
        "_close_alarm",
        "_handshake",
        "_head",
        "_keepalive",
        "_loop",
        "_lost",
        "_now",
        "_on_lost",
        "_opened",
        "_ping",
        "_ping_alarm",
        "_pinged_at",
        "_pings",
        "_reader",
        "_record",
        "_subscription",
        "_transport",
        "_waiter",
        "_writers",
        "discards",
        "ending",
        "handshake_size",
        "is_paused",
        "opened_at",
        "queue",
        "subprotocol",
    )

    _transport: asyncio.Transport

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        core: ClientProtocol,
        record: ConnectionRecord,
        keepalive: Keepalive,
        on_lost: Callable[[], None],
        clock_offset: float = 0.0,
    ) -> None:
        """Prepare a connection whose socket is being connected; `on_lost` hears of its end.

        `clock_offset`: seconds by which the service's clock is ahead of this machine's.
        """
        self._clock_offset = clock_offset
        self._loop = loop
        self._handshake: ClientProtocol | None = core
        """None after the handshake; what it keeps takes 2 KB."""
        self._record = record
        self._keepalive = keepalive
        self._on_lost = on_lost
        self._opened: asyncio.Future[None] = loop.create_future()
        """Done when the handshake has succeeded or failed."""
        self._lost: asyncio.Future[None] = loop.create_future()
        """Done when the socket is closed."""
        self._reader: FrameReader | None = None
        """None during the handshake."""
        self._head = b""
        self._now = 0.0
        """When the last bytes arrived."""
        self._subscription: Subscription | None = None
        self._answer: Answer | None = None
        """What the journey awaits of what it sent."""
        self.queue = _NOTHING
        """Messages that wait for the journey. An own deque takes 0.6 KB, so it is made when needed."""
        self._waiter: asyncio.Future[None] | None = None
        """Woken by the next queued message, and by the end of the connection."""
        self._writers: asyncio.Future[None] | None = None
        """Woken when the socket takes data again; None while it does."""
        self._ping_alarm: asyncio.TimerHandle | None = None
        self._close_alarm: asyncio.TimerHandle | None = None
        self._pings = 0
        self._ping = b""
        self._pinged_at = 0.0
        """When the ping was sent whose pong has not arrived; 0 for none."""
        self.discards = False
        """Are messages without a subscription dropped, because the journey only holds the connection?"""
        self.is_paused = False
        """Is the socket not read because too many messages wait?"""
        self.opened_at = 0.0
        """When the last bytes of the handshake arrived."""
        self.handshake_size = 0
        """Bytes of the service's part of it."""
        self.subprotocol = ""
        """The subprotocol that the service has chosen; "" for none."""
        self.ending: Ending | None = None
        """How it ended; None while it is open."""

    @property
    def is_lost(self) -> bool:
        """Is its socket closed?"""
        return self._lost.done()

    # --- called by the driver and by the journey's `WebSocket`

    async def open(self, request: Request, deadline: float) -> None:
        """Execute the handshake, by `deadline` on the monotonic clock.

        Raises:
            TransportError: the service refused or did not answer; "status 401" if that was its
                answer.

        """
        alarm = self._loop.call_later(max(deadline - monotonic(), 0.0), self._refuse, "timeout")
        try:
            assert self._handshake is not None
            self._handshake.send_request(request)
            self._flush(self._handshake)
            await self._opened
        except BaseException:
            self.abort()
            raise
        finally:
            alarm.cancel()

    def subscribe(self, subscription: Subscription) -> None:
        """Pass all messages to a subscription, those that wait first."""
        assert self._reader is not None
        self._subscription = subscription
        subscription.pass_on_to(self._enqueue)
        waiting, self.queue = self.queue, _NOTHING
        now = self._now
        for message, at in waiting:
            self._now = subscription.now = at
            subscription.shift = monotonic() - time() - self._clock_offset
            subscription.take(message, len(message.encode() if isinstance(message, str) else message))
        self._now = now
        self._reader.take = subscription.take
        self._resume_reading()

    @property
    def has_subscription(self) -> bool:
        """Do its messages belong to a subscription?"""
        return self._subscription is not None

    def send(self, message: bytes, *, is_text: bool) -> None:
        """Send a message, which may wait in the socket's buffer: see `taken`."""
        self._send_frame(Opcode.TEXT if is_text else Opcode.BINARY, message)
        self._record.sent(len(message))

    def _send_frame(self, opcode: Opcode, content: bytes) -> None:
        """Send a whole frame that leaves the core as it is."""
        reader = self._reader
        assert reader is not None
        extensions = None if reader.core is None else reader.core.extensions
        self._transport.write(Frame(opcode, content).serialize(mask=True, extensions=extensions))

    async def ask(self, message: bytes, matches: Matches, deadline: float, *, is_text: bool) -> Answer:
        """Send a message, and wait for its answer, the end of the connection, or `deadline`.

        Raises:
            RuntimeError: another task of the user waits already.

        """
        answer = Answer(matches)
        reader = self._reader
        if self.ending is not None or reader is None:
            return answer
        self._require_no_other()
        self._resume_reading()
        self._answer, reader.take = answer, self._take_while_asking
        try:
            self.send(message, is_text=is_text)
            await self._wait(lambda: answer.is_over, deadline)
        finally:
            subscription = self._subscription
            self._answer, reader.take = None, self._enqueue if subscription is None else subscription.take
        return answer

    async def taken(self, deadline: float) -> bool:
        """Wait until the socket takes data or the connection ends; False if neither is by `deadline`."""
        while self._writers is not None and self.ending is None:
            done, _ = await asyncio.wait((self._writers,), timeout=max(deadline - monotonic(), 0.0))
            if not done:
                return False
        return True

    async def next_event(self, deadline: float) -> None:
        """Wait for a message in the queue, the end of the connection, or `deadline`.

        Raises:
            RuntimeError: another task of the user waits already.

        """
        await self._wait(lambda: bool(self.queue), deadline)

    async def _wait(self, is_over: Callable[[], bool], deadline: float) -> None:
        # The loop's timers may fire early: see `Pacer`.
        while not is_over() and self.ending is None and (left := deadline - monotonic()) > 0:
            self._require_no_other()
            self._waiter = waiter = self._loop.create_future()
            alarm = None if left == inf else self._loop.call_later(left, _wake, waiter)
            try:
                await waiter
            finally:
                self._waiter = None
                if alarm is not None:
                    alarm.cancel()

    def _require_no_other(self) -> None:
        if self._waiter is not None:
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
            assert self._reader is not None
            core = self._reader.needed()
            core.send_close(code, reason)
            self._flush(core)
            self._end(OK, code, reason, monotonic())
            self._resume_reading()  # the answer comes behind messages that nobody awaits

    async def lost(self) -> None:
        """Wait until the socket is closed, which takes at most `CLOSE_SECONDS`."""
        await asyncio.wait((self._lost,))

    def leave(self) -> None:
        """Close without waiting for the service; a close frame says that the user goes away."""
        if self._lost.done() or self._loop.is_closed():
            return
        self.close(CloseCode.GOING_AWAY)
        self._transport.close()

    def drop(self) -> None:
        """Close the socket without a close frame, as a client does that loses its network."""
        self._end(OK, CloseCode.ABNORMAL_CLOSURE, "dropped", monotonic())
        self._transport.abort()

    def abort(self) -> None:
        """Close the socket at once."""
        if not self._opened.done():
            self._opened.cancel()
        self._transport.abort()

    # --- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's do not inherit from it

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._now = monotonic()
        reader = self._reader
        if reader is None:
            self._shake(data)
        else:
            self._read(reader, data)

    def _read(self, reader: FrameReader, data: bytes) -> None:
        subscription = self._subscription
        if subscription is not None:
            # Unix time is read with each arrival: the stamps of a service follow its clock's steps.
            subscription.now = now = self._now
            subscription.shift = now - time() - self._clock_offset
        messages = reader.feed(data)
        record = self._record
        if record.is_recorded or record.begins():
            population = record.population
            population.bytes_received += len(data)
            population.messages_received += messages
        if reader.has_acted:
            reader.has_acted = False
            if reader.core is not None:
                self._flush(reader.core)
            if reader.is_over:
                self._end_by_the_service()
            reader.rest()

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._writers = self._loop.create_future()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        writers, self._writers = self._writers, None
        if writers is not None:
            _wake(writers)

    def connection_lost(self, problem: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._now = monotonic()
        if self._reader is None:
            self._refuse("closed" if problem is None else kind_of(problem))
        else:
            self._reader.end()
            self._end_by_the_service()
        for alarm in (self._ping_alarm, self._close_alarm):
            if alarm is not None:
                alarm.cancel()
        self.resume_writing()
        _wake(self._lost)
        self._on_lost()

    # --- the handshake

    def _shake(self, data: bytes) -> None:
        """Read the head of the answer; frames may follow it in the same bytes."""
        if self._opened.done():
            return  # it was refused
        core = self._handshake
        assert core is not None
        before = len(self._head)
        self._head += data
        end = self._head.find(_END_OF_HEAD)
        of_head = len(data) if end < 0 else end + len(_END_OF_HEAD) - before
        core.receive_data(data[:of_head])
        core.events_received()
        if core.state is State.OPEN:
            reader = self._begin(core, before + of_head)
            if of_head < len(data):
                self._read(reader, data[of_head:])
        elif end >= 0 or core.handshake_exc is not None:
            # The body of a refusal may never end; the status is known.
            status = _STATUS.match(self._head)
            code = int(status[1]) if status else 0
            self._refuse(f"status {code}" if code not in (0, 101) else "protocol")

    def _begin(self, core: ClientProtocol, size: int) -> FrameReader:
        self._head, self._handshake = b"", None
        self.opened_at, self.handshake_size = self._now, size
        self.subprotocol = core.subprotocol or ""
        limits = core.max_message_size, core.max_fragment_size
        kept = core if core.extensions else None
        self._reader = reader = FrameReader(limits, self._enqueue, self._pong, kept)
        self._record.opened(self._now)
        if self._keepalive.every != inf:
            # Connections that opened together do not ping together.
            self._set_ping_alarm(self._keepalive.every * random.uniform(0.5, 1.0))
        _wake(self._opened)
        return reader

    def _refuse(self, kind: str) -> None:
        if not self._opened.done():
            at = monotonic() if kind == "timeout" else self._now
            self._opened.set_exception(TransportError(kind, at))

    # --- messages

    def _take_while_asking(self, message: str | bytes, size: int) -> None:
        """Look whether a message is the awaited answer, and let it take its usual way."""
        answer = self._answer
        if answer is not None and not answer.is_over:
            is_over = answer.look(message, size, self._now)
            if is_over and self._waiter is not None:
                _wake(self._waiter)
        if self._subscription is not None:
            self._subscription.take(message, size)
        else:
            self._enqueue(message, size)

    def _enqueue(self, message: str | bytes, _size: int) -> None:
        answer = self._answer
        if answer is not None and message is answer.message:
            return  # the journey gets it already
        if self.discards or (self.ending is not None and self.ending.kind == OK):
            return  # nobody awaits it
        if self.queue is _NOTHING:
            self.queue = deque()
        self.queue.append((message, self._now))
        if self._waiter is not None:
            _wake(self._waiter)
        if len(self.queue) >= _MOST_QUEUED and not self.is_paused and answer is None:
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

    # --- pings

    def _set_ping_alarm(self, seconds: float) -> None:
        self._ping_alarm = self._loop.call_later(seconds, self._ring)

    def _ring(self) -> None:
        """Send a ping, or look what came of the last one."""
        now = monotonic()
        if self._pinged_at:
            self._record.ping_failed(self._pinged_at, now)
            if self._now < self._pinged_at and not self.is_paused:
                self._end("half-open", CloseCode.ABNORMAL_CLOSURE, "no data after a ping", now)
                self._transport.abort()
                return
        self._pings += 1
        self._ping = self._pings.to_bytes(4)
        self._pinged_at = now
        self._send_frame(Opcode.PING, self._ping)
        self._set_ping_alarm(self._keepalive.timeout)

    def _pong(self, payload: bytes) -> None:
        if self._pinged_at and payload == self._ping:
            self._record.pinged(self._pinged_at, self._now)
            self._pinged_at = 0.0
            if self._ping_alarm is not None:
                self._ping_alarm.cancel()
            if self.ending is None:
                self._set_ping_alarm(self._keepalive.every)

    # --- the end

    def _end_by_the_service(self) -> None:
        """Note what ended the connection; the generator's own close came before, if there was one."""
        assert self._reader is not None
        core = self._reader.needed()
        received, sent = core.close_rcvd, core.close_sent
        if core.parser_exc is not None and sent is not None and sent.code in _FAILURES:
            self._end(_FAILURES[CloseCode(sent.code)], sent.code, sent.reason, self._now)
        elif received is not None:
            self._end(f"closed {received.code}", received.code, received.reason, self._now)
        else:
            self._end(f"closed {CloseCode.ABNORMAL_CLOSURE:d}", CloseCode.ABNORMAL_CLOSURE, "", self._now)

    def _end(self, kind: str, code: int, reason: str, at: float) -> None:
        if self.ending is not None:
            return
        self.ending = Ending(kind, code, reason, at)
        self._record.ended(self.ending)
        if self._subscription is not None:
            self._subscription.ended(at, by_generator=kind == OK)
        if self._ping_alarm is not None:
            self._ping_alarm.cancel()
        if not self._lost.done():
            self._close_alarm = self._loop.call_later(CLOSE_SECONDS, self._give_up)
        if self._waiter is not None:
            _wake(self._waiter)
        if self._writers is not None:
            _wake(self._writers)

    def _give_up(self) -> None:
        """Close the socket: the service did not within `CLOSE_SECONDS`."""
        core = None if self._reader is None else self._reader.core
        is_answered = core is not None and core.close_rcvd is not None
        if not is_answered and self.ending is not None and self.ending.kind == OK:
            self._record.close_was_not_answered()
        self._transport.abort()


def _wake(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)
