"""Passwords, tokens and addresses with passwords in them reach the service, and nothing that a run leaves."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadkit import cli
from tests.bad_servers import Server, always_says, in_a_thread
from tests.suites import Suite

PASSWORD, TOKEN, DSN = "PASSWORD-IN-PLAIN", "TOKEN-IN-PLAIN", "postgresql://shop:DSN-IN-PLAIN@127.0.0.1/shop"
SECRETS = (PASSWORD, TOKEN, "DSN-IN-PLAIN")

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

@journey("a mistake")
async def mistake(user):
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
        f"{path.name}: {secret}"
        for path in files
        for secret in SECRETS
        if secret.encode() in path.read_bytes() or secret in path.name
    ]


def test_no_file_that_a_session_leaves_and_nothing_it_says_holds_a_secret(tmp_path, server):
    suite = Suite(tmp_path, {"SHOP_DATABASE": DSN})
    suite.use_service(server.base, more='database = "env:SHOP_DATABASE"\n')
    file = tmp_path / "environments" / "local.toml"
    file.write_text(file.read_text().replace("tests.sample_journeys.arriving", "shop"))
    (tmp_path / "shop.py").write_text(JOURNEYS)
    suite.promise(
        "the p95 response time is below 500 ms",
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
    sent = b"".join(server.requests).decode()
    assert PASSWORD in sent, "else nothing is proven"
    assert f"Bearer {TOKEN}" in sent
    (run,) = suite.kept_runs
    judged = suite.loadkit("judge", str(suite.reports / "runs" / run), "the error rate is below 1%")
    told = ended.out + ended.err + judged.out + judged.err
    assert not [secret for secret in SECRETS if secret in told]
    assert leaks(suite.reports) == []


def test_secrets_given_to_the_command_line_are_sent_and_not_kept(tmp_path, server, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = cli.main(
        ["run", f"{server.base}/?api_key=DSN-IN-PLAIN&page=2", "--users=2", "--for=1s", "--ramp=0", "--think=0.05s..0.1s",
         "--json=all.json", "--plot=all.svg", "--body", json.dumps({"password": PASSWORD}),
         "--header", f"Authorization: Bearer {TOKEN}", "--header", f"X-Api-Key: {PASSWORD}"]
    )  # fmt: skip
    assert code == 0
    assert cli.main(["judge", "last", "--json=again.json"]) == 0
    sent = b"".join(server.requests).decode()
    assert f"authorization: Bearer {TOKEN}\r\n".lower() in sent.lower()
    assert f"x-api-key: {PASSWORD}\r\n".lower() in sent.lower()
    assert "/?api_key=DSN-IN-PLAIN&page=2 HTTP/1.1" in sent
    assert json.dumps({"password": PASSWORD}) in sent
    said = capsys.readouterr()
    assert not [secret for secret in SECRETS if secret in said.out + said.err]
    assert leaks(tmp_path) == []
