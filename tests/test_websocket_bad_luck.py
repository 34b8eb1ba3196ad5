"""What goes wrong with a WebSocket is typed and counted, nothing hangs, and no connection leaks."""

import asyncio
import itertools
import json
import resource
import struct
import time
from dataclasses import replace
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.utils import accept_key

from loadkit.drivers.websocket import connection as connection_module
from loadkit.drivers.websocket.client import ConnectFailed
from loadkit.drivers.websocket.client import ConnectionClosed as Closed
from loadkit.engine.worker import SPARE_FILES, Shard, check_worker, run_users
from loadkit.errors import ConfigurationError
from loadkit.recording.messages import CONNECTIONS, DISCONNECTED, OPENED, UNANSWERED_CLOSES
from loadkit.recording.timing import CONNECT, LIFETIME, MESSAGE, PING
from loadkit.recording.worker_second import OUT_OF_DESCRIPTORS
from loadkit.target import Address, Target
from loadkit.users.pacer import LoopAlarm
from loadkit.workload.workload import MixEntry, Think
from tests.bad_servers import asked, hangs_up, listening, never_answers, resets, says
from tests.test_websocket_frames import frame
from tests.virtual_time import Simulation, plan_of
from tests.websocket_journeys import follow
from tests.websocket_user import Meeting, met, run, served_by, until

ROOT = Path(__file__).parent.parent
WIDE = 60.0
START = 5.0
"""Seconds that a worker may take until it is ready."""


def upgraded(*data: bytes, then=None, head: bytes = b""):
    """A server that shakes hands and then says given bytes; it hangs up unless `then` says otherwise."""

    async def behaviour(server, reader, writer):
        request = await asked(server, reader)
        key = next(
            line.split(b": ", 1)[1]
            for line in request.split(b"\r\n")
            if line.lower().startswith(b"sec-websocket-key")
        )
        answer = (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept_key(key.decode()).encode() + b"\r\n" + head + b"\r\n"
        )
        writer.write(answer + b"".join(data))
        await writer.drain()
        if then is not None:
            await then(reader, writer)

    return behaviour


async def waits(reader, _writer):
    """Says nothing and keeps the connection until the client has closed it."""
    while await reader.read(1000):
        pass


async def never_closes(_reader, _writer):
    await asyncio.sleep(WIDE)


def meeting_bytes(behaviour, use, timeout: float = 5.0):
    """Have a user meet a server that says given bytes."""

    async def main():
        async with listening(behaviour) as server:
            meeting = Meeting(f"ws://127.0.0.1:{server.port}")
            meeting.user.meter.timeout = timeout
            await use(meeting)
            meeting.finish()
            await until(lambda: meeting.driver.sockets == 0)
            return meeting

    return run(main())


REFUSED = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 6\r\n\r\ntoken!"


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        (says(REFUSED), "status 401"),
        (says(b"HTTP/1.1 503 Busy\r\nContent-Type: text/html\r\n\r\n<html>"), "status 503"),
        (says(b"HTTP/1.0 502 Bad Gateway\r\n\r\n"), "status 502"),
        (says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"), "status 200"),
        (says(b"HTTP/1.1 302 Found\r\nLocation: /login\r\n\r\n"), "status 302"),
        (says(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"), "protocol"),
        (
            says(
                b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: wrong\r\n\r\n"
            ),
            "protocol",
        ),
        (upgraded(head=b"Sec-WebSocket-Protocol: unasked\r\n", then=waits), "protocol"),
        (upgraded(head=b"Sec-WebSocket-Extensions: permessage-deflate\r\n", then=waits), "protocol"),
        (says(b"SSH-2.0-OpenSSH_9.2\r\n"), "protocol"),
        (says(b"x" * 100_000), "protocol"),
        (hangs_up, "closed"),
        (says(b"HTTP/1.1 101 Switching Prot"), "closed"),
        (resets, "reset"),
    ],
)
def test_a_connection_that_is_not_opened_has_an_outcome_and_its_status_is_kept(behaviour, kind):
    async def use(meeting):
        with pytest.raises(ConnectFailed, match=f"^{kind}$") as failed:
            await meeting.user.ws.connect("/")
        assert failed.value.status_code == (int(kind[7:]) if kind.startswith("status") else 0)

    meeting = meeting_bytes(behaviour, use)
    assert meeting.outcomes(CONNECT) == {kind: 1}
    assert (meeting.count(OPENED), meeting.gauge(CONNECTIONS), meeting.outcomes(LIFETIME)) == (0, 0, {})


def test_a_status_is_known_though_its_body_never_ends():
    async def refuses(server, reader, writer):
        await asked(server, reader)
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 100\r\n\r\nonly this")
        await waits(reader, writer)

    async def use(meeting):
        with pytest.raises(ConnectFailed, match="status 403"):
            await meeting.user.ws.connect("/", timeout=WIDE)

    meeting_bytes(refuses, use)


def test_a_service_that_does_not_answer_the_handshake_is_given_up():
    async def use(meeting):
        with pytest.raises(ConnectFailed, match="timeout"):
            await meeting.user.ws.connect("/")

    assert meeting_bytes(never_answers, use, timeout=0.1).outcomes(CONNECT) == {"timeout": 1}


def test_an_attempt_that_is_cancelled_leaves_no_socket():
    async def use(meeting):
        connecting = asyncio.create_task(meeting.user.ws.connect("/"))
        await until(lambda: meeting.driver.sockets == 1)
        connecting.cancel()
        await asyncio.wait((connecting,))
        await until(lambda: meeting.driver.sockets == 0)

    assert meeting_bytes(never_answers, use).outcomes(CONNECT) == {"unfinished": 1}


def test_nobody_listening_is_refused():
    async def main():
        meeting = Meeting("ws://127.0.0.1:1")
        with pytest.raises(ConnectFailed, match="refused"):
            await meeting.user.ws.connect("/")
        meeting.finish()
        return meeting

    assert run(main()).outcomes(CONNECT) == {"refused": 1}


def test_messages_that_come_with_the_handshake_are_received():
    async def use(meeting):
        ws = await meeting.user.ws.connect("/")
        assert [await ws.receive(), await ws.receive()] == ["a", b"b"]

    meeting_bytes(upgraded(frame(0x81, b"a"), frame(0x82, b"b"), then=waits), use)


ENDS = [
    (b"", "closed 1006", 1006),
    (frame(0x81, b"cut off")[:4], "closed 1006", 1006),
    (frame(0x88, struct.pack("!H", 1013) + b"too slow"), "closed 1013", 1013),
    (frame(0x88, b""), "closed 1005", 1005),
    (frame(0x88, struct.pack("!H", 4001)), "closed 4001", 4001),
    (frame(0x88, b"\x03"), "invalid frame", 1002),
    (frame(0x83, b"?"), "invalid frame", 1002),
    (frame(0xC1, b"compressed, unasked"), "invalid frame", 1002),
    (frame(0x81, b"masked", is_masked=True), "invalid frame", 1002),
    (frame(0x80, b"continues nothing"), "invalid frame", 1002),
    (frame(0x89, b"x" * 126), "invalid frame", 1002),
    (frame(0x81, b"\xff\xfe"), "bad UTF-8", 1007),
    (frame(0x01, b"\xe2\x82") + frame(0x80, b"\x00"), "bad UTF-8", 1007),
    (frame(0x82, b"x" * 1001), "message too big", 1009),
    (frame(0x02, b"x" * 600) + frame(0x80, b"x" * 600), "message too big", 1009),
    (b"\x82\x7f" + struct.pack("!Q", 1 << 40), "message too big", 1009),
]


@pytest.mark.parametrize(
    ("data", "kind", "code", "then"),
    [(*end, None) for end in ENDS] + [(*end, waits) for end in ENDS if end[2] != 1006],
)
def test_a_connection_that_ends_by_the_service_says_how(data, kind, code, then):
    async def use(meeting):
        ws = await meeting.user.ws.connect("/", max_size=1000)
        assert await ws.receive() == "before"
        with pytest.raises(Closed, match=f"^{kind}$") as closed:
            await ws.receive()
        assert closed.value.code == code
        assert meeting.user.meter.has_failed

    meeting = meeting_bytes(upgraded(frame(0x81, b"before"), data, then=then), use)
    assert meeting.count(DISCONNECTED + kind) == 1
    assert meeting.outcomes(LIFETIME) == {kind: 1}
    assert meeting.outcomes(CONNECT) == {"ok": 1}
    assert (meeting.count(OPENED), meeting.gauge(CONNECTIONS)) == (1, 0)


def test_a_service_that_vanishes_in_the_middle_ends_a_hold():
    async def vanishes(_reader, writer):
        writer.transport.abort()

    async def use(meeting):
        ws = await meeting.user.ws.connect("/")
        with pytest.raises(Closed, match="closed 1006"):
            await ws.hold()

    meeting = meeting_bytes(upgraded(frame(0x81, b"a"), then=vanishes), use)
    assert meeting.count(f"{DISCONNECTED}closed 1006") == 1


def test_a_half_open_connection_is_found_by_pings():
    async def use(meeting):
        ws = await meeting.user.ws.connect("/", ping_every=0.05, ping_timeout=0.1)
        with pytest.raises(Closed, match="half-open"):
            await ws.hold()
        await until(lambda: meeting.driver.sockets == 0)

    meeting = meeting_bytes(upgraded(then=never_closes), use)
    assert meeting.count(f"{DISCONNECTED}half-open") == 1
    assert meeting.outcomes(PING) == {"timeout": 1}
    assert meeting.outcomes(LIFETIME) == {"half-open": 1}


def test_a_service_that_sends_and_never_answers_pings_is_not_half_open():
    async def chatters(_reader, writer):
        while True:
            writer.write(frame(0x81, b"still here"))
            await writer.drain()
            await asyncio.sleep(0.01)

    async def use(meeting):
        ws = await meeting.user.ws.connect("/", ping_every=WIDE, ping_timeout=WIDE)
        connection = ws._connection
        pings = connection._pings
        for _ in range(3):
            await until(lambda: connection._now > pings._sent_at)
            pings.stop()
            pings.ring()  # as if its time had passed
        assert pings.sent == 3
        assert ws.ending is None

    assert meeting_bytes(upgraded(then=chatters), use).outcomes(PING) == {"timeout": 2}


def test_what_arrived_during_a_stall_of_the_event_loop_is_read_before_a_connection_is_half_open(monkeypatch):
    send = connection_module.Connection.ping

    def ping(connection, payload):
        send(connection, payload)
        asyncio.get_running_loop().call_soon(time.sleep, 0.3)  # the alarm for its pong is set before

    monkeypatch.setattr(connection_module.Connection, "ping", ping)

    async def use(meeting):
        ws = await meeting.user.ws.connect("/", ping_every=0.05, ping_timeout=0.1)
        await until(lambda: ws._connection._pings.sent >= 2)
        assert ws.ending is None

    async def stays(server):
        await server.wait_closed()

    assert met(stays, use).outcomes(LIFETIME) == {"ok": 1}


def test_a_close_that_the_service_does_not_answer_ends_all_the_same(monkeypatch):
    monkeypatch.setattr(connection_module, "CLOSE_SECONDS", 0.1)

    async def use(meeting):
        ws = await meeting.user.ws.connect("/")
        await ws.close()
        assert meeting.driver.sockets == 0

    meeting = meeting_bytes(upgraded(then=never_closes), use)
    assert meeting.count(UNANSWERED_CLOSES) == 1
    assert meeting.outcomes(LIFETIME) == {"ok": 1}


def test_a_service_that_closes_and_keeps_the_socket_loses_it(monkeypatch):
    monkeypatch.setattr(connection_module, "CLOSE_SECONDS", 0.1)

    async def use(meeting):
        ws = await meeting.user.ws.connect("/")
        with pytest.raises(Closed, match="closed 1001"):
            await ws.receive()
        await until(lambda: meeting.driver.sockets == 0)

    meeting = meeting_bytes(upgraded(frame(0x88, struct.pack("!H", 1001)), then=never_closes), use)
    assert meeting.count(UNANSWERED_CLOSES) == 0


def test_without_a_free_descriptor_an_attempt_fails_and_is_counted_as_the_generators():
    async def main():
        async with listening(upgraded(then=waits)) as server:
            meeting = Meeting(f"ws://127.0.0.1:{server.port}")
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            lowest = max(int(name) for name in (each.name for each in Path("/proc/self/fd").iterdir()))
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 1, hard))
            taken = []
            try:
                while True:
                    taken.append(Path("/dev/null").open())  # noqa: SIM115, ASYNC230
            except OSError:
                pass
            try:
                with pytest.raises(ConnectFailed, match="no socket"):
                    await meeting.user.ws.connect("/")
            finally:
                for file in taken:
                    file.close()
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            meeting.finish()
            return meeting

    meeting = run(main())
    assert meeting.outcomes(CONNECT) == {"no socket": 1}
    assert meeting.count(OUT_OF_DESCRIPTORS) == 1


def test_too_many_connections_for_the_descriptors_are_found_before_the_load(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (1024, 1000))
    plan = plan_of("tests.websocket_journeys:follow", level=1000)
    needed = 1000 + SPARE_FILES
    with pytest.raises(ConfigurationError, match=f"a worker needs {needed} open files") as refused:
        check_worker(plan, "", ROOT, 1)
    for how in ("ulimit -n ", "nofile ", "LimitNOFILE=", "--ulimit nofile="):
        assert f"{how}{needed}" in str(refused.value)


def test_users_need_descriptors_for_the_protocols_of_their_own_journeys_alone(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (1024, 1000))
    live, plain = (
        plan_of(journey, level=level).populations[0]
        for journey, level in (
            ("tests.websocket_journeys:follow", 800),
            ("tests.sample_journeys:two_steps", 300),
        )
    )
    plan = replace(plan_of(), populations=(live, replace(plain, name="others")))
    with pytest.raises(ConfigurationError, match=f"a worker needs {800 + 300 + SPARE_FILES} open files"):
        check_worker(plan, "", ROOT, 1)


@pytest.mark.slow
def test_users_of_a_load_reconnect_and_leave_no_connection_behind():
    opened, closed = [], []

    async def handler(connection):
        opened.append(connection)
        is_early = len(opened) <= 5
        try:
            for number in itertools.count():
                await connection.send(json.dumps(["cpu", number, time.time()]))
                if is_early and number == 20:
                    await connection.close(1012)  # it restarts
                await asyncio.sleep(0.02)
        except ConnectionClosed as error:
            closed.append(error.rcvd.code)

    async def main():
        async with served_by(handler) as address:
            meeting = Meeting(address)
            simulation = Simulation()
            plan = plan_of(
                mix=(MixEntry(follow.path, 1.0),),
                level=5,
                seconds=600,
                think=Think(0.1, 0.3),
                timeout=WIDE,
            )
            target = Target("t", address, Address(address))

            def take(report):
                """Until all are back."""
                simulation.take(report)
                return len(opened) < 10 or report.worker_second.gauge(CONNECTIONS) < 5

            await run_users(
                plan,
                Shard(0, 1, target, "run-1", ROOT),
                meeting.clock.now() + START,
                take,
                clock=meeting.clock,
                drivers=(meeting.driver,),
                alarm_of=LoopAlarm,
            )
            await until(lambda: meeting.driver.sockets == 0)
            await until(lambda: len(closed) == len(opened))
            return simulation

    simulation = run(main(), 120)
    seconds = simulation.worker_seconds
    assert sorted(closed) == [1001] * 5 + [1012] * 5
    assert sum(each.count(OPENED) for each in seconds) == 10
    assert sum(each.count(f"{DISCONNECTED}closed 1012") for each in seconds) == 5
    assert max(each.gauge(CONNECTIONS) for each in seconds) == 5
    assert seconds[-1].gauge(CONNECTIONS) == 0
    assert simulation.table.labels(MESSAGE) == simulation.table.labels(CONNECT) == ["WS /live"]
    assert simulation.table.labels() == []
