"""The cumulative statistics of PostgreSQL: the SQL that reads them, and their increase in a run."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Protocol

from loadkit.observers.database import LARGE, DroppedIndex, IndexUse, Statement, TableUse
from loadkit.sql_tokens import Token, replace_tokens

__all__ = [
    "CHECKPOINTS",
    "CHECKPOINTS_17",
    "INDEX_NAMES",
    "INDEX_ROWS",
    "RELATIONS",
    "RIGHTS",
    "SAMPLE",
    "STATEMENTS_SCHEMA",
    "STATEMENT_ROWS",
    "TABLE_ROWS",
    "WAITERS",
    "KeyQuery",
    "Snapshot",
    "dropped_between",
    "gain",
    "has_fallen",
    "indexes_between",
    "statements_between",
    "tables_between",
    "without_values",
]

_STATEMENTS, _TABLES = 50, 50
"""The most statements and tables that are kept."""


class KeyQuery(Protocol):
    """A named query with example arguments."""

    @property
    def name(self) -> str:
        """Its name in sentences."""
        ...

    @property
    def sql(self) -> str:
        """The text, with $1, $2 … for its arguments."""
        ...

    @property
    def purpose(self) -> str:
        """What the query is for."""
        ...

    @property
    def example(self) -> tuple[Any, ...]:
        """Arguments with which the query can be tried."""
        ...

    @property
    def is_read(self) -> bool:
        """Does the query only read?"""
        ...


@dataclass(slots=True)
class Snapshot:
    """The cumulative statistics at one moment."""

    at: float
    """Unix seconds on the clock of this machine."""
    started: float
    """When PostgreSQL started, in Unix seconds on its own clock."""
    row: Mapping[str, Any]
    """The row that `SAMPLE` returned."""
    statements: dict[tuple[Any, ...], Mapping[str, Any]] | None = None
    """None if pg_stat_statements cannot be read."""
    tables: dict[int, Mapping[str, Any]] | None = None
    """None if the tables could not be read. The same holds for the indexes."""
    indexes: dict[int, Mapping[str, Any]] | None = None
    checkpoints: int | None = None


def gain(before: Any, after: Any) -> int | None:
    """The increase of a counter; None if it is not known, or if the counter went backwards."""
    if before is None or after is None or after < before:
        return None
    return int(after - before)


def has_fallen(rows: Iterable[Mapping[str, Any]]) -> bool:
    """Did a counter fall from one row of `SAMPLE` to the next?

    PostgreSQL discards its statistics if a backend crashes, and neither the start of its main
    process nor `stats_reset` shows that.
    """
    return any(
        after[name] < before[name]
        for before, after in pairwise(rows)
        for name in ("transactions", "deadlocks")
    )


_LITERALS = {Token.COMMENT: " ", Token.TEXT: "?", Token.NUMBER: "?"}
_VALUES = {**_LITERALS, Token.PARAMETER: "?"}


def _without_values(text: str, values: Mapping[Token, str] = _VALUES) -> str:
    """A statement in one line, with "?" for each value."""
    return " ".join(replace_tokens(text, values).split())


def without_values(text: str | None) -> str:
    """A statement without its values, in one line of at most 200 characters."""
    return _without_values(text or "")[:200]


def _shape(text: str) -> str:
    """A statement in a form that is equal for statements that differ only in their values."""
    return re.sub(r"\s*\?\s*", "?", _without_values(text)).rstrip("; ").casefold()


def statements_between(
    before: Snapshot | None, end: Snapshot, queries: Sequence[KeyQuery]
) -> tuple[tuple[Statement, ...], float]:
    """The statements of a run, the most expensive first, and the total seconds of all."""
    if before is None or before.statements is None or end.statements is None:
        return (), 0.0
    names = {_shape(query.sql): query.name for query in queries}
    found: dict[str, Statement] = {}
    total = 0.0
    for key, row in end.statements.items():
        earlier = before.statements.get(key)
        calls, seconds, rows = row["calls"], row["seconds"], row["rows"]
        # An entry that was dropped and created again has fewer calls than before; it counts from 0.
        if earlier is not None and earlier["calls"] <= calls:
            calls, seconds, rows = (
                calls - earlier["calls"],
                seconds - earlier["seconds"],
                rows - earlier["rows"],
            )
        if calls <= 0:
            continue
        if row["toplevel"]:
            total += seconds
        # PostgreSQL keeps the values of utility statements, such as ALTER ROLE … PASSWORD 'x'.
        text = _without_values(row["query"] or "", _LITERALS)
        known = found.get(text, Statement(text, 0, 0.0, 0, names.get(_shape(text), "")))
        found[text] = replace(
            known, calls=known.calls + calls, seconds=known.seconds + seconds, rows=known.rows + rows
        )
    ordered = sorted(found.values(), key=lambda each: -each.seconds)
    kept = [each for number, each in enumerate(ordered) if number < _STATEMENTS or each.query]
    return tuple(kept), total


def tables_between(before: Snapshot | None, end: Snapshot) -> tuple[TableUse, ...]:
    """The largest tables and their use; without an earlier reading, the use is not known."""
    earlier = None if before is None else before.tables
    tables = end.tables or {}

    def gained(key: int, name: str) -> int | None:
        return None if earlier is None else gain(earlier.get(key, {}).get(name, 0), tables[key][name])

    rows = sorted(tables.items(), key=lambda item: -item[1]["bytes"])
    return tuple(
        TableUse(
            name=row["name"],
            root=row["root"],
            pages=row["pages"],
            bytes=row["bytes"],
            rows=row["live"],
            dead_rows=row["dead"],
            sequential_scans=gained(key, "seq_scan"),
            index_scans=gained(key, "idx_scan"),
            rows_written=gained(key, "written"),
        )
        for number, (key, row) in enumerate(rows)
        if number < _TABLES or row["pages"] >= LARGE
    )


def indexes_between(before: Snapshot | None, end: Snapshot) -> tuple[IndexUse, ...]:
    """The largest indexes and their use; without an earlier reading, the use is not known."""
    earlier = None if before is None else before.indexes
    rows = sorted((end.indexes or {}).items(), key=lambda item: -item[1]["bytes"])
    return tuple(
        IndexUse(
            row["name"],
            row["table"],
            row["bytes"],
            None if earlier is None else gain(earlier.get(key, {}).get("idx_scan", 0), row["idx_scan"]),
        )
        for key, row in rows[: 2 * _TABLES]
    )


def dropped_between(
    before: Snapshot | None, end: Snapshot, gone: Mapping[tuple[int, str], float]
) -> tuple[DroppedIndex, ...]:
    """The indexes that were dropped, the largest first; none if one of the readings is missing.

    Args:
        before: the reading with the indexes before the load.
        end: the reading with the indexes after the load.
        gone: when an index was first seen to be missing, in seconds since the start of the run, by
            its table and name.

    """
    if before is None or before.indexes is None or end.indexes is None or end.tables is None:
        return ()
    # REINDEX creates an index of the same name. A dropped table, such as an old partition, loses
    # its indexes too. These do not count as missing.
    kept = {(row["relid"], row["name"]) for row in end.indexes.values()}
    dropped = [
        row
        for row in before.indexes.values()
        if (row["relid"], row["name"]) not in kept and row["relid"] in end.tables
    ]
    return tuple(
        DroppedIndex(row["name"], row["root"], gone.get((row["relid"], row["name"])))
        for row in sorted(dropped, key=lambda row: -row["bytes"])
    )


# Temporary tables and TOAST tables come and go. Neither their number nor their names matter.
_INDEX = "i.relkind = 'i' AND i.relpersistence <> 't' AND i.relnamespace <> 'pg_toast'::regnamespace"
# pg_stat_database counts what backends have reported. It is at most a second late.
SAMPLE = f"""
SELECT extract(epoch FROM pg_postmaster_start_time())::float8 AS started,
    d.stats_reset, d.blks_hit AS hits, d.blks_hit + d.blks_read AS accesses,
    d.xact_commit + d.xact_rollback AS transactions, d.deadlocks, d.temp_bytes,
    CASE WHEN pg_is_in_recovery() THEN NULL
        ELSE pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint END AS wal,
    a.connections, a.active, a.idle_in_transaction, a.waiting,
    (SELECT coalesce(sum(n_dead_tup), 0)::bigint FROM pg_stat_user_tables) AS dead,
    (SELECT count(*) FROM pg_class i WHERE {_INDEX}) AS indexes
FROM pg_stat_database d, (
    SELECT count(*) AS connections,
        count(*) FILTER (WHERE state = 'active') AS active,
        count(*) FILTER (WHERE state LIKE 'idle in transaction%') AS idle_in_transaction,
        count(*) FILTER (WHERE wait_event_type = 'Lock') AS waiting
    FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
) a
WHERE d.datname = current_database()
"""  # noqa: S608  only the constant above
WAITERS = """
SELECT w.query, coalesce(
    CASE WHEN b.state LIKE 'idle in transaction%' THEN b.state || ' after ' || b.query ELSE b.query END, ''
) AS blocker
FROM pg_stat_activity w LEFT JOIN pg_stat_activity b ON b.pid = (pg_blocking_pids(w.pid))[1]
WHERE w.datname = current_database() AND w.wait_event_type = 'Lock'
LIMIT 5
"""
RIGHTS = "SELECT current_user AS role, pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS may"
CHECKPOINTS = "SELECT checkpoints_timed + checkpoints_req FROM pg_stat_bgwriter"
CHECKPOINTS_17 = "SELECT num_timed + num_requested FROM pg_stat_checkpointer"
STATEMENTS_SCHEMA = """
SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
WHERE e.extname = 'pg_stat_statements'
"""
# The observer's own statements are not part of the load.
STATEMENT_ROWS = """
SELECT userid, queryid, toplevel, query, calls, total_exec_time / 1000 AS seconds, rows
FROM {schema}.pg_stat_statements
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND userid <> (SELECT oid FROM pg_roles WHERE rolname = current_user)
"""
_NAME = "CASE {schema}.nspname WHEN 'public' THEN {table}.relname ELSE {schema}.nspname || '.' || {table}.relname END"
# The partitioned table that a table belongs to, otherwise the table itself.
_ROOT = f"""(SELECT {_NAME.format(schema="m", table="r")} FROM pg_class r JOIN pg_namespace m ON m.oid = r.relnamespace
    WHERE r.oid = coalesce(pg_partition_root(c.oid), c.oid))"""  # noqa: S608  only the constant above
TABLE_ROWS = f"""
SELECT s.relid::bigint AS id, {_NAME.format(schema="n", table="c")} AS name, {_ROOT} AS root,
    pg_relation_size(c.oid) / current_setting('block_size')::bigint AS pages,
    pg_total_relation_size(c.oid) AS bytes, s.n_live_tup AS live, s.n_dead_tup AS dead,
    s.seq_scan, coalesce(s.idx_scan, 0) AS idx_scan, s.n_tup_ins + s.n_tup_upd + s.n_tup_del AS written
FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind <> 'p'
"""  # noqa: S608  only the constants above
# It does not read the sizes, because a lock on a single index would block this.
INDEX_NAMES = f"""
SELECT x.indrelid::bigint AS relid, i.relname AS name
FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid WHERE {_INDEX}
"""  # noqa: S608  only the constant above
INDEX_ROWS = f"""
SELECT s.indexrelid::bigint AS id, s.relid::bigint AS relid, s.indexrelname AS name, s.relname AS table, {_ROOT} AS root, s.idx_scan,
    pg_relation_size(s.indexrelid) AS bytes
FROM pg_stat_user_indexes s JOIN pg_class c ON c.oid = s.relid
"""  # noqa: S608  only the constant above
RELATIONS = f"""
SELECT n.nspname AS schema, c.relname AS name, {_ROOT} AS root,
    CASE c.relkind WHEN 'p' THEN 0
        ELSE pg_relation_size(c.oid) / current_setting('block_size')::bigint END AS pages,
    (SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
    AND n.nspname NOT LIKE 'pg_toast%'
"""  # noqa: S608  the inserted text is a constant
