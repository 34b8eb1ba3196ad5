"""The load driver's connections under httpx."""

import asyncio
import gzip

import httpx
import pytest
import uvloop

from loadkit.drivers.http.driver import HttpDriver
from loadkit.drivers.http.httpx_transport import LoadTransport
from loadkit.errors import ConfigurationError
from loadkit.target import Target
from tests.bad_servers import always_says, drips, hangs_up, listening, never_answers, says
from tests.http_session import answers_and_then

OK = b'HTTP/1.1 200 OK\r\nContent-Length: 12\r\nContent-Type: application/json\r\nX-A: 1\r\nX-A: 2\r\n\r\n{"a": [1,2]}'


def with_client(behaviour, use):
    async def main():
        async with listening(behaviour) as server:
            transport = LoadTransport(HttpDriver(Target("t", server.base)))
            async with httpx.AsyncClient(transport=transport, base_url=server.base, timeout=60) as client:
                return await use(client), server

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(asyncio.wait_for(main(), 120))


def test_code_for_httpx_runs_unchanged():
    async def use(client):
        answer = await client.post("/items?x=1", json={"b": "é"}, headers={"X-Mine": "yes"})
        answer.raise_for_status()
        return answer.json(), answer.headers.get_list("x-a")

    (found, headers), server = with_client(always_says(OK), use)
    assert found == {"a": [1, 2]}
    assert headers == ["1", "2"]
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /items?x=1 HTTP/1.1\r\n")
    assert b"x-mine: yes" in head.lower()
    assert head.lower().count(b"content-length") == 1
    assert body.decode() in ('{"b":"é"}', '{"b": "é"}')


def test_connections_are_used_again_one_for_each_request_at_the_same_time():
    async def use(client):
        for _ in range(3):
            await asyncio.gather(*(client.get("/") for _ in range(4)))

    assert with_client(always_says(OK), use)[1].connections == 4


def test_compressed_bodies_are_read():
    body = gzip.compress(b"hello")
    raw = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    assert with_client(says(raw), lambda client: client.get("/"))[0].text == "hello"


def test_a_body_that_comes_in_pieces_is_sent_whole():
    async def pieces():
        yield b"one "
        yield b"two"

    _, server = with_client(always_says(OK), lambda client: client.post("/", content=pieces()))
    assert server.requests[0].endswith(b"\r\n\r\none two")


def test_a_connection_that_closes_without_an_answer_is_an_error_of_httpx():
    async def use(client):
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get("/")

    with_client(hangs_up, use)


@pytest.mark.parametrize("behaviour", [never_answers, drips(OK, 0.05)])
def test_an_answer_that_is_too_late_is_a_timeout_of_httpx(behaviour):
    async def use(client):
        await client.get("/")  # it connects, which may take its time
        with pytest.raises(httpx.ReadTimeout):
            await client.get("/", timeout=0.2)

    with_client(answers_and_then(behaviour), use)


def test_another_service_is_refused():
    async def use(client):
        with pytest.raises(ConfigurationError, match="not to http://elsewhere"):
            await client.get("http://elsewhere/")

    with_client(always_says(OK), use)
