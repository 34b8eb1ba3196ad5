"""One connection, its prepared statements, and the settings that apply to one statement only.

Row-level security reads a setting that must apply to one transaction only: behind a pooler, the
next statement runs on another connection. asyncpg would need three round trips for that (BEGIN with
the setting, the statement, COMMIT). Here the setting is sent in front of the statement, in the same
packet. PostgreSQL executes everything up to the next Sync message in one transaction (protocol,
section "Pipelining"), and asyncpg sends the Sync after the statement.

The message in front selects no row, because asyncpg would treat it as a row of the statement.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import asyncpg

__all__ = ["Session", "commit", "quoted", "written_by"]

_LOCAL = "loadkit_local"
"""The name of the prepared statement that makes settings; without a cache it has no name."""

_CANCEL_SECONDS = 1.0
"""Seconds until a retired connection is closed.

Meanwhile, asyncpg asks the server to cancel the statement that took too long."""
_CHECK_SECONDS = 5.0
"""Most seconds for each check of the database before the load."""


class Session:
    """A connection of the pool."""

    __slots__ = (
        "_caches",
        "_connection",
        "_local",
        "_preludes",
        "_settings",
        "_write",
        "has_settings",
        "is_in_transaction",
        "is_retired",
        "statements",
    )

    def __init__(
        self, connection: Any, *, caches: bool, settings: tuple[tuple[str, str], ...], tenant: str
    ) -> None:
        """Wrap a connection of asyncpg; see `open`.

        Args:
            connection: an open connection.
            caches: may statements stay prepared?
            settings: names and values of settings for each statement.
            tenant: the name of the setting that takes the tenant; "" for none.

        """
        self._connection = connection
        self._caches = caches
        self._settings = (*settings, *([(tenant, "")] if tenant else []))
        self.has_settings = bool(self._settings)
        """Are settings sent in front of each statement?"""
        self.statements: dict[str, Any] = {}
        """The prepared statements by their SQL."""
        self._preludes: dict[str, bytes] = {}
        self._local: Any = None
        self._write: Callable[[bytes], None] = connection._transport.write  # noqa: SLF001  see the module
        self.is_in_transaction = False
        self.is_retired = False
        """Must the connection not be used again?"""

    async def open(self) -> None:
        """Prepare the statement that makes settings."""
        if self._settings and self._caches:
            self._local = await self._connection.prepare(_local_sql(len(self._settings)), name=_LOCAL)

    @property
    def is_closed(self) -> bool:
        """Has the connection ended, or is it about to?"""
        return self.is_retired or bool(self._connection.is_closed())

    @property
    def pid(self) -> int:
        """The id of the server process, as stated by the other side; a pooler invents one."""
        return int(self._connection.get_server_pid())

    async def ask(self, sql: str) -> Any:
        """The first row of one of the driver's own queries."""
        return await self._connection.fetchrow(sql, timeout=_CHECK_SECONDS)

    async def explain(self, sql: str, arguments: Sequence[Any]) -> None:
        """Let the server plan a query and check its privileges, without running it."""
        await self._connection.fetch(f"EXPLAIN {sql}", *arguments, timeout=_CHECK_SECONDS)

    async def prepare(self, sql: str, seconds: float | None = None) -> Any:
        """Prepare a statement and remember it. Without a cache only its types are remembered."""
        statement = await self._connection.prepare(sql, name=None if self._caches else "", timeout=seconds)
        self.statements[sql] = statement
        return statement

    def fetch(self, statement: Any, arguments: tuple[Any, ...], seconds: float) -> Awaitable[Any]:
        """All rows of a prepared statement: the result of its own `fetch`, with fewer calls."""
        rows: Awaitable[Any] = self._connection._protocol.bind_execute(  # noqa: SLF001  half of the calls of its own fetch
            statement._state,  # noqa: SLF001  what its own fetch passes
            arguments,
            "",
            0,
            False,
            seconds,
        )
        return rows

    def forget(self) -> None:
        """Forget all statements, because what they refer to has changed."""
        self.statements.clear()

    def send_settings(self, tenant: str) -> None:
        """Send the settings for the next statement; no other message may come between them."""
        if not self.is_in_transaction:
            prelude = self._preludes.get(tenant)
            if prelude is None:
                prelude = self._preludes[tenant] = self._prelude(tenant)
            self._write(prelude)

    async def begin(self, tenant: str, isolation: str = "", seconds: float | None = None) -> None:
        """Begin a transaction with its settings, in one round trip."""
        level = f" ISOLATION LEVEL {isolation}" if isolation else ""
        made = "".join(
            f"; SELECT set_config({quoted(name)}, {quoted(value or tenant)}, true)"
            for name, value in self._settings
            if value or tenant
        )
        try:
            await self._connection.execute(f"BEGIN{level}{made}", timeout=seconds)
        except asyncpg.PostgresError:
            # A setting failed after BEGIN. Later queries would run in the aborted transaction.
            self.terminate()
            raise
        self.is_in_transaction = True

    async def end(self, command: str, seconds: float | None = None) -> str:
        """End the transaction by COMMIT or ROLLBACK. Return what the server did."""
        status = str(await self._connection.execute(command, timeout=seconds))
        self.is_in_transaction = False
        return status

    def copy(self, table: str, **how: Any) -> Awaitable[str]:
        """Copy records into a table."""
        copied: Awaitable[str] = self._connection.copy_records_to_table(table, **how)
        return copied

    def retire(self) -> None:
        """Do not use the connection again; close it after asyncpg asked the server to cancel."""
        self.is_retired = True
        asyncio.get_running_loop().call_later(_CANCEL_SECONDS, self._connection.terminate)

    def terminate(self) -> None:
        """Close the connection immediately."""
        self._connection.terminate()

    async def close(self) -> None:
        """Close the connection, waiting at most a second for the server."""
        await self._connection.close(timeout=1.0)

    def _prelude(self, tenant: str) -> bytes:
        """The messages that make the settings: Parse (without a cache), Bind, Execute."""
        values = [(name, value or tenant) for name, value in self._settings]
        name = _LOCAL if self._caches else ""
        messages = b"" if self._caches else _parse(name, _local_sql(len(values)))
        return messages + _bind(name, [text for pair in values for text in pair]) + _EXECUTE


async def commit(session: Session, seconds: float) -> None:
    """Commit the open transaction.

    Raises:
        asyncpg.InFailedSQLTransactionError: a query of the transaction had failed, so the server
            rolled it back. The server does not report that as an error.

    """
    if await session.end("COMMIT", seconds) == "ROLLBACK":
        raise asyncpg.PostgresError.new({"S": "ERROR", "C": "25P02", "M": "the server has rolled it back"})


def written_by(status: str) -> int:
    """The number of rows written, from a command tag: 3 from "INSERT 0 3"."""
    last = status.rpartition(" ")[2]
    return int(last) if last.isdigit() and not status.startswith("SELECT") else 0


def quoted(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def _local_sql(settings: int) -> str:
    """A statement that returns no rows and makes a number of settings for its transaction."""
    made = (
        f"set_config(${2 * place + 1}::text, ${2 * place + 2}::text, true) IS NULL"
        for place in range(settings)
    )
    return f"SELECT WHERE {' OR '.join(made)}"


# Messages of the protocol, version 3:
# https://www.postgresql.org/docs/current/protocol-message-formats.html


def _message(kind: bytes, content: bytes) -> bytes:
    return kind + (len(content) + 4).to_bytes(4, "big") + content


def _parse(name: str, sql: str) -> bytes:
    return _message(b"P", name.encode() + b"\0" + sql.encode() + b"\0" + bytes(2))


def _bind(name: str, texts: list[str]) -> bytes:
    fields = b"".join(len(text).to_bytes(4, "big") + text for text in map(str.encode, texts))
    return _message(
        b"B", b"\0" + name.encode() + b"\0" + bytes(2) + len(texts).to_bytes(2, "big") + fields + bytes(2)
    )


_EXECUTE = _message(b"E", b"\0" + bytes(4))
