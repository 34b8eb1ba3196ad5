"""A report shows refused handshakes, failed and slow messages, ends and faults of streams, without secrets."""

import asyncio
import json
import time

import pytest
from websockets.datastructures import Headers
from websockets.http11 import Response

from loadkit.drivers.base import NoResponse
from loadkit.drivers.masking import HIDDEN, Mask
from loadkit.drivers.websocket import subscription as subscriptions
from loadkit.drivers.websocket.exchanges import NOWHERE, ExchangeFormat, asked, ended, handshake, received
from loadkit.drivers.websocket.record import ConnectionRecord
from loadkit.drivers.websocket.subscription import Subscription
from loadkit.recording.examples import MOST
from loadkit.recording.messages import DOUBLED, FOREIGN, MISSING, OUT_OF_ORDER, TAIL_LOST, UNREADABLE
from loadkit.recording.sample import OK
from loadkit.recording.timing import CONNECT, LIFETIME, MESSAGE, RECONNECT, ROUND_TRIP, SEND
from loadkit.target import Account, Secret
from tests.websocket_user import met, until

SECRET = "S3CRET-text"
TARGET = {
    "instance_header": "X-Instance",
    "accounts": (Account("ann", Secret(SECRET), canary=Secret("CANARY-globex")),),
}


def examples_of(meeting, timing, outcome=None):
    return [
        each for each in meeting.report.examples
        if each.timing == timing.key and (outcome is None or each.outcome == outcome)
    ]  # fmt: skip


def refuse(_, request):
    headers = Headers([("X-Instance", "m-2"), ("Set-Cookie", f"sid={SECRET}"), ("Content-Length", "17")])
    return Response(401, "Unauthorized", headers, f"no {SECRET} known".encode())


def named(_, request, response):
    response.headers["X-Instance"] = "m-1"


async def holds(connection):
    await connection.wait_closed()


def sending(*messages):
    async def handler(connection):
        for message in messages:
            await connection.send(message if isinstance(message, str | bytes) else json.dumps(message))
        await connection.wait_closed()

    return handler


def read(message):
    event = json.loads(message)
    return event["stream"], event["number"], event["created"]


def event(number, created=None, **more):
    return {"stream": "cpu", "number": number, "created": time.time() if created is None else created} | more


def subscribed(*messages, received=None):
    """A user that subscribes to what a server sends at once."""

    async def use(meeting):
        ws = await meeting.user.ws.connect("/stream")
        subscription = ws.subscribe(read)
        await until(lambda: subscription.received + subscription.unreadable == (received or len(messages)))

    return met(sending(*messages), use, target=TARGET, process_response=named)


# --- handshakes


def test_a_refused_handshake_shows_its_status_and_its_answer():
    async def use(meeting):
        meeting.user.ws.headers["authorization"] = "Bearer abcdefgh"
        with pytest.raises(NoResponse):
            await meeting.user.ws.connect("/stream?token=abcdefgh&topics=cpu")

    (example,) = examples_of(met(holds, use, target=TARGET, process_request=refuse), CONNECT)
    assert example.outcome == "status 401"
    assert example.exchange.instance == "m-2"
    request = example.exchange.request.splitlines()
    assert request[0] == "GET /stream?token=***&topics=*** (upgrade to WebSocket)"
    assert f"authorization: {HIDDEN}" in request
    assert example.exchange.answer.splitlines()[0] == "401 Unauthorized"
    assert SECRET not in example.exchange.answer
    assert "abcdefgh" not in example.exchange.request


@pytest.mark.slow
def test_a_handshake_that_is_unfinished_at_the_end_shows_what_was_sent():
    async def never(_, __):
        await asyncio.sleep(60)

    async def use(meeting):
        await cancelled(meeting.user.ws.connect("/stream?token=abcdefgh"))

    (example,) = examples_of(met(holds, use, target=TARGET, process_request=never), CONNECT)
    assert (example.outcome, example.exchange.answer) == ("unfinished", "")
    assert example.exchange.request.startswith("GET /stream?token=*** (upgrade to WebSocket)")


async def cancelled(operation):
    """End the run while an operation waits."""
    task = asyncio.create_task(operation)
    await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.wait((task,))


def test_a_message_that_is_unfinished_at_the_end_shows_what_was_sent():
    async def use(meeting):
        ws = await meeting.user.ws.connect("/stream")
        await cancelled(ws.request("are you there?", lambda _: True))

    (example,) = examples_of(met(holds, use, target=TARGET, process_response=named), ROUND_TRIP)
    assert (example.outcome, example.exchange.answer) == ("unfinished", "no answer")
    assert "are you there?" in example.exchange.request
    assert example.exchange.instance == "m-1"


def test_each_handshake_sends_a_trace_that_its_example_names_and_one_of_a_second_is_recorded():
    sent = []

    def note(_, request):
        sent.append(request.headers["traceparent"])
        return refuse(_, request)

    async def use(meeting):
        for _ in range(2):
            with pytest.raises(NoResponse):
                await meeting.user.ws.connect("/stream")

    meeting = met(holds, use, process_request=note)
    assert [each.rpartition("-")[2] for each in sent] == ["01", "00"]
    assert [each.exchange.trace for each in examples_of(meeting, CONNECT)] == [
        each.split("-")[1] for each in sent
    ]


def test_a_trace_of_the_journeys_own_is_kept():
    own = f"00-{'a' * 32}-{'b' * 16}-01"

    async def use(meeting):
        with pytest.raises(NoResponse):
            await meeting.user.ws.connect("/stream", headers={"Traceparent": own})

    (example,) = examples_of(met(holds, use, process_request=refuse), CONNECT)
    assert example.exchange.trace == "a" * 32


def test_a_slow_handshake_names_the_instance_that_accepted_it():
    async def use(meeting):
        await meeting.user.ws.connect("/stream")

    (example,) = examples_of(met(holds, use, target=TARGET, process_response=named), CONNECT)
    assert (example.outcome, example.exchange.instance) == (OK, "m-1")
    assert example.exchange.answer == "101 accepted"


# --- messages that are sent


def test_a_request_that_nobody_answers_shows_what_was_sent():
    async def use(meeting):
        ws = await meeting.user.ws.connect("/stream")
        with pytest.raises(NoResponse):
            await ws.request({"edit": 7, "token": "abcdefgh"}, lambda _: False, label="edit", timeout=0.05)

    (example,) = examples_of(met(holds, use, target=TARGET, process_response=named), ROUND_TRIP)
    assert (example.outcome, example.label) == ("timeout", "edit")
    assert '{"edit":7,"token":"***"}' in example.exchange.request
    assert (example.exchange.answer, example.exchange.instance) == ("no answer", "m-1")


def test_the_slowest_requests_show_their_answers():
    async def answering(connection):
        async for message in connection:
            await connection.send(f"done {message}")

    async def use(meeting):
        ws = await meeting.user.ws.connect("/stream")
        for _ in range(MOST):
            meeting.user.meter.intended -= 3600.0  # it was due an hour ago: slow on any machine
            await ws.request("slow", lambda _: True)
        await ws.request("quick", lambda _: True)

    found = examples_of(met(answering, use), ROUND_TRIP)
    assert [each.exchange.answer for each in found] == ["done slow"] * MOST


@pytest.mark.parametrize("how", ["send", "request"])
def test_a_message_on_a_connection_that_the_service_has_closed_tells_how(how):
    async def closing(connection):
        await connection.close(4001, f"out with {SECRET}")

    async def use(meeting):
        ws = await meeting.user.ws.connect("/stream")
        await until(lambda: ws.ending is not None)
        with pytest.raises(NoResponse):
            await (ws.send("x") if how == "send" else ws.request("x", lambda _: True))

    (example,) = examples_of(met(closing, use, target=TARGET), SEND if how == "send" else ROUND_TRIP)
    assert example.outcome == "closed 4001"
    assert example.exchange.answer == f"closed 4001: out with {HIDDEN}"


# --- ends


def test_a_connection_that_the_service_closed_shows_code_reason_and_how_long_it_was_open():
    async def closing(connection):
        await connection.close(1013, f"no room for {SECRET}")

    async def use(meeting):
        ws = await meeting.user.ws.connect("/stream")
        await until(lambda: ws.ending is not None)

    (example,) = examples_of(met(closing, use, target=TARGET, process_response=named), LIFETIME)
    assert example.outcome == "closed 1013"
    assert example.exchange.request.startswith("connection, open for ")
    assert example.exchange.answer.splitlines() == [
        "closed 1013",
        "close code: 1013",
        f"reason: no room for {HIDDEN}",
    ]
    assert example.exchange.instance == "m-1"
    assert len(example.exchange.trace) == 32


def test_an_invalid_frame_is_an_example_that_says_what_is_wrong_with_it():
    async def breaking(connection):
        connection.transport.write(b"\x83\x01x")
        await connection.wait_closed()

    async def use(meeting):
        ws = await meeting.user.ws.connect("/stream")
        await until(lambda: ws.ending is not None)

    (example,) = examples_of(met(breaking, use), LIFETIME)
    assert example.outcome == "invalid frame"
    assert "invalid opcode" in example.exchange.answer


def test_a_connection_that_the_generator_closes_is_no_example():
    async def use(meeting):
        ws = await meeting.user.ws.connect("/stream")
        await ws.close()

    assert examples_of(met(holds, use), LIFETIME) == []


# --- streams


@pytest.mark.parametrize(
    ("numbers", "kind", "expected", "found"),
    [((1, 4), MISSING, 2, 4), ((1, 2, 2), DOUBLED, 3, 2), ((1, 3, 2), OUT_OF_ORDER, 4, 2)],
)
def test_a_fault_of_a_stream_shows_the_stream_the_expected_and_the_received_number(
    numbers, kind, expected, found
):
    messages = [event(number, tag=f"n{number}", password=SECRET) for number in numbers]
    (example,) = examples_of(subscribed(*messages), MESSAGE, kind)
    assert example.label == "WS /stream"
    assert example.exchange.request.splitlines() == [
        "message received", "stream: cpu", f"expected number: {expected}", f"received number: {found}"
    ]  # fmt: skip
    assert f'"tag": "n{found}"' in example.exchange.answer
    assert SECRET not in example.exchange.answer
    assert example.exchange.instance == "m-1"


def test_the_credentials_of_a_handshake_are_masked_in_all_that_comes_later():
    async def use(meeting):
        meeting.user.ws.headers["authorization"] = "Bearer TOKEN-1"
        ws = await meeting.user.ws.connect("/stream?ticket=TICKET-2")
        subscription = ws.subscribe(read)
        await until(lambda: subscription.unreadable == 1 and ws.ending is not None)
        with pytest.raises(NoResponse):
            await ws.request("for TOKEN-1", lambda _: True)

    async def repeating(connection):
        await connection.send("no JSON TOKEN-1 TICKET-2")
        await connection.close(1008, "TOKEN-1 TICKET-2")

    kept = met(repeating, use).report.examples
    assert {each.timing for each in kept} == {CONNECT.key, MESSAGE.key, LIFETIME.key, ROUND_TRIP.key}
    told = "".join(each.exchange.request + each.exchange.answer for each in kept)
    assert "TOKEN-1" not in told
    assert "TICKET-2" not in told


def test_the_name_of_a_stream_is_shown_though_the_query_of_the_handshake_asks_for_it():
    async def use(meeting):
        ws = await meeting.user.ws.connect("/stream?topics=memory%2Ccpu-load&from=cpu-load:7&ticket=TICKET-2")
        subscription = ws.subscribe(read)
        await until(lambda: subscription.doubled == 1)

    messages = [event(number, stream="cpu-load", tag="now TICKET-2") for number in (1, 2, 2)]
    (example,) = examples_of(met(sending(*messages), use), MESSAGE, DOUBLED)
    assert "stream: cpu-load" in example.exchange.request
    assert f'"tag": "now {HIDDEN}"' in example.exchange.answer


def test_an_unreadable_message_is_shown():
    (example,) = examples_of(subscribed(f"no JSON {SECRET}"), MESSAGE, UNREADABLE)
    assert example.exchange.answer == f"no JSON {HIDDEN}"


def test_of_many_faults_of_a_kind_the_first_are_put_into_words(monkeypatch):
    words = []
    monkeypatch.setattr(subscriptions, "received", lambda *told: words.append(told) or received(*told))
    meeting = subscribed(*(event(2 * number, time.time() + 3600) for number in range(200)))
    assert len(examples_of(meeting, MESSAGE, MISSING)) == len(words) == MOST
    assert meeting.count(MISSING) == 199


def test_the_slowest_messages_of_a_label_are_kept_over_all_connections():
    ages = (9, 8, 7, 6, 5, 1, 2, 3, 4, 30)

    async def use(meeting):
        now = time.time()
        for part in (ages[:5], ages[5:]):
            ws = await meeting.user.ws.connect("/stream")
            subscription = ws.subscribe(read)
            for number, age in enumerate(part):
                await ws.send(json.dumps(event(number, now - age)))
            await until(lambda subscription=subscription: subscription.received == 5)

    async def echo(connection):
        async for message in connection:
            await connection.send(message)

    found = sorted(round(each.seconds) for each in examples_of(met(echo, use), MESSAGE, OK))
    assert found == [5, 6, 7, 8, 9, 30]


def test_a_message_that_is_not_slow_costs_one_comparison(monkeypatch):
    """Nothing else happens for it: no sample, no words."""
    calls = []
    monkeypatch.setattr(Subscription, "_note_slow", lambda *_: calls.append(1))
    monkeypatch.setattr(ConnectionRecord, "record_example", lambda *_: calls.append(2))
    subscribed(*(event(number, time.time() + 3600) for number in range(50)))
    assert calls == []


def test_once_the_slowest_are_known_a_quicker_message_of_the_connection_is_not_looked_at(monkeypatch):
    looked_at, note_slow = [], Subscription._note_slow
    monkeypatch.setattr(Subscription, "_note_slow", lambda *of: looked_at.append(of) or note_slow(*of))
    now = time.time()
    ages = [900 - number for number in range(MOST)] + [500 - number for number in range(30)]
    subscribed(*(event(number, now - age) for number, age in enumerate(ages)))
    assert len(looked_at) == MOST


@pytest.mark.parametrize("created", ["-Infinity", "NaN"])
def test_a_creation_time_that_is_no_time_is_no_slowest_message(created):
    text = f'{{"stream": "cpu", "number": 1, "created": {created}}}'
    assert examples_of(subscribed(text), MESSAGE, OK) == []


def test_messages_that_others_received_and_this_one_did_not_are_an_example():
    async def use(meeting):
        ws = await meeting.user.ws.connect("/stream")
        subscription = ws.subscribe(read)
        await until(lambda: subscription.received == 1)
        ws.drop()
        subscription._tail = (3, 0)

    (example,) = examples_of(met(sending(event(1)), use), MESSAGE, TAIL_LOST)
    assert example.exchange.request.startswith("3 messages that others received")


def test_a_message_of_another_tenant_is_shown_without_its_canary():
    async def use(meeting):
        found = meeting.user.checks_tenants()
        found(json.dumps(event(1, name="of globex", mark="CANARY-globex")))

    (example,) = examples_of(met(holds, use, target=TARGET), MESSAGE, FOREIGN)
    assert "of globex" in example.exchange.answer
    assert "CANARY-globex" not in example.exchange.answer


def test_a_client_whose_journey_fails_on_the_way_back_is_an_example_of_its_timing():
    async def use(meeting):
        async def begin(earlier):
            if earlier is not None:
                raise RuntimeError("a mistake")
            ws = await meeting.user.ws.connect("/stream")
            return ws, ws.subscribe(read, after=earlier)

        staying = asyncio.create_task(meeting.user.ws.stay(begin))
        with pytest.raises(RuntimeError):
            await staying

    async def closing(connection):
        await connection.close(1012)

    assert [each.outcome for each in examples_of(met(closing, use), RECONNECT)] == ["return failed"]


# --- what is told


@pytest.mark.parametrize(
    "told",
    [
        handshake(ExchangeFormat(Mask()), f"/x?data=%7B%22a%22%3A%22{SECRET}%22%7D", {}, "", b""),
        handshake(
            ExchangeFormat(Mask()),
            "/x",
            {"cookie": f"sid={SECRET}"},
            "",
            f"HTTP/1.1 400 no {SECRET}".encode(),
        ),
        handshake(
            ExchangeFormat(Mask([SECRET])),
            f"/x/{SECRET}",
            {},
            "",
            b"HTTP/1.1 500 X\r\nX-Seen: " + SECRET.encode() + b"\r\n\r\n" + SECRET.encode(),
        ),
        asked(
            ExchangeFormat(Mask()),
            NOWHERE,
            json.dumps({"auth": {"token": SECRET}}).encode(),
            True,
            f"no {SECRET}",
            "",
        ),
        asked(ExchangeFormat(Mask()), NOWHERE, SECRET.encode(), False, None, "no answer"),
        received(ExchangeFormat(Mask([SECRET])), NOWHERE, "x" * 2395 + SECRET, f"of {SECRET}", 1, 2),
        received(ExchangeFormat(Mask()), NOWHERE, SECRET.encode(), "cpu", 1, 2),
        ended(ExchangeFormat(Mask()), NOWHERE, "closed 1008", 1008, f"token={SECRET}", 1.0),
    ],
)
def test_no_secret_of_a_connection_is_shown(told):
    assert SECRET[:6] not in told.request + told.answer
