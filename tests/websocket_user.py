"""A user with a WebSocket client, a server on loopback for it, and what the user's load recorded."""

import asyncio
import gc
import time
from contextlib import asynccontextmanager

import uvloop
from websockets.asyncio.server import serve

from loadkit.clock import MonotonicClock
from loadkit.drivers.websocket.driver import WebSocketDriver
from loadkit.recording.recorder import Recorder, Report
from loadkit.recording.slices import SliceTable, label_series
from loadkit.recording.timing import Timing
from loadkit.target import Account, Address, Target
from loadkit.users.pacer import LoopAlarm, Pacer
from loadkit.users.user import User, WorkerContext
from loadkit.workload.workload import MixEntry
from tests.virtual_time import plan_of


class Meeting:
    """A user, and what was recorded of it."""

    def __init__(self, address: str, account: Account | None = None, **how):
        self.clock = MonotonicClock()
        self.driver = WebSocketDriver(Target("t", "http://127.0.0.1:1", Address(address), **how))
        self.origin = self.clock.now()
        self.recorder = Recorder(0, self.origin)
        self.pacer = Pacer(self.clock, LoopAlarm)
        self._context = WorkerContext(
            plan_of(timeout=5.0), self.clock, (self.driver,), self.recorder, self.pacer, "run-7"
        )
        self.account = account
        """That of its users."""
        self.users: list[User] = []
        self.user = self.add_user()
        self.report: Report | None = None

    def add_user(self) -> User:
        user = User(len(self.users), MixEntry("m:f", 1.0), self.account, self._context)
        user.meter.start(self.clock.now(), float("inf"))
        self.users.append(user)
        return user

    def finish(self) -> None:
        for user in self.users:
            user.close()
        self.report = self.recorder.report(self.driver.gauges())

    def outcomes(self, timing: Timing) -> dict[str, int]:
        """How many samples of a timing had each outcome."""
        table: SliceTable = self.report.table
        series = [label_series(label, timing) for label in table.labels(timing)]
        _, outcome, sums = table.totals(series, 0, 1 << 22)
        found: dict[str, int] = {}
        for number, row in zip(outcome, sums, strict=True):
            name = table.outcomes[number]
            found[name] = found.get(name, 0) + int(row[0])
        return found

    def total(self, timing: Timing) -> float:
        """The sum of a timing's seconds."""
        table = self.report.table
        series = [label_series(label, timing) for label in table.labels(timing)]
        return float(table.totals(series, 0, 1 << 22)[2][:, 1].sum())

    def count(self, name: str) -> int:
        return self.report.worker_second.count(name)

    def gauge(self, name: str) -> float:
        return self.report.worker_second.gauge(name)


@asynccontextmanager
async def served_by(handler, **how):
    """A server of `websockets` that treats each connection with `handler`; gives its address."""
    how.setdefault("ping_interval", None)
    async with serve(handler, "127.0.0.1", 0, **how) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"{'wss' if 'ssl' in how else 'ws'}://{'localhost' if 'ssl' in how else '127.0.0.1'}:{port}"


async def until(holds, seconds: float = 10.0) -> None:
    """Wait until something holds, and fail if it never does."""
    last = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < last, "it never came to hold"
        await asyncio.sleep(0.005)


def run(main, seconds: float = 30.0):
    """Run a coroutine on the loop of a worker; no error in a callback passes unseen."""
    errors = []

    async def watched():
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: errors.append(context))
        return await asyncio.wait_for(main, seconds)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        result = runner.run(watched())
        gc.collect()
    assert errors == []
    return result


def met(handler, use, **how) -> Meeting:
    """Have a user use its client against a server, close it, and see that no socket is left."""
    target = how.pop("target", {})

    async def main():
        async with served_by(handler, **how) as address:
            meeting = Meeting(address, **target)
            await meeting.driver.open()
            await use(meeting)
            meeting.finish()
            await until(lambda: meeting.driver.sockets == 0)
            return meeting

    return run(main())
