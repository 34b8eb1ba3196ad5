"""PgBouncer in transaction mode in front of the local environment's database, on request."""

import asyncio
import os
import uuid

import asyncpg
import pytest

from tests.database_user import visited
from tests.local_environment import LocalEnvironment

pytestmark = pytest.mark.environment


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    local = LocalEnvironment(tmp_path_factory.mktemp("local"))
    local.verb("up", "--owner", str(os.getpid()), "--instances", "1", "--pgbouncer")
    yield local
    local.verb("down")


@pytest.fixture(scope="module")
def facts(environment):
    return environment.verb("status")


async def connect(facts):
    """A client as it must be: without prepared statements that outlive a transaction."""
    return await asyncpg.connect(facts["database"], statement_cache_size=0)


@pytest.mark.slow
def test_it_is_a_part_of_its_own_in_front_of_the_database(facts):
    assert facts["parts"]["pgbouncer"]["healthy"]
    assert facts["usage"]["pgbouncer"]["processes"] == 1
    port = int(facts["database"].rpartition(":")[2].partition("/")[0])
    owner = int(facts["database_owner"].rpartition(":")[2].partition("/")[0])
    assert port != owner


def test_more_clients_than_connections_read_their_own_tenant_and_no_other(facts):
    """Sixty clients share twenty connections, and each transaction sets its own tenant."""

    async def client(tenant):
        connection = await connect(facts)
        try:
            seen = []
            for _ in range(5):
                async with connection.transaction():
                    await connection.execute("SELECT set_config('app.tenant', $1, true)", str(tenant))
                    seen += await connection.fetchval(
                        "SELECT array_agg(DISTINCT tenant_id) FROM metric_events WHERE value > $1", 0.0
                    )
                # The setting has ended with the transaction, on whichever connection it was.
                assert (
                    await connection.fetchval("SELECT count(*) FROM metric_events WHERE value > $1", 0.0) == 0
                )
            return set(seen)
        finally:
            await connection.close()

    async def run():
        tenants = [number % 50 + 1 for number in range(60)]
        return tenants, await asyncio.gather(*(client(tenant) for tenant in tenants))

    tenants, seen = asyncio.run(run())
    assert seen == [{tenant} for tenant in tenants]


def test_the_server_has_fewer_connections_than_there_are_clients(facts):
    async def run():
        clients = await asyncio.gather(*(connect(facts) for _ in range(60)))
        try:
            await asyncio.gather(*(each.fetchval("SELECT 1") for each in clients))
            owner = await asyncpg.connect(facts["database_owner"])
            try:
                return await owner.fetchval(
                    "SELECT count(*) FROM pg_stat_activity WHERE usename = 'metrics_service' AND client_port > 0"
                )
            finally:
                await owner.close()
        finally:
            for each in clients:
                await each.close()

    assert asyncio.run(run()) <= 20


def test_batches_and_copy_within_a_transaction_go_through_it(facts):
    rows = [(uuid.uuid4(), 1, "x", 1.5) for _ in range(100)]

    async def run():
        connection = await connect(facts)
        try:
            async with connection.transaction():
                await connection.execute("SELECT set_config('app.tenant', '1', true)")
                await connection.executemany(
                    "INSERT INTO metric_events (id, tenant_id, name, value, time, run_id) "
                    "VALUES ($1, $2, $3, $4, now(), 'bouncer')",
                    rows,
                )
                # Not into a table with row-level security: PostgreSQL refuses that.
                await connection.execute("CREATE TEMPORARY TABLE more (id uuid) ON COMMIT DROP")
                await connection.copy_records_to_table("more", records=[row[:1] for row in rows])
                assert await connection.fetchval("SELECT count(*) FROM more") == 100
                return await connection.fetchval(
                    "SELECT count(*) FROM metric_events WHERE run_id = 'bouncer'"
                )
        finally:
            await connection.close()

    assert asyncio.run(run()) == 100


def test_users_of_journeys_read_their_own_tenant_through_it_without_a_failure(facts):
    """The driver finds out by itself that no statement may stay prepared."""
    seen: dict[str, set[int]] = {}

    async def use(visit):
        others = [visit.add_user(str(tenant)) for tenant in range(4, 44)]

        async def ask(user):
            user.db.tenant = tenant = user.account.tenant
            for _ in range(10):
                rows = await user.db.fetch(
                    "SELECT DISTINCT tenant_id FROM metric_events WHERE value > $1", 0.0, label="tenants"
                )
                seen.setdefault(tenant, set()).update(row["tenant_id"] for row in rows)

        await asyncio.gather(*(ask(user) for user in (visit.user, *others)))

    visit = visited(facts["database"], use, timeout=30.0)
    assert visit.outcomes() == {"tenants": {"ok": 410}}
    assert seen == {str(tenant): {tenant} for tenant in range(3, 44)}


@pytest.mark.slow
def test_up_with_it_refuses_an_environment_that_is_up_without_it(tmp_path):
    local = LocalEnvironment(tmp_path)
    local.verb("up", "--owner", str(os.getpid()), "--instances", "1")
    try:
        done = local.run("up", "--pgbouncer")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == (
            "error: the environment is up without PgBouncer: stop it first: loadkit env down\n"
        )
    finally:
        local.verb("down")
