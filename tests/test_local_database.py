"""The faults of the local environment's database: each does what it says, and `off` restores exactly."""

import asyncio
import json
import os
import signal
import time
import uuid
from concurrent.futures import ThreadPoolExecutor, wait
from statistics import median

import asyncpg
import psutil
import pytest

from environments.local.database_faults import DATABASE_FAULTS
from environments.local.dataset import TENANT_NAMES
from loadkit.observers.database import WrongRecords
from loadkit.planning.draft import Draft
from loadkit.workload.workload import Model
from tests.local_environment import environment, eventually, fault, query, up
from tests.local_load import LocalLoad
from tests.suites import all_gone, command_of

pytestmark = pytest.mark.environment
__all__ = ["environment", "fault", "up"]

EVENT = {"name": "page.view", "value": 1.5}


@pytest.fixture
def client(environment, up):
    with environment.client(up) as client:
        yield client


@pytest.fixture
def admin(environment, client):
    return environment.log_in(client)


def shape(facts):
    """All that a fault changes: indexes, triggers, functions, policies, options and settings."""
    return query(
        facts,
        """
        SELECT array_agg(line ORDER BY line) FROM (
            SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
            UNION ALL SELECT tgname::text FROM pg_trigger
            UNION ALL SELECT proname::text FROM pg_proc WHERE proname LIKE 'fault%'
            UNION ALL SELECT tablename || policyname || qual || with_check FROM pg_policies
            UNION ALL SELECT relname || reloptions::text FROM pg_class WHERE reloptions IS NOT NULL
            UNION ALL SELECT relname || indisclustered FROM pg_index JOIN pg_class ON oid = indexrelid
            UNION ALL SELECT name || setting FROM pg_settings
                WHERE name IN ('synchronous_commit', 'commit_delay', 'commit_siblings')
        ) AS found (line)
        """,
    )


def store(client, admin, run, count=1):
    """The ids that the service acknowledged."""
    headers = {**admin, "X-Run-Id": run}
    answer = client.post("/api/v1/metrics/events", headers=headers, json={"events": [EVENT] * count})
    assert answer.status_code == 201
    return answer.json()["ids"]


def stored(facts, run):
    """How often each id of a run is stored, as the observer sees it."""
    sql = "SELECT coalesce(json_object_agg(id, n)::text, '{}') FROM (SELECT id, count(*) AS n FROM metric_events WHERE run_id = $1 GROUP BY id) r"
    return json.loads(query(facts, sql, run, role="database_observer"))


@pytest.mark.parametrize("name", DATABASE_FAULTS)
def test_off_restores_the_database_exactly(up, fault, name):
    before = shape(up)
    fault(name, "on")
    fault(name, "on")  # a second time replaces the first
    fault(name, "off")
    assert eventually(lambda: shape(up) == before)


@pytest.mark.slow
def test_faults_of_the_database_end_with_the_environment_also_when_it_is_killed(environment, up, fault):
    before = shape(up)
    for name in DATABASE_FAULTS:
        fault(name, "on")
    assert shape(up) != before
    processes = environment.processes(up)
    os.kill(up["supervisor"], signal.SIGKILL)
    assert all_gone(processes)
    fresh = environment.verb("up", "--owner", str(os.getpid()))
    assert fresh["faults"] == {}
    assert shape(fresh) == before


@pytest.mark.slow
def test_up_waits_until_the_database_of_a_killed_supervisor_has_ended(environment, up):
    killed, server = (psutil.Process(pid) for pid in (up["supervisor"], up["parts"]["postgres"]["pid"]))

    def has_started_others():
        pid = int((environment.directory / "supervisor.lock").read_text() or killed.pid)
        parts = psutil.Process(pid).children() if pid != killed.pid else []
        return any("haproxy.cfg" in " ".join(command_of(each)) for each in parts)

    with ThreadPoolExecutor(1) as pool:
        server.suspend()  # so that it cannot end
        try:
            killed.kill()
            assert all_gone([killed])
            starting = pool.submit(environment.verb, "up", "--owner", str(os.getpid()))
            assert eventually(has_started_others)
            assert wait([starting], timeout=1.0).not_done
        finally:
            server.resume()
        assert starting.result()["parts"]["postgres"]["healthy"]
    assert all_gone([server])


def test_without_the_index_a_query_by_name_does_not_use_it(up, fault):
    sql = "EXPLAIN SELECT sum(value) FROM metric_events WHERE name = 'crash' AND time > now() - interval '9 days'"

    def plan():
        async def ask():
            connection = await asyncpg.connect(up["database"])
            try:
                async with connection.transaction():
                    await connection.execute("SELECT set_config('app.tenant', '1', true)")
                    return "\n".join(row[0] for row in await connection.fetch(sql))
            finally:
                await connection.close()

        return asyncio.run(ask())

    assert "_name_time_id_idx" in plan()
    fault("missing-index", "on")
    assert "_name_time_id_idx" not in plan()


def test_dropped_writes_are_acknowledged_and_not_stored(up, client, admin, fault):
    run = f"dropped-{uuid.uuid4()}"
    fault("writes-dropped", "on", share=0.5)
    ids = store(client, admin, run, 200)
    assert len(ids) == 200
    found = stored(up, run)
    assert 0 < len(found) < 200
    assert found.keys() <= set(ids)


def test_doubled_writes_are_stored_twice_with_their_id(up, client, admin, fault):
    run = f"doubled-{uuid.uuid4()}"
    fault("writes-doubled", "on", share=0.5)
    ids = store(client, admin, run, 200)
    found = stored(up, run)
    assert found.keys() == set(ids)
    assert set(found.values()) == {1, 2}


TENANTS_OF_RUN = """
    SELECT coalesce(json_object_agg(id, tenant_id)::text, '{}') FROM metric_events WHERE run_id = $1
"""


def test_misplaced_writes_are_acknowledged_and_stored_under_the_next_tenant(up, client, admin, fault):
    run = f"misplaced-{uuid.uuid4()}"
    fault("writes-misplaced", "on", share=0.5)
    ids = store(client, admin, run, 200)
    tenants = json.loads(query(up, TENANTS_OF_RUN, run, role="database_observer"))
    assert tenants.keys() == set(ids)
    assert set(tenants.values()) == {1, 2}
    fault("writes-misplaced", "off")
    later = f"{run}-later"
    store(client, admin, later, 200)
    assert set(json.loads(query(up, TENANTS_OF_RUN, later, role="database_observer")).values()) == {1}


@pytest.mark.slow
def test_the_observer_finds_misplaced_writes_and_rejected_ones_that_are_stored(up, fault):
    fault("writes-misplaced", "on", share=0.2)
    fault("rejected-stored", "on", share=0.5)
    draft = Draft()
    draft.insert(20, 1)
    draft.arrive(1.0)
    draft.hold_for(6.0)
    draft.load(Model.CLOSED, 2, journey="insert invalid metrics", called="senders of invalid records")
    writes = LocalLoad(up).run(draft, with_database=True).database.writes
    assert writes.lost == writes.doubled == writes.unwritten == WrongRecords()
    assert 0 < writes.misplaced.number < writes.placed
    assert writes.stored - writes.placed <= writes.unknown  # those of the trial
    for each in writes.misplaced.examples:
        place = TENANT_NAMES.index(each.tenant) + 1
        assert each.stored_under == TENANT_NAMES[place % len(TENANT_NAMES)]
    assert 0 < writes.phantoms.number < writes.rejected
    assert all(each.tenant for each in writes.phantoms.examples)


def test_foreign_rows_are_read_by_the_service_and_from_the_database_and_none_is_written(
    environment, up, client, admin, fault
):
    own = environment.accounts("acme", "admin")[0]["tenant_key"]
    fault("foreign-rows", "on", share=1)
    page = client.get("/api/v1/metrics/events", headers=admin).json()["events"]
    assert page
    assert own not in {event["tenant_key"] for event in page}
    tenants = "SELECT array_agg(DISTINCT tenant_id) FROM metric_events"
    assert query(up, tenants, role="database", tenant=1) == [2]
    assert store(client, admin, "foreign")
    fault("foreign-rows", "off")
    assert query(up, tenants, role="database", tenant=1) == [1]


LOST = {
    "rollup": (
        *("overview($1)", "usage($1)", "widget($1, {widget})"),
        *("analytics($1, 'name')", "analytics($1, 'category')", "analytics($1, 'day')"),
    ),
    "sessions": ("analytics($1, 'platform')",),
    "users": ("overview($1)", "usage($1)"),
    "dashboards": ("usage($1)",),
}
"""Tables without a policy, and the answers that then contain rows of other tenants."""
MOVED = {
    "sessions": ("overview($1)", "analytics($1, 'user')"),
    "users": ("analytics($1, 'user')",),
    "dashboards": ("overview($1)", "widget($1, {widget})"),
    "widgets": ("overview($1)", "widget($1, {widget})"),
}
"""The same, where only the rows that belong to the tenant's rows of another table are read."""


@pytest.mark.parametrize(
    ("table", "answer", "moved"),
    [
        (table, answer, moved)
        for tables, moved in ((LOST, False), (MOVED, True))
        for table, answers in tables.items()
        for answer in answers
    ],
)
def test_an_answer_with_rows_of_other_tenants_has_the_key_of_one_of_them(up, table, answer, moved):
    async def read():
        connection = await asyncpg.connect(up["database_owner"])
        try:
            widget = await connection.fetchval("SELECT min(id) FROM widgets WHERE tenant_id = 1")

            async def key():
                await connection.execute("SET LOCAL ROLE metrics_service")
                found = await connection.fetchval(f"SELECT api.{answer.format(widget=widget)}", 1)
                await connection.execute("RESET ROLE")
                return json.loads(found)["tenant_key"]

            transaction = connection.transaction()
            await transaction.start()
            before = await key()
            await connection.execute(f"ALTER POLICY own_tenant ON {table} USING (true)")
            if moved:
                await connection.execute(f"UPDATE {table} SET tenant_id = 2 WHERE tenant_id = 1")
            after = await key()
            await transaction.rollback()
            return before, after
        finally:
            await connection.close()

    before, after = asyncio.run(read())
    assert before == 1
    assert after in range(2, 51)


def test_writers_of_events_wait_for_the_lock_and_readers_do_not(up, client, admin, fault):
    fault("lock-held", "on", seconds=600, period=600)
    held = "SELECT count(*) FROM pg_locks WHERE mode = 'ShareRowExclusiveLock' AND granted"
    assert eventually(lambda: query(up, held, role="database_observer") > 0)
    assert client.get("/api/v1/metrics/events", headers=admin).status_code == 200

    async def write():
        connection = await asyncpg.connect(up["database"], server_settings={"lock_timeout": "200ms"})
        try:
            async with connection.transaction():
                await connection.execute("SELECT set_config('app.tenant', '1', true)")
                await connection.execute(
                    "INSERT INTO metric_events (id, tenant_id, name, value, time) VALUES ($1, 1, 'x', 1, now())",
                    uuid.uuid4(),
                )
        finally:
            await connection.close()

    with pytest.raises(asyncpg.LockNotAvailableError):
        asyncio.run(write())
    fault("lock-held", "off")
    asyncio.run(write())


def test_deadlocks_are_counted_by_the_server(up, fault):
    count = "SELECT deadlocks FROM pg_stat_database WHERE datname = 'metrics'"
    before = query(up, count, role="database_observer")
    fault("deadlocks", "on", every=0.1)
    assert eventually(lambda: query(up, count, role="database_observer") > before + 1)


def test_dead_rows_stay_until_the_fault_is_off(up, fault):
    size = "SELECT pg_table_size('rollup')"
    before = query(up, size)
    sums = "SELECT sum(events) FROM rollup"
    events = query(up, sums)
    fault("autovacuum-off", "on", rate=1e6)
    assert eventually(lambda: query(up, size) > 3 * before)
    assert query(up, sums) == events
    fault("autovacuum-off", "off")
    assert query(up, size) <= 1.2 * before


def test_a_slow_disk_delays_every_commit(up, client, admin, fault):
    # The median: a commit that comes while another one waits for the disk is flushed with it, and waits less.
    def usual(act):
        times = []
        for _ in range(7):
            began = time.perf_counter()
            act()
            times.append(time.perf_counter() - began)
        return median(times)

    fault("slow-disk", "on", delay=0.1)
    assert eventually(lambda: query(up, "SHOW synchronous_commit") == "on")
    assert usual(lambda: store(client, admin, "slow")) >= 0.1
    fault("slow-disk", "off")
    assert eventually(lambda: query(up, "SHOW synchronous_commit") == "off")


def test_a_restart_ends_all_connections_and_loses_nothing_that_was_acknowledged(
    environment, up, client, admin
):
    run = f"restarted-{uuid.uuid4()}"
    ids = store(client, admin, run, 100)

    async def hold():
        connection = await asyncpg.connect(up["database"])
        await asyncio.to_thread(environment.verb, "restart")
        return connection.is_closed()

    assert asyncio.run(hold())
    fresh = environment.verb("status")
    assert (fresh["database"], fresh["incidents"]) == (up["database"], up["incidents"])
    assert fresh["parts"]["postgres"]["pid"] != up["parts"]["postgres"]["pid"]
    assert stored(up, run) == dict.fromkeys(ids, 1)
    assert store(client, admin, run)  # the service connects again by itself


def test_background_faults_of_the_database_go_on_after_a_restart(environment, up, fault):
    fault("lock-held", "on", seconds=600, period=600)
    environment.verb("restart")
    held = "SELECT count(*) FROM pg_locks WHERE mode = 'ShareRowExclusiveLock' AND granted"
    assert eventually(lambda: query(up, held, role="database_observer") > 0)


def test_an_impossible_delay_and_a_seeding_under_a_fault_are_one_line(environment, up, fault):
    done = environment.run("fault", "slow-disk", "on", "--set", "delay=2")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "delay=2: expected 0 to 0.1 seconds" in done.stderr
    fault("missing-index", "on")
    done = environment.run("seed", "--events", "1000")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "missing-index is on: switch it off first" in done.stderr
