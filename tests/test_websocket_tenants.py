"""Every message is searched for the data of other tenants, whatever way it takes."""

import json
import time

import pytest

from loadkit.drivers.websocket.failures import ConnectionClosed
from loadkit.recording.exact import own_canary
from loadkit.recording.messages import FOREIGN, MESSAGES_RECEIVED, MESSAGES_SEARCHED
from loadkit.target import Account, Secret
from tests.websocket_user import met

ACME, GLOBEX = (
    Account(f"user of {name}", Secret("pw"), name, canary=Secret(f"tk-{name}-7f3a"))
    for name in ("acme", "globex")
)
OURS = {"account": ACME, "accounts": (ACME, GLOBEX)}


def message(canary: Secret, number: int = 0) -> str:
    return json.dumps({"stream": "cpu", "seq": number, "ts": time.time(), "tenant_key": canary.reveal()})


def read(text):
    value = json.loads(text)
    return value["stream"], value["seq"], value["ts"]


def sends(*messages, after_one=False):
    async def handler(connection):
        if after_one:
            await connection.recv()
        for each in messages:
            await connection.send(each)
        await connection.close()

    return handler


async def subscribe(meeting):
    ws = await meeting.user.ws.connect("/live")
    ws.subscribe(read)
    with pytest.raises(ConnectionClosed):
        await ws.hold()


async def subscribe_first(meeting):
    """Subscribe before the first message comes, while `subscribe` may find messages that wait."""
    ws = await meeting.user.ws.connect("/live")
    ws.subscribe(read)
    await ws.send("begin")
    with pytest.raises(ConnectionClosed):
        await ws.hold()


async def receive(meeting):
    ws = await meeting.user.ws.connect("/live")
    async for _ in ws:
        pass


async def receive_compressed(meeting):
    ws = await meeting.user.ws.connect("/live", compress=True)
    async for _ in ws:
        pass


async def hold(meeting):
    ws = await meeting.user.ws.connect("/live")
    with pytest.raises(ConnectionClosed):
        await ws.hold()


async def ask(meeting):
    ws = await meeting.user.ws.connect("/live")
    assert "globex" in await ws.request("?", lambda text: "globex" in text)
    async for _ in ws:
        pass


def texts(*canaries):
    return [message(canary, number) for number, canary in enumerate(canaries)]


@pytest.mark.parametrize("use", [subscribe, subscribe_first, receive, receive_compressed, hold, ask])
def test_one_message_of_another_tenant_is_found_and_shown(use):
    handler = sends(*texts(ACME.canary, GLOBEX.canary, ACME.canary), after_one=use in {ask, subscribe_first})
    meeting = met(handler, use, target=OURS)
    found = [meeting.count(each) for each in (MESSAGES_RECEIVED, MESSAGES_SEARCHED, FOREIGN)]
    assert found == [3, 3, 1]
    (example,) = [each for each in meeting.report.examples if each.outcome.startswith(FOREIGN)]
    assert example.outcome == f"{FOREIGN} (globex)"
    assert '"seq": 1' in example.exchange.answer
    assert GLOBEX.canary.reveal() not in example.exchange.answer


@pytest.mark.parametrize("use", [subscribe, subscribe_first, receive])
def test_binary_messages_are_searched(use):
    messages = [each.encode() for each in texts(GLOBEX.canary, ACME.canary)]
    meeting = met(sends(*messages, after_one=use is subscribe_first), use, target=OURS)
    assert [meeting.count(each) for each in (MESSAGES_SEARCHED, FOREIGN)] == [2, 1]


def test_a_canary_that_two_fragments_divide_is_found():
    text = message(GLOBEX.canary)
    cut = text.index("globex") + 3

    async def handler(connection):
        async def fragments():
            yield text[:cut]
            yield text[cut:]

        await connection.send(fragments())
        await connection.close()

    assert met(handler, receive, target=OURS).count(FOREIGN) == 1


def test_the_reason_of_a_close_is_searched():
    async def handler(connection):
        await connection.close(1008, f"only for {GLOBEX.canary.reveal()}")

    async def use(meeting):
        with pytest.raises(ConnectionClosed):
            await receive(meeting)

    assert met(handler, use, target=OURS).count(FOREIGN) == 1


@pytest.mark.parametrize("use", [subscribe, subscribe_first, receive, ask])
@pytest.mark.parametrize("as_text", [True, False])
def test_that_a_user_received_the_canary_of_its_tenant_is_noted_once(use, as_text):
    messages = texts(*[ACME.canary] * 3)
    if use is ask:
        messages = texts(ACME.canary, GLOBEX.canary, ACME.canary)
    sent = messages if as_text or use is ask else [each.encode() for each in messages]
    handler = sends(*sent, after_one=use in {ask, subscribe_first})
    assert met(handler, use, target=OURS).count(own_canary("acme")) == 1
    assert met(sends("{}"), receive, target=OURS).count(own_canary("acme")) == 0


def test_ones_own_messages_are_no_hit():
    meeting = met(sends(*texts(*[ACME.canary] * 50)), subscribe, target=OURS)
    assert [meeting.count(each) for each in (MESSAGES_SEARCHED, FOREIGN)] == [50, 0]


def test_a_message_that_the_journey_could_not_read_was_not_searched():
    async def look(meeting):
        meeting.user.checks_tenants()
        await subscribe(meeting)

    meeting = met(sends(message(ACME.canary), "no JSON", message(ACME.canary, 1)), look)
    assert [meeting.count(each) for each in (MESSAGES_RECEIVED, MESSAGES_SEARCHED)] == [3, 2]


def test_without_canaries_nothing_was_searched_unless_the_journey_looks():
    async def look(meeting):
        meeting.user.checks_tenants()
        await subscribe(meeting)

    for use, searched in ((subscribe, 0), (look, 2)):
        meeting = met(sends(*texts(ACME.canary, ACME.canary)), use)
        assert (meeting.count(MESSAGES_RECEIVED), meeting.count(MESSAGES_SEARCHED)) == (2, searched)
