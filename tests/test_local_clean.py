"""`clean --all` of the local environment: the rows of all runs go, and the seed is exactly as it was."""

import asyncio
import os
import uuid
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from loadkit.queries import read_queries
from tests.local_environment import PROJECT, environment, eventually, query, up

pytestmark = pytest.mark.environment
__all__ = ["environment", "up"]

TABLES = (
    "tenants",
    "users",
    "sessions",
    "metric_events",
    "rollup",
    "dashboards",
    "widgets",
    "idempotency_keys",
    "seeding",
)
ESTIMATE = "SELECT reltuples FROM pg_class WHERE relname = 'metric_events_runs'"
"""The number of rows that the planner expects; -1 if it was never counted."""
EVENT = {"name": "page.view", "value": 1.5}


def content(facts):
    """The number of rows of each table, and a sum over them, which tells whether any differs."""
    return {
        table: query(facts, f"SELECT (count(*), sum(hashtextextended(t::text, 0)))::text FROM {table} t")
        for table in TABLES
    }


def by_tenant(facts):
    """The number of events by tenant."""
    sql = "SELECT json_object_agg(tenant_id, n ORDER BY tenant_id)::text FROM (SELECT tenant_id, count(*) AS n FROM metric_events GROUP BY 1) e"
    return query(facts, sql)


def write(environment, facts, run):
    """Rows as runs write them, of each kind: 13 events and 5 other rows; `run` is the header, or None."""
    now = datetime.now(UTC)
    with environment.client(facts) as client:
        headers = {**environment.log_in(client), **({"X-Run-Id": run} if run else {})}
        past, ahead = (
            {**EVENT, "time": moment.isoformat()}
            for moment in (now - timedelta(days=9), now + timedelta(hours=20))
        )
        for path, key, body in (
            ("metrics/sessions", uuid.uuid4(), {"events": [EVENT] * 3}),
            ("metrics/sessions", None, {"events": [past], "started_at": past["time"]}),
            ("metrics/events", uuid.uuid4(), {"events": [past, ahead] * 2}),
            ("metrics/events", None, {"events": [EVENT] * 5}),
            ("admin/users", None, {"username": str(uuid.uuid4()), "password": "x"}),
            ("admin/tenants", None, {"name": str(uuid.uuid4())}),
        ):
            own = {**headers, "Idempotency-Key": str(key)} if key else headers
            answer = client.post(f"/api/v1/{path}", headers=own, json=body)
            assert answer.is_success, answer.text
    assert eventually(lambda: query(facts, "SELECT count(*) FROM rollup_pending") == 0)


REMOVED = {
    "metric_events": 13,
    "sessions": 2,
    "idempotency_keys": 2,
    "users": 1,
    "tenants": 1,
    "widgets": 0,
    "dashboards": 0,
}


@pytest.mark.parametrize("run", ["run-1", None])
def test_the_rows_of_runs_are_removed_and_the_seed_is_exactly_as_it_was(environment, up, run):
    before, tenants = content(up), by_tenant(up)
    write(environment, up, run)
    assert content(up) != before
    cleaned = environment.verb("clean", "--all")
    assert cleaned["removed"] == REMOVED
    assert (content(up), by_tenant(up)) == (before, tenants)
    assert cleaned["rows"] == environment.verb("status")["rows"]
    assert sum(environment.verb("clean", "--all")["removed"].values()) == 0


def test_one_line_tells_how_many_rows_were_removed(environment, up):
    write(environment, up, "run-1")
    done = environment.run("clean", "--all")
    assert done.stderr == "removing the rows of all runs: 19 removed\n"


@pytest.mark.slow
@pytest.mark.parametrize("events", [7, 60_000])
def test_the_seed_is_kept_after_a_seeding_of_another_size_and_a_restart(environment, up, events):
    environment.verb("seed", "--events", str(events), "--seed", "5")
    before = content(up)
    assert query(up, "SELECT count(*) FROM metric_events") == events
    assert query(up, ESTIMATE) == -1
    write(environment, up, "run-1")
    environment.verb("down")
    fresh = environment.verb("up", "--owner", str(os.getpid()))
    assert environment.verb("clean", "--all")["removed"] == REMOVED
    assert content(fresh) == before


def test_events_long_after_the_seeding_are_removed_and_those_before_its_end_are_seeded(environment, up):
    before = content(up)
    bounds = "SELECT max(time) < (SELECT seeded_until FROM seeding) FROM metric_events"
    assert query(up, bounds) is True
    insert = "INSERT INTO metric_events (id, tenant_id, name, value, time) VALUES ($1, 1, 'click', 1, now() + $2) RETURNING tableoid::regclass::text"
    for ahead in (timedelta(), timedelta(days=90), timedelta(days=4000)):
        stored = query(up, insert, uuid.uuid4(), ahead, role="database", tenant=1)
        assert stored == "metric_events_runs"
    assert environment.verb("clean", "--all")["removed"]["metric_events"] == 3
    assert content(up) == before


def test_rows_of_tenants_that_a_run_made_are_removed_with_them(environment, up):
    before = content(up)
    tenant = query(up, "INSERT INTO tenants (name, run_id) VALUES ('seed-x', 'seed-1') RETURNING id")
    dashboard = query(up, "INSERT INTO dashboards (tenant_id, title) VALUES ($1, 'x') RETURNING id", tenant)
    query(
        up,
        "INSERT INTO widgets (dashboard_id, tenant_id, kind, name) VALUES ($1, $2, 'line', 'click')",
        dashboard,
        tenant,
    )
    environment.verb("clean", "--all")
    assert content(up) == before


def test_each_tenant_still_sees_and_writes_its_own_rows_only(environment, up):
    environment.verb("clean", "--all")
    write(environment, up, "run-1")
    seen = "SELECT array_agg(DISTINCT tenant_id) FROM metric_events WHERE time >= (SELECT $1::timestamptz)"
    since = query(up, "SELECT seeded_until FROM seeding")
    assert query(up, seen, since, role="database", tenant=1) == [1]
    assert query(up, seen, since, role="database", tenant=2) is None
    environment.verb("clean", "--all")


@pytest.mark.slow
def test_the_observer_may_read_the_rows_of_runs_after_a_clean(environment, up):
    environment.verb("clean", "--all")
    write(environment, up, "run-1")
    stored = "SELECT count(*) FROM metric_events WHERE run_id = 'run-1'"
    assert query(up, stored, role="database_observer") == 13
    environment.verb("clean", "--all")


@pytest.mark.slow
def test_the_key_queries_use_indexes_with_the_partition_of_runs_empty_full_and_emptied(environment, up):
    environment.verb("clean", "--all")
    queries = read_queries(PROJECT / "steps/journeys/queries").values()
    fill = """
        INSERT INTO metric_events (id, tenant_id, name, value, time)
        SELECT gen_random_uuid(), 1 + n % 3, (ARRAY['click', 'crash', 'page.view'])[1 + n % 3], n,
            now() + n * interval '1 ms' FROM generate_series(1, 60000) n
    """

    async def explain(connection, when):
        for each in queries:
            async with connection.transaction():
                await connection.execute("SELECT set_config('app.tenant', '1', true)")
                rows = await connection.fetch(f"EXPLAIN {each.sql}", *each.example)
            text = "\n".join(row[0] for row in rows)
            assert "Seq Scan on metric_events" not in text, f"{when}: {each.name}: {text}"
            if "metric_events" in each.sql:
                assert "metric_events_runs_" in text, f"{when}: {each.name}: {text}"

    async def look():
        connection = await asyncpg.connect(up["database"])
        try:
            await explain(connection, "empty")
            await asyncio.to_thread(query, up, fill)
            await explain(connection, "full")
            await asyncio.to_thread(query, up, "SELECT count(*) FROM metric_events")
            await explain(connection, "full and counted")
            removed = await asyncio.to_thread(environment.verb, "clean", "--all")
            assert removed["removed"]["metric_events"] == 60_000
            await explain(connection, "emptied")
        finally:
            await connection.close()

    asyncio.run(look())


def test_few_rows_of_runs_are_not_analysed_and_many_are(environment, up):
    environment.verb("clean", "--all")
    options = "SELECT reloptions FROM pg_class WHERE relname = 'metric_events_runs'"
    assert "autovacuum_analyze_threshold=10000" in query(up, options)
    assert query(up, ESTIMATE) == -1


@pytest.mark.slow
def test_a_clean_that_must_wait_too_long_is_one_line_and_removes_nothing(environment, up, monkeypatch):
    from environments.local import clean
    from environments.local.errors import LocalError

    monkeypatch.setattr(clean, "_LOCK_SECONDS", 1)
    write(environment, up, "run-1")
    before = content(up)

    async def hold():
        connection = await asyncpg.connect(up["database_owner"])
        try:
            async with connection.transaction():
                await connection.execute("LOCK TABLE metric_events IN SHARE ROW EXCLUSIVE MODE")
                await clean.clean_all(up["database_owner"])
        finally:
            await connection.close()

    with pytest.raises(LocalError, match=r"the rows of runs cannot be removed: .*lock timeout") as refusal:
        asyncio.run(hold())
    assert "\n" not in str(refusal.value)
    assert content(up) == before
    environment.verb("clean", "--all")


def test_a_run_or_all_must_be_named_and_not_both(environment, up):
    for arguments in ((), ("--run", "x", "--all")):
        assert environment.run("clean", *arguments).returncode == 2


@pytest.mark.slow
def test_the_rows_of_a_warm_up_go_with_those_of_its_run(environment, up):
    before = content(up)
    for run in ("run-1", "run-1-warmup", "run-10"):
        write(environment, up, run)
    assert environment.verb("clean", "--run", "run-1")["removed"]["metric_events"] == 26
    assert environment.verb("clean", "--run", "run-10")["removed"]["metric_events"] == 13
    environment.verb("clean", "--all")
    assert content(up) == before
