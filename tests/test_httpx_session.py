"""What the load's own client cannot do goes through httpx, on the same record."""

import asyncio
import errno
import gzip
from time import monotonic

import httpx
import pytest
import uvloop

from loadkit.drivers.base import TransportError
from loadkit.drivers.http.driver import HttpDriver
from loadkit.drivers.http.headers import RequestHeaders
from loadkit.drivers.http.response import NotJsonError
from loadkit.engine.run import run
from loadkit.target import Target
from loadkit.workload.plan import Plan
from loadkit.workload.workload import MixEntry, Model, Stage, Think, Workload
from tests.bad_servers import always_says, asked, hangs_up, in_a_thread, listening, never_answers, says
from tests.suites import ROOT

OK = b'HTTP/1.1 200 OK\r\nContent-Length: 8\r\nX-Instance: a\r\n\r\n{"a": 1}'


def ask(behaviour, *paths, options=None, timeout=10.0, target=None):
    """What becomes of requests made one after the other, and the server that took them."""
    noted = []

    async def main():
        async with listening(behaviour) as server:
            driver = HttpDriver(target(server.base) if target else Target("t", server.base))
            session = driver.httpx_session(lambda: noted.append(1), options or {})
            found = []
            for path in paths or ("/",):
                headers = RequestHeaders({"x-user": "ann"})
                try:
                    found.append(
                        await session.request(
                            "POST", path, headers, b"x-own: b\r\n", b"body", monotonic() + timeout
                        )
                    )
                except TransportError as error:
                    found.append(error.kind)
            session.close()
            await asyncio.sleep(0)
            assert len(noted) == len(found)
            return found, server

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(asyncio.wait_for(main(), 20))


async def with_digest(server, reader, writer):
    """Lets in who answers its challenge."""
    while True:
        request = await asked(server, reader)
        if b"authorization: digest" in request.lower():
            writer.write(OK)
        else:
            challenge = b'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth"'
            writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n%b\r\n\r\n" % challenge)
        await writer.drain()


def test_a_request_is_sent_as_the_user_made_it_and_its_answer_is_like_any_other():
    (answer,), server = ask(always_says(OK), "/items?x=1")
    assert (answer.status_code, answer.json(), answer.headers["x-instance"]) == (200, {"a": 1}, "a")
    assert answer.size > len(answer.body)
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /items?x=1 HTTP/1.1\r\n")
    assert b"x-user: ann" in head
    assert b"x-own: b" in head
    assert body == b"body"


def sent_by(headers, options=None):
    """The head of a request with these headers, by name: through the load's own client, and through httpx."""

    async def main():
        found = []
        async with listening(always_says(OK)) as server:
            driver = HttpDriver(Target("t", server.base))
            for session in (driver.session(), driver.httpx_session(lambda: None, options or {})):
                await session.request("POST", "/", headers, b"", b"body", monotonic() + 10)
                session.close()
            for request in server.requests:
                lines = request.partition(b"\r\n\r\n")[0].decode("latin-1").lower().split("\r\n")[1:]
                fields = dict(line.split(": ", 1) for line in lines)
                assert len(fields) == len(lines), lines
                found.append(fields)
        return found

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(asyncio.wait_for(main(), 20))


@pytest.mark.parametrize(
    "own",
    [
        {},
        {"Host": "shop.example"},
        {"ACCEPT": "text/html"},
        {"User-agent": "mine", "content-type": "text/own"},
    ],
)
def test_a_header_of_a_request_replaces_the_default_through_httpx_as_without_it(own):
    users = {"user-agent": "users", "accept": "*/*", "accept-encoding": "gzip"}
    ours, over_httpx = sent_by(RequestHeaders(users).overlaid(own))
    assert over_httpx.pop("connection") == "keep-alive"
    assert ours == over_httpx
    assert {name.lower(): value for name, value in own.items()}.items() <= ours.items()


def test_a_default_that_the_user_deleted_is_not_sent_through_httpx_either():
    ours, over_httpx = sent_by(RequestHeaders({}))
    assert set(ours) == {"host", "content-length"}
    assert set(over_httpx) == {"host", "content-length", "connection"}


def test_the_connection_is_kept():
    found, server = ask(always_says(OK), "/", "/", "/")
    assert [answer.status_code for answer in found] == [200] * 3
    assert server.connections == 1


def test_a_packed_body_is_unpacked_once():
    packed = gzip.compress(b'{"a": 1}')
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    (answer,), _ = ask(always_says(head + packed))
    assert answer.json() == {"a": 1}


def test_a_body_that_is_not_json_is_told_with_its_answer():
    (answer,), _ = ask(always_says(OK.replace(b'{"a": 1}', b"<html />")))
    with pytest.raises(NotJsonError) as caught:
        answer.json()
    assert caught.value.response is answer


def test_every_member_of_a_packed_body_is_unpacked():
    packed = gzip.compress(b'{"a"') + gzip.compress(b": 1}")
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    (answer,), _ = ask(always_says(head + packed))
    assert answer.json() == {"a": 1}
    assert answer.body == packed, "as it came, as over the load's own client"


def test_a_header_beyond_ascii_is_sent_as_over_the_loads_own_client():
    ours, over_httpx = sent_by(RequestHeaders({"x-name": "Zoë"}))
    assert ours["x-name"] == over_httpx["x-name"] == "zoë"


def test_digest_authentication_with_its_challenge_is_one_operation():
    (answer,), server = ask(with_digest, options={"auth": httpx.DigestAuth("ann", "secret")})
    assert answer.status_code == 200
    assert len(server.requests) == 2


def test_a_proxy_is_asked_for_the_whole_address():
    with in_a_thread(always_says(OK)) as proxy:
        (answer,), server = ask(never_answers, "/far", options={"proxy": proxy.base})
        assert answer.status_code == 200
        assert proxy.requests[0].startswith(b"POST http://127.0.0.1:%d/far " % server.port)
        assert server.requests == []


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [(never_answers, "timeout"), (hangs_up, "protocol"), (says(b"rubbish\r\n\r\n"), "protocol")],
)
def test_failures_are_told_by_kind(behaviour, kind):
    assert ask(behaviour, timeout=0.2 if kind == "timeout" else 10)[0] == [kind]


def test_nobody_there_is_refused():
    assert ask(always_says(OK), target=lambda _: Target("t", "http://127.0.0.1:1"))[0] == ["refused"]


def failing(error):
    """A service to which no connection can be made, for this reason."""

    class Transport(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request):
            raise httpx.ConnectError("All connection attempts failed", request=request) from error

    return {"transport": Transport()}


NO_FILE, NO_PORT = OSError(errno.EMFILE, "no file"), OSError(errno.EADDRNOTAVAIL, "no port")
REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, "refused")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (NO_FILE, "no socket"),
        (NO_PORT, "no socket"),
        (ExceptionGroup("of several addresses", [REFUSED, NO_FILE]), "no socket"),
        (ExceptionGroup("of several addresses", [REFUSED, REFUSED]), "refused"),
        (REFUSED, "refused"),
    ],
)
def test_a_lack_of_sockets_here_is_no_refusal_by_the_service(error, kind):
    assert ask(always_says(OK), options=failing(error))[0] == [kind]


def test_a_port_without_tls_is_a_tls_failure():
    def target(base):
        return Target("t", base.replace("http:", "https:"))

    async def answers_anything(_server, reader, writer):
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    assert ask(answers_anything, target=target)[0] == ["tls"]


def test_silence_is_given_up_before_the_request_is():
    def target(base):
        return Target("t", base, read_timeout=0.05)

    assert ask(never_answers, target=target, timeout=60)[0] == ["read timeout"]


@pytest.mark.slow
def test_operations_through_httpx_are_on_the_same_record_and_the_run_says_how_many():
    mix = (
        MixEntry("tests.sample_journeys:through_httpx", 0.5),
        MixEntry("tests.sample_journeys:two_steps", 0.5),
    )
    load = Workload(Model.CLOSED, (Stage(0, 4), Stage(2, 4)), mix, Think(0.05, 0.1))
    with in_a_thread(
        always_says(OK.replace(b'8\r\nX-Instance: a\r\n\r\n{"a": 1}', b"2\r\n\r\n{}"))
    ) as server:
        done = run(Plan.of("t", load), Target("t", server.base), root=ROOT)
    assert {"GET /first/{id}", "GET /through/{id}"} <= set(done.table.names("label:"))
    counted = {}
    for label in done.table.names("label:"):
        _, _, sums = done.table.totals([f"label:{label}"], 0, 60)
        counted[label] = int(sums[:, 0].sum())
    number = counted["GET /through/{id}"]
    assert number > 0
    (warning,) = done.warnings
    assert warning.startswith(f"{number:,} operations went through httpx")
