"""Is the database up? Its probes, in virtual time."""

import asyncio

import asyncpg
import pytest

from loadkit.engine.uptime import INTERVAL, probes_of
from loadkit.recording.run import DATABASE
from loadkit.target import Address, Target
from tests.virtual_time import VirtualLoop

SECOND = 1.0
"""The time that a probe has."""


class FakeDatabase:
    """Takes a time to connect and to answer, in seconds; while it hangs, neither goes on."""

    def __init__(self, connecting: float = 0.01, answering: float = 0.01, hangs=(0.0, 0.0)) -> None:
        self.connecting, self.answering, self.hangs = connecting, answering, hangs
        self.connections: list[FakeConnection] = []
        self.answers = UP

    async def work(self, seconds: float) -> None:
        begun = asyncio.get_running_loop().time()
        start, end = self.hangs
        done = begun + seconds
        if begun < end and done > start:
            done = end + seconds
        await asyncio.sleep(done - begun)

    async def connect(self, _address: str, **_: object) -> "FakeConnection":
        await self.work(self.connecting)
        self.connections.append(FakeConnection(self))
        return self.connections[-1]

    @property
    def open_ones(self) -> int:
        return sum(not connection.is_closed for connection in self.connections)


class FakeConnection:
    def __init__(self, database: FakeDatabase) -> None:
        self.database, self.is_closed, self.queries = database, False, 0

    async def execute(self, _query: str) -> None:
        assert not self.is_closed
        self.queries += 1
        await self.database.work(self.database.answering)
        if self.database.answers is not UP:
            raise self.database.answers

    def terminate(self) -> None:
        self.is_closed = True


UP, DOWN = True, False


def probing(monkeypatch, database: FakeDatabase, ask):
    """What `ask` returns, which gets a probe of a database in virtual time."""
    monkeypatch.setattr(asyncpg, "connect", database.connect)

    async def run():
        target = Target("t", "http://h", database=Address("postgresql://u@h/d"))
        probe = probes_of(target, ("db",))[DATABASE]()
        try:
            return await ask(probe)
        finally:
            await probe.close()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(run())


def sent_for(seconds: float):
    """Sends probes when they are due; gives the moments of those that were not answered in their second."""

    async def is_up(probe) -> bool:
        try:
            async with asyncio.timeout(SECOND):
                return await probe.is_up()
        except TimeoutError:
            return DOWN

    async def ask(probe) -> list[float]:
        due = [number * INTERVAL for number in range(round(seconds / INTERVAL))]
        tasks = []
        for moment in due:
            await asyncio.sleep(moment - asyncio.get_running_loop().time())
            tasks.append(asyncio.create_task(is_up(probe)))
        answers = await asyncio.gather(*tasks)
        return [moment for moment, answer in zip(due, answers, strict=True) if not answer]

    return ask


def test_a_database_that_hangs_for_a_moment_is_down_for_no_longer(monkeypatch) -> None:
    database = FakeDatabase(connecting=0.07, hangs=(10.0, 11.2))
    down = probing(monkeypatch, database, sent_for(60))
    # A probe that was sent in the last second of the hang has its answer in time, or nearly.
    assert 3 <= len(down) <= 8
    assert min(down) > 9.9
    assert max(down) < 10.4


def test_a_database_whose_answers_take_longer_than_the_time_between_probes_is_up(monkeypatch) -> None:
    assert probing(monkeypatch, FakeDatabase(connecting=0.42, answering=0.06), sent_for(60)) == []


def test_a_database_that_does_not_answer_within_a_second_is_down(monkeypatch) -> None:
    down = probing(monkeypatch, FakeDatabase(answering=1.5), sent_for(2))
    assert len(down) == 40


def test_probes_in_turn_share_one_connection(monkeypatch) -> None:
    database = FakeDatabase()
    assert probing(monkeypatch, database, sent_for(10)) == []
    assert [connection.queries for connection in database.connections] == [200]
    assert database.open_ones == 0


def test_after_probes_at_once_one_connection_is_kept(monkeypatch) -> None:
    database = FakeDatabase()

    async def ask(probe):
        answers = await asyncio.gather(*(probe.is_up() for _ in range(3)))
        kept = database.open_ones
        return answers, kept, await probe.is_up(), len(database.connections)

    assert probing(monkeypatch, database, ask) == ([UP, UP, UP], 1, UP, 3)


@pytest.mark.parametrize(
    "answer",
    [
        asyncpg.PostgresError("the database is shutting down"),
        asyncpg.InterfaceError("closed"),
        asyncpg.InternalClientError("got result for unknown protocol state"),
    ],
)
def test_a_connection_that_fails_is_down_and_opened_again(monkeypatch, answer) -> None:
    database = FakeDatabase()

    async def ask(probe):
        first = await probe.is_up()
        database.answers = answer
        second, left = await probe.is_up(), database.open_ones
        database.answers = UP
        return first, second, left, await probe.is_up()

    assert probing(monkeypatch, database, ask) == (UP, DOWN, 0, UP)
    assert len(database.connections) == 2
