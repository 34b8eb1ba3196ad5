"""The HTTP driver reads any answer, however it is cut."""

import asyncio
import gzip
from itertools import pairwise
from time import monotonic

import pytest

from loadkit.drivers.base import TransportError
from loadkit.drivers.http import connection as http
from loadkit.drivers.http.connection import Connection
from loadkit.drivers.http.outbox import Outbox
from loadkit.drivers.http.response import Head
from tests.bad_servers import says
from tests.http_session import (
    OK,
    SilentTransport,
    outcomes,
    received,
    running,
)

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
