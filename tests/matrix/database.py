"""What each fault of the database must do to each criterion, as data: see `table`."""

from loadkit.verdict import Status
from tests.matrix.table import DOUBT, FAILS, PASSES, Row

DATABASE_CRITERIA = {
    "writes": "every acknowledged write is stored exactly once",
    "rate": "throughput is above 45 records per second",
    "tenants": "no tenant ever sees another tenant's data",
    "indexes": "index utilization of the key queries is above 95%",
    "waits": "connection pool efficiency is above 90%",
    "deadlocks": "no deadlock occurs",
    "dead": "dead tuples stays below 100000",
    # A commit that waits for a slow disk takes 50 ms at least; others take some milliseconds.
    "inserts": "the p95 response time of the inserts is below 45 ms",
    "errors": "the error rate is below 1%",
}
RECORDS, ANALYSTS, DATABASE_HOLD = 60, 10, 45.0
"""Records per second, analysts, and seconds that the load holds."""


def usual_of_database(_: str) -> frozenset[Status]:
    """What a criterion is while nothing is wrong."""
    return PASSES


DATABASE_ROWS = (
    Row("without a fault each record is stored once, in time, and found by an index"),
    Row(
        "the index of events by name is missing: its queries read the events of a tenant in vain",
        "missing-index",
        {},
        {"indexes": FAILS},
    ),
    Row(
        "one record in fifty is acknowledged and not stored",
        "writes-dropped",
        {"share": 0.02},
        {"writes": FAILS, "rate": FAILS},
    ),
    Row(
        "one record in fifty is stored twice",
        "writes-doubled",
        {"share": 0.02},
        {"writes": FAILS},
    ),
    Row(
        "one read in twenty gets the rows of another tenant",
        "foreign-rows",
        {"share": 0.05},
        {"tenants": FAILS},
    ),
    Row(
        "writers wait for a lock for three seconds of ten",
        "lock-held",
        {"seconds": 3.0, "period": 10.0},
        {"inserts": FAILS, "waits": FAILS | DOUBT, "rate": PASSES | DOUBT},
    ),
    Row(
        "two sessions deadlock every five seconds",
        "deadlocks",
        {"every": 5.0},
        {"deadlocks": FAILS},
    ),
    Row(
        "dead rows stay in the table of the dashboard's sums",
        "autovacuum-off",
        {"rate": 10_000},
        {"dead": FAILS},
    ),
    Row(
        "each flush of the write-ahead log takes 50 ms longer",
        "slow-disk",
        {"delay": 0.05},
        {"inserts": FAILS},
    ),
    Row(
        "three requests in a hundred fail, and store nothing: too few to lift the p95",
        "errors",
        {"share": 0.03},
        {"errors": FAILS},
    ),
)
