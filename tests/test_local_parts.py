"""The service's own small parts, each alone: its pool, tokens, measurements, joined writes, faults."""

import asyncio
import random
import signal
import sys

import pytest

from environments.local.errors import LocalError
from environments.local.faults import FAULTS, read_parameters
from environments.local.process import Program
from environments.local.service.config import Config
from environments.local.service.context import Context
from environments.local.service.database import Pool, PoolTimeoutError
from environments.local.service.faults import ErrorBursts, InjectedError
from environments.local.service.telemetry import BUCKETS, Telemetry
from environments.local.service.tokens import TenantKeys, Tokens, hash_password, password_matches
from environments.local.service.transport import JoiningTransport


class FakeConnection:
    def __init__(self):
        self.closed = False

    def is_closed(self):
        return self.closed


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
        assert (pool.used, pool.acquired, pool.waited, pool.waiting) == (2, 2, 0, 0)

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


class FakeTransport(asyncio.Transport):
    def __init__(self):
        super().__init__()
        self.sent = []

    def write(self, data):
        self.sent.append(data)

    def close(self):
        self.sent.append("closed")


def test_writes_of_one_moment_leave_together():
    async def run():
        inner = FakeTransport()
        transport = JoiningTransport(inner)
        transport.write(b"head ")
        transport.write(b"body")
        assert inner.sent == []
        await asyncio.sleep(0)
        transport.write(b"next")
        transport.close()
        await asyncio.sleep(0)
        assert inner.sent == [b"head body", b"next", "closed"]

    asyncio.run(run())


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
