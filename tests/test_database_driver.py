"""The client of PostgreSQL against a server of the tests' own: what it does, measures and survives."""

import asyncio
import errno
import re
from contextlib import suppress

import asyncpg
import pytest

from loadkit.drivers.base import NoResponse
from loadkit.drivers.postgres.client import DbClient, QueryFailed
from loadkit.drivers.postgres.driver import PostgresDriver
from loadkit.drivers.postgres.outcomes import failure_of, may_pass
from loadkit.errors import ConfigurationError, UnreachableError
from loadkit.journey import journey
from loadkit.queries import Query
from loadkit.recording.sql import (
    ACQUISITIONS,
    CONNECTIONS_LOST,
    POOL_IN_USE,
    POOL_SIZE,
    RETRIES,
    ROWS_READ,
    ROWS_SEARCHED,
    ROWS_WRITTEN,
    WAITS,
)
from loadkit.recording.timing import ACQUIRE, QUERY, REQUEST
from loadkit.recording.worker_second import journey_errors
from loadkit.target import Address, DatabaseUse, Target
from loadkit.users.lifecycle import JOURNEY_LABEL, Lifecycle
from tests.database_user import GUARD, queries_in, visited, waited
from tests.postgres_server import LOCKED, PASSWORD, PostgresServer, postgres, postgres_server
from tests.websocket_user import run, until

__all__ = ["postgres"]

TENANTS = "SELECT array_agg(DISTINCT tenant_id) FROM item"
SLEEP = "SELECT pg_sleep($1::float8)"
RUNNING = "SELECT FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active' AND $1"
WAITING = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND $1"
KILL = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'loadkit' AND $1"


async def seen(server: PostgresServer, sql: str) -> None:
    """Wait until a query of the server's own statistics finds something."""
    while not await server.execute(sql, True):
        await asyncio.sleep(0.02)


def opened(dsn: str, **use) -> None:
    """Open a driver and close it."""

    async def main() -> None:
        driver = PostgresDriver(
            Target("t", "http://127.0.0.1:1", database=Address(dsn), database_use=DatabaseUse(**use))
        )
        try:
            await driver.open()
        finally:
            await driver.close()

    run(main())


# --- queries and what is recorded of them


def test_a_query_is_recorded_with_its_label_time_and_rows(postgres: PostgresServer) -> None:
    async def use(visit) -> None:
        rows = await visit.db.fetch("SELECT id FROM item WHERE id <= $1 ORDER BY id", 10, label="few")
        assert [row["id"] for row in rows] == [3, 8]
        assert (await visit.db.fetchrow("SELECT 7 AS seven", label="row"))["seven"] == 7
        assert await visit.db.fetchval("SELECT 7", label="value") == 7
        assert await visit.db.execute("UPDATE stock SET amount = amount", label="write") == 2
        await visit.db.fetchval(SLEEP, 0.2, label="slow")

    visit = visited(postgres.dsn(), use)
    assert visit.outcomes() == {each: {"ok": 1} for each in ("few", "row", "slow", "value", "write")}
    assert visit.outcomes(REQUEST) == {}
    assert visit.seconds(QUERY, "slow") >= 0.2
    assert visit.count(ROWS_READ) == 3
    assert visit.count("sent") == visit.count(ACQUISITIONS) == 5
    assert (visit.gauge(POOL_SIZE), visit.gauge(POOL_IN_USE)) == (20, 0)


def test_rows_are_counted_as_read_and_as_checked_however_they_are_fetched(postgres: PostgresServer) -> None:
    async def use(visit) -> None:
        for is_checking in (False, True):
            if is_checking:
                visit.user.checks_tenants("rows")
            await visit.db.fetch("SELECT id FROM item WHERE id <= 10", label="two")
            await visit.db.fetchrow("SELECT 7", label="one")
            assert await visit.db.fetchrow("SELECT 7 WHERE false", label="none") is None
            assert await visit.db.fetchval("SELECT ARRAY[1, 2, 3]", label="value") == [1, 2, 3]
            await visit.db.fetchrow("SELECT 7", label="not recorded", record=False)
            async with visit.db.transaction():
                await visit.db.fetch("SELECT id FROM item WHERE id <= 10", label="in a transaction")

    visit = visited(postgres.dsn(), use)
    assert (visit.count(ROWS_READ), visit.count(ROWS_SEARCHED)) == (10, 5)


def test_a_named_query_is_counted_under_its_name(postgres: PostgresServer, tmp_path) -> None:
    folder = queries_in(tmp_path, one="-- name: my items\n-- for: a test\n-- example: [3]\n"
                        "SELECT * FROM item WHERE id <= $1::integer\n")  # fmt: skip

    async def use(visit) -> None:
        assert len(await visit.db.fetch("my items", 10)) == 2
        assert len(await visit.db.fetch(visit.db.query("my items"), 10)) == 2
        with pytest.raises(KeyError, match='no query "my item"; there are: "my items"'):
            await visit.db.fetch("my item", 10)

    assert visited(postgres.dsn(), use, queries=folder).outcomes() == {"my items": {"ok": 2}}


def test_what_is_not_recorded_leaves_no_trace(postgres: PostgresServer) -> None:
    async def use(visit) -> None:
        assert await visit.db.fetchval("SELECT 1", label="x", record=False) == 1

    visit = visited(postgres.dsn(), use)
    assert visit.outcomes() == visit.outcomes(ACQUIRE) == {}
    assert visit.count("sent") == 0


def test_a_query_that_is_not_recorded_and_ends_its_journey_is_one_failed_operation_and_no_mistake(
    postgres: PostgresServer,
) -> None:
    @journey("j", uses=("db",))
    async def work(user) -> None:
        await user.db.fetchval("SELECT 1 / 0", label="x", record=False)

    @journey("caught", uses=("db",))
    async def caught(user) -> None:
        with suppress(NoResponse):
            await user.db.fetchval("SELECT nothing", label="x", record=False)
        _ = user.state["tenant"]

    async def use(visit) -> None:
        for each in (work, caught):
            await Lifecycle(visit.user, visit.pacer).follow(each, is_once=True)

    visit = visited(postgres.dsn(), use)
    assert visit.outcomes(REQUEST) == {
        JOURNEY_LABEL: {"division by zero (22012)": 1, "undefined column (42703)": 1}
    }
    assert visit.outcomes() == visit.outcomes(ACQUIRE) == {}
    assert journey_errors([visit.report.worker_second]) == ""


def test_a_failure_that_is_not_recorded_is_known_to_the_user_and_raised_by_its_kind(
    postgres: PostgresServer,
) -> None:
    async def use(visit) -> None:
        user, other = visit.user, visit.add_user()
        with pytest.raises(asyncpg.DataError, match="invalid input"):  # an error of the journey's code
            await user.db.fetch("SELECT * FROM item WHERE id = $1", "x", label="x", record=False)
        assert (user.meter.has_failed, user.meter.unrecorded_failure) == (False, "")
        with pytest.raises(QueryFailed, match=r"division by zero \(22012\)") as caught:
            await user.db.execute("SELECT 1 / 0", label="x", record=False)
        assert caught.value.sqlstate == "22012"
        assert (user.meter.has_failed, user.meter.unrecorded_failure) == (True, "division by zero (22012)")
        async with user.db.transaction():
            other.meter.timeout = 0.1
            with pytest.raises(QueryFailed, match="timeout"):
                await other.db.fetch("SELECT 1", label="x", record=False)
        assert (other.meter.has_failed, other.meter.unrecorded_failure) == (True, "timeout")

    visited(postgres.dsn(), use, pool=1)


def test_a_query_that_is_not_recorded_and_found_no_socket_is_counted_apart(
    postgres: PostgresServer, monkeypatch
) -> None:
    async def out_of_files(*_: object) -> None:
        raise OSError(errno.EMFILE, "too many open files")

    async def use(visit) -> None:
        monkeypatch.setattr(DbClient, "_once", out_of_files)
        with pytest.raises(QueryFailed, match="no socket"):
            await visit.user.db.fetch("SELECT 1", label="x", record=False)
        assert visit.user.meter.recorder.out_of_descriptors == 1
        monkeypatch.undo()

    visited(postgres.dsn(), use)


def test_a_failure_that_is_not_recorded_is_forgotten_when_another_query_begins(
    postgres: PostgresServer,
) -> None:
    async def use(visit) -> None:
        with pytest.raises(QueryFailed):
            await visit.user.db.execute("SELECT 1 / 0", label="x", record=False)
        await visit.user.db.execute("SELECT 1", label="x", record=False)
        assert (visit.user.meter.has_failed, visit.user.meter.unrecorded_failure) == (True, "")

    visited(postgres.dsn(), use)


def test_the_wait_for_a_connection_is_timed_counted_and_part_of_the_query(postgres: PostgresServer) -> None:
    seconds = 0.0

    async def use(visit) -> None:
        nonlocal seconds
        seconds = await waited(visit, postgres)

    visit = visited(postgres.dsn(), use, pool=1)
    assert visit.outcomes(ACQUIRE) == {"holder": {"ok": 1}, "waiter": {"ok": 1}}
    assert visit.seconds(QUERY, "waiter") >= visit.seconds(ACQUIRE, "waiter") >= seconds > 0
    assert visit.count(WAITS) == 2  # the first opened the connection


def test_no_connection_in_time_is_a_timeout(postgres: PostgresServer) -> None:
    async def use(visit) -> None:
        other = visit.add_user()
        async with visit.db.transaction():
            other.meter.timeout = 0.3
            with pytest.raises(QueryFailed, match="timeout"):
                await other.db.fetchval("SELECT 1", label="starved")
            other.meter.timeout = GUARD
            assert await visit.db.fetchval("SELECT 1", label="holder") == 1
        assert await other.db.fetchval("SELECT 1", label="starved") == 1

    visit = visited(postgres.dsn(), use, pool=1)
    assert visit.outcomes()["starved"] == {"ok": 1, "timeout": 1}
    assert visit.outcomes(ACQUIRE)["starved"] == {"ok": 1, "timeout": 1}


def test_batches_and_copies_are_operations_with_their_rows(postgres: PostgresServer) -> None:
    async def use(visit) -> None:
        await visit.db.executemany(
            "INSERT INTO stock VALUES ($1, $2)", [(n, n) for n in range(1000, 1020)], label="batch"
        )
        assert await visit.db.copy("stock", ["id", "amount"], [(n, n) for n in range(2000, 2005)]) == 5
        assert await visit.db.fetchval("SELECT count(*) FROM stock WHERE id >= 1000", label="count") == 25
        assert await visit.db.execute("DELETE FROM stock WHERE id >= 1000", label="clear") == 25

    visit = visited(postgres.dsn(), use)
    assert visit.outcomes() == {each: {"ok": 1} for each in ("COPY stock", "batch", "clear", "count")}
    assert visit.count(ROWS_WRITTEN) == 25 + 25


# --- the tenant


@pytest.mark.parametrize("cache", [True, False], ids=["prepared", "not prepared"])
def test_each_query_sees_the_rows_of_its_own_tenant_through_shared_connections(
    postgres: PostgresServer, cache: bool
) -> None:
    async def use(visit) -> None:
        users = [visit.user, *(visit.add_user(str(n)) for n in (0, 1, 2, 4))]

        async def ask(user, times: int) -> None:
            for _ in range(times):
                assert await user.db.fetchval(TENANTS, label="tenants") == [int(user.tenant)]

        await asyncio.gather(*(ask(user, 40) for user in users))
        assert visit.driver.pool.in_use == 0

    visit = visited(postgres.dsn(), use, pool=2, statement_cache=cache)
    assert visit.outcomes() == {"tenants": {"ok": 200}}


@pytest.mark.parametrize("cache", [True, False], ids=["prepared", "not prepared"])
def test_the_tenant_holds_for_one_transaction_and_leaves_the_connection_clean(
    postgres: PostgresServer, cache: bool
) -> None:
    async def use(visit) -> None:
        assert await visit.db.fetchval(TENANTS, label="tenants") == [3]
        session = visit.driver.pool.take_now()
        assert (await session.ask("SELECT current_setting('app.tenant', true) AS tenant"))["tenant"] == ""
        visit.driver.pool.give_back(session)

    visited(postgres.dsn(), use, statement_cache=cache)


def test_the_tenant_and_its_query_are_one_round_trip(postgres: PostgresServer) -> None:
    """Each round trip ends with a message that says that the server is ready; here it is counted."""

    async def use(visit) -> None:
        await visit.db.fetchval(TENANTS, label="tenants")
        session = visit.driver.pool.take_now()
        visit.driver.pool.give_back(session)
        asked = session._connection._protocol.queries_count
        await visit.db.fetchval(TENANTS, label="tenants")
        assert session._connection._protocol.queries_count == asked + 1

    visited(postgres.dsn(), use)


def test_a_failed_query_does_not_pass_its_tenant_on(postgres: PostgresServer) -> None:
    async def use(visit) -> None:
        other = visit.add_user("1")
        with pytest.raises(QueryFailed):
            await visit.db.fetchval("SELECT 1 / 0", label="bad")
        assert await other.db.fetchval(TENANTS, label="tenants") == [1]
        with pytest.raises(asyncpg.DataError, match="invalid input"):  # an error of the journey's code
            await visit.db.fetch("SELECT * FROM item WHERE id = $1", "x", label="wrong")
        assert await other.db.fetchval(TENANTS, label="tenants") == [1]
        await visit.db.executemany("UPDATE item SET name = name WHERE id = $1", [(1,), (2,)], label="many")
        assert await other.db.fetchval(TENANTS, label="tenants") == [1]

    visited(postgres.dsn(), use, pool=1)


def test_a_role_that_bypasses_row_level_security_is_refused(postgres: PostgresServer) -> None:
    for role in ("postgres", "auditor"):
        with pytest.raises(ConfigurationError, match=f'the role "{role}" .* bypasses row-level security'):
            opened(postgres.dsn(role), tenant="app.tenant")


# --- transactions


def test_a_transaction_holds_one_connection_and_is_all_or_nothing(postgres: PostgresServer) -> None:
    async def use(visit) -> None:
        with pytest.raises(ValueError, match="undo"):  # noqa: PT012  the whole transaction
            async with visit.db.transaction("move"):
                await visit.db.execute("UPDATE stock SET amount = 0 WHERE id = $1", 1, label="take")
                assert await visit.db.fetchval(TENANTS, label="tenants") == [3]
                raise ValueError("undo")
        assert await visit.db.fetchval("SELECT amount FROM stock WHERE id = 1", label="look") == 10
        async with visit.db.transaction("move", isolation="serializable"):
            level = await visit.db.fetchval("SELECT current_setting('transaction_isolation')", label="level")
            assert level == "serializable"
            with pytest.raises(RuntimeError, match="does not nest"):
                async with visit.db.transaction():
                    pass
        assert visit.driver.pool.in_use == 0

    visit = visited(postgres.dsn(), use)
    assert visit.outcomes()["move: begin"] == {"ok": 2}
    assert visit.outcomes()["move: commit"] == {"ok": 1}


def test_a_transaction_whose_setting_fails_leaves_no_connection_in_it(postgres: PostgresServer) -> None:
    async def use(visit) -> None:
        visit.db.tenant = "no size"
        with pytest.raises(QueryFailed, match="22023"):
            async with visit.db.transaction("move"):
                pytest.fail("it has not begun")
        visit.db.tenant = "4MB"
        assert await visit.db.fetchval("SELECT 1", label="after") == 1

    visited(postgres.dsn(), use, pool=1, setting="work_mem")


def test_a_commit_that_rolls_back_is_a_failure(postgres: PostgresServer) -> None:
    async def use(visit) -> None:
        with pytest.raises(QueryFailed):  # noqa: PT012  the whole transaction
            async with visit.db.transaction("move"):
                with pytest.raises(QueryFailed, match=r"division by zero \(22012\)"):
                    await visit.db.fetchval("SELECT 1 / 0", label="bad")
        assert await visit.db.fetchval("SELECT 1", label="after") == 1

    visit = visited(postgres.dsn(), use, pool=1)
    assert visit.outcomes()["move: commit"] == {"in failed sql transaction (25P02)": 1}


async def deadlocked(visit) -> list[object]:
    """Two users who lock two rows in opposite order."""
    other, met = visit.add_user(), asyncio.Barrier(2)

    async def lock(user, *ids: int) -> None:
        async with user.db.transaction():
            await user.db.execute("UPDATE stock SET amount = amount WHERE id = $1", ids[0], label="lock")
            await met.wait()
            await user.db.execute("UPDATE stock SET amount = amount WHERE id = $1", ids[1], label="lock")

    return await asyncio.gather(lock(visit.user, 1, 2), lock(other, 2, 1), return_exceptions=True)


def test_a_deadlock_is_a_failure_by_its_code_and_ends_one_of_the_journeys(postgres: PostgresServer) -> None:
    async def use(visit) -> None:
        ended = await deadlocked(visit)
        (failure,) = [each for each in ended if each is not None]
        assert isinstance(failure, NoResponse)
        assert failure.sqlstate == "40P01"

    assert visited(postgres.dsn(), use).outcomes()["lock"] == {"deadlock (40P01)": 1, "ok": 3}


# --- failures


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("SELEC 1", "postgres syntax (42601)"),
        ("SELECT * FROM nothing", "undefined table (42P01)"),
        ("SELECT 1 / 0", "division by zero (22012)"),
        ("INSERT INTO stock VALUES (1, 1)", "unique violation (23505)"),
    ],
)
def test_an_error_of_the_server_is_a_failure_by_its_code(
    postgres: PostgresServer, sql: str, kind: str
) -> None:
    async def use(visit) -> None:
        with pytest.raises(QueryFailed, match=re.escape(kind)):
            await visit.db.fetch(sql, label="bad")
        assert await visit.db.fetchval("SELECT 1", label="after") == 1

    assert visited(postgres.dsn(), use, pool=1).outcomes() == {"bad": {kind: 1}, "after": {"ok": 1}}


@pytest.mark.parametrize("cache", [True, False], ids=["prepared", "not prepared"])
def test_a_statement_timeout_is_told_apart(postgres: PostgresServer, cache: bool) -> None:
    async def use(visit) -> None:
        with pytest.raises(QueryFailed):
            await visit.db.fetchval(SLEEP, 600.0, label="slow")
        assert await visit.db.fetchval("SELECT 1", label="after") == 1

    visit = visited(postgres.dsn(), use, pool=1, statement_timeout=1.0, statement_cache=cache)
    assert visit.outcomes()["slow"] == {"statement timeout (57014)": 1}


def test_a_query_beyond_the_plans_timeout_fails_and_the_server_is_told_to_cancel_it(
    postgres: PostgresServer,
) -> None:
    async def use(visit) -> None:
        await visit.db.fetchval(SLEEP, 0.0, label="before")  # opens the connection and prepares the query
        visit.user.meter.timeout = 1.0
        with pytest.raises(QueryFailed):
            await visit.db.fetchval(SLEEP, 600.0, label="slow")
        visit.user.meter.timeout = GUARD
        assert await visit.db.fetchval("SELECT 1", label="after") == 1
        while await postgres.execute(RUNNING, True):  # until it is cancelled
            await asyncio.sleep(0.02)

    visit = visited(postgres.dsn(), use, pool=1)
    assert visit.outcomes() == {"before": {"ok": 1}, "slow": {"timeout": 1}, "after": {"ok": 1}}


def test_a_killed_connection_fails_its_query_and_the_next_takes_another(postgres: PostgresServer) -> None:
    async def use(visit) -> None:
        slow = asyncio.create_task(visit.db.fetchval(SLEEP, 600.0, label="slow"))
        await seen(postgres, RUNNING)
        await postgres.execute(KILL, True)
        with pytest.raises(QueryFailed, match="connection lost"):
            await slow
        assert await visit.db.fetchval("SELECT 1", label="after") == 1
        (idle,) = visit.driver.pool._idle
        await postgres.execute(KILL, True)
        await until(lambda: idle.is_closed, GUARD)
        assert await visit.db.fetchval("SELECT 1", label="after") == 1

    visit = visited(postgres.dsn(), use, pool=1)
    assert visit.outcomes() == {"slow": {"connection lost": 1}, "after": {"ok": 2}}
    assert visit.count(CONNECTIONS_LOST) == 1


def test_while_the_server_is_away_queries_fail_and_afterwards_users_come_back_by_themselves(tmp_path) -> None:
    with postgres_server(tmp_path) as server:

        async def use(visit) -> None:
            users = [visit.user, *(visit.add_user() for _ in range(5))]
            outcomes: list[str] = []
            is_over = asyncio.Event()

            async def work(user) -> None:
                while not is_over.is_set():
                    try:
                        await user.db.fetchval("SELECT 1", label="one")
                        outcomes.append("ok")
                    except NoResponse as failure:
                        outcomes.append(failure.kind)
                    await asyncio.sleep(0.01)

            working = [asyncio.create_task(work(user)) for user in users]
            await until(lambda: outcomes.count("ok") > 20, GUARD)
            await asyncio.to_thread(server.stop)
            await until(lambda: "refused" in outcomes, GUARD)
            before = len(outcomes)
            await until(lambda: len(outcomes) > before + 20, GUARD)  # nothing hangs
            assert "ok" not in outcomes[before:]
            await asyncio.to_thread(server.start)
            before = len(outcomes)
            await until(lambda: outcomes[before:].count("ok") > 20, GUARD)
            is_over.set()
            await asyncio.gather(*working)
            assert (visit.driver.pool.in_use, visit.driver.pool.waiting) == (0, 0)

        visit = visited(server.dsn(), use, pool=3)
    (outcomes,) = visit.outcomes().values()
    assert outcomes["ok"] > 40
    assert outcomes["refused"] > 10


def test_a_retry_is_counted_and_its_operation_is_one(postgres: PostgresServer) -> None:
    async def use(visit) -> None:
        async with postgres.lock():
            slow = asyncio.create_task(visit.db.fetchval(LOCKED, label="slow"))
            await seen(postgres, WAITING)
            await postgres.execute(KILL, True)
            await until(lambda: visit.user.meter.recorder.counts[RETRIES] == 1, GUARD)
        await slow
        with pytest.raises(QueryFailed):
            await visit.db.fetchval("SELECT 1 / 0", label="never retried")

    visit = visited(postgres.dsn(), use, retries=2)
    assert visit.outcomes() == {"slow": {"ok": 1}, "never retried": {"division by zero (22012)": 1}}
    assert visit.count(RETRIES) == 1
    assert visit.count(ACQUISITIONS) == 3


def test_only_what_was_surely_not_done_or_only_reads_is_repeated() -> None:
    lost, deadlock = asyncpg.ConnectionDoesNotExistError("x"), asyncpg.DeadlockDetectedError("x")
    assert may_pass(deadlock, is_read=False)
    assert may_pass(ConnectionRefusedError(), is_read=False)
    assert may_pass(lost, is_read=True)
    assert not may_pass(lost, is_read=False)
    assert not may_pass(TimeoutError(), is_read=True)
    assert Query("", "-- a comment\n select 1").is_read
    assert not Query("", "WITH gone AS (DELETE FROM x RETURNING 1) SELECT * FROM gone").is_read


def test_an_error_of_the_code_that_calls_is_no_failure_of_the_database() -> None:
    assert failure_of(asyncpg.DataError("invalid input for query argument $1")) is None
    assert failure_of(TypeError()) is None
    assert failure_of(ConnectionRefusedError()) == "refused"
    assert failure_of(TimeoutError()) == "timeout"


# --- a pooler between, and changes of the schema


@pytest.mark.parametrize("state", ["26000", "42P05"])
def test_a_statement_that_a_pooler_has_lost_ends_the_use_of_prepared_statements(
    postgres: PostgresServer, state: str
) -> None:
    async def use(visit) -> None:
        assert await visit.db.fetchval(TENANTS, label="tenants") == [3]
        if state == "26000":
            session = visit.driver.pool.take_now()
            await session._connection.execute("DEALLOCATE ALL")
            visit.driver.pool.give_back(session)
        statement = TENANTS if state == "26000" else "DO $$ BEGIN RAISE SQLSTATE '42P05'; END $$"
        with pytest.raises(QueryFailed):
            await visit.db.execute(statement, label="through a pooler")
        assert await visit.db.fetchval(TENANTS, label="tenants") == [3]
        session = visit.driver.pool.take_now()
        assert [each.get_name() for each in session.statements.values()] == [""]
        visit.driver.pool.give_back(session)

    visited(postgres.dsn(), use, pool=1)


def test_after_a_change_of_the_schema_a_statement_is_prepared_again(postgres: PostgresServer) -> None:
    async def use(visit) -> None:
        await postgres.execute("CREATE TABLE changing (id integer); GRANT SELECT ON changing TO shop")
        await visit.db.fetch("SELECT * FROM changing", label="all")
        await postgres.execute("ALTER TABLE changing ADD COLUMN more text")
        with pytest.raises(QueryFailed):
            await visit.db.fetch("SELECT * FROM changing", label="all")
        await visit.db.fetch("SELECT * FROM changing", label="all")
        await postgres.execute("DROP TABLE changing")

    visited(postgres.dsn(), use, pool=1)


# --- before the load


def test_what_cannot_be_used_is_one_line_before_the_load_without_the_password(
    postgres: PostgresServer, tmp_path
) -> None:
    folder = queries_in(tmp_path, one="-- name: my items\n-- for: a test\nSELECT * FROM item\n")
    (tmp_path / "wrong").mkdir()
    wrong = queries_in(
        tmp_path / "wrong", one='-- name: odd\n-- for: a test\n-- example: ["x"]\nSELECT $1::integer\n'
    )
    cases = [
        (postgres.dsn(database="nowhere"), {}, ConfigurationError, 'does not exist: database "nowhere" does not exist'),
        (postgres.dsn(password="WRONG-SECRET"), {}, ConfigurationError, "refuses the role or its password: "),
        (postgres.dsn("nobody"), {}, ConfigurationError, "refuses the role or its password: "),
        (postgres.dsn("guest"), {"queries": folder}, ConfigurationError,
         'the query "my items" cannot run on .*: permission denied for table item'),
        (postgres.dsn(), {"queries": wrong}, ConfigurationError, 'the example of the query "odd" does not fit it: invalid input'),
        ("postgresql://shop:SECRET@127.0.0.1:1/x", {}, UnreachableError, "accepts no connection: refused"),
        ("postgresql://shop:SECRET@no-such-host.invalid/x", {}, UnreachableError, "accepts no connection"),
        ("postgresql://shop:SE/CRET@127.0.0.1/x", {}, ConfigurationError, "cannot be used"),
        ("", {}, ConfigurationError, 'a journey uses "db", and the environment file names no database'),
    ]  # fmt: skip
    for dsn, use, kind, words in cases:
        with pytest.raises(kind, match=words) as caught:
            opened(dsn, **use)
        text = f"{caught.value}{caught.value!r}"
        assert "\n" not in str(caught.value), dsn
        assert not any(secret in text for secret in (PASSWORD, "SECRET", "SE/CRET", "CRET")), text


def test_the_representation_of_the_driver_and_its_parts_shows_no_password(postgres: PostgresServer) -> None:
    async def use(visit) -> None:
        await visit.db.fetchval("SELECT 1", label="one")
        for each in (visit.driver, visit.driver.pool, visit.db, visit.driver._address, visit.user):
            assert PASSWORD not in repr(each)
        assert repr(visit.driver.pool) == "<Pool: 0 of 20 in use, 1 free, 0 waiting>"

    visited(postgres.dsn(), use)
