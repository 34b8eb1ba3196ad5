"""The HTTP driver: every way in which an answer can come, or not."""

import asyncio
import gzip
import math
import time
import zlib
from itertools import pairwise
from time import monotonic
from types import SimpleNamespace
from unittest.mock import Mock

import httpx
import pytest
import uvloop

from loadkit.drivers.base import TransportError
from loadkit.drivers.http import connection as http
from loadkit.drivers.http.connection import Connection
from loadkit.drivers.http.driver import HttpDriver
from loadkit.drivers.http.headers import RequestHeaders
from loadkit.drivers.http.outbox import Outbox
from loadkit.drivers.http.response import Head
from loadkit.errors import ConfigurationError, UnreachableError
from loadkit.target import NetworkPath, Target
from tests import bad_servers
from tests.bad_servers import always_says, listening, says
from tests.websocket_user import until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
HEADERS = RequestHeaders({"accept": "*/*"})


def running(main):
    """Run a coroutine on the loop that workers use."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(asyncio.wait_for(main, 120))


async def ask(session, method="GET", path="/", body=None, timeout=60.0, more=b""):
    return await session.request(method, path, HEADERS, more, body, monotonic() + timeout)


def answers_and_then(behaviour):
    """Answers the first request of a connection, and treats the next as said."""

    async def handler(server, reader, writer):
        await bad_servers.asked(server, reader)
        writer.write(OK)
        await writer.drain()
        await behaviour(server, reader, writer)

    return handler


async def session_at(base: str):
    driver = HttpDriver(Target("t", base))
    await driver.open()
    return driver.session()


def outcomes(behaviour, *methods: str, timeout: float = 60.0, between=None):
    """What becomes of requests made one after the other in one session, how often it connected, what was received."""

    async def main():
        async with listening(behaviour) as server:
            driver = HttpDriver(Target("t", server.base))
            session = driver.session()
            found = []
            for method in methods:
                if found and between is not None:
                    await between()
                try:
                    answer = await ask(
                        session, method, body=b"x" if method == "POST" else None, timeout=timeout
                    )
                    found.append((answer.status_code, answer.content))
                except TransportError as error:
                    found.append(error.kind)
            session.close()
            return found, server

    return running(main())


# --- answers, however they are cut


ANSWERS = {
    "a length": (OK, 200, b"hi", "GET"),
    "no body": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, b"", "GET"),
    "chunks": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n3;ext=1\r\n yo\r\n0\r\nTrailer: x\r\n\r\n",
        200,
        b"hi yo",
        "GET",
    ),
    "204": (b"HTTP/1.1 204 No Content\r\nX: y\r\n\r\n", 204, b"", "GET"),
    "304 with a length": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 304, b"", "GET"),
    "an answer to HEAD": (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", 200, b"", "HEAD"),
    "early hints": (b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + OK, 200, b"hi", "GET"),
    "two interim answers": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 E\r\n\r\nHTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno",
        404,
        b"no",
        "POST",
    ),
    "gzip": (
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b"
        % (len(gzip.compress(b"hello", mtime=0)), gzip.compress(b"hello", mtime=0)),
        200,
        b"hello",
        "GET",
    ),
}  # fmt: skip


class SilentTransport:
    """What a connection writes to, where nobody listens."""

    def __init__(self):
        self.is_closed = False

    def write(self, data):
        pass

    def close(self):
        self.is_closed = True

    abort = close


def received(pieces, method="GET", ends=False, heads=None):
    """The answer that a connection makes of bytes which arrive in these pieces."""

    async def main():
        connection = Connection(asyncio.get_running_loop(), Outbox(), {} if heads is None else heads)
        connection.connection_made(SilentTransport())
        waiting = connection.send(b"", method, monotonic() + 60)
        for piece in pieces:
            connection.data_received(piece)
        if ends:
            connection.connection_lost(None)
        answer = await waiting if waiting.done() else None
        if not ends:
            connection.connection_lost(None)
        return answer

    return running(main())


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_the_same_wherever_it_is_cut(name):
    raw, status, content, method = ANSWERS[name]
    cuts = [[0, place, len(raw)] for place in range(1, len(raw))] + [list(range(len(raw) + 1))]
    for edges in cuts:
        answer = received([raw[start:end] for start, end in pairwise(edges)], method)
        assert (answer.status_code, answer.content, answer.size) == (status, content, len(raw)), edges


KEPT = [
    *ANSWERS.values(),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nnine more", 200, b"nine more", "GET"),
]


def test_heads_are_kept_that_say_where_their_answer_ends():
    heads = {}
    for raw, _, _, method in KEPT:
        received([raw], method, heads=heads)
    assert {head.length for head in heads.values()} == {0, 2, 9, len(gzip.compress(b"hello"))}


@pytest.mark.parametrize("before", KEPT)
def test_no_answer_is_another_for_those_that_came_before_it(before):
    for raw, status, content, method in KEPT:
        of_head = raw.rindex(b"\r\n\r\n")
        for place in {1, of_head, of_head + 4, of_head + 5, len(raw)}:
            heads = {}
            received([before[0]], before[3], heads=heads)
            pieces = [piece for piece in (raw[:place], raw[place:]) if piece]
            answer = received(pieces, method, heads=heads)
            assert (answer.status_code, answer.content, answer.size) == (status, content, len(raw)), place


def test_no_answer_is_another_for_those_that_came_before_it_on_its_connection():
    """Each of the kept after each other, whole and cut, on one connection, as a session's requests are."""
    raws = [(raw, content, method) for raw, _, content, method in KEPT]
    order = [pair for first in raws for second in raws for pair in (first, second)]

    async def main():
        connection = Connection(asyncio.get_running_loop(), Outbox(), {})
        connection.connection_made(SilentTransport())
        for raw, content, method in order:
            # The place before the body's end too: the head is that of the answer before, the rest is still to come.
            for place in {1, raw.rindex(b"\r\n\r\n") + 4, len(raw) - 1, len(raw)}:
                waiting = connection.send(b"", method, monotonic() + 60)
                for piece in (raw[:place], raw[place:]):
                    if piece:
                        assert not waiting.done()
                        connection.data_received(piece)
                answer = await waiting
                assert (answer.content, answer.size) == (content, len(raw)), (raw, place)
                assert connection.is_open
        connection.connection_lost(None)

    running(main())


def test_an_answer_to_head_is_not_cut_short_nor_waited_for_after_a_get_of_the_same_head():
    head, length = OK.removesuffix(b"hi"), len(OK)

    async def main():
        connection = Connection(asyncio.get_running_loop(), Outbox(), {})
        connection.connection_made(SilentTransport())
        for method, raw in [
            ("GET", OK),
            ("GET", OK),
            ("HEAD", head),
            ("GET", OK),
            ("HEAD", head),
            ("HEAD", head),
        ]:
            waiting = connection.send(b"", method, monotonic() + 60)
            connection.data_received(raw)
            answer = await waiting
            assert (answer.content, answer.size) == ((b"hi", length) if method == "GET" else (b"", len(head)))
        connection.connection_lost(None)

    running(main())


@pytest.mark.parametrize(
    "end", [b"Connection: close\r\nContent-Length: 2\r\n", b"Transfer-Encoding: chunked\r\n", b""]
)
def test_a_head_that_does_not_say_how_its_body_ends_or_ends_the_connection_is_not_kept(end):
    heads = {}
    body = b"2\r\nhi\r\n0\r\n\r\n" if b"chunked" in end else b"hi"
    assert (
        received([b"HTTP/1.1 200 OK\r\n" + end + b"\r\n" + body], ends=not end, heads=heads).content == b"hi"
    )
    assert heads == {}


def test_heads_that_never_come_again_do_not_pile_up(monkeypatch):
    monkeypatch.setattr(http, "_HEADS_KEPT", 20)
    heads = {}
    for number in range(60):
        raw = b"HTTP/1.1 200 OK\r\nX-Request: %d\r\nContent-Length: 2\r\n\r\nhi" % number
        assert received([raw], heads=heads).headers["x-request"] == str(number)
        assert len(heads) <= http._HEADS_KEPT


def test_what_an_answer_is_followed_by_costs_the_connection_whether_its_head_was_seen_or_not():
    for heads in ({}, {b"HTTP/1.1 200 OK\r\nContent-Length: 2": Head(200, OK, 2)}):
        transport = SilentTransport()

        async def main(heads=heads, transport=transport):
            connection = Connection(asyncio.get_running_loop(), Outbox(), heads)
            connection.connection_made(transport)
            connection.send(b"", "GET", monotonic() + 60)
            connection.data_received(OK + OK)
            connection._alarm.cancel()

        running(main())
        assert transport.is_closed


def test_headers_are_those_of_the_last_answer_wherever_it_is_cut():
    raw = b"HTTP/1.1 103 E\r\nX-Mine: no\r\n\r\nHTTP/1.1 200 OK\r\nX-Mine: a\r\nx-mine:b\r\nContent-Length: 0\r\n\r\n"
    for place in range(1, len(raw)):
        headers = received([raw[:place], raw[place:]]).headers
        assert headers["X-MINE"] == "a, b"
        assert headers.all("x-mine") == ["a", "b"]
        assert "content-length" in headers
        assert "missing" not in headers


def test_an_answer_without_a_length_ends_with_its_connection_wherever_it_is_cut():
    raw = b"HTTP/1.1 200 OK\r\nX: y\r\n\r\nuntil the end"
    for place in range(1, len(raw)):
        answer = received([raw[:place], raw[place:]], ends=True)
        assert answer.content == b"until the end"


@pytest.mark.parametrize("name", ["a length", "chunks", "gzip"])
def test_an_answer_that_breaks_off_anywhere_is_closed_early(name):
    raw = ANSWERS[name][0]
    for place in range(len(raw)):
        with pytest.raises(TransportError, match="closed"):
            received([raw[:place]], ends=True)


RUBBISH = [
    b"SSH-2.0-OpenSSH_9\r\n",
    b"\x15\x03\x01\x00\x02\x02",
    b"HTTP/1.1 abc OK\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
]


@pytest.mark.parametrize("rubbish", RUBBISH)
def test_what_is_no_http_is_a_protocol_error(rubbish):
    assert outcomes(says(rubbish), "GET")[0] == ["protocol"]


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


# --- requests


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


# --- bodies


def answer_with(body: bytes, *headers: bytes):
    head = b"".join(header + b"\r\n" for header in headers)
    return received([b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%b\r\n%b" % (len(body), head, body)])


def test_bodies_are_read_as_they_say_they_are():
    assert answer_with(b'{"a": 1}').json() == {"a": 1}
    assert answer_with("é".encode("latin-1"), b"content-type: text/plain; charset=latin-1").text == "é"
    assert answer_with("é".encode(), b"content-type: text/plain").text == "é"
    assert answer_with("é".encode(), b"content-type: text/plain; charset=unheard-of").text == "é"
    assert answer_with(zlib.compress(b"hello"), b"Content-Encoding: deflate").content == b"hello"
    assert answer_with(zlib.compress(b"hello", wbits=-15), b"CONTENT-ENCODING: deflate").content == b"hello"
    assert answer_with(b"", b"Content-Encoding: gzip").content == b""


PACKED, MORE, NOTHING = (gzip.compress(content, mtime=0) for content in (b"hello", b" again", b""))


@pytest.mark.parametrize(
    ("encoding", "body", "content"),
    [
        ("gzip", PACKED + MORE, b"hello again"),
        ("x-gzip", PACKED + MORE + PACKED, b"hello againhello"),
        ("gzip", NOTHING, b""),
        ("gzip", NOTHING + PACKED + NOTHING + MORE + NOTHING, b"hello again"),
        ("gzip", PACKED + b"\0" * 512, b"hello"),
        ("gzip", PACKED + MORE + b"rubbish", b"hello again"),
        ("gzip", PACKED + b"\x1f", b"hello"),
        ("deflate", zlib.compress(b""), b""),
        ("deflate", zlib.compress(b"", wbits=-15), b""),
        ("deflate", zlib.compress(b"hello", level=0), b"hello"),
        ("deflate", zlib.compress(b"hello", level=0, wbits=-15), b"hello"),
        ("deflate", zlib.compress(b"hello") + b"rubbish", b"hello"),
        ("gzip, deflate", zlib.compress(PACKED + MORE), b"hello again"),
        ("identity, GZIP", PACKED, b"hello"),
        ("Identity", b"hello", b"hello"),
        ("", b"hello", b"hello"),
    ],
)
def test_every_member_of_a_body_is_read_and_what_is_none_behind_them_is_left(encoding, body, content):
    assert answer_with(body, b"Content-Encoding: " + encoding.encode()).content == content


@pytest.mark.parametrize(
    "body", [PACKED[:-1], PACKED + MORE[:-1], PACKED + b"\x1f\x8brubbish", PACKED[:-8] + b"\0" * 8]
)
def test_a_member_that_is_broken_or_cut_off_is_a_value_error(body):
    with pytest.raises(ValueError, match="the body is not gzip"):
        _ = answer_with(body, b"Content-Encoding: gzip").content


@pytest.mark.parametrize("wbits", [9, 15, -9, -15, 31])
@pytest.mark.parametrize("level", [0, 1, 9])
def test_a_packed_body_is_what_httpx_makes_of_it(wbits, level):
    encoding = "gzip" if wbits > 15 else "deflate"
    for content in (b"", b"a", b"hello" * 1000, bytes(range(256)) * 40):
        packed = zlib.compress(content, level, wbits)
        expected = httpx.Response(200, headers={"content-encoding": encoding}, content=packed).content
        assert answer_with(packed, b"Content-Encoding: " + encoding.encode()).content == expected == content


@pytest.mark.parametrize(
    "body",
    [
        b'\xef\xbb\xbf{"a": 1}',
        b'{"a": NaN}',
        b"[Infinity, -Infinity]",
        *(
            '{"a": "é"}'.encode(f"utf-{bits}")
            for bits in ("8-sig", "16", "16-le", "16-be", "32", "32-le", "32-be")
        ),
        b'["\\ud800"]',
        b'{"a": [1, 2.5, null, true]}',
    ],
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_json_is_what_httpx_reads(body, pack):
    headers = [] if pack is bytes else [b"Content-Encoding: gzip"]
    expected = httpx.Response(200, content=body).json()
    # Their text is compared: NaN is unlike itself.
    assert repr(answer_with(pack(body), *headers).json()) == repr(expected)


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"{'a': 1}", b'{"a": 1} more', b'"\xff\xfe"', b"\xff\xfe\x00", b"[" * 200_000, b"nan"],
)
def test_what_is_no_json_is_a_value_error(body):
    with pytest.raises(ValueError, match="the body is not JSON") as caught:
        answer_with(body).json()
    assert caught.value.kind == "body is not JSON"


def test_a_body_that_is_not_what_it_says_is_a_value_error():
    with pytest.raises(ValueError, match="the body is not gzip") as caught:
        _ = answer_with(b"rubbish", b"Content-Encoding: gzip").content
    assert caught.value.kind == "body is not gzip"
    with pytest.raises(ValueError, match="cannot read a body in the encoding br") as caught:
        _ = answer_with(b"rubbish", b"Content-Encoding: br").content
    assert caught.value.kind == "body is neither gzip nor deflate"


def test_a_large_body_arrives_whole():
    body = bytes(range(256)) * 20_000
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    assert outcomes(says(raw), "GET")[0] == [(200, body)]
