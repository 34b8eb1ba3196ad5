"""The service's own small parts, each alone: its pool, tokens, measurements, protocol, faults."""

import asyncio
import json
import os
import random
import signal
import socket
import sys
import uuid
from datetime import UTC, datetime

import psutil
import pytest
import uvicorn
from uvicorn.server import ServerState

from environments.local import control, usage
from environments.local.errors import LocalError
from environments.local.faults import FAULTS, read_parameters
from environments.local.haproxy import Balancer
from environments.local.layout import Layout
from environments.local.process import Program
from environments.local.prometheus import Monitor
from environments.local.service.cache import Cache, CacheError, parse
from environments.local.service.config import Config
from environments.local.service.context import Context
from environments.local.service.database import Pool, PoolTimeoutError
from environments.local.service.endpoint import Reply
from environments.local.service.faults import ErrorBursts, InjectedError
from environments.local.service.metrics import new_ids, read_events
from environments.local.service.telemetry import BUCKETS, Telemetry
from environments.local.service.tokens import TenantKeys, Tokens, hash_password, password_matches
from environments.local.service.transport import BodyTooLargeError, HttpProtocol
from environments.local.supervisor import Supervisor


class FakeConnection:
    def __init__(self):
        self.closed = False

    def is_closed(self):
        return self.closed

    async def close(self):
        self.closed = True


class FakePool(Pool):
    async def _connect(self):
        return FakeConnection()


async def open_pool(size, patience=5.0):
    pool = FakePool("", size, patience)
    await pool.open()
    return pool


def test_a_pool_with_a_free_connection_does_not_wait():
    async def run():
        pool = await open_pool(2)
        await pool.take()
        await pool.take()
        assert (pool.used, pool.acquired, pool.unwaited, pool.waited, pool.waiting) == (2, 2, 2, 0, 0)

    asyncio.run(run())


def test_who_waits_longest_gets_the_connection_that_is_given_back():
    async def run():
        pool = await open_pool(1)
        connection = await pool.take()
        order = []

        async def user(name):
            mine = await pool.take()
            order.append(name)
            pool.give_back(mine)

        users = [asyncio.create_task(user(name)) for name in "abc"]
        await asyncio.sleep(0)
        assert (pool.waiting, pool.waited) == (3, 3)
        assert (pool.acquired, pool.unwaited) == (4, 1)
        pool.give_back(connection)
        await asyncio.gather(*users)
        assert order == ["a", "b", "c"]
        assert (pool.used, pool.waiting) == (0, 0)

    asyncio.run(run())


def test_who_waits_in_vain_is_told_so_and_leaves_no_trace():
    async def run():
        pool = await open_pool(1, patience=0.0)
        connection = await pool.take()
        with pytest.raises(PoolTimeoutError):
            await pool.take()
        pool.give_back(connection)
        assert (pool.used, pool.waiting) == (0, 0)
        await pool.take()

    asyncio.run(run())


@pytest.mark.parametrize("given_back_first", [True, False])
def test_a_cancelled_waiter_loses_no_place(given_back_first):
    async def run():
        pool = await open_pool(1)
        connection = await pool.take()
        waiter = asyncio.create_task(pool.take())
        await asyncio.sleep(0)
        if given_back_first:
            pool.give_back(connection)
        waiter.cancel()
        await asyncio.wait([waiter])
        if not given_back_first:
            pool.give_back(connection)
        assert (pool.used, pool.waiting) == (0, 0)
        await pool.take()

    asyncio.run(run())


def test_a_smaller_pool_takes_effect_as_connections_come_back_and_a_larger_one_at_once():
    async def run():
        pool = await open_pool(2)
        one, two = await pool.take(), await pool.take()
        pool.resize(1)
        waiter = asyncio.create_task(pool.take())
        await asyncio.sleep(0)
        pool.give_back(one)
        await asyncio.sleep(0)
        assert (pool.used, pool.waiting) == (1, 1)
        pool.resize(2)
        assert await waiter is one
        pool.give_back(two)
        assert pool.used == 1

    asyncio.run(run())


def test_a_connection_that_was_cut_is_replaced():
    async def run():
        pool = await open_pool(1)
        connection = await pool.take()
        connection.closed = True
        pool.give_back(connection)
        assert not (await pool.take()).is_closed()

    asyncio.run(run())


def test_a_pool_opens_connections_when_needed_and_closes_those_that_stay_idle():
    async def run():
        pool = await open_pool(3)
        assert len(pool._idle) == 1
        taken = [await pool.take() for _ in range(3)]
        for connection in reversed(taken):
            pool.give_back(connection)
        await pool.trim()
        assert len(pool._idle) == 3  # all were in use since the last time
        mine = await pool.take()
        pool.give_back(mine)
        await pool.trim()
        assert [each.closed for each in taken] == [each is not mine for each in taken]
        assert await pool.take() is mine

    asyncio.run(run())


def test_a_token_says_who_it_is_for_to_everybody_with_the_secret():
    token = Tokens("secret").issue("access", 7, 3, role="admin", login="x", seconds=60)
    identity = Tokens("secret").read("access", token)
    assert (identity.account, identity.tenant, identity.role) == (7, 3, "admin")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda token: token.replace(".3.", ".4."),
        lambda token: token.replace("member", "admin"),
        lambda token: token[:-1] + ("0" if token[-1] != "0" else "1"),
        lambda token: "é",
        lambda token: "",
    ],
)
def test_a_changed_token_is_no_token(spoil):
    token = Tokens("secret").issue("access", 7, 3, role="member", login="x", seconds=60)
    assert Tokens("secret").read("access", spoil(token)) is None


def test_a_token_of_another_secret_another_kind_or_the_past_is_no_token():
    tokens = Tokens("secret")
    assert (
        Tokens("other").read("access", tokens.issue("access", 1, 1, role="member", login="x", seconds=60))
        is None
    )
    assert tokens.read("access", tokens.issue("refresh", 1, 1, role="member", login="x", seconds=60)) is None
    assert tokens.read("access", tokens.issue("access", 1, 1, role="member", login="x", seconds=-60)) is None


def test_an_ended_login_takes_all_its_tokens_with_it_and_no_other():
    tokens = Tokens("secret")
    mine = tokens.issue("access", 1, 1, role="member", login="mine", seconds=60)
    other = tokens.issue("access", 1, 1, role="member", login="other", seconds=60)
    assert tokens.read("access", mine) is not None
    tokens.end("mine")
    assert tokens.read("access", mine) is None
    assert tokens.read("access", other) is not None


def test_a_password_matches_its_own_hash_only():
    stored = hash_password("right")
    assert password_matches("right", stored)
    assert not password_matches("wrong", stored)
    assert hash_password("right") != stored


def test_tenant_keys_are_stable_distinct_and_depend_on_the_secret():
    keys = TenantKeys("secret")
    assert len({keys[tenant] for tenant in range(1000)}) == 1000
    assert TenantKeys("secret")[5] == keys[5] != TenantKeys("other")[5]


def test_each_row_of_a_page_gets_the_key_of_its_own_tenant():
    keys = TenantKeys("secret")
    page = '[{"tenant_key":7,"name":"x"},{"tenant_key":8,"name":"\\"tenant_key\\":9,"}]'
    assert json.loads(keys.fill(page, 7)) == [
        {"tenant_key": keys[7], "name": "x"},
        {"tenant_key": keys[8], "name": '"tenant_key":9,'},
    ]


def test_new_ids_are_distinct_random_uuids():
    ids = new_ids(1000)
    assert len(set(ids)) == 1000
    assert {(uuid.UUID(each).version, uuid.UUID(each).variant) for each in ids} == {(4, uuid.RFC_4122)}
    assert [str(uuid.UUID(each)) for each in ids] == ids


def test_events_become_columns_and_only_stated_times_are_sent():
    now = datetime(2026, 11, 26, 12, tzinfo=UTC)
    events = read_events([{"name": "click", "value": 1}, {"name": "a.b", "value": 2.5e-7}], now)
    assert (events.names, events.values, events.times) == ("{click,a.b}", "{1,2.5e-07}", None)
    known = str(uuid.uuid4())
    given = {"name": "click", "value": 1, "id": known.upper(), "time": "2026-11-25T12:00:00.5Z"}
    events = read_events([{"name": "a", "value": 1}, given], now)
    assert events.times == "{2026-11-26T12:00:00+00:00,2026-11-25T12:00:00.500000+00:00}"
    assert events.ids[1] == known


class Echo:
    """A page that answers with what it was asked, after a moment; longer for shorter paths."""

    def __init__(self, path):
        self._path = path

    async def answer(self, request):
        try:
            body = await request.read_body()
        except BodyTooLargeError as error:
            return Reply(str(error).encode(), 413)
        for _ in range(20 - len(self._path)):
            await asyncio.sleep(0)
        return Reply(b"%b?%b %d" % (self._path, request.query, len(body)), 201, ((b"x-seen", b"yes"),))


class EchoSite:
    def find(self, _method, path):
        return Echo(path), {}


async def exchange(*packets):
    """What an instance's protocol sends for these packets, each sent after the reaction to the last."""
    loop = asyncio.get_running_loop()
    config = uvicorn.Config(
        EchoSite(), interface="asgi3", lifespan="off", ws="none", proxy_headers=False, log_level="error"
    )
    state = ServerState()
    state.default_headers = [(b"x-instance", b"one")]
    server = await loop.create_server(lambda: HttpProtocol(config, state, {}, loop), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    for packet in packets:
        writer.write(packet)
        await writer.drain()
        for _ in range(50):
            await asyncio.sleep(0)
    sent = await reader.read()
    writer.close()
    server.close()
    assert not state.tasks
    return sent


def answer_of(text, close=False):
    connection = "connection: close\r\n" if close else ""
    return (
        "HTTP/1.1 201 Created\r\nx-instance: one\r\ncontent-type: application/json\r\n"
        f"content-length: {len(text)}\r\nx-seen: yes\r\n{connection}\r\n{text}"
    ).encode()


def test_pipelined_requests_are_answered_in_order():
    requests = b"".join(
        b"GET %b HTTP/1.1\r\n%b\r\n" % (path, b"connection: close\r\n" if path == b"/long%20er" else b"")
        for path in (b"/a?x=1", b"/bb", b"/long%20er")
    )
    expected = answer_of("/a?x=1 0") + answer_of("/bb? 0") + answer_of("/long er? 0", close=True)
    assert asyncio.run(exchange(requests)) == expected


def test_a_body_may_come_in_pieces_and_after_a_confirmation():
    head = b"POST /a HTTP/1.0\r\nexpect: 100-continue\r\ncontent-length: 6\r\n\r\n"
    sent = asyncio.run(exchange(head, b"abc", b"def"))
    assert sent == b"HTTP/1.1 100 Continue\r\n\r\n" + answer_of("/a? 6", close=True)


def test_a_body_that_is_too_large_is_refused():
    head = b"POST /a HTTP/1.0\r\ncontent-length: 4000001\r\n\r\n"
    assert b"413 " in asyncio.run(exchange(head, b"x" * 4_000_001)).partition(b"\r\n")[0]


def test_a_request_that_is_not_http_is_400():
    assert asyncio.run(exchange(b"nonsense\r\n\r\n")).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"+OK\r\n", b"OK"),
        (b":-7\r\n", -7),
        (b"$5\r\na\r\nbc\r\n", b"a\r\nbc"),
        (b"$0\r\n\r\n", b""),
        (b"$-1\r\n", None),
        (b"*3\r\n$1\r\na\r\n:1\r\n*1\r\n+b\r\n", [b"a", 1, [b"b"]]),
    ],
)
def test_an_answer_of_valkey_is_read_when_it_is_complete(sent, answer):
    assert parse(b"?" + sent + b"more", 1) == (answer, 1 + len(sent))
    assert all(parse(sent[:size], 0) is None for size in range(len(sent)))


def test_a_refusal_of_valkey_is_an_error_with_its_words():
    error, at = parse(b"-NOAUTH Authentication required.\r\n", 0)
    assert (type(error), str(error), at) == (CacheError, "NOAUTH Authentication required.", 34)


async def fake_valkey(answer):
    """A server that answers each packet as told: bytes, or None to hang up. Returns it and a cache."""

    async def converse(reader, writer):
        while packet := await reader.read(4096):
            sent = answer(packet)
            if sent is None:
                break
            for at in range(len(sent)):  # in the smallest pieces
                writer.write(sent[at : at + 1])
                await asyncio.sleep(0)
        writer.close()

    server = await asyncio.start_server(converse, "127.0.0.1", 0)
    return server, Cache(f"redis://:secret@127.0.0.1:{server.sockets[0].getsockname()[1]}/0")


def test_a_cache_that_was_cut_off_is_empty_and_connects_again():
    answers = iter([b"+OK\r\n", None, b"+OK\r\n", b"$2\r\nhi\r\n", b"-ERR busy\r\n", b"$-1\r\n"])
    asked = []

    def answer(packet):
        asked.append(packet)
        return next(answers)

    async def run():
        server, cache = await fake_valkey(answer)
        found = [await cache.get("key") for _ in range(4)]
        await cache.close()
        server.close()
        for _ in range(20):  # until the server has noticed
            await asyncio.sleep(0)
        return found, cache

    found, cache = asyncio.run(run())
    assert found == [None, b"hi", None, None]
    assert (cache.hits, cache.misses) == (1, 3)
    login, get = b"*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n", b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n"
    assert asked == [login, get, login, get, get, get]


def test_an_unreachable_cache_is_empty_and_says_so_when_a_message_is_lost():
    async def run():
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            cache = Cache(f"redis://:secret@127.0.0.1:{unused.getsockname()[1]}/0")
            await cache.put("key", b"value", 1.0)
            assert await cache.get("key") is None
            with pytest.raises(CacheError):
                await cache.publish("channel", "message")

    asyncio.run(run())


def test_telemetry_tells_buckets_that_add_up():
    telemetry = Telemetry()
    timer = telemetry.timer("auth", "GET", "/me")
    for seconds in (0.0005, 0.001, 0.2, 99.0):
        timer.observe(200, seconds)
    text = telemetry.text()
    labels = 'group="auth",method="GET",route="/me"'
    assert f'http_requests_total{{{labels},status="200"}} 4\n' in text
    counts = [int(line.split()[1]) for line in text.splitlines() if f"bucket{{{labels}" in line]
    assert counts == sorted(counts)
    assert (counts[0], counts[-2], counts[-1]) == (2, 3, 4)
    assert len(counts) == len(BUCKETS) + 1


def test_a_reset_sets_counters_to_zero_and_leaves_gauges():
    class Owner:
        total, level = 5, 7

    telemetry, owner = Telemetry(), Owner()
    telemetry.watch("some_total", "counter", owner, "total")
    telemetry.watch("some_level", "gauge", owner, "level")
    telemetry.timer("auth", "GET", "/me").observe(200, 1.0)
    telemetry.reset()
    assert (owner.total, owner.level) == (0, 7)
    assert "http_requests_total{" not in telemetry.text()


def test_every_fault_of_the_catalogue_can_be_switched_on_in_the_service_and_off_again():
    async def run():
        context = Context.make(Config("metrics-1", "", "redis://127.0.0.1:1/0", "secret", 2))
        context.pool._idle = [FakeConnection(), FakeConnection()]
        wanted = {name: fault.parameters for name, fault in FAULTS.items() if fault.in_service}
        wanted["periodic-stall"] = {"period": 1000.0, "length": 0.0}
        await context.faults.set(wanted)
        assert context.faults.touch_requests
        assert not context.cache.is_on
        assert context.pool.size == 1
        await context.faults.set({})
        assert not context.faults.touch_requests
        assert context.cache.is_on
        assert (context.pool.size, context.pool.used) == (2, 0)
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(run())


@pytest.mark.parametrize(("share", "burst"), [(0.02, 20), (0.5, 3), (0.05, 1)])
def test_error_bursts_fail_the_share_that_was_asked_for(share, burst):
    async def failed(fault):
        try:
            await fault.meet_request()
        except InjectedError:
            return 1
        return 0

    async def run():
        random.seed(1)
        fault = ErrorBursts(share, burst)
        return sum([await failed(fault) for _ in range(100_000)]) / 100_000

    assert asyncio.run(run()) == pytest.approx(share, rel=0.25)


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("x", {}, "no fault 'x'"),
        ("errors", {"x": "1"}, "it has: share"),
        ("errors", {"share": "x"}, "expected a number"),
    ],
)
def test_unreadable_parameters_are_named(name, given, words):
    with pytest.raises(LocalError, match=words):
        read_parameters(name, given)


def test_given_parameters_stand_in_for_the_defaults():
    assert read_parameters("slow-share", {"delay": "2"}) == {"share": 0.1, "delay": 2.0}


def test_usage_counts_the_children_of_a_part_and_nothing_of_one_that_has_ended(tmp_path):
    busy = "held = bytearray(b'x') * 50_000_000\nwhile True: pass"
    parent = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {busy!r}])"
    program = Program("busy", [sys.executable, "-c", parent], tmp_path / "log", tmp_path)
    ended = Program("ended", [sys.executable, "-c", ""], tmp_path / "log", tmp_path)
    program.start()
    ended.start().wait()

    async def run():
        processes = {"busy": program.pid, "ended": ended.pid}
        measured = {"busy": {"memory_mb": 0.0}}
        async with asyncio.timeout(20.0):
            while measured["busy"]["memory_mb"] < 50.0:
                measured = await usage.measure(processes, os.getpid())
        for child in psutil.Process(program.pid).children():
            child.kill()
        await program.stop()
        return measured

    measured = asyncio.run(run())
    assert measured["busy"]["processes"] == 2
    assert measured["busy"]["cpu_cores"] > 0.0
    assert measured["ended"] == {"cpu_cores": 0.0, "memory_mb": 0.0, "processes": 0}
    assert measured["supervisor"]["processes"] == 1
    assert measured["total"]["processes"] == 3


def test_a_frozen_program_has_stopped_when_freeze_returns(tmp_path):
    busy = "import threading\nfor _ in range(8): threading.Thread(target=lambda: [0 for _ in iter(int, 1)]).start()"
    program = Program("busy", [sys.executable, "-c", busy], tmp_path / "log", tmp_path)
    program.start()

    async def states():
        found = []
        for _ in range(20):
            await asyncio.sleep(0.01)
            await program.freeze()
            found.append(program.state)
            program.signal(signal.SIGCONT)
        await program.stop()
        return found

    assert asyncio.run(states()) == ["frozen"] * 20


def test_who_takes_the_lock_removes_the_socket_of_a_killed_supervisor_and_nobody_else_does(tmp_path):
    layout = Layout(tmp_path, tmp_path)
    layout.socket.touch()
    assert control.lock(layout)
    assert not layout.socket.exists()
    layout.socket.touch()
    assert not control.lock(layout)
    assert layout.socket.exists()


@pytest.mark.parametrize("reads", [False, True], ids=["with a reset", "without an answer"])
def test_a_load_balancer_that_ends_before_it_answers_is_told(tmp_path, reads):
    async def end(reader, writer):
        if reads:
            await reader.readline()
        writer.close()

    async def main():
        async with await asyncio.start_unix_server(end, tmp_path / "haproxy.sock"):
            await Balancer(Layout(tmp_path, tmp_path)).health()

    with pytest.raises(LocalError, match="the load balancer"):
        asyncio.run(main())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("errors", "reason"),
    [
        (
            [OSError(28, "No space\nleft")],
            r"OSError: \[Errno 28\] No space left \(test_local_parts.py, line \d+\)",
        ),
        ([TimeoutError()], r"TimeoutError \(test_local_parts.py, line \d+\)"),
        ([LocalError("initdb failed")], "initdb failed"),
        ([OSError(28, "No space left"), LocalError("initdb failed")], "initdb failed"),
    ],
)
def test_whatever_prevents_a_start_is_a_reason_of_one_line(tmp_path, monkeypatch, errors, reason):
    async def do_nothing(*_):
        pass

    def failing(error):
        async def fail(*_):
            raise error

        return fail

    parts = [(Monitor, "start"), (Balancer, "start")]
    parts += [(Supervisor, "_start_valkey"), (Supervisor, "_start_postgres")]
    for part, name in parts:
        monkeypatch.setattr(part, name, failing(errors.pop(0)) if errors else do_nothing)
    with pytest.raises(LocalError, match=f"^{reason}$"):
        asyncio.run(Supervisor(Layout(tmp_path, tmp_path)).start(1))
