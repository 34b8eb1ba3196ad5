"""Servers whose answer times are known: each is a function from when a request comes to when it is answered.

The function holds its own virtual time, so that neither a late timer nor a busy machine adds up: what a load must have
seen can be worked out beforehand by asking the same function. `serving` runs one in a process of its own, which keeps
a log of what it really did.
"""

import asyncio
import math
import multiprocessing
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt
import uvloop

from loadkit.clock import MonotonicClock
from loadkit.users.pacer import BEST_ALARM, Pacer

Floats = npt.NDArray[np.float64]

WORK = "/work"
"""The path that is treated so; any other is answered at once, and not logged."""
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
_TICK = 0.01
_PATIENCE = 20.0


class Behaviour(Protocol):
    """When a request is answered. Moments are seconds since the first one came; they are asked for in order."""

    def leaving(self, arrival: float) -> float | None:
        """When the answer to a request that came at `arrival` is written; None: its connection is cut instead."""
        ...


@dataclass(slots=True)
class Stalling:
    """Takes `service` seconds, but from `first` on, and `every` so many seconds again, stands still for `stall`."""

    service: float
    stall: float
    first: float
    every: float = math.inf

    def leaving(self, arrival: float) -> float:
        since = arrival - self.first
        into = since % self.every if since >= 0 else math.inf
        return arrival + max(0.0, self.stall - into) + self.service


@dataclass(slots=True)
class Queue:
    """One server, first come first served, with exponential service times of a mean: M/M/1 where arrivals are random."""

    mean: float
    seed: int = 1
    free: float = 0.0
    """When the last one that came will have left."""
    times: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.times = random.Random(self.seed)

    def leaving(self, arrival: float) -> float:
        self.free = max(self.free, arrival) + self.times.expovariate(1 / self.mean)
        return self.free


@dataclass(slots=True)
class Mixture:
    """Takes `slow` seconds for a share of the requests, spread as evenly as can be, and `fast` for the others."""

    share: float
    fast: float
    slow: float
    owed: float = 0.5

    def leaving(self, arrival: float) -> float:
        self.owed += self.share
        if self.owed < 1:
            return arrival + self.fast
        self.owed -= 1
        return arrival + self.slow


@dataclass(slots=True)
class Refusing:
    """Takes `service` seconds, until at `after` it cuts every connection that asks for anything."""

    service: float
    after: float

    def leaving(self, arrival: float) -> float | None:
        return arrival + self.service if arrival < self.after else None


@dataclass(frozen=True, slots=True)
class Log:
    """What a server did, told by itself."""

    arrivals: Floats
    """When the bytes of each request came, in Unix seconds; shape (n,), as the next."""
    durations: Floats
    """Seconds from then until its answer was written."""
    lags: Floats
    """How late the server's own event loop woke, in seconds, a hundred times a second."""


@dataclass(slots=True)
class Server:
    """One that is listening."""

    base: str
    _ear: "Connection[str, object]"

    def log(self) -> Log:
        """What it has done so far."""
        self._ear.send("log")
        if not self._ear.poll(_PATIENCE):
            raise TimeoutError("the server says nothing")
        log = self._ear.recv()
        assert isinstance(log, Log)
        return log


@contextmanager
def serving(behaviour: Behaviour) -> Iterator[Server]:
    """A server in a process of its own; it ends with this one, however that ends."""
    context = multiprocessing.get_context("spawn")
    ours, its = context.Pipe()
    process = context.Process(target=_serve, args=(behaviour, its), daemon=True)
    process.start()
    its.close()
    try:
        if not ours.poll(_PATIENCE):
            raise TimeoutError("the server did not start")
        yield Server(f"http://127.0.0.1:{ours.recv()}", ours)
    finally:
        ours.close()
        process.join(_PATIENCE)


def _serve(behaviour: Behaviour, ear: "Connection[object, str]") -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_Service(behaviour).listen(ear))


class _Service:
    """The server's own process: all its connections, its timers and its log."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.clock = MonotonicClock()
        self.origin = math.nan
        self.arrivals: list[float] = []
        self.durations: list[float] = []
        self.lags: list[float] = []
        self.pacer: Pacer

    async def listen(self, ear: "Connection[object, str]") -> None:
        """Serve until the other end of `ear` closes; "log" is answered with the log."""
        self.pacer = Pacer(self.clock, BEST_ALARM)
        loop, is_over = asyncio.get_running_loop(), asyncio.Event()

        def hear() -> None:
            try:
                ear.recv()
            except EOFError:
                loop.remove_reader(ear.fileno())
                is_over.set()
            else:
                arrivals = np.array([self.clock.unix(moment) for moment in self.arrivals])
                os.set_blocking(ear.fileno(), True)  # the loop undid it, and a log is more than a pipe holds
                ear.send(Log(arrivals, np.array(self.durations), np.array(self.lags)))

        loop.add_reader(ear.fileno(), hear)
        listener = await loop.create_server(lambda: _Connection(self), "127.0.0.1", 0, backlog=1024)
        ear.send(listener.sockets[0].getsockname()[1])
        watch = asyncio.create_task(self._watch())
        await is_over.wait()
        watch.cancel()
        listener.close()

    async def _watch(self) -> None:
        while True:
            due = self.clock.now() + _TICK
            await self.pacer.until(due)
            self.lags.append(self.clock.now() - due)

    def asked(self, transport: asyncio.Transport) -> None:
        """A request for `WORK` has come."""
        now = self.clock.now()
        if math.isnan(self.origin):
            self.origin = now
        leaving = self.behaviour.leaving(now - self.origin)
        if leaving is None:
            transport.abort()
            return
        due = self.pacer.until(self.origin + leaving)
        due.add_done_callback(partial(self._answer, transport, now))

    def _answer(self, transport: asyncio.Transport, arrival: float, _due: "asyncio.Future[None]") -> None:
        if transport.is_closing():  # whoever asked has not waited
            return
        transport.write(_ANSWER)
        self.arrivals.append(arrival)
        self.durations.append(self.clock.now() - arrival)


class _Connection(asyncio.Protocol):
    """Reads requests without a body, one at a time."""

    def __init__(self, service: _Service) -> None:
        self._service = service
        self._read = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._read += data
        if self._read.endswith(b"\r\n\r\n"):
            if self._read.startswith(f"GET {WORK} ".encode()):
                self._service.asked(self._transport)
            else:
                self._transport.write(_ANSWER)
            self._read = b""
