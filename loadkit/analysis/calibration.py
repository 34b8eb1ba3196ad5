"""Calibration of a machine: increase the rate of a load until the load generator is overloaded.

A result is only valid if the machine could generate and measure the load. The load goes to a
trivial server on loopback in its own process. This server shares the cores of the machine, as a
local service does.
"""

import asyncio
import math
import multiprocessing
import resource
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path
from typing import cast

import uvloop

from loadkit.engine.run import Progress, run
from loadkit.engine.worker import SPARE_FILES
from loadkit.errors import UnreachableError
from loadkit.judging.evidence import Evidence
from loadkit.recording.health_bounds import CPU, LATENESS, LOOP_LAG
from loadkit.recording.histogram import quantile_of
from loadkit.recording.run import Run
from loadkit.recording.sample import OK
from loadkit.target import Target
from loadkit.workload.plan import Plan
from loadkit.workload.workload import MixEntry, Model, Stage, Think, Workload

__all__ = ["LEVELS", "LIMIT", "Climb", "Clock", "Step", "climb", "clock", "files_allowed", "trivial_server"]

LEVELS = tuple(float(round(2000 * 2 ** (step / 2), -2)) for step in range(11))
"""Requests per second, each √2 times the previous one: 2000, 2800, 4000 … 64 000."""
LIMIT = 0.1
"""Time limit in seconds for which the health of the generator is checked."""
_MIN_SUCCESS_RATIO = 0.98
"""Minimum ratio of successes to due requests; below it, the server was overloaded."""
_MAX_OVERLOADED_REPORTS = 2
"""Successive reports of an overloaded generator that end a climb. Another program may cause one."""
_START_TIMEOUT = 20.0
"""Seconds that the trivial server may take to start, and to stop."""
_RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@dataclass(frozen=True, slots=True)
class Step:
    """The result of one level of a climb."""

    rate: float
    """Requests per second that were due."""
    answered: float
    """Requests per second that succeeded."""
    cpu: float
    """Ratio of a core used by the busiest worker."""
    lag: float
    """Event-loop lag, 99th percentile, in seconds."""
    lateness: float
    """Lateness of the requests, 99th percentile, in seconds."""
    response: float | None
    """Response time of the trivial server, 99th percentile, in seconds; None if it is a failure."""
    health: str
    """Health of the generator: "ok", "warn", or "invalid" if the measurements are not usable."""
    reasons: tuple[str, ...]
    """Reasons of a health other than "ok"."""

    @property
    def shortest_limit(self) -> float:
        """The shortest time limit in seconds without a warning of lateness at this level."""
        return self.lateness / LATENESS.warns.of_limit


@dataclass(frozen=True, slots=True)
class Climb:
    """A load that increased level by level."""

    workers: int
    steps: tuple[Step, ...]

    @property
    def best(self) -> Step | None:
        """The highest level in good health, which shows that the machine can generate it."""
        return next((step for step in reversed(self.steps) if step.health == "ok"), None)

    @property
    def usable(self) -> Step | None:
        """The highest level with usable measurements, with or without a warning."""
        return next((step for step in reversed(self.steps) if step.health != "invalid"), None)

    def above(self, step: Step) -> Step | None:
        """The next higher level; None if it was not reached."""
        return next((other for other in self.steps if other.rate > step.rate), None)

    def users(self, files: float) -> int:
        """The number of users with the default think time that `usable` supports.

        Args:
            files: maximum number of open files per worker.

        """
        if self.usable is None:
            return 0
        connections = self.workers * max(files - SPARE_FILES, 0.0)
        return int(min(self.usable.rate * Think().mean, connections))


def climb(base: str, workers: int, seconds: float, *, root: Path, levels: Sequence[float] = LEVELS) -> Climb:
    """Increase the load on a server until the load generator is overloaded.

    Args:
        base: base URL of the server.
        workers: number of load processes.
        seconds: duration of each level, two seconds or more.
        root: folder of the project.
        levels: requests per second, in increasing order.

    Raises:
        UnreachableError: the server does not answer.

    """
    stages = [stage for level in levels for stage in (Stage(0.0, level), Stage(seconds, level))]
    mix = (MixEntry("loadkit.journey:fetch", 1.0),)
    workload = Workload(Model.REQUESTS, tuple(stages), mix)
    plan = Plan.of("calibration", workload, drain=1.0, cache="as it is")
    is_overloaded, overloaded_reports = threading.Event(), 0

    def watch(progress: Progress) -> None:
        nonlocal overloaded_reports
        overloaded_reports = 0 if progress.health == OK else overloaded_reports + 1
        if overloaded_reports == _MAX_OVERLOADED_REPORTS:
            is_overloaded.set()

    done = run(plan, Target("calibration", base), root=root, workers=workers, watch=watch, stop=is_overloaded)
    return Climb(workers, tuple(_steps(done)))


def _steps(done: Run) -> Iterator[Step]:
    evidence = Evidence(done)
    for phase in done.plan.workload.phases():
        window = evidence.window_of(phase.name)
        if window is None:
            return
        state = evidence.health(window, LIMIT)
        traffic = evidence.traffic(window=window)
        answered = float(traffic.completed.sum()) / window.seconds
        status, reasons = state.status, state.reasons
        if answered < _MIN_SUCCESS_RATIO * traffic.size / window.seconds:
            status, reasons = "invalid", (*reasons, "the local server was overloaded")
        yield Step(
            rate=phase.level,
            answered=answered,
            cpu=state.figures[CPU.name],
            lag=state.figures[LOOP_LAG.name],
            lateness=state.figures[LATENESS.name],
            response=quantile_of(traffic.histogram(), 0.99),
            health=status,
            reasons=reasons,
        )


@dataclass(frozen=True, slots=True)
class Clock:
    """Precision of the monotonic clock of this machine, in seconds."""

    resolution: float
    """Resolution that the system reports."""
    step: float
    """Smallest measured difference between two readings."""


def clock() -> Clock:
    """Measure the precision of the monotonic clock with ten thousand readings."""
    readings = [time.monotonic() for _ in range(10_000)]
    steps = [later - earlier for earlier, later in pairwise(readings) if later > earlier]
    return Clock(time.get_clock_info("monotonic").resolution, min(steps))


def files_allowed() -> float:
    """Maximum number of file descriptors of a worker, with connections; infinite if unlimited."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return math.inf if hard == resource.RLIM_INFINITY else float(hard)


# --- the server


@contextmanager
def trivial_server() -> Iterator[str]:
    """Start a server in its own process that answers every request with ``{}``; yield its base URL.

    Raises:
        UnreachableError: the server did not start.

    """
    context = multiprocessing.get_context("spawn")
    parent_end, child_end = context.Pipe()
    process = context.Process(target=_serve, args=(child_end,), daemon=True)
    process.start()
    child_end.close()
    try:
        if not parent_end.poll(_START_TIMEOUT):
            raise UnreachableError("the local server did not start")
        yield f"http://127.0.0.1:{parent_end.recv()}"
    finally:
        parent_end.close()
        process.join(_START_TIMEOUT)


def _serve(connection: "Connection[int, object]") -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve_until_closed(connection))


async def _serve_until_closed(connection: "Connection[int, object]") -> None:
    """Send the server's port, and serve until the other process closes the connection or ends."""
    loop, is_over = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(connection.fileno(), is_over.set)
    listener = await loop.create_server(_Responder, "127.0.0.1", 0, backlog=4096)
    connection.send(listener.sockets[0].getsockname()[1])
    await is_over.wait()
    loop.remove_reader(connection.fileno())
    listener.close()


class _Responder(asyncio.Protocol):
    """Answers each request. The requests have no body, and arrive whole and one at a time."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:  # noqa: ARG002  every request gets the same response
        self._transport.write(_RESPONSE)
