"""What this machine can generate: a load whose rate increases until the generator is overloaded.

Before a figure is believed, it should be known whether the machine that it comes from could have seen it. The load goes
to a trivial server on loopback, in a process of its own, which shares the machine's cores as a local service would.
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
"""Requests per second, each √2 times the one before: 2000, 2800, 4000 … 64 000."""
LIMIT = 0.1
"""Seconds: the generator must be well enough to judge a response time against this."""
_ANSWERED = 0.98
"""Below this share of what was asked, the server could no more."""
_ILL_REPORTS = 2
"""Reports of an overloaded generator in a row that end a climb: one alone may be another program's doing."""
_PATIENCE = 20.0
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@dataclass(frozen=True, slots=True)
class Step:
    """One level of a climb, as it went."""

    rate: float
    """Requests per second that were to arrive."""
    answered: float
    """Requests per second that succeeded."""
    cpu: float
    """Ratio of a core that the busiest worker used."""
    lag: float
    """Event-loop lag, 99th percentile, in seconds."""
    lateness: float
    """How late requests were sent, 99th percentile, in seconds."""
    response: float | None
    """Response time of the trivial server, 99th percentile, in seconds; None above every time."""
    health: str
    """The generator's: "ok", "warn", or "invalid" where what was measured could not be believed."""
    reasons: tuple[str, ...]
    """Why it was not ok."""

    @property
    def shortest_limit(self) -> float:
        """The shortest time limit, in seconds, that is judged at this level without a warning of lateness."""
        return self.lateness / LATENESS.warns.of_limit


@dataclass(frozen=True, slots=True)
class Climb:
    """A load that rose level by level."""

    workers: int
    steps: tuple[Step, ...]

    @property
    def best(self) -> Step | None:
        """The highest level in good health: what went well once, the machine can do."""
        return next((step for step in reversed(self.steps) if step.health == "ok"), None)

    @property
    def usable(self) -> Step | None:
        """The highest level that could be believed, be it with a warning."""
        return next((step for step in reversed(self.steps) if step.health != "invalid"), None)

    def above(self, step: Step) -> Step | None:
        """The next level; None where the climb did not come so far."""
        return next((other for other in self.steps if other.rate > step.rate), None)

    def users(self, files: float) -> int:
        """How many users at the usual pace `usable` is worth, where each worker may have so many files open."""
        if self.usable is None:
            return 0
        connections = self.workers * max(files - SPARE_FILES, 0.0)
        return int(min(self.usable.rate * Think().mean, connections))


def climb(base: str, workers: int, seconds: float, *, root: Path, levels: Sequence[float] = LEVELS) -> Climb:
    """Put rising loads on the server at `base`, `seconds` (two or more) at each level, until the generator is overloaded.

    Raises:
        UnreachableError: nobody answers there.

    """
    stages = [stage for level in levels for stage in (Stage(0.0, level), Stage(seconds, level))]
    mix = (MixEntry("loadkit.journey:fetch", 1.0),)
    workload = Workload(Model.REQUESTS, tuple(stages), mix)
    plan = Plan.of("calibration", workload, drain=1.0, cache="as it is")
    is_enough, ill = threading.Event(), 0

    def watch(progress: Progress) -> None:
        nonlocal ill
        ill = 0 if progress.health == OK else ill + 1
        if ill == _ILL_REPORTS:
            is_enough.set()

    done = run(plan, Target("calibration", base), root=root, workers=workers, watch=watch, stop=is_enough)
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
        if answered < _ANSWERED * traffic.size / window.seconds:
            status, reasons = "invalid", (*reasons, "the local server could not answer more")
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
    """How finely this machine tells time; both in seconds."""

    resolution: float
    """As the system says."""
    step: float
    """The smallest difference that was seen between two readings."""


def clock() -> Clock:
    """Read the monotonic clock ten thousand times."""
    readings = [time.monotonic() for _ in range(10_000)]
    steps = [later - earlier for earlier, later in pairwise(readings) if later > earlier]
    return Clock(time.get_clock_info("monotonic").resolution, min(steps))


def files_allowed() -> float:
    """How many files, connections among them, one worker may have open; infinite where there is no limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return math.inf if hard == resource.RLIM_INFINITY else float(hard)


# --- the server


@contextmanager
def trivial_server() -> Iterator[str]:
    """A server that says ``{}`` to everything, in a process of its own; yields its address.

    Raises:
        UnreachableError: it did not start.

    """
    context = multiprocessing.get_context("spawn")
    ours, its = context.Pipe()
    process = context.Process(target=_serve, args=(its,), daemon=True)
    process.start()
    its.close()
    try:
        if not ours.poll(_PATIENCE):
            raise UnreachableError("the local server did not start")
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        ours.close()
        process.join(_PATIENCE)


def _serve(ear: "Connection[int, object]") -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve_until_closed(ear))


async def _serve_until_closed(ear: "Connection[int, object]") -> None:
    """Serve as long as the process at the other end of `ear` lives and has not closed it."""
    loop, is_over = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(ear.fileno(), is_over.set)
    listener = await loop.create_server(_Answers, "127.0.0.1", 0, backlog=4096)
    ear.send(listener.sockets[0].getsockname()[1])
    await is_over.wait()
    loop.remove_reader(ear.fileno())
    listener.close()


class _Answers(asyncio.Protocol):
    """Answers each request; they have no body, and come whole and one at a time."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:  # noqa: ARG002  whatever it says
        self._transport.write(_ANSWER)
