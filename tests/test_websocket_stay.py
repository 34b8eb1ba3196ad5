"""A client that stays: it comes back after a drop, resumes, and tells what it missed."""

import asyncio
import json
import time

import pytest

from loadkit.drivers.websocket import client as module
from loadkit.drivers.websocket.client import ConnectFailed
from loadkit.recording.messages import (
    CONNECTIONS,
    DISCONNECTED,
    FILLED,
    LEAST_CONNECTIONS,
    MISSING,
    NOT_RESUMED,
    TAIL_LOST,
    TAIL_UNKNOWN,
)
from loadkit.recording.timing import CONNECT, LIFETIME, MESSAGE, RECONNECT
from loadkit.users.meter import UserFinished
from tests.websocket_user import met, until


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    monkeypatch.setattr(module, "_FIRST_WAIT", 0.01)


def read(message):
    event = json.loads(message)
    return event["stream"], event["seq"], event["ts"]


def event(number):
    return json.dumps({"stream": "cpu", "seq": number, "ts": time.time()})


class Service:
    """Publishes up to a number, replays what a client asks for, and cuts connections on request."""

    def __init__(self, newest=5):
        self.newest = newest
        self.seen = []
        self.connections = []
        self.refusals = 0

    async def __call__(self, connection):
        self.seen.append(connection.request.path)
        self.connections.append(connection)
        begin = int(connection.request.path.partition("after=")[2] or 0)
        for number in range(begin + 1, self.newest + 1):
            await connection.send(event(number))
        await connection.wait_closed()

    def refuse(self, connection, _request):
        if self.refusals:
            self.refusals -= 1
            return connection.respond(503, "")
        return None


async def follow(user):
    async def begin(earlier):
        after = earlier.positions["cpu"] if earlier is not None else 0
        ws = await user.ws.connect(f"/stream?after={after}")
        return ws, ws.subscribe(read, after=earlier, begins_after={"cpu": after})

    try:
        await user.ws.stay(begin)
    except UserFinished:
        return


def stayed(service, meanwhile, **how):
    async def use(meeting):
        staying = asyncio.create_task(follow(meeting.user))
        try:
            await meanwhile(meeting)
        finally:
            meeting.user.meter.until = 0.0
            staying.cancel()
            await asyncio.wait((staying,))

    return met(service, use, process_request=service.refuse, **how)


def test_a_client_that_is_cut_off_comes_back_and_misses_nothing():
    service = Service()

    async def meanwhile(meeting):
        await until(lambda: len(service.connections) == 1)
        service.newest = 9
        service.connections[0].transport.abort()
        await until(lambda: len(service.connections) == 2)
        await asyncio.sleep(0.05)

    meeting = stayed(service, meanwhile)
    assert service.seen == ["/stream?after=0", "/stream?after=5"]
    assert meeting.outcomes(RECONNECT) == {"ok": 1}
    assert meeting.outcomes(MESSAGE) == {"ok": 9}
    assert meeting.count(f"{DISCONNECTED}closed 1006") == 1
    assert [meeting.count(name) for name in (MISSING, TAIL_LOST, NOT_RESUMED)] == [0, 0, 0]


def test_a_client_that_is_refused_tries_again_and_the_time_to_reconnect_is_of_the_whole():
    service = Service()

    async def meanwhile(meeting):
        await until(lambda: len(service.connections) == 1)
        service.refusals = 3
        service.connections[0].transport.abort()
        await until(lambda: len(service.connections) == 2)
        await asyncio.sleep(0.05)

    meeting = stayed(service, meanwhile)
    assert meeting.outcomes(CONNECT) == {"ok": 2, "status 503": 3}
    assert meeting.outcomes(RECONNECT) == {"ok": 1}


def test_a_client_that_is_not_back_when_its_time_is_over_is_counted():
    service = Service()

    async def meanwhile(meeting):
        await until(lambda: len(service.connections) == 1)
        service.refusals = 1_000_000
        service.connections[0].transport.abort()
        await until(lambda: service.refusals < 999_998)

    meeting = stayed(service, meanwhile)
    assert meeting.outcomes(RECONNECT) == {"not back": 1}
    assert meeting.count(NOT_RESUMED) == 1


def test_a_first_attempt_that_fails_ends_the_journey():
    service = Service()
    service.refusals = 1

    async def use(meeting):
        with pytest.raises(ConnectFailed):
            await follow(meeting.user)

    meeting = met(service, use, process_request=service.refuse)
    assert meeting.outcomes(RECONNECT) == {}


def test_a_plan_with_churn_has_the_client_drop_its_own_connection():
    service = Service()

    async def meanwhile(meeting):
        await until(lambda: len(service.connections) >= 3)

    async def use(meeting):
        meeting.user.meter.churn = 50.0
        staying = asyncio.create_task(follow(meeting.user))
        await meanwhile(meeting)
        meeting.user.meter.until = 0.0
        staying.cancel()
        await asyncio.wait((staying,))

    meeting = met(service, use)
    assert set(meeting.outcomes(LIFETIME)) == {"ok"}
    assert meeting.outcomes(RECONNECT)["ok"] >= 2
    assert meeting.count(f"{DISCONNECTED}closed 1006") == 0


def test_messages_that_others_know_and_a_subscriber_never_got_are_lost():
    service = Service(newest=5)

    async def meanwhile(meeting):
        await until(lambda: len(service.connections) == 1)
        await asyncio.sleep(0.05)
        heads, now = meeting.driver.heads, meeting.clock.now()
        heads.know("", "cpu", 7)
        heads.look(now - 10.0)
        heads.know("", "cpu", 12)
        heads.look(now - 2.0)

    meeting = stayed(service, meanwhile)
    assert (meeting.count(TAIL_LOST), meeting.count(TAIL_UNKNOWN)) == (2, 5)


def test_a_gap_that_a_service_cannot_fill_is_lost_and_one_that_it_fills_is_not():
    async def use(meeting):
        ws = await meeting.user.ws.connect("/stream?after=0")
        first = ws.subscribe(read, begins_after={"cpu": 0})
        await until(lambda: first.received == 5)
        ws.drop()
        again = await meeting.user.ws.connect("/stream?after=5")
        later = again.subscribe(read, after=first, begins_after={"cpu": 8})
        assert later.missing == 3
        await asyncio.sleep(0.05)

    meeting = met(Service(newest=5), use)
    assert (meeting.count(MISSING), meeting.count(FILLED)) == (3, 0)


def test_the_fewest_connections_of_a_second_are_recorded():
    async def use(meeting):
        one = await meeting.user.ws.connect("/stream?after=0")
        other = await meeting.user.ws.connect("/stream?after=0")
        meeting.recorder.report()
        await one.close()
        again = await meeting.user.ws.connect("/stream?after=0")
        second = meeting.recorder.report().worker_second
        assert (second.gauge(LEAST_CONNECTIONS), second.gauge(CONNECTIONS)) == (1, 2)
        after = meeting.recorder.report().worker_second
        assert (after.gauge(LEAST_CONNECTIONS), after.gauge(CONNECTIONS)) == (2, 2)
        assert other.ending is again.ending is None

    met(Service(), use)
