"""A shared environment's database is filled in tenants of its own, and emptied of exactly those.

The local environment's database stands for the shared one: it has rows of other tenants.
"""

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.local_environment import PROJECT, environment, eventually, facts, query

pytestmark = pytest.mark.environment
__all__ = ["environment", "facts"]

TABLES = (
    "tenants",
    "users",
    "sessions",
    "metric_events",
    "metrics",
    "rollup",
    "rollup_pending",
    "dashboards",
    "widgets",
    "idempotency_keys",
    "seeding",
)
PASSWORD = "no-password-7"


class Staging:
    """Runs verbs of `python -m environments.staging`."""

    def __init__(self, directory, address) -> None:
        self.directory = directory
        self.variables = {
            **os.environ,
            "METRICS_STAGING_DIR": str(directory),
            "STAGING_DATABASE_OWNER": address,
        }

    def start(self, *arguments):
        return subprocess.Popen(
            [sys.executable, "-m", "environments.staging", *arguments],
            cwd=PROJECT,
            env=self.variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments):
        with self.start(*arguments) as process:
            out, err = process.communicate()
        return process.returncode, out, err

    def verb(self, *arguments):
        code, out, err = self.run(*arguments)
        assert code == 0, err
        return json.loads(out.splitlines()[-1])

    def accounts(self):
        return json.loads((self.directory / "accounts.json").read_text())


@pytest.fixture
def staging(tmp_path, facts):
    staging = Staging(tmp_path, facts["database_owner"])
    yield staging
    for run in (
        query(facts, "SELECT array_agg(DISTINCT run_id) FROM tenants WHERE run_id LIKE 'seed-%'") or ()
    ):
        staging.verb("clean", "--run", run)


def content(facts):
    """A sum over the rows of each table, which tells whether any differs."""
    return {
        table: query(facts, f"SELECT (count(*), sum(hashtextextended(t::text, 0)))::text FROM {table} t")
        for table in TABLES
    }


@pytest.mark.slow
def test_seeding_makes_tenants_of_its_own_and_the_clean_up_removes_exactly_those(staging, facts):
    before = content(facts)
    seeded = staging.verb("seed", "--events", "30000", "--seed", "3")
    assert (seeded["run"], seeded["seeded"]) == ("seed-30000-3", True)
    own = "SELECT array_agg(id) FROM tenants WHERE run_id = 'seed-30000-3' AND name LIKE 'seed-%'"
    tenants = query(facts, own)
    assert len(tenants) == 50
    for table, rows in (("metric_events", 30_000), ("users", 3000), ("dashboards", 200), ("widgets", 1200)):
        assert query(facts, f"SELECT count(*) FROM {table} WHERE tenant_id = ANY ($1)", tenants) == rows
    strays = "SELECT count(*) FROM metric_events WHERE run_id LIKE 'seed-%' AND tenant_id <> ALL ($1)"
    assert query(facts, strays, tenants) == 0
    sums = "SELECT sum(events)::integer FROM rollup WHERE tenant_id = ANY ($1)"
    assert query(facts, sums, tenants) == 30_000
    removed = staging.verb("clean", "--run", "seed-30000-3")["removed"]
    assert (removed["metric_events"], removed["tenants"]) == (30_000, 50)
    assert content(facts) == before


@pytest.mark.slow
def test_an_equal_seeding_does_nothing_and_another_takes_its_place(staging, facts):
    staging.verb("seed", "--events", "2000")
    before = content(facts)
    assert staging.verb("seed", "--events", "2000")["seeded"] is False
    assert content(facts) == before
    assert staging.verb("seed", "--events", "1000")["seeded"] is True
    runs = "SELECT array_agg(DISTINCT run_id) FROM metric_events WHERE run_id LIKE 'seed-%'"
    assert query(facts, runs) == ["seed-1000-1"]


@pytest.mark.slow
def test_an_interrupted_seeding_leaves_nothing_and_can_be_repeated(staging, facts):
    before = content(facts)
    with staging.start("seed", "--events", "3000000") as process:
        while "seeding: [" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        last = process.stderr.read().splitlines()[-1]
    assert (process.returncode, last) == (130, "interrupted")
    assert content(facts) == before
    assert staging.verb("seed", "--events", "1000")["seeded"] is True


@pytest.mark.slow
def test_its_accounts_log_in_and_see_the_rows_of_their_tenant(staging, environment, facts):
    staging.verb("seed", "--events", "5000")
    assert staging.verb("status") == {"up": True, "accounts": str(staging.directory / "accounts.json")}
    assert (staging.directory / "accounts.json").stat().st_mode & 0o777 == 0o600
    account = next(each for each in staging.accounts() if each["tenant"] == "seed-acme")
    with environment.client(facts) as client:

        def log_in():
            return client.post("/api/v1/auth/login", json=account)

        token = log_in().json()["access_token"]
        page = client.get("/api/v1/metrics/events", headers={"Authorization": f"Bearer {token}"}).json()
        assert page["events"]
        # On another machine, without the file, an equal seeding makes new passwords.
        (staging.directory / "accounts.json").unlink()
        assert staging.verb("seed", "--events", "5000")["seeded"] is False
        assert log_in().status_code == 401
        account = next(each for each in staging.accounts() if each["username"] == account["username"])
        assert log_in().status_code == 200


def test_what_runs_write_in_its_tenants_goes_with_them(staging, environment, facts):
    before = content(facts)
    staging.verb("seed", "--events", "1000")
    account = next(each for each in staging.accounts() if each["role"] == "admin")
    with environment.client(facts) as client:
        token = client.post("/api/v1/auth/login", json=account).json()["access_token"]
        headers = {"Authorization": f"Bearer {token}", "X-Run-Id": "a-run", "Idempotency-Key": "k"}
        for path, body in (
            ("metrics/events", {"events": [{"name": "click", "value": 1}]}),
            ("admin/tenants", {"name": "below"}),
            ("admin/users", {"username": "new@seed.example", "password": "x"}),
        ):
            assert client.post(f"/api/v1/{path}", headers=headers, json=body).status_code == 201
    removed = staging.verb("clean", "--run", "seed-1000-1")["removed"]
    assert (removed["tenants"], removed["users"], removed["metric_events"]) == (51, 3001, 1001)
    assert content(facts) == before


def test_the_rows_of_a_run_and_of_its_warm_up_are_cleaned_as_in_the_local_environment(
    staging, environment, facts
):
    with environment.client(facts) as client:
        log_in = environment.log_in(client)
        body = {"events": [{"name": "click", "value": 1}] * 3}
        for run in ("run-9", "run-9-warmup", "run-90"):
            headers = {**log_in, "X-Run-Id": run}
            assert client.post("/api/v1/metrics/events", headers=headers, json=body).status_code == 201
    assert staging.verb("clean", "--run", "run-9")["removed"]["metric_events"] == 6
    assert staging.verb("clean", "--run", "run-90")["removed"]["metric_events"] == 3
    # The service adds the written events to its sums a little later; other tests compare these.
    assert eventually(lambda: query(facts, "SELECT count(*) FROM rollup_pending") == 0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda _: "", "STAGING_DATABASE_OWNER is not set: expected an address such as postgresql://"),
        (lambda _: f"http://u:{PASSWORD}@h/d", "is not an address of a database: expected such as"),
        (lambda _: f"postgresql://u:{PASSWORD}@h:x{PASSWORD}/d", "is not an address of a database"),
        (lambda _: f"postgresql://u:{PASSWORD}@127.0.0.1:1/d", "refuses: "),
        (
            lambda facts: facts["database_owner"].replace("postgres:", f"postgres:{PASSWORD}"),
            'refuses: password authentication failed for user "postgres"',
        ),
        (lambda facts: facts["database_owner"].replace("/metrics", "/nowhere"), '"nowhere" does not exist'),
        (lambda facts: facts["database_owner"].replace("/metrics", "/postgres"), "has no table tenants"),
        (lambda facts: facts["database_service"], "is subject to row-level security of tenants"),
        (lambda facts: facts["database_observer"], "permission denied for"),
    ],
)
def test_a_database_that_cannot_be_seeded_is_one_line_without_a_secret(staging, facts, change, words):
    staging.variables["STAGING_DATABASE_OWNER"] = change({**facts, "database_service": facts["database"]})
    code, out, err = staging.run("seed", "--events", "1000")
    line = err.splitlines()[-1]
    assert (code, out) == (2, "")
    assert line.startswith("error: ")
    assert words in line
    assert PASSWORD not in err
    assert "Traceback" not in err


def test_a_name_that_the_catalogue_lacks_is_one_line(staging, facts, environment):
    query(facts, "UPDATE metrics SET name = 'crashed' WHERE name = 'crash'")
    try:
        code, _, err = staging.run("seed", "--events", "1000")
    finally:
        query(facts, "UPDATE metrics SET name = 'crash' WHERE name = 'crashed'")
    assert (code, err) == (2, "error: the table metrics has no crash: add the names to the catalogue first\n")
