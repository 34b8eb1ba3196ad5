"""A client that stays: it comes back after a drop, resumes, and tells what it missed."""

import asyncio
import json
import time

import pytest

from loadkit.drivers.base import NoResponse
from loadkit.drivers.websocket import client as module
from loadkit.drivers.websocket.client import ConnectFailed
from loadkit.recording.messages import (
    CONNECTIONS,
    DISCONNECTED,
    FILLED,
    LEAST_CONNECTIONS,
    MISSING,
    NOT_BACK,
    NOT_RESUMED,
    RETURN_FAILED,
    TAIL_LOST,
    TAIL_UNKNOWN,
)
from loadkit.recording.timing import CONNECT, LIFETIME, MESSAGE, RECONNECT
from loadkit.users.lifecycle import Lifecycle
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
        self.token = ""

    async def __call__(self, connection):
        self.seen.append(connection.request.path)
        self.connections.append(connection)
        begin = int(connection.request.path.partition("after=")[2] or 0)
        for number in range(begin + 1, self.newest + 1):
            await connection.send(event(number))
        await connection.wait_closed()

    def refuse(self, connection, request):
        if self.refusals:
            self.refusals -= 1
            return connection.respond(503, "")
        if request.headers.get("authorization", "") != self.token:
            return connection.respond(401, "")
        return None


async def follow(user, subscriptions):
    """Stay until the time is over; each subscription is added to the given ones."""

    async def begin(earlier):
        after = earlier.positions["cpu"] if earlier is not None else 0
        ws = await user.ws.connect(f"/stream?after={after}")
        subscriptions.append(ws.subscribe(read, after=earlier, begins_after={"cpu": after}))
        return ws, subscriptions[-1]

    try:
        await user.ws.stay(begin)
    except UserFinished:
        return


def received(subscriptions):
    return sum(each.received for each in subscriptions)


def stayed(service, meanwhile, churn=0.0):
    async def use(meeting):
        Lifecycle(meeting.user, meeting.pacer)  # it renews what is due
        meeting.user.meter.timeout = 60.0  # nothing here is to time out
        meeting.user.meter.churn = churn
        subscriptions = []
        staying = asyncio.create_task(follow(meeting.user, subscriptions))
        try:
            await meanwhile(meeting, subscriptions)
        finally:
            meeting.user.meter.until = 0.0
            staying.cancel()
            await asyncio.wait((staying,))

    return met(service, use, process_request=service.refuse)


def test_a_client_that_is_cut_off_comes_back_and_misses_nothing():
    service = Service()

    async def meanwhile(_meeting, subscriptions):
        await until(lambda: received(subscriptions) == 5)
        service.newest = 9
        service.connections[0].transport.abort()
        await until(lambda: received(subscriptions) == 9)

    meeting = stayed(service, meanwhile)
    assert service.seen == ["/stream?after=0", "/stream?after=5"]
    assert meeting.outcomes(RECONNECT) == {"ok": 1}
    assert meeting.outcomes(MESSAGE) == {"ok": 9}
    assert meeting.count(f"{DISCONNECTED}closed 1006") == 1
    assert [meeting.count(name) for name in (MISSING, TAIL_LOST, NOT_RESUMED)] == [0, 0, 0]


def test_a_client_that_is_refused_tries_again_and_the_time_to_reconnect_is_of_the_whole():
    service = Service()

    async def meanwhile(_meeting, subscriptions):
        await until(lambda: received(subscriptions) == 5)
        service.refusals = 3
        service.connections[0].transport.abort()
        await until(lambda: len(subscriptions) == 2)

    meeting = stayed(service, meanwhile)
    assert meeting.outcomes(CONNECT) == {"ok": 2, "status 503": 3}
    assert meeting.outcomes(RECONNECT) == {"ok": 1}


def test_a_client_that_is_not_back_when_its_time_is_over_is_counted():
    service = Service()

    async def meanwhile(_meeting, subscriptions):
        await until(lambda: received(subscriptions) == 5)
        service.refusals = 1_000_000
        service.connections[0].transport.abort()
        await until(lambda: service.refusals < 999_998)

    meeting = stayed(service, meanwhile)
    assert meeting.outcomes(RECONNECT) == {"not back": 1}
    assert meeting.count(NOT_RESUMED) == 1


@pytest.mark.parametrize(("patience", "counted"), [(0.0, 1), (60.0, 0)])
def test_a_client_that_dropped_by_plan_and_had_time_to_come_back_is_counted(patience, counted):
    """A drop shortly before the end of the load leaves nothing open: the client had no time."""

    async def use(meeting):
        user, returns = meeting.user, []
        user.meter.churn = 1e9

        async def begin(earlier):
            if earlier is not None:
                returns.append(earlier)
                raise NoResponse("status 503")
            ws = await user.ws.connect("/stream?after=0")
            subscription = ws.subscribe(read)
            user.meter.timeout = patience
            return ws, subscription

        staying = asyncio.create_task(user.ws.stay(begin))
        await until(lambda: returns)
        user.meter.until = 0.0
        staying.cancel()
        await asyncio.wait((staying,))

    meeting = met(Service(), use)
    assert meeting.outcomes(RECONNECT) == {NOT_BACK: 1}
    assert meeting.count(NOT_RESUMED) == counted


@pytest.mark.parametrize("subscribes", [False, True])
def test_a_journey_that_fails_on_the_way_back_is_counted_and_not_excused_by_the_drop(subscribes):
    service = Service()

    async def use(meeting):
        user = meeting.user

        async def begin(earlier):
            ws = await user.ws.connect("/stream?after=0")
            if earlier is None or subscribes:
                subscription = ws.subscribe(read, after=earlier)
            if earlier is not None:
                raise KeyError("streams")
            asyncio.get_running_loop().call_soon(service.connections[0].transport.abort)
            return ws, subscription

        with pytest.raises(KeyError):
            await user.ws.stay(begin)
        assert not user.meter.has_failed  # so its lifecycle counts the error
        ws = await user.ws.connect("/stream?after=5")
        ws.subscribe(read)

    meeting = met(service, use)
    assert meeting.outcomes(RECONNECT) == {RETURN_FAILED: 1}
    assert meeting.count(NOT_RESUMED) == 1


def test_a_step_in_which_a_client_dropped_and_came_back_has_a_failure():
    service = Service()

    async def meanwhile(meeting, subscriptions):
        await until(lambda: received(subscriptions) == 5)
        service.connections[0].transport.abort()
        await until(lambda: len(subscriptions) == 2)
        assert meeting.user.meter.has_failed

    stayed(service, meanwhile)


def test_a_client_renews_its_token_before_it_comes_back_and_the_renewal_is_not_recorded():
    service = Service()

    async def meanwhile(meeting, subscriptions):
        user = meeting.user

        async def renew():
            user.ws.headers["authorization"] = service.token
            ws = await user.ws.connect("/renew")
            await ws.close()

        await until(lambda: received(subscriptions) == 5)
        service.token = "Bearer new"
        user.renew_after(0.0, renew)
        service.connections[0].transport.abort()
        await until(lambda: len(subscriptions) == 2)
        assert user.renewal is None
        assert user.meter.has_failed  # because of the cut

    meeting = stayed(service, meanwhile)
    assert service.seen == ["/stream?after=0", "/renew", "/stream?after=5"]
    assert meeting.outcomes(CONNECT) == {"ok": 2}
    assert meeting.outcomes(RECONNECT) == {"ok": 1}


def test_a_renewal_that_the_service_fails_is_tried_again_before_the_next_attempt():
    service, renewals = Service(), []

    async def meanwhile(meeting, subscriptions):
        user = meeting.user

        async def renew():
            renewals.append(user.meter.is_recorded)
            if len(renewals) == 1:
                raise NoResponse("timeout")
            user.ws.headers["authorization"] = service.token

        await until(lambda: received(subscriptions) == 5)
        service.token = "Bearer new"
        user.renew_after(0.0, renew)
        service.connections[0].transport.abort()
        await until(lambda: len(subscriptions) == 2)

    meeting = stayed(service, meanwhile)
    assert renewals == [False, False]
    assert meeting.outcomes(CONNECT) == {"ok": 2, "status 401": 1}


def test_a_first_attempt_that_fails_ends_the_journey():
    service = Service()
    service.refusals = 1

    async def use(meeting):
        with pytest.raises(ConnectFailed):
            await follow(meeting.user, [])

    meeting = met(service, use, process_request=service.refuse)
    assert meeting.outcomes(RECONNECT) == {}


def test_a_plan_with_churn_has_the_client_drop_its_own_connection():
    service = Service()

    async def meanwhile(_meeting, subscriptions):
        await until(lambda: len(subscriptions) >= 3)

    meeting = stayed(service, meanwhile, churn=50.0)
    assert set(meeting.outcomes(LIFETIME)) == {"ok"}
    assert meeting.outcomes(RECONNECT)["ok"] >= 2
    assert meeting.count(f"{DISCONNECTED}closed 1006") == 0


@pytest.mark.parametrize(
    ("age", "lost", "unknown"),
    [(61.0, 2, 5), (59.0, 0, 7)],
    ids=["it had a whole time-out", "it may be catching up"],
)
def test_messages_that_others_know_and_a_subscriber_never_got_are_lost_if_there_was_time(age, lost, unknown):
    service = Service(newest=5)

    async def meanwhile(meeting, subscriptions):
        await until(lambda: received(subscriptions) == 5)
        subscriptions[-1]._begun -= age
        heads, now = meeting.driver.heads, meeting.clock.now()
        heads.know("", "cpu", 7)
        heads.look(now - 100.0)  # longer ago than the time-out
        heads.know("", "cpu", 12)
        heads.look(now - 2.0)

    meeting = stayed(service, meanwhile)
    assert (meeting.count(TAIL_LOST), meeting.count(TAIL_UNKNOWN)) == (lost, unknown)


def test_a_gap_that_a_service_cannot_fill_is_lost_and_one_that_it_fills_is_not():
    async def use(meeting):
        ws = await meeting.user.ws.connect("/stream?after=0")
        first = ws.subscribe(read, begins_after={"cpu": 0})
        await until(lambda: first.received == 5)
        ws.drop()
        again = await meeting.user.ws.connect("/stream?after=5")
        later = again.subscribe(read, after=first, begins_after={"cpu": 8})
        assert later.missing == 3

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
