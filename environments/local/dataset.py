"""The seeded data: skewed as of real tenants, and reproducible from a seed.

Numpy generates the rows as columns, which are written in COPY's binary format: a record with fields
of fixed widths *is* a row of that format. Only names vary in width, so each name's rows are a
separate block.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from environments.local.service.tokens import TenantKeys

TENANTS = 50
USERS = 3000
ADMINS = 1000
DAYS = 30
_TITLES = ("Overview", "Performance", "Business", "Errors")
_KINDS = ("line", "bar", "number", "table")
DASHBOARDS = len(_TITLES)  # of a tenant
WIDGETS = 6  # of a dashboard
_EVENTS_PER_SESSION = 20
_CHUNK = 250_000  # events per chunk: some 25 MB
_PLATFORMS = ("web", "ios", "android", "server")
_POSTGRES_EPOCH = datetime(2000, 1, 1, tzinfo=UTC).timestamp()
_DAY = 86_400.0
_JUST = 0.001
"""Seconds from the last event to the end, from which on the events of runs are stored."""
_RHYTHM = 0.7
"""How far the rate of events is above its mean at 15:00 UTC, and below it at 03:00."""

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
# How values depend on each other: the powers of the hour's load, the tenant's pace and the session's
# pace that they are multiplied with. A latency is high where there are many requests at the time.
_DEPENDENCE = {
    "page.load_time": (0.4, 1.0, 1.0),
    "api.latency": (0.6, 1.0, 0.5),
    "render.time": (0.0, 0.5, 1.0),
    "api.requests": (1.0, 0.0, 0.0),
    "session.duration": (0.0, 0.0, 0.7),
    "cpu.load": (0.5, 0.3, 0.0),
    "memory.used": (0.2, 0.3, 0.0),
    "queue.depth": (1.2, 0.5, 0.0),
}

# fmt: off
TENANT_NAMES = (
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


def load_at(unix: Floats) -> Floats:
    """The rate of events at moments (Unix seconds), relative to its mean: a rhythm of a day."""
    wave: Floats = np.cos(2 * np.pi * (unix / _DAY - 15 / 24))
    return 1.0 + _RHYTHM * wave


def _moments(end: float, shares: Floats) -> Floats:
    """The moments (Unix seconds) before which these shares of the events happened."""
    hours: Floats = end - DAYS * _DAY + np.arange(DAYS * 24 + 1, dtype=float) * 3600.0
    passed = np.concatenate([[0.0], np.cumsum(load_at(hours[:-1] + 1800.0))])
    return np.asarray(np.interp(shares, passed / passed[-1], hours))


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
            f"user-{user}@{TENANT_NAMES[tenants[user - 1]]}.example",
            passwords[12 * (user - 1) : 12 * user],
            "admin" if is_admin[user - 1] else "member",
        )
        for user in range(1, USERS + 1)
    ]


def account_facts(accounts: list[Account], secret: str) -> list[dict[str, str]]:
    """The accounts with the facts needed to log in, in an order in which any first ones are of many tenants."""
    keys = TenantKeys(secret)
    mixed = np.random.default_rng(len(accounts)).permutation(len(accounts))
    return [
        {
            "username": account.username,
            "password": account.password,
            "tenant": TENANT_NAMES[account.tenant - 1],
            "role": account.role,
            "tenant_key": keys[account.tenant],
        }
        for account in (accounts[place] for place in mixed)
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


@dataclass(frozen=True, slots=True)
class RowIds:
    """The ids of the rows of tenants and users, in their order, and of the run that marks all rows."""

    tenants: Sequence[int]
    users: Sequence[int]
    run: str = ""

    def owned(self, chunk: Chunk) -> Chunk:
        """The same chunk, with these ids in place of the numbers from 1."""
        return replace(
            chunk,
            session_tenants=np.asarray(self.tenants)[chunk.session_tenants - 1],
            session_users=np.asarray(self.users)[chunk.session_users - 1],
        )


def make_chunks(events: int, seed: int, accounts: list[Account], end: float) -> Iterator[Chunk]:
    """All events of the thirty days before `end` (Unix seconds), in chronological order.

    None is at `end` or later.
    """
    rng = np.random.default_rng([seed, 2])
    users_of = [np.array([a.user for a in accounts if a.tenant == tenant + 1]) for tenant in range(TENANTS)]
    medians = np.array([metric[3] for metric in METRICS])
    powers = np.array([_DEPENDENCE.get(metric[0], (0.0, 0.0, 0.0)) for metric in METRICS])
    paces = rng.normal(0.0, 0.4, TENANTS)  # of the tenants: how slow each is, as a logarithm
    done = 0
    while done < events:
        count = min(_CHUNK, events - done)
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
        starts = _moments(end, np.sort(rng.uniform(done, done + count, sessions)) / events)
        times = starts[owner] + rng.exponential(60.0, count)
        np.minimum(times, end - _JUST, out=times)
        names = rng.choice(len(METRICS), count, p=zipf(len(METRICS)))
        load, tenant, session = powers[names].T
        factors = rng.normal(0.0, 0.5, count)
        factors += load * np.log(load_at(times))
        factors += tenant * paces[tenants[owner]]
        factors += session * rng.normal(0.0, 0.4, sessions)[owner]
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
            np.round(medians[names] * np.exp(factors), 3),
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


def _mark(run: str) -> tuple[str, Any]:
    """The column of the run's id: null if the rows have no run."""
    return (f"S{len(run)}", run.encode() or None)


def session_rows(chunk: Chunk, run: str = "") -> Iterator[bytes]:
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
                    _mark(run),
                ]
            )


def event_rows(chunk: Chunk, run: str = "") -> Iterator[bytes]:
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
                    _mark(run),
                ]
            )


class Rollup:
    """The number of events and the sum of their values, by tenant, day and name."""

    def __init__(self, end: float) -> None:
        # A day more than there are, because thirty days touch thirty-one dates.
        self._first = int(end // _DAY) - DAYS
        self._shape = (TENANTS, len(METRICS), DAYS + 1)
        self._events = np.zeros(self._shape, dtype=np.int64)
        self._totals = np.zeros(self._shape)

    def add(self, chunk: Chunk) -> None:
        """Add the events of a chunk."""
        # As PostgreSQL stores them, or an event could count for another day than it is stored with.
        stored = (_postgres_time(chunk.event_times) + int(_POSTGRES_EPOCH * 1e6)) // 1_000_000
        days = stored // int(_DAY) - self._first
        tenants = chunk.session_tenants[chunk.event_sessions] - 1
        places = np.ravel_multi_index((tenants, chunk.event_names, days), self._shape)
        size = self._events.size
        self._events += np.bincount(places, minlength=size).reshape(self._shape)
        self._totals += np.bincount(places, chunk.event_values, size).reshape(self._shape)

    def rows(self, tenants: Sequence[int]) -> Iterator[tuple[int, date, str, int, float]]:
        """The rows of the table; those of a tenant are adjacent, in the order of its key."""
        for tenant, row_id in enumerate(tenants):
            for name in sorted(range(len(METRICS)), key=lambda place: METRICS[place][0]):
                for day in range(DAYS + 1):
                    events = int(self._events[tenant, name, day])
                    if events:
                        when = date(1970, 1, 1) + timedelta(days=self._first + day)
                        total = float(self._totals[tenant, name, day])
                        yield row_id, when, METRICS[name][0], events, total


def make_dashboards(
    tenants: Sequence[tuple[int, str]], dashboard_ids: Sequence[int], widget_ids: Sequence[int]
) -> tuple[list[tuple[int, int, str]], list[tuple[int, int, int, str, str]]]:
    """The rows of dashboards and widgets of tenants (ids and names), with the given ids."""
    dashboards: list[tuple[int, int, str]] = []
    widgets: list[tuple[int, int, int, str, str]] = []
    for tenant, name in tenants:
        for title in _TITLES:
            dashboard = dashboard_ids[len(dashboards)]
            dashboards.append((dashboard, tenant, f"{title} of {name}"))
            for place in range(WIDGETS):
                metric = METRICS[(len(widgets) * 7) % len(METRICS)][0]
                widgets.append((widget_ids[len(widgets)], dashboard, tenant, _KINDS[place % 4], metric))
    return dashboards, widgets
