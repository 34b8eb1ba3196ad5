"""The faults of the database, which the supervisor carries out as the database's owner.

Each fault is a class. It is created with its parameters; `begin` switches it on, and `end` restores
the database. `restore` undoes what a killed environment left behind.
"""

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import asyncpg

from environments.local.errors import LocalError
from environments.local.service.fault import SEEDED_TENANTS

Tell = Callable[[str], None]

_RETRY_SECONDS = 1.0
_LONGEST_DELAY = 0.1
"""Seconds: the limit of PostgreSQL's commit_delay."""


class DatabaseFault:
    """A fault of the database. The statements in `undo` have no effect if the fault was not on."""

    undo: ClassVar[tuple[str, ...]] = ()

    def __init__(self, dsn: str, tell: Tell) -> None:
        self._dsn = dsn
        self._tell = tell

    async def begin(self) -> None:
        """Switch the fault on."""

    async def end(self) -> None:
        """Restore the database."""
        await self._execute(*self.undo)

    def abandon(self) -> None:
        """Stop the fault's work in this process, because the database is about to stop."""

    async def _execute(self, *statements: str) -> None:
        connection = await asyncpg.connect(self._dsn, ssl=False)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()


class Background(DatabaseFault, ABC):
    """A fault that works on its own connections until it ends."""

    _task: asyncio.Task[None] | None = None
    _is_ending = False

    async def begin(self) -> None:
        """Start the work."""
        self._task = asyncio.create_task(self._work_on())

    async def end(self) -> None:
        """Stop the work, which ends its transactions, and restore the database."""
        self.abandon()
        if self._task is not None:
            await asyncio.wait([self._task])
        await super().end()

    def abandon(self) -> None:
        """Stop the work."""
        self._is_ending = True
        if self._task is not None:
            self._task.cancel()

    async def _work_on(self) -> None:
        """Run the work; after an error, log it and start again."""
        # Without the flag, the error of a lost connection could hide the cancellation of the task.
        while not self._is_ending:
            try:
                await self._work()
            except* (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as errors:
                self._tell(f"fault {type(self).__name__}: {errors.exceptions[0]}")
            if not self._is_ending:
                await asyncio.sleep(_RETRY_SECONDS)

    @abstractmethod
    async def _work(self) -> None:
        """Disturb the database until the task is cancelled."""


class MissingIndex(DatabaseFault):
    """The index of events by name does not exist."""

    undo = ("CALL index_events_by_name()",)

    async def begin(self) -> None:
        """Drop the index."""
        await self._execute("DROP INDEX IF EXISTS metric_events_by_name")


class ShareFault(DatabaseFault):
    """A fault that affects a share of the events, or of their reads."""

    def __init__(self, dsn: str, tell: Tell, share: float) -> None:
        super().__init__(dsn, tell)
        self._share = share


class WritesDropped(ShareFault):
    """A share of the events is acknowledged and not stored."""

    undo = ("DROP FUNCTION IF EXISTS fault_drop_write() CASCADE",)

    async def begin(self) -> None:
        """Create a trigger that drops rows of all writers."""
        await self._execute(f"""
            CREATE FUNCTION fault_drop_write() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
            CREATE TRIGGER fault_drop_write BEFORE INSERT ON metric_events FOR EACH ROW
                WHEN (random() < {self._share}) EXECUTE FUNCTION fault_drop_write()
        """)


class WritesDoubled(ShareFault):
    """A share of the events is stored twice, with the same id, a microsecond apart."""

    undo = ("DROP FUNCTION IF EXISTS fault_double_write() CASCADE",)

    async def begin(self) -> None:
        """Create a trigger that stores rows of all writers again."""
        await self._execute("""
            CREATE FUNCTION fault_double_write() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                INSERT INTO metric_events (id, tenant_id, session_id, name, value, time, run_id)
                    VALUES (NEW.id, NEW.tenant_id, NEW.session_id, NEW.name, NEW.value,
                        NEW.time + interval '1 microsecond', NEW.run_id);
                RETURN NULL;
            END $$
        """)
        # At depth 0 the row is from a writer. The row of this trigger has a greater depth.
        await self._execute(f"""
            CREATE TRIGGER fault_double_write AFTER INSERT ON metric_events FOR EACH ROW
                WHEN (pg_trigger_depth() = 0 AND random() < {self._share})
                EXECUTE FUNCTION fault_double_write()
        """)


class WritesMisplaced(ShareFault):
    """A share of the events is stored under the next tenant, as if the service used a wrong one."""

    undo = (
        "DROP FUNCTION IF EXISTS fault_misplace_write() CASCADE",
        "ALTER POLICY own_tenant ON metric_events WITH CHECK (tenant_id = api.tenant())",
    )

    async def begin(self) -> None:
        """Create a trigger that changes the tenant of rows; let the write policy accept them."""
        await self._execute(f"""
            CREATE FUNCTION fault_misplace_write() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                NEW.tenant_id := NEW.tenant_id % {SEEDED_TENANTS} + 1;
                RETURN NEW;
            END $$;
            ALTER POLICY own_tenant ON metric_events WITH CHECK (true);
            CREATE TRIGGER fault_misplace_write BEFORE INSERT ON metric_events FOR EACH ROW
                WHEN (pg_trigger_depth() = 0 AND random() < {self._share})
                EXECUTE FUNCTION fault_misplace_write()
        """)


class ForeignRows(ShareFault):
    """A share of the reads of events gets the rows of another tenant."""

    undo = (
        "ALTER POLICY own_tenant ON metric_events USING (tenant_id = api.tenant())",
        "DROP FUNCTION IF EXISTS api.fault_tenant()",
    )

    async def begin(self) -> None:
        """Let the read policy use another tenant for a share of reads; keep the write policy."""
        # The policy remains one comparison with a stable function, so the plans remain the same.
        # The function is called once for each scan of an index.
        await self._execute(f"""
            CREATE FUNCTION api.fault_tenant() RETURNS integer LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
            BEGIN
                RETURN CASE WHEN random() < {self._share} THEN api.tenant() % {SEEDED_TENANTS} + 1
                    ELSE api.tenant() END;
            END $$;
            ALTER POLICY own_tenant ON metric_events USING (tenant_id = api.fault_tenant())
        """)


class LockHeld(Background):
    """A transaction holds a lock for `seconds` in each `period`; writers of events wait for it."""

    def __init__(self, dsn: str, tell: Tell, seconds: float, period: float) -> None:
        super().__init__(dsn, tell)
        self._seconds, self._period = seconds, period

    async def _work(self) -> None:
        connection = await asyncpg.connect(self._dsn, ssl=False)
        try:
            while True:
                async with connection.transaction():
                    # Readers do not wait for this lock.
                    await connection.execute("LOCK TABLE metric_events IN SHARE ROW EXCLUSIVE MODE")
                    # The server sleeps, so a lost connection is noticed immediately.
                    await connection.execute(f"SELECT pg_sleep({self._seconds})")
                await asyncio.sleep(max(0.0, self._period - self._seconds))
        finally:
            await connection.close()


class Deadlocks(Background):
    """Two of the fault's sessions deadlock every `every` seconds; the server aborts one."""

    def __init__(self, dsn: str, tell: Tell, every: float) -> None:
        super().__init__(dsn, tell)
        self._every = every

    async def _work(self) -> None:
        settings = {"deadlock_timeout": "100ms"}
        one = await asyncpg.connect(self._dsn, ssl=False, server_settings=settings)
        try:
            two = await asyncpg.connect(self._dsn, ssl=False, server_settings=settings)
            try:
                while True:
                    await self._deadlock(one, two)
                    await asyncio.sleep(self._every)
            finally:
                await two.close()
        finally:
            await one.close()

    @staticmethod
    async def _deadlock(one: Any, two: Any) -> None:
        barrier = asyncio.Barrier(2)

        async def lock(connection: Any, first: int, second: int) -> None:
            with contextlib.suppress(asyncpg.DeadlockDetectedError):
                async with connection.transaction():
                    await connection.execute(f"SELECT pg_advisory_xact_lock({first})")
                    await barrier.wait()
                    await connection.execute(f"SELECT pg_advisory_xact_lock({second})")

        async with asyncio.TaskGroup() as group:
            group.create_task(lock(one, 1, 2))
            group.create_task(lock(two, 2, 1))


class AutovacuumOff(Background):
    """The table of the dashboard's sums gets `rate` dead rows per second, and none is removed.

    Autovacuum is off for this table, and a forgotten transaction prevents the removal of old rows.
    """

    undo = (
        # Rewrites the table and its index as the seeding wrote them.
        """
        DO $$ BEGIN
            IF EXISTS (SELECT FROM pg_class WHERE oid = 'rollup'::regclass
                AND 'autovacuum_enabled=false' = ANY (reloptions))
            THEN
                ALTER TABLE rollup RESET (autovacuum_enabled);
                CLUSTER rollup USING rollup_pkey;
                ALTER TABLE rollup SET WITHOUT CLUSTER;
                ANALYZE rollup;
            END IF;
        END $$
        """,
    )

    def __init__(self, dsn: str, tell: Tell, rate: float) -> None:
        super().__init__(dsn, tell)
        self._rate = rate

    async def begin(self) -> None:
        """Switch autovacuum off for the table, and start the updates."""
        await self._execute("ALTER TABLE rollup SET (autovacuum_enabled = false)")
        await super().begin()

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        forgotten = await asyncpg.connect(self._dsn, ssl=False)
        try:
            await forgotten.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM rollup LIMIT 1")
            writer = await asyncpg.connect(self._dsn, ssl=False)
            try:
                day, due = 0, loop.time()
                while True:
                    async with writer.transaction():
                        # The service's refresh of the sums skips its turn while this lock is held,
                        # so no deadlock occurs.
                        await writer.execute("SELECT pg_advisory_xact_lock(hashtext('api.refresh_rollup'))")
                        done = await writer.execute(
                            "UPDATE rollup SET total = total WHERE day = current_date - $1::integer", day
                        )
                    day = (day + 1) % 31
                    due = max(due, loop.time() - 1.0) + int(done.split()[1]) / self._rate
                    await asyncio.sleep(max(0.001, due - loop.time()))
            finally:
                await writer.close()
        finally:
            await forgotten.close()


class SlowDisk(DatabaseFault):
    """Commits wait until the write-ahead log is on disk, and each flush takes `delay` s longer.

    As on a slow disk, only one flush runs at a time, and waiting commits share the next one. Reads
    stay fast.
    """

    undo = (
        "ALTER SYSTEM SET synchronous_commit = off",
        "ALTER SYSTEM RESET commit_delay",
        "ALTER SYSTEM RESET commit_siblings",
        "SELECT pg_reload_conf()",
    )

    def __init__(self, dsn: str, tell: Tell, delay: float) -> None:
        super().__init__(dsn, tell)
        if not 0.0 <= delay <= _LONGEST_DELAY:
            raise LocalError(f"delay={delay:g}: expected 0 to {_LONGEST_DELAY:g} seconds, such as delay=0.05")
        self._delay = delay

    async def begin(self) -> None:
        """Make the commits of the server slow, also on open connections."""
        await self._execute(
            "ALTER SYSTEM SET synchronous_commit = on",
            f"ALTER SYSTEM SET commit_delay = {round(self._delay * 1e6)}",  # microseconds
            "ALTER SYSTEM SET commit_siblings = 0",  # also if no other transaction is open
            "SELECT pg_reload_conf()",
        )


DATABASE_FAULTS: dict[str, type[DatabaseFault]] = {
    "missing-index": MissingIndex,
    "writes-dropped": WritesDropped,
    "writes-doubled": WritesDoubled,
    "writes-misplaced": WritesMisplaced,
    "foreign-rows": ForeignRows,
    "lock-held": LockHeld,
    "deadlocks": Deadlocks,
    "autovacuum-off": AutovacuumOff,
    "slow-disk": SlowDisk,
}


async def restore(connection: Any) -> None:
    """Undo the faults of an environment that was killed."""
    for fault in DATABASE_FAULTS.values():
        if fault is not SlowDisk:  # each start writes its settings again
            for statement in fault.undo:
                await connection.execute(statement)
