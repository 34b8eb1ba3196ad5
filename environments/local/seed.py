"""Seeds the database with the data of `environments.local.dataset`, fast.

A thread generates the next rows while PostgreSQL stores the last ones, so two cores work. More
connections would not be faster, and would give up the one transaction.
"""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncpg

from environments.local.dataset import (
    DASHBOARDS,
    METRICS,
    TENANT_NAMES,
    TENANTS,
    USERS,
    WIDGETS,
    Account,
    Chunk,
    Rollup,
    RowIds,
    account_facts,
    event_rows,
    make_accounts,
    make_chunks,
    make_dashboards,
    session_rows,
)
from environments.local.errors import LocalError
from environments.local.layout import Layout, write_json
from environments.local.service.tokens import hash_password

_BYTES_PER_EVENT = 330
"""On disk: the row, its indexes, its share of a session, and what building the indexes takes."""
_RESERVE = 300_000_000
"""Bytes that stay free: the write-ahead log of a load."""
_LINE_SECONDS = 0.5
_BAR = 24


class Progress:
    """Tells how far the seeding is: a bar, the rows per second and the time left."""

    def __init__(
        self, events: int, tell: Callable[[str], None], now: Callable[[], float], then: str = "the indexes"
    ) -> None:
        self._events, self._tell, self._now, self._then = events, tell, now, then
        self._began = self._told = now()

    def at(self, done: int) -> None:
        """Tell of it, at most twice a second."""
        now = self._now()
        if now - self._told < _LINE_SECONDS and done < self._events:
            return
        self._told = now
        rate = done / max(now - self._began, 1e-9)
        full = int(_BAR * done / self._events)
        self._tell(
            f"seeding: [{'#' * full}{'-' * (_BAR - full)}] {done:,} of {self._events:,} events, "
            f"{rate:,.0f} rows/s, {(self._events - done) / rate:.0f} s left, then {self._then}"
        )


def check_space(layout: Layout, events: int, free: int) -> None:
    """Check that the data fit in `free` bytes beside those that they replace. Raises LocalError."""
    needed = events * _BYTES_PER_EVENT + _RESERVE
    if needed > free:
        most = max(0, (free - _RESERVE) // _BYTES_PER_EVENT // 1000)
        advice = f"such as --events {most}k" if most else "and there is too little for any"
        raise LocalError(
            f"{events:,} events need {needed / 1e9:.1f} GB in {layout.directory}, and {free / 1e9:.1f} GB "
            f"are free: free some, or seed fewer, {advice}"
        )


async def fill(layout: Layout, dsn: str, events: int, seed: int, tell: Callable[[str], None]) -> bool:
    """Create the seeded data unless they exist and are younger than a week. Return whether it did.

    Rows that runs added since do not trigger a new creation, which removes them. Everything is one
    transaction, so an interruption leaves the old data. Raises LocalError if the disk is too small.
    """
    accounts = make_accounts(seed)
    connection = await asyncpg.connect(dsn, ssl=False)
    try:
        if await connection.fetchval(
            "SELECT true FROM seeding WHERE events = $1 AND seed = $2 AND made_at > now() - interval '7 days'",
            events,
            seed,
        ):
            write_json(layout.accounts, account_facts(accounts, layout.secret()))
            return False
        check_space(layout, events, shutil.disk_usage(layout.directory).free)
        async with connection.transaction():
            end = last_hour()
            await _empty(connection, end)
            await _fill_small_tables(connection, accounts)
            ids = RowIds(range(1, TENANTS + 1), range(1, USERS + 1))
            progress = Progress(events, tell, time.monotonic)
            sums = await copy_events(connection, events, seed, accounts, ids, end, progress)
            tell("seeding: building the indexes")
            await copy_sums(connection, sums, ids)
            await connection.execute(_FINISH)
            await connection.execute(
                "INSERT INTO seeding (events, seed, seeded_until) VALUES ($1, $2, $3)", events, seed, end
            )
        write_json(layout.accounts, account_facts(accounts, layout.secret()))
        tell("seeding: collecting statistics")
        await connection.execute("VACUUM (ANALYZE)")  # index-only scans from the start
        await connection.execute("CALL make_runs_partition($1)", end)  # without statistics
        return True
    finally:
        await connection.close()


def last_hour() -> datetime:
    """The beginning of this hour: seeded events are older."""
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


async def copy_events(
    connection: Any,
    events: int,
    seed: int,
    accounts: list[Account],
    ids: RowIds,
    end: datetime,
    progress: Progress,
) -> Rollup:
    """Store the sessions and events of the thirty days before `end`; return the sums of the events."""
    sums = Rollup(end.timestamp())
    done = 0
    chunks = _encoded(make_chunks(events, seed, accounts, end.timestamp()), sums, ids)
    coming = asyncio.create_task(asyncio.to_thread(next, chunks, None))
    while (encoded := await coming) is not None:
        coming = asyncio.create_task(asyncio.to_thread(next, chunks, None))
        await _copy(connection, "sessions", _SESSION_COLUMNS, encoded.sessions)
        await _copy(connection, "metric_events", _EVENT_COLUMNS, encoded.events)
        done += encoded.count
        progress.at(done)
    return sums


async def copy_sums(connection: Any, sums: Rollup, ids: RowIds) -> None:
    """Store the sums of the events."""
    await connection.copy_records_to_table("rollup", records=sums.rows(ids.tenants), columns=_ROLLUP_COLUMNS)


_SESSION_COLUMNS = ("id", "tenant_id", "user_id", "platform", "started_at", "event_count", "run_id")
_EVENT_COLUMNS = ("id", "tenant_id", "session_id", "name", "value", "time", "run_id")
_ROLLUP_COLUMNS = ("tenant_id", "day", "name", "events", "total")
# PostgreSQL builds each index with a second process, which reads and sorts a half.
_FINISH = """
    SET LOCAL maintenance_work_mem = '512MB';
    SET LOCAL max_parallel_maintenance_workers = 1;
    CALL index_events();
    INSERT INTO rollup_seeded TABLE rollup;
"""


@dataclass(frozen=True, slots=True)
class _Encoded:
    """A chunk as blocks of COPY's format."""

    count: int
    sessions: list[bytes]
    events: list[bytes]


def _encoded(chunks: Iterator[Chunk], sums: Rollup, ids: RowIds) -> Iterator[_Encoded]:
    for chunk in chunks:
        sums.add(chunk)
        owned = ids.owned(chunk)
        yield _Encoded(
            len(chunk.event_names), list(session_rows(owned, ids.run)), list(event_rows(owned, ids.run))
        )


async def _empty(connection: Any, end: datetime) -> None:
    """Empty the tables in the filling transaction: no write-ahead log, and indexes later."""
    await connection.execute("""
        TRUNCATE tenants, users, sessions, metrics, rollup, rollup_seeded, rollup_pending, dashboards, widgets,
            idempotency_keys, seeding RESTART IDENTITY;
        ALTER TABLE metric_events DROP CONSTRAINT metric_events_pkey;
        DROP INDEX metric_events_by_name, metric_events_by_session, metric_events_by_run;
    """)
    await connection.execute("CALL make_partitions($1)", end)


async def _fill_small_tables(connection: Any, accounts: list[Account]) -> None:
    tenants = list(enumerate(TENANT_NAMES, start=1))
    no_run = None
    users = [
        # The salt is derived from the password, so that the same seed gives the same rows.
        (a.user, a.tenant, a.username, hash_password(a.password, a.password.encode()[:8]), a.role, no_run)
        for a in accounts
    ]
    dashboards, widgets = make_dashboards(
        tenants, range(1, DASHBOARDS * TENANTS + 1), range(1, DASHBOARDS * WIDGETS * TENANTS + 1)
    )
    for table, columns, rows in (
        ("tenants", ("id", "name", "run_id"), [(*tenant, no_run) for tenant in tenants]),
        ("users", ("id", "tenant_id", "username", "password_hash", "role", "run_id"), users),
        ("metrics", ("name", "category", "unit"), [metric[:3] for metric in METRICS]),
        ("dashboards", ("id", "tenant_id", "title"), dashboards),
        ("widgets", ("id", "dashboard_id", "tenant_id", "kind", "name"), widgets),
    ):
        await connection.copy_records_to_table(table, records=rows, columns=columns)
    # Ids of rows created later must not collide with seeded ones.
    await connection.execute("""
        SELECT setval(pg_get_serial_sequence('tenants', 'id'), (SELECT max(id) FROM tenants)),
            setval(pg_get_serial_sequence('users', 'id'), (SELECT max(id) FROM users)),
            setval(pg_get_serial_sequence('dashboards', 'id'), (SELECT max(id) FROM dashboards)),
            setval(pg_get_serial_sequence('widgets', 'id'), (SELECT max(id) FROM widgets))
    """)


async def _copy(connection: Any, table: str, columns: tuple[str, ...], blocks: list[bytes]) -> None:
    async def source() -> AsyncIterator[bytes]:
        yield b"PGCOPY\n\xff\r\n\0" + bytes(8)  # signature, flags, length of the header's extension
        for block in blocks:
            yield block
        yield b"\xff\xff"

    await connection.copy_to_table(table, source=source(), columns=columns, format="binary")
