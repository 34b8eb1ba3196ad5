"""The WebSocket connections of an instance.

The library `websockets` checks handshakes and reads the few messages of clients. This module frames
the messages to clients, once for all receivers. Without compression and masks, a frame is a header
of two to ten bytes and the content.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

from websockets.datastructures import Headers
from websockets.frames import Opcode
from websockets.http11 import Request
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

GOING_AWAY, UNREADABLE, NOT_UTF8, UNWELCOME, RESTART, TOO_SLOW = 1001, 1003, 1007, 1008, 1012, 1013
"""Close codes."""

_MOST_WAITING = 1024 * 1024
"""The most bytes that may wait to be written to a connection: several large publications."""
_KERNEL_BUFFER = 64 * 1024
"""Bytes. The kernel's default grows to megabytes, which would hide a slow client for long."""
_LARGEST_MESSAGE = 8 * 1024
"""The most bytes of a client's message."""
_PING_SECONDS = 20.0
_SWEEP_SECONDS = 0.5
_CLOSE_SECONDS = 5.0
"""Time for a client to read the remaining frames and to answer a close frame."""
_PING = b"\x89\x00"
_EMPTY = b""


def text_frame(content: bytes) -> bytes:
    """A frame with a whole text message."""
    size = len(content)
    if size < 126:
        return b"\x81%c%b" % (size, content)
    if size < 65536:
        return b"\x81\x7e%b%b" % (size.to_bytes(2), content)
    return b"\x81\x7f%b%b" % (size.to_bytes(8), content)


class WebSocket(asyncio.Protocol):
    """One connection. Subclasses define its purpose: `opened`, `received` and `left`.

    `write` sends frames. A closed connection ignores them, and a fault may hold them back.
    """

    __slots__ = (
        "_connections",
        "_core",
        "_drained",
        "_held",
        "_held_bytes",
        "_parts",
        "_transport",
        "due",
        "has_received_since_ping",
        "is_catching_up",
        "is_open",
        "write",
    )

    def __init__(self, connections: "Connections") -> None:
        self._connections = connections
        self._core = ServerProtocol(state=OPEN, max_size=_LARGEST_MESSAGE)
        self._parts = bytearray()
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._drained = asyncio.Event()
        self._drained.set()
        self._transport: Any = None
        self.write: Any = _ignore
        self.is_open = False
        self.is_catching_up = False
        """Does the client receive earlier messages? If not, a full queue ends the connection."""
        self.has_received_since_ping = True
        """Has anything arrived since the last ping?"""
        self.due = 0.0
        """When to send the next ping, on the monotonic clock."""

    # The methods of subclasses

    def opened(self) -> None:
        """Begin; the handshake has been answered."""

    def received(self, text: str) -> None:
        """Handle a message of the client."""

    def left(self) -> None:
        """End; nothing more can be sent."""

    # The methods for users of a connection

    def answer(self, headers: dict[bytes, bytes]) -> tuple[int, list[tuple[str, str]], str]:
        """The status and the headers that answer a handshake, and the reason of a refusal."""
        asked = Headers((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers.items())
        answer = self._core.accept(Request("/", asked))
        return answer.status_code, list(answer.headers.raw_items()), answer.body.decode().split("\n")[0]

    def close(self, code: int, reason: str) -> None:
        """Send a close frame; end the connection after the client's answer or `_CLOSE_SECONDS`."""
        if self.is_open:
            self._leave()
            self._core.send_close(code, reason)
            self._write_answers()
            asyncio.get_running_loop().call_later(_CLOSE_SECONDS, self._transport.abort)

    def cut(self) -> None:
        """End the connection without a close frame."""
        self._leave()
        self._transport.abort()

    def cut_off(self) -> None:
        """End the connection of a client that reads too slowly."""
        if self.is_open:
            self._connections.cut_off += 1
            self.close(TOO_SLOW, "the client reads too slowly")
            self._transport.close()  # when all is written; it does not wait for the client

    def _cut_off_if_full(self) -> None:
        if self.is_open and self.waiting > _MOST_WAITING:
            self.cut_off()

    async def drain(self) -> None:
        """Wait until the queue is short; cut off the client if that takes too long."""
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._drained.wait()
        except TimeoutError:
            self.cut_off()

    @property
    def waiting(self) -> int:
        """Bytes that wait to be written."""
        return int(self._transport.get_write_buffer_size()) + self._held_bytes

    def stall(self) -> None:
        """Stop reading, and hold back the frames to be written."""
        self._transport.pause_reading()
        self.write = self._hold

    def resume(self) -> None:
        """Read again, and write the held frames."""
        if self._transport.is_reading():
            return
        self._transport.resume_reading()
        self.write = self._transport.write
        held, self._held, self._held_bytes = self._held, [], 0
        self._transport.writelines(held)

    def _hold(self, frame: bytes) -> None:
        self._held.append(frame)
        self._held_bytes += len(frame)
        if self._held_bytes > _MOST_WAITING:
            asyncio.get_running_loop().call_soon(self._cut_off_if_full)

    def _leave(self) -> None:
        if self.is_open:
            self.is_open = False
            self.write = _ignore
            self._held, self._held_bytes = [], 0
            self._drained.set()
            self._connections.remove(self)
            self.left()

    def _write_answers(self) -> None:
        for data in self._core.data_to_send():
            if data == _EMPTY:
                self._leave()
                self._transport.close()
            else:
                self._transport.write(data)

    def _take(self, opcode: Opcode, data: bytes, *, is_last: bool) -> None:
        if opcode is Opcode.BINARY:
            self.close(UNREADABLE, "messages are JSON texts")
        elif opcode is Opcode.TEXT or opcode is Opcode.CONT:
            self._parts += data
            if is_last:
                try:
                    text = self._parts.decode()
                except UnicodeDecodeError:
                    self.close(NOT_UTF8, "a text is UTF-8")
                else:
                    self.received(text)
                self._parts.clear()

    # Called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over a connection whose handshake has been answered."""
        self._transport = transport
        self.write = self._transport.write
        self._transport.set_write_buffer_limits(high=_MOST_WAITING)
        plug = transport.get_extra_info("socket")
        if plug is not None:
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _KERNEL_BUFFER)
        self.is_open = True
        self._connections.add(self)
        self.opened()

    def data_received(self, data: bytes) -> None:
        """Read what a client sent."""
        self.has_received_since_ping = True
        self._core.receive_data(data)
        for frame in self._core.events_received():
            if self.is_open:
                # The handshake is over, so all events are frames.
                self._take(frame.opcode, bytes(frame.data), is_last=frame.fin)  # type: ignore[union-attr]  # frames
        self._write_answers()

    def pause_writing(self) -> None:
        """Note that too many bytes wait to be written."""
        self._drained.clear()
        if not self.is_catching_up:
            # Not immediately: this may be called while a message is written to all connections.
            asyncio.get_running_loop().call_soon(self._cut_off_if_full)

    def resume_writing(self) -> None:
        """Note that the queue is short again."""
        self._drained.set()

    def connection_lost(self, _error: Exception | None) -> None:
        """End the connection."""
        self._leave()


def _ignore(_frame: bytes) -> None:
    """Write nothing."""


class Connections:
    """All WebSocket connections of an instance."""

    def __init__(self) -> None:
        self._all: dict[WebSocket, None] = {}  # in the order in which their pings are due
        self._is_ending = False
        self.refused_until = 0.0
        """A fault refuses handshakes until this time, on the monotonic clock."""
        self.sent = 0
        self.sent_bytes = 0
        self.cut_off = 0
        self.newcomers: list[Callable[[WebSocket], None]] = []
        """Functions of faults, which are called with each new connection."""

    def __iter__(self) -> Iterator[WebSocket]:
        return iter(list(self._all))

    @property
    def open(self) -> int:
        """The number of connections."""
        return len(self._all)

    @property
    def waiting(self) -> int:
        """Bytes that wait to be written to all connections."""
        return sum(each.waiting for each in self._all)

    @property
    def refusal(self) -> str | None:
        """Why no connection can be opened now; None if one can."""
        if self._is_ending:
            return "the instance stops"
        return "a fault is switched on" if time.monotonic() < self.refused_until else None

    def add(self, connection: WebSocket) -> None:
        """Add a connection."""
        connection.due = time.monotonic() + _PING_SECONDS
        self._all[connection] = None
        for meet in self.newcomers:
            meet(connection)

    def remove(self, connection: WebSocket) -> None:
        """Remove a connection."""
        self._all.pop(connection, None)

    def send_one(self, connection: WebSocket, frame: bytes) -> None:
        """Send a frame to one connection."""
        connection.write(frame)
        self.sent += 1
        self.sent_bytes += len(frame)

    def close_all(self, code: int, reason: str) -> None:
        """Close all connections."""
        for connection in self:
            connection.close(code, reason)

    async def end(self) -> None:
        """Accept no more connections, close all, and give their clients a moment to answer."""
        self._is_ending = True
        transports = [each._transport for each in self._all]  # noqa: SLF001 - its own connections
        self.close_all(GOING_AWAY, "the instance stops")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                while any(not each.is_closing() for each in transports):
                    await asyncio.sleep(0.02)

    async def keep_alive(self) -> None:
        """Ping each connection every `_PING_SECONDS`, and end connections that do not answer."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            now = time.monotonic()
            for connection in self:
                if connection.due > now:
                    break
                if connection.has_received_since_ping:
                    connection.has_received_since_ping = False
                    connection.due = now + _PING_SECONDS
                    del self._all[connection]
                    self._all[connection] = None
                    connection.write(_PING)
                else:
                    connection.cut_off()
