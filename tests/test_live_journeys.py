"""What the users of live and shared dashboards do, on a server of given messages."""

import asyncio
import contextlib
import json
import re
from types import SimpleNamespace

import pytest
from websockets.exceptions import ConnectionClosed

from loadkit.drivers.base import NoResponse
from loadkit.drivers.http.response import StatusError
from loadkit.drivers.websocket import client
from loadkit.recording.deliveries import UNREACHED
from loadkit.recording.messages import RETURN_FAILED, UNREADABLE
from loadkit.recording.timing import DELIVERY, RECONNECT, REQUEST, ROUND_TRIP, WORKFLOW
from loadkit.recording.worker_second import JOURNEY_ERROR
from loadkit.users.lifecycle import Lifecycle
from loadkit.users.meter import UserFinished
from steps.journeys import live, workflow
from tests.websocket_user import met, until

AUTHORIZATION = {"authorization": "Bearer a"}
STATE = {
    "type": "state",
    "stream": "collab/0",
    "version": 1,
    "payload": {"title": {"version": 1, "value": "x"}},
}


@pytest.mark.parametrize("has_state", [True, False])
def test_an_editor_tells_the_document_at_the_end_only_if_it_got_one(has_state):
    told = []

    async def handler(connection):
        if has_state:
            await connection.send(json.dumps(STATE))
        await connection.wait_closed()

    async def use(meeting):
        user = meeting.user
        user.headers = AUTHORIZATION
        user.shares_state = lambda _: told.append
        now = meeting.clock.now()
        user.meter.start(now, now + 0.3)
        with contextlib.suppress(UserFinished):
            await live.edit.function(user)
        assert user.seconds_left <= 0

    met(handler, use)
    assert told == ([live._digest({"title": (1, "x")})] if has_state else [])


@pytest.mark.parametrize("is_live", [True, False], ids=["a dashboard", "another topic"])
def test_who_follows_a_dashboard_misses_the_writes_that_reach_nobody(is_live):
    """Of three writes, the service publishes a batch and a session, and nothing of the third."""
    sockets = []

    async def handler(connection):
        sockets.append(connection)
        await connection.send('{"type": "subscribed", "streams": {"dashboard": 0, "metrics.0": 0}}')
        await connection.wait_closed()

    def told(sequence, payload):
        stream = "dashboard" if is_live else "metrics.0"
        head = {"stream": stream, "sequence": sequence, "created": 0.0, "payload": payload}
        return json.dumps(head)

    async def use(meeting):
        follower, writer = meeting.user, meeting.add_user()
        follower.headers = AUTHORIZATION
        journey = live.follow_dashboard if is_live else live.follow
        following = asyncio.create_task(journey.function(follower))
        await until(lambda: follower.ws._subscriptions)
        for key in "abc":
            with await writer.meter.begin("POST /write") as operation:
                operation.succeeded(meeting.clock.now())
            writer.acknowledged(key)
            writer.meter.settle()
        await sockets[0].send(told(1, {"ids": ["a", "x"]}))
        await sockets[0].send(told(2, {"id": "s", "ids": ["c"]}))
        await until(lambda: follower.ws._subscriptions[0].received == 2)
        meeting._context.deliveries.end(meeting.clock.now() + follower.meter.timeout)
        following.cancel()
        await asyncio.wait((following,))

    outcomes = met(handler, use).outcomes(DELIVERY)
    assert outcomes == ({"ok": 2, UNREACHED: 1} if is_live else {})


SUBSCRIBED = '{"type": "subscribed", "streams": {"dashboard": 0, "collab/0": 0}}'
LIVE = '{"stream": "dashboard", "sequence": 1, "created": 0.0, "payload": {"ids": ["a"]}}'


def counts_of(meeting):
    """The counts of a meeting: unreadable messages, failed journeys and errors of a journey's code."""
    counts = meeting.report.worker_second.counts.values()
    code_errors = [name for named in counts for name in named if name.startswith(JOURNEY_ERROR)]
    return meeting.count(UNREADABLE), meeting.outcomes(REQUEST), code_errors


async def followed(meeting, journey):
    """Have a user follow a journey for a moment."""
    user, now = meeting.user, meeting.clock.now()
    user.headers, user.group = AUTHORIZATION, 0
    user.meter.start(now, now + 0.3)
    with contextlib.suppress(UserFinished):
        await Lifecycle(user, meeting.pacer).follow(journey)


@pytest.mark.parametrize("journey", [live.follow_dashboard, live.edit], ids=["follow", "edit"])
@pytest.mark.parametrize(
    "message",
    [
        "5",
        '{"stream": "dashboard", "sequence": 1, "payload": {}}',
        '{"stream": "dashboard", "sequence": 1, "created": 0.0}',
        '{"stream": "dashboard", "sequence": 1, "created": 0.0, "payload": [1]}',
        '{"stream": "dashboard", "sequence": 1, "created": 0.0, "payload": {"ids": 5, "key": []}}',
    ],
)
def test_a_wrong_message_of_the_service_is_unreadable_and_no_error_of_the_journey(message, journey):
    async def handler(connection):
        await connection.send(SUBSCRIBED if "stream" in connection.request.path else json.dumps(STATE))
        await connection.send(message)
        await connection.wait_closed()

    meeting = met(handler, lambda meeting: followed(meeting, journey))
    assert counts_of(meeting) == (1, {}, [])


@pytest.mark.parametrize("journey", [live.follow_dashboard, live.edit], ids=["follow", "edit"])
@pytest.mark.parametrize(
    "first",
    [LIVE, "<html>", "null", '{"type": "subscribed"}', '{"type": "state", "stream": "a", "version": 1}'],
)
def test_a_service_that_does_not_begin_as_promised_fails_the_journey(first, journey):
    async def handler(connection):
        await connection.send(first)
        await connection.wait_closed()

    meeting = met(handler, lambda meeting: followed(meeting, journey))
    assert counts_of(meeting) == (0, {"error: AssertionError": 1}, [])


def test_a_binary_message_is_no_answer_to_an_edit_and_no_error_of_the_journey():
    async def handler(connection):
        async for text in connection:
            await connection.send(b"\xff")
            await connection.send(json.dumps(json.loads(text), separators=(",", ":")))

    async def use(meeting):
        ws = await meeting.user.ws.connect("/")
        await live._confirmed(meeting.user, ws, {"key": "a", "value": 1})

    assert met(handler, use).outcomes(ROUND_TRIP) == {"ok": 1}


def test_a_service_that_resumes_otherwise_than_promised_fails_the_return(monkeypatch):
    monkeypatch.setattr(client, "_FIRST_WAIT", 0.01)
    seen = []

    async def handler(connection):
        seen.append(connection)
        await connection.send(SUBSCRIBED if len(seen) == 1 else LIVE)
        if len(seen) == 1:
            await connection.close(1011)
        await connection.wait_closed()

    meeting = met(handler, lambda meeting: followed(meeting, live.follow_dashboard))
    assert counts_of(meeting) == (0, {"error: AssertionError": 1}, [])
    assert meeting.outcomes(RECONNECT) == {RETURN_FAILED: 1}


class Answer:
    """One that the service gives to any request of the workflow, over HTTP or of the database."""

    def __init__(self, ids=(), status_code=200):
        self._ids, self.status_code = list(ids), status_code

    def raise_for_status(self):
        if self.status_code >= 400:
            raise StatusError(self.status_code)
        return self

    def json(self):
        return {"ids": self._ids}


OUTCOMES = {
    "none, also alone": "ok",
    "the log-in is refused": "step failed: log in",
    "the overview is refused": "step failed: open the live dashboard",
    "the event gets another id": "step failed: post an event",
    "only other events appear": "step failed: see the event within 0.3 s",
    "the event is not stored": "step failed: find the event in the database",
    "the event is stored twice": "step failed: find the event in the database",
    "edits reach their editor alone": "step failed: edit with the others",
    "the administrator is refused": "step failed: administer",
    "the live connection dies": "step failed: leave",
}
"""The outcome of the workflow for each fault of its service."""
REFUSED = {
    "the log-in is refused": "log in",
    "the overview is refused": "/api/v1/dashboard/overview",
    "the administrator is refused": "/api/v1/admin/usage",
}
"""The request that a fault refuses."""
COPIES = {"the event is not stored": 0, "the event is stored twice": 2}
"""How often an event is stored that the service acknowledged."""


@pytest.mark.parametrize(("fault", "outcome"), OUTCOMES.items(), ids=list(OUTCOMES))
def test_a_workflow_fails_at_the_step_that_broke(fault, outcome, monkeypatch):
    is_waited_for = fault in {"only other events appear", "edits reach their editor alone"}
    monkeypatch.setattr(workflow, "_PATIENCE", 0.3 if is_waited_for else 2.0)
    dashboards, editors, events = [], [], []

    async def handler(connection):
        if "collab" not in connection.request.path:
            dashboards.append(connection)
            with contextlib.suppress(ConnectionClosed):
                while fault == "only other events appear":
                    await connection.send('{"payload": {"ids": ["another"]}}')
                    await asyncio.sleep(0.05)
            await connection.wait_closed()
            return
        editors.append(connection)
        await connection.send(json.dumps(STATE))
        async for text in connection:
            for each in (connection,) if fault == "edits reach their editor alone" else editors:
                await each.send(json.dumps({"payload": json.loads(text)}))

    async def use(meeting):
        user = meeting.user

        async def respond(label, ids=()):
            is_refused = REFUSED.get(fault) == label
            with await user.meter.begin(label) as operation:
                if is_refused:
                    operation.failed("status 403", meeting.clock.now(), was_answered=True)
                else:
                    operation.succeeded(meeting.clock.now())
            return Answer(ids, 403 if is_refused else 200)

        async def log_in(_):
            (await respond("log in")).raise_for_status()

        async def post(path, json=None):
            ids = [event["id"] for event in (json or {}).get("events", ())]
            answer = await respond(path, ["another"] if fault == "the event gets another id" else ids)
            for each in ids:
                events.append(each)
                # It is not the event, and no error of the journey.
                await dashboards[0].send('{"payload": null}')
                if fault != "only other events appear":
                    await dashboards[0].send(f'{{"payload": {{"ids": ["{each}"]}}}}')
            return answer

        async def fetchval(_sql, event, *, label):
            await respond(label)
            return events.count(str(event)) * COPIES.get(fault, 1)

        async def tenant_of(_):  # the step after "see the event"
            if fault == "the live connection dies":
                await dashboards[0].close(1011)

        async def think():
            user.meter.settle()

        user.headers, user.post, user.get = AUTHORIZATION, post, respond
        user.db, user.think = SimpleNamespace(fetchval=fetchval), think
        user.http = SimpleNamespace(instance_of=lambda _answer: "m-1")
        monkeypatch.setattr(workflow, "tenant_of", tenant_of)
        monkeypatch.setattr(workflow, "log_in", log_in)
        with contextlib.suppress(NoResponse, StatusError):
            await workflow.complete.function(user)
        user.meter.settle()
        await until(lambda: meeting.driver.sockets == 0)

    assert met(handler, use).outcomes(WORKFLOW) == {outcome: 1}
    assert all(re.fullmatch(r".*topics=dashboard", each.request.path) for each in dashboards)
