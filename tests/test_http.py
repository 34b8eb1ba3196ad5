"""The connections of the HTTP driver: when they are kept, ended and made again, and what a time limit does."""

import asyncio
import math
from time import monotonic
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from loadkit.drivers.base import TransportError
from loadkit.drivers.http import connection as http
from loadkit.drivers.http.connection import Connection
from loadkit.drivers.http.driver import HttpDriver
from loadkit.drivers.http.outbox import Outbox
from loadkit.errors import UnreachableError
from loadkit.target import NetworkPath, Target
from tests import bad_servers
from tests.bad_servers import always_says, listening, says
from tests.http_session import (
    HEADERS,
    OK,
    SilentTransport,
    answers_and_then,
    ask,
    outcomes,
    running,
    session_at,
)
from tests.websocket_user import until

# --- connections


def test_a_session_keeps_its_connection():
    found, server = outcomes(always_says(OK), "GET", "POST", "GET", "PUT")
    assert found == [(200, b"hi")] * 4
    assert server.connections == 1


def test_head_answers_leave_the_connection_usable():
    found, server = outcomes(
        says(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", OK, b"HTTP/1.1 304 N\r\n\r\n", OK),
        "HEAD", "GET", "GET", "GET",
    )  # fmt: skip
    assert found == [(200, b""), (200, b"hi"), (304, b""), (200, b"hi")]
    assert server.connections == 1


@pytest.mark.parametrize(
    ("head", "connections"),
    [
        (b"HTTP/1.1 200 OK\r\nX: y", 1),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", 1),
        (b"HTTP/1.1 200 OK\r\nConnection: x, Close", 2),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: x\r\nconnection: close", 2),
        (b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nX: y", 1),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 9", 2),
        (b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive", 1),
    ],
)
def test_an_answer_to_head_keeps_its_connection_by_its_version_and_connection_header(head, connections):
    found, server = outcomes(always_says(head + b"\r\n\r\n"), "HEAD", "HEAD")
    assert found == [(200, b"")] * 2
    assert server.connections == connections


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\n\r\nhi",
    ],
)
def test_an_answer_that_ends_the_connection_is_whole_and_the_next_request_makes_another(answer):
    found, server = outcomes(says(answer), "GET", "POST")
    assert found == [(200, b"hi")] * 2
    assert server.connections == 2


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_connection_that_was_closed_while_idle_is_replaced_without_a_failure(method):
    async def main():
        closed = asyncio.Event()
        async with listening(bad_servers.closes_idle(OK, closed)) as server:
            session = await session_at(server.base)
            probing = server.connections
            await ask(session)
            await closed.wait()
            await until(lambda: not session._connection.is_open)
            assert (await ask(session, method, body=b"x")).status_code == 200
            assert server.connections == probing + 2
            session.close()

    running(main())


@pytest.fixture
def patient(monkeypatch):
    """A connection that ends under a request counts as closed while idle, however late this machine sees it."""
    monkeypatch.setattr(http, "_CROSSING", 60.0)


def test_a_get_on_a_connection_that_closes_under_it_is_sent_again(patient):
    found, server = outcomes(bad_servers.hangs_up_on_the_second(OK), "GET", "GET", "GET")
    assert found == [(200, b"hi")] * 3
    assert server.connections == 2


def test_a_get_is_not_sent_again_where_its_answer_had_begun():
    found, server = outcomes(says(OK, OK[:10]), "GET", "GET")
    assert found == [(200, b"hi"), "closed"]
    assert server.connections == 1


def test_a_post_on_a_connection_that_closes_under_it_is_not_sent_again():
    found, server = outcomes(bad_servers.hangs_up_on_the_second(OK), "POST", "POST", "POST")
    assert found == [(200, b"hi"), "closed", (200, b"hi")]
    assert len(server.requests) == 3


def test_a_first_request_that_gets_no_answer_is_not_sent_again():
    found, server = outcomes(bad_servers.hangs_up, "GET")
    assert found == ["closed"]
    assert server.connections == 1


def test_who_goes_while_a_request_is_sent_again_takes_it_along(patient):
    async def main():
        async with listening(bad_servers.hangs_up_on_the_second(OK)) as server:
            session = HttpDriver(Target("t", server.base)).session()
            await ask(session)
            connect, is_connecting, may_go_on = session.driver.connect, asyncio.Event(), asyncio.Event()

            async def slow_connect(*where):
                is_connecting.set()
                await may_go_on.wait()
                return await connect(*where)

            session.driver.connect = slow_connect
            waiting = asyncio.create_task(ask(session))
            await is_connecting.wait()  # the kept connection is gone, the new one is not there
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            may_go_on.set()
            await asyncio.sleep(0.1)
            assert len(server.requests) == 2
            session.close()

    running(main())


def test_a_request_that_is_sent_again_and_fails_is_told(patient):
    async def main():
        async with listening(bad_servers.hangs_up_on_the_second(OK)) as server:
            session = HttpDriver(Target("t", server.base)).session()
            await ask(session)
            session.driver.connect = Mock(side_effect=TransportError("refused", 7.0))
            with pytest.raises(TransportError, match="refused"):
                await ask(session)
            session.close()

    running(main())


def test_a_request_that_is_sent_again_is_counted_once_among_the_gauges(patient):
    async def main():
        async with listening(bad_servers.hangs_up_on_the_second(OK)) as server:
            relay = {("Asia", "127.0.0.1", server.port): ("127.0.0.1", server.port)}
            driver = HttpDriver(
                Target("t", server.base, relays=relay, regions={"Asia": NetworkPath(0.22, 0.01)})
            )
            session = driver._in_region("Asia").session()
            assert session.driver.relayed_latency == pytest.approx(0.26)
            assert math.isinf(session.driver.shortest_connect)
            for again in (None, 1.0, None):
                await ask(session)
                assert driver.gauges().get("requests sent again") == again
            assert 0 < session.driver.shortest_connect < 60
            session.close()

    running(main())


class Session:
    """Notes what its connection wants to be sent again."""

    def __init__(self, latency, connect):
        self.driver = SimpleNamespace(open_connections=0, shortest_connect=connect, relayed_latency=latency)
        self.again = []

    def send_again(self, _answer, message, _method, _deadline):
        self.again.append(message)


@pytest.mark.parametrize(
    ("waited", "held_back", "latency", "connect", "is_sent_again"),
    [
        (0.05, 0.0, 0.0, 0.001, True),
        (0.15, 0.0, 0.0, 0.001, False),
        (3.0, 0.0, 0.0, 0.001, False),
        (0.05, 0.1, 0.0, 0.001, True),
        (0.15, 0.1, 0.0, 0.001, False),
        (0.3, 0.0, 0.22, 0.001, True),
        (0.35, 0.0, 0.22, 0.001, False),
        (0.15, 0.0, 0.0, 0.16, True),  # a service that is far away
        (0.18, 0.0, 0.0, 0.16, False),
    ],
)
def test_a_get_that_the_service_drops_later_than_an_idle_connection_ends_is_not_sent_again(
    monkeypatch, waited, held_back, latency, connect, is_sent_again
):
    moment = 100.0
    monkeypatch.setattr(http, "monotonic", lambda: moment)

    async def main():
        nonlocal moment
        session = Session(latency, connect)
        connection = Connection(asyncio.get_running_loop(), Outbox(), {}, session=session)
        connection.connection_made(Mock())
        first = connection.send(b"first", "GET", 200.0)
        await asyncio.sleep(0)
        connection.data_received(OK)
        await first
        second = connection.send(b"second", "GET", 200.0)
        moment += held_back
        await asyncio.sleep(0)  # it leaves
        moment += waited
        connection.connection_lost(None)
        if is_sent_again:
            assert session.again == [b"second"]
        else:
            assert session.again == []
            with pytest.raises(TransportError, match=r"^closed$") as caught:
                await second
            assert caught.value.at == moment

    running(main())


def test_a_connection_that_is_closed_as_soon_as_it_is_made_is_closed():
    async def main():
        async with listening(always_says(OK)) as server:
            session = await session_at(server.base)
            connect = session.driver.connect

            async def connect_and_lose(*where):
                connection = await connect(*where)
                connection.abort()
                await asyncio.sleep(0.01)
                return connection

            session.driver.connect = connect_and_lose
            with pytest.raises(TransportError, match="closed"):
                await ask(session)

    running(main())


def test_two_operations_at_once_are_a_mistake_that_is_told():
    async def main():
        async with listening(bad_servers.drips(OK, 0.002)) as server:
            session = await session_at(server.base)
            await ask(session)
            first = asyncio.create_task(ask(session))
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="one operation after the other"):
                await ask(session)
            assert (await first).content == b"hi"
            session.close()

    running(main())


def test_bytes_that_nobody_asked_for_cost_the_connection():
    timely = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"
    found, server = outcomes(always_says(OK + timely), "GET", "GET", between=lambda: asyncio.sleep(0.02))
    assert found == [(200, b"hi")] * 2
    assert server.connections == 2


def test_a_reset_is_told_from_an_end():
    assert outcomes(bad_servers.resets, "GET")[0] == ["reset"]


def test_a_port_where_nobody_listens_refuses():
    async def main():
        async with listening(always_says(OK)) as server:
            pass
        with pytest.raises(TransportError, match="refused"):
            await ask(HttpDriver(Target("t", server.base)).session())
        with pytest.raises(UnreachableError, match="accepts no connection: refused"):
            await HttpDriver(Target("t", server.base)).open()

    running(main())


# --- time


def test_an_answer_that_does_not_come_is_a_timeout_at_the_deadline():
    async def main():
        async with listening(bad_servers.never_answers) as server:
            session = await session_at(server.base)
            for timeout in (0.1, 0.05, 0.15):
                deadline = monotonic() + timeout
                with pytest.raises(TransportError, match="timeout") as caught:
                    await session.request("GET", "/", HEADERS, b"", None, deadline)
                assert caught.value.at >= deadline - 0.001

    running(main())


def test_a_slow_drip_is_a_timeout_too():
    async def main():
        async with listening(answers_and_then(bad_servers.drips(OK, 0.02))) as server:
            session = await session_at(server.base)
            await ask(session)  # it connects, which may take its time
            with pytest.raises(TransportError, match=r"^timeout$"):
                await ask(session, timeout=0.2)

    running(main())


def test_an_answer_in_time_is_not_hurt_by_the_timer_of_the_request_before():
    async def main():
        connection = Connection(asyncio.get_running_loop(), Outbox(), {})
        connection.connection_made(SilentTransport())
        first = connection.send(b"", "GET", monotonic() + 0.05)
        timer = connection._alarm_at
        connection.data_received(OK)  # no timer can ring before
        assert (await first).status_code == 200
        second = connection.send(b"", "GET", monotonic() + 60)
        await until(lambda: connection._alarm_at > timer)  # it has rung
        assert not second.done()
        connection.data_received(OK)
        assert (await second).status_code == 200
        assert connection.is_open
        connection.connection_lost(None)

    running(main())


def test_a_shorter_timeout_than_that_of_the_request_before_holds():
    async def main():
        async with listening(answers_and_then(bad_servers.never_answers)) as server:
            session = HttpDriver(Target("t", server.base)).session()
            await ask(session, timeout=60)
            with pytest.raises(TransportError, match="timeout"):
                await ask(session, timeout=0.05)

    running(main())


def test_a_connection_that_is_not_made_in_time_is_given_up_before_the_request_is():
    async def main():
        async with listening(bad_servers.never_answers) as server:
            target = Target("t", server.base.replace("http:", "https:"), connect_timeout=0.05)
            with pytest.raises(TransportError, match=r"^connect timeout$"):
                await ask(HttpDriver(target).session(), timeout=60)

    running(main())


def test_a_service_that_falls_silent_is_given_up_before_the_request_is():
    async def main():
        async with listening(bad_servers.never_answers) as server:
            session = HttpDriver(Target("t", server.base, read_timeout=0.05)).session()
            with pytest.raises(TransportError, match=r"^read timeout$"):
                await ask(session, timeout=60)

    running(main())


def test_every_byte_gives_a_silent_service_its_time_again(monkeypatch):
    moment = 100.0
    monkeypatch.setattr(http, "monotonic", lambda: moment)

    async def main():
        nonlocal moment
        connection = Connection(asyncio.get_running_loop(), Outbox(), {}, patience=1.0)
        connection.connection_made(Mock())
        answer = connection.send(b"", "GET", deadline=200.0)
        for byte in (b"H", b"T", b"T"):
            moment += 0.9
            connection.data_received(byte)
            connection._ring()
            assert not answer.done()
        moment += 1.1
        connection._ring()
        with pytest.raises(TransportError, match=r"^read timeout$"):
            await answer

    running(main())


def test_the_moment_of_an_answer_is_when_its_last_byte_came():
    async def main():
        async with listening(bad_servers.drips(OK, 0.002)) as server:
            session = await session_at(server.base)
            before = monotonic()
            answer = await ask(session)
            assert before < answer.at <= monotonic()

    running(main())


def test_a_cancelled_request_leaves_no_answer_to_the_next():
    async def main():
        async with listening(bad_servers.drips(OK.replace(b"hi", b"no"), 0.01)) as server:
            session = await session_at(server.base)
            waiting = asyncio.create_task(ask(session))
            await until(lambda: len(server.requests) == 1)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            answer = await ask(session)
            assert answer.content == b"no"
            assert len(server.requests) == 2

    running(main())
