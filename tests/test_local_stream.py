"""The service's WebSocket connections: streams, dashboards, shared documents, and their faults."""

import asyncio
import contextlib
import itertools
import json
import os
import signal
import socket
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.sync.client import connect

from environments.local.service import websocket
from environments.local.service.broadcast import KEPT
from environments.local.service.websocket import Connections, WebSocket, text_frame
from tests.local_environment import (
    PATIENCE,
    admin,
    client,
    client_of,
    environment,
    eventually,
    facts,
    fault,
    get,
    post,
    stranger,
)

__all__ = ["admin", "client", "environment", "facts", "fault", "stranger"]

EVENT = {"name": "page.view", "value": 1.5}
BEFORE_PINGS = 15.0
"""Seconds after which a client that answers no pings has not yet been cut off for that."""
on_environment = pytest.mark.environment


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
def test_a_text_is_framed_as_the_library_frames_it(size):
    content = b"x" * size
    assert text_frame(content) == Frame(Opcode.TEXT, content).serialize(mask=False)


class FakeTransport:
    def __init__(self):
        self.written = []
        self.is_closed = self.is_aborted = False
        self.waiting = 0

    def write(self, data):
        self.written.append(data)

    def close(self):
        self.is_closed = True

    def abort(self):
        self.is_aborted = True

    def set_write_buffer_limits(self, high):
        self.high = high

    def get_extra_info(self, name):
        return None

    def get_write_buffer_size(self):
        return self.waiting


@pytest.mark.parametrize("answers", [True, False])
def test_a_client_that_answers_no_ping_is_cut_off_and_one_that_does_is_not(monkeypatch, answers):
    monkeypatch.setattr(websocket, "_PING_SECONDS", 0.0)
    monkeypatch.setattr(websocket, "_SWEEP_SECONDS", 0.0)

    async def run():
        connections, transport = Connections(), FakeTransport()
        connection = WebSocket(connections)
        connection.connection_made(transport)
        keeping = asyncio.create_task(connections.keep_alive())
        for _ in range(20):
            await asyncio.sleep(0)
            if answers:
                connection.data_received(b"\x8a\x80\0\0\0\0")
        keeping.cancel()
        return connections, transport

    connections, transport = asyncio.run(run())
    assert transport.written[0] == b"\x89\x00"
    assert transport.is_closed == (not answers)
    assert connections.cut_off == (0 if answers else 1)
    assert (b"\x03\xf5" in transport.written[-1]) == (not answers)  # 1013


def test_a_client_whose_queue_is_full_is_cut_off_unless_it_is_sent_the_past():
    async def run(is_catching_up):
        connections, transport = Connections(), FakeTransport()
        connection = WebSocket(connections)
        connection.connection_made(transport)
        connection.is_catching_up = is_catching_up
        transport.waiting = transport.high + 1
        connection.pause_writing()
        await asyncio.sleep(0)
        return connections.cut_off, connections.open

    assert asyncio.run(run(False)) == (1, 0)
    assert asyncio.run(run(True)) == (0, 1)


# Against the running environment


@pytest.fixture
def open_socket(facts, admin):
    """Opens a connection: to an instance by its place, or through the load balancer."""
    opened = contextlib.ExitStack()

    def open_socket(path, place=None, headers=admin, **options):
        base = facts["base"] if place is None else facts["instances"][place]["url"]
        options.setdefault("max_queue", None)  # else a client that does not read delays its own close
        options.setdefault("open_timeout", PATIENCE)
        address = f"ws{base.removeprefix('http')}/api/v1/{path}"
        return opened.enter_context(
            connect(address, additional_headers=headers, proxy=None, ping_interval=None, **options)
        )

    with opened:
        yield open_socket


@pytest.fixture
def topic():
    return f"t{uuid.uuid4().hex[:12]}"


def read(connection, count=1, timeout=PATIENCE):
    return [json.loads(connection.recv(timeout=timeout)) for _ in range(count)]


def is_silent(connection, seconds=0.5):
    try:
        connection.recv(timeout=seconds)
    except TimeoutError:
        return True
    return False


def publish(client, headers, topic, count=1, payload=None, base=None):
    messages = [{"topic": topic, "payload": payload or {"n": n}} for n in range(count)]
    url = f"{base or ''}/api/v1/stream/publish"
    send = client.post if base is None else post
    answer = send(url, headers=headers, json={"messages": messages})
    assert answer.status_code == 201, answer.text
    return answer.json()["sequences"]


def code_of(connection, seconds=PATIENCE):
    """The close code, or None if there was no close frame."""
    try:
        while True:
            connection.recv(timeout=seconds)
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else None


def total(facts, name):
    found = 0.0
    for each in facts["instances"]:
        lines = get(f"{each['url']}/metrics").text.splitlines()
        found += float(next(line for line in lines if line.startswith(f"{name} ")).split()[1])
    return found


@on_environment
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer access.1.1.admin.x.9999999999.00"}])
@pytest.mark.parametrize("path", ["stream?topics=metrics", "collab/1"])
def test_a_handshake_without_a_good_token_is_401(open_socket, path, headers):
    with pytest.raises(InvalidStatus) as refused:
        open_socket(path, headers=headers)
    assert refused.value.response.status_code == 401


@on_environment
@pytest.mark.parametrize(
    "query", ["", "topics=", "topics=A", "topics=a,a", "topics=a&from=b:1", "topics=a&from=a", "topics=a/1"]
)
def test_a_subscription_that_cannot_be_read_is_422(open_socket, query):
    with pytest.raises(InvalidStatus) as refused:
        open_socket(f"stream?{query}")
    assert refused.value.response.status_code == 422


@on_environment
def test_a_plain_request_for_a_stream_is_426(client, admin):
    assert client.get("/api/v1/stream?topics=metrics", headers=admin).status_code == 426


@on_environment
@pytest.mark.parametrize(
    "messages",
    [
        None,
        [],
        ["x"],
        [{"topic": "A"}],
        [{"topic": "a", "type": 1}],
        [{"topic": "a", "payload": "x" * 2001}],
        [{"topic": "a", "payload": "x" * 1900}] * 200,
    ],
)
def test_a_publication_of_the_wrong_shape_is_422(client, admin, messages):
    answer = client.post("/api/v1/stream/publish", headers=admin, json={"messages": messages})
    assert answer.status_code == 422


@on_environment
def test_a_message_of_either_instance_reaches_the_subscribers_of_both_in_one_order(
    open_socket, client, admin, facts, topic
):
    subscribers = [open_socket(f"stream?topics={topic}", place) for place in (0, 1)]
    for subscriber, each in zip(subscribers, facts["instances"], strict=True):
        notice = {"type": "subscribed", "streams": {topic: 0}, "instance": each["name"]}
        assert read(subscriber) == [notice]
    before = time.time()
    sequences = [
        number
        for each in facts["instances"] * 2
        for number in publish(client, admin, topic, 3, base=each["url"])
    ]
    assert sequences == list(range(1, 13))
    one, two = (read(subscriber, 12) for subscriber in subscribers)
    assert one == two
    assert [message["sequence"] for message in one] == sequences
    assert all(before < message["created"] < time.time() for message in one)
    assert {message["stream"] for message in one} == {topic}
    assert [message["payload"] for message in one] == [{"n": n} for n in range(3)] * 4


@on_environment
def test_messages_have_their_keys_in_the_stated_order(open_socket, client, admin, topic):
    subscriber = open_socket(f"stream?topics={topic}")
    read(subscriber)
    publish(client, admin, topic)
    text = subscriber.recv()
    assert text.startswith(f'{{"stream":"{topic}","sequence":1,"created":')
    assert list(json.loads(text)) == ["stream", "sequence", "created", "tenant_key", "type", "payload"]


@on_environment
def test_a_written_event_reaches_each_dashboard_of_its_tenant_and_no_other(
    open_socket, client, admin, stranger
):
    mine = [open_socket("stream?topics=dashboard", place) for place in (0, 1)]
    other = open_socket("stream?topics=dashboard", headers=stranger)
    for each in (*mine, other):
        read(each)
    key = {"Idempotency-Key": str(uuid.uuid4())}
    for _ in range(2):  # the repetition stores nothing, and tells of nothing
        event = client.post("/api/v1/metrics/events", headers={**admin, **key}, json={"events": [EVENT]})
    session = client.post("/api/v1/metrics/sessions", headers=admin, json={"events": [EVENT, EVENT]}).json()
    me = client.get("/api/v1/auth/me", headers=admin).json()
    for each in mine:
        first, second = read(each, 2)
        assert (first["type"], first["payload"]) == ("events", event.json())
        assert (second["type"], second["payload"]) == ("session", session)
        assert second["sequence"] == first["sequence"] + 1
        assert {first["tenant_key"], second["tenant_key"]} == {me["tenant_key"]}
        assert is_silent(each)
    assert is_silent(other)


@on_environment
def test_a_large_batch_of_events_is_told_of_in_several_messages(open_socket, client, admin):
    subscriber = open_socket("stream?topics=dashboard")
    read(subscriber)
    stored = client.post("/api/v1/metrics/events", headers=admin, json={"events": [EVENT] * 120}).json()
    told = [message["payload"]["ids"] for message in read(subscriber, 3)]
    assert [len(ids) for ids in told] == [50, 50, 20]
    assert list(itertools.chain(*told)) == stored["ids"]


@on_environment
def test_a_client_resumes_at_the_other_instance_without_gap_or_double(
    open_socket, client, admin, facts, topic
):
    first = open_socket(f"stream?topics={topic}", 0)
    read(first)
    publish(client, admin, topic, 3)
    assert [message["sequence"] for message in read(first, 3)] == [1, 2, 3]
    first.close()
    publish(client, admin, topic, 450)  # several pages
    before = total(facts, "ws_resumes_total")
    second = open_socket(f"stream?topics={topic}&from={topic}:3", 1)
    assert read(second)[0]["streams"] == {topic: 3}
    publish(client, admin, topic, 2)
    assert [message["sequence"] for message in read(second, 452)] == list(range(4, 456))
    assert is_silent(second)
    assert total(facts, "ws_resumes_total") == before + 1


@on_environment
def test_who_comes_while_messages_are_published_misses_none_and_gets_none_twice(
    open_socket, client, admin, facts, topic
):
    begun = 0
    end = threading.Event()

    def keep_publishing():
        newest = 0
        with client_of("") as own:
            for place in itertools.cycle((0, 1)):
                while newest > begun + KEPT // 2 and not end.is_set():
                    end.wait(0.001)  # the next visit resumes from `begun`, which must still be kept
                if end.is_set():
                    return
                url = f"{facts['instances'][place]['url']}/api/v1/stream/publish"
                answer = own.post(url, headers=admin, json={"messages": [{"topic": topic}] * 5})
                newest = answer.json()["sequences"][-1]

    with ThreadPoolExecutor(1) as pool:
        publisher = pool.submit(keep_publishing)
        try:
            for visit in range(20):
                since = "" if visit % 2 else f"&from={topic}:{begun}"
                subscriber = open_socket(f"stream?topics={topic}{since}", visit % 4 // 2)
                begun = read(subscriber)[0]["streams"][topic]
                sequences = [message["sequence"] for message in read(subscriber, 60)]
                assert sequences == list(range(begun + 1, begun + 61))
                subscriber.close()
        finally:
            end.set()
            publisher.result()  # an error of its own says more than what its readers miss


@on_environment
def test_a_gap_that_cannot_be_filled_is_told(open_socket, client, admin, topic):
    for _ in range(3):
        newest = publish(client, admin, topic, 1000)[-1]
    subscriber = open_socket(f"stream?topics={topic}&from={topic}:1")
    gap, begun = read(subscriber, 2)
    assert gap == {"type": "gap", "stream": topic, "from": 1, "resumed": begun["streams"][topic]}
    assert 1 < gap["resumed"] <= newest - KEPT
    rest = list(range(gap["resumed"] + 1, newest + 1))
    assert [message["sequence"] for message in read(subscriber, len(rest))] == rest


@on_environment
def test_a_position_that_the_stream_has_not_reached_is_told(open_socket, client, admin, topic):
    publish(client, admin, topic, 3)
    subscriber = open_socket(f"stream?topics={topic}&from={topic}:9")
    assert read(subscriber, 2)[0] == {"type": "gap", "stream": topic, "from": 9, "resumed": 3}
    publish(client, admin, topic)
    assert read(subscriber)[0]["sequence"] == 4


@on_environment
def test_emptying_the_cache_leaves_the_streams_as_they_are(open_socket, client, admin, environment, topic):
    publish(client, admin, topic, 3)
    environment.verb("flush")
    assert publish(client, admin, topic) == [4]


@on_environment
def test_a_ping_is_answered_and_a_message_is_refused(open_socket):
    subscriber = open_socket("stream?topics=metrics")
    read(subscriber)
    assert subscriber.ping().wait(PATIENCE)
    subscriber.send("hello")
    assert code_of(subscriber) == 1008


@on_environment
@pytest.mark.parametrize(("sent", "code"), [(b"bytes", 1003), ("x" * 9000, 1009)])
def test_what_no_editor_may_send_ends_its_connection(open_socket, sent, code):
    editor = open_socket("collab/1")
    editor.send(sent)
    assert code_of(editor) == code


@on_environment
def test_text_that_is_not_utf8_ends_the_connection(open_socket):
    editor = open_socket("collab/1")
    editor.send(b"\xff", text=True)
    assert code_of(editor) == 1007


@on_environment
def test_all_editors_see_all_edits_in_one_order_and_who_joins_sees_the_outcome(open_socket, client, admin):
    number = uuid.uuid4().int % 10**12
    editors = [open_socket(f"collab/{number}", place) for place in (0, 1)]
    for editor in editors:
        state = read(editor)[0]
        assert (state["type"], state["version"], state["payload"]) == ("state", 0, {})
    for n in range(10):
        for name, editor in enumerate(editors):
            edit = {"key": "title" if n % 2 else f"k{name}", "value": [name, n], "id": f"{name}-{n}"}
            editor.send(json.dumps(edit))
    one, two = (read(editor, 20) for editor in editors)
    assert one == two
    assert [edit["sequence"] for edit in one] == list(range(1, 21))
    assert {edit["payload"]["id"] for edit in one} == {f"{name}-{n}" for name in (0, 1) for n in range(10)}
    me = client.get("/api/v1/auth/me", headers=admin).json()
    assert {edit["payload"]["editor"] for edit in one} == {me["id"]}
    outcome = {
        edit["payload"]["key"]: {"version": edit["sequence"], "value": edit["payload"]["value"]}
        for edit in one
    }
    joined = read(open_socket(f"collab/{number}"))[0]
    assert (joined["version"], joined["payload"]) == (20, outcome)


@on_environment
def test_documents_of_two_tenants_with_the_same_number_are_two(open_socket, stranger):
    number = uuid.uuid4().int % 10**12
    mine, other = open_socket(f"collab/{number}"), open_socket(f"collab/{number}", headers=stranger)
    for each in (mine, other):
        read(each)
    mine.send('{"key":"title","value":1}')
    assert read(mine)[0]["payload"]["value"] == 1
    assert is_silent(other)


@on_environment
@pytest.mark.parametrize(
    "edit",
    ["{", "[]", '{"key":"k"}', '{"key":"","value":1}', '{"key":"k","value":"' + "x" * 2000 + '"}'],
)
def test_an_edit_that_cannot_be_taken_is_refused_to_its_sender_only(open_socket, edit):
    number = uuid.uuid4().int % 10**12
    sender, other = (open_socket(f"collab/{number}") for _ in range(2))
    for each in (sender, other):
        read(each)
    sender.send(edit)
    assert read(sender)[0]["type"] == "refused"
    assert is_silent(other)


@on_environment
def test_a_document_has_room_for_a_limited_number_of_keys(open_socket):
    editor = open_socket(f"collab/{uuid.uuid4().int % 10**12}")
    read(editor)
    for n in range(500):
        editor.send(json.dumps({"key": f"k{n}", "value": n}))
    assert [edit["type"] for edit in read(editor, 500)] == ["edit"] * 500
    editor.send('{"key":"another","value":1,"id":"mine"}')
    assert read(editor) == [{"type": "refused", "id": "mine", "message": "the document has too many keys"}]
    editor.send('{"key":"k0","value":1}')
    assert read(editor)[0]["sequence"] == 501


@on_environment
def test_a_client_that_reads_too_slowly_is_cut_off_and_the_others_are_not(
    open_socket, client, admin, facts, topic
):
    address = httpx.URL(facts["base"])
    with socket.socket() as plug:
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        plug.connect((address.host, address.port))
        slow = open_socket(f"stream?topics={topic}", sock=plug, max_queue=1)
        quick = open_socket(f"stream?topics={topic}")
        for each in (slow, quick):
            read(each)
        before = total(facts, "ws_cut_off_total")
        for _ in range(20):
            publish(client, admin, topic, 125, "x" * 1900)
            assert len(read(quick, 125)) == 125
        assert eventually(lambda: total(facts, "ws_cut_off_total") == before + 1, BEFORE_PINGS)
        assert total(facts, "ws_send_queue_bytes") < 2_000_000
        assert code_of(slow) == 1013


@on_environment
def test_connections_and_messages_are_counted(open_socket, client, admin, facts, topic):
    names = ("ws_connections", "ws_messages_sent_total", "ws_published_total")
    assert eventually(lambda: total(facts, "ws_connections") == 0)
    before = [total(facts, name) for name in names]
    subscribers = [open_socket(f"stream?topics={topic}") for _ in range(4)]
    for subscriber in subscribers:
        read(subscriber)
    publish(client, admin, topic, 5)
    for subscriber in subscribers:
        read(subscriber, 5)
    assert [total(facts, name) for name in names] == [4, before[1] + 20, before[2] + 5]


@on_environment
def test_unpublished_events_are_stored_and_leave_no_gap_in_the_dashboards_numbers(
    open_socket, client, admin, fault
):
    subscriber = open_socket("stream?topics=dashboard")
    read(subscriber)
    name = f"unpublished.{uuid.uuid4().hex}"

    def store(kind):
        events = {"events": [{"name": name, "value": 1.0}]}
        return client.post(f"/api/v1/metrics/{kind}", headers=admin, json=events).json()["ids"]

    before = store("events")
    fault("events-unpublished", share=1)
    silent = [*store("events"), *store("sessions")]
    fault("events-unpublished", "off")
    after = store("sessions")
    first, second = read(subscriber, 2)
    assert [first["payload"]["ids"], second["payload"]["ids"]] == [before, after]
    assert second["sequence"] == first["sequence"] + 1
    page = client.get("/api/v1/metrics/events", headers=admin, params={"name": name}).json()
    assert {event["id"] for event in page["events"]} == {*before, *silent, *after}


@on_environment
def test_messages_lost_do_not_arrive_and_can_be_resumed(open_socket, client, admin, fault, topic):
    subscriber = open_socket(f"stream?topics={topic}")
    read(subscriber)
    fault("messages-lost", share=1)
    publish(client, admin, topic, 5)
    fault("messages-lost", "off")
    publish(client, admin, topic)
    assert [message["sequence"] for message in read(subscriber)] == [6]
    again = open_socket(f"stream?topics={topic}&from={topic}:0")
    assert [message["sequence"] for message in read(again, 7)[1:]] == [1, 2, 3, 4, 5, 6]


@on_environment
def test_a_share_of_messages_lost_is_a_share_of_the_deliveries(open_socket, client, admin, fault, topic):
    subscriber = open_socket(f"stream?topics={topic}")
    read(subscriber)
    fault("messages-lost", share=0.1)
    publish(client, admin, topic, 1000)
    fault("messages-lost", "off")
    publish(client, admin, topic)
    received = 0
    while read(subscriber)[0]["sequence"] <= 1000:
        received += 1
    assert 840 < received < 960  # six standard deviations


@on_environment
def test_messages_doubled_arrive_twice(open_socket, client, admin, fault, topic):
    subscriber = open_socket(f"stream?topics={topic}")
    read(subscriber)
    fault("messages-doubled", share=1)
    publish(client, admin, topic, 3)
    assert [message["sequence"] for message in read(subscriber, 6)] == [1, 1, 2, 2, 3, 3]


@on_environment
def test_messages_reordered_arrive_after_the_next_one_and_none_is_lost(
    open_socket, client, admin, fault, topic
):
    subscriber = open_socket(f"stream?topics={topic}")
    read(subscriber)
    fault("messages-reordered", share=1)
    publish(client, admin, topic, 5)
    assert [message["sequence"] for message in read(subscriber, 5)] == [2, 1, 4, 3, 5]


@on_environment
def test_messages_delayed_arrive_later_in_order_and_at_the_end_at_once(
    open_socket, client, admin, fault, topic
):
    subscriber = open_socket(f"stream?topics={topic}")
    read(subscriber)
    fault("messages-delayed", delay=0.4)
    publish(client, admin, topic, 3)
    messages = read(subscriber, 3)
    assert time.time() - messages[0]["created"] >= 0.4
    assert [message["sequence"] for message in messages] == [1, 2, 3]
    fault("messages-delayed", delay=600)
    publish(client, admin, topic, 2)
    assert is_silent(subscriber)
    fault("messages-delayed", "off")
    assert [message["sequence"] for message in read(subscriber, 2)] == [4, 5]


@on_environment
def test_foreign_messages_have_another_tenants_key_and_nothing_else_is_wrong(
    open_socket, client, admin, fault, topic
):
    subscriber = open_socket(f"stream?topics={topic}")
    read(subscriber)
    fault("foreign-messages", share=1)
    publish(client, admin, topic, 2)
    own = client.get("/api/v1/auth/me", headers=admin).json()["tenant_key"]
    for number, message in enumerate(read(subscriber, 2), 1):
        assert (message["stream"], message["sequence"]) == (topic, number)
        assert message["tenant_key"].startswith("tk-")
        assert message["tenant_key"] != own


@on_environment
@pytest.mark.parametrize(
    ("name", "parameters"), [("connections-cut", {"share": 1}), ("all-connections-cut", {})]
)
def test_cut_connections_end_without_a_close_frame(open_socket, fault, name, parameters):
    subscribers = [open_socket("stream?topics=metrics") for _ in range(4)]
    for subscriber in subscribers:
        read(subscriber)
    fault(name, **parameters)
    assert [code_of(subscriber) for subscriber in subscribers] == [None] * 4


@on_environment
def test_all_connections_are_cut_once(open_socket, fault):
    fault("all-connections-cut")
    subscriber = open_socket("stream?topics=metrics")
    read(subscriber)
    assert is_silent(subscriber, 1.5)


@on_environment
def test_connections_are_accepted_and_closed_at_once_until_the_fault_ends(open_socket, fault):
    earlier = open_socket("stream?topics=metrics")
    read(earlier)
    fault("connections-closed-at-once", share=1)
    assert code_of(open_socket("stream?topics=metrics"), 1.0) == 1012
    assert is_silent(earlier)
    fault("connections-closed-at-once", "off")
    read(open_socket("stream?topics=metrics"))


@on_environment
def test_stalled_connections_are_silent_and_go_on_at_the_end(open_socket, client, admin, fault, topic):
    subscriber = open_socket(f"stream?topics={topic}")
    read(subscriber)
    fault("connections-stalled", share=1)
    later = open_socket(f"stream?topics={topic}")
    publish(client, admin, topic, 3)
    assert not subscriber.ping().wait(0.5)
    assert is_silent(subscriber)
    assert is_silent(later)
    fault("connections-stalled", "off")
    assert [message["sequence"] for message in read(subscriber, 3)] == [1, 2, 3]
    assert [message["sequence"] for message in read(later, 4)[1:]] == [1, 2, 3]
    assert subscriber.ping().wait(PATIENCE)


@on_environment
def test_stalled_connections_are_cut_off_when_too_much_waits(open_socket, client, admin, fault, topic):
    subscriber = open_socket(f"stream?topics={topic}")
    read(subscriber)
    fault("connections-stalled", share=1)
    for _ in range(6):
        publish(client, admin, topic, 125, "x" * 1900)
    assert code_of(subscriber, BEFORE_PINGS) == 1013


@on_environment
def test_while_reconnections_are_refused_a_handshake_is_503_and_requests_are_answered(
    open_socket, client, admin, fault
):
    fault("reconnect-refused", seconds=60)
    with pytest.raises(InvalidStatus) as refused:
        open_socket("stream?topics=metrics")
    assert refused.value.response.status_code == 503
    assert client.get("/api/v1/auth/me", headers=admin).status_code == 200
    fault("reconnect-refused", "off")
    read(open_socket("stream?topics=metrics"))


@on_environment
def test_refused_reconnections_end_by_themselves(open_socket, fault):
    fault("reconnect-refused", seconds=0.2)

    def is_accepted():
        try:
            open_socket("stream?topics=metrics")
        except InvalidStatus:
            return False
        return True

    assert eventually(is_accepted, 15.0)  # less than the usual 20 seconds


@on_environment
def test_clients_of_a_killed_instance_resume_at_another(open_socket, client, admin, fault, topic):
    subscriber = open_socket(f"stream?topics={topic}", 1)
    read(subscriber)
    publish(client, admin, topic)
    assert read(subscriber)[0]["sequence"] == 1
    fault("instance-killed")
    assert code_of(subscriber) is None
    assert eventually(lambda: client.get("/healthz").headers["X-Instance"] == "metrics-1")
    publish(client, admin, topic, 3)
    again = open_socket(f"stream?topics={topic}&from={topic}:1")
    assert [message["sequence"] for message in read(again, 4)[1:]] == [2, 3, 4]


@pytest.mark.slow
@on_environment
def test_an_instance_that_stops_says_so_to_its_clients(environment, open_socket):
    environment.verb("up", "--owner", str(os.getpid()))
    environment.verb("scale", "2")
    connections = [open_socket("stream?topics=metrics") for _ in range(2)]
    names = [read(each)[0]["instance"] for each in connections]
    leaving = connections[names.index("metrics-2")]
    staying = connections[names.index("metrics-1")]
    environment.verb("scale", "1")
    assert code_of(leaving) == 1001
    assert staying.ping().wait(PATIENCE)


@on_environment
def test_without_valkey_clients_are_told_to_come_back_and_new_ones_are_refused(
    environment, open_socket, client, admin
):
    facts = environment.verb("up", "--owner", str(os.getpid()))
    place = next(n for n, each in enumerate(facts["instances"]) if each["state"] == "running")
    base = facts["instances"][place]["url"]
    address = f"ws{base.removeprefix('http')}/api/v1/stream?topics=metrics"
    with connect(address, additional_headers=admin, proxy=None) as subscriber:
        read(subscriber)
        os.kill(facts["parts"]["valkey"]["pid"], signal.SIGKILL)
        assert code_of(subscriber) == 1012
    with pytest.raises(InvalidStatus) as refused, connect(address, additional_headers=admin, proxy=None):
        pass
    assert refused.value.response.status_code == 503
    body = {"messages": [{"topic": "metrics"}]}
    answer = post(f"{base}/api/v1/stream/publish", headers=admin, json=body)
    assert answer.status_code == 503
    # An event is stored all the same.
    stored = post(f"{base}/api/v1/metrics/events", headers=admin, json={"events": [EVENT]})
    assert stored.status_code == 201
