"""What a plan offers at most, and what a throughput needs: one rule for planning and for judging."""

import dataclasses
import math

import numpy as np
import pytest

from loadkit import grammar
from loadkit.observers.database import DatabaseFacts, StoredWrites, WrongRecords
from loadkit.recording.slices import SliceTable
from loadkit.recording.writes import RECORDS
from loadkit.verdict import Status
from loadkit.workload.offered import needed, offered
from loadkit.workload.plan import Plan, Population
from loadkit.workload.workload import MixEntry, Model, Stage, Think, Workload
from tests.builders import count_messages, judge, plan_of, run_of, worker_seconds_of

PASS, FAIL, NOT_JUDGED = Status.PASS, Status.FAIL, Status.NOT_JUDGED
MIX = (MixEntry("journeys:browse", 1.0),)
CURVE = (Stage(10, 12), Stage(25, 24), Stage(25, 12))
"""After the first ramp the level is 18 on average, and 24 for a moment; criteria are judged there."""
BATCH = 50
"""Records, or delivered messages, for each request: 900 per second on average, and 1200 at most."""


@pytest.mark.parametrize(
    ("model", "changes", "most", "least"),
    [
        (Model.CLOSED, {}, 125, 100),  # 100 users who think for 0.8 s
        (Model.CLOSED, {"think": Think(0, 0)}, math.inf, 100),
        (Model.CLOSED, {"pace": 10.0}, math.inf, 100),  # how many requests a journey makes is not in the plan
        (Model.REQUESTS, {}, 100, 105),
        (Model.JOURNEYS, {}, math.inf, 105),
    ],
)
def test_a_load_offers_what_its_model_allows_and_arrivals_must_exceed_the_limit(model, changes, most, least):
    workload = dataclasses.replace(plan_of(60, level=100, model=model).workload, **changes)
    assert offered(workload, 100) == most
    assert needed([workload], 100) == least


def on_the_curve(model: Model, share: float, **stated: float) -> tuple[Population, np.ndarray]:
    """A population on the curve, and how many records or messages there are in each of its sixty seconds."""
    population = Population("inserts", Workload(model, CURVE, MIX), **stated)
    levels = np.array([population.workload.level_at(second + 0.5) for second in range(60)])
    return population, np.rint(BATCH * levels * share).astype(np.int64)


def inserting(share: float = 1.0, *others: Population, records: float = BATCH):
    population, numbers = on_the_curve(Model.REQUESTS, share, records=records)
    seconds = [
        dataclasses.replace(each, counts=each.counts | {"inserts": {RECORDS: int(number)}})
        for each, number in zip(worker_seconds_of(60), numbers, strict=True)
    ]
    total, none = int(numbers.sum()), WrongRecords()
    writes = StoredWrites(
        acknowledged=total, rejected=0, unknown=0, stored=total, lost=none, doubled=none, phantoms=none,
        unknown_stored=0,
    )  # fmt: skip
    facts = DatabaseFacts(writes=writes, writes_due=total)
    return run_of([], Plan("local", (population, *others)), worker_seconds=seconds, database=facts)


def publishing(share: float = 1.0, *others: Population, delivers: float = 24 * BATCH):
    population, numbers = on_the_curve(Model.JOURNEYS, share, delivers=delivers)
    created = np.repeat(np.arange(60.0), numbers) + 0.5
    table = SliceTable()
    count_messages(table, np.column_stack((created, created + 0.01, np.full(len(created), 100.0))), "WS /")
    return run_of(table, Plan("local", (population, *others)), worker_seconds=worker_seconds_of(60))


@pytest.mark.parametrize(("run_with", "what"), [(inserting, "records"), (publishing, "messages")])
@pytest.mark.parametrize(
    ("sentence", "share", "status"),
    [
        ("throughput is above 1000 {} per second", 1.0, NOT_JUDGED),
        ("throughput is above 1000 {} per second", 0.5, NOT_JUDGED),
        ("throughput is above 800 {} per second", 1.0, PASS),
        ("throughput is above 800 {} per second", 0.8, FAIL),
        ("throughput stays above 800 {} per second", 1.0, PASS),  # in low hours the plan offers less
        ("throughput stays above 800 {} per second", 0.8, FAIL),
        ("throughput is below 950 {} per second", 1.0, PASS),  # the curve is no chance
        ("throughput is below 850 {} per second", 1.0, FAIL),
    ],
)
def test_records_and_messages_on_a_curve_are_judged_where_the_plan_offers_enough(
    run_with, what, sentence, share, status
):
    verdict = judge(grammar.criterion(sentence.format(what)), run_with(share))
    assert verdict.status is status, verdict.reason
    if status is NOT_JUDGED:
        assert verdict.reason.startswith("This plan offers 900 per second at most, and 10")


READERS = Population("readers", Workload(Model.CLOSED, (Stage(0, 100), Stage(60, 100)), MIX))


def test_records_of_a_population_are_compared_with_what_it_offers_itself():
    own = grammar.criterion("throughput of the inserts is above 1000 records per second")
    assert judge(own, inserting(1.0, READERS)).status is NOT_JUDGED
    assert judge(own, inserting(1.2)).status is PASS


def test_records_of_users_beside_do_not_make_up_for_those_that_the_plan_states():
    run = inserting(0.8, READERS)
    run.worker_seconds = tuple(
        dataclasses.replace(each, counts=each.counts | {"readers": {RECORDS: 4 * BATCH}})
        for each in run.worker_seconds
    )
    verdict = judge(grammar.criterion("throughput is above 800 records per second"), run)
    assert verdict.measured == pytest.approx(0.8 * 900)


def test_records_and_messages_that_no_plan_states_are_judged_by_their_number():
    """Their rate varies by itself, for all that is known."""
    assert (
        judge(grammar.criterion("throughput is above 2000 records per second"), inserting(records=0)).status
        is FAIL
    )
    assert (
        judge(
            grammar.criterion("throughput is above 2000 messages per second"), publishing(delivers=0)
        ).status
        is FAIL
    )
