"""What a journey can do with a WebSocket, and what is recorded of it."""

import asyncio
import json
import time
from base64 import b64encode
from math import inf

import pytest
from websockets.extensions.permessage_deflate import PerMessageDeflate

from loadkit.drivers.base import NoResponse
from loadkit.drivers.registry import drivers_for
from loadkit.drivers.websocket.alarms import GRID, Alarms
from loadkit.drivers.websocket.client import ConnectionClosed
from loadkit.drivers.websocket.driver import WebSocketDriver
from loadkit.errors import ConfigurationError, UnreachableError
from loadkit.recording.messages import (
    BYTES_RECEIVED,
    BYTES_SENT,
    CONNECTIONS,
    DISCONNECTED,
    DOUBLED,
    EARLY,
    FILLED,
    MESSAGES_RECEIVED,
    MESSAGES_SENT,
    MISSING,
    OPENED,
    OUT_OF_ORDER,
    UNREADABLE,
)
from loadkit.recording.timing import CONNECT, LIFETIME, MESSAGE, PING, ROUND_TRIP, SEND
from loadkit.recording.worker_second import JOURNEY_ERROR
from loadkit.target import Address, Target
from loadkit.users.meter import UserFinished
from tests.test_tls import certificate, served_with
from tests.websocket_user import Meeting, met, run, served_by, until


async def echo(connection):
    async for message in connection:
        await connection.send(message)


async def is_silent(connection):
    await connection.wait_closed()


def publishes(*messages, then=is_silent):
    """Sends messages at once, then does something else."""

    async def handler(connection):
        for message in messages:
            await connection.send(message)
        await then(connection)

    return handler


def event(number, stream="cpu", age=0.0):
    return json.dumps({"stream": stream, "seq": number, "ts": time.time() - age})


def read(message):
    value = json.loads(message)
    return (value["stream"], value["seq"], value["ts"]) if "seq" in value else None


# --- connecting


def test_a_connection_is_an_operation_and_its_messages_are_none():
    async def use(meeting):
        ws = await meeting.user.ws.connect("/live/42?topics=cpu")
        await ws.send("hello")
        assert await ws.receive() == "hello"

    meeting = met(echo, use)
    assert meeting.outcomes(CONNECT) == {"ok": 1}
    assert meeting.report.table.labels(CONNECT) == ["WS /live/{id}"]
    assert meeting.report.table.labels() == []
    assert meeting.outcomes(SEND) == {"ok": 1}
    assert (meeting.count("scheduled"), meeting.count("sent")) == (2, 2)


def test_connections_held_are_a_gauge_that_falls_when_they_close():
    async def use(meeting):
        one, other = [await meeting.user.ws.connect("/") for _ in range(2)]
        assert meeting.recorder.report().worker_second.gauge(CONNECTIONS) == 2
        await one.close()
        assert meeting.recorder.report().worker_second.gauge(CONNECTIONS) == 1
        assert other.ending is None

    meeting = met(is_silent, use)
    assert meeting.gauge(CONNECTIONS) == 0
    assert meeting.outcomes(LIFETIME) == {"ok": 1}


def test_the_connection_time_ends_with_the_bytes_of_the_handshake_and_not_when_the_journey_wakes():
    async def use(meeting):
        connecting = asyncio.create_task(meeting.user.ws.connect("/"))
        await until(lambda: meeting.driver.sockets == 1)
        await asyncio.sleep(0)
        ws = await connecting
        connection = ws._connection
        assert meeting.user.meter.intended == connection.opened_at

    met(is_silent, use)


def test_headers_and_the_credentials_of_the_address_are_sent():
    seen = {}

    async def handler(connection):
        seen.update(connection.request.headers)
        seen["path"] = connection.request.path

    async def main():
        async with served_by(handler) as address:
            meeting = Meeting(address.replace("ws://", "ws://ann:secret@") + "/base?key=1")
            await meeting.driver.open()
            meeting.user.ws.headers["x-tenant"] = "acme"
            await meeting.user.ws.connect(
                "/live?topics=cpu", headers={"X-Tenant": "globex", "Origin": "http://a"}
            )
            meeting.finish()
            await until(lambda: meeting.driver.sockets == 0)

    run(main())
    assert seen["x-tenant"] == "globex"
    assert seen["origin"] == "http://a"
    assert seen["x-run-id"] == "run-7"
    assert seen["authorization"] == f"Basic {b64encode(b'ann:secret').decode()}"
    assert seen["path"] == "/base/live?key=1&topics=cpu"


@pytest.mark.parametrize("name", ["upgrade", "Sec-WebSocket-Key", "sec-websocket-protocol", "connection"])
def test_a_header_that_the_client_computes_is_refused_before_anything_is_counted(name):
    async def use(meeting):
        with pytest.raises(ValueError, match=f'the header "{name.lower()}" cannot be set'):
            await meeting.user.ws.connect("/", headers={name: "x"})

    meeting = met(is_silent, use)
    assert meeting.outcomes(CONNECT) == {}
    assert meeting.count("sent") == 0


def test_the_service_chooses_one_of_the_subprotocols():
    async def use(meeting):
        ws = await meeting.user.ws.connect("/", subprotocols=["v2", "v1"])
        assert ws.subprotocol == "v1"

    met(is_silent, use, subprotocols=["v1"])


def test_messages_are_compressed_on_request_only():
    used = []

    async def handler(connection):
        used.append([type(each) for each in connection.protocol.extensions])
        await echo(connection)

    async def use(meeting):
        for compress in (False, True):
            ws = await meeting.user.ws.connect("/", compress=compress)
            text = "cpu.load " * 1000
            await ws.send(text)
            assert await ws.receive() == text
            await ws.send(b"\0" * 1000)
            assert await ws.receive() == b"\0" * 1000

    meeting = met(handler, use)
    assert used == [[], [PerMessageDeflate]]
    assert meeting.count(BYTES_SENT) == 2 * 10_000
    assert 10_000 < meeting.count(BYTES_RECEIVED) < 10_500


def test_a_connection_over_tls_is_verified(tmp_path):
    ours, others = certificate(tmp_path, "ours"), certificate(tmp_path, "others")

    async def use(meeting):
        ws = await meeting.user.ws.connect("/")
        await ws.send("over tls")
        assert await ws.receive() == "over tls"
        await ws.close()

    assert met(echo, use, ssl=served_with(*ours), target={"ca_file": str(ours[0])}).outcomes(CONNECT) == {
        "ok": 1
    }

    async def fail(meeting):
        with pytest.raises(NoResponse, match="tls"):
            await meeting.user.ws.connect("/")

    refused = met(echo, fail, ssl=served_with(*ours), target={"ca_file": str(others[0])})
    assert refused.outcomes(CONNECT) == {"tls": 1}


@pytest.mark.parametrize("address", ["ftp://host", "ws://", "ws://host:port", "nonsense"])
def test_an_invalid_address_is_one_line(address):
    with pytest.raises(ConfigurationError, match=r'is invalid; expected one like "ws://127\.0\.0\.1:8080"'):
        WebSocketDriver(Target("t", "http://host", Address(address)))


def test_an_address_that_nobody_listens_at_is_found_before_the_load():
    async def main():
        with pytest.raises(UnreachableError, match=r"^http://127\.0\.0\.1:1 accepts no connection: refused$"):
            await WebSocketDriver(Target("t", "http://127.0.0.1:1")).open()

    run(main())


def test_the_registry_knows_it_and_it_needs_one_descriptor_per_user():
    (driver,) = drivers_for(["ws"], Target("t", "https://host/api"))
    assert isinstance(driver, WebSocketDriver)
    assert driver.descriptors_per_user == 1
    assert driver._uri.secure


# --- messages


def test_a_message_is_sent_as_text_as_bytes_or_as_json():
    async def use(meeting):
        ws = await meeting.user.ws.connect("/")
        for sent, received in (("text", "text"), (b"bytes", b"bytes"), ({"a": 1}, '{"a":1}'), ([1], "[1]")):
            await ws.send(sent)
            assert await ws.receive() == received

    meeting = met(echo, use)
    assert (meeting.count(MESSAGES_SENT), meeting.count(MESSAGES_RECEIVED)) == (4, 4)
    assert meeting.count(BYTES_SENT) == len("text") + len(b"bytes") + len('{"a":1}') + len("[1]")
    assert meeting.count(BYTES_RECEIVED) == meeting.count(BYTES_SENT) + 4 * 2


def test_an_iteration_gives_each_message_and_ends_with_a_normal_close():
    async def hang_up(connection):
        await connection.close(1001)

    async def use(meeting):
        ws = await meeting.user.ws.connect("/")
        assert [message async for message in ws] == ["1", "2", "3"]
        with pytest.raises(ConnectionClosed) as closed:
            await ws.receive()
        assert closed.value.code == 1001
        with pytest.raises(ConnectionClosed):
            await ws.send("too late")

    meeting = met(publishes("1", "2", "3", then=hang_up), use)
    assert meeting.count(f"{DISCONNECTED}closed 1001") == 1
    assert meeting.outcomes(SEND) == {"closed 1001": 1}


def test_a_message_that_does_not_come_in_time_is_a_failed_message():
    async def use(meeting):
        ws = await meeting.user.ws.connect("/")
        with pytest.raises(NoResponse, match="timeout"):
            await ws.receive(timeout=0.05)
        assert ws.ending is None

    assert met(is_silent, use).outcomes(MESSAGE) == {"timeout": 1}


def test_a_check_after_a_message_fails_what_was_sent():
    async def use(meeting):
        ws = await meeting.user.ws.connect("/")
        await ws.send("ping")
        meeting.user.check(await ws.receive() == "pong", "the answer is right")

    meeting = met(echo, use)
    assert meeting.outcomes(SEND) == {"check: the answer is right": 1}
    assert meeting.outcomes(CONNECT) == {"ok": 1}


def test_a_second_waiting_task_of_a_user_is_a_mistake_of_the_journey():
    async def use(meeting):
        ws = await meeting.user.ws.connect("/")
        first = asyncio.create_task(ws.receive())
        await asyncio.sleep(0.01)
        with pytest.raises(RuntimeError, match="one operation after the other"):
            await ws.receive()
        first.cancel()

    met(is_silent, use)


def test_a_service_that_does_not_read_holds_up_the_sender_until_the_timeout():
    over = asyncio.Event()

    async def reads_nothing(connection):
        connection.transport.pause_reading()
        await over.wait()
        connection.transport.abort()

    async def use(meeting):
        ws = await meeting.user.ws.connect("/")
        meeting.user.meter.timeout = 0.3

        async def send_all():
            for _ in range(200):
                await ws.send(b"x" * 500_000)

        with pytest.raises(NoResponse, match="timeout"):
            await send_all()
        over.set()

    assert met(reads_nothing, use).outcomes(SEND)["timeout"] == 1


def test_a_journey_that_does_not_read_holds_up_the_service():
    async def use(meeting):
        ws = await meeting.user.ws.connect("/")
        await until(lambda: ws._connection.is_paused)
        waiting = len(ws._connection.queue)
        assert waiting < 20_000
        for number in range(20_000):
            assert await ws.receive() == f"{number:0100}"

    met(publishes(*(f"{number:0100}" for number in range(20_000))), use)


# --- subscriptions


def subscribed(messages, *, reader=read):
    """A user that subscribes and holds until everything has arrived."""
    found = []

    async def wait(meeting):
        ws = await meeting.user.ws.connect("/live")
        found.append(ws.subscribe(reader))
        with pytest.raises(ConnectionClosed):
            await ws.hold()

    async def hang_up(connection):
        await connection.close(1001)

    meeting = met(publishes(*messages, then=hang_up), wait)
    return meeting, found[0]


def test_a_subscription_measures_each_message_from_its_creation_to_its_arrival():
    meeting, subscription = subscribed([event(number, age=2.0) for number in range(100)])
    assert subscription.received == 100
    assert subscription.positions == {"cpu": 99}
    assert meeting.outcomes(MESSAGE) == {"ok": 100}
    assert meeting.report.table.labels(MESSAGE) == ["WS /live"]
    assert 200.0 < meeting.total(MESSAGE) < 1000.0
    assert meeting.count(MESSAGES_RECEIVED) == 100
    assert meeting.count(EARLY) == 0


@pytest.mark.parametrize(
    ("numbers", "counts"),
    [
        ([1, 2, 5], {MISSING: 2}),
        ([1, 2, 2, 2], {DOUBLED: 2}),
        ([1, 3, 2], {MISSING: 1, FILLED: 1, OUT_OF_ORDER: 1}),
    ],
)
def test_lost_doubled_and_disordered_messages_are_counted(numbers, counts):
    meeting, subscription = subscribed([event(number) for number in numbers])
    for name in (MISSING, FILLED, DOUBLED, OUT_OF_ORDER, UNREADABLE):
        assert meeting.count(name) == counts.get(name, 0), name
    assert subscription.received == len(numbers)
    assert subscription.missing == counts.get(MISSING, 0)


def test_a_message_that_cannot_be_read_is_counted_and_no_mistake_of_the_journey():
    meeting, subscription = subscribed([event(1), "<html>", event(2)])
    assert (subscription.received, subscription.unreadable, meeting.count(UNREADABLE)) == (2, 1, 1)
    assert not any(
        JOURNEY_ERROR in name for counts in meeting.report.worker_second.counts.values() for name in counts
    )


@pytest.mark.parametrize(
    "reader",
    [
        lambda message: json.loads(message)["no such key"],
        lambda message: ("cpu", 1),
        lambda message: ("cpu", 1, "noon"),
    ],
)
def test_an_error_in_the_reader_is_the_journeys_and_is_told_with_its_place(reader):
    meeting, subscription = subscribed([event(1), event(2)], reader=reader)
    (error,) = [
        name
        for counts in meeting.report.worker_second.counts.values()
        for name in counts
        if name.startswith(JOURNEY_ERROR)
    ]
    assert "the reader of messages (subscribe) itself failed: " in error
    assert ".py:" in error
    assert subscription.received == 0


def test_a_message_of_no_stream_is_given_to_the_journey():
    async def use(meeting):
        ws = await meeting.user.ws.connect("/")
        subscription = ws.subscribe(read)
        assert await ws.receive() == '{"hello": 1}'
        assert subscription.received == 1

    met(publishes(event(1), '{"hello": 1}'), use)


def test_messages_that_came_before_the_subscription_belong_to_it():
    async def use(meeting):
        ws = await meeting.user.ws.connect("/")
        await until(lambda: len(ws._connection.queue) == 3)
        subscription = ws.subscribe(read)
        assert (subscription.received, subscription.missing) == (3, 1)
        with pytest.raises(RuntimeError, match="one subscription"):
            ws.subscribe(read)

    assert met(publishes(event(1), event(2), event(4)), use).outcomes(MESSAGE) == {"ok": 3}


def test_a_subscription_goes_on_over_a_new_connection():
    turns = iter([[1, 2, 3], [6, 4, 5]])

    async def handler(connection):
        for number in next(turns):
            await connection.send(event(number))
        await connection.close(1012)

    async def use(meeting):
        earlier = None
        for _ in range(2):
            ws = await meeting.user.ws.connect("/")
            earlier = ws.subscribe(read, after=earlier)
            with pytest.raises(ConnectionClosed, match="closed 1012"):
                await ws.hold()
        assert earlier.positions == {"cpu": 6}

    meeting = met(handler, use)
    assert (meeting.count(MISSING), meeting.count(FILLED), meeting.count(DOUBLED)) == (2, 2, 0)
    assert meeting.count(f"{DISCONNECTED}closed 1012") == 2


def test_no_task_is_woken_by_a_message():
    async def use(meeting):
        ws = await meeting.user.ws.connect("/")
        subscription = ws.subscribe(read)
        holding = asyncio.create_task(ws.hold())
        await asyncio.sleep(0)
        waiter = ws._connection._waiter
        await until(lambda: subscription.received == 50)
        assert ws._connection._waiter is waiter
        assert not waiter.done()
        holding.cancel()

    met(publishes(*(event(number) for number in range(50))), use)


def test_messages_count_from_the_first_recorded_moment_on_and_gaps_from_the_first_message():
    async def use(meeting):
        meeting.user.meter.is_recorded = False
        ws = await meeting.user.ws.connect("/")
        subscription = ws.subscribe(read)
        await until(lambda: subscription.received == 1)
        meeting.user.meter.is_recorded = True
        await ws.send("more")
        await until(lambda: meeting.user.meter.recorder.counts[MISSING])
        meeting.user.meter.is_recorded = False  # its token is renewed
        await ws._connection.lost()

    async def handler(connection):
        await connection.send(event(1))
        await connection.recv()
        await connection.send(event(3))
        await connection.send(event(5))
        await connection.close()

    meeting = met(handler, use)
    assert meeting.outcomes(MESSAGE) == {"ok": 2}
    assert meeting.count(MISSING) == 2
    assert meeting.count(OPENED) == 0


# --- holding and closing


def test_a_held_connection_ends_with_the_users_time_and_is_closed_with_the_journey():
    async def use(meeting):
        async def journey():
            ws = await meeting.user.ws.connect("/")
            await ws.hold()

        meeting.user.meter.until = meeting.clock.now() + 0.2
        with pytest.raises(UserFinished):
            await journey()
        await until(lambda: meeting.driver.sockets == 0)

    meeting = met(publishes("nobody", "reads", "this"), use)
    assert meeting.outcomes(LIFETIME) == {"ok": 1}


def test_the_next_operation_is_due_after_the_hold_and_not_before():
    async def use(meeting):
        ws = await meeting.user.ws.connect("/")
        before = meeting.user.meter.intended
        await ws.hold(0.1)
        assert meeting.user.meter.intended >= before + 0.1
        await ws.close()
        assert meeting.user.meter.intended <= meeting.clock.now()

    met(is_silent, use)


def test_a_long_hold_leaves_the_grid_of_alarms_before_its_end(monkeypatch):
    moments = []
    set_alarm = Alarms.set

    def noted(alarms, moment, ringing):
        moments.append((ringing, moment))
        return set_alarm(alarms, moment, ringing)

    monkeypatch.setattr(Alarms, "set", noted)

    async def use(meeting):
        ws = await meeting.user.ws.connect("/", ping_every=float("inf"))
        await ws.hold(0.3)
        ((ringing, moment),) = moments
        assert ringing is ws._connection
        assert moment + GRID <= meeting.user.meter.intended <= meeting.clock.now()

    met(is_silent, use)


def test_a_connection_that_its_journey_lost_sight_of_is_closed():
    async def use(meeting):
        for _ in range(5):
            await meeting.user.ws.connect("/")
        await until(lambda: meeting.driver.sockets == 0)

    meeting = met(is_silent, use)
    assert meeting.outcomes(LIFETIME) == {"ok": 5}
    assert meeting.count(OPENED) == 5


def test_a_block_closes_its_connection_and_tells_the_service():
    closed = []

    async def handler(connection):
        await connection.wait_closed()
        closed.append(connection.close_code)

    async def use(meeting):
        async with await meeting.user.ws.connect("/"):
            pass
        with pytest.raises(KeyError):
            async with await meeting.user.ws.connect("/"):
                raise KeyError
        left = await meeting.user.ws.connect("/")
        await left.close(4000, "enough")
        await until(lambda: len(closed) == 3)

    met(handler, use)
    assert closed == [1000, 1001, 4000]


def test_the_round_trip_of_pings_is_measured():
    async def use(meeting):
        ws = await meeting.user.ws.connect("/", ping_every=0.02)
        ws_record = ws._connection
        await until(lambda: ws_record._pings.sent >= 4)

    meeting = met(is_silent, use)
    assert meeting.outcomes(PING)["ok"] >= 3
    assert meeting.total(PING) > 0


# --- requests: a message and its answer


def has(name):
    return lambda message: f'"id": "{name}"' in message


def answers_late(seconds, *between, id_of=lambda request: request["id"]):
    """Answers each message after a time, and pushes other messages first."""

    async def handler(connection):
        async for message in connection:
            for each in between:
                await connection.send(each)
            await asyncio.sleep(seconds)
            await connection.send(json.dumps({"id": id_of(json.loads(message))}))

    return handler


def test_a_round_trip_ends_with_the_bytes_of_the_matching_answer_and_others_wait_for_receive():
    async def use(meeting):
        ws = await meeting.user.ws.connect("/")
        assert json.loads(await ws.request({"id": "a"}, has("a"))) == {"id": "a"}
        assert [await ws.receive(), await ws.receive()] == ["one", '{"id": "b"}']

    meeting = met(answers_late(0.15, "one", '{"id": "b"}'), use)
    assert meeting.outcomes(ROUND_TRIP) == {"ok": 1}
    assert (
        0.149 <= meeting.total(ROUND_TRIP) < 5
    )  # the server may answer a millisecond early: timers are that coarse
    assert meeting.outcomes(SEND) == meeting.outcomes(MESSAGE) == {}
    assert meeting.count(MESSAGES_RECEIVED) == 3


def test_the_answer_of_a_stream_is_measured_by_its_subscription_too():
    async def handler(connection):
        number = 0
        async for message in connection:
            for name in ("other", json.loads(message)["id"]):
                number += 1
                await connection.send(json.dumps(json.loads(event(number)) | {"id": name}))

    async def use(meeting):
        ws = await meeting.user.ws.connect("/")
        subscription = ws.subscribe(read)
        for name in "abc":
            assert json.loads(await ws.request({"id": name}, has(name)))["id"] == name
        await until(lambda: subscription.received == 6)
        assert subscription.missing == 0

    meeting = met(handler, use)
    assert meeting.outcomes(ROUND_TRIP) == {"ok": 3}
    assert meeting.outcomes(MESSAGE) == {"ok": 6}


def test_an_answer_of_no_stream_is_not_received_again():
    async def handler(connection):
        async for message in connection:
            await connection.send("notice")
            await connection.send(message)

    async def use(meeting):
        ws = await meeting.user.ws.connect("/")
        ws.subscribe(lambda message: None)
        await ws.request({"id": "a"}, lambda message: message != "notice")
        assert await ws.receive() == "notice"
        with pytest.raises(NoResponse):
            await ws.receive(timeout=0.05)

    met(handler, use)


def test_a_request_that_nobody_answers_has_failed_and_its_late_answer_belongs_to_no_other():
    async def use(meeting):
        ws = await meeting.user.ws.connect("/")
        with pytest.raises(NoResponse, match="timeout"):
            await ws.request({"id": "a"}, has("a"), timeout=0.05)
        assert json.loads(await ws.request({"id": "b"}, has("b")))["id"] == "b"
        assert json.loads(await ws.receive())["id"] == "a"

    meeting = met(answers_late(0.2), use)
    assert meeting.outcomes(ROUND_TRIP) == {"timeout": 1, "ok": 1}


def test_a_request_on_a_connection_that_ends_has_failed():
    async def handler(connection):
        await connection.recv()
        await connection.close(1011, "x")

    async def use(meeting):
        ws = await meeting.user.ws.connect("/")
        for _ in range(2):
            with pytest.raises(ConnectionClosed):
                await ws.request("hello", lambda _: False)

    assert met(handler, use).outcomes(ROUND_TRIP) == {"closed 1011": 2}


@pytest.mark.parametrize("how", ["send", "request"])
def test_a_message_on_a_connection_that_the_journey_closed_has_failed(how):
    async def use(meeting):
        ws = await meeting.user.ws.connect("/")
        await ws.close()
        with pytest.raises(ConnectionClosed):
            await (ws.send("x") if how == "send" else ws.request("x", lambda _: True))

    meeting = met(is_silent, use)
    assert meeting.outcomes(SEND if how == "send" else ROUND_TRIP) == {"closed": 1}


def test_a_mistake_in_the_code_that_matches_is_the_journeys_own_and_no_failed_message():
    async def use(meeting):
        ws = await meeting.user.ws.connect("/")
        with pytest.raises(KeyError, match="nothing"):
            await ws.request({"id": "a"}, lambda message: json.loads(message)["nothing"])
        assert await ws.receive() == '{"id": "a"}'

    meeting = met(answers_late(0), use)
    assert meeting.outcomes(ROUND_TRIP) == {}
    assert meeting.report.worker_second.gauge("in flight") == 0


def test_more_messages_than_may_wait_do_not_keep_an_answer_away():
    async def use(meeting):
        ws = await meeting.user.ws.connect("/")
        for name in "ab":
            await ws.request({"id": name}, has(name))
        for _ in range(2):
            assert [await ws.receive() for _ in range(1000)] == ["x"] * 1000

    met(answers_late(0, *["x"] * 1000), use)


def test_a_user_awaits_one_answer_at_a_time():
    async def use(meeting):
        ws = await meeting.user.ws.connect("/")
        first = asyncio.create_task(ws.request({"id": "a"}, has("a")))
        await until(lambda: meeting.user.meter.recorder.counts[MESSAGES_SENT] == 1)
        with pytest.raises(RuntimeError, match="one operation after the other"):
            await ws.request({"id": "b"}, has("b"))
        assert json.loads(await first)["id"] == "a"

    met(answers_late(0.1), use)


def test_a_subscription_to_a_connection_that_has_just_ended_knows_its_end():
    found = []

    async def handler(connection):
        await connection.send("hello")
        await connection.close(1012)

    async def use(visit):
        ws = await visit.user.ws.connect("/live")
        await until(lambda: ws.ending is not None)
        assert await ws.receive() == "hello"
        found.append(ws.subscribe(lambda message: None))

    met(handler, use)
    assert found[0].is_ended
    assert found[0].resume_by < inf
