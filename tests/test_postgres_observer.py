"""What is seen of a PostgreSQL server during a load, by a role that may only read."""

import asyncio
import os
import signal
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import asyncpg
import numpy as np
import pytest

from loadkit.criterion import OTHERS_DATA
from loadkit.engine.observing import observe_database
from loadkit.engine.run import Progress, run
from loadkit.observers import postgres
from loadkit.observers.database import DEADLOCKS, MEASURES, WRITES, DatabaseFacts, WrittenRecord, WrongRecords
from loadkit.observers.postgres import DatabaseAccess, PostgresObserver
from loadkit.observers.stored_writes import Places, compare_writes
from loadkit.recording import archive
from loadkit.recording.writes import WriteLedger, Writes
from loadkit.target import Address, Target
from loadkit.units import Unit
from tests.local_environment import eventually
from tests.postgres_server import make_cluster, reserved_port, start_cluster
from tests.test_run import ROOT, service, short

SECRET = "SECRET-OF-THE-DATABASE"
GUARD = 60.0
"""Seconds that a server has to answer, or an observer to see something."""
SCHEMA = f"""
CREATE EXTENSION pg_stat_statements;
CREATE ROLE service LOGIN PASSWORD '{SECRET}';
CREATE ROLE watcher LOGIN PASSWORD '{SECRET}' BYPASSRLS;
CREATE ROLE blind LOGIN PASSWORD '{SECRET}';
GRANT pg_monitor TO watcher;
CREATE TABLE events (id uuid, tenant_id integer, name text, run_id text, note text) PARTITION BY LIST (tenant_id);
CREATE TABLE events_1 PARTITION OF events FOR VALUES IN (1);
CREATE TABLE events_2 PARTITION OF events FOR VALUES IN (2);
CREATE TABLE tenants (id integer PRIMARY KEY, name text);
INSERT INTO tenants VALUES (1, 'acme'), (2, 'globex');
INSERT INTO events SELECT gen_random_uuid(), 1, 'name ' || n % 500, 'old', repeat('x', 60) FROM generate_series(1, 20000) n;
CREATE INDEX ON events (tenant_id);
ALTER TABLE events ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON events USING (tenant_id = current_setting('app.tenant')::integer);
GRANT ALL ON events, tenants TO service;
GRANT SELECT ON events, tenants TO watcher;
ANALYZE;
"""


@dataclass(frozen=True)
class Query:
    name: str
    sql: str
    example: tuple = ()
    purpose: str = "a test"
    is_read: bool = True


BY_NAME = Query("events by name", "SELECT count(*) FROM events WHERE name = $1", ("name 7",))
TENANT = Query("tenant", "SELECT name FROM tenants WHERE id = $1", (1,))


class Server:
    def __init__(self, directory: Path, port: int) -> None:
        self.directory, self.data, self.port = directory, directory / "data", port
        self.process = None

    def dsn(self, role: str = "watcher", database: str = "postgres") -> Address:
        return Address(f"postgresql://{role}:{SECRET}@127.0.0.1:{self.port}/{database}")

    def start(self) -> None:
        self.process = start_cluster(self.directory, self.port, shared_preload_libraries="pg_stat_statements")
        assert eventually(self.answers, GUARD), (self.directory / "log").read_text()

    def answers(self) -> bool:
        try:
            self.execute("SELECT 1")
        except (OSError, asyncpg.PostgresError):
            return False
        return True

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        self.process.send_signal(how)
        self.process.wait(GUARD)

    def execute(self, *statements: str, role: str = "postgres") -> None:
        async def run() -> None:
            connection = await asyncpg.connect(self.dsn(role).reveal(), ssl=False)
            try:
                for each in statements:
                    await connection.execute(each)
            finally:
                await connection.close()

        asyncio.run(run())

    def access(self, **changes) -> DatabaseAccess:
        stated = {
            "observer": self.dsn(),
            "service": self.dsn("service"),
            "queries": (BY_NAME, TENANT),
            "tenant": "app.tenant",
            "example_tenant": "SELECT id FROM tenants WHERE name = 'acme'",
            "stored": "SELECT id FROM events WHERE run_id = $1",
        }
        return DatabaseAccess(**(stated | changes))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with reserved_port() as port:
        server = Server(tmp_path_factory.mktemp("postgres"), port)
        make_cluster(server.directory, SECRET)
        server.start()
        server.execute(SCHEMA)
        yield server
        server.stop()


def seen(observer: PostgresObserver, readings: int) -> bool:
    return eventually(lambda: len(observer._rows) >= readings, GUARD)


def insert(*ids: uuid.UUID, run: str = "r1") -> str:
    values = ", ".join(f"('{each}', 2, 'new', '{run}')" for each in ids)
    return f"INSERT INTO events (id, tenant_id, name, run_id) VALUES {values}"


def test_a_run_is_seen_with_its_statements_scans_plans_and_stored_rows(server: Server) -> None:
    ids = [uuid.uuid4() for _ in range(6)]
    kept, lost, twice, rejected, unknown, never = ids
    with PostgresObserver(server.access()) as observer:
        started = time.time()
        server.execute(
            "SET app.tenant = '2'",
            insert(kept, twice, twice, rejected, unknown),
            "SET app.tenant = '1'",
            "SELECT count(*) FROM events WHERE name = 'name 3'",
            "SELECT count(*) FROM events WHERE name = 'name 4'",
            role="service",
        )
        assert seen(observer, 3)
    writes = Writes.of_ids(
        b"".join(each.bytes for each in (kept, lost, twice)), rejected.bytes, unknown.bytes + never.bytes
    )
    facts = observer.facts("r1", started, time.time() - started, writes)
    assert (facts.problem, dict(facts.problems), facts.role, facts.restarts) == ("", {}, "watcher", ())
    statement = next(each for each in facts.statements if each.query == "events by name")
    assert (statement.calls, statement.rows) == (2, 2)
    assert 0 < statement.seconds <= facts.statement_seconds
    for records, wrong in (
        (facts.writes.lost, lost),
        (facts.writes.doubled, twice),
        (facts.writes.phantoms, rejected),
    ):
        assert records == WrongRecords(1, examples=(WrittenRecord(str(wrong)),))
    assert (facts.writes.stored, facts.writes.unknown, facts.writes.unknown_stored) == (5, 2, 1)
    assert (facts.count(WRITES), facts.count(f"{WRITES}: compared"), facts.count(DEADLOCKS)) == (3, 3, 0)
    by_name, tenant = facts.plans
    assert by_name.missing_indexes == ("events (tenant_id, name)",)
    assert any("Rows Removed by Filter: 19,960" in line for line in by_name.text)
    assert (by_name.is_by_index, tenant.is_by_index, facts.by_plan) == (False, True, 0.5)
    assert facts.by_scans < 1
    assert facts.wal_bytes > 0
    assert facts.checkpoints is not None
    found = observer.observations()
    for each in found.values():
        assert Unit(each.unit) in {Unit.NUMBER, Unit.RATIO}  # the units that reports can show
    assert {name for name, each in found.items() if each.problem} == set()
    assert all(len(each.series[0].times) >= 3 for each in found.values())
    assert SECRET not in f"{facts}{found}"


async def deadlock(server: Server) -> tuple[asyncpg.Connection, asyncpg.Connection]:
    """Two idle connections after a deadlock that PostgreSQL found soon."""
    first, second = [await asyncpg.connect(server.dsn("postgres").reveal(), ssl=False) for _ in range(2)]
    for each in (first, second):
        await each.execute("SET deadlock_timeout = '10ms'")
    for each, mine in ((first, 1), (second, 2)):
        await each.execute("BEGIN")
        await each.execute(f"UPDATE tenants SET name = name WHERE id = {mine}")
    outcomes = await asyncio.gather(
        first.execute("UPDATE tenants SET name = name WHERE id = 2"),
        second.execute("UPDATE tenants SET name = name WHERE id = 1"),
        return_exceptions=True,
    )
    assert any(isinstance(each, asyncpg.DeadlockDetectedError) for each in outcomes)
    for each in (first, second):
        await each.execute("ROLLBACK")
    return first, second


def test_a_deadlock_is_counted(server: Server) -> None:
    async def cross() -> None:
        for each in await deadlock(server):
            await each.close()

    with PostgresObserver(server.access(queries=())) as observer:
        started = time.time()
        asyncio.run(cross())
    facts = observer.facts("r2", started, 1.0, Writes.of_ids())
    assert facts.deadlocks == 1


@pytest.mark.slow
def test_a_deadlock_in_the_last_second_is_counted_if_deadlocks_are_awaited(server: Server) -> None:
    def found(*, awaits_deadlocks: bool) -> int | None:
        access = replace(server.access(queries=()), awaits_deadlocks=awaits_deadlocks)
        with asyncio.Runner() as runner:
            with PostgresObserver(access) as observer:
                started = time.time()
                connections = runner.run(deadlock(server))
            facts = observer.facts("r2", started, 1.0, Writes.of_ids())
            for each in connections:
                runner.run(each.close())
        return facts.deadlocks

    assert found(awaits_deadlocks=False) == 0, "an idle server process has not reported it yet"
    assert found(awaits_deadlocks=True) == 1


def test_deadlocks_that_cannot_be_awaited_are_not_known(server: Server, monkeypatch) -> None:
    monkeypatch.setattr("loadkit.observers.postgres._FLUSH", 0.0)
    access = replace(server.access(queries=()), awaits_deadlocks=True)
    with PostgresObserver(access) as observer:
        started = time.time()
    server.stop()
    try:
        facts = observer.facts("r2", started, 1.0, Writes.of_ids())
    finally:
        server.start()
    assert facts.deadlocks is None
    assert "deadlocks" in facts.problems
    assert facts.remark("deadlocks") == facts.problems["deadlocks"]


def test_after_a_restart_what_the_statistics_gained_is_not_known_and_later_seconds_are_seen(
    server: Server,
) -> None:
    with PostgresObserver(server.access(queries=())) as observer:
        started = time.time()
        assert seen(observer, 2)
        server.stop()
        server.start()
        before = len(observer._rows)
        assert seen(observer, before + 2)
    facts = observer.facts("r3", started, time.time() - started, Writes.of_ids())
    assert len(facts.restarts) == 1
    assert (facts.deadlocks, facts.statements) == (None, ())
    assert facts.problems["statistics"] == "PostgreSQL was restarted during the run"
    assert all(table.sequential_scans is None for table in facts.tables)


def test_after_a_crash_of_a_backend_what_the_statistics_gained_is_not_known(server: Server) -> None:
    async def crash() -> None:
        connection = await asyncpg.connect(server.dsn("postgres").reveal(), ssl=False)
        os.kill(await connection.fetchval("SELECT pg_backend_pid()"), signal.SIGKILL)
        connection.terminate()

    with PostgresObserver(server.access(queries=())) as observer:
        started = time.time()
        # So that the transactions after the crash are fewer.
        server.execute(*["SELECT 1"] * 500)
        assert seen(observer, 3)
        asyncio.run(crash())
        assert eventually(server.answers, GUARD)
        assert seen(observer, len(observer._rows) + 2)
    facts = observer.facts("r3", started, time.time() - started, Writes.of_ids())
    assert (facts.restarts, facts.deadlocks, facts.transactions, facts.statements) == ((), None, None, ())
    assert facts.problems["statistics"] == (
        "PostgreSQL discarded its statistics during the run, as it does after a crash"
    )
    assert all(table.sequential_scans is None for table in facts.tables)


@pytest.mark.parametrize("role", ["nobody", "watcher"])
def test_a_database_that_refuses_leaves_a_problem_without_the_password(server: Server, role: str) -> None:
    with PostgresObserver(
        server.access(observer=server.dsn(role, "nowhere"), service=Address(""))
    ) as observer:
        started = time.time()
    facts = observer.facts("r4", started, 1.0, Writes.of_ids(uuid.uuid4().bytes))
    assert facts.problem.startswith("the database postgresql://")
    assert (facts.writes, facts.writes_due) == (None, 1)
    assert all(each.problem for each in observer.observations().values())
    assert SECRET not in f"{facts}{observer.observations()}"


def test_a_role_that_may_not_see_others_is_told_what_to_grant(server: Server) -> None:
    with PostgresObserver(server.access(observer=server.dsn("blind"), queries=())) as observer:
        pass
    problem = observer.observations()["lock waits"].problem
    assert problem == (
        "the role blind may not read the statistics of other roles; GRANT pg_monitor TO blind allows it"
    )
    assert observer.observations()["cache hit ratio"].problem == ""


def test_a_query_that_fails_has_a_problem_and_the_others_a_plan(server: Server) -> None:
    wrong = Query("wrong", "SELECT missing FROM tenants")
    with PostgresObserver(server.access(queries=(wrong, TENANT))) as observer:
        pass
    wrong_plan, plan = observer.facts("r5", time.time(), 1.0, Writes.of_ids()).plans
    assert 'column "missing" does not exist' in wrong_plan.problem
    assert plan.text


def test_a_statement_that_waits_for_a_lock_is_seen_with_the_one_that_holds_it(server: Server) -> None:
    async def wait() -> None:
        holder, waiter = [await asyncpg.connect(server.dsn("postgres").reveal(), ssl=False) for _ in range(2)]
        await holder.execute("BEGIN")
        await holder.execute("UPDATE tenants SET name = name WHERE id = 1")
        waiting = asyncio.create_task(waiter.execute("UPDATE tenants SET name = 'acme' WHERE id = 1"))
        with suppress(TimeoutError):
            async with asyncio.timeout(GUARD):
                while not observer._waiting:
                    await asyncio.sleep(0.05)
        await holder.execute("ROLLBACK")
        await waiting
        for each in (holder, waiter):
            await each.close()

    with PostgresObserver(server.access(queries=())) as observer:
        started = time.time()
        asyncio.run(wait())
    first = observer.facts("r6", started, 1.0, Writes.of_ids()).waiting[0]
    assert first.statement == "UPDATE tenants SET name = ? WHERE id = ?"
    assert first.blocked_by.startswith("idle in transaction after UPDATE tenants")


@pytest.mark.slow
def test_indexes_that_were_dropped_are_named_with_the_moment_and_those_of_a_dropped_table_are_not(
    server: Server,
) -> None:
    server.execute(
        "CREATE INDEX by_note ON events (note)",
        "CREATE INDEX tenants_by_name ON tenants (name)",
        "CREATE TABLE old AS SELECT 1 AS id",
        "CREATE INDEX of_old ON old (id)",
    )
    with PostgresObserver(server.access(queries=())) as observer:
        started = time.time()
        assert seen(observer, 2)
        server.execute(
            "REINDEX TABLE tenants",
            "DROP TABLE old",
            "CREATE TABLE new AS SELECT 1 AS id",
            "CREATE INDEX ON new (id)",
        )
        before = time.time() - started
        assert seen(observer, len(observer._rows) + 2)
        gone = len(observer._gone)
        server.execute("DROP INDEX by_note")
        assert eventually(lambda: len(observer._gone) > gone, GUARD)
        ended = time.time() - started
    server.execute("DROP INDEX tenants_by_name", "DROP TABLE new")
    dropped = observer.facts("r7", started, ended, Writes()).dropped_indexes
    assert sorted((each.name, each.table) for each in dropped) == [
        ("events_1_note_idx", "events"),
        ("events_2_note_idx", "events"),
    ]
    assert all(before < each.at <= ended for each in dropped)


def test_tables_that_are_locked_before_the_load_leave_their_scans_unknown(server: Server) -> None:
    observer = PostgresObserver(server.access(queries=()))

    async def begin(stack: ExitStack) -> None:
        holder = await asyncpg.connect(server.dsn("postgres").reveal(), ssl=False)
        try:
            await holder.execute("BEGIN; LOCK TABLE tenants IN ACCESS EXCLUSIVE MODE")
            await asyncio.to_thread(stack.enter_context, observer)
            assert await asyncio.to_thread(observer._is_ready.wait, GUARD)
        finally:
            await holder.close()

    with ExitStack() as stack:
        asyncio.run(begin(stack))
        started = time.time()
    facts = observer.facts("r8", started, time.time() - started, Writes())
    assert "lock timeout" in facts.problems["tables"]
    tenants = next(table for table in facts.tables if table.name == "tenants")
    assert (tenants.sequential_scans, tenants.index_scans, tenants.rows_written) == (None, None, None)
    assert facts.deadlocks == 0


@pytest.mark.slow
def test_an_index_that_is_locked_before_the_load_leaves_all_but_its_own_figures_known(server: Server) -> None:
    observer = PostgresObserver(server.access(queries=()))

    async def hold(stack: ExitStack) -> float:
        holder = await asyncpg.connect(server.dsn("postgres").reveal(), ssl=False)
        try:
            await holder.execute("BEGIN; REINDEX INDEX tenants_pkey")
            await asyncio.to_thread(stack.enter_context, observer)
            assert await asyncio.to_thread(observer._is_ready.wait, GUARD)
            started = time.time()
            await asyncio.to_thread(server.execute, "CREATE INDEX by_run ON events_1 (run_id)")
            assert await asyncio.to_thread(seen, observer, len(observer._rows) + 2)
        finally:
            await holder.close()
        return started

    with ExitStack() as stack:
        started = asyncio.run(hold(stack))
    server.execute("DROP INDEX by_run")
    facts = observer.facts("r9", started, time.time() - started, Writes())
    assert "lock timeout" in facts.problems["indexes"]
    assert "statistics" not in facts.problems
    assert (facts.problem, facts.deadlocks) == ("", 0)
    assert observer.observations()["cache hit ratio"].problem == ""


def test_writes_are_not_compared_with_rows_that_row_level_security_hides(server: Server) -> None:
    written = uuid.uuid4()
    server.execute("SET app.tenant = '2'", insert(written, run="r12"), role="service")
    observer = PostgresObserver(server.access(observer=server.dsn("service"), queries=()))
    facts = observer.facts("r12", time.time(), 1.0, Writes.of_ids(written.bytes))
    assert facts.writes is None
    assert "row-level security policy" in facts.problems["writes"]
    assert facts.count(f"{WRITES}: compared") < facts.count(f"{WRITES}: to compare")


def test_writes_are_not_compared_with_the_rows_of_a_standby(server: Server, monkeypatch) -> None:
    monkeypatch.setattr(postgres, "_IS_STANDBY", "SELECT true")
    observer = PostgresObserver(server.access(queries=()))
    facts = observer.facts("r13", time.time(), 1.0, Writes.of_ids(uuid.uuid4().bytes))
    assert facts.writes is None
    assert "it is a standby" in facts.problems["writes"]
    assert SECRET not in facts.problems["writes"]


def test_tables_of_one_name_in_two_schemas_are_told_apart(server: Server) -> None:
    by_name = Query("tenant by name", "SELECT id FROM tenants WHERE name = $1", ("acme",))
    server.execute(
        "CREATE SCHEMA other",
        "CREATE TABLE other.tenants AS SELECT n AS id, repeat('x', 60) AS name FROM generate_series(1, 20000) n",
    )
    try:
        with PostgresObserver(server.access(queries=(by_name,))) as observer:
            started = time.time()
            server.execute("SELECT count(*) FROM other.tenants")
            assert seen(observer, 3)
        facts = observer.facts("r1", started, time.time() - started, Writes.of_ids())
    finally:
        server.execute("DROP SCHEMA other CASCADE")
    (scan,) = facts.plans[0].scans
    assert (scan.table, scan.is_large) == ("tenants", False)
    (large,) = [table for table in facts.tables if table.name == "other.tenants"]
    assert (large.root, large.is_large, large.sequential_scans) == ("other.tenants", True, 1)
    assert facts.by_scans is None  # no large table of the key query was read


def test_temporary_tables_are_no_change_of_the_indexes(server: Server) -> None:
    async def make(observer: PostgresObserver) -> None:
        connection = await asyncpg.connect(server.dsn("postgres").reveal(), ssl=False)
        try:
            await connection.execute("CREATE TEMP TABLE own (id integer PRIMARY KEY, note text)")
            await connection.execute("CREATE TABLE with_toast (note text)")
            assert await asyncio.to_thread(seen, observer, len(observer._rows) + 2)
        finally:
            await connection.execute("DROP TABLE with_toast")
            await connection.close()

    with PostgresObserver(server.access(queries=())) as observer:
        asyncio.run(make(observer))
    assert len({row["indexes"] for _, row in observer._rows}) == 1


def test_ids_with_zeros_at_their_end_are_told_apart() -> None:
    first, second = bytes(16), bytes(15) + b"\1"
    compared = compare_writes(Writes.of_ids(first + second), second)
    assert compared.lost == WrongRecords(1, examples=(WrittenRecord(str(uuid.UUID(bytes=first))),))


def test_records_that_are_lost_tell_since_when_for_whom_and_who_acknowledged_them() -> None:
    ledger, ids = WriteLedger(), [uuid.UUID(int=n).bytes for n in range(60)]
    for number, each in enumerate(ids):
        tenant = ("acme", "globex", "")[number % 3]
        attempt = ledger.attempt([each], lambda n: None, at=100.0 - number, user=number, tenant=tenant)
        instance = ("m-1", "m-2", "m-2", "")[number % 4]
        (attempt.rejected if number == 59 else attempt.acknowledged)(instance)
    earlier = ledger.drain()
    trial = WriteLedger()
    trial.attempt([b"t" * 16], lambda n: None, at=1.0, user=0, tenant="initech").acknowledged()
    writes = Writes.sum_of([trial.drain().as_unknown, earlier])
    stored = [ids[0] * 2, *ids[30:], b"t" * 32, b"x" * 32]  # x: written by nobody
    compared = compare_writes(writes, b"".join(stored))
    lost = compared.lost
    assert (lost.number, lost.first, lost.last) == (29, 71.0, 99.0)
    assert lost.by_tenant == {"globex": 10, "acme": 9}
    assert lost.by_instance == {"m-2": 15, "m-1": 7}  # the instance of seven more is not known
    assert lost.examples[:2] == (
        WrittenRecord(str(uuid.UUID(int=29)), 71.0, 29, "", instance="m-2"),
        WrittenRecord(str(uuid.UUID(int=28)), 72.0, 28, "globex", instance="m-1"),
    )
    assert [each.at for each in lost.examples] == [71.0 + n for n in range(20)]
    doubled = compared.doubled
    assert (doubled.number, doubled.first, doubled.last, doubled.by_tenant) == (3, 100.0, 100.0, {"acme": 1})
    assert [each.user for each in doubled.examples] == [0, None, None]
    assert compared.phantoms.examples == (WrittenRecord(str(uuid.UUID(int=59)), 41.0, 59, ""),)
    assert compared.unwritten == WrongRecords(1, examples=(WrittenRecord(str(uuid.UUID(bytes=b"x" * 16))),))
    assert (compared.tenants, compared.instances) == (2, 2)
    assert (compared.foreign, compared.unknown_stored) == (0, 1)


def test_many_writes_are_compared() -> None:
    ids = np.random.default_rng(1).bytes(16 * 100_000)
    compared = compare_writes(Writes.of_ids(ids), ids[16:] + ids[-16:])
    assert (compared.lost.number, compared.doubled.number, compared.stored) == (1, 1, 100_000)


@pytest.mark.slow
def test_a_run_is_observed_from_before_its_start_and_kept_with_what_was_seen(
    server: Server, tmp_path: Path
) -> None:
    observer = PostgresObserver(server.access())
    readings: list[int] = []
    stop = threading.Event()

    def watch(_: Progress) -> None:
        readings.append(len(observer._rows))
        if readings[-1] > readings[0] + 2:  # at least two of these began after the start
            stop.set()

    with service() as base:
        done = run(
            short(seconds=60), Target("shop", base), root=ROOT, database=observer, watch=watch, stop=stop
        )
    observe_database(done, observer, done.writes)
    assert observer._begin is not None
    assert observer._begin.at < done.started
    assert done.database is not None
    assert done.warnings == ()
    assert (done.database.deadlocks, done.database.problem) == (0, "")
    assert done.database.samples >= 2
    assert done.database.due == int(done.ended_at)
    kept = archive.load(archive.save(done, tmp_path))
    assert kept.database == done.database
    assert set(MEASURES) <= set(kept.observations)
    assert not observer._thread.is_alive()


@pytest.mark.slow
def test_an_observer_that_fails_costs_no_run(server: Server) -> None:
    nowhere = PostgresObserver(server.access(observer=server.dsn("watcher", "nowhere"), service=Address("")))
    with service() as base:
        done = run(short(), Target("shop", base), root=ROOT, database=nowhere)
    observe_database(done, nowhere, done.writes)
    assert done.is_complete
    assert any('database "nowhere" does not exist' in warning for warning in done.warnings)


@pytest.mark.parametrize("are_all", [True, False])
def test_a_row_that_no_user_wrote_is_a_phantom_unless_reports_are_missing(*, are_all: bool) -> None:
    writes = Writes.sum_of([Writes.of_ids(b"a" * 16), Writes(are_all=are_all)])
    compared = compare_writes(writes, b"a" * 16 + b"b" * 16)
    found = DatabaseFacts(writes=compared, writes_due=1)
    assert (compared.lost.number, compared.doubled.number, compared.phantoms.number) == (0, 0, 0)
    assert (compared.unwritten.number, compared.foreign) == ((1, 0) if are_all else (0, 1))
    assert found.count(WRITES) == (1 if are_all else 0)
    assert found.count(f"{WRITES}: to compare") - found.count(f"{WRITES}: compared") == compared.foreign


@pytest.mark.parametrize("other", ["acknowledged", "unknown"])
def test_a_record_that_another_attempt_may_have_written_is_no_phantom(other: str) -> None:
    tried_twice, phantom = uuid.UUID(int=1), uuid.UUID(int=2)
    rejected = tried_twice.bytes + phantom.bytes
    compared = compare_writes(Writes.of_ids(**{"rejected": rejected, other: tried_twice.bytes}), rejected)
    assert compared.phantoms == WrongRecords(1, examples=(WrittenRecord(str(phantom)),))
    assert (compared.lost.number, compared.doubled.number, compared.rejected) == (0, 0, 2)


def test_nothing_written_and_nothing_stored_compares() -> None:
    assert compare_writes(Writes.of_ids(), b"").stored == 0
    assert compare_writes(Writes.of_ids(), b"", Places()).placed == 0


def written_by(tenants: Sequence[str]) -> tuple[Writes, list[bytes]]:
    """An acknowledged record of a user of each tenant, the latest first, and their ids."""
    ledger, ids = WriteLedger(), [uuid.UUID(int=n).bytes for n in range(len(tenants))]
    for number, (each, tenant) in enumerate(zip(ids, tenants, strict=True)):
        at = 100.0 - number
        ledger.attempt([each], lambda n: None, at=at, user=number, tenant=tenant).acknowledged("m-1")
    return ledger.drain(), ids


def test_a_row_under_another_tenant_than_its_writers_is_misplaced() -> None:
    earlier, ids = written_by(["acme", "globex", "acme", "", "initech", "globex"])
    trial = WriteLedger()
    trial.attempt([b"t" * 16], lambda n: None, at=1.0, user=0, tenant="acme").acknowledged()
    writes = Writes.sum_of([trial.drain().as_unknown, earlier])
    # The row of the trial, that of a user without a tenant, and that of nobody are not compared.
    rows = [
        *((ids[5], "globex"), (ids[2], "globex"), (b"t" * 16, "hooli"), (ids[3], "hooli")),
        *((b"x" * 16, "hooli"), (ids[0], "acme"), (ids[4], ""), (ids[1], "globex"), (ids[0], "hooli")),
    ]
    compared = compare_writes(writes, b"".join(each for each, _ in rows), Places(name for _, name in rows))
    assert (compared.placed, compared.unplaced, compared.misnamed) == (6, 0, "")
    assert (compared.lost.number, compared.doubled.number, compared.unwritten.number) == (0, 1, 1)
    assert compared.misplaced == WrongRecords(
        3,
        96.0,
        100.0,
        {"acme": 2, "initech": 1},
        (
            WrittenRecord(str(uuid.UUID(int=4)), 96.0, 4, "initech", "no tenant", "m-1"),
            WrittenRecord(str(uuid.UUID(int=2)), 98.0, 2, "acme", "globex", "m-1"),
            WrittenRecord(str(uuid.UUID(int=0)), 100.0, 0, "acme", "hooli", "m-1"),
        ),
        (*[0] * 96, 1, 0, 1, 0, 1),
        {"m-1": 3},
    )
    found = DatabaseFacts(writes=compared, writes_due=6)
    assert (found.count(OTHERS_DATA), found.count(f"{OTHERS_DATA}: compared")) == (3, 6)
    assert found.count(WRITES) == 3 + 1 + 1


def test_a_row_that_is_stored_twice_under_other_tenants_is_one_misplaced_record() -> None:
    writes, ids = written_by(["acme", "globex"])
    places = Places(["hooli", "initech", "globex"])
    compared = compare_writes(writes, ids[0] * 2 + ids[1], places)
    assert (compared.misplaced.number, compared.placed) == (1, 3)


def test_rejected_and_unanswered_writes_under_another_tenant_are_misplaced_too() -> None:
    ledger, ids = WriteLedger(), [uuid.UUID(int=n).bytes for n in range(2)]
    ledger.attempt(ids[:1], lambda n: None, at=1.0, user=1, tenant="acme").rejected()
    ledger.attempt(ids[1:], lambda n: None, at=2.0, user=1, tenant="acme")
    compared = compare_writes(ledger.drain(is_final=True), b"".join(ids), Places(["globex"] * 2), ACCOUNTS)
    assert [each.id for each in compared.misplaced.examples] == [str(uuid.UUID(bytes=each)) for each in ids]


ACCOUNTS = frozenset({"acme", "globex"})


def test_where_the_database_names_tenants_otherwise_nothing_is_claimed() -> None:
    writes, ids = written_by(["acme", "acme"])
    compared = compare_writes(writes, b"".join(ids), Places(["1", "2"]), ACCOUNTS)
    assert (compared.placed, compared.unplaced, compared.misplaced.number) == (0, 2, 0)
    assert "such as 'acme', but no row is under a tenant of theirs, and one is under '1'" in compared.misnamed
    found = DatabaseFacts(writes=compared, writes_due=2)
    for name, due in ((OTHERS_DATA, 2), (WRITES, 4)):
        assert found.count(f"{name}: to compare") == due
        assert found.count(f"{name}: compared") == due - 2


def test_a_writer_without_a_tenant_does_not_show_how_the_database_names_tenants() -> None:
    writes, ids = written_by(["acme", "globex", ""])
    compared = compare_writes(writes, b"".join(ids), Places(["1", "2", ""]), ACCOUNTS)
    assert (compared.placed, compared.unplaced, compared.misplaced.number) == (0, 2, 0)


def test_where_no_writer_has_a_tenant_nothing_is_claimed() -> None:
    writes, ids = written_by(["", ""])
    compared = compare_writes(writes, b"".join(ids), Places(["1", "2"]), ACCOUNTS)
    remark = DatabaseFacts(writes=compared, writes_due=2).remark(OTHERS_DATA)
    assert remark.endswith("was not compared: no stored row is of a user with a tenant")


def test_all_rows_under_a_tenant_of_the_accounts_that_wrote_none_are_misplaced() -> None:
    writes, ids = written_by(["acme", "acme"])
    compared = compare_writes(writes, b"".join(ids), Places(["globex"] * 2), ACCOUNTS)
    assert (compared.misplaced.number, compared.misnamed) == (2, "")


@pytest.mark.parametrize("columns", ["id", "id, tenants.name"])
def test_the_statement_of_stored_rows_may_give_their_tenants(server: Server, columns: str) -> None:
    run_id, writes, own, foreign = f"r-{columns}", WriteLedger(), uuid.uuid4(), uuid.uuid4()
    for each, tenant in ((own, "globex"), (foreign, "acme")):
        writes.attempt([each.bytes], lambda n: None, at=1.0, user=len(tenant), tenant=tenant).acknowledged()
    server.execute(insert(own, foreign, run=run_id))
    sql = "FROM events LEFT JOIN tenants ON tenants.id = tenant_id WHERE run_id = $1"
    observer = PostgresObserver(server.access(queries=(), stored=f"SELECT events.{columns} {sql}"))
    with observer:
        facts = observer.facts(run_id, time.time(), 1.0, writes.drain())
    assert facts.are_rows_listed
    assert facts.writes is not None
    misplaced, remark = facts.writes.misplaced, facts.remark(OTHERS_DATA)
    if columns == "id":
        assert (facts.writes.placed, misplaced.number) == (None, 0)
        assert remark == (
            "under which tenant rows are stored was not compared: "
            "[database] stored gives the ids alone, and no tenants"
        )
    else:
        assert facts.writes.placed == 2
        assert misplaced.examples == (WrittenRecord(str(foreign), 1.0, 4, "acme", "globex"),)
        assert remark == (
            f"1 stored under another tenant (such as {foreign}, written by acme and stored under globex)"
        )


def test_without_rows_a_statement_with_tenants_is_not_taken_for_one_without(server: Server) -> None:
    writes, _ = written_by(["acme"])
    stored = "SELECT id, tenant_id FROM events WHERE run_id = $1"
    with PostgresObserver(server.access(queries=(), stored=stored)) as observer:
        facts = observer.facts("nothing", time.time(), 1.0, writes)
    assert facts.writes is not None
    assert (facts.writes.placed, facts.writes.lost.number) == (0, 1)
