"""Every fault of messages and of the database is found by the criteria that speak of it, and by no other."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import pytest

from loadkit import grammar
from loadkit.judging.health import health
from loadkit.judging.window import window
from loadkit.recording.run import Run
from loadkit.verdict import Status
from tests.builders import judge
from tests.local_environment import LocalEnvironment, environment
from tests.matrix.database import DATABASE_CRITERIA, DATABASE_HOLD, DATABASE_ROWS, usual_of_database
from tests.matrix.messages import MESSAGE_CRITERIA, MESSAGE_ROWS, MESSAGES_HOLD, usual_of_messages
from tests.matrix.runs import Bench
from tests.matrix.table import EXCUSED, Row

__all__ = ["environment"]


@dataclass(frozen=True, slots=True)
class Area:
    """The faults of one protocol, and what must find them."""

    criteria: Mapping[str, str]
    rows: Iterable[Row]
    usual: Callable[[str], frozenset[Status]]
    run: Callable[[Bench, Row], Run]
    limit: float
    """Seconds: of the criterion that asks most of the load generator."""
    unflipped: frozenset[str]
    """Criteria that no fault of this protocol breaks."""


AREAS = {
    "messages": Area(
        MESSAGE_CRITERIA,
        MESSAGE_ROWS,
        usual_of_messages,
        lambda bench, row: bench.stream(row, MESSAGES_HOLD),
        0.1,
        frozenset({"rate"}),
    ),
    "database": Area(
        DATABASE_CRITERIA,
        DATABASE_ROWS,
        usual_of_database,
        lambda bench, row: bench.store(row, DATABASE_HOLD),
        0.045,
        frozenset({"errors"}),
    ),
}


@pytest.fixture(scope="module")
def bench(environment: LocalEnvironment) -> Bench:
    return Bench(environment, environment.verb("up", "--owner", str(os.getpid())))


def wrong(area: Area, row: Row, run: Run) -> list[str]:
    where = window(run)
    state = "invalid" if where is None else health(run, where, area.limit).status
    found = []
    for name, sentence in area.criteria.items():
        verdict = judge(grammar.criterion(sentence), run)
        if verdict.status not in row.verdicts.get(name, area.usual(name)) | EXCUSED[state]:
            found.append(f"{name} is {verdict.status}: {verdict.reason}")
    return found


@pytest.mark.prove
@pytest.mark.parametrize(
    ("area", "row"),
    [pytest.param(area, row, id=f"{name}: {row.name}") for name, area in AREAS.items() for row in area.rows],
)
def test_a_fault_flips_the_criteria_that_speak_of_it_and_no_other(bench, area, row):
    assert not wrong(area, row, area.run(bench, row)), row.sentence


@pytest.mark.parametrize("area", AREAS.values(), ids=AREAS)
def test_every_criterion_is_flipped_by_some_fault(area):
    flipped = {name for row in area.rows for name in row.verdicts}
    assert flipped == set(area.criteria) - area.unflipped
