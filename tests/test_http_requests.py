"""The requests that the HTTP driver sends: addresses, headers and cookies."""

import asyncio
import time
from time import monotonic
from unittest.mock import Mock

import pytest

from loadkit.drivers.http.connection import Connection
from loadkit.drivers.http.driver import HttpDriver
from loadkit.drivers.http.headers import RequestHeaders
from loadkit.drivers.http.outbox import Outbox
from loadkit.errors import ConfigurationError
from loadkit.target import Target
from tests.bad_servers import always_says, listening, says
from tests.http_session import (
    HEADERS,
    OK,
    ask,
    running,
    session_at,
)


def test_a_request_is_what_the_service_expects():
    async def main():
        async with listening(always_says(OK)) as server:
            driver = HttpDriver(Target("t", f"{server.base}/prefix/"))
            session = driver.session()
            await ask(session, "POST", "/a?b=1", body=b"{}", more=b"content-type: application/json\r\n")
            await ask(session, "POST", "/a")
            await ask(session, "GET", "/a")
            session.close()
            return server

    server = running(main())
    host = f"host: 127.0.0.1:{server.port}\r\n".encode()
    assert server.requests == [
        b"POST /prefix/a?b=1 HTTP/1.1\r\n" + host
        + b"accept: */*\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}",
        b"POST /prefix/a HTTP/1.1\r\n" + host + b"accept: */*\r\ncontent-length: 0\r\n\r\n",
        b"GET /prefix/a HTTP/1.1\r\n" + host + b"accept: */*\r\n\r\n",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["host", "Host"])
def test_a_host_of_the_user_is_sent_in_place_of_the_address(name):
    async def main():
        async with listening(always_says(OK)) as server:
            session = HttpDriver(Target("t", server.base)).session()
            for headers in (RequestHeaders({name: "shop.example"}), HEADERS, HEADERS.overlaid({name: "b"})):
                await session.request("GET", "/", headers, b"", None, monotonic() + 60)
            session.close()
            return server

    server = running(main())
    hosts = [
        [line for line in request.lower().split(b"\r\n") if line.startswith(b"host:")]
        for request in server.requests
    ]
    assert hosts == [[b"host: shop.example"], [b"host: 127.0.0.1:%d" % server.port], [b"host: b"]]


def test_an_address_of_version_six_is_an_address():
    async def main():
        async with listening(always_says(OK), host="::1") as server:
            session = await session_at(f"http://[::1]:{server.port}")
            assert (await ask(session)).content == b"hi"
            session.close()
            assert f"host: [::1]:{server.port}\r\n".encode() in server.requests[0]

    running(main())


def test_a_name_leads_to_whichever_of_its_addresses_takes_connections():
    async def main():
        async with listening(always_says(OK)) as server:
            session = await session_at(f"http://localhost:{server.port}")
            assert (await ask(session)).content == b"hi"
            session.close()

    running(main())


def test_cookies_that_the_service_sets_come_with_later_requests():
    setting = b"HTTP/1.1 200 OK\r\nSet-Cookie: session=abc; Path=/; HttpOnly\r\nContent-Length: 0\r\n\r\n"

    async def main():
        async with listening(says(setting, OK)) as server:
            session = HttpDriver(Target("t", server.base)).session()
            await ask(session, path="/login")
            await ask(session, path="/me")
            session.close()
            return server.requests

    first, second = running(main())
    assert b"cookie" not in first
    assert b"\r\ncookie: session=abc\r\n" in second


def test_a_cookie_that_is_set_later_comes_with_those_set_before():
    one, two = (OK.replace(b"\r\n", b"\r\nSet-Cookie: %b=1; Path=/\r\n" % name, 1) for name in (b"a", b"b"))

    async def main():
        async with listening(says(one, two, OK)) as server:
            session = HttpDriver(Target("t", server.base)).session()
            for _ in range(3):
                await ask(session)
            session.close()
            return server.requests

    assert b"\r\ncookie: a=1; b=1\r\n" in running(main())[-1]


def test_a_cookie_header_of_the_request_is_sent_in_place_of_the_kept_cookies():
    setting = OK.replace(b"\r\n", b"\r\nSet-Cookie: a=1; Path=/\r\n", 1)

    async def main():
        async with listening(says(setting, OK)) as server:
            session = HttpDriver(Target("t", server.base)).session()
            await ask(session)
            own = HEADERS.overlaid({"Cookie": "b=2"})
            await session.request("GET", "/", own, b"", None, monotonic() + 60)
            session.close()
            return server.requests[1]

    request = running(main())
    assert b"\r\nCookie: b=2\r\n" in request
    assert request.lower().count(b"cookie:") == 1


@pytest.mark.parametrize("attribute", [b"Secure", b"Domain=stranger.example"])
def test_a_cookie_that_must_not_be_kept_is_not_sent(attribute):
    setting = OK.replace(b"\r\n", b"\r\nSet-Cookie: a=1; Path=/; %b\r\n" % attribute, 1)

    async def main():
        async with listening(says(setting, OK)) as server:
            session = HttpDriver(Target("t", server.base)).session()
            for _ in range(2):
                await ask(session)
            session.close()
            return server.requests[1]

    assert b"cookie" not in running(main())


def test_cookies_belong_to_the_host_that_the_request_names():
    setting = OK.replace(b"\r\n", b"\r\nSet-Cookie: a=1; Path=/; Domain=shop.example\r\n", 1)
    hosts = ["www.shop.example:8080", "api.shop.example", "stranger.example", "[", None]

    async def main():
        async with listening(says(setting, *[OK] * len(hosts))) as server:
            session = HttpDriver(Target("t", server.base)).session()
            for host in hosts:
                headers = HEADERS.overlaid({"Host": host}) if host else HEADERS
                await session.request("GET", "/", headers, b"", None, monotonic() + 60)
            session.close()
            return server.requests

    assert [b"cookie: a=1" in request for request in running(main())] == [False, True, False, False, False]


def test_a_cookie_without_a_path_belongs_to_where_it_was_set():
    setting = OK.replace(b"\r\n", b"\r\nSet-Cookie: a=1\r\n", 1)

    async def main():
        async with listening(says(setting, OK, OK)) as server:
            session = HttpDriver(Target("t", server.base)).session()
            for path in ("/shop/list", "/shop/cart", "/other"):
                await ask(session, path=path)
            session.close()
            return server.requests

    assert [b"cookie: a=1" in request for request in running(main())] == [False, True, False]


def test_requests_of_one_path_keep_their_methods_and_those_of_one_method_their_paths():
    asked = [("GET", "/a"), ("POST", "/a"), ("GET", "/b"), ("GET", "/a")]

    async def main():
        async with listening(says(*[OK] * len(asked))) as server:
            session = HttpDriver(Target("t", server.base)).session()
            for method, path in asked:
                await ask(session, method, path)
            session.close()
            return server.requests

    lines = [request.partition(b"\r\n")[0].decode() for request in running(main())]
    assert lines == [f"{method} {path} HTTP/1.1" for method, path in asked]


def test_what_was_asked_of_a_connection_that_was_closed_before_it_left_is_not_sent():
    async def main():
        transport = Mock()
        outbox = Outbox()
        open_one, closed_one = (Connection(asyncio.get_running_loop(), outbox, {}) for _ in range(2))
        for connection, message in ((open_one, b"one"), (closed_one, b"two")):
            connection.connection_made(transport)
            connection.send(message, "GET", monotonic() + 60)
        closed_one.abort()
        await asyncio.sleep(0)
        transport.write.assert_called_once_with(b"one")
        for connection in (open_one, closed_one):
            connection._alarm.cancel()

    running(main())


def test_an_answer_says_how_long_its_request_waited_for_others_of_its_turn():
    async def main():
        async with listening(always_says(OK)) as server:
            session = await session_at(server.base)
            await ask(session)
            asking = asyncio.create_task(ask(session))
            await asyncio.sleep(0)  # it has asked, and its request leaves with the next turn
            time.sleep(0.02)  # noqa: ASYNC251  which comes late
            assert 0.02 <= (await asking).held_back < 5
            session.close()

    running(main())


def test_headers_change_when_they_are_changed():
    headers = RequestHeaders({"Accept": "*/*"})
    assert headers.block == b"accept: */*\r\n"
    headers["Authorization"] = "Bearer x"
    assert headers.block == b"accept: */*\r\nauthorization: Bearer x\r\n"
    del headers["ACCEPT"]
    assert headers.block == b"authorization: Bearer x\r\n"
    assert "Bearer" not in repr(headers)


@pytest.mark.parametrize("value", ["a\r\nX-Other: b", "a\nb", "a\rb"])
def test_a_header_cannot_bring_another(value):
    headers = RequestHeaders({})
    with pytest.raises(ValueError, match="line break"):
        RequestHeaders({"x": value})
    with pytest.raises(ValueError, match="line break"):
        headers["x"] = value
    with pytest.raises(ValueError, match="line break"):
        headers.overlaid({"x": value})
    assert headers.block == b""


@pytest.mark.parametrize("base", ["ftp://127.0.0.1", "127.0.0.1:8080", "http://"])
def test_an_address_that_is_none_is_refused(base):
    with pytest.raises(ConfigurationError, match="expected one like"):
        HttpDriver(Target("t", base))
