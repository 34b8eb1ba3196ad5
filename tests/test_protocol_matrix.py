"""Every fault of messages, of the database and of all together is found by the criteria that speak of it alone."""

import os

import pytest

from loadkit.verdict import Status
from tests.local_environment import LocalEnvironment, environment
from tests.matrix import results
from tests.matrix.areas import AREAS
from tests.matrix.runs import Bench
from tests.matrix.system import QUIET_HOLD
from tests.matrix.table import Row

__all__ = ["environment"]


EVENTS = 5_000_000
"""Seeded events. Among fewer, a query without its index reads so few rows in vain that nobody should notice it."""


@pytest.fixture(scope="module")
def bench(environment: LocalEnvironment) -> Bench:
    facts = environment.verb("up", "--owner", str(os.getpid()))
    environment.verb("seed", "--events", str(EVENTS))
    return Bench(environment, facts)


@pytest.mark.prove
@pytest.mark.parametrize(
    ("name", "row"),
    [
        pytest.param(name, row, id=f"{name}: {row.name}")
        for name in ("messages", "database", "system")
        for row in AREAS[name].rows
    ],
)
def test_a_fault_flips_the_criteria_that_speak_of_it_and_no_other(bench, name, row):
    area = AREAS[name]
    outcome = area.outcome(area.run(bench, row))
    results.record(name, row, outcome)
    assert area.told(row, outcome) == [], row.sentence
    assert outcome.health != "ok" or not row.starves_generator


@pytest.mark.prove
@pytest.mark.parametrize("number", range(1, results.QUIET_RUNS + 1))
def test_with_nothing_wrong_no_criterion_of_any_protocol_fails(bench, number):
    area = AREAS["system"]
    outcome = area.outcome(bench.mix(Row("nothing is wrong"), QUIET_HOLD))
    results.record_quiet(number, outcome.verdicts)
    failed = {name: each.reason for name, each in outcome.verdicts.items() if each.status is Status.FAIL}
    assert failed == {}
