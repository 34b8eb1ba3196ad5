"""Removes rows that runs wrote; the seeded rows stay."""

import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import asyncpg

from environments.local.errors import LocalError
from environments.local.rows import count_rows

_LOCK_SECONDS = 30
"""The longest wait in seconds for the locks of open transactions."""
_EVENTS = "metric_events"
_NEW = ("metric_events_runs", "idempotency_keys")
"""Tables that keep no dead rows, because they are emptied as a whole."""
_PAST = """
    SELECT count(*) AS events, count(run_id) AS of_runs
    FROM metric_events WHERE tableoid <> 'metric_events_runs'::regclass
"""
"""One count tells both whether runs wrote events with a time in the past and how many are seeded.

It takes a second in ten million, if all rows of the answer are requested at once: see `count_rows`."""


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


async def clean_all(dsn: str) -> tuple[dict[str, int], dict[str, int]]:
    """Remove the rows of all runs. Raises LocalError.

    Return the numbers of removed rows and of remaining rows, by table.
    """
    async with _database(dsn) as connection:
        async with connection.transaction():
            await connection.execute("CALL lock_runs()")
            (past,) = await connection.fetch(_PAST)
            rows = await connection.fetch("SELECT * FROM remove_runs($1)", past["of_runs"] > 0)
        removed = {row["relation"]: row["removed"] for row in rows}
        for table in (*(each for each in removed if removed[each] and each not in _NEW), "rollup"):
            # Otherwise, readers of the newest rows must skip the dead rows until autovacuum runs.
            await connection.execute(f"VACUUM (ANALYZE) {table}")
        remaining = await count_rows(connection, past["events"] - past["of_runs"])
    partitions = [table for table in removed if table.startswith(_EVENTS)]
    return {_EVENTS: sum(removed.pop(table) for table in partitions), **removed}, remaining


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
