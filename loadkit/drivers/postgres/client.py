"""One user's client of PostgreSQL: journeys call it; it takes connections and records queries."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol, TypeVar

import asyncpg
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    wait_random_exponential,
)

from loadkit.drivers.base import Meter, Operation
from loadkit.drivers.masking import Mask
from loadkit.drivers.postgres.exchanges import LastQuery, waited
from loadkit.drivers.postgres.outcomes import LOST, TIMEOUT, QueryFailed, failure_of, is_answer, may_pass
from loadkit.drivers.postgres.pool import Pool
from loadkit.drivers.postgres.session import Session, commit, written_by
from loadkit.queries import Query
from loadkit.recording.sample import OK, Sample
from loadkit.recording.sql import (
    ACQUISITIONS,
    CONNECTIONS_LOST,
    RETRIES,
    ROWS_READ,
    ROWS_SEARCHED,
    ROWS_WRITTEN,
    WAITS,
)
from loadkit.recording.timing import ACQUIRE, QUERY

__all__ = ["Backend", "DbClient", "QueryFailed"]

Result = TypeVar("Result")
Execute = Callable[[Session, float], Awaitable[Result]]
"""Does something on a connection within a number of seconds."""
Rows = list[Any]
"""Records of asyncpg: values by position and by column name; `row.keys()` gives the names."""
_UNPREPARED = frozenset({"26000", "42P05"})
"""SQLSTATEs for a prepared statement that does not exist, or exists already.

They show that a connection pooler is between client and server."""
_STALE = "0A000"
"""SQLSTATE for a prepared statement whose result type changed with the schema."""


class Backend(Protocol):
    """The part of a driver that its clients use."""

    pool: Pool
    queries: Mapping[str, Query]
    retries: int
    mask: Mask

    def adhoc(self, sql: str) -> Query:
        """The query with this SQL text."""
        ...

    def give_up_statements(self) -> None:
        """Keep no statement prepared from now on."""
        ...


class DbClient:
    """Runs queries when they are due, and records each by its label.

    A query is given by its name in the project's folder of queries, or as SQL with a label. Its
    time starts at the intended start, and includes the wait for a connection. Arguments are the
    values of ``$1``, ``$2`` … and are sent separately from the SQL.
    """

    __slots__ = ("_backend", "_last", "_meter", "_session", "tenant")

    def __init__(self, meter: Meter, backend: Backend) -> None:
        self._meter = meter
        self._backend = backend
        self._last = LastQuery(backend.mask)
        self._session: Session | None = None
        """The connection of the open transaction; None without one."""
        self.tenant = meter.tenant
        """The tenant that is sent with each query, if the environment file names a setting for it.

        It is the name of the user's tenant. If the service uses ids, the journey sets the id."""

    def query(self, name: str) -> Query:
        """A query of the project's folder.

        Raises:
            KeyError: there is none of this name.

        """
        found = self._backend.queries.get(name)
        if found is None:
            known = ", ".join(f'"{each}"' for each in self._backend.queries) or "none"
            raise KeyError(f'no query "{name}"; there are: {known}')
        return found

    @property
    def queries(self) -> Sequence[Query]:
        """The queries of the project's folder, in the order of their files."""
        return tuple(self._backend.queries.values())

    async def fetch(self, query: Query | str, *arguments: Any, label: str = "", record: bool = True) -> Rows:
        """All rows of a query.

        Args:
            query: a query, the name of one, or SQL with a label.
            arguments: the values of ``$1``, ``$2`` …
            label: the label under which the query is counted; default: the query's name.
            record: False leaves it out of the record, unless it fails and so ends the journey.

        Raises:
            QueryFailed: the query failed. The failure is already recorded; do not catch it.

        """
        if self._session is None and record and not self._backend.retries:
            return await self._fetch(query, arguments, label)

        async def run(statement: Any, seconds: float) -> Rows:
            rows: Rows = await statement.fetch(*arguments, timeout=seconds)
            self._count_rows(len(rows), record)
            return rows

        return await self._run(query, run, label, record, arguments)

    async def fetchrow(
        self, query: Query | str, *arguments: Any, label: str = "", record: bool = True
    ) -> Any:
        """The first row of a query; None if there is none. See `fetch`."""

        async def run(statement: Any, seconds: float) -> Any:
            row = await statement.fetchrow(*arguments, timeout=seconds)
            self._count_rows(row is not None, record)
            return row

        return await self._run(query, run, label, record, arguments)

    async def fetchval(
        self, query: Query | str, *arguments: Any, label: str = "", record: bool = True
    ) -> Any:
        """The first value of a query's first row; None if there is none. See `fetch`.

        A value alone, such as a count, does not count as a row that was read.
        """

        async def run(statement: Any, seconds: float) -> Any:
            return await statement.fetchval(*arguments, timeout=seconds)

        return await self._run(query, run, label, record, arguments)

    async def execute(self, query: Query | str, *arguments: Any, label: str = "", record: bool = True) -> int:
        """Run a statement. Return how many rows the server says it wrote. See `fetch`."""

        async def run(statement: Any, seconds: float) -> int:
            await statement.fetch(*arguments, timeout=seconds)
            written = written_by(statement.get_statusmsg())
            if self._meter.is_recorded and record:
                self._meter.recorder.counts[ROWS_WRITTEN] += written
                self._last.rows = written
            return written

        return await self._run(query, run, label, record, arguments)

    async def executemany(
        self, query: Query | str, batch: Iterable[Sequence[Any]], *, label: str = "", record: bool = True
    ) -> None:
        """Run a statement once for each row of arguments, all in one transaction. See `fetch`."""
        rows = list(batch)

        async def run(statement: Any, seconds: float) -> None:
            await statement.executemany(rows, timeout=seconds)
            if self._meter.is_recorded and record:
                self._meter.recorder.counts[ROWS_WRITTEN] += len(rows)

        await self._run(query, run, label, record, rows[0] if rows else (), len(rows))

    async def copy(
        self,
        table: str,
        columns: Sequence[str],
        rows: Iterable[Sequence[Any]],
        *,
        label: str = "",
        record: bool = True,
    ) -> int:
        """Write rows by COPY, in one transaction. Return how many. See `fetch`.

        Args:
            table: its name.
            columns: the columns in the order of the values.
            rows: one sequence of values for each row.
            label: the label under which the COPY is counted; default: "COPY" and the table.
            record: as in `fetch`.

        """
        content = list(rows)

        async def run(session: Session, seconds: float) -> int:
            is_own = not session.is_in_transaction
            if is_own:
                await session.begin(self.tenant, seconds=seconds)
            try:
                await session.copy(table, records=content, columns=list(columns), timeout=seconds)
            except BaseException:
                if is_own and not session.is_closed:
                    await session.end("ROLLBACK", seconds)
                raise
            if is_own:
                await session.end("COMMIT", seconds)
            if self._meter.is_recorded and record:
                self._meter.recorder.counts[ROWS_WRITTEN] += len(content)
            return len(content)

        return await self._perform(label or f"COPY {table}", run, record, batch=len(content))

    @asynccontextmanager
    async def transaction(self, label: str = "transaction", *, isolation: str = "") -> AsyncIterator[None]:
        """Run the queries of a block in one transaction, on one connection.

        Begin and commit are separate operations, because each is a round trip: "transaction:
        begin". An exception in the block rolls the transaction back.

        Args:
            label: the beginning of the labels of both.
            isolation: such as "repeatable read"; empty for the server's default.

        Raises:
            RuntimeError: a transaction is already open.

        """
        if self._session is not None:
            raise RuntimeError("a transaction is open; PostgreSQL does not nest them")
        pool = self._backend.pool

        async def begin(session: Session, seconds: float) -> Session:
            await session.begin(self.tenant, isolation, seconds)
            return session

        session = await self._perform(f"{label}: begin", begin, True, keeps=True)
        self._session = session
        try:
            yield
            await self._perform(f"{label}: commit", commit, True)
        except BaseException:
            if session.is_in_transaction and not session.is_closed:
                with suppress(Exception):  # the connection is then unusable, and is closed below
                    await session.end("ROLLBACK", self._meter.timeout)
            raise
        finally:
            if session.is_in_transaction:
                session.terminate()
            self._session = None
            pool.give_back(session)

    def close(self) -> None:
        """Close the connection of a transaction that the user left open."""
        if self._session is not None:
            self._session.terminate()

    # --- execution

    async def _run(
        self,
        query: Query | str,
        run: Callable[[Any, float], Awaitable[Result]],
        label: str,
        record: bool,
        arguments: Sequence[Any],
        batch: int = 0,
    ) -> Result:
        """Run a prepared statement, once or for a batch of arguments."""
        query = self._known(query, label)
        sql = query.sql

        async def execute(session: Session, seconds: float) -> Result:
            statement = session.statements.get(sql)
            if statement is None:
                statement = await session.prepare(sql, seconds)
            if session.has_settings:
                session.send_settings(self.tenant)
            return await run(statement, seconds)

        return await self._perform(label or query.name, execute, record, query, arguments, batch)

    async def _fetch(self, query: Query | str, arguments: tuple[Any, ...], label: str) -> Rows:
        """Do the work of `_run`, `_perform` and `_once` in one function; most queries use it.

        It takes 25 % less of the generator's time, as measured by the benchmark's part `database`.
        """
        meter, pool = self._meter, self._backend.pool
        query = self._known(query, label)
        label = label or query.name
        with await meter.begin(label, QUERY) as operation:
            is_recorded = meter.is_recorded
            begun = meter.now()
            meter.exchange = self._last.begin(query, arguments)
            session = pool.take_now()
            try:
                if session is None:
                    session = await self._waited(label, begun, is_recorded)
                elif is_recorded:
                    self._acquired(label, OK, begun, begun)
                try:
                    statement = session.statements.get(query.sql)
                    if statement is None:
                        statement = await session.prepare(query.sql, meter.timeout)
                    if session.has_settings:
                        session.send_settings(self.tenant)
                    rows: Rows = await session.fetch(
                        statement, arguments, meter.timeout - (meter.now() - begun)
                    )
                except BaseException as error:
                    self._after(error, session, is_recorded)
                    raise
                finally:
                    pool.give_back(session)
            except Exception as error:
                raise self._failed(operation, error) from None
            operation.succeeded(meter.now())
        if is_recorded:
            self._count_rows(len(rows))
        return rows

    def _count_rows(self, rows: int, record: bool = True) -> None:
        meter = self._meter
        if record and meter.is_recorded:
            counts = meter.recorder.counts
            self._last.rows = int(rows)
            counts[ROWS_READ] += rows
            if meter.checks_rows:
                counts[ROWS_SEARCHED] += rows

    def _known(self, query: Query | str, label: str) -> Query:
        """The query of a name, or of SQL text that has a label."""
        if isinstance(query, str):
            known = self._backend.queries.get(query)
            # Without a label, `query` raises an error that lists the known names.
            return known or (self._backend.adhoc(query) if label else self.query(query))
        return query

    async def _perform(
        self,
        label: str,
        execute: Execute[Result],
        record: bool,
        query: Query | None = None,
        arguments: Sequence[Any] = (),
        batch: int = 0,
        *,
        keeps: bool = False,
    ) -> Result:
        """Execute something on a connection when it is due, and record it.

        Args:
            label: the label under which it is counted.
            execute: the work on the connection.
            record: False leaves it out of the record.
            query: the query, which may be repeated if it only reads; None for none.
            arguments: those of the query, or of the first row of a batch.
            batch: rows of the batch; 0 for none.
            keeps: does the caller give the connection back?

        """
        meter = self._meter
        perform: Callable[[str, Execute[Result], Query | None, bool, bool], Awaitable[Result]] = self._once
        if self._session is not None:
            perform = self._within
        elif self._backend.retries:
            perform = self._again
        if not record:
            waited = max(0.0, meter.free - meter.intended)  # the arrival waited for a user
            meter.unrecorded_failure = ""
            try:
                return await perform(label, execute, query, keeps, False)
            except Exception as error:
                meter.settle()  # the example of the pending operation is the previous query
                meter.exchange = self._last.begin(query, arguments, batch)
                raise self._failed(None, error) from None
            finally:
                meter.free = meter.now()
                meter.intended = meter.free - waited
        with await meter.begin(label, QUERY) as operation:
            meter.exchange = self._last.begin(query, arguments, batch)
            try:
                result = await perform(label, execute, query, keeps, meter.is_recorded)
            except Exception as error:
                raise self._failed(operation, error) from None
            operation.succeeded(meter.now())
        return result

    async def _within(
        self, _label: str, execute: Execute[Result], _query: Query | None, _keeps: bool, is_recorded: bool
    ) -> Result:
        """Execute something in the open transaction."""
        session = self._session
        assert session is not None
        try:
            return await execute(session, self._meter.timeout)
        except BaseException as error:
            self._after(error, session, is_recorded)
            raise

    async def _again(
        self, label: str, execute: Execute[Result], query: Query | None, keeps: bool, is_recorded: bool
    ) -> Result:
        """Execute something; repeat it after temporary failures, as often as configured."""

        def note(_: RetryCallState) -> None:
            if is_recorded:
                self._meter.recorder.counts[RETRIES] += 1

        is_read = query is not None and query.is_read
        retrying = AsyncRetrying(
            retry=retry_if_exception(lambda error: may_pass(error, is_read=is_read)),
            stop=stop_after_attempt(self._backend.retries + 1),
            wait=wait_random_exponential(multiplier=0.05, max=1.0),
            before_sleep=note,
            reraise=True,
        )
        result: Result = await retrying(self._once, label, execute, query, keeps, is_recorded)
        return result

    async def _once(
        self, label: str, execute: Execute[Result], _query: Query | None, keeps: bool, is_recorded: bool
    ) -> Result:
        """Execute something on a connection of the pool."""
        meter, pool = self._meter, self._backend.pool
        begun = meter.now()
        session = pool.take_now()
        if session is None:
            session = await self._waited(label, begun, is_recorded)
        elif is_recorded:
            self._acquired(label, OK, begun, begun)
        is_kept = False
        try:
            result = await execute(session, meter.timeout - (meter.now() - begun))
            is_kept = keeps
        except BaseException as error:
            self._after(error, session, is_recorded)
            raise
        finally:
            if not is_kept:
                pool.give_back(session)
        return result

    def _failed(self, operation: Operation | None, error: Exception) -> Exception:
        """Note a failure, recorded or not, and return the exception that the journey gets.

        An error of the journey's own code is returned unchanged, and is not noted.
        """
        meter, kind = self._meter, failure_of(error)
        if kind is None:
            return error
        if operation is None:
            meter.has_failed, meter.unrecorded_failure = True, kind
        else:
            operation.failed(kind, meter.now(), was_answered=is_answer(error))
        self._last.error = error
        meter.count_shortage(kind)
        return QueryFailed.of(kind, error)

    async def _waited(self, label: str, begun: float, is_recorded: bool) -> Session:
        """Wait for a connection, or for a new one to open."""
        meter, outcome = self._meter, OK
        if is_recorded:
            meter.recorder.counts[WAITS] += 1
        try:
            return await self._backend.pool.take(meter.timeout)
        except Exception as error:
            outcome = failure_of(error) or OK
            raise
        finally:
            if is_recorded and not meter.is_cut:
                self._acquired(label, outcome, begun, meter.now())

    def _acquired(self, label: str, outcome: str, begun: float, at: float) -> None:
        """Record the wait for a connection."""
        meter = self._meter
        recorder = meter.recorder
        recorder.counts[ACQUISITIONS] += 1
        record = recorder.timing(ACQUIRE)
        sample = Sample(label, outcome, begun, begun, at, 0, meter.tenant, meter.region)
        record.samples.append(sample)
        if outcome != OK or at - begun > record.slow_from.get(label, 0.0):
            meter.record_example(sample, ACQUIRE, (waited, repr(self._backend.pool)))

    def _after(self, error: BaseException, session: Session, is_recorded: bool) -> None:
        """Handle a connection after a failure; it stays usable only if the server answered."""
        kind = failure_of(error)
        if kind == LOST and is_recorded:
            self._meter.recorder.counts[CONNECTIONS_LOST] += 1
        if kind == TIMEOUT:
            session.retire()
            return
        if not is_answer(error):
            session.terminate()
            return
        assert isinstance(error, asyncpg.PostgresError)
        if error.sqlstate in _UNPREPARED:
            self._backend.give_up_statements()
            session.terminate()
        elif error.sqlstate == _STALE:
            session.forget()
