"""The names of a database driver's counts and gauges, besides its timings `QUERY` and `ACQUIRE`.

The counts are per second and population. The gauges describe each worker's pool, and are added up.
"""

__all__ = [
    "ACQUISITIONS",
    "CONNECTIONS_LOST",
    "FOREIGN_ROWS",
    "POOL_IN_USE",
    "POOL_SIZE",
    "POOL_WAITING",
    "RETRIES",
    "ROWS_CHECKED",
    "ROWS_READ",
    "ROWS_SEARCHED",
    "ROWS_WRITTEN",
    "WAITS",
]

# Counts of a population.
ACQUISITIONS = "pool acquisitions"
"""Connections taken from the suite's own pool."""
WAITS = "pool acquisitions that waited"
"""Acquisitions that had to wait because no connection was free, or none was open yet."""
CONNECTIONS_LOST = "database connections lost"
"""Connections that ended while a query was running on them."""
RETRIES = "database retries"
"""Repeated attempts of queries. All attempts of a query are one operation."""
ROWS_READ = "rows read"
ROWS_SEARCHED = "rows checked for other tenants"
"""Rows that a journey checked for belonging to another tenant."""
ROWS_CHECKED = "users that check the tenants of rows"
"""Users that check each of their rows. Earlier versions counted this instead of rows."""
FOREIGN_ROWS = "rows of other tenants"
ROWS_WRITTEN = "rows written"
"""Rows inserted, updated, deleted or copied, as the server reported them."""

# Gauges of a worker.
POOL_SIZE = "pool size"
"""The most connections that may be open at once."""
POOL_IN_USE = "pool in use"
POOL_WAITING = "pool waiting"
"""Operations that wait for a connection."""
