"""A channel between processes of one machine, over a Unix socket."""

import contextlib
import math
import os
import queue
import secrets
import signal
import socket
import threading
import time
from dataclasses import dataclass, field
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener
from types import TracebackType
from typing import Self, cast

from loadkit.clock import Clock, MonotonicClock
from loadkit.engine.channel import Disconnected
from loadkit.recording.recorder import Report

__all__ = ["LocalChannel", "LocalEndpoint"]

_STOP = "stop"
_ASK_TIME = "what time is it?"
_ROUNDS = 20
"""Number of a worker's clock requests; the fastest answer is the most accurate."""


@dataclass(slots=True)
class LocalEndpoint:
    """See `loadkit.engine.channel.Endpoint`. A thread sends reports, so that they delay no load.

    A second thread waits for the stop message. Both sleep until there is work. Polling would take
    CPU time from the load.
    """

    address: str
    key: bytes
    worker: int
    _outbox: "queue.SimpleQueue[Report | None]" = field(init=False, repr=False)
    _connection: "Connection[object, object]" = field(init=False, repr=False)
    _sender: threading.Thread = field(init=False, repr=False)
    _listener: threading.Thread = field(init=False, repr=False)
    _continues: bool = field(default=True, init=False)
    _reading: tuple[float, float] = field(default=(0.0, 0.0), init=False, repr=False)
    """A moment of the monotonic clock, and the starting process's Unix time at that moment."""

    def __getstate__(self) -> tuple[str, bytes, int]:
        return self.address, self.key, self.worker

    def __setstate__(self, state: tuple[str, bytes, int]) -> None:
        self.address, self.key, self.worker = state
        self._continues = True

    def __enter__(self) -> Self:
        self._outbox = queue.SimpleQueue()
        self._connection = Client(self.address, authkey=self.key)
        try:
            self._connection.send((self.worker, os.getpid()))
            self._reading = self._read_clock(self._connection)
        except (EOFError, OSError):
            self._continues = False  # the other side has closed
        self._sender = threading.Thread(target=self._send, daemon=True)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._sender.start()
        self._listener.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._outbox.put(None)
        self._sender.join()
        self._shut_down(socket.SHUT_RD)
        self._listener.join()
        self._connection.close()

    def __call__(self, report: Report) -> bool:
        """See `Endpoint`."""
        self._outbox.put(report)
        return self._continues

    def clock_offset(self, clock: Clock) -> float:
        """See `Endpoint`.

        It is computed as in NTP (RFC 5905, section 8). The error is at most half of the shortest
        round trip, about 0.1 ms on one machine.
        """
        moment, unix = self._reading
        return clock.unix(moment) - unix

    def _read_clock(self, connection: "Connection[object, object]") -> tuple[float, float]:
        shortest, reading = math.inf, (0.0, 0.0)
        for _ in range(_ROUNDS):
            requested = time.monotonic()
            connection.send(_ASK_TIME)
            unix = connection.recv()
            answered = time.monotonic()
            while unix == _STOP:
                self._continues = False
                unix = connection.recv()
            if answered - requested < shortest:
                shortest, reading = answered - requested, ((requested + answered) / 2, cast("float", unix))
        return reading

    def _send(self) -> None:
        report: Report | None
        try:
            while (report := self._outbox.get()) is not None:
                self._connection.send(report)
            self._connection.send(None)
        except OSError:
            pass  # the other side has closed
        except BaseException:
            # Without reports there is nothing to judge, so the other side must be told immediately.
            self._shut_down(socket.SHUT_RDWR)
            raise
        finally:
            self._continues = False

    def _listen(self) -> None:
        with contextlib.suppress(EOFError, OSError):  # the other side has closed, or this one ends
            while True:
                self._connection.recv()
                self._continues = False
        self._continues = False

    def _shut_down(self, direction: int) -> None:
        """Wake a thread that waits for data. Closing the connection would not wake it."""
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(self._connection.fileno())) as ours:
            ours.shutdown(direction)


class LocalChannel:
    """See `loadkit.engine.channel.Channel`."""

    def __init__(self, workers: int) -> None:
        """Create a channel for a number of workers."""
        self._workers = workers
        self._key = secrets.token_bytes(32)
        self._clock = MonotonicClock()
        self._listener = Listener(family="AF_UNIX", backlog=workers, authkey=self._key)
        self._inbox: queue.SimpleQueue[Report | Disconnected] = queue.SimpleQueue()
        self._connections: list[Connection[object, object]] = []
        self._is_stopped = False
        self._disconnected = 0
        """Number of disconnected workers that `next` has reported."""
        self._processes: dict[int, int] = {}
        """Process id of each worker that has connected."""
        self._acceptor = threading.Thread(target=self._accept, daemon=True)

    def endpoint(self, worker: int) -> LocalEndpoint:
        """See `Channel`."""
        return LocalEndpoint(str(self._listener.address), self._key, worker)

    @property
    def is_drained(self) -> bool:
        """See `Channel`."""
        return self._disconnected == len(self._connections)

    def __enter__(self) -> Self:
        self._acceptor.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.stop()  # no caller will read their reports
        self._workers = 0
        if self._acceptor.is_alive():
            # A connection wakes a thread that waits in accept(); closing the socket does not.
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as caller:
                caller.connect(str(self._listener.address))
        self._acceptor.join()
        self._listener.close()

    def next(self, timeout: float) -> Report | Disconnected | None:
        """See `Channel`."""
        try:
            message = self._inbox.get(timeout=timeout)
        except queue.Empty:
            return None
        self._disconnected += isinstance(message, Disconnected)
        return message

    def stop(self) -> None:
        """See `Channel`."""
        self._is_stopped = True
        for connection in self._connections:
            _send_stop(connection)

    def kill(self) -> None:
        """See `Channel`; a worker that is a thread of this process is not killed."""
        for process in self._processes.values():
            if process != os.getpid():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)

    def _accept(self) -> None:
        while len(self._connections) < self._workers:
            with contextlib.suppress(AuthenticationError, EOFError, OSError):
                connection = self._listener.accept()
                self._connections.append(connection)
                if self._is_stopped:
                    _send_stop(connection)
                threading.Thread(target=self._receive, args=(connection,), daemon=True).start()

    def _receive(self, connection: "Connection[object, object]") -> None:
        worker, is_done = -1, False
        with connection, contextlib.suppress(EOFError, OSError):
            worker, process = cast("tuple[int, int]", connection.recv())
            self._processes[worker] = process
            while (message := connection.recv()) is not None:
                if message == _ASK_TIME:
                    connection.send(self._clock.unix(self._clock.now()))
                else:
                    self._inbox.put(cast("Report", message))
            is_done = True
        self._inbox.put(Disconnected(worker, is_done))


def _send_stop(connection: "Connection[object, object]") -> None:
    with contextlib.suppress(OSError):
        connection.send(_STOP)
