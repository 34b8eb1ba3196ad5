"""The facts of a run about its database: what its statistics, plans and stored rows showed.

A `PostgresObserver` collects them with a role that may only read. They are archived with the run.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from loadkit.criterion import OTHERS_DATA
from loadkit.units import format_seconds

__all__ = [
    "CACHE_HITS",
    "CONNECTIONS",
    "DEADLOCKS",
    "DEAD_TUPLES",
    "FEW",
    "IDS_ALONE",
    "IN_VAIN",
    "LARGE",
    "LOCK_WAITS",
    "MEASURES",
    "REJECTED",
    "WRITES",
    "DatabaseFacts",
    "DroppedIndex",
    "IndexUse",
    "QueryPlan",
    "Scan",
    "Statement",
    "StoredWrites",
    "TableUse",
    "Waiting",
    "WrittenRecord",
    "WrongRecords",
]

# The measures that the observer samples each second, with their names in sentences.
CACHE_HITS = "cache hit ratio"
CONNECTIONS = "database connections"
LOCK_WAITS = "lock waits"
DEAD_TUPLES = "dead tuples"
MEASURES: Mapping[str, str] = {
    CACHE_HITS: "the share of the blocks that queries needed which PostgreSQL had in its own memory",
    CONNECTIONS: "the client connections to this database that are open, of all roles, each second",
    LOCK_WAITS: "the connections to this database that wait for a lock, each second",
    DEAD_TUPLES: "the deleted or replaced rows that vacuum has not removed yet, of all tables, each second",
}
"""The definition of each measure, for reports."""

# Counts that must be zero.
DEADLOCKS = "deadlocks"
WRITES = "acknowledged writes not stored exactly once"
REJECTED = "rejected writes that are stored"

IDS_ALONE = "[database] stored gives the ids alone, and no tenants"
"""Why the tenants of stored rows were not compared."""

LARGE = 128
"""Pages (of 8 kB) from which a table counts for index utilization. PostgreSQL reads a smaller table
in a fraction of a millisecond, and rightly without an index."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What one statement cost during the run (pg_stat_statements, end minus begin)."""

    text: str
    """The SQL, with ``$1`` or ``?`` in place of values."""
    calls: int
    seconds: float
    """The time of all its calls in the server, in seconds."""
    rows: int
    query: str = ""
    """The name of the key query with the same text; empty if there is none."""

    @property
    def mean(self) -> float:
        """Mean seconds per call."""
        return self.seconds / self.calls if self.calls else 0.0


@dataclass(frozen=True, slots=True)
class TableUse:
    """A table or partition, and its use during the run; None is not known."""

    name: str
    """Its name, with the schema unless that is public."""
    root: str
    """The partitioned table that it belongs to; otherwise its own name."""
    pages: int
    """Its size in pages at the end, without indexes."""
    bytes: int
    """Its size in bytes at the end, with its indexes."""
    rows: int
    """Live rows, as PostgreSQL estimates them at the end."""
    dead_rows: int
    """Rows that vacuum has not removed yet, as PostgreSQL estimates them at the end."""
    sequential_scans: int | None = None
    index_scans: int | None = None
    rows_written: int | None = None
    """Rows inserted, updated or deleted."""

    @property
    def is_large(self) -> bool:
        """Does it count for index utilization?"""
        return self.pages >= LARGE


@dataclass(frozen=True, slots=True)
class IndexUse:
    """An index, and how often it was used during the run; None is not known."""

    name: str
    table: str
    bytes: int
    scans: int | None = None


@dataclass(frozen=True, slots=True)
class DroppedIndex:
    """An index that existed before the load, and not after it."""

    name: str
    table: str
    """Its table; for a partition, the partitioned table."""
    at: float | None = None
    """Seconds since the start of the run at which it was first missing; None if that is not
    known."""


@dataclass(frozen=True, slots=True)
class Scan:
    """How a plan reads a table."""

    table: str
    """Its name; for a partition, the name of the partitioned table."""
    node: str
    """"Seq Scan", "Index Scan", "Bitmap Heap Scan" …"""
    is_large: bool
    """Does the table, or this partition of it, count for index utilization?"""
    index: str = ""
    filter: str = ""
    """The condition that was tested for each row that was read."""
    kept: int | None = None
    """Rows that met the condition; None if the query was not executed."""
    removed: int | None = None
    """Rows that were read and discarded; None if the query was not executed."""
    columns: tuple[str, ...] = ()
    """Columns of an index that would have found the rows; the columns compared with = come
    first."""

    @property
    def is_by_index(self) -> bool | None:
        """Did an index find the rows, with few rows read and discarded?

        `IN_VAIN` and `FEW` are the bounds. None if the query was not executed, so that it is not
        known how many rows the filter discards.
        """
        if self.node == "Seq Scan":
            return False
        if self.filter and self.removed is None:
            return None
        return (self.removed or 0) <= max(IN_VAIN * (self.kept or 0), FEW)

    @property
    def missing_index(self) -> str:
        """The table and columns of the missing index; "" for none.

        Example: "metric_events (tenant_id, name)".
        """
        if not self.is_large or self.is_by_index is not False or not self.columns:
            return ""
        return f"{self.table} ({', '.join(self.columns)})"

    @property
    def in_words(self) -> str:
        """How the plan reads the table: "a sequential scan of metric_events"."""
        if self.node == "Seq Scan":
            return f"a sequential scan of {self.table}"
        is_vain = self.is_by_index is False
        vain = f", {self.removed:,} rows read and discarded, {self.kept:,} kept" if is_vain else ""
        return f"index {self.index or self.node} of {self.table}{vain}"


IN_VAIN = 10
"""An index is unsuitable if more rows than this are read and discarded for each row kept."""
FEW = 1000
"""Rows that may always be read and discarded; they take a millisecond."""


@dataclass(frozen=True, slots=True)
class QueryPlan:
    """The plan of a key query with its example arguments."""

    query: str
    purpose: str = ""
    text: tuple[str, ...] = ()
    """The lines of EXPLAIN, with times and buffers if the query was executed."""
    scans: tuple[Scan, ...] = ()
    seconds: float | None = None
    """Seconds that the example took; None if it was not executed to its end."""
    problem: str = ""
    """Why there is no plan, or only an estimated one, in one sentence."""

    @property
    def is_by_index(self) -> bool | None:
        """Does an index find the rows in all large tables? None if that is not known."""
        found = {scan.is_by_index for scan in self.scans if scan.is_large}
        if not self.text or (None in found and False not in found):
            return None
        return False not in found

    @property
    def missing_indexes(self) -> tuple[str, ...]:
        """The missing indexes, each once: see `Scan.missing_index`."""
        return tuple(dict.fromkeys(scan.missing_index for scan in self.scans if scan.missing_index))

    def without(self, index: str) -> str:
        """How the query finds its rows without a missing index.

        Example: "49,665 rows are read and discarded, 3,312 are kept".
        """
        scans = [scan for scan in self.scans if scan.missing_index == index]
        if any(scan.node == "Seq Scan" for scan in scans):
            return "the query scans the whole table"
        removed, kept = (sum(scan.removed or 0 for scan in scans), sum(scan.kept or 0 for scan in scans))
        names = ", ".join(dict.fromkeys(scan.index for scan in scans if scan.index))
        return f"{removed:,} rows are read and discarded, {kept:,} are kept" + f", with index {names}" * bool(
            names
        )


@dataclass(frozen=True, slots=True)
class Waiting:
    """A statement that was seen waiting for a lock."""

    at: float
    """Seconds since the start of the run."""
    statement: str
    """The statement, with its values removed."""
    blocked_by: str
    """The statement of the connection that held the lock. If that was idle in a transaction, its
    state and its last statement."""


@dataclass(frozen=True, slots=True)
class WrittenRecord:
    """One record that a user wrote."""

    id: str
    at: float | None = None
    """Seconds since the start of the run at which its write began; None if that is not known."""
    user: int | None = None
    tenant: str = ""
    stored_under: str = ""
    """The tenant under which it is stored, if that is not its user's tenant."""
    instance: str = ""
    """The instance that answered; "" if it is not known."""


@dataclass(frozen=True, slots=True)
class WrongRecords:
    """Records that are not stored as the service answered: their number, times, tenants and instances."""

    number: int = 0
    first: float | None = None
    """Seconds since the start of the run at which the first of them was written."""
    last: float | None = None
    by_tenant: Mapping[str, int] = field(default_factory=dict)
    """Number of records by tenant, the largest first."""
    examples: tuple[WrittenRecord, ...] = ()
    """The first twenty."""
    per_second: tuple[int, ...] = ()
    """Their number by the second of the run in which they were written, up to the last of them."""
    by_instance: Mapping[str, int] = field(default_factory=dict)
    """Number of records by the instance that answered, the largest first."""


@dataclass(frozen=True, slots=True)
class StoredWrites:
    """The writes of a run, compared with the rows that are stored."""

    acknowledged: int
    rejected: int
    unknown: int
    """Writes with an unknown outcome: no answer, an error of the service, or written in the trial."""
    stored: int
    """Rows of the run."""
    lost: WrongRecords
    """Acknowledged but not stored."""
    doubled: WrongRecords
    """Stored more than once, whatever the answer was."""
    phantoms: WrongRecords
    """Rejected in each attempt, but stored."""
    unknown_stored: int
    """Those of them that are stored."""
    unwritten: WrongRecords = field(default_factory=WrongRecords)
    """Stored under an id that no user of the run wrote."""
    foreign: int = 0
    """Rows with ids that no user reported, if it is not known whether a user wrote them.

    In this case, a worker's reports are missing, or the run is of an earlier version, in which
    journeys did not report all ids.
    """
    tenants: int = 0
    """Tenants whose users wrote."""
    instances: int = 0
    """Instances that acknowledged or rejected writes, as far as they are known."""
    misplaced: WrongRecords = field(default_factory=WrongRecords)
    """Stored under another tenant than that of the user who wrote them."""
    placed: int | None = None
    """Rows whose tenant was compared with their writer's tenant; None if only the ids are
    listed."""
    unplaced: int = 0
    """Rows whose tenant could not be compared, because its name is not one of the accounts'
    names."""
    misnamed: str = ""
    """The tenant names of such a row and of its writer."""

    @property
    def wrong(self) -> Mapping[str, WrongRecords]:
        """The wrong records, by kind."""
        return {
            "lost": self.lost,
            "stored twice": self.doubled,
            "stored under another tenant": self.misplaced,
            "rejected and yet stored": self.phantoms,
            "stored and written by nobody": self.unwritten,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseFacts:
    """What was observed of the database of a run."""

    version: str = ""
    """The version of PostgreSQL: "17.2"."""
    role: str = ""
    """The role of the observer."""
    samples: int = 0
    """Number of readings of the statistics during the run."""
    due: int = 0
    """Number of readings that were due: one per second."""
    cost: float = 0.0
    """Mean seconds that one reading of the statistics took."""
    restarts: tuple[float, ...] = ()
    """When PostgreSQL was first seen after each restart, in seconds since the start."""
    deadlocks: int | None = None
    """Deadlocks during the run; None is not known."""
    transactions: int | None = None
    wal_bytes: int | None = None
    """Write-ahead log written during the run; None is not known."""
    checkpoints: int | None = None
    """Checkpoints during the run, timed and requested; None is not known."""
    statements: tuple[Statement, ...] = ()
    """The statements of the run, the most expensive first."""
    statement_seconds: float = 0.0
    """The time of all statements of this database during the run, including those not listed."""
    tables: tuple[TableUse, ...] = ()
    """The tables, the largest first."""
    indexes: tuple[IndexUse, ...] = ()
    dropped_indexes: tuple[DroppedIndex, ...] = ()
    """Indexes that were dropped during the run."""
    plans: tuple[QueryPlan, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    """The first statements that were seen waiting for a lock."""
    writes: StoredWrites | None = None
    """None if the writes were not compared."""
    writes_due: int = 0
    """Acknowledged writes that had to be compared."""
    are_rows_listed: bool = False
    """Does the environment have a statement that lists the rows, possibly with their tenants?"""
    problem: str = ""
    """Why nothing, or only a part, is known, in one sentence."""
    problems: Mapping[str, str] = field(default_factory=dict)
    """By name of a part ("statements", "writes", "plans"): why it is not known."""

    # --- counts that must be zero

    def count(self, name: str) -> int:
        """A count that must be zero, or its "compared" or "to compare" count; 0 for other names.

        `recording.exact` names these counts.
        """
        return self._counts().get(name, 0)

    def _counts(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        found, writes = self.deadlocks, self.writes
        counts[f"{DEADLOCKS}: to compare"] = self.transactions or 0
        if found is not None:
            counts[DEADLOCKS] = found
            counts[f"{DEADLOCKS}: compared"] = self.transactions or 0
        counts[f"{WRITES}: to compare"] = self.writes_due
        if writes is not None:
            counts[WRITES] = sum(each.number for each in writes.wrong.values())
            # A row whose writer is not known may be a phantom. So it counts as not compared.
            counts[f"{WRITES}: to compare"] += writes.foreign + writes.unplaced
            counts[f"{WRITES}: compared"] = writes.acknowledged
            counts[REJECTED] = writes.phantoms.number
            counts[f"{REJECTED}: to compare"] = counts[f"{REJECTED}: compared"] = writes.rejected
            counts[OTHERS_DATA] = writes.misplaced.number
            counts[f"{OTHERS_DATA}: compared"] = writes.placed or 0
            counts[f"{OTHERS_DATA}: to compare"] = (writes.placed or 0) + writes.unplaced
        elif self.are_rows_listed:
            counts[f"{OTHERS_DATA}: to compare"] = self.writes_due
        return counts

    def remark(self, name: str) -> str:
        """What a reader should know about a count besides its number; "" for nothing."""
        if name == DEADLOCKS:
            if self.deadlocks is None:
                problems = (self.problems.get(part, "") for part in ("statistics", "deadlocks"))
                return next(filter(None, problems), self.problem)
            return "these are the transactions of the run"
        if name == OTHERS_DATA:
            return self._placement
        if name not in {WRITES, REJECTED}:
            return ""
        writes = self.writes
        if writes is None:
            return self.problems.get("writes", "") or self.problem
        parts = [
            f"{each.number:,} {kind}{_such_as(each.examples)}"
            for kind, each in writes.wrong.items()
            if each.number and (name == WRITES or each is writes.phantoms)
        ]
        if writes.unknown:
            parts.append(
                f"{writes.unknown_stored:,} of {writes.unknown:,} writes with an unknown outcome are stored"
            )
        if writes.foreign:
            parts.append(f"who wrote {writes.foreign:,} other rows of the run is not known")
        if name == WRITES and (writes.placed is None or writes.misnamed):
            parts.append(self._placement)
        parts.append(f"{writes.acknowledged:,} writes were acknowledged, and {writes.rejected:,} rejected")
        return "; ".join(parts)

    @property
    def _placement(self) -> str:
        """What is known of the tenants under which the rows are stored.

        It is "" if nothing was written.
        """
        writes = self.writes
        if writes is None:
            why = self.problems.get("writes", "") or self.problem
            return f"{_NOT_PLACED}: {why}" if self.writes_due and why else ""
        if writes.placed is None:
            return f"{_NOT_PLACED}: {IDS_ALONE}"
        if writes.misnamed:
            return f"{_NOT_PLACED}: {writes.misnamed}"
        if not writes.placed:
            return f"{_NOT_PLACED}: no stored row is of a user with a tenant"
        wrong = writes.misplaced
        if wrong.number:
            return f"{wrong.number:,} stored under another tenant{_such_as(wrong.examples)}"
        return f"{writes.placed:,} stored rows are under the tenant of the user who wrote them"

    # --- index utilization

    @property
    def by_plan(self) -> float | None:
        """The share of the key queries that find their rows by indexes; None if none is known."""
        known = [plan.is_by_index for plan in self.plans if plan.is_by_index is not None]
        return sum(known) / len(known) if known else None

    @property
    def by_scans(self) -> float | None:
        """The share of the scans of the key queries' large tables that used an index.

        None if the scans are not known, or no such table was read.
        """
        read = {scan.table for plan in self.plans for scan in plan.scans}
        tables = [table for table in self.tables if table.root in read and table.is_large]
        if any(table.index_scans is None or table.sequential_scans is None for table in tables):
            return None
        by_index = sum(table.index_scans or 0 for table in tables)
        total = by_index + sum(table.sequential_scans or 0 for table in tables)
        return by_index / total if total else None

    @property
    def missing_indexes(self) -> Iterator[tuple[QueryPlan, str]]:
        """Each missing index, with the plan of the key query that misses it."""
        return ((plan, each) for plan in self.plans for each in plan.missing_indexes)

    @property
    def losses(self) -> Iterator[str]:
        """The indexes that were dropped during the run, by table, in words."""
        by_table: dict[str, list[DroppedIndex]] = {}
        for index in self.dropped_indexes:
            by_table.setdefault(index.table, []).append(index)
        for table, indexes in by_table.items():
            first = indexes[0]
            what = (
                f"the index {first.name} of {table} was"
                if len(indexes) == 1
                else f"{len(indexes)} indexes of {table} (such as {first.name}) were"
            )
            when = (
                "during the run"
                if first.at is None
                else f"{format_seconds(first.at)} after the start of the run"
            )
            yield f"{what} dropped {when}"


_NOT_PLACED = "under which tenant rows are stored was not compared"


def _such_as(examples: tuple[WrittenRecord, ...]) -> str:
    if not examples:
        return ""
    first = examples[0]
    where = f", written by {first.tenant} and stored under {first.stored_under}" if first.stored_under else ""
    return f" (such as {first.id}{where})"
