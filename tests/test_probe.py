"""Is the service up?"""

import asyncio
import threading
import time
from contextlib import contextmanager

import pytest
from websockets.asyncio.server import serve

from loadkit.drivers.http import connection as http
from loadkit.engine import uptime
from loadkit.engine.uptime import INTERVAL, Probes, probes_of, require_answer, require_up
from loadkit.errors import UnreachableError
from loadkit.recording.run import DATABASE, HTTP, WEBSOCKET
from loadkit.target import Address, Target
from tests.bad_servers import (
    always_says,
    asked,
    hangs_up,
    hangs_up_on_the_second,
    in_a_thread,
    never_answers,
    says,
)
from tests.test_run import OK, service

BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"


UP, DOWN = True, False


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """A machine that stalls makes no service look down."""
    monkeypatch.setattr(uptime, "_TIMEOUT", 60.0)
    monkeypatch.setattr(uptime, "_FIRST_TIMEOUT", 60.0)


@pytest.fixture
def impatient(monkeypatch, patient):
    """For services that never answer."""
    monkeypatch.setattr(uptime, "_TIMEOUT", 0.1)


@contextmanager
def serving(handler):
    """A WebSocket server in a thread of its own; its port."""
    ready, over, ports = threading.Event(), threading.Event(), []

    async def run():
        async with serve(handler, "127.0.0.1", 0) as server:
            ports.append(server.sockets[0].getsockname()[1])
            ready.set()
            await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    assert ready.wait(60)
    try:
        yield ports[0]
    finally:
        over.set()
        thread.join(60)


def test_a_service_that_takes_longer_than_a_probe_during_the_load_is_up_before_it(monkeypatch):
    """Its users wait as long; only its uptime is low."""
    monkeypatch.setattr(uptime, "_TIMEOUT", 0.1)

    async def late(server, reader, writer):
        request = await asked(server, reader)
        await asyncio.sleep(0.5)
        is_handshake = b"upgrade: websocket" in request.lower()
        writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n" if is_handshake else OK)
        await writer.drain()

    with in_a_thread(late) as server:
        target = Target("t", server.base, ready="/ready", websocket_ready="/stream")
        require_up(probes_of(target, ("ws",)))


class FakeProbe:
    """Answers each call as its turn says, then as up; None: only after a later call has come."""

    def __init__(self, *answers):
        self._answers = iter(answers)
        self._is_asked_again = asyncio.Event()
        self.is_closed = False

    async def is_up(self):
        answer = next(self._answers, UP)
        if answer is None:
            await self._is_asked_again.wait()
            return UP
        self._is_asked_again.set()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def close(self):
        self.is_closed = True


class SilentProbe(FakeProbe):
    """Never answers."""

    async def is_up(self):
        await asyncio.Event().wait()


def probed(makers, protocol=HTTP, count=2):
    """The first probes of a protocol; the others are awaited too."""
    with Probes(makers, time.time()) as probes:
        deadline = time.monotonic() + 60
        while len(probes.answered(protocol)) < count and time.monotonic() < deadline:
            time.sleep(0.02)
    return probes.answered(protocol)


def http_probes(behaviour, ready="/ready", count=2):
    with service(behaviour) as base:
        return probed(probes_of(Target("t", base, ready=ready), ()), count=count)


def test_a_service_is_probed_twenty_times_a_second():
    (first, is_up), (second, still) = http_probes(always_says(OK))[:2]
    assert (is_up, still) == (True, True)
    assert first == 0.0
    assert second >= INTERVAL
    assert second == pytest.approx(round(second / INTERVAL) * INTERVAL)


@pytest.mark.parametrize("behaviour", [always_says(BUSY), hangs_up])
def test_one_that_is_not_ready_is_down(behaviour):
    assert {is_up for _, is_up in http_probes(behaviour, count=1)} == {False}


def test_without_an_address_nobody_is_asked():
    assert http_probes(always_says(OK), ready="", count=0) == []


def test_a_probe_is_sent_when_it_is_due_though_the_one_before_has_no_answer():
    probe = FakeProbe(None, OSError("refused"), DOWN)
    found = probed({HTTP: lambda: probe}, count=4)
    assert [is_up for _, is_up in found[:4]] == [UP, DOWN, DOWN, UP]
    assert [due for due, _ in found] == sorted(due for due, _ in found)
    assert probe.is_closed


@pytest.mark.usefixtures("impatient")
def test_a_probe_without_an_answer_is_down_after_its_time():
    assert {is_up for _, is_up in probed({HTTP: SilentProbe}, count=1)} == {DOWN}


def test_only_protocols_that_the_run_uses_are_probed():
    target = Target(
        "t", "http://h", ready="/ready", websocket_ready="/ws", database=Address("postgresql://h/d")
    )
    assert list(probes_of(target, ("http",))) == [HTTP]
    assert list(probes_of(target, ("http", "ws", "db"))) == [HTTP, WEBSOCKET, DATABASE]
    assert list(probes_of(Target("t", "http://h"), ("http", "ws", "db"))) == []


SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: wrong\r\n\r\n"
)


@pytest.mark.parametrize(
    ("answer", "is_up"),
    [
        (b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", UP),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", UP),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", DOWN),
        (BUSY, DOWN),
        (OK, DOWN),
        (SWITCHING, DOWN),
    ],
)
def test_a_handshake_that_only_lacks_credentials_is_up(answer, is_up):
    with service(always_says(answer)) as base:
        found = probed(probes_of(Target("t", base, websocket_ready="/ws"), ("ws",)), WEBSOCKET, count=1)
    assert {up for _, up in found} == {is_up}


def test_a_handshake_that_is_accepted_is_up():
    async def accept(connection):
        await connection.wait_closed()

    with serving(accept) as port:
        target = Target("t", f"http://127.0.0.1:{port}", websocket_ready="/ws")
        found = probed(probes_of(target, ("ws",)), WEBSOCKET, count=3)
    assert {up for _, up in found} == {UP}


def test_a_database_that_does_not_answer_is_down():
    target = Target("t", "http://h", database=Address("postgresql://u:p@127.0.0.1:1/d"))
    assert {up for _, up in probed(probes_of(target, ("db",)), DATABASE)} == {DOWN}


def test_a_protocol_that_is_down_before_the_load_is_refused_with_the_key_to_check():
    with service(always_says(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")) as base:
        target = Target("t", base, websocket_ready="/wrong")
        with pytest.raises(UnreachableError, match="check the key websocket_ready of the environment file"):
            require_up(probes_of(target, ("ws",)))
    require_up({HTTP: FakeProbe})


def test_any_answer_will_do_where_there_is_no_readiness_address():
    with service(always_says(BUSY)) as base:
        require_answer(Target("t", base))
        with pytest.raises(UnreachableError, match="the service is not ready"):
            require_answer(Target("t", base, ready="/ready"))


def probing(base, ask, protocol=HTTP, **paths):
    """What `ask` returns, which gets a probe of a protocol."""

    async def run():
        target = Target("t", base, **(paths or {"ready": "/ready"}))
        probe = probes_of(target, ("http", "ws"))[protocol]()
        try:
            return await ask(probe)
        finally:
            await probe.close()

    return asyncio.run(run())


async def three_in_turn(probe):
    return [await probe.is_up() for _ in range(3)]


async def three_at_once(probe):
    return await asyncio.gather(*(probe.is_up() for _ in range(3)))


def test_probes_in_turn_share_one_connection():
    with in_a_thread(always_says(OK)) as server:
        assert probing(server.base, three_in_turn) == [UP, UP, UP]
        assert (server.connections, len(server.requests)) == (1, 3)


def test_a_connection_that_the_service_has_closed_is_opened_again():
    with in_a_thread(says(OK)) as server:
        assert probing(server.base, three_in_turn) == [UP, UP, UP]
        assert server.connections == 3


def test_a_connection_that_closes_under_a_probe_is_opened_again(monkeypatch):
    monkeypatch.setattr(http, "_CROSSING", 60.0)  # however late this machine sees it
    with in_a_thread(hangs_up_on_the_second(OK)) as server:
        assert probing(server.base, three_in_turn) == [UP, UP, UP]
        assert server.connections == 2


def test_a_service_to_which_no_connection_can_be_opened_again_is_down():
    async def ask(probe):
        first = await probe.is_up()
        await asyncio.to_thread(stop)
        return [first, await probe.is_up()]

    up = in_a_thread(says(OK))
    server = up.__enter__()

    def stop():
        up.__exit__(None, None, None)

    assert probing(server.base, ask) == [UP, DOWN]


def answers_once_all_have_asked(count):
    """Answers the first request of each connection when so many have come."""

    async def behaviour(server, reader, writer):
        await asked(server, reader)
        while len(server.requests) < count:
            await asyncio.sleep(0.005)
        writer.write(OK)
        await writer.drain()

    return behaviour


def test_probes_that_wait_keep_no_other_from_being_sent():
    with in_a_thread(answers_once_all_have_asked(3)) as server:
        assert probing(server.base, three_at_once) == [UP, UP, UP]
        assert (server.connections, len(server.requests)) == (3, 3)


def test_a_service_that_never_answers_is_down(monkeypatch):
    monkeypatch.setattr(uptime, "_FIRST_TIMEOUT", 0.1)
    with in_a_thread(never_answers) as server:
        assert probing(server.base, three_at_once) == [DOWN, DOWN, DOWN]


def test_after_probes_at_once_one_connection_is_kept():
    async def ask(probe):
        return [*await three_at_once(probe), *await three_in_turn(probe)]

    with in_a_thread(always_says(OK)) as server:
        assert set(probing(server.base, ask)) == {UP}
        assert (server.connections, len(server.requests)) == (3, 6)


def test_a_readiness_path_below_the_base_address_is_requested_as_it_is_written():
    with in_a_thread(always_says(OK)) as server:
        assert probing(f"{server.base}/shop", three_in_turn, ready="/ready?deep=ä 1") == [UP, UP, UP]
        assert server.requests[0].startswith(b"GET /shop/ready?deep=%C3%A4%201 HTTP/1.1\r\n")


@pytest.mark.parametrize("status", [b"204 No Content", b"299 Odd"])
def test_any_status_of_success_is_up(status):
    with in_a_thread(always_says(b"HTTP/1.1 %b\r\nContent-Length: 0\r\n\r\n" % status)) as server:
        assert probing(server.base, three_in_turn) == [UP, UP, UP]


@pytest.mark.parametrize("status", [b"301 Moved", b"404 Not Found"])
def test_any_other_status_is_down(status):
    answer = b"HTTP/1.1 %b\r\nLocation: /ready\r\nContent-Length: 0\r\n\r\n" % status
    with in_a_thread(always_says(answer)) as server:
        assert probing(server.base, three_in_turn) == [DOWN, DOWN, DOWN]


def test_each_probe_of_websocket_opens_a_connection_and_closes_it():
    codes = []

    async def accept(connection):
        await connection.wait_closed()
        codes.append(connection.close_code)

    with serving(accept) as port:
        found = probing(f"http://127.0.0.1:{port}", three_in_turn, WEBSOCKET, websocket_ready="/ws")
    assert found == [UP, UP, UP]
    assert codes == [1000, 1000, 1000]
