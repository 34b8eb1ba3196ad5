"""The evidence of the database: slow statements, plans of key queries, locks, and what to try."""

from collections.abc import Iterator, Mapping
from typing import Any

from loadkit.judging.database import DEFINITION
from loadkit.judging.evidence import Evidence
from loadkit.observers.database import (
    IDS_ALONE,
    MEASURES,
    DatabaseFacts,
    QueryPlan,
    Statement,
    TableUse,
    WrittenRecord,
)
from loadkit.recording.timing import ACQUIRE, QUERY
from loadkit.units import format_bytes, format_number, format_ratio, format_seconds

__all__ = ["lines", "reasons_for_slowness", "summary"]

_SHOWN = 15
"""The maximum number of statements, tables and waits that are shown; the stored run has more."""
_WIDTH = 72
"""The maximum number of characters of a statement that are shown."""


def lines(evidence: Evidence, limits: Mapping[str, float] | None = None) -> Iterator[str]:
    """What was observed of the database, the most useful first.

    Args:
        evidence: the evidence of a run.
        limits: limits of key queries in seconds, by name; the plans of slower queries come first.

    """
    facts = evidence.run.database
    if facts is None:
        yield "the database was not observed in this run"
        return
    yield f"PostgreSQL {facts.version}, observed with the role {facts.role or 'of the observer'}"
    yield (
        f"{facts.samples} of {facts.due} readings of the statistics; each took "
        f"{format_seconds(facts.cost)} on average"
    )
    for problem in dict.fromkeys(filter(None, [facts.problem, *facts.problems.values()])):
        yield f"not known: {problem}"
    for at in facts.restarts:
        yield f"PostgreSQL had restarted {format_seconds(at)} after the start of the run"
    yield from facts.losses
    yield from _to_try(facts)
    yield from _statements(facts)
    yield from _plans(facts, limits or {})
    yield from _locks(facts)
    yield from _pools(evidence)
    yield from _tables(facts)
    yield from _activity(facts)
    yield from ("", "MEASURES", f"  {DEFINITION}")
    for name, definition in MEASURES.items():
        yield f"  {name}: {definition}"
    yield (
        "  records per second: the records that the service acknowledged, in the second of the answer; "
        "after the load they are compared with the stored rows"
    )
    yield (
        "  query time: from the intended start until the last row arrived, including the wait for a connection "
        "of the suite's own pool"
    )


def summary(facts: DatabaseFacts) -> dict[str, Any]:
    """The facts as JSON values, for the figures of a run; seconds, bytes and ratios."""
    return {
        "version": facts.version,
        "deadlocks": facts.deadlocks,
        "transactions": facts.transactions,
        "wal_bytes": facts.wal_bytes,
        "checkpoints": facts.checkpoints,
        "restarts": list(facts.restarts),
        "statement_seconds": facts.statement_seconds,
        "statements": [
            {
                "query": each.query,
                "text": each.text,
                "calls": each.calls,
                "mean": each.mean,
                "share": _share(each, facts),
                "rows": each.rows,
            }
            for each in facts.statements[:_SHOWN]
        ],
        "index_use": {"by_plan": facts.by_plan, "by_scans": facts.by_scans},
        "missing_indexes": [
            {"query": plan.query, "try": f"no index on {index}"} for plan, index in facts.missing_indexes
        ],
        "problems": dict(facts.problems) | ({"all": facts.problem} if facts.problem else {}),
    }


def reasons_for_slowness(facts: DatabaseFacts | None) -> Iterator[str]:
    """What can have made operations slow, one line each: missing indexes, and waits for locks."""
    if facts is None:
        return
    yield from _missing(facts)
    for first in facts.waiting[:1]:
        yield (
            f"statements waited for locks, the first seen at {format_seconds(first.at)} of the run: "
            f"{first.statement[:_WIDTH]}; the lock was held by: {first.blocked_by[:_WIDTH]}"
        )


def _missing(facts: DatabaseFacts) -> Iterator[str]:
    for plan, index in facts.missing_indexes:
        yield f'"{plan.query}": CREATE INDEX ON {index}; without it, {plan.without(index)}'


def _to_try(facts: DatabaseFacts) -> Iterator[str]:
    tries = [*_missing(facts), *_other_tries(facts)]
    yield from ("", "WHAT TO TRY")
    yield from (f"  {each}" for each in tries or ["no problem was found"])


def _other_tries(facts: DatabaseFacts) -> Iterator[str]:
    if facts.waiting:
        yield (
            f"statements waited for locks: shorten the transaction that holds them, {facts.waiting[0].blocked_by}"
        )
    for table in facts.tables:
        if table.is_large and table.dead_rows > max(table.rows, 1) / 5:
            yield (
                f"{table.name}: {table.dead_rows:,} dead rows and {table.rows:,} live rows; "
                "check that autovacuum runs, or run VACUUM"
            )


def _statements(facts: DatabaseFacts) -> Iterator[str]:
    yield from ("", "SLOWEST STATEMENTS, by their share of all database time in the run")
    if not facts.statements:
        yield f"  not known: {facts.problems.get('statements') or facts.problems.get('statistics') or 'none ran'}"
        return
    yield f"  {'share':>7}{'calls':>12}{'mean':>10}{'rows per call':>15}  statement"
    for each in facts.statements[:_SHOWN]:
        name = f'"{each.query}": ' if each.query else ""
        rows = format_number(each.rows / each.calls)
        yield (
            f"  {format_ratio(_share(each, facts)):>7}{each.calls:>12,}{format_seconds(each.mean):>10}"
            f"{rows:>15}  {name}{each.text[: _WIDTH - len(name)]}"
        )


def _share(statement: Statement, facts: DatabaseFacts) -> float:
    return statement.seconds / facts.statement_seconds if facts.statement_seconds else 0.0


def _plans(facts: DatabaseFacts, limits: Mapping[str, float]) -> Iterator[str]:
    yield from ("", "PLANS of the key queries, with their example arguments, taken after the load")
    if not facts.plans:
        yield f"  not known: {facts.problems.get('plans', 'the environment has no key queries')}"
        return
    seconds = {each.query: each.mean for each in facts.statements if each.query}

    def urgency(plan: QueryPlan) -> tuple[bool, bool, float]:
        mean = seconds.get(plan.query, plan.seconds or 0.0)
        return (plan.is_by_index is not False, mean <= limits.get(plan.query, float("inf")), -mean)

    for plan in sorted(facts.plans, key=urgency):
        yield from ("", f'  "{plan.query}": {plan.purpose}')
        if plan.query in seconds:
            limit = f", its limit is {format_seconds(limits[plan.query])}" if plan.query in limits else ""
            yield f"    mean in the server during the run: {format_seconds(seconds[plan.query])}{limit}"
        if plan.seconds is not None:
            yield f"    the example took {format_seconds(plan.seconds)} after the load"
        if plan.problem:
            yield f"    {plan.problem}"
        yield from (
            f"    TRY: CREATE INDEX ON {index}; without it, {plan.without(index)}"
            for index in plan.missing_indexes
        )
        yield from (f"    | {line}" for line in plan.text)


def _locks(facts: DatabaseFacts) -> Iterator[str]:
    yield from ("", "LOCKS")
    deadlocks = "not known" if facts.deadlocks is None else f"{facts.deadlocks:,}"
    yield f"  deadlocks: {deadlocks}"
    if not facts.waiting:
        yield "  no statement was seen waiting for a lock"
    for each in facts.waiting[:_SHOWN]:
        yield f"  seen at {format_seconds(each.at)} of the run"
        yield f"    waits: {each.statement[:_WIDTH]}"
        yield f"    held by: {each.blocked_by[:_WIDTH]}"


def _pools(evidence: Evidence) -> Iterator[str]:
    """The service's pool, from its metrics, and separately the suite's own pool."""
    run, window = evidence.run, evidence.window or evidence.whole
    yield from ("", "POOLS")
    for name in ("connection pool efficiency", "database connection pool utilization"):
        observation = run.observations.get(name)
        if observation is not None:
            yield f"  of the service, {name}: {observation.problem or 'see the chart of resources'}"
    waits = evidence.traffic(window=window, timing=ACQUIRE.key)
    if waits.size:
        yield (
            f"  of the suite: {waits.size:,} waits for a connection, {format_seconds(waits.mean or 0.0)} on average; "
            f"{evidence.traffic(window=window, timing=QUERY.key).size:,} queries"
        )


def _tables(facts: DatabaseFacts) -> Iterator[str]:
    yield from ("", "TABLES")
    yield f"  {'size':>10}{'rows':>14}{'dead':>10}{'by index':>10}{'sequential':>12}  table"
    for each in facts.tables[:_SHOWN]:
        yield (
            f"  {format_bytes(each.bytes):>10}{each.rows:>14,}{each.dead_rows:>10,}"
            f"{_known(each.index_scans):>10}{_known(each.sequential_scans):>12}  {each.name}{_small(each)}"
        )


def _small(table: TableUse) -> str:
    return "" if table.is_large else " (too small to count)"


def _activity(facts: DatabaseFacts) -> Iterator[str]:
    wal = "not known" if facts.wal_bytes is None else format_bytes(facts.wal_bytes)
    yield from ("", f"WRITE-AHEAD LOG  {wal} written; checkpoints: {_known(facts.checkpoints)}")
    writes = facts.writes
    if writes is None:
        if facts.writes_due:
            yield f"WRITES  not compared: {facts.problems.get('writes', facts.problem)}"
        return
    yield (
        f"WRITES  {writes.acknowledged:,} acknowledged, {writes.rejected:,} rejected, {writes.unknown:,} without an "
        f"answer; {writes.stored:,} rows are stored"
    )
    for what, records in (
        ("acknowledged writes lost", writes.lost),
        ("writes stored twice", writes.doubled),
        ("writes stored under another tenant", writes.misplaced),
        ("rejected writes that are stored", writes.phantoms),
        ("rows that nobody wrote", writes.unwritten),
    ):
        yield f"  {what}: {records.number:,}"
        yield from (f"    {_record(each)}" for each in records.examples)
    yield (
        f"  writes with an unknown outcome: {writes.unknown:,}, of which {writes.unknown_stored:,} are stored\n"
        "    (both are allowed: no answer, an error of the service, or the trial before the load)"
    )
    if writes.placed is None or writes.misnamed:
        yield f"  the tenants under which they are stored were not compared: {writes.misnamed or IDS_ALONE}"
    if writes.foreign:
        yield f"  other rows of the run, of which it is not known who wrote them: {writes.foreign:,}"


def _record(record: WrittenRecord) -> str:
    if record.at is None:
        return record.id
    whose = f" of {record.tenant}" if record.tenant else ""
    where = f", stored under {record.stored_under}" if record.stored_under else ""
    by = f", answered by {record.instance}" if record.instance else ""
    return f"{record.id}  written after {format_seconds(record.at)} by user {record.user}{whose}{where}{by}"


def _known(value: int | None) -> str:
    return "not known" if value is None else f"{value:,}"
