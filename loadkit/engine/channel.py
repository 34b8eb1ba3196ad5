"""The line between the workers and who started them: reports one way, "stop" the other."""

import contextlib
import math
import os
import queue
import secrets
import socket
import threading
import time
from dataclasses import dataclass, field
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener
from types import TracebackType
from typing import Self, cast

from loadkit.clock import Clock, MonotonicClock
from loadkit.recording.recorder import Report

__all__ = ["HungUp", "Line", "Switchboard"]

_STOP = "stop"
_WHAT_TIME = "what time is it?"
_ROUNDS = 20
"""How often a worker asks for the time: the answer that came soonest tells it best."""
_LOOK = 0.1
"""Seconds between a worker's looks at whether it should stop."""


@dataclass(slots=True)
class Line:
    """A worker's end: opened in its own process, it carries reports without keeping the load waiting."""

    address: str
    key: bytes
    worker: int
    _outbox: "queue.SimpleQueue[Report | None]" = field(init=False, repr=False)
    _carrier: threading.Thread = field(init=False, repr=False)
    _goes_on: bool = field(default=True, init=False)
    _told: tuple[float, float] = field(default=(0.0, 0.0), init=False, repr=False)
    """A moment of the monotonic clock, and the Unix time that it was then where the worker was started."""

    def __getstate__(self) -> tuple[str, bytes, int]:
        return self.address, self.key, self.worker

    def __setstate__(self, state: tuple[str, bytes, int]) -> None:
        self.address, self.key, self.worker = state
        self._goes_on = True

    def __enter__(self) -> Self:
        self._outbox = queue.SimpleQueue()
        connection = Client(self.address, authkey=self.key)
        try:
            connection.send((self.worker, os.getpid()))
            self._told = self._ask_for_the_time(connection)
        except (EOFError, OSError):
            self._goes_on = False  # nobody listens any more
        self._carrier = threading.Thread(target=self._carry, args=(connection,), daemon=True)
        self._carrier.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._outbox.put(None)
        self._carrier.join()

    def __call__(self, report: Report) -> bool:
        """Hand over a report. Return whether to go on."""
        self._outbox.put(report)
        return self._goes_on

    def clock_offset(self, clock: Clock) -> float:
        """By how many seconds a clock is ahead of that of who started the worker, when the line was opened.

        As NTP finds it (RFC 5905, section 8), within half the shortest round trip: some 0.1 ms on one machine.
        """
        moment, unix = self._told
        return clock.unix(moment) - unix

    def _ask_for_the_time(self, connection: "Connection[object, object]") -> tuple[float, float]:
        shortest, told = math.inf, (0.0, 0.0)
        for _ in range(_ROUNDS):
            asked = time.monotonic()
            connection.send(_WHAT_TIME)
            unix = connection.recv()
            answered = time.monotonic()
            while unix == _STOP:
                self._goes_on = False
                unix = connection.recv()
            if answered - asked < shortest:
                shortest, told = answered - asked, ((asked + answered) / 2, cast("float", unix))
        return told

    def _carry(self, connection: "Connection[object, object]") -> None:
        with connection:
            try:
                while True:
                    if connection.poll():
                        connection.recv()
                        self._goes_on = False
                    with contextlib.suppress(queue.Empty):
                        report = self._outbox.get(timeout=_LOOK)
                        connection.send(report)
                        if report is None:
                            return
            except (EOFError, OSError):
                self._goes_on = False  # nobody listens any more


@dataclass(frozen=True, slots=True)
class HungUp:
    """A worker's line is closed."""

    worker: int
    is_done: bool
    """Did it say so before?"""


class Switchboard:
    """The other end of all workers' lines; in use as a context."""

    def __init__(self, workers: int) -> None:
        self._key = secrets.token_bytes(32)
        self._clock = MonotonicClock()
        self._listener = Listener(family="AF_UNIX", backlog=workers, authkey=self._key)
        self._inbox: queue.SimpleQueue[Report | HungUp] = queue.SimpleQueue()
        self._connections: list[Connection[object, object]] = []
        self._expected = workers
        self.pids: dict[int, int] = {}
        """The process of each worker that has called."""
        self._operator = threading.Thread(target=self._answer, daemon=True)

    def line(self, worker: int) -> Line:
        """The end that is sent to a worker."""
        return Line(str(self._listener.address), self._key, worker)

    @property
    def connected(self) -> int:
        """How many workers have called so far."""
        return len(self._connections)

    def __enter__(self) -> Self:
        self._operator.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.stop()  # nobody will hear them out
        self._expected = 0
        if self._operator.is_alive():
            # A thread that waits in accept() is woken by a call, not by closing what it waits on.
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as caller:
                caller.connect(str(self._listener.address))
        self._operator.join()
        self._listener.close()

    def next(self, timeout: float) -> Report | HungUp | None:
        """What a worker said; None where nothing came for `timeout` seconds."""
        with contextlib.suppress(queue.Empty):
            return self._inbox.get(timeout=timeout)
        return None

    def stop(self) -> None:
        """Tell all workers to stop."""
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.send(_STOP)

    def _answer(self) -> None:
        while len(self._connections) < self._expected:
            with contextlib.suppress(AuthenticationError, EOFError, OSError):
                connection = self._listener.accept()
                self._connections.append(connection)
                threading.Thread(target=self._listen, args=(connection,), daemon=True).start()

    def _listen(self, connection: "Connection[object, object]") -> None:
        worker, is_done = -1, False
        with connection, contextlib.suppress(EOFError, OSError):
            worker, pid = cast("tuple[int, int]", connection.recv())
            self.pids[worker] = pid
            while (said := connection.recv()) is not None:
                if said == _WHAT_TIME:
                    connection.send(self._clock.unix(self._clock.now()))
                else:
                    self._inbox.put(cast("Report", said))
            is_done = True
        self._inbox.put(HungUp(worker, is_done))
