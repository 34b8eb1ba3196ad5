"""Every fault is found by the criteria that speak of it, and by no other."""

import os

import pytest

from environments.local.faults import FAULTS
from loadkit import phrases
from loadkit.judge import judge
from loadkit.judging.health import health
from loadkit.record import Run
from loadkit.steady import window
from loadkit.verdict import Verdict
from tests.local_environment import LocalEnvironment, environment
from tests.matrix.runs import Bench
from tests.matrix.table import CRITERIA, EXCUSED, FAILS, PASSES, ROWS, Row, allowed

__all__ = ["environment"]

SHORT, FULL = 46.0, 90.0
"""Seconds that the load holds. CPU is judged from thirty on, and up to a third is left out as warm-up."""
LIMIT = 0.5
"""Seconds: of the criterion that asks most of the load generator."""


@pytest.fixture(scope="module")
def bench(environment: LocalEnvironment) -> Bench:
    return Bench(environment, environment.verb("up", "--owner", str(os.getpid())))


def verdicts_on(run: Run) -> dict[str, Verdict]:
    return {name: judge(phrases.criterion(sentence), run) for name, sentence in CRITERIA.items()}


def wrong(row: Row, run: Run) -> list[str]:
    where = window(run)
    state = health(run, where, LIMIT).status if where else "invalid"
    return [
        f"{name} is {verdict.status}: {verdict.reason}"
        for name, verdict in verdicts_on(run).items()
        if verdict.status not in allowed(row, name, state)
    ]


@pytest.mark.environment
@pytest.mark.parametrize("row", [row for row in ROWS if row.is_short], ids=lambda row: row.name)
def test_a_fault_flips_the_criteria_that_speak_of_it_and_no_other(bench, row):
    assert not wrong(row, bench.run(row, SHORT)), row.sentence


@pytest.mark.prove
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_it_does_so_in_runs_of_full_length(bench, row):
    assert not wrong(row, bench.run(row, FULL)), row.sentence


def test_every_fault_has_its_row():
    assert {row.fault for row in ROWS} == {"", *FAULTS}


def test_every_row_speaks_of_criteria_that_there_are():
    assert all(row.verdicts.keys() <= CRITERIA.keys() for row in ROWS)


def test_every_criterion_is_flipped_by_a_fault_or_more():
    for name in CRITERIA:
        assert any(PASSES.isdisjoint(row.verdicts.get(name, PASSES)) for row in ROWS), name


@pytest.mark.parametrize("health", EXCUSED)
def test_a_busy_machine_excuses_no_missed_fault_and_no_false_alarm(health):
    for row in ROWS:
        for name in CRITERIA:
            excused = allowed(row, name, health) - allowed(row, name, "ok")
            assert excused.isdisjoint(PASSES | FAILS), row.name
