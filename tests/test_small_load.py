"""A small part of a plan shows what this machine carries of it; the result is kept while the same processes run."""

import gc
import json
import os
import tempfile
import time
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from loadkit.engine import small_load
from loadkit.environment.capacity import Capacity
from loadkit.environment.environment import Environment, ResolvedEnvironment
from loadkit.environment.settings import Settings
from loadkit.errors import ConfigurationError, UnreachableError
from loadkit.observers.machine import Process, Snapshot, Use
from loadkit.recording.run import Run
from loadkit.recording.sample import Sample
from loadkit.recording.worker_second import JOURNEYS, SENT, WorkerSecond
from loadkit.tables import scan
from loadkit.target import Address, Target
from loadkit.workload.plan import Action, Plan
from loadkit.workload.workload import MixEntry, Model, Stage, Think, Workload
from tests.bad_servers import always_says, in_a_thread
from tests.builders import plan_of, run_of, samples_of, worker_seconds_of

ROOT = Path(__file__).parent.parent
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
USERS = plan_of(300, ramp=60, level=1000, model=Model.CLOSED)
CAPACITY = Capacity({"postgres": 1e-3, Use.KERNEL: 1e-5}, 0.1, 0.0, 2, level=96, rate=120)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / f"loadkit-{os.getuid()}").mkdir()


def resolved_of(target: Target, facts: dict | None = None) -> ResolvedEnvironment:
    environment = Environment(ROOT, Path("environments/shop.toml"), Settings(base=Address("http://x")))
    return ResolvedEnvironment(environment, facts or {}, target, "", None)


def levels(plan: Plan) -> list[list[float]]:
    return [[stage.level for stage in population.workload.stages] for population in plan.populations]


def test_a_small_load_has_60_users_in_a_hurry_and_then_one():
    small = small_load.small_plan(replace(USERS, actions=(Action("an instance is killed"),)), 2.0)
    assert levels(small) == [[60, 60, 1, 1]]
    assert 60 / small.workload.think.mean == pytest.approx(900)
    assert not small.disturbs
    assert [phase.end - phase.start for phase in small.workload.phases()] == pytest.approx([4.0, 1.2])


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (USERS, 240),  # the users of another machine are not hurried
        (plan_of(level=1000), 300),  # arrivals per second
        (plan_of(level=10, model=Model.CLOSED), 10),  # a plan that is smaller still
    ],
)
def test_a_load_elsewhere_has_300_operations_per_second_with_the_usual_pauses(plan, expected):
    small = small_load.small_plan(plan, 2.0, is_here=False)
    assert levels(small) == [[expected, expected, 1, 1]]
    assert small.workload.think == plan.workload.think


@pytest.mark.parametrize("level", [150, 1000, 5000])
@pytest.mark.parametrize(("model", "expected"), [(Model.REQUESTS, 900), (Model.JOURNEYS, 90)])
def test_a_small_load_of_arrivals_has_900_operations_per_second(model, expected, level):
    small = small_load.small_plan(plan_of(level=level, model=model), 2.0)
    assert levels(small) == [[expected, expected, 1, 1]]
    assert small.workload.max_in_flight == 240


def test_a_pace_is_shortened_as_the_pauses_are():
    paced = USERS.with_workloads(lambda load: replace(load, pace=8.0))
    small = small_load.small_plan(paced, 2.0)
    assert levels(small) == [[60, 60, 1, 1]]
    # Ten operations of a journey: 60 users who begin one each 2/3 s have 900 a second.
    assert small.workload.pace == pytest.approx(2 / 3)
    assert small.workload.think.mean == pytest.approx(1 / 15)


def test_populations_keep_their_proportions():
    (users,) = USERS.populations
    more = replace(USERS, populations=(users, replace(users, name="admin users")))
    assert levels(small_load.small_plan(more, 2.0)) == [[30, 30, 1, 1]] * 2


@pytest.mark.parametrize(
    ("pauses", "waited", "expected"),
    # 60 users who pause 1/15 s have 800 operations/s if each takes 1/120 s, and one pause follows it.
    [(1, 1 / 120, 800 * (0.8 + 1 / 120)), (2, 1 / 120, 800 * (1.6 + 1 / 120)), (1, 0.0, 800 * 0.8)],
)
def test_the_level_counts_the_pauses_at_their_stated_length(pauses, waited, expected):
    small = small_load.small_plan(USERS, 2.0)
    users = 800 * (pauses / 15 + waited)
    small = small.with_workloads(lambda load: replace(load, stages=(Stage(0, users), Stage(2, users))))
    done = sent_by(small, samples_of(np.arange(100) / 50, np.full(100, waited)), 800)
    assert small_load._level_of(USERS, done, 0, 2) == pytest.approx(expected)


def sent_by(small: Plan, samples: list[Sample], rate: int, journeys: int = 0) -> Run:
    """A run of a small load whose workers sent as many operations in each second."""
    counts = {small.populations[0].name: {SENT: rate, JOURNEYS: journeys}}
    seconds = tuple(WorkerSecond(0, second, 0.0, 0.0, 0, counts=counts) for second in range(4))
    return replace(run_of(samples, small), worker_seconds=seconds)


@pytest.mark.parametrize(
    ("load", "journeys", "expected"),
    [
        # Arrivals that were dropped, because the machine is too small, are no part of the level.
        ({"model": Model.REQUESTS}, 200, 800),
        ({"model": Model.JOURNEYS}, 200, 200),
        # 94 journeys a second are those of 752 users with a pace of 8 s.
        ({"model": Model.CLOSED, "pace": 8.0}, 94, 752),
        # A journey takes longer than its pace: 24 users wait, and 36 have pauses of 8 % of the usual.
        ({"model": Model.CLOSED, "pace": 0.5}, 100, 24 + 36 / 0.08),
    ],
)
def test_the_level_counts_arrivals_and_journeys(load, journeys, expected):
    plan = USERS.with_workloads(lambda each: replace(each, **load))
    small = small_load.small_plan(plan, 2.0)
    small = small.with_workloads(lambda each: replace(each, think=Think(0.024, 0.104)))  # 0.064 s
    done = sent_by(small, samples_of(np.arange(100) / 50, np.full(100, 0.03)), 800, journeys)
    assert small_load._level_of(plan, done, 0, 2) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("rates", "asked"),
    [
        ([880], [900]),
        # A journey has two operations instead of ten.
        ([180, 870], [900, 4500]),
        # More would fill this machine, or it would say nothing new.
        ([530], [900]),
        ([180, 200], [900, 4500]),
    ],
)
def test_a_load_that_is_far_too_small_is_put_on_once_more(monkeypatch, rates, asked):
    costs = 1.9 / 800 if rates == [530] else 1e-3
    found = iter(Capacity({"postgres": costs}, 0.0, 0.0, 2, level=60, rate=rate) for rate in rates)
    plans = []

    def measure_once(plan: Plan, small: Plan, *_: object) -> Capacity:
        plans.append(small)
        return next(found)

    monkeypatch.setattr(small_load, "_measure", measure_once)
    journeys = plan_of(level=1000, model=Model.JOURNEYS)
    resolved = resolved_of(Target("shop", "http://x"))
    assert small_load.measure(journeys, resolved, PARTS).rate == rates[-1]
    assert [small.workload.peak * 10 for small in plans] == asked


def test_the_processor_time_of_an_operation_is_the_difference_of_the_two_levels():
    small = small_load.small_plan(USERS, 2.0)
    done = run_of([], small, worker_seconds=worker_seconds_of(5, sent=100))
    # Two processors are watched every tenth of a second. The postgres takes 0.3 of one with the
    # load, and 0.1 after 4 s. Each of the four seconds before has 100 operations.
    done = replace(done, worker_seconds=done.worker_seconds[:4], started=1000.0)

    def at(moment: float) -> Snapshot:
        postgres = 0.3 * min(moment, 4) + 0.1 * max(moment - 4, 0)
        processes = {77: Process(77, 1, 1, "postgres", postgres)}
        return Snapshot(1000.0 + moment, postgres, 0.0, 0.0, 0.0, processes, cores=2)

    found = small_load.capacity_from(
        USERS, done, [at(tenth / 10) for tenth in range(-5, 55)], {77: "postgres"}
    )
    assert found.rate == pytest.approx(100)
    assert found.costs["postgres"] == pytest.approx(0.2 / 100)
    assert found.at_rest == pytest.approx(0.1)
    assert (found.level, found.is_here) == (60, True)


def test_without_snapshots_there_is_no_capacity():
    done = run_of([], small_load.small_plan(USERS, 2.0))
    with pytest.raises(ConfigurationError, match="this machine could not be read"):
        small_load.capacity_from(USERS, done, [], {})


def brief(**changes: object) -> Plan:
    mix = (MixEntry("loadkit.journey:fetch", 1.0, arguments=(("path", "/x"),)),)
    think = Think(0.01, 0.03)
    workload = Workload(Model.CLOSED, plan_of(level=10).workload.stages, mix, think)
    return Plan.of("shop", workload, **changes)


@pytest.mark.load
def test_a_real_small_load_tells_what_its_operations_take():
    with in_a_thread(always_says(OK)) as server:
        target = Target("shop", server.base)
        found = small_load.measure(brief(), resolved_of(target), {})
        assert server.requests
    assert found.costs[Use.GENERATOR] > 0
    assert found.rate > 50
    assert not found.is_here


def test_a_service_that_ends_a_small_load_gives_no_capacity(monkeypatch):
    failed = run_of([], small_load.small_plan(USERS, 2.0), ended="the workers did not end")
    monkeypatch.setattr(small_load.engine, "run", lambda *_, **__: failed)
    with pytest.raises(UnreachableError, match="shop did not carry a small load"):
        small_load.measure(USERS, resolved_of(Target("shop", "http://x")), {})


def test_an_interrupted_small_load_ends_the_session(monkeypatch):
    ended = run_of([], small_load.small_plan(USERS, 2.0), ended="interrupted")
    monkeypatch.setattr(small_load.engine, "run", lambda *_, **__: ended)
    with pytest.raises(KeyboardInterrupt):
        small_load.measure(USERS, resolved_of(Target("shop", "http://x")), {})


@pytest.mark.parametrize("ended", ["complete", "the workers did not end"])
def test_garbage_collection_skips_the_objects_of_this_process_during_a_small_load(monkeypatch, ended):
    # A collection in the second at rest is subtracted from the cost of the load generator.
    objects = []

    def run(small: Plan, *_: object, **__: object) -> Run:
        objects.append(gc.get_freeze_count())
        return run_of([], small, ended=ended)

    monkeypatch.setattr(small_load.engine, "run", run)
    monkeypatch.setattr(small_load, "capacity_from", lambda *_: CAPACITY)
    with nullcontext() if ended == "complete" else pytest.raises(UnreachableError):
        small_load.measure(USERS, resolved_of(Target("shop", "http://x")), {})
    assert objects[0] > 10_000
    assert gc.get_freeze_count() == 0


# --- the parts


def test_stated_processes_are_the_parts_and_have_names_where_the_facts_have_some():
    target = Target("shop", "http://127.0.0.1:1", processes=(20,))
    facts = {"parts": {"postgres": {"pid": 21}}, "instances": [{"pid": 22}]}
    assert small_load.find_parts(resolved_of(target, facts)) == {
        20: "other parts",
        21: "postgres",
        22: "the service",
    }


def test_stated_processes_without_named_parts_are_the_environment():
    target = Target("shop", "http://127.0.0.1:1", processes=(20,))
    assert small_load.find_parts(resolved_of(target)) == {20: "the environment"}


def test_parts_on_another_machine_are_none_whatever_the_facts_say():
    target = Target("staging", "http://192.0.2.1")
    assert small_load.find_parts(resolved_of(target, {"parts": {"postgres": {"pid": os.getpid()}}})) == {}


# --- what is kept

TARGET = Target("shop", "http://127.0.0.1:1")
PARTS = {os.getpid(): "the service"}


@pytest.fixture
def alone(monkeypatch):
    monkeypatch.setattr(small_load, "_others_now", lambda _: 0.0)


def test_a_capacity_is_kept_for_any_level_of_the_same_load(alone):
    assert small_load.kept(USERS, TARGET, PARTS) is None
    small_load.keep(CAPACITY, USERS, TARGET, PARTS)
    assert small_load.kept(plan_of(60, level=200, model=Model.CLOSED), TARGET, PARTS) == CAPACITY


BESIDE_OTHERS = Capacity({"postgres": 3.3e-3}, 0.0, 0.8, 2, level=24, rate=300)
"""It was measured at most of the 333 operations per second that the rest of the machine executes."""


@pytest.mark.parametrize(
    ("kept", "now"), [(BESIDE_OTHERS, 0.4), (BESIDE_OTHERS, 1.5), (replace(CAPACITY, others=1.5), 0.0)]
)
def test_what_others_take_is_that_of_now(monkeypatch, kept, now):
    small_load.keep(kept, USERS, TARGET, PARTS)
    monkeypatch.setattr(small_load, "_others_now", lambda _: now)
    assert small_load.kept(USERS, TARGET, PARTS) == replace(kept, others=now)


def test_a_capacity_that_others_reduced_is_measured_again_when_they_take_less(monkeypatch):
    small_load.keep(BESIDE_OTHERS, USERS, TARGET, PARTS)
    monkeypatch.setattr(small_load, "_others_now", lambda _: 0.1)
    assert small_load.kept(USERS, TARGET, PARTS) is None


def test_another_behaviour_of_users_has_another_capacity(alone):
    small_load.keep(CAPACITY, USERS, TARGET, PARTS)
    for change in ({"think": Think(1, 3)}, {"pace": 10.0}, {"mix": (MixEntry("a:b", 1.0),)}):
        other = USERS.with_workloads(lambda load, change=change: replace(load, **change))
        assert small_load.kept(other, TARGET, PARTS) is None
        small_load.keep(replace(CAPACITY, cores=4), other, TARGET, PARTS)
    assert small_load.kept(USERS, TARGET, PARTS) == CAPACITY


def test_a_part_that_restarted_has_another_capacity(alone, monkeypatch):
    born = {77: 1}

    def processes():
        return {pid: Process(pid, 1, moment, "postgres", 0.0) for pid, moment in born.items()}

    monkeypatch.setattr(small_load, "_machine", processes)
    small_load.keep(CAPACITY, USERS, TARGET, {77: "postgres"})
    assert small_load.kept(USERS, TARGET, {77: "postgres"})
    born[78] = 1
    assert small_load.kept(USERS, TARGET, {77: "postgres", 78: "the service"}) is None
    born[77] = 2
    assert small_load.kept(USERS, TARGET, {77: "postgres"}) is None


def test_a_capacity_is_kept_for_a_day(alone, monkeypatch):
    small_load.keep(CAPACITY, USERS, TARGET, PARTS)
    now = time.time()
    monkeypatch.setattr(small_load.time, "time", lambda: now + 86_000)
    assert small_load.kept(USERS, TARGET, PARTS)
    monkeypatch.setattr(small_load.time, "time", lambda: now + 87_000)
    assert small_load.kept(USERS, TARGET, PARTS) is None


@pytest.mark.parametrize("text", ["", "[1]", "{", json.dumps({"x": 1})])
def test_a_file_that_cannot_be_read_is_nothing_kept(alone, text):
    small_load.lock.file_of(TARGET, "capacity").write_text(text)
    assert small_load.kept(USERS, TARGET, PARTS) is None
    small_load.keep(CAPACITY, USERS, TARGET, PARTS)
    assert small_load.kept(USERS, TARGET, PARTS) == CAPACITY


# --- the rows of test data that it takes


@pytest.mark.parametrize(("ended", "begun"), [("complete", [0, 100]), ("the workers did not end", [0])])
def test_rows_that_a_small_load_takes_are_counted_and_taken_once(monkeypatch, tmp_path, ended, begun):
    (tmp_path / "t.csv").write_text("sku\n" + "a\n" * 1000)
    tables = {"t": scan("t", tmp_path / "t.csv", "operation", repeat=False)}
    firsts, seeds, taken = [], [], Counter()

    def run(small: Plan, target: Target, **_: object) -> Run:
        firsts.append(target.tables["t"].first)
        seeds.append(small.seed)
        return replace(run_of([], small, ended=ended), facts={"rows taken": {"t": 100}})

    # A journey has two operations instead of ten, so the load is put on once more.
    few = Capacity({"postgres": 1e-3}, 0.0, 0.0, 2, level=60, rate=180)
    monkeypatch.setattr(small_load.engine, "run", run)
    monkeypatch.setattr(small_load, "capacity_from", lambda *_: few)
    plan = plan_of(level=1000, model=Model.JOURNEYS)
    resolved = resolved_of(Target("shop", "http://x", tables=tables))
    with nullcontext() if ended == "complete" else pytest.raises(UnreachableError):
        small_load.measure(plan, resolved, PARTS, 2.0, taken)
    assert (firsts, taken) == (begun, {"t": 100 * len(begun)})
    assert plan.seed not in seeds
