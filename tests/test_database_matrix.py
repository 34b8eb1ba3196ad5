"""Every fault of the database is found by the criteria that speak of it, and by no other."""

import os

import pytest

from loadkit import grammar
from loadkit.judging.health import health
from loadkit.judging.window import window
from loadkit.recording.run import Run
from tests.builders import judge
from tests.local_environment import LocalEnvironment, environment
from tests.matrix.database import DATABASE_CRITERIA, DATABASE_HOLD, DATABASE_ROWS, usual_of_database
from tests.matrix.runs import Bench
from tests.matrix.table import EXCUSED, Row

__all__ = ["environment"]

LIMIT = 0.045
"""Seconds: of the criterion that asks most of the load generator."""


@pytest.fixture(scope="module")
def bench(environment: LocalEnvironment) -> Bench:
    return Bench(environment, environment.verb("up", "--owner", str(os.getpid())))


def wrong(row: Row, run: Run) -> list[str]:
    where = window(run)
    state = "invalid" if where is None else health(run, where, LIMIT).status
    found = []
    for name, sentence in DATABASE_CRITERIA.items():
        verdict = judge(grammar.criterion(sentence), run)
        if verdict.status not in row.verdicts.get(name, usual_of_database(name)) | EXCUSED[state]:
            found.append(f"{name} is {verdict.status}: {verdict.reason}")
    return found


@pytest.mark.prove
@pytest.mark.parametrize("row", DATABASE_ROWS, ids=lambda row: row.name)
def test_a_fault_of_the_database_flips_the_criteria_that_speak_of_it_and_no_other(bench, row):
    assert not wrong(row, bench.store(row, DATABASE_HOLD)), row.sentence


def test_every_criterion_on_the_database_is_flipped_by_some_fault():
    flipped = {name for row in DATABASE_ROWS for name in row.verdicts}
    assert flipped == set(DATABASE_CRITERIA) - {"errors"}
