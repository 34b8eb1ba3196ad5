"""Seeds the database with skewed data as of real tenants, reproducible from a seed, and fast.

Numpy generates the rows as columns, which are sent in COPY's binary format: a record with fields of
fixed widths *is* a row of that format. Only names vary in width, so each name's rows are a separate
block.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncpg
import numpy as np
from numpy.typing import NDArray

from environments.local.layout import Layout, write_json
from environments.local.service.tokens import TenantKeys, hash_password

TENANTS = 50
USERS = 3000
ADMINS = 1000
DAYS = 30
_EVENTS_PER_SESSION = 20
_CHUNK = 250_000  # events per chunk: some 25 MB
_PLATFORMS = ("web", "ios", "android", "server")
_POSTGRES_EPOCH = datetime(2000, 1, 1, tzinfo=UTC).timestamp()

# Name, category, unit, median value. The first are the most frequent (Zipf).
METRICS = (
    ("page.view", "usage", "1", 1.0),
    ("page.load_time", "performance", "ms", 850.0),
    ("api.latency", "performance", "ms", 45.0),
    ("click", "usage", "1", 1.0),
    ("api.requests", "usage", "1", 12.0),
    ("session.duration", "usage", "s", 240.0),
    ("render.time", "performance", "ms", 120.0),
    ("search.query", "usage", "1", 1.0),
    ("cpu.load", "resources", "%", 35.0),
    ("memory.used", "resources", "MB", 900.0),
    ("error.client", "errors", "1", 1.0),
    ("download.size", "network", "kB", 640.0),
    ("queue.depth", "resources", "1", 8.0),
    ("error.server", "errors", "1", 1.0),
    ("checkout.value", "business", "EUR", 42.0),
    ("signup", "business", "1", 1.0),
    ("cache.miss", "performance", "1", 3.0),
    ("disk.used", "resources", "GB", 120.0),
    ("upload.size", "network", "kB", 210.0),
    ("invoice.amount", "business", "EUR", 310.0),
    ("login.failed", "errors", "1", 1.0),
    ("network.retries", "network", "1", 2.0),
    ("crash", "errors", "1", 1.0),
    ("refund", "business", "EUR", 25.0),
)
# fmt: off
_TENANT_NAMES = (
    "acme", "globex", "initech", "umbrella", "hooli", "stark", "wayne", "wonka", "cyberdyne", "tyrell",
    "soylent", "oscorp", "aperture", "massive", "vandelay", "dunder", "prestige", "gringotts", "monarch", "sirius",
    "zorg", "virtucon", "nakatomi", "weyland", "rekall", "octan", "duff", "krusty", "bluth", "pied",
    "sterling", "gekko", "oceanic", "dharma", "lumon", "delos", "veridian", "buynlarge", "spacely", "cogswell",
    "slate", "genco", "clampett", "ewing", "chotchkies", "sombra", "pollos", "entertainment", "omni", "momcorp",
)
# fmt: on

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def zipf(count: int, exponent: float = 1.0) -> Floats:
    """Probabilities of ranks 1 to `count`, each in proportion to rank^-exponent."""
    weights: Floats = np.arange(1, count + 1, dtype=float) ** -exponent
    return np.asarray(weights / weights.sum())


@dataclass(frozen=True, slots=True)
class Account:
    """A seeded account; `tenant` and `user` are row ids, counted from 1."""

    user: int
    tenant: int
    username: str
    password: str
    role: str


def make_accounts(seed: int) -> list[Account]:
    """Every tenant has at least an admin and a member; Zipf's law distributes the rest."""
    rng = np.random.default_rng([seed, 1])
    spread = rng.choice(TENANTS, USERS - 2 * TENANTS, p=zipf(TENANTS))
    tenants = np.sort(np.concatenate([np.repeat(np.arange(TENANTS), 2), spread]))
    first = np.searchsorted(tenants, np.arange(TENANTS))
    is_admin = np.zeros(USERS, dtype=bool)
    is_admin[first] = True
    others = np.setdiff1d(np.arange(USERS), np.concatenate([first, first + 1]))
    is_admin[rng.choice(others, ADMINS - TENANTS, replace=False)] = True
    passwords = rng.bytes(6 * USERS).hex()
    return [
        Account(
            user,
            int(tenants[user - 1]) + 1,
            f"user-{user}@{_TENANT_NAMES[tenants[user - 1]]}.example",
            passwords[12 * (user - 1) : 12 * user],
            "admin" if is_admin[user - 1] else "member",
        )
        for user in range(1, USERS + 1)
    ]


def account_facts(accounts: list[Account], secret: str) -> list[dict[str, str]]:
    """The accounts with the facts needed to log in."""
    keys = TenantKeys(secret)
    return [
        {
            "username": account.username,
            "password": account.password,
            "tenant": _TENANT_NAMES[account.tenant - 1],
            "role": account.role,
            "tenant_key": keys[account.tenant],
        }
        for account in accounts
    ]


@dataclass(frozen=True, slots=True)
class Chunk:
    """The sessions and events of a span of time, as columns. Times are Unix seconds."""

    session_ids: NDArray[np.uint64]  # two halves of a UUID each
    session_tenants: Integers
    session_users: Integers
    session_platforms: Integers
    session_starts: Floats
    session_sizes: Integers
    event_ids: NDArray[np.uint64]
    event_sessions: Integers  # index of the session
    event_names: Integers
    event_values: Floats
    event_times: Floats


def make_chunks(events: int, seed: int, accounts: list[Account], end: float) -> Iterator[Chunk]:
    """All events of the thirty days before `end` (Unix seconds), in chronological order."""
    rng = np.random.default_rng([seed, 2])
    users_of = [np.array([a.user for a in accounts if a.tenant == tenant + 1]) for tenant in range(TENANTS)]
    medians = np.array([metric[3] for metric in METRICS])
    done = 0
    while done < events:
        count = min(_CHUNK, events - done)
        # The first and last moment of this chunk: events are spread evenly over time.
        first, last = (end - DAYS * 86_400 * (1 - share / events) for share in (done, done + count))
        sessions = -(-count // _EVENTS_PER_SESSION)
        sizes = rng.geometric(1 / _EVENTS_PER_SESSION, sessions)
        owner = np.repeat(np.arange(sessions), sizes)
        # Surplus events are cut off, missing ones are added to randomly chosen sessions.
        owner = np.concatenate([owner[:count], rng.integers(0, sessions, max(0, count - len(owner)))])
        tenants = rng.choice(TENANTS, sessions, p=zipf(TENANTS))
        pick = rng.random(sessions)
        users = np.empty(sessions, dtype=np.int64)
        for tenant, candidates in enumerate(users_of):
            mine = tenants == tenant
            users[mine] = candidates[(pick[mine] * len(candidates)).astype(int)]
        starts = np.sort(rng.uniform(first, last, sessions))
        times = starts[owner] + rng.exponential(60.0, count)
        np.minimum(times, end, out=times)
        names = rng.choice(len(METRICS), count, p=zipf(len(METRICS)))
        yield Chunk(
            rng.integers(0, 2**64, (sessions, 2), dtype=np.uint64),
            tenants + 1,
            users,
            rng.choice(len(_PLATFORMS), sessions, p=[0.55, 0.2, 0.15, 0.1]),
            starts,
            np.bincount(owner, minlength=sessions),
            rng.integers(0, 2**64, (count, 2), dtype=np.uint64),
            owner,
            names,
            np.round(medians[names] * rng.lognormal(0.0, 0.5, count), 3),
            times,
        )
        done += count


def binary_rows(columns: list[tuple[str, Any]]) -> bytes:
    """Rows in COPY's binary format: the number of fields, then width and value of each, big-endian.

    Each column has a numpy type (`S7` is a text of seven bytes, `u16` a UUID as two halves) and
    values: one per row, or one for all rows. None is null.
    """
    rows = max(len(values) for _, values in columns if isinstance(values, np.ndarray))
    fields: list[tuple[str, Any]] = [("fields", ">i2")]
    for place, (kind, values) in enumerate(columns):
        fields.append((f"width{place}", ">i4"))
        if values is not None:
            fields.append((f"value{place}", (">u8", 2) if kind == "u16" else kind))
    table = np.empty(rows, dtype=fields)
    table["fields"] = len(columns)
    for place, (_, values) in enumerate(columns):
        if values is None:
            table[f"width{place}"] = -1
        else:
            table[f"width{place}"] = table.dtype[f"value{place}"].itemsize
            table[f"value{place}"] = values
    return table.tobytes()


def _postgres_time(unix: Floats) -> Integers:
    return ((unix - _POSTGRES_EPOCH) * 1e6).astype(np.int64)


def session_rows(chunk: Chunk) -> Iterator[bytes]:
    """The sessions, one block per platform."""
    for place, platform in enumerate(_PLATFORMS):
        mine = chunk.session_platforms == place
        if mine.any():
            yield binary_rows(
                [
                    ("u16", chunk.session_ids[mine]),
                    (">i4", chunk.session_tenants[mine]),
                    (">i4", chunk.session_users[mine]),
                    (f"S{len(platform)}", platform.encode()),
                    (">i8", _postgres_time(chunk.session_starts[mine])),
                    (">i4", chunk.session_sizes[mine]),
                ]
            )


def event_rows(chunk: Chunk) -> Iterator[bytes]:
    """The events, one block per name."""
    for place, (name, *_) in enumerate(METRICS):
        mine = np.flatnonzero(chunk.event_names == place)
        if len(mine):
            sessions = chunk.event_sessions[mine]
            yield binary_rows(
                [
                    ("u16", chunk.event_ids[mine]),
                    (">i4", chunk.session_tenants[sessions]),
                    ("u16", chunk.session_ids[sessions]),
                    (f"S{len(name)}", name.encode()),
                    (">f8", chunk.event_values[mine]),
                    (">i8", _postgres_time(chunk.event_times[mine])),
                ]
            )


async def fill(layout: Layout, dsn: str, events: int, seed: int, tell: Callable[[str], None]) -> bool:
    """Create the seeded data unless they exist and are younger than a week. Return whether it did.

    Rows that runs added since do not trigger a new creation, which removes them. Everything is one
    transaction, so an interruption leaves the old data.
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
        async with connection.transaction():
            await _empty(connection)
            await _fill_small_tables(connection, accounts)
            end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0).timestamp()
            done = 0
            for chunk in make_chunks(events, seed, accounts, end):
                await _copy(connection, "sessions", _SESSION_COLUMNS, session_rows(chunk))
                await _copy(connection, "metric_events", _EVENT_COLUMNS, event_rows(chunk))
                done += len(chunk.event_names)
                tell(f"seeding: {done:,} of {events:,} events")
            tell("seeding: sums and indexes")
            await connection.execute(_FINISH)
            await connection.execute("INSERT INTO seeding (events, seed) VALUES ($1, $2)", events, seed)
        await connection.execute("VACUUM (ANALYZE)")  # index-only scans from the start
        write_json(layout.accounts, account_facts(accounts, layout.secret()))
        return True
    finally:
        await connection.close()


_SESSION_COLUMNS = ("id", "tenant_id", "user_id", "platform", "started_at", "event_count")
_EVENT_COLUMNS = ("id", "tenant_id", "session_id", "name", "value", "time")
_FINISH = """
    SET LOCAL maintenance_work_mem = '512MB';
    INSERT INTO rollup SELECT tenant_id, (time AT TIME ZONE 'UTC')::date, name, count(*), sum(value)
        FROM metric_events GROUP BY 1, 2, 3 ORDER BY 1, 3, 2;  -- rows of a tenant are adjacent
    CALL index_events();
"""


async def _empty(connection: Any) -> None:
    """Empty the tables in the filling transaction: no write-ahead log, and indexes later."""
    await connection.execute("""
        TRUNCATE tenants, users, sessions, metric_events, metrics, rollup, rollup_pending, dashboards, widgets,
            idempotency_keys, seeding RESTART IDENTITY;
        ALTER TABLE metric_events DROP CONSTRAINT metric_events_pkey;
        DROP INDEX metric_events_by_name, metric_events_by_run;
    """)


async def _fill_small_tables(connection: Any, accounts: list[Account]) -> None:
    tenants = [(number, name) for number, name in enumerate(_TENANT_NAMES, start=1)]
    users = [
        # The salt is derived from the password, so that the same seed gives the same rows.
        (a.user, a.tenant, a.username, hash_password(a.password, a.password.encode()[:8]), a.role)
        for a in accounts
    ]
    dashboards: list[tuple[int, int, str]] = []
    widgets: list[tuple[int, int, int, str, str]] = []
    kinds = ("line", "bar", "number", "table")
    for tenant, name in tenants:
        for title in ("Overview", "Performance", "Business", "Errors"):
            dashboards.append((len(dashboards) + 1, tenant, f"{title} of {name}"))
            for place in range(6):
                metric = METRICS[(len(widgets) * 7) % len(METRICS)][0]
                widgets.append((len(widgets) + 1, len(dashboards), tenant, kinds[place % 4], metric))
    for table, columns, rows in (
        ("tenants", ("id", "name"), tenants),
        ("users", ("id", "tenant_id", "username", "password_hash", "role"), users),
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


async def _copy(connection: Any, table: str, columns: tuple[str, ...], blocks: Iterator[bytes]) -> None:
    async def source() -> AsyncIterator[bytes]:
        yield b"PGCOPY\n\xff\r\n\0" + bytes(8)  # signature, flags, length of the header's extension
        for block in blocks:
            yield block
        yield b"\xff\xff"

    await connection.copy_to_table(table, source=source(), columns=columns, format="binary")
