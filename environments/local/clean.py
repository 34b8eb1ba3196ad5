"""Removes rows that runs wrote; the seeded rows stay."""

import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import asyncpg

from environments.local.errors import LocalError

_LOCK_SECONDS = 30
"""The longest wait in seconds for the locks of open transactions."""
_EVENTS = "metric_events"
_NEW = ("metric_events_runs", "idempotency_keys")
"""Tables that keep no dead rows, because they are emptied as a whole."""


async def clean_run(dsn: str, run: str) -> dict[str, int]:
    """Remove exactly the rows of a run and of its warm-up; return their numbers by table.

    Raises LocalError.
    """
    async with _database(dsn) as connection, connection.transaction():
        return await remove_run(connection, run)


async def remove_run(connection: Any, run: str) -> dict[str, int]:
    """Do the same as `clean_run`, in an open transaction of the database's owner."""
    removed: Counter[str] = Counter()
    for run_id in (run, f"{run}-warmup"):
        for row in await connection.fetch("SELECT * FROM remove_run($1)", run_id):
            removed[row["relation"]] += row["removed"]
    return dict(removed)


async def clean_all(dsn: str) -> dict[str, int]:
    """Remove the rows of all runs; return their numbers by table. Raises LocalError."""
    async with _database(dsn) as connection:
        async with connection.transaction():
            rows = await connection.fetch("SELECT * FROM remove_runs()")
        removed = {row["relation"]: row["removed"] for row in rows}
        for table in (*(each for each in removed if removed[each] and each not in _NEW), "rollup"):
            # Otherwise, readers of the newest rows must skip the dead rows until autovacuum runs.
            await connection.execute(f"VACUUM (ANALYZE) {table}")
    partitions = [table for table in removed if table.startswith(_EVENTS)]
    return {_EVENTS: sum(removed.pop(table) for table in partitions), **removed}


@contextlib.asynccontextmanager
async def _database(dsn: str) -> AsyncIterator[Any]:
    """Yield a connection of the owner. Its errors become a LocalError of one line."""
    settings = {"lock_timeout": f"{_LOCK_SECONDS}s"}
    try:
        connection = await asyncpg.connect(dsn, ssl=False, server_settings=settings)
        try:
            yield connection
        finally:
            await connection.close()
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise LocalError(f"the rows of runs cannot be removed: {' '.join(str(error).split())}") from None
