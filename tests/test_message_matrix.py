"""Every fault of messages and connections is found by the criteria that speak of it, and by no other."""

import os

import pytest

from loadkit import grammar
from loadkit.judging.health import health
from loadkit.judging.window import window
from loadkit.recording.run import Run
from tests.builders import judge
from tests.local_environment import LocalEnvironment, environment
from tests.matrix.messages import MESSAGE_CRITERIA, MESSAGE_ROWS, MESSAGES_HOLD, usual_of_messages
from tests.matrix.runs import Bench
from tests.matrix.table import EXCUSED, Row

__all__ = ["environment"]

LIMIT = 0.1
"""Seconds: of the criterion that asks most of the load generator."""


@pytest.fixture(scope="module")
def bench(environment: LocalEnvironment) -> Bench:
    return Bench(environment, environment.verb("up", "--owner", str(os.getpid())))


def wrong(row: Row, run: Run) -> list[str]:
    where = window(run)
    state = "invalid" if where is None else health(run, where, LIMIT).status
    found = []
    for name, sentence in MESSAGE_CRITERIA.items():
        verdict = judge(grammar.criterion(sentence), run)
        if verdict.status not in row.verdicts.get(name, usual_of_messages(name)) | EXCUSED[state]:
            found.append(f"{name} is {verdict.status}: {verdict.reason}")
    return found


@pytest.mark.prove
@pytest.mark.parametrize("row", MESSAGE_ROWS, ids=lambda row: row.name)
def test_a_fault_of_messages_flips_the_criteria_that_speak_of_it_and_no_other(bench, row):
    assert not wrong(row, bench.stream(row, MESSAGES_HOLD)), row.sentence


def test_every_criterion_on_messages_is_flipped_by_some_fault():
    flipped = {name for row in MESSAGE_ROWS for name in row.verdicts}
    assert flipped == set(MESSAGE_CRITERIA) - {"rate"}
