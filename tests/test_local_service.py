"""The service's API, asked through the load balancer of a running local environment."""

import asyncio
import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import asyncpg
import pytest

from environments.local.dataset import TENANT_NAMES
from tests.local_environment import (
    admin,
    client,
    environment,
    eventually,
    facts,
    fault,
    get,
    query,
    stranger,
)

pytestmark = pytest.mark.environment
__all__ = ["admin", "client", "environment", "facts", "fault", "stranger"]

EVENT = {"name": "page.view", "value": 1.5}


@pytest.fixture(scope="module")
def member(environment, client):
    return environment.log_in(client, role="member")


@pytest.mark.slow
def test_both_instances_answer_and_say_which_they_are(client):
    assert {client.get("/healthz").headers["X-Instance"] for _ in range(4)} == {"metrics-1", "metrics-2"}


def test_readyz_tells_version_instance_and_the_state_of_database_and_cache(client):
    facts = client.get("/readyz").json()
    assert facts == {
        "ready": True,
        "instance": facts["instance"],
        "version": "1.0.0",
        "checks": {"database": True, "cache": True},
    }


def test_the_accounts_are_three_thousand_of_fifty_tenants_a_third_admins(environment):
    accounts = json.loads((environment.directory / "accounts.json").read_text())
    assert len({each["username"] for each in accounts}) == 3000
    assert len({each["tenant"] for each in accounts}) == len({each["tenant_key"] for each in accounts}) == 50
    assert sum(each["role"] == "admin" for each in accounts) == 1000


def test_a_token_of_one_instance_is_good_on_the_other(client, admin):
    seen = {client.get("/api/v1/auth/me", headers=admin).headers["X-Instance"] for _ in range(4)}
    assert len(seen) == 2


def test_a_wrong_password_is_401(environment, client):
    account = environment.accounts("acme", "admin")[0]
    assert client.post("/api/v1/auth/login", json={**account, "password": "guess"}).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer access.1.1.admin.x.9999999999.00"}, {"Authorization": "Bearer nonsense"}],
)
def test_without_a_good_token_it_is_401_with_json(client, headers):
    answer = client.get("/api/v1/dashboard/overview", headers=headers)
    assert answer.status_code == 401
    assert answer.json()["error"] == "Unauthorized"


def test_a_refresh_token_gives_tokens_and_is_no_access_token(environment, client):
    tokens = client.post("/api/v1/auth/login", json=environment.accounts("acme", "member")[1]).json()
    fresh = client.post("/api/v1/auth/refresh", json={"refresh_token": tokens["refresh_token"]}).json()
    ask = lambda token: client.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {token}"})  # noqa: E731
    assert ask(fresh["access_token"]).status_code == 200
    assert ask(tokens["refresh_token"]).status_code == 401


def test_after_logout_no_instance_takes_the_token(environment, client):
    token = environment.log_in(client, role="member")
    assert client.post("/api/v1/auth/logout", headers=token).json() == {"logged_out": True}
    assert eventually(
        lambda: [client.get("/api/v1/auth/me", headers=token).status_code for _ in range(4)] == [401] * 4
    )


@pytest.mark.parametrize("path", ["tenants", "users", "usage"])
def test_admin_endpoints_are_403_for_members(client, member, path):
    assert client.get(f"/api/v1/admin/{path}", headers=member).status_code == 403


def test_unknown_paths_and_methods_are_404_and_405_with_json_and_instance(client):
    for answer, status in ((client.get("/nowhere"), 404), (client.get("/api/v1/auth/login"), 405)):
        assert answer.status_code == status
        assert "message" in answer.json()
        assert answer.headers["X-Instance"]


def test_a_stored_event_is_read_back(client, admin):
    sent = {"name": "api.latency", "value": 42.25, "id": str(uuid.uuid4())}
    stored = client.post("/api/v1/metrics/events", headers=admin, json={"events": [sent]})
    assert stored.status_code == 201
    assert stored.json()["ids"] == [sent["id"]]
    page = client.get("/api/v1/metrics/events", headers=admin, params={"name": "api.latency"}).json()
    assert {key: page["events"][0][key] for key in sent} == sent


def test_a_session_returns_its_id_and_those_of_its_events(client, admin, facts):
    answer = client.post("/api/v1/metrics/sessions", headers=admin, json={"events": [EVENT, EVENT]}).json()
    assert query(facts, "SELECT event_count FROM sessions WHERE id = $1", uuid.UUID(answer["id"])) == 2
    found = query(
        facts, "SELECT array_agg(id::text) FROM metric_events WHERE session_id = $1", uuid.UUID(answer["id"])
    )
    assert sorted(found) == sorted(answer["ids"])


@pytest.mark.parametrize("kind", ["events", "sessions"])
def test_the_same_idempotency_key_stores_once_also_at_the_same_time(client, admin, facts, kind):
    headers = {**admin, "Idempotency-Key": str(uuid.uuid4()), "X-Run-Id": f"idempotency-{kind}"}

    def post(_):
        return client.post(f"/api/v1/metrics/{kind}", headers=headers, json={"events": [EVENT]})

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(post, range(16)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    assert sum("Idempotent-Replay" in answer.headers for answer in answers) == 15
    assert query(facts, "SELECT count(*) FROM metric_events WHERE run_id = $1", f"idempotency-{kind}") == 1


def observed(facts, sql, *arguments):
    return query(facts, sql, *arguments, role="database_observer")


def test_the_observer_finds_each_row_of_a_run_by_the_id_that_its_writer_chose(client, admin, facts):
    headers = {**admin, "X-Run-Id": "own-ids"}
    chosen = [str(uuid.uuid4()) for _ in range(3)]
    body = {"events": [{**EVENT, "id": each} for each in chosen]}
    answer = client.post("/api/v1/metrics/events", headers=headers, json=body)
    assert answer.json()["ids"] == chosen  # in the order of the events
    found = observed(facts, "SELECT array_agg(id::text) FROM metric_events WHERE run_id = 'own-ids'")
    assert sorted(found) == sorted(chosen)


def test_an_id_that_is_used_again_at_the_same_time_is_409_and_nothing_of_the_batch_is_stored(
    client, admin, facts
):
    event = {**EVENT, "id": str(uuid.uuid4()), "time": datetime.now(UTC).isoformat()}

    def post(*events):
        headers = {**admin, "X-Run-Id": "reused"}
        return client.post("/api/v1/metrics/events", headers=headers, json={"events": events}).status_code

    assert (post(event), post(EVENT, event), post(event, event)) == (201, 409, 409)
    assert observed(facts, "SELECT count(*) FROM metric_events WHERE run_id = 'reused'") == 1


def test_a_batch_whose_last_event_is_invalid_is_422_and_none_of_it_is_stored(client, admin, facts):
    headers = {**admin, "X-Run-Id": "invalid-batch"}
    events = [{**EVENT, "id": str(uuid.uuid4())} for _ in range(4)] + [{**EVENT, "value": None}]
    answer = client.post("/api/v1/metrics/events", headers=headers, json={"events": events})
    assert answer.status_code == 422
    assert observed(facts, "SELECT count(*) FROM metric_events WHERE run_id = 'invalid-batch'") == 0


def test_who_got_no_answer_finds_the_write_by_its_key(client, admin, facts):
    key = str(uuid.uuid4())
    headers = {**admin, "X-Run-Id": "unanswered", "Idempotency-Key": key}
    with client.stream("POST", "/api/v1/metrics/events", headers=headers, json={"events": [EVENT] * 2}):
        pass  # the answer is not read
    found = observed(
        facts, "SELECT ids::text[] FROM idempotency_keys WHERE run_id = 'unanswered' AND key = $1", key
    )
    again = client.post("/api/v1/metrics/events", headers=headers, json={"events": [EVENT] * 2})
    assert again.headers["Idempotent-Replay"] == "true"
    assert again.json()["ids"] == found
    assert observed(facts, "SELECT count(*) FROM metric_events WHERE run_id = 'unanswered'") == 2


def test_the_same_key_of_another_tenant_is_another_key(client, admin, stranger):
    key = {"Idempotency-Key": str(uuid.uuid4())}
    post = lambda who: client.post("/api/v1/metrics/events", headers={**who, **key}, json={"events": [EVENT]})  # noqa: E731
    assert post(admin).json()["ids"] != post(stranger).json()["ids"]


@pytest.mark.parametrize("is_wanted", [True, False])
def test_a_page_of_events_is_json_whatever_their_names_are(client, admin, facts, is_wanted):
    name = 'no "name" \\ of the service'
    query(
        facts,
        """
        INSERT INTO metric_events (id, tenant_id, name, value, time)
            SELECT gen_random_uuid(), id, $1, 1, now() + interval '23 hours' FROM tenants WHERE name = 'acme'
        """,
        name,
    )
    try:
        wanted = {"name": name} if is_wanted else {}
        page = client.get("/api/v1/metrics/events", headers=admin, params=wanted).json()
        assert page["events"][0]["name"] == name
    finally:
        query(facts, "DELETE FROM metric_events WHERE name = $1", name)


def test_pages_of_events_follow_each_other_without_gap_or_repeat(client, admin, facts):
    since = datetime.now(UTC) - timedelta(days=10)
    until = since + timedelta(days=1)
    span = {"from": since.isoformat(), "to": until.isoformat()}
    seen, cursor = [], None
    while True:
        page = client.get(
            "/api/v1/metrics/events", headers=admin, params={**span, **({"cursor": cursor} if cursor else {})}
        ).json()
        seen += [(event["time"], event["id"]) for event in page["events"]]
        cursor = page["next"]
        if cursor is None:
            break
    tenant = query(facts, "SELECT id FROM tenants WHERE name = 'acme'")
    stored = query(
        facts,
        "SELECT count(*) FROM metric_events WHERE tenant_id = $1 AND time >= $2 AND time < $3",
        tenant,
        since,
        until,
    )
    assert stored > 100
    assert len(seen) == len(set(seen)) == stored
    assert seen == sorted(seen, reverse=True)


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        {"events": []},
        {"events": [EVENT] * 1001},
        {"events": ["x"]},
        {"events": [{"name": "no spaces", "value": 1}]},
        {"events": [{"name": "x", "value": "1"}]},
        {"events": [{"name": "x", "value": True}]},
        {"events": [{"name": "x", "value": 1, "time": "yesterday"}]},
        {"events": [{"name": "x", "value": 1, "time": "2001-01-01T00:00:00Z"}]},
        {"events": [{"name": "x", "value": 1, "id": "1"}]},
        {"events": [EVENT], "session_id": 5},
    ],
)
def test_a_body_of_the_wrong_shape_is_422_and_says_where(client, admin, body):
    answer = client.post("/api/v1/metrics/events", headers=admin, json=body)
    assert answer.status_code == 422
    assert ":" in answer.json()["message"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v1/metrics/events?from=soon", 422),
        ("GET", "/api/v1/metrics/events?cursor=x", 422),
        ("GET", "/api/v1/dashboard/analytics?group_by=mood", 422),
        ("GET", "/api/v1/dashboard/widgets/999999999999", 404),
        ("GET", "/api/v1/admin/users?after=x", 422),
    ],
)
def test_a_bad_question_is_a_4xx(client, admin, method, path, status):
    assert client.request(method, path, headers=admin).status_code == status


def test_a_body_that_is_not_json_is_400(client, admin):
    assert client.post("/api/v1/metrics/events", headers=admin, content=b"{").status_code == 400


@pytest.mark.parametrize(("header", "value"), [("X-Run-Id", "a b"), ("Idempotency-Key", "k" * 200)])
def test_an_unreadable_header_is_400(client, admin, header, value):
    answer = client.post("/api/v1/metrics/events", headers={**admin, header: value}, json={"events": [EVENT]})
    assert answer.status_code == 400


def test_events_for_an_unknown_session_are_404_and_not_stored(client, admin, facts):
    body = {"events": [EVENT], "session_id": str(uuid.uuid4())}
    answer = client.post("/api/v1/metrics/events", headers={**admin, "X-Run-Id": "no-session"}, json=body)
    assert answer.status_code == 404
    assert query(facts, "SELECT count(*) FROM metric_events WHERE run_id = 'no-session'") == 0


@pytest.mark.parametrize("dimension", ["name", "category", "day", "user", "platform"])
def test_analytics_group_by_every_dimension(client, admin, dimension):
    answer = client.get("/api/v1/dashboard/analytics", headers=admin, params={"group_by": dimension}).json()
    assert len(answer["groups"]) > 3
    assert all(group["events"] > 0 for group in answer["groups"])


def test_the_overview_comes_from_the_cache_the_second_time(client, environment):
    token = environment.log_in(client, tenant="hooli")
    hits = lambda: sum(metric(environment, each, "cache_hits_total") for each in instances(environment))  # noqa: E731
    first = client.get("/api/v1/dashboard/overview", headers=token)
    before = hits()
    assert client.get("/api/v1/dashboard/overview", headers=token).content == first.content
    assert hits() == before + 1


def test_foreign_answers_are_the_first_tenants_page_until_the_fault_is_off(client, environment, fault):
    own, others = (
        environment.accounts(tenant, "admin")[0]["tenant_key"].encode() for tenant in ("hooli", "acme")
    )
    token = environment.log_in(client, tenant="hooli")

    def ask(headers):
        return client.get("/api/v1/dashboard/overview", headers=headers).content

    ask(environment.log_in(client))  # so that the cache has the first tenant's page
    fault("foreign-answers", share=1)
    found = ask(token)
    assert others in found
    assert own not in found
    fault("foreign-answers", "off")
    found = ask(token)
    assert own in found
    assert others not in found


SUMS = ("dashboard/overview", "admin/usage")
ANALYTICS = tuple(
    f"dashboard/analytics?group_by={each}" for each in ("name", "category", "day", "user", "platform")
)


def test_sums_of_another_tenant_carry_its_key_until_the_fault_is_off(client, environment, fault):
    place = 20  # of a tenant whose overview no other test puts into the cache
    own, others = (
        environment.accounts(tenant, "admin")[0]["tenant_key"] for tenant in TENANT_NAMES[place : place + 2]
    )
    token = environment.log_in(client, tenant=TENANT_NAMES[place])

    def keys(paths):
        return {client.get(f"/api/v1/{path}", headers=token).json()["tenant_key"] for path in paths}

    fault("foreign-sums", share=1)
    assert keys(SUMS + ANALYTICS) == {others}
    fault("foreign-sums", "off")
    assert keys(SUMS[1:] + ANALYTICS) == {own}


def test_the_valid_events_of_a_rejected_batch_are_stored_until_the_fault_is_off(client, admin, fault, facts):
    valid, invalid = {"name": "page.view", "value": 1}, {"name": "page.view", "value": None}

    def send(run, *events):
        """The ids of the events, with the message of the answer, and those that are stored."""
        given = [{**event, "id": str(uuid.uuid4())} for event in events]
        headers = {**admin, "X-Run-Id": run}
        answer = client.post("/api/v1/metrics/events", headers=headers, json={"events": given})
        assert answer.status_code == 422
        sql = "SELECT array_agg(id::text) FROM metric_events WHERE run_id = $1"
        return [each["id"] for each in given], answer.json()["message"], query(facts, sql, run)

    fault("rejected-stored", share=1)
    ids, under_fault, stored = send("rejected-1", valid, invalid, valid)
    assert sorted(stored) == sorted([ids[0], ids[2]])
    assert send("rejected-2", invalid)[2] is None
    fault("rejected-stored", "off")
    _, message, stored = send("rejected-3", valid, invalid, valid)
    assert (stored, message) == (None, under_fault)


def test_a_widget_of_the_overview_has_thirty_days_of_its_metric(client, admin):
    overview = client.get("/api/v1/dashboard/overview", headers=admin).json()["overview"]
    widget = client.get(f"/api/v1/dashboard/widgets/{overview['dashboards'][0]['widgets'][0]}", headers=admin)
    assert widget.status_code == 200
    series = widget.json()["widget"]["series"]
    days = [date.fromisoformat(point["day"]) for point in series]
    # Also just after midnight, when nothing has happened today.
    assert days == [days[0] + timedelta(days=n) for n in range(30)]
    assert sum(point["events"] for point in series) > 0
    assert all((point["mean"] is None) == (point["events"] == 0) for point in series)


def test_an_admin_makes_tenants_and_users_who_can_log_in(client, admin):
    name = f"branch-{uuid.uuid4()}"
    assert client.post("/api/v1/admin/tenants", headers=admin, json={"name": name}).status_code == 201
    assert client.post("/api/v1/admin/tenants", headers=admin, json={"name": name}).status_code == 409
    assert name in client.get("/api/v1/admin/tenants", headers=admin).text
    user = {"username": f"{uuid.uuid4()}@acme.example", "password": "correct horse"}
    assert client.post("/api/v1/admin/users", headers=admin, json=user).status_code == 201
    assert client.post("/api/v1/admin/users", headers=admin, json=user).status_code == 409
    assert client.post("/api/v1/auth/login", json=user).json()["role"] == "member"


def test_no_answer_to_one_tenant_carries_the_key_of_another(environment, client, admin, stranger):
    def read(token):
        overview = client.get("/api/v1/dashboard/overview", headers=token)
        widget = overview.json()["overview"]["dashboards"][0]["widgets"][0]
        paths = [
            "auth/me",
            "metrics/events",
            f"dashboard/widgets/{widget}",
            "dashboard/analytics?group_by=user",
            "admin/tenants",
            "admin/users",
            "admin/usage",
        ]
        return [overview.text] + [client.get(f"/api/v1/{path}", headers=token).text for path in paths]

    keys = {name: environment.accounts(name, "admin")[0]["tenant_key"] for name in ("acme", "globex")}
    assert all(
        keys["acme"] in text and keys["globex"] not in text for text in read(admin) if "tenant_key" in text
    )
    assert all(
        keys["globex"] in text and keys["acme"] not in text for text in read(stranger) if "tenant_key" in text
    )


def test_another_tenants_widget_is_404(client, admin, stranger):
    overview = client.get("/api/v1/dashboard/overview", headers=stranger).json()["overview"]
    theirs = overview["dashboards"][0]["widgets"][0]
    assert client.get(f"/api/v1/dashboard/widgets/{theirs}", headers=admin).status_code == 404


def test_the_database_itself_separates_tenants(facts):
    """Row-level security holds for the service's role, whatever its SQL says."""

    async def look():
        connection = await asyncpg.connect(facts["database"])
        try:
            count = "SELECT count(*) FROM metric_events"
            unset = await connection.fetchval(count)
            async with connection.transaction():
                await connection.execute("SELECT set_config('app.tenant', '1', true)")
                tenants = await connection.fetchval("SELECT array_agg(DISTINCT tenant_id) FROM metric_events")
                with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
                    await connection.execute(
                        "INSERT INTO metric_events (id, tenant_id, name, value, time) VALUES ($1, 2, 'x', 1, now())",
                        uuid.uuid4(),
                    )
            return unset, tenants, await connection.fetchval(count)
        finally:
            await connection.close()

    assert asyncio.run(look()) == (0, [1], 0)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO metrics VALUES ('x', 'x', 'x')",
        "UPDATE metric_events SET value = 0",
        "DELETE FROM tenants",
        "TRUNCATE rollup",
        "DROP INDEX metric_events_by_name",
        "CREATE TABLE mine ()",
        "CREATE TEMPORARY TABLE mine ()",
        "SELECT * FROM remove_run('x')",
        "SELECT api.refresh_rollup()",
        "SET ROLE metrics_service",
        "ALTER ROLE metrics_observer SUPERUSER",
    ],
)
def test_the_observer_cannot_write_also_where_it_ends_its_read_only_default(facts, statement):
    async def attempt():
        connection = await asyncpg.connect(facts["database_observer"])
        try:
            assert await connection.fetchval("SHOW default_transaction_read_only") == "on"
            await connection.execute("SET default_transaction_read_only = off")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(attempt())


def test_the_observer_sees_the_rows_of_all_tenants_and_the_statements_of_the_service(facts, admin):
    async def look():
        connection = await asyncpg.connect(facts["database_observer"])
        try:
            return (
                await connection.fetchval("SELECT count(DISTINCT tenant_id) FROM metric_events"),
                await connection.fetchval(
                    "SELECT count(*) FROM pg_stat_statements WHERE query LIKE '%api.credentials%'"
                ),
            )
        finally:
            await connection.close()

    tenants, statements = asyncio.run(look())
    assert tenants == 50
    assert statements > 0


def test_rows_of_a_run_and_only_those_are_cleaned(environment, client, admin, facts):
    before = environment.verb("status")["rows"]
    run = {**admin, "X-Run-Id": "run-7", "Idempotency-Key": str(uuid.uuid4())}
    client.post("/api/v1/metrics/sessions", headers=run, json={"events": [EVENT] * 3})
    client.post("/api/v1/admin/users", headers=run, json={"username": str(uuid.uuid4()), "password": "x"})
    client.post("/api/v1/admin/tenants", headers=run, json={"name": str(uuid.uuid4())})
    client.post("/api/v1/metrics/events", headers={**admin, "X-Run-Id": "run-70"}, json={"events": [EVENT]})
    removed = environment.verb("clean", "--run", "run-7")["removed"]
    assert removed == {"metric_events": 3, "sessions": 1, "idempotency_keys": 1, "users": 1, "tenants": 1}
    after = environment.verb("status")["rows"]
    assert after == {**before, "metric_events": before["metric_events"] + 1}
    assert environment.verb("clean", "--run", "run-70")["removed"]["metric_events"] == 1


def test_the_rollup_is_the_sum_of_the_events(facts):
    def holds():
        return query(facts, "SELECT (SELECT sum(events) FROM rollup) = (SELECT count(*) FROM metric_events)")

    assert eventually(holds)


def test_the_key_queries_use_indexes(facts):
    async def plans():
        connection = await asyncpg.connect(facts["database"])
        try:
            async with connection.transaction():
                await connection.execute("SELECT set_config('app.tenant', '1', true)")
                return [
                    await connection.fetch(f"EXPLAIN {sql}")
                    for sql in (
                        "SELECT * FROM metric_events WHERE time > now() - interval '1 day' ORDER BY time DESC LIMIT 50",
                        "SELECT * FROM metric_events WHERE name = 'click' ORDER BY time DESC LIMIT 50",
                        "SELECT name, sum(events) FROM rollup WHERE day > current_date - 30 GROUP BY name",
                    )
                ]
        finally:
            await connection.close()

    for plan in asyncio.run(plans()):
        text = "\n".join(row[0] for row in plan)
        assert "Index" in text
        assert "Seq Scan on metric_events_" not in text.replace("(cost=0.00..0.00", "")


def instances(environment):
    return [each["url"] for each in environment.verb("status")["instances"]]


def metric(_environment, url, name):
    lines = get(f"{url}/metrics").text.splitlines()
    return float(next(line for line in lines if line.startswith(f"{name} ")).split()[1])


def test_metrics_count_each_request_by_group_method_route_and_status(client, admin, environment):
    labels = '{group="admin",method="GET",route="/api/v1/admin/usage",status="200"}'
    urls = instances(environment)

    def count():
        lines = [line for url in urls for line in get(f"{url}/metrics").text.splitlines()]
        return sum(int(line.split()[1]) for line in lines if line.startswith(f"http_requests_total{labels} "))

    before = count()
    for _ in range(5):
        client.get("/api/v1/admin/usage", headers=admin)
    assert count() == before + 5


def test_prometheus_sees_each_instance_by_name(facts):
    def seen():
        answer = get(f"{facts['prometheus']}/api/v1/query", params={"query": "up"}).json()
        return {row["metric"]["instance"]: row["value"][1] for row in answer["data"]["result"]}

    assert eventually(lambda: seen() == {"metrics-1": "1", "metrics-2": "1", "haproxy": "1"})
