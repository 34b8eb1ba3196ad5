"""Which runs a session has, and what becomes of each."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from loadkit import grammar
from loadkit.environment.environment import Environment
from loadkit.judging.evidence import Evidence
from loadkit.judging.judge import judge
from loadkit.observers import observation
from loadkit.recording.run import Run
from loadkit.verdict import Status, Verdict
from loadkit.workload.plan import Action, Plan
from loadkit.workload.workload import Model, Stage
from steps.suite.dry_run import _why, difference
from steps.suite.reading import Reading
from steps.suite.results import CriterionResult
from steps.suite.session import Session, SharedRun, share
from tests.builders import plan_of, run_of, samples_of

P95 = grammar.criterion("p95 is below 1 s")
ERRORS = grammar.criterion("the error rate is below 1%")
BESIDE = grammar.criterion("p95 is at most 2 times that at the baseline load")
ENVIRONMENT = Environment("shop", Path(), Path("environments/shop.toml"), {"base": "http://127.0.0.1:1"})
UP = grammar.criterion('the Prometheus query "up" is above 0')


def test_equal_plans_share_a_run_and_letters_follow_the_first_mention() -> None:
    readings = [
        Reading((P95,), plan_of(level=10)),
        Reading((P95,), None, ("cannot be read",)),
        Reading((P95,), plan_of(level=20)),
        Reading((P95, ERRORS), plan_of(level=10)),
    ]
    shared = list(share(readings).values())
    assert [(run.letter, run.plan.workload.peak, run.criteria) for run in shared] == [
        ("A", 10, 3),
        ("B", 20, 1),
    ]


def test_there_are_letters_for_any_number_of_runs() -> None:
    shared = share(Reading((P95,), plan_of(level=level)) for level in range(1, 56))
    letters = [run.letter for run in shared.values()]
    assert (letters[0], letters[25], letters[26], letters[27], letters[54]) == ("A", "Z", "AA", "AB", "BC")


def test_a_run_is_asked_for_each_query_of_its_criteria_once() -> None:
    shared = share([Reading((UP, P95), plan_of()), Reading((UP,), plan_of())])
    assert [run.queries for run in shared.values()] == [("up",)]


def test_why_a_run_is_needed_is_said_in_words() -> None:
    plan = plan_of(seconds=60, level=10)
    colder = replace(plan, cache="cold")
    assert difference(colder, plan) == "a cold cache instead of a warm cache"
    assert difference(plan_of(seconds=60, level=20), plan).startswith("20 requests per second instead of 10")


def test_why_a_run_is_needed_is_said_of_the_population_that_differs() -> None:
    (users,) = plan_of(level=10, model=Model.CLOSED).populations
    paced = replace(users, name="admin users", workload=replace(users.workload, pace=10.0))
    alone, together = Plan("shop", (users,)), Plan("shop", (users, paced))
    assert difference(together, alone) == (
        "10 users + 10 admin users instead of 10 users; "
        "no pace of journeys + a journey every 10 s instead of no pace of journeys"
    )


def test_the_same_mix_in_regions_differs_in_its_regions_only() -> None:
    plan = plan_of(level=10)
    spread = plan.with_workloads(
        lambda load: replace(
            load,
            mix=tuple(
                replace(entry, share=entry.share / 2, region=region)
                for entry in load.mix
                for region in ("Europe", "Asia")
            ),
        )
    )
    assert difference(spread, plan) == "50% users in Europe, 50% users in Asia instead of no regions"


def test_loads_that_differ_only_between_their_ends_are_told_apart() -> None:
    rising, falling = (
        plan_of().with_workloads(
            lambda load, levels=levels: replace(load, stages=tuple(Stage(60, level) for level in levels))
        )
        for levels in ((50, 100), (100, 50))
    )
    assert difference(rising, falling) == "60 s to 50 + 60 s to 100 instead of 60 s to 100 + 60 s to 50"


def test_runs_that_disturb_the_service_go_last_and_letters_follow_the_order() -> None:
    kill = plan_of(level=10, actions=(Action("an instance is killed"),))
    shared = share([Reading((P95,), kill), Reading((P95,), plan_of(level=20))])
    assert [(run.letter, run.plan.disturbs) for run in shared.values()] == [("A", False), ("B", True)]


def test_a_run_that_is_compared_with_goes_before_the_one_that_compares() -> None:
    peak, baseline = plan_of(level=100), plan_of(level=10)
    shared = share([Reading((BESIDE, P95), peak, references=(("at the baseline load", baseline),))])
    told = [(run.letter, run.plan, run.criteria, run.compared) for run in shared.values()]
    assert told == [("A", baseline, 0, 1), ("B", peak, 2, 0)]


NEIGHBOUR = grammar.criterion('p95 is at most 1.5 times that without tenant "globex"')
WITHOUT = 'without tenant "globex"'


def test_a_noisy_tenant_is_compared_with_a_run_before_it_and_a_run_after_it() -> None:
    together, alone = plan_of(level=100), plan_of(level=90)
    reading = Reading((NEIGHBOUR,), together, references=((WITHOUT, alone),))
    done: list[str] = []

    class Noted:
        def run(self, plan: Plan, title: str, queries: object) -> Run:
            done.append(title)
            starts = np.arange(6000) / 100
            times = np.where(np.arange(6000) % 2, 0.01, 0.011)
            return run_of(samples_of(starts, times), plan)

        def close(self) -> None: ...

    session = Session(ENVIRONMENT, Noted(), {("f.feature", 1): reading}, judge)
    session._scenario = SimpleNamespace(filename="f.feature", line=1)  # type: ignore[assignment]  # only what is read of it
    letter, verdict = session._verdict(NEIGHBOUR)
    assert done == [
        "Run A: 90 requests per second",
        "Run B: 100 requests per second",
        "Run C: 90 requests per second",
    ]
    assert (letter, verdict.status) == ("B", Status.PASS), verdict.reason
    assert [(run.letter, run.compared) for run in session.shared.values()] == [("A", 1), ("B", 0), ("C", 1)]
    runs = list(session.shared.values())
    assert _why(runs[2], runs[:2]) == "as run A, repeated after the load that is compared with both"


def test_a_run_is_asked_for_the_alerts_that_its_criteria_speak_of() -> None:
    criteria = (grammar.criterion("no alert fires"), grammar.criterion('the "Slow" alert fires within 9 s'))
    shared = share([Reading(criteria, plan_of())])
    assert [run.queries for run in shared.values()] == [("alerts", "alerts:Slow")]


def test_an_instance_that_restarted_unasked_is_told_beside_the_first_criterion_of_its_run() -> None:
    times = 1_700_000_000.0 + np.arange(60)
    restarted = observation.Series("metrics-1", times, np.where(np.arange(60) < 30, 0.0, times[30]))
    watched = observation.Observation("restarts", observation.Reading.GAUGE, "", (restarted,), 1.0)
    session = Session(ENVIRONMENT, None, {}, None)  # type: ignore[arg-type]
    session.results = [result_of(), result_of(run="B"), result_of()]
    for letter, seen in (("A", [watched]), ("B", [])):
        run = run_of([], plan_of(60), observations=seen)
        session.shared[letter] = SharedRun(letter, run.plan, evidence=Evidence(run))
    (broken,) = session.implicit
    assert (broken.sentence, broken.run, broken.verdict.status) == ("no instance restarts", "A", Status.FAIL)
    assert (broken.requirements, broken.advisory, broken.level) == ((), False, "peak")


def test_an_instance_that_restarted_in_a_run_that_was_only_compared_with_is_told_too() -> None:
    times = 1_700_000_000.0 + np.arange(60)
    restarted = observation.Series("metrics-1", times, np.where(np.arange(60) < 30, 0.0, times[30]))
    watched = observation.Observation("restarts", observation.Reading.GAUGE, "", (restarted,), 1.0)
    session = Session(ENVIRONMENT, None, {}, None)  # type: ignore[arg-type]
    compared = replace(result_of().verdict, details={"there": {"run": "run-of-baseline"}})
    session.results = [result_of(run="B"), result_of(run="B", verdict=compared)]
    there = replace(run_of([], plan_of(60), observations=[watched]), id="run-of-baseline")
    session.shared["A"] = SharedRun("A", there.plan, evidence=Evidence(there))
    session.shared["B"] = SharedRun("B", plan_of(60), evidence=Evidence(run_of([], plan_of(60))))
    (broken,) = session.implicit
    assert (broken.sentence, broken.run) == ("no instance restarts", "A")


# --- results


def result_of(**changes: object) -> CriterionResult:
    verdict = Verdict("p95 is below 1 s", Status.PASS, "it was")
    values = {
        "feature": "Shop",
        "feature_file": "features/shop.feature",
        "scenario": "Quick",
        "scenario_line": 3,
        "line": 5,
        "keyword": "Then",
        "sentence": "p95 is below 1 s",
        "tags": ("api", "peak", "API-3", "API-1", "advisory"),
        "parameters": (),
        "verdict": verdict,
        "run": "A",
        "started": 0.0,
        "stopped": 0.0,
    }
    return CriterionResult(**{**values, **changes})  # type: ignore[arg-type]


def test_tags_say_requirements_level_area_and_advice() -> None:
    result = result_of()
    assert (result.requirements, result.level, result.area, result.advisory) == (
        ("API-1", "API-3"),
        "peak",
        "api",
        True,
    )
    plain = result_of(tags=("smoke",))
    assert (plain.requirements, plain.level, plain.area, plain.advisory) == ((), "", "", False)


def test_a_result_keeps_its_identity_when_lines_and_examples_are_reordered() -> None:
    before = result_of(
        scenario="The auth endpoints -- @1.1 ", parameters=(("group", "auth"),), line=5, scenario_line=9
    )
    after = result_of(
        scenario="The auth endpoints -- @1.4 ", parameters=(("group", "auth"),), line=7, scenario_line=12
    )
    other = result_of(scenario="The auth endpoints -- @1.1 ", parameters=(("group", "admin"),))
    assert before.identity == after.identity != other.identity
