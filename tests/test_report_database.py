"""Someone who reads the report alone finds which query misses which index, and what held it up."""

from dataclasses import replace
from types import SimpleNamespace

import jsonschema

from loadkit import grammar
from loadkit.judging.evidence import Evidence
from loadkit.observers.database import (
    DatabaseFacts,
    Statement,
    StoredWrites,
    Waiting,
    WrittenRecord,
    WrongRecords,
)
from loadkit.reports import database, summary
from steps.suite.evidence import attachments_of
from tests.builders import judge, plan_of, run_of, samples_of, worker_seconds_of
from tests.test_judge_database import BAD, GOOD, plan, seen
from tests.test_summary import SCHEMA

FACTS = {
    "version": "17.2",
    "statements": (
        Statement("SELECT count(*) FROM metric_events WHERE name = $1", 200, 30.0, 200, "hourly values"),
        Statement("INSERT INTO metric_events VALUES ($1)", 60_000, 10.0, 60_000),
    ),
    "statement_seconds": 40.0,
    "plans": (plan("recent events", GOOD), plan("hourly values", BAD)),
    "waiting": (Waiting(12.0, "UPDATE a SET b = ?", "idle in transaction after LOCK TABLE a"),),
}


def report(**changes) -> str:
    facts = seen(**(FACTS | changes))
    run = run_of([], plan_of(60), worker_seconds=worker_seconds_of(60), database=facts)
    return "\n".join(database.lines(Evidence(run), {"hourly values": 0.1}))


def test_what_to_try_comes_first_and_names_query_table_and_columns() -> None:
    text = report()
    missing = '"hourly values": CREATE INDEX ON metric_events (tenant_id, name); without it, '
    assert text.index(missing) < text.index("SLOWEST")


def test_a_statement_has_its_share_of_all_database_time_and_its_key_query() -> None:
    line = next(each for each in report().splitlines() if "75 %" in each)
    assert '"hourly values": SELECT count(*)' in line
    assert "150 ms" in line


def test_the_plan_of_a_query_that_misses_an_index_comes_before_the_others() -> None:
    text = report()
    assert text.index('"hourly values": a test') < text.index('"recent events": a test')
    assert "mean in the server during the run: 150 ms, its limit is 100 ms" in text


def test_locks_are_shown_with_what_held_them() -> None:
    text = report()
    assert "held by: idle in transaction after LOCK TABLE a" in text
    assert "statements waited for locks" in text


def test_writes_that_were_lost_are_listed_with_their_ids() -> None:
    examples = (WrittenRecord("3f2a", 65.0, 12, "acme", instance="m-1"), WrittenRecord("4b"))
    lost = WrongRecords(2, 65.0, 65.0, {"acme": 1}, examples)
    text = report(writes=StoredWrites(3, 0, 1, 2, lost, WrongRecords(), WrongRecords(), 0))
    assert "rows that nobody wrote: 0\n" in text
    assert (
        "acknowledged writes lost: 2\n    3f2a  written after 65 s by user 12 of acme, answered by m-1\n    4b\n"
        in text
    )


def test_writes_under_another_tenant_are_listed_with_both_tenants() -> None:
    wrong = WrongRecords(1, 65.0, 65.0, {"acme": 1}, (WrittenRecord("3f2a", 65.0, 12, "acme", "globex"),))
    stored = StoredWrites(3, 0, 1, 2, *[WrongRecords()] * 3, 0, misplaced=wrong, placed=3)
    text = report(writes=stored)
    line = "    3f2a  written after 65 s by user 12 of acme, stored under globex\n"
    assert "writes stored under another tenant: 1\n" + line in text
    assert "not compared" not in text
    ids_alone = report(writes=replace(stored, misplaced=WrongRecords(), placed=None))
    assert (
        "the tenants under which they are stored were not compared: "
        "[database] stored gives the ids alone, and no tenants\n"
    ) in ids_alone


def test_what_is_not_known_is_said_and_not_a_zero() -> None:
    text = report(
        deadlocks=None,
        wal_bytes=None,
        statements=(),
        problems={"statements": "the database has no extension pg_stat_statements"},
    )
    assert "deadlocks: not known" in text
    assert "  not known: the database has no extension pg_stat_statements" in text
    assert "not known written" in text


def test_no_line_is_so_long_that_nobody_reads_it() -> None:
    definitions = report().index("MEASURES")
    assert max(map(len, report()[:definitions].splitlines())) <= 130


def test_the_figures_of_a_run_have_the_database_only_where_somebody_looked() -> None:
    samples = samples_of([0.5], [0.1])
    facts: DatabaseFacts = seen(**FACTS)
    run = run_of(samples, plan_of(60), worker_seconds=worker_seconds_of(60), database=facts)
    figures = summary.summarise(Evidence(run))["database"]
    assert figures["missing_indexes"] == [
        {"query": "hourly values", "try": "no index on metric_events (tenant_id, name)"}
    ]
    assert figures["statements"][0]["share"] == 0.75
    jsonschema.validate(figures, SCHEMA["properties"]["database"] | {"$defs": SCHEMA["$defs"]})
    without = run_of(samples, plan_of(60), worker_seconds=worker_seconds_of(60))
    assert "database" not in summary.summarise(Evidence(without))


def test_each_criterion_of_a_run_has_the_evidence_of_its_database() -> None:
    run = run_of(
        samples_of([0.5], [0.1]), plan_of(60), worker_seconds=worker_seconds_of(60), database=seen(**FACTS)
    )
    evidence = Evidence(run)
    criterion = grammar.criterion("index utilization of the key queries is above 95%")
    result = SimpleNamespace(sentence=criterion.sentence, verdict=judge(criterion, run))
    found = {each.title: each for each in attachments_of(result, evidence)}
    text = found["database: slow statements, plans, what to try"].draw().decode()
    assert '"hourly values": CREATE INDEX ON metric_events (tenant_id, name)' in text
    assert found["database"].draw().startswith(b"<?xml")
