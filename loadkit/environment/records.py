"""The records of a database before a load: their number, and the number of removed rows."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import asyncpg

from loadkit.errors import UnreachableError
from loadkit.structuring import structure
from loadkit.target import Address

__all__ = ["Cleaned", "Records", "cleaned", "count_records"]

_PATIENCE = 5.0
"""Seconds to connect."""
_COUNT_SECONDS = 60.0
"""Seconds that counting may take; ten million rows take one or two."""


@dataclass(frozen=True, slots=True)
class Records:
    """The number of rows of a table."""

    number: int
    is_exact: bool
    """Were the rows counted? If not, `number` is the estimate of the server's last analysis."""


def count_records(address: Address, table: str, *, sees_all: bool) -> Records:
    """Count the rows of a table.

    Args:
        address: the database.
        table: its name.
        sees_all: does the role see the rows of all tenants? If not, the server's estimate is used.

    Raises:
        UnreachableError: the database does not answer, or has no such table.

    """
    try:
        return asyncio.run(_count(address, table, sees_all=sees_all))
    except asyncpg.PostgresError as error:
        raise UnreachableError(f"cannot count the rows of {table} in {address}: {error}") from None
    except (OSError, TimeoutError, asyncpg.InterfaceError, ValueError) as error:
        # The text of a ValueError may repeat a part of the address.
        raise UnreachableError(
            f"cannot count the rows of {table} in {address}: {type(error).__name__}"
        ) from None


@dataclass(frozen=True, slots=True)
class Cleaned:
    """The report of a control command that has removed rows."""

    removed: Mapping[str, int] | None = None
    """The number of removed rows by table; None if it is not reported."""
    rows: Mapping[str, int] | None = None
    """The number of remaining rows by table; None if it is not reported."""

    def __str__(self) -> str:
        return "removed" if self.removed is None else f"{sum(self.removed.values()):,} removed"


def cleaned(facts: Mapping[str, Any], environment: str) -> Cleaned:
    """Read the facts of a control command that has removed rows.

    Raises:
        ConfigurationError: its facts `removed` and `rows` are not numbers of rows by table.

    """
    return structure(Cleaned, facts, f"the control command of {environment}", allow_unknown=True)


async def _count(address: Address, table: str, *, sees_all: bool) -> Records:
    connection = await asyncpg.connect(
        address.reveal(), timeout=_PATIENCE, statement_cache_size=0, command_timeout=_COUNT_SECONDS
    )
    try:
        if sees_all:
            # PostgreSQL counts with several processes only if all rows of an answer are requested at
            # once, and fetchval requests one. The settings allow only a plain name.
            ((rows,),) = await connection.fetch(f"SELECT count(*) FROM {table}")  # noqa: S608  a name of a table
            return Records(rows, is_exact=True)
        return Records(await connection.fetchval(_ESTIMATE, table), is_exact=False)
    finally:
        connection.terminate()


_ESTIMATE = """
    SELECT coalesce(sum(greatest(c.reltuples, 0)), 0)::bigint FROM pg_class c
    WHERE c.oid = $1::text::regclass OR c.oid IN (SELECT relid FROM pg_partition_tree($1::text::regclass) WHERE isleaf)
"""
