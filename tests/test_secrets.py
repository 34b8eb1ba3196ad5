"""Passwords, tokens and addresses with passwords in them reach the service, and nothing that a run leaves."""

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from loadkit import cli
from tests.bad_servers import Server, always_says, in_a_thread
from tests.suites import Suite

PASSWORD, TOKEN, KEY = "PASSWORD-IN-PLAIN", "TOKEN-IN-PLAIN", "KEY-IN-PLAIN"
VIEWER, DATABASE = "VIEWER/IN@PLAIN?", "DATABASE%IN PLAIN"
"""Passwords in addresses, where they are percent-encoded."""
DSN = f"postgresql://shop:{quote(DATABASE, safe='')}@127.0.0.1/shop?application_name=loadkit"


def forms(secret: str, user: str = "") -> Iterator[bytes]:
    """All that gives a secret away: itself, percent-encoded, in JSON, and as a header has it beside its user."""
    for text in (secret, quote(secret, safe=""), quote(secret), quote_plus(secret), json.dumps(secret)[1:-1]):
        yield text.encode()
    yield base64.b64encode(f"{user}:{secret}".encode())


SECRETS = {
    form
    for secret, user in ((PASSWORD, ""), (TOKEN, ""), (KEY, ""), (VIEWER, "viewer"), (DATABASE, "shop"))
    for form in forms(secret, user)
}

JOURNEYS = """
from loadkit.journey import journey

async def arrive(user):
    account = user.account
    answer = await user.post("/login", json={"name": account.username, "password": account.password.reveal()})
    user.headers["Authorization"] = f"Bearer {answer.json()['token']}"

@journey("work")
async def work(user):
    await user.get("/work")
    await user.think()

@journey("ask", uses=("db",))
async def ask(user):
    await user.db.fetch("SELECT 1", label="one")

@journey("a mistake")
async def mistake(user):
    if not user.run_id.endswith("-trial"):
        raise ValueError(user.account.password.reveal() + user.headers["Authorization"])
"""


@pytest.fixture
def server() -> Iterator[Server]:
    body = json.dumps({"token": TOKEN}).encode()
    with in_a_thread(
        always_says(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    ) as server:
        yield server


def leaks(folder: Path) -> list[str]:
    """Where below a folder a secret stands; what is packed there is numbers."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 2
    return [
        f"{path.name}: {secret!r}"
        for path in files
        for secret in SECRETS
        if secret in path.read_bytes() or secret in path.name.encode()
    ]


def told(*texts: str) -> list[bytes]:
    """The secrets that texts tell."""
    return [secret for secret in SECRETS if secret in "".join(texts).encode()]


CONTROL = """
import json, os, sys
print("connecting to", os.environ["SHOP_DATABASE"], file=sys.stderr)
facts = {"up": True, "database": os.environ["SHOP_DATABASE"], "parts": {"cache": {"url": os.environ["SHOP_DATABASE"]}}}
print(json.dumps(facts))
"""
OBSERVED = """
control = ["python", "control.py"]
[observer]
url = "env:SHOP_PROMETHEUS"
scrape_interval = 1
[observer.measures."CPU utilization"]
counter = "cpu_seconds_total"
of = 1
[database]
dsn = "control:database"
observer = "env:SHOP_DATABASE"
"""


@pytest.fixture
def prometheus() -> Iterator[Server]:
    series = {"metric": {"instance": "a"}, "values": [[time.time(), "1"]]}
    found = {"status": "success", "data": {"resultType": "matrix", "result": [series]}}
    body = json.dumps(found).encode()
    with in_a_thread(
        always_says(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    ) as server:
        yield server


@pytest.mark.slow
def test_no_file_that_a_session_leaves_and_nothing_it_says_holds_a_secret(tmp_path, server, prometheus):
    observer = f"http://viewer:{quote(VIEWER, safe='')}@127.0.0.1:{prometheus.port}"
    suite = Suite(tmp_path, {"SHOP_DATABASE": DSN, "SHOP_PROMETHEUS": observer})
    suite.use_service(server.base)
    file = tmp_path / "environments" / "local.toml"
    text = file.read_text().replace("tests.sample_journeys.arriving", "shop")
    file.write_text(text.replace("[accounts]", OBSERVED + "[accounts]", 1))
    (tmp_path / "shop.py").write_text(JOURNEYS)
    (tmp_path / "control.py").write_text(CONTROL)
    suite.promise(
        "the p95 response time is below 500 ms",
        "CPU utilization stays below 70%",
        given="""
    Given 5 concurrent users
    And the users are
      | share | journey   |
      | 80%   | work      |
      | 20%   | a mistake |
    And they arrive over 5 seconds
    And each user thinks for 0.05 to 0.1 seconds
    And the load holds for 3 seconds
""",
    )
    ended = suite.run()
    sent, asked = b"".join(server.requests).decode(), b"".join(prometheus.requests)
    assert PASSWORD in sent, "else nothing is proven"
    assert f"Bearer {TOKEN}" in sent
    assert base64.b64encode(f"viewer:{VIEWER}".encode()) in asked
    (run,) = suite.kept_runs
    kept = json.loads((suite.reports / "runs" / run / "run.json").read_text())
    assert kept["observations"]["CPU utilization"]["source"] == f"http://***@127.0.0.1:{prometheus.port}"
    assert any('"a mistake" itself failed: ValueError at shop.py:' in each for each in kept["warnings"])
    judged = suite.loadkit("judge", str(suite.reports / "runs" / run), "the error rate is below 1%")
    status, machine = suite.loadkit("env", "status"), suite.loadkit("env", "status", "--json")
    for said in (status, machine):
        assert "postgresql://***@127.0.0.1/shop?application_name=***" in said.out
    assert told(*(text for each in (ended, judged, status, machine) for text in (each.out, each.err))) == []
    assert leaks(suite.reports) == []


def test_the_trial_before_the_load_tells_no_secret(tmp_path, server):
    suite = Suite(tmp_path, {"SHOP_DATABASE": DSN})
    suite.use_service(server.base)
    file = tmp_path / "environments" / "local.toml"
    file.write_text(file.read_text().replace("tests.sample_journeys.arriving", "shop"))
    (tmp_path / "shop.py").write_text(JOURNEYS.replace('not user.run_id.endswith("-trial")', "True"))
    suite.promise("the error rate is below 1%", given="""
        Given 5 concurrent users
        And the users are
          | share | journey   |
          | 100%  | a mistake |
        And the load holds for 3 seconds
    """)  # fmt: skip
    ended = suite.run()
    assert PASSWORD in b"".join(server.requests).decode(), "else nothing is proven"
    assert '"a mistake" itself failed: ValueError at shop.py:' in ended.out + ended.err
    assert told(ended.out, ended.err) == []
    assert leaks(suite.reports) == []


def test_secrets_given_to_the_command_line_are_sent_and_not_kept(tmp_path, server, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = cli.main(
        ["run", f"{server.base}/?api_key=KEY-IN-PLAIN&page=2", "--users=2", "--for=1s", "--ramp=0", "--think=0.05s..0.1s",
         "--json=all.json", "--plot=all.svg", "--body", json.dumps({"password": PASSWORD}),
         "--header", f"Authorization: Bearer {TOKEN}", "--header", f"X-Api-Key: {PASSWORD}"]
    )  # fmt: skip
    assert code == 0
    assert cli.main(["judge", "last", "--json=again.json"]) == 0
    sent = b"".join(server.requests).decode()
    assert f"authorization: Bearer {TOKEN}\r\n".lower() in sent.lower()
    assert f"x-api-key: {PASSWORD}\r\n".lower() in sent.lower()
    assert "/?api_key=KEY-IN-PLAIN&page=2 HTTP/1.1" in sent
    assert json.dumps({"password": PASSWORD}) in sent
    said = capsys.readouterr()
    assert told(said.out, said.err) == []
    assert leaks(tmp_path) == []


def test_a_database_that_cannot_be_reached_is_named_without_its_password(tmp_path, server):
    suite = Suite(tmp_path, {"SHOP_DATABASE": DSN.replace("127.0.0.1", "127.0.0.1:1")})
    suite.use_service(server.base)
    file = tmp_path / "environments" / "local.toml"
    text = file.read_text().replace("tests.sample_journeys.arriving", "shop")
    file.write_text(text.replace("[accounts]", '[database]\ndsn = "env:SHOP_DATABASE"\n[accounts]', 1))
    (tmp_path / "shop.py").write_text(JOURNEYS)
    suite.promise("the error rate is below 1%", given="""
        Given 5 concurrent users following the "ask" journey
        And the load holds for 3 seconds
    """)  # fmt: skip
    ended = suite.run()
    said = ended.out + ended.err
    assert (
        "the database postgresql://***@127.0.0.1:1/shop?application_name=*** accepts no connection: refused"
        in said
    )
    assert ended.code == 2
    assert told(said) == []
    assert leaks(suite.reports) == []
