"""Counts the rows of the local database."""

from typing import Any

__all__ = ["count_rows"]

_COUNT = """
    SELECT (SELECT count(*) FROM tenants) AS tenants, (SELECT count(*) FROM users) AS users,
        (SELECT count(*) FROM sessions) AS sessions,
        coalesce($1, (SELECT count(*) FROM metric_events)) AS metric_events,
        (SELECT count(*) FROM dashboards) AS dashboards, (SELECT count(*) FROM widgets) AS widgets
"""


async def count_rows(connection: Any, events: int | None = None) -> dict[str, int]:
    """The numbers of rows by table. `events` are those of metric_events, if they are known."""
    # PostgreSQL counts with several processes only if all rows of an answer are requested at once,
    # and fetchrow requests one.
    (row,) = await connection.fetch(_COUNT, events)
    return dict(row)
