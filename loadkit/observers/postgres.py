"""Reads the statistics, plans and stored rows of PostgreSQL, with a role that may only read.

While the load runs, a thread with its own connection reads the statistics once a second. After the
load, the observer compares the writes of the run with the stored rows, and takes the plans of the
key queries. No error here ends the run: a `problem` states in one sentence what is not known. All
connections and statements have time-outs. On the local server, a reading took 3 ms, and 2 ms of
this process's processor time.
"""

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self, TypeVar

import asyncpg
import numpy as np

from loadkit.clock import MonotonicClock
from loadkit.observers.database import (
    CACHE_HITS,
    CONNECTIONS,
    DEAD_TUPLES,
    LOCK_WAITS,
    MEASURES,
    DatabaseFacts,
    QueryPlan,
    StoredWrites,
    Waiting,
)
from loadkit.observers.observation import Judged, Observation, Reading, Series
from loadkit.observers.plans import Relation, read_plan
from loadkit.observers.statistics import (
    CHECKPOINTS,
    CHECKPOINTS_17,
    INDEX_NAMES,
    INDEX_ROWS,
    RELATIONS,
    RIGHTS,
    SAMPLE,
    STATEMENT_ROWS,
    STATEMENTS_SCHEMA,
    TABLE_ROWS,
    WAITERS,
    KeyQuery,
    Snapshot,
    dropped_between,
    gain,
    has_fallen,
    indexes_between,
    statements_between,
    tables_between,
    without_values,
)
from loadkit.observers.stored_writes import Places, Written, compare_writes
from loadkit.target import Address, masked
from loadkit.units import Unit

__all__ = ["DatabaseAccess", "PostgresObserver"]

_INTERVAL = 1.0
"""Seconds between readings."""
_CONNECT, _ANSWER = 5.0, 5.0
"""Seconds to connect, and seconds for one statement of the observer."""
_COMPARE = 120.0
"""Seconds to read the ids of all rows of a run; a million take about five."""
_EXAMPLE = 5.0
"""Seconds that the example of a key query may run. After that, only its estimated plan is taken."""
_FLUSH = 11.0
"""Seconds until the server processes have reported their statistics. From PostgreSQL 15 on, an idle
process may take ten seconds (PGSTAT_IDLE_INTERVAL)."""
_ALL_PLANS = 60.0
"""Seconds after which no further example is executed."""
_IS_STANDBY = "SELECT pg_is_in_recovery()"
_LATE = "it is a standby, which may not have the latest rows; name the primary server"
_WAITING = 20
"""The most statements waiting for a lock whose text a run keeps."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DatabaseAccess:
    """Which database is observed, and with which roles."""

    observer: Address
    """The database, with a role that may only read, and that sees the rows of all tenants."""
    service: Address = Address("")  # noqa: RUF009  nothing changes it
    """The database, with the service's role, whose plans include the tenant policies; empty for
    none."""
    queries: tuple[KeyQuery, ...] = ()
    tenant: str = ""
    """The setting that row-level security reads; empty for none."""
    example_tenant: str = ""
    """SQL that returns the tenant for the plans: "SELECT id FROM tenants WHERE name = 'acme'"."""
    stored: str = ""
    """SQL that lists the rows of a run: "SELECT id, tenant FROM events WHERE run_id = $1"."""
    tenants: frozenset[str] = frozenset()
    """The tenants of the accounts."""
    awaits_deadlocks: bool = False
    """Is the number of deadlocks read only when each server process has reported its own?"""


class PostgresObserver:
    """Reads the statistics of a database once a second, in a thread, while it is open."""

    def __init__(self, access: DatabaseAccess) -> None:
        """Configure the observer. It does not connect yet."""
        self._access = access
        self._clock = MonotonicClock()
        self._rows: list[tuple[float, Mapping[str, Any]]] = []
        self._starts: list[tuple[float, float]] = []
        """When PostgreSQL was seen, and when it had started by its own clock."""
        self._waiting: list[tuple[float, str, str]] = []
        self._gone: dict[tuple[int, str], float] = {}
        """When an index from the beginning of the run was first missing, by its table and name."""
        self._begin: Snapshot | None = None
        self._end: Snapshot | None = None
        self._last: Snapshot | None = None
        """The counts when each server process has reported its own; None if they were not read."""
        self._cost = 0.0
        self._problem = ""
        self._problems: dict[str, str] = {}
        self._version = self._role = ""
        self._is_ready, self._is_over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @property
    def names(self) -> Sequence[str]:
        """The names of its measures."""
        return tuple(MEASURES)

    def __enter__(self) -> Self:
        self._thread.start()
        self._is_ready.wait(_CONNECT + _ANSWER)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._thread.join(_CONNECT + 6 * _ANSWER)

    # --- the results

    def observations(self) -> dict[str, Observation]:
        """The readings of each second, by the name of the measure."""
        times = np.array([at for at, _ in self._rows])

        def column(name: str) -> tuple[Series, ...]:
            values = np.array(
                [np.nan if row[name] is None else float(row[name]) for _, row in self._rows], np.float64
            )
            return (Series("", times, values),)

        problem = "" if self._rows else self._problem or "no reading of its statistics succeeded"
        problem = problem or self._problems.get("activity", "")
        found = {
            name: Observation(
                name,
                Reading.GAUGE,
                Unit.NUMBER.value,
                column(key) if self._rows else (),
                _INTERVAL,
                judged=Judged.MAXIMUM if name == DEAD_TUPLES else Judged.P95,
                query=MEASURES[name],
                source=str(self._access.observer),
                problem=problem if name in {CONNECTIONS, LOCK_WAITS} or not self._rows else "",
            )
            for name, key in ((CONNECTIONS, "connections"), (LOCK_WAITS, "waiting"), (DEAD_TUPLES, "dead"))
        }
        hits = Observation(
            CACHE_HITS,
            Reading.COUNTER,
            Unit.RATIO.value,
            column("hits") if self._rows else (),
            _INTERVAL,
            capacity=column("accesses") if self._rows else (),
            capacity_reading=Reading.COUNTER,
            judged=Judged.MEAN,
            query=MEASURES[CACHE_HITS],
            source=str(self._access.observer),
            problem=problem if not self._rows else "",
        )
        return {CACHE_HITS: hits, **found}

    def facts(self, run_id: str, started: float, ended_at: float, writes: Written) -> DatabaseFacts:
        """Compare the writes with the stored rows, take the plans, and return all facts of a run.

        It never raises. It usually takes a few seconds, or 11 s if deadlocks are awaited, and at
        most four minutes.

        Args:
            run_id: the id that the rows of the run carry.
            started: the start instant in Unix seconds.
            ended_at: when the load ended, in seconds after the start instant.
            writes: the records that the users of the run wrote.

        """
        due, has_writes = len(writes.tables[0]), any(map(len, writes.tables))
        stored: StoredWrites | None = None
        plans: tuple[QueryPlan, ...] = ()
        if has_writes and self._access.stored:
            stored = self._part("writes", self._stored(run_id, writes), _COMPARE + _CONNECT)
        elif has_writes:
            self._problems["writes"] = (
                "the environment has no [database] stored, which lists the ids of a run"
            )
        if self._access.queries:
            relations = self._part("plans", self._relations(), _CONNECT + 2 * _ANSWER)
            if relations:
                seconds = _ALL_PLANS + 2 * _EXAMPLE + _CONNECT
                plans = self._part("plans", self._plans(relations), seconds) or ()
        if self._access.awaits_deadlocks and self._end is not None:
            rest = max(0.0, self._end.at + _FLUSH - self._clock.unix_now())
            self._last = self._part("deadlocks", self._counts_after(rest), rest + _CONNECT + _ANSWER)
        facts = self._differences(started)
        return replace(
            facts,
            version=self._version,
            role=self._role,
            samples=sum(started <= at <= started + ended_at for at, _ in self._rows),
            due=int(ended_at / _INTERVAL),
            cost=self._cost / max(len(self._rows), 1),
            restarts=tuple(at - started for at in self._restarted()),
            waiting=tuple(Waiting(at - started, who, by) for at, who, by in self._waiting),
            plans=plans,
            writes=stored,
            writes_due=due,
            are_rows_listed=bool(self._access.stored),
            problem="" if self._rows else self._problem or "no reading of its statistics succeeded",
            problems=dict(self._problems),
        )

    def _restarted(self) -> list[float]:
        """When PostgreSQL was first seen after each restart."""
        pairs = zip(self._starts, self._starts[1:], strict=False)
        return [at for (_, before), (at, after) in pairs if after != before]

    def _differences(self, started: float) -> DatabaseFacts:
        """The increase of the cumulative statistics from begin to end, as far as it is known."""
        begin, end, last = self._begin, self._end, self._last
        if end is None:
            self._problems.setdefault("statistics", "the statistics could not be read after the load")
            return DatabaseFacts()
        why = ""
        if begin is None or begin.at > started:
            why = "the statistics could not be read before the load"
        elif begin.started != (last or end).started or self._restarted():
            why = "PostgreSQL was restarted during the run"
        elif begin.row["stats_reset"] != (last or end).row["stats_reset"]:
            why = "the statistics were reset during the run"
        elif has_fallen([*(row for _, row in self._rows), end.row, (last or end).row]):
            why = "PostgreSQL discarded its statistics during the run, as it does after a crash"
        if why:
            self._problems["statistics"] = why
        before = None if why else begin

        def gained(name: str) -> int | None:
            return None if before is None else gain(before.row[name], end.row[name])

        deadlocks = gained("deadlocks")
        if before is not None and self._access.awaits_deadlocks:
            deadlocks = None if last is None else gain(before.row["deadlocks"], last.row["deadlocks"])
        statements, seconds = statements_between(before, end, self._access.queries)
        wal = None if begin is None else gain(begin.row["wal"], end.row["wal"])
        return DatabaseFacts(
            deadlocks=deadlocks,
            transactions=gained("transactions"),
            wal_bytes=wal,
            checkpoints=gain(before.checkpoints, end.checkpoints) if before else None,
            statements=statements,
            statement_seconds=seconds,
            tables=tables_between(before, end),
            indexes=indexes_between(before, end),
            dropped_indexes=dropped_between(
                begin, end, {index: at - started for index, at in self._gone.items()}
            ),
        )

    # --- while the load runs

    def _watch(self) -> None:
        try:
            asyncio.run(self._sample())
        except Exception as error:
            self._problem = self._problem or self._failure(error)
        finally:
            self._is_ready.set()

    async def _sample(self) -> None:
        connection: Any = None
        due = time.monotonic()
        try:
            while True:
                is_over = self._is_over.is_set()
                try:
                    if connection is None or connection.is_closed():
                        connection = await self._connect(self._access.observer)
                    await self._read(connection)
                    if self._begin is None:
                        self._begin = await self._snapshot(connection)
                    if is_over:
                        self._end = await self._snapshot(connection)
                except Exception as error:
                    # PostgreSQL may be restarting. The next reading will show it.
                    self._problem = self._failure(error)
                    if connection is not None:
                        connection.terminate()
                    connection = None
                self._is_ready.set()
                if is_over:
                    return
                due = max(due + _INTERVAL, time.monotonic())
                while not self._is_over.is_set() and (rest := due - time.monotonic()) > 0:
                    await asyncio.sleep(min(rest, 0.1))
        finally:
            if connection is not None:
                connection.terminate()

    async def _read(self, connection: Any) -> None:
        """Read the statistics of this second."""
        begun = self._clock.unix_now()
        row = await connection.fetchrow(SAMPLE)
        ended = self._clock.unix_now()
        at = (begun + ended) / 2
        before = self._rows[-1][1]["indexes"] if self._rows else row["indexes"]
        self._rows.append((at, dict(row)))
        self._starts.append((at, row["started"]))
        if row["indexes"] != before:
            await self._look_for_indexes(connection, at)
        self._cost += self._clock.unix_now() - begun
        if row["waiting"] and len(self._waiting) < _WAITING:
            for each in await connection.fetch(WAITERS):
                if len(self._waiting) < _WAITING:
                    self._waiting.append((at, without_values(each["query"]), without_values(each["blocker"])))

    async def _look_for_indexes(self, connection: Any, at: float) -> None:
        """Note which indexes from the beginning of the run are missing.

        If the query fails, the moment of their loss is not known.
        """
        try:
            rows = await connection.fetch(INDEX_NAMES)
        except (asyncpg.PostgresError, TimeoutError):
            return
        present = {(each["relid"], each["name"]) for each in rows}
        known = (self._begin and self._begin.indexes) or {}
        for each in known.values():
            if (index := (each["relid"], each["name"])) not in present:
                self._gone.setdefault(index, at)

    async def _snapshot(self, connection: Any) -> Snapshot:
        row = await connection.fetchrow(SAMPLE)
        snapshot = Snapshot(self._clock.unix_now(), row["started"], dict(row))
        is_17 = connection.get_server_version().major >= 17
        parts: tuple[tuple[str, Callable[[], Awaitable[Any]]], ...] = (
            ("checkpoints", lambda: connection.fetchval(CHECKPOINTS_17 if is_17 else CHECKPOINTS)),
            ("statements", lambda: self._statement_rows(connection)),
            ("tables", lambda: connection.fetch(TABLE_ROWS)),
            ("indexes", lambda: connection.fetch(INDEX_ROWS)),
        )
        for name, read in parts:
            try:
                value = await read()
            except (asyncpg.PostgresError, TimeoutError) as error:
                self._problems[name] = self._failure(error)
                continue
            if name in {"tables", "indexes"}:
                value = {each["id"]: dict(each) for each in value}
            setattr(snapshot, name, value)
        return snapshot

    async def _statement_rows(self, connection: Any) -> dict[tuple[Any, ...], Mapping[str, Any]] | None:
        place = await connection.fetchval(STATEMENTS_SCHEMA)
        if place is None:
            self._problems["statements"] = (
                "the database has no extension pg_stat_statements; CREATE EXTENSION pg_stat_statements makes it"
            )
            return None
        rows = await connection.fetch(STATEMENT_ROWS.format(schema=place))
        return {(each["userid"], each["queryid"], each["toplevel"]): dict(each) for each in rows}

    async def _connect(self, address: Address, patience: float = _ANSWER) -> Any:
        connection = await asyncpg.connect(
            address.reveal(), timeout=_CONNECT, command_timeout=patience, statement_cache_size=0
        )
        if address is not self._access.observer:
            return connection
        try:
            # A pooler refuses such settings at the connection's start, but accepts them here.
            await connection.execute(
                f"SET statement_timeout = {int(patience * 1000)}; SET lock_timeout = 1000; "
                "SET default_transaction_read_only = on; SET application_name = 'loadkit observer'"
            )
            if not self._version:
                server = connection.get_server_version()
                self._version = f"{server.major}.{server.minor}"
                row = await connection.fetchrow(RIGHTS)
                self._role = row["role"]
                if not row["may"]:
                    self._problems["activity"] = (
                        f"the role {self._role} may not read the statistics of other roles; "
                        f"GRANT pg_monitor TO {self._role} allows it"
                    )
        except BaseException:
            connection.terminate()
            raise
        return connection

    # --- after the load

    def _part(self, name: str, work: Coroutine[Any, Any, T], seconds: float) -> T | None:
        """Run a part of the work and return its result, or note its problem and return None."""

        async def bounded() -> T:
            async with asyncio.timeout(seconds):
                return await work

        try:
            return asyncio.run(bounded())
        except Exception as error:
            self._problems[name] = self._failure(error)
            return None

    async def _counts_after(self, seconds: float) -> Snapshot:
        await asyncio.sleep(seconds)
        connection = await self._connect(self._access.observer)
        try:
            row = await connection.fetchrow(SAMPLE)
        finally:
            connection.terminate()
        return Snapshot(self._clock.unix_now(), row["started"], dict(row))

    async def _stored(self, run_id: str, writes: Written) -> StoredWrites | None:
        connection = await self._connect(self._access.observer, _COMPARE)
        ids, places = bytearray(), Places()
        try:
            if await connection.fetchval(_IS_STANDBY):
                self._problems["writes"] = f"the database {self._access.observer}: {_LATE}"
                return None
            async with connection.transaction(readonly=True):
                # Row-level security would hide rows, which would count as lost. Now it is an error.
                await connection.execute("SET LOCAL row_security = off")
                listed = await connection.prepare(self._access.stored)
                has_tenants = len(listed.get_attributes()) > 1
                async for row in listed.cursor(run_id, prefetch=10_000):
                    ids += row[0].bytes
                    if has_tenants:
                        places.add("" if row[1] is None else str(row[1]))
        finally:
            connection.terminate()
        return compare_writes(writes, bytes(ids), places if has_tenants else None, self._access.tenants)

    async def _relations(self) -> dict[tuple[str, str], Relation]:
        connection = await self._connect(self._access.observer)
        try:
            return {
                (each["schema"], each["name"]): Relation(
                    each["root"], each["pages"], tuple(each["columns"] or ())
                )
                for each in await connection.fetch(RELATIONS)
            }
        finally:
            connection.terminate()

    async def _plans(self, relations: Mapping[tuple[str, str], Relation]) -> tuple[QueryPlan, ...]:
        """The plans of the key queries, with the tables as the service's role sees them."""
        access, tenant = self._access, None
        if access.tenant and access.example_tenant:
            connection = await self._connect(access.observer)
            try:
                tenant = await connection.fetchval(access.example_tenant)
            finally:
                connection.terminate()
        last = time.monotonic() + _ALL_PLANS
        plans: list[QueryPlan] = []
        connection = None
        try:
            for query in access.queries:
                try:
                    if connection is None or connection.is_closed():
                        connection = await self._connect(access.service or access.observer, 2 * _EXAMPLE)
                    is_tried = query.is_read and time.monotonic() < last
                    plans.append(await self._plan(connection, query, relations, tenant, is_tried))
                except Exception as error:
                    plans.append(QueryPlan(query.name, query.purpose, problem=self._failure(error)))
                    if isinstance(error, (OSError, asyncpg.InterfaceError, asyncio.TimeoutError)):
                        with suppress(Exception):
                            connection.terminate()
                        connection = None
        finally:
            if connection is not None:
                connection.terminate()
        return tuple(plans)

    async def _plan(
        self,
        connection: Any,
        query: KeyQuery,
        relations: Mapping[tuple[str, str], Relation],
        tenant: Any,
        is_tried: bool,
    ) -> QueryPlan:
        problem = "" if is_tried else "the query was not executed, so its rows and times are estimates"
        if is_tried:
            try:
                explained = await self._explain(connection, "ANALYZE, BUFFERS, ", query, tenant)
            except asyncpg.QueryCanceledError:
                problem = f"the example ran longer than {_EXAMPLE:g} s and was stopped, so its rows and times are estimates"
            else:
                return read_plan(query.name, query.purpose, explained, relations)
        explained = await self._explain(connection, "", query, tenant)
        return read_plan(query.name, query.purpose, explained, relations, problem)

    async def _explain(self, connection: Any, options: str, query: KeyQuery, tenant: Any) -> Any:
        transaction = connection.transaction(readonly=True)
        await transaction.start()
        try:
            await connection.execute(f"SET LOCAL statement_timeout = {int(_EXAMPLE * 1000)}")
            await connection.execute("SET LOCAL lock_timeout = 1000")
            if tenant is not None:
                await connection.execute("SELECT set_config($1, $2, true)", self._access.tenant, str(tenant))
            # The text is a key query of the project.
            return json.loads(
                await connection.fetchval(
                    f"EXPLAIN ({options}VERBOSE, FORMAT JSON) {query.sql}", *query.example
                )
            )
        finally:
            await transaction.rollback()

    def _failure(self, error: Exception) -> str:
        """Describe an error in one line, without the secrets in the address."""
        if isinstance(error, TimeoutError):
            words = "no answer in time"
        elif isinstance(error, asyncpg.PostgresError):
            words = f"{str(error).splitlines()[0] if str(error) else type(error).__name__}"
        else:  # the text of other errors may contain a part of the address
            words = type(error).__name__
        return f"the database {self._access.observer}: {masked(words)}"
