"""Relays the connections of a region, and delays their bytes in both directions.

The kernel accepts a user's connection immediately. So the user's first bytes wait for the round
trip that the TCP handshake would have taken, and then travel. The relay connects to the service
half a round trip after the user, as if the user's SYN had arrived then. The time until the first
answer is therefore correct. If the service refuses the connection, the user gets a reset. The user
also gets a reset if the relay itself has no free socket, and this is counted.
"""

import asyncio
import heapq
import random
import socket
import struct
from collections import deque
from collections.abc import Callable
from time import monotonic, time
from typing import cast

from loadkit.drivers.network import kind_of
from loadkit.network.delays import Direction
from loadkit.recording.health_bounds import RELAY_NOTED
from loadkit.target import NetworkPath
from loadkit.users.pacer import Alarm, on_grid

__all__ = ["DueTimes", "Relay"]

_WINDOW = 4 << 20
"""Most bytes on their way in one direction of a connection; above this, the sender must wait.

That is about what Linux allows a TCP connection (tcp_rmem), and 100 MB/s at a latency of 80 ms."""
_RESET = struct.pack("ii", 1, 0)
"""The value of SO_LINGER with which closing sends a reset."""
_BACKLOG = 4096
_LATE_STEP, _LATE_STEPS = 0.0001, 10_000
"""Resolution of the lateness in seconds, and the number of its steps."""
_LOOKS = 0.05
"""Seconds between two checks that the event loop still runs."""


class DueTimes:
    """Wakes each `Line` when its next bytes are due: one timer and one heap for all connections."""

    __slots__ = ("_alarm", "_count", "_heap", "_late", "_set_at", "late")

    def __init__(self, alarm_of: Callable[[Callable[[], None]], Alarm]) -> None:
        self._heap: list[tuple[float, int, Line]] = []
        self._count = 0
        self._set_at = float("inf")
        self._late = [0] * (_LATE_STEPS + 1)
        self._alarm = alarm_of(self._ring)
        self.late: dict[int, float] = {}
        """By second of the system clock: the longest lateness in seconds, from `RELAY_NOTED` on."""

    def add(self, due: float, line: "Line") -> None:
        """Wake a line at a moment."""
        self._count += 1
        heapq.heappush(self._heap, (due, self._count, line))
        if due < self._set_at:
            self._set_at = due
            self._alarm.set(due)

    def note(self, late: float) -> None:
        """Count a delivery by its lateness in seconds."""
        self._late[min(int(late / _LATE_STEP), _LATE_STEPS)] += 1
        if late >= RELAY_NOTED:
            self.note_delay(late)

    def note_delay(self, late: float) -> None:
        """Note, for the current second, that bytes may have waited `late` seconds too long."""
        second = int(time())
        self.late[second] = max(late, self.late.get(second, 0.0))

    async def watch(self) -> None:
        """Note how long the event loop is busy, or stands still.

        Bytes wait to be read meanwhile. So their due time is too late, and the lateness of their
        delivery does not show this.
        """
        while True:
            begun = monotonic()
            await asyncio.sleep(_LOOKS)
            if (late := monotonic() - begun - _LOOKS) >= RELAY_NOTED:
                self.note_delay(late)

    def lateness(self, quantile: float) -> float:
        """A quantile of the lateness of deliveries in seconds, at most 1; 0 without deliveries."""
        rank, passed = quantile * sum(self._late), 0
        for step, number in enumerate(self._late):
            passed += number
            if passed and passed >= rank:
                return (step + 1) * _LATE_STEP
        return 0.0

    def close(self) -> None:
        """Stop the timer; no further bytes are delivered."""
        self._alarm.close()
        if self._heap and (late := monotonic() - self._heap[0][0]) >= RELAY_NOTED:
            self.note_delay(late)

    def _ring(self) -> None:
        heap, now = self._heap, monotonic()
        while heap and heap[0][0] <= now:
            heapq.heappop(heap)[2].wake(now)
        self._set_at = heap[0][0] if heap else float("inf")
        if heap:
            self._alarm.set(self._set_at)


class Line:
    """One direction of a connection: the bytes on their way from one end to the other."""

    __slots__ = (
        "_bytes",
        "_direction",
        "_due_times",
        "_is_waiting",
        "_queue",
        "is_blocked",
        "sink",
        "source",
    )

    source: "_End"
    sink: "_End"

    def __init__(self, direction: Direction, due_times: DueTimes) -> None:
        self._direction = direction
        self._due_times = due_times
        self._queue: deque[tuple[float, bytes | None]] = deque()
        """Pairs of due time and bytes. Empty bytes mark the end of the stream, and None a reset."""
        self._bytes = 0
        self._is_waiting = False
        """Will `wake` be called?"""
        self.is_blocked = True
        """Is the far end unable to take bytes now?"""

    def take(self, data: bytes) -> None:
        """Queue bytes until they are due; b"" ends the stream."""
        # Bytes that are due together share one wake-up of this process, which costs more than their
        # delivery.
        due = on_grid(self._direction.arrival(monotonic(), len(data)))
        self._queue.append((due, data))
        self._bytes += len(data)
        if not self._is_waiting and not self.is_blocked:
            self._wait(due)
        if self._bytes > _WINDOW:
            self.source.hold_reading(True)

    def take_reset(self) -> None:
        """Queue a reset behind the bytes that were sent before it.

        If the far end cannot take these bytes now, the reset overtakes them, because it needs no
        room there.
        """
        if self.is_blocked:
            self.sink.reset()
            return
        due = on_grid(self._direction.arrival(monotonic(), 0))
        self._queue.append((due, None))
        if not self._is_waiting:
            self._wait(due)

    def wake(self, now: float) -> None:
        """Deliver what is due."""
        self._is_waiting = False
        if not self.is_blocked:
            self._deliver(now)

    def unblock(self) -> None:
        """Continue, because the far end can take bytes again."""
        self.is_blocked = False
        if not self._is_waiting:
            self._deliver(monotonic(), is_on_time=False)

    def _deliver(self, now: float, *, is_on_time: bool = True) -> None:
        queue, sink = self._queue, self.sink
        while queue and queue[0][0] <= now and not self.is_blocked:
            due, data = queue.popleft()
            if is_on_time:
                self._due_times.note(now - due)
            if data is None:
                sink.reset()  # blocks the line
                break
            self._bytes -= len(data)
            sink.give(data)  # may block the line
        if self._bytes < _WINDOW // 2:
            self.source.hold_reading(False)
        if queue and not self.is_blocked:
            self._wait(queue[0][0])

    def _wait(self, due: float) -> None:
        self._is_waiting = True
        self._due_times.add(due, self)


class _End(asyncio.Protocol):
    """One socket of a relayed connection: towards the user, or towards the service."""

    __slots__ = (
        "_has_ended",
        "_is_closed",
        "_is_held",
        "_open_ends",
        "_transport",
        "_was_given_end",
        "inward",
        "other",
        "outward",
    )

    other: "_End"

    def __init__(self, outward: Line, inward: Line, open_ends: "set[_End]") -> None:
        """Connect the socket with the line that it feeds, and with the line that feeds it.

        The end is in `open_ends` while its socket is open.
        """
        self._open_ends = open_ends
        self.outward, self.inward = outward, inward
        outward.source = inward.sink = self
        self._transport: asyncio.Transport | None = None
        self._is_closed = self._is_held = False
        self._has_ended = False
        """Has the peer ended its stream?"""
        self._was_given_end = False
        """Has the stream to the peer ended?"""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)
        self._open_ends.add(self)
        if self._is_closed:
            self._transport.abort()
            return
        self.inward.unblock()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self.outward.take(data)

    def eof_received(self) -> bool:
        """See `asyncio.Protocol`; the other direction stays open."""
        self._has_ended = True
        self.outward.take(b"")
        self._close_if_done()
        return True

    def connection_lost(self, _problem: Exception | None) -> None:
        """See `asyncio.Protocol`. A reset ends both directions, and travels behind the bytes."""
        self._open_ends.discard(self)
        is_ours, self._is_closed = self._is_closed, True
        self.inward.is_blocked = True
        if not is_ours:
            self.outward.take_reset()

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self.inward.is_blocked = True

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        if not self._is_closed:
            self.inward.unblock()

    def give(self, data: bytes) -> None:
        """Write bytes that have arrived; b"" ends the stream."""
        assert self._transport is not None
        if self._is_closed:
            return
        if data:
            self._transport.write(data)
            return
        self._was_given_end = True
        self._transport.write_eof()
        self._close_if_done()

    def hold_reading(self, is_held: bool) -> None:
        """Stop reading while too many bytes are on their way, or continue."""
        if is_held == self._is_held or self._is_closed or self._transport is None:
            return
        self._is_held = is_held
        (self._transport.pause_reading if is_held else self._transport.resume_reading)()

    def reset(self) -> None:
        """Close the socket with a reset; bytes on their way are lost."""
        if self._is_closed:
            return
        self._is_closed = self.inward.is_blocked = True
        if self._transport is not None:
            descriptor = cast("socket.socket", self._transport.get_extra_info("socket"))
            descriptor.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._transport.abort()

    def _close_if_done(self) -> None:
        if self._has_ended and self._was_given_end and not self._is_closed:
            self._is_closed = True
            assert self._transport is not None
            self._transport.close()


class Relay:
    """Accepts the connections of one region to one address of the service."""

    def __init__(
        self, path: NetworkPath, upstream: tuple[str, int], due_times: DueTimes, choices: random.Random
    ) -> None:
        """Prepare it; nothing is opened yet.

        Args:
            path: the network of the region.
            upstream: the address and port of the service.
            due_times: wakes the lines.
            choices: the source of jitter and loss.

        """
        self._path = path
        self._upstream = upstream
        self._due_times = due_times
        self._random = choices
        self._connecting: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._ends: set[_End] = set()
        """The ends whose socket is open."""
        self.connections = 0
        """Connections accepted so far."""
        self.out_of_descriptors = 0
        """Accepted connections without a socket or file descriptor towards the service."""

    async def open(self) -> int:
        """Listen on a free port of the loopback interface, and return it."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, "127.0.0.1", 0, backlog=_BACKLOG)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def close(self) -> None:
        """Accept no further connection, and reset those that are open."""
        if self._server is not None:
            self._server.close()
        for task in self._connecting:
            task.cancel()
        for end in tuple(self._ends):
            end.reset()

    def _accept(self) -> _End:
        self.connections += 1
        path, due_times = self._path, self._due_times
        up = Line(Direction(path, self._random, monotonic() + path.latency), due_times)
        down = Line(Direction(path, self._random), due_times)
        user, service = _End(up, down, self._ends), _End(down, up, self._ends)
        user.other, service.other = service, user
        task = asyncio.get_running_loop().create_task(self._connect(user, service))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
        return user

    async def _connect(self, user: _End, service: _End) -> None:
        loop, half = asyncio.get_running_loop(), self._path.latency / 2
        await asyncio.sleep(half)
        try:
            await loop.create_connection(lambda: service, *self._upstream)
        except OSError as error:
            self.out_of_descriptors += kind_of(error) == "no socket"
            loop.call_later(half, user.reset)
