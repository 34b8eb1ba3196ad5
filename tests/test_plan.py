"""A plan: its populations in words, what a rehearsal says of them, and what is kept of it."""

import dataclasses
import json

import pytest

from loadkit.recording.upgrade import upgraded_plan
from loadkit.structuring import structure
from loadkit.workload.plan import Action, Plan, Population, Scaling
from loadkit.workload.workload import MixEntry, Model, Stage, Workload
from tests.builders import plan_of


def population(
    name: str, level: float, model: Model = Model.CLOSED, *, stated: float = 0.0, seconds: float = 60
) -> Population:
    stages = (Stage(10, level), Stage(seconds, level))
    return Population(name, Workload(model, stages, (MixEntry("shop:browse", 1.0),)), stated)


def together(*populations: Population, **others) -> Plan:
    return Plan("shop", populations, **others)


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (plan_of(level=1000, model=Model.CLOSED), "1000 users"),
        (plan_of(level=1, model=Model.CLOSED), "1 user"),
        (plan_of(level=1200), "1200 requests per second"),
        (plan_of(level=1), "1 request per second"),
        (plan_of(level=0.5, model=Model.JOURNEYS), "0.5 journeys per second"),
        (together(population("users", 1000), population("admin users", 50)), "1000 users + 50 admin users"),
        (
            together(population("inserts", 1100, Model.REQUESTS), population("analysts", 1)),
            "1100 inserts per second + 1 analyst",
        ),
        (together(population('"ingest events" users', 100)), '100 "ingest events" users'),
    ],
)
def test_a_plan_is_told_by_its_populations(plan: Plan, words: str) -> None:
    assert plan.in_words == words


def test_the_first_populations_phases_are_the_runs_and_the_longest_says_how_long_it_is() -> None:
    plan = together(population("users", 10), population("admin users", 5, seconds=90))
    assert plan.workload is plan.populations[0].workload
    assert plan.seconds == 100
    assert plan.population("admin users").workload.peak == 5


def test_the_workload_of_every_population_can_be_changed() -> None:
    plan = together(population("users", 10), population("admin users", 5))
    shorter = plan.with_workloads(lambda load: dataclasses.replace(load, stages=load.stages[:1]))
    assert [each.name for each in shorter.populations] == ["users", "admin users"]
    assert [each.workload.seconds for each in shorter.populations] == [10, 10]


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (plan_of(), ""),
        (plan_of(30, scaling=Scaling(time=0.1, stated_hold=300)), "30 s of 5 min"),
        (
            plan_of(30, 12, 100, Model.CLOSED, stated_level=1000, scaling=Scaling(0.1, 0.1, 300)),
            "100 of 1000 users, 30 s of 5 min",
        ),
        (
            together(
                population("users", 100, stated=1000),
                population("admin users", 5, stated=50),
                scaling=Scaling(users=0.1),
            ),
            "100 of 1000 users and 5 of 50 admin users",
        ),
        (
            together(
                population("inserts", 110, Model.REQUESTS, stated=1100),
                population("analysts", 1, stated=1),
                scaling=Scaling(users=0.1),
            ),
            "110 of 1100 inserts per second and 1 of 1 analysts",
        ),
    ],
)
def test_a_rehearsal_says_of_each_population_what_was_put_on(plan: Plan, words: str) -> None:
    assert plan.rehearsed == words


def kept(plan: Plan) -> Plan:
    """The plan as it comes back from a file."""
    return structure(Plan, json.loads(json.dumps(plan.to_json())), "run.json")


def test_a_plan_of_several_populations_survives_json() -> None:
    plan = together(
        population("users", 100, stated=1000),
        population("inserts", 5, Model.REQUESTS),
        actions=(Action("an instance is killed", 20.0),),
        scaling=Scaling(0.1, 1.0, 300),
    )
    assert (kept(plan), kept(plan).key) == (plan, plan.key)


def test_plans_that_differ_in_one_population_have_different_keys() -> None:
    users = population("users", 100)
    plans = [
        together(users),
        together(users, population("admin users", 5)),
        together(users, population("admin users", 6)),
        together(users, population("analysts", 5)),
    ]
    assert len({plan.key for plan in plans}) == len(plans)


def test_equal_plans_have_equal_keys_however_their_numbers_were_written() -> None:
    assert plan_of(level=100).key == plan_of(level=100.0).key
    assert plan_of(timeout=10).key != plan_of(timeout=11).key


def test_a_plan_that_was_kept_when_plans_had_one_workload_is_read_as_one_population() -> None:
    plan = plan_of(30, 12, 100, Model.CLOSED, stated_level=1000, actions=(Action("a fall", 9.0),))
    data = plan.to_json()
    (only,) = data.pop("populations")
    data["workload"] = only["workload"]
    del data["workload"]["pace"]
    data["scaling"]["stated_users"] = only["stated_level"]
    data["requirements"] = [["rows", "10"]]
    data["actions"][0]["arguments"] = [["name", "metrics-1"]]
    assert structure(Plan, upgraded_plan(json.loads(json.dumps(data))), "run.json") == plan
