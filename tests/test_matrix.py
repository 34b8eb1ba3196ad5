"""Every fault is found by the criteria that speak of it, and by no other."""

import os

import pytest

from environments.local.faults import FAULTS
from loadkit import grammar
from loadkit.criterion import Scope
from loadkit.judging.health import health
from loadkit.judging.machine import contention
from loadkit.judging.window import window
from loadkit.recording import histogram as buckets
from loadkit.recording.run import Run
from loadkit.recording.traffic import series_of, traffic_of
from loadkit.verdict import Verdict
from tests.builders import judge
from tests.local_environment import LocalEnvironment, environment
from tests.matrix.database import DATABASE_ROWS
from tests.matrix.messages import MESSAGE_ROWS
from tests.matrix.runs import Bench
from tests.matrix.table import CRITERIA, EXCUSED, FAILS, PASSES, ROWS, SHORT, Row, allowed, usual

__all__ = ["environment"]

LIMIT = 0.5
"""Seconds: of the criterion that asks most of the load generator."""


@pytest.fixture(scope="module")
def bench(environment: LocalEnvironment) -> Bench:
    return Bench(environment, environment.verb("up", "--owner", str(os.getpid())))


def verdicts_on(run: Run) -> dict[str, Verdict]:
    return {name: judge(grammar.criterion(sentence), run) for name, sentence in CRITERIA.items()}


def health_of(run: Run) -> str:
    """The health of the load generator; a machine that was busy with something else is no better."""
    where = window(run)
    if where is None:
        return "invalid"
    busy = contention(run, where)
    if busy is not None and busy.seconds.mean() >= 0.05:
        return "invalid"
    return health(run, where, LIMIT).status


def wrong(row: Row, run: Run) -> list[str]:
    return [
        f"{name} is {verdict.status}: {verdict.reason}"
        for name, verdict in verdicts_on(run).items()
        if verdict.status not in allowed(row, name, health_of(run))
    ]


def seen(run: Run) -> float:
    """The share of the requests in the window that failed or took longer than `LIMIT`, nothing filled in."""
    where = window(run)
    assert where is not None
    histogram = traffic_of(run, series_of(Scope(), run), where).histogram()
    return float(histogram[buckets.index(LIMIT) + 1 :].sum() / histogram.sum())


@pytest.mark.prove
@pytest.mark.parametrize("row", [row for row in ROWS if row.is_short], ids=lambda row: row.name)
def test_a_fault_flips_the_criteria_that_speak_of_it_and_no_other(bench, row):
    assert not wrong(row, bench.run(row, SHORT)), row.sentence


@pytest.mark.prove
@pytest.mark.parametrize("row", [row for row in ROWS if row.hold], ids=lambda row: row.name)
def test_it_does_so_in_runs_of_full_length(bench, row):
    assert row.hold is not None
    run = bench.run(row, row.hold)
    assert not wrong(row, run), row.sentence
    assert seen(run) <= row.seen
    assert health_of(run) != "ok" or not row.starves_generator


def test_every_fault_has_its_row():
    assert {row.fault for row in (*ROWS, *MESSAGE_ROWS, *DATABASE_ROWS)} == {"", *FAULTS}


def test_every_row_speaks_of_criteria_that_there_are():
    assert all(row.verdicts.keys() <= CRITERIA.keys() for row in ROWS)


def test_every_criterion_is_flipped_by_a_fault_or_more():
    for name in CRITERIA:
        assert any(name in flipped(row) for row in ROWS), name


def flipped(row: Row) -> set[str]:
    return {name for name in CRITERIA if usual(name).isdisjoint(allowed(row, name, "ok"))}


def test_every_fault_is_found_but_the_one_that_nobody_should_notice():
    unseen = {row.fault for row in ROWS if row.fault and not flipped(row)}
    assert unseen == {"counter-reset"}


def test_no_row_leaves_open_whether_a_promise_is_kept_but_for_what_the_machine_decides():
    both = PASSES | FAILS
    left_open = {(row.users, name) for row in ROWS for name in CRITERIA if both <= allowed(row, name, "ok")}
    assert left_open == {(60, "cpu")}


def test_a_broken_alert_rule_is_seen_in_the_alerts_alone():
    slow, silenced = (
        next(row for row in ROWS if row.fault == fault) for fault in ("slow-share", "alert-rule-broken")
    )
    assert silenced.amid == {slow.fault: slow.parameters}
    assert flipped(slow) - flipped(silenced) == {"quiet", "alarm"}
    assert flipped(silenced) <= flipped(slow)


@pytest.mark.parametrize("health", EXCUSED)
def test_a_busy_machine_excuses_no_missed_fault_and_no_false_alarm(health):
    for row in ROWS:
        for name in CRITERIA:
            excused = allowed(row, name, health) - allowed(row, name, "ok")
            assert excused.isdisjoint(PASSES | FAILS), row.name
