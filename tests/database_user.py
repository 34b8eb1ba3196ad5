"""A user with a client of PostgreSQL, and what the user's load recorded."""

import asyncio
import math
from pathlib import Path

from loadkit.clock import MonotonicClock
from loadkit.drivers.postgres.driver import PostgresDriver
from loadkit.recording.recorder import Recorder, Report
from loadkit.recording.slices import label_series
from loadkit.recording.timing import QUERY, Timing
from loadkit.target import Account, Address, DatabaseUse, Secret, Target
from loadkit.users.pacer import LoopAlarm, Pacer
from loadkit.users.user import User, WorkerContext
from loadkit.workload.workload import MixEntry
from tests.postgres_server import LOCKED, PostgresServer
from tests.virtual_time import plan_of
from tests.websocket_user import run, until

GUARD = 60.0
"""Seconds that anything may take that a test does not want to take long."""


class Visit:
    """Users of one driver, and what was recorded of them."""

    def __init__(
        self, dsn: str, *, timeout: float = GUARD, tenant: str = "3", setting: str = "app.tenant", **use
    ) -> None:
        self.clock = MonotonicClock()
        use["tenant"] = setting
        self.driver = PostgresDriver(
            Target("t", "http://127.0.0.1:1", database=Address(dsn), database_use=DatabaseUse(**use))
        )
        self.recorder = Recorder(0, self.clock.now())
        self.pacer = Pacer(self.clock, LoopAlarm)
        self._context = WorkerContext(
            plan_of(timeout=timeout), self.clock, (self.driver,), self.recorder, self.pacer, "run-7"
        )
        self.users: list[User] = []
        self.user = self.add_user(tenant)
        self.report: Report | None = None

    def add_user(self, tenant: str = "3") -> User:
        account = Account("ann", Secret(""), tenant)
        user = User(len(self.users), MixEntry("m:f", 1.0), account, self._context)
        user.meter.start(self.clock.now(), math.inf)
        self.users.append(user)
        return user

    @property
    def db(self):
        return self.user.db

    async def finish(self) -> None:
        for user in self.users:
            user.close()
        gauges = self.driver.gauges()
        await self.driver.close()
        self.report = self.recorder.report(gauges)
        self.pacer.close()

    def outcomes(self, timing: Timing = QUERY) -> dict[str, dict[str, int]]:
        """By label: how many samples of a timing had each outcome."""
        table = self.report.table
        found: dict[str, dict[str, int]] = {}
        for label in table.labels(timing):
            _, outcome, sums = table.totals([label_series(label, timing)], 0, 1 << 22)
            for number, row in zip(outcome, sums, strict=True):
                named = found.setdefault(label, {})
                named[table.outcomes[number]] = named.get(table.outcomes[number], 0) + int(row[0])
        return found

    def seconds(self, timing: Timing, label: str) -> float:
        return float(self.report.table.totals([label_series(label, timing)], 0, 1 << 22)[2][:, 1].sum())

    def count(self, name: str) -> int:
        return self.report.worker_second.count(name)

    def gauge(self, name: str) -> float:
        return self.report.worker_second.gauge(name)


def visited(dsn: str, use, **how) -> Visit:
    """Have a user use its client, and close all."""

    async def main() -> Visit:
        visit = Visit(dsn, **how)
        await visit.driver.open()
        try:
            await use(visit)
        finally:
            await visit.finish()
        return visit

    return run(main(), 2 * GUARD)


async def waited(visit: Visit, server: PostgresServer) -> float:
    """Have a second user, the "waiter", wait for the "holder" of the only connection.

    Returns:
        Seconds that it waited at least.

    """
    other, pool = visit.add_user(), visit.driver.pool
    async with server.lock():
        holding = asyncio.create_task(visit.db.fetchval(LOCKED, label="holder"))
        await until(lambda: pool.in_use == 1, GUARD)
        waiting = asyncio.create_task(other.db.fetchval("SELECT 1", label="waiter"))
        await until(lambda: pool.waiting == 1, GUARD)
        began = visit.clock.now()
        await asyncio.sleep(0.1)
        seconds = visit.clock.now() - began
    await asyncio.gather(holding, waiting)
    return seconds


def queries_in(folder: Path, **texts: str) -> str:
    """A folder of queries, by the name of their file; its path."""
    for name, text in texts.items():
        (folder / f"{name}.sql").write_text(text)
    return str(folder)
