"""A failed or slow query is shown with its statement, its tenant and the server's words, and no values."""

import asyncio
import math

import asyncpg
import pytest

from loadkit.drivers.base import NoResponse
from loadkit.drivers.masking import HIDDEN, SHOWN, Mask
from loadkit.drivers.postgres import exchanges
from loadkit.drivers.postgres.exchanges import described
from loadkit.journey import journey
from loadkit.queries import Query
from loadkit.recording.sample import OK
from loadkit.recording.timing import ACQUIRE, QUERY, REQUEST
from loadkit.users.lifecycle import JOURNEY_LABEL, Lifecycle
from tests.database_user import queries_in, visited, waited
from tests.postgres_server import PASSWORD, PostgresServer, postgres, postgres_server

__all__ = ["postgres", "postgres_server"]

SECRET = "S3CRET-text"
NAMED = "-- name: tenant overview\n-- for: a test\n-- example: [3]\nSELECT * FROM item WHERE id <= $1::integer AND 'x' <> 'y'\n"


def examples_of(visit, timing=QUERY):
    return [each for each in visit.report.examples if each.timing == timing.key]


def error(state="22P02", message="m", **fields):
    codes = {"detail": "D", "constraint": "n", "table": "t", "column": "c"}
    return asyncpg.PostgresError.new(
        {"S": "ERROR", "C": state, "M": message} | {codes[name]: value for name, value in fields.items()}
    )


# --- what is kept


def test_a_failed_query_is_an_example_with_its_code_statement_user_and_tenant(
    postgres: PostgresServer,
) -> None:
    async def use(visit) -> None:
        with pytest.raises(NoResponse):
            await visit.db.fetch("SELECT $1::text, nothing FROM item", SECRET, label="broken")

    (example,) = examples_of(visited(postgres.dsn(), use))
    assert (example.label, example.user, example.tenant) == ("broken", 0, "3")
    assert example.outcome == "undefined column (42703)"
    assert "SELECT $1::text, nothing FROM item" in example.exchange.request
    assert f"$1 = {HIDDEN} (str, {len(SECRET)} long)" in example.exchange.request
    assert example.exchange.answer == '42703 column "nothing" does not exist'


def test_a_query_that_is_unfinished_at_the_end_shows_its_statement(postgres: PostgresServer) -> None:
    async def use(visit) -> None:
        for query in (
            visit.db.fetch("SELECT pg_sleep(60), 1", label="first"),
            visit.db.execute("SELECT pg_sleep(60), 2", label="second"),
        ):
            asking = asyncio.create_task(query)
            await asyncio.sleep(0.3)
            asking.cancel()
            await asyncio.wait((asking,))

    first, second = examples_of(visited(postgres.dsn(), use))
    assert (first.outcome, first.user, first.tenant) == ("unfinished", 0, "3")
    assert "SELECT pg_sleep(60), 1" in first.exchange.request
    assert (second.outcome, second.exchange.answer) == ("unfinished", "")
    assert "SELECT pg_sleep(60), 2" in second.exchange.request


def test_a_journey_that_ends_with_a_query_that_is_not_recorded_shows_that_query(
    postgres: PostgresServer,
) -> None:
    @journey("j", uses=("db",))
    async def work(user) -> None:
        await user.db.fetch("SELECT 6", label="six")
        await user.db.fetch("SELECT $1::text, nothing", SECRET, label="x", record=False)

    async def use(visit) -> None:
        await Lifecycle(visit.user, visit.pacer).follow(work, is_once=True)

    visit = visited(postgres.dsn(), use)
    (six,) = examples_of(visit)
    assert "SELECT 6" in six.exchange.request
    (example,) = examples_of(visit, REQUEST)
    assert (example.label, example.outcome) == (JOURNEY_LABEL, "undefined column (42703)")
    assert "SELECT $1::text, nothing" in example.exchange.request
    assert f"$1 = {HIDDEN} (str, {len(SECRET)} long)" in example.exchange.request
    assert example.exchange.answer == '42703 column "nothing" does not exist'


def test_of_a_named_query_the_slowest_are_kept_with_name_and_rows(postgres: PostgresServer, tmp_path) -> None:
    folder = queries_in(tmp_path, one=NAMED)

    async def use(visit) -> None:
        await visit.db.fetch("tenant overview", 10)
        await visit.db.fetchrow("tenant overview", 10)

    first, _ = examples_of(visited(postgres.dsn(), use, queries=folder))
    assert (first.outcome, first.label) == (OK, "tenant overview")
    assert first.exchange.request.splitlines()[0] == 'query "tenant overview"'
    assert "'x' <> 'y'" in first.exchange.request
    assert first.exchange.answer == "2 rows"


def test_a_query_that_a_check_fails_is_shown_with_its_statement(postgres: PostgresServer) -> None:
    async def use(visit) -> None:
        for _ in range(8):
            await visit.db.fetchval("SELECT pg_sleep(0.02)", label="seven")
        await visit.db.fetchval("SELECT 7", label="seven")
        visit.user.check(False, "is eight")

    (example,) = [each for each in examples_of(visited(postgres.dsn(), use)) if each.outcome != OK]
    assert example.outcome == "check: is eight"
    assert "SELECT 7" in example.exchange.request


def test_each_example_tells_of_its_own_query(postgres: PostgresServer) -> None:
    async def use(visit) -> None:
        await visit.db.execute("UPDATE stock SET amount = amount", label="write")
        with pytest.raises(NoResponse):
            await visit.db.fetch("SELECT 1/0", label="nought")
        await visit.db.executemany("SELECT $1::int", [(1,), (2,)], label="many")
        await visit.db.fetchval("SELECT 9", label="unrecorded", record=False)
        async with visit.db.transaction("t"):
            pass

    told = {each.label: each.exchange for each in examples_of(visited(postgres.dsn(), use))}
    assert "UPDATE stock" in told["write"].request
    assert told["write"].answer == "2 rows"
    assert "SELECT 1/0" in told["nought"].request
    assert told["nought"].answer == "22012 division by zero"
    assert "a batch of 2 rows" in told["many"].request
    assert told["t: begin"].request == told["t: commit"].request == ""
    assert "unrecorded" not in told


def test_a_wait_for_a_connection_is_an_example_of_its_own_timing(postgres: PostgresServer) -> None:
    seconds = 0.0

    async def use(visit) -> None:
        nonlocal seconds
        seconds = await waited(visit, postgres)
        for _ in range(3):
            await visit.db.fetchval("SELECT 1", label="at once")

    visit = visited(postgres.dsn(), use, pool=1)
    waits = {each.label: each for each in examples_of(visit, ACQUIRE)}
    assert set(waits) == {"holder", "waiter"}  # the first opened the connection
    assert waits["waiter"].seconds >= seconds > 0
    assert "1 of 1 in use" in waits["waiter"].exchange.answer


def test_a_query_that_is_no_example_is_not_put_into_words(postgres: PostgresServer, monkeypatch) -> None:
    calls = []
    monkeypatch.setattr(exchanges, "described", lambda *_: calls.append(1) or exchanges.Exchange())

    async def use(visit) -> None:
        meter = visit.user.meter
        for _ in range(5):
            await visit.db.fetchval("SELECT 1", label="same")
        meter.settle()
        slow_from = meter.recorder.examples.slow_from(QUERY)
        assert slow_from["same"] > 0
        slow_from["same"] = math.inf  # whatever the machine does, the five stay the slowest
        for _ in range(20):
            await visit.db.fetchval("SELECT 1", label="same")

    visited(postgres.dsn(), use)
    assert len(calls) == 5


def test_the_password_of_the_database_is_masked_wherever_the_server_says_it(postgres: PostgresServer) -> None:
    async def use(visit) -> None:
        with pytest.raises(NoResponse):
            await visit.db.execute(f"DO $$BEGIN RAISE EXCEPTION 'seen: {PASSWORD}'; END$$", label="raise")

    (example,) = examples_of(visited(postgres.dsn(), use))
    assert example.exchange.answer == f"P0001 seen: {HIDDEN}"
    assert PASSWORD not in example.exchange.request


def test_what_a_settled_operation_could_tell_is_forgotten(postgres: PostgresServer) -> None:
    async def use(visit) -> None:
        await visit.db.fetchval("SELECT 1", label="one")
        assert visit.user.meter.exchange is not None
        visit.user.meter.settle()
        assert visit.user.meter.exchange is None

    visited(postgres.dsn(), use)


# --- how it is told


@pytest.mark.parametrize(
    ("sql", "arguments", "failure"),
    [
        ("INSERT INTO x VALUES ($1)", (SECRET,), error(message=f"no room for {SECRET}")),
        ("INSERT INTO x VALUES ($1)", ([SECRET],), error(message=f"no room for {SECRET}")),
        ("INSERT INTO x VALUES ($1)", ({"password": SECRET},), error(message=f'invalid: {{"password": "{SECRET}"}}')),
        ("INSERT INTO x VALUES ($1)", (f'{{"token": "{SECRET}"}}',), error(message=f"no room for {SECRET}")),
        ("SELECT 1", (), error(message=f'invalid input syntax for type integer: "{SECRET}"')),
        ("SELECT 1", (), error(message=f"Failing row contains (1, {SECRET}).")),
        ("SELECT 1", (), error(message=f"Key (name)=({SECRET}) already exists.")),
        ("SELECT 1", (), error(message=f"Key (name, text)=(1, a) {SECRET}) already exists.")),
        (f"SELECT '{SECRET}'", (), None),
        (f"SELECT 'it''s {SECRET}', $${SECRET}$$, $a${SECRET}$a$, E'{SECRET}'", (), None),
        (f"SELECT '{SECRET}", (), None),
        ("SELECT '" + "x" * 5000 + SECRET, (), None),
        (f"ALTER ROLE shop PASSWORD '{SECRET}'", (), error(message=f"no {SECRET}")),
        (f"SELECT 1 -- password={SECRET}", (), None),
        (f"SELECT 1 -- a user's note\n, '{SECRET}'", (), None),
        (f"SELECT /* it's {SECRET} */ 1", (), None),
        (f"SELECT \"it's\", '{SECRET}'", (), None),
    ],
)  # fmt: skip
def test_no_value_of_a_row_or_of_an_argument_is_shown(sql, arguments, failure):
    told = described(Mask(), Query("", sql), arguments, 0, None, failure)
    assert SECRET not in told.request + told.answer
    assert HIDDEN in told.request + told.answer


def test_names_of_relations_and_constraints_are_shown():
    told = described(
        Mask(),
        None,
        (),
        0,
        None,
        error("23505", 'duplicate key value violates unique constraint "event_pkey"', table="event"),
    )
    assert told.answer.splitlines() == [
        '23505 duplicate key value violates unique constraint "event_pkey"',
        "table: event",
    ]


def test_a_long_statement_and_many_arguments_are_cut():
    told = described(Mask(), Query("long", "SELECT 1 -- " + "x" * 10**6), range(100_000), 0, 3, None)
    assert len(told.request) < 2 * SHOWN
    assert "(99980 more)" in told.request


@pytest.mark.parametrize(
    "sql", [r"SELECT E'it\'s SECRET'", r"SELECT e'SECRET\'', 1", "SELECT E'it\\'s SECRET\\"]
)
def test_of_a_text_with_escapes_nothing_is_shown(sql):
    shown = described(Mask(), Query("", sql), (), 0, None, None)
    assert "SECRET" not in shown.request + shown.answer
