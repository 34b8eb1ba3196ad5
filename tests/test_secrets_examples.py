"""Examples of requests, messages and queries that carry secrets leave none of these in any file."""

import json
from collections.abc import Iterator
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from websockets.datastructures import Headers
from websockets.http11 import Response

from loadkit.recording.messages import FOREIGN, MISSING, OUT_OF_ORDER, UNREADABLE
from tests.bad_servers import Server, asked, in_a_thread
from tests.local_environment import eventually
from tests.postgres_server import PASSWORD as DATABASE
from tests.postgres_server import PostgresServer, postgres
from tests.suites import Suite, said
from tests.test_secrets import PASSWORD, TOKEN, forms
from tests.websocket_server import serving

__all__ = ["postgres"]

CANARIES = {"acme": "canary/ACME 7", "globex": "canary/GLOBEX 8"}
ARGUMENT = "ARGUMENT-IN-PLAIN"
EVENT = "EVENT-IN-PLAIN"
"""A value whose name alone says that it is secret."""
VOUCHER = "VOUCHER/IN PLAIN 9"
"""A value of test data whose column alone says that it is secret."""
VOUCHERS = '[data.vouchers]\nfile = "vouchers.csv"\nper = "operation"\nrepeat = true\n'
SECRETS = {
    form
    for secret, user in ((PASSWORD, "u0"), (TOKEN, ""), (DATABASE, "shop"), (ARGUMENT, ""), (EVENT, ""), (VOUCHER, ""), *((each, "") for each in CANARIES.values()))
    for form in forms(secret, user)
}  # fmt: skip

JOURNEYS = f"""
import asyncio, base64, json, time
from contextlib import suppress
from loadkit.drivers.base import NoResponse
from loadkit.journey import journey

TOKEN, ARGUMENT, EVENT = {TOKEN!r}, {ARGUMENT!r}, {EVENT!r}

def read(message):
    event = json.loads(message)
    return event["stream"], event["number"], event["created"]

@journey("ask", data=("vouchers",))
async def ask(user):
    password = user.account.password.reveal()
    basic = base64.b64encode(f"{{user.account.username}}:{{password}}".encode()).decode()
    for _ in range(2):
        await user.get("/ask", headers={{"Authorization": f"Basic {{basic}}", "X-Api-Key": TOKEN}})
        await user.think()
    body = {{"deep": [{{"api_key": EVENT}}], "nested": json.dumps({{"password": password}})}}
    await user.post(f"/ask?state=x&data={{json.dumps(dict(token=TOKEN))}}", json=body, label="POST /ask")
    await user.think()
    code = user.data.next("vouchers")["token"]
    await user.post(f"/vouchers/{{code}}", json={{"code": code}}, label="POST /vouchers/{{code}}")
    await user.think()

@journey("watch", uses=("http", "ws"))
async def watch(user):
    user.ws.headers["authorization"] = f"Bearer {{TOKEN}}"
    if not user.run_id.endswith("-trial"):
        with suppress(NoResponse):
            await user.ws.connect(f"/refuse?token={{TOKEN}}", label="refused")
    ws = await user.ws.connect("/stream")
    foreign = user.checks_tenants()
    subscription = ws.subscribe(read)
    with suppress(NoResponse):
        await ws.request({{"password": user.account.password.reveal(), "of": EVENT and "x"}}, lambda text: "answer" in text, timeout=0.3)
    foreign({CANARIES["globex"]!r})
    with suppress(NoResponse):
        await ws.hold(0.5)
    await user.think()

@journey("query", uses=("db",))
async def query(user):
    if not user.run_id.endswith("-trial"):
        for sql, arguments in (
            ("SELECT $1::text::int", [ARGUMENT]),
            ("INSERT INTO stock VALUES (1, $1::int)", [17]),
            (f"SELECT nothing, '{{ARGUMENT}}', $${{TOKEN}}$$", []),
            ("DO $$BEGIN RAISE EXCEPTION 'seen: {DATABASE} {CANARIES["acme"]}'; END$$", []),
            (f"SELECT set_config('x.password', '{{ARGUMENT}}', true), pg_sleep(0.05)", []),
        ):
            with suppress(NoResponse):
                await user.db.fetch(sql, *arguments, label=sql[:12])
            await user.think()
    for _ in range(20):
        await user.db.fetch("SELECT 1", label="one")
        await user.think()
"""


def leaks(folder: Path) -> list[str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [f"{path.name}: {secret!r}" for path in files for secret in SECRETS if secret in path.read_bytes()]


def refuse(refused: list[str], _: Any, request: Any) -> Response | None:
    if not request.path.startswith("/refuse"):
        return None
    refused.append(request.path)
    seen = f"{request.headers['authorization']} {request.path} {PASSWORD} {CANARIES['acme']}"
    headers = Headers([("Set-Cookie", f"sid={TOKEN}"), ("X-Seen", quote(seen)), ("X-Instance", "ws-2")])
    body = json.dumps({"error": "not allowed", "seen": seen, "secret": EVENT}).encode()
    headers["Content-Length"] = str(len(body))
    return Response(401, "Unauthorized", headers, body)


async def stream(connection: Any) -> None:
    marks = {"mark": CANARIES["acme"], "session_id": EVENT, "note": f"for {PASSWORD}"}
    for number in (1, 4, 3):
        await connection.send(json.dumps({"stream": "cpu", "number": number, "created": 1.0, **marks}))
    await connection.send(f"no JSON: {TOKEN} {PASSWORD}")
    await connection.recv()
    await connection.close(1008, f"token={TOKEN} {PASSWORD}")


@pytest.fixture
def service() -> Iterator[Server]:
    async def answers(server: Any, reader: Any, writer: Any) -> None:
        while True:
            request = await asked(server, reader)
            status = HTTPStatus.SERVICE_UNAVAILABLE if request.startswith(b"POST") else HTTPStatus.OK
            seen = {"seen": request.decode("latin-1"), "mark": CANARIES["acme"], "token": EVENT}
            body = json.dumps(seen).encode()
            head = f"HTTP/1.1 {status.value} X\r\nSet-Cookie: sid={TOKEN}\r\nX-Instance: web-1\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()

    with in_a_thread(answers) as server:
        yield server


@pytest.mark.slow
def test_no_example_of_a_request_a_message_or_a_query_leaves_a_secret_in_any_file(
    tmp_path: Path, service: Server, postgres: PostgresServer
) -> None:
    suite = Suite(tmp_path, {"SHOP_DATABASE": postgres.dsn()})
    refused: list[str] = []

    def is_met() -> bool:
        """Has each failure come several times?"""
        posts = sum(request.startswith(b"POST") for request in service.requests)
        return len(refused) > 2 and posts > 20 and postgres.log.count("ERROR:  seen: ") > 5

    with serving(stream, process_request=partial(refuse, refused)) as websocket:
        address = websocket.replace("http", "ws")
        suite.use_service(service.base, more=f'websocket = "{address}"\ninstance_header = "X-Instance"\n')
        file = tmp_path / "environments" / "local.toml"
        text = file.read_text().replace("tests.sample_journeys.arriving", "shop")
        text = text.replace(
            "[accounts]", f'[database]\ndsn = "env:SHOP_DATABASE"\n{VOUCHERS}[accounts]\ncanary = "mark"', 1
        )
        file.write_text(text)
        rows = [
            {"username": f"u{number}", "password": PASSWORD, "tenant": tenant, "mark": CANARIES[tenant]}
            for number, tenant in enumerate(["acme", "globex"] * 3)
        ]
        (tmp_path / "accounts.json").write_text(json.dumps(rows))
        (tmp_path / "vouchers.csv").write_text(f"sku,token\na1,{VOUCHER}\n")
        (tmp_path / "shop.py").write_text(JOURNEYS)
        suite.promise(
            "the error rate is below 1%",
            "the connection success rate is above 99%",
            "no message is lost",
            given="""
    Given the load follows
      | for        | users |
      | 5 s        | 5     |
      | 10 minutes | 6     |
      | 30 s       | 6     |
    And the users are
      | share | journey |
      | 20%   | ask     |
      | 20%   | watch   |
      | 60%   | query   |
    And each user thinks for 0.05 to 0.1 seconds
""",
        )
        with suite.started() as process:
            eventually(lambda: is_met() or process.poll() is not None, 120.0)
            stopped = suite.loadkit("stop")
            ended = said(process)
    assert is_met(), f"{ended.out}{ended.err}"
    sent = b"".join(service.requests)
    assert b"POST /vouchers/VOUCHER/IN%20PLAIN%209 " in sent, "else nothing is proven"
    assert b'{"code":"VOUCHER/IN PLAIN 9"}' in sent
    (run,) = suite.kept_runs
    kept = json.loads((suite.reports / "runs" / run / "run.json").read_text())
    outcomes = {each["outcome"] for each in kept["examples"]}
    expected = {"status 401", "status 503", "closed 1008", MISSING, OUT_OF_ORDER, UNREADABLE, FOREIGN,
                "invalid text representation (22P02)", "undefined column (42703)", "raise (P0001)", "unique violation (23505)"}  # fmt: skip
    assert expected <= outcomes, "else nothing is proven"
    texts = [each["exchange"]["request"] + each["exchange"]["answer"] for each in kept["examples"]]
    assert sum("***" in text for text in texts) > 20
    redeemed = [
        each["exchange"]["request"] for each in kept["examples"] if each["label"] == "POST /vouchers/{code}"
    ]
    assert redeemed, "else nothing is proven"
    assert all(text.endswith('{"code":"***"}') for text in redeemed)
    results = json.loads((suite.reports / "criteria.json").read_text())
    red = {each["sentence"]: each for each in results["criteria"]}
    assert "status 401" in red["the connection success rate is above 99%"]["failures_by_kind"]
    assert {"request", "query", "roundtrip"} <= set(red["the error rate is below 1%"]["by_timing"])
    assert any(each["outcome"] == "status 503" for each in red["the error rate is below 1%"]["examples"])
    judged = suite.loadkit(
        "judge", str(suite.reports / "runs" / run), "the error rate is below 1%", "--json=again.json"
    )
    told = "".join(each.out + each.err for each in (stopped, ended, judged)).encode()
    assert [secret for secret in SECRETS if secret in told] == []
    assert leaks(suite.reports) == []
    again = (tmp_path / "again.json").read_bytes()
    assert [secret for secret in SECRETS if secret in again] == []
