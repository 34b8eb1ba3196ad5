"""Which runs a session has, and what becomes of each."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from loadkit import grammar
from loadkit.criterion import Criterion
from loadkit.engine.testbed import NOT_RESTORED
from loadkit.environment.environment import Environment
from loadkit.errors import UnreachableError
from loadkit.judging.judge import judge
from loadkit.observers import observation
from loadkit.recording.run import Run
from loadkit.verdict import Status, Verdict
from loadkit.workload.plan import Action, Plan
from loadkit.workload.workload import Lognormal, Model, Stage, Think
from steps.suite.dry_run import _why, difference
from steps.suite.reading import Reading
from steps.suite.results import CriterionResult
from steps.suite.session import VERDICTS, Session, _implicit, share
from tests.builders import plan_of, run_of, samples_of
from tests.test_vocabulary import reading_of, registry

__all__ = ["registry"]

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


def test_loads_that_differ_in_what_users_do_between_operations_are_told_apart() -> None:
    plan = plan_of(level=10, model=Model.CLOSED)

    def with_(**how: Any) -> Plan:
        return plan.with_workloads(lambda load: replace(load, **how))

    told = {
        "a think time of 2 s on average": with_(think=Think(2.0, 2.0, "exponential")),
        "a think time with a median of 600 ms and a p95 of 2 s": with_(think=Think(0.6, 2.0, "lognormal")),
        "sessions with a median of 60 s and a p95 of 5 min": with_(session=Lognormal(60.0, 300.0)),
        "0.1 drops per minute and connection": with_(churn=0.1 / 60),
        "an instance is killed after 60 s": replace(plan, actions=(Action("an instance is killed", 60.0),)),
    }
    for words, other in told.items():
        assert difference(other, plan).partition(" instead of ")[0] == words


def test_runs_that_disturb_the_service_go_last_and_letters_follow_the_order() -> None:
    kill = plan_of(level=10, actions=(Action("an instance is killed"),))
    shared = share([Reading((P95,), kill), Reading((P95,), plan_of(level=20))])
    assert [(run.letter, run.plan.disturbs) for run in shared.values()] == [("A", False), ("B", True)]


def test_a_run_that_is_compared_with_goes_before_the_one_that_compares() -> None:
    peak, baseline = plan_of(level=100), plan_of(level=10)
    shared = share([Reading((BESIDE, P95), peak, references=(("at the baseline load", baseline),))])
    told = [(run.letter, run.plan, run.criteria, run.compared) for run in shared.values()]
    assert told == [("A", baseline, 0, 1), ("B", peak, 2, 0)]


def test_a_run_has_the_measures_of_all_its_criteria() -> None:
    deadlocks = grammar.criterion("no deadlock occurs")
    (run,) = share([Reading((P95,), plan_of(level=10)), Reading((deadlocks,), plan_of(level=10))]).values()
    assert run.measures == {P95.measure.name, "deadlocks"}


NEIGHBOUR = grammar.criterion('p95 is at most 1.5 times that without tenant "globex"')
WITHOUT = 'without tenant "globex"'


FEATURE = "features/shop.feature"


class FakeTestbed:
    """Makes a run of each load, and notes their titles; `changes` of `Run` by title, `times` in seconds by number."""

    def __init__(self, times: Sequence[float] = (), changes: Mapping[str, Mapping[str, Any]] | None = None):
        self.times, self.changes, self.titles = times, changes or {}, []

    def run(self, plan: Plan, title: str, queries: object, measures: object) -> Run:
        number = len(self.titles)
        self.titles.append(title)
        seconds = self.times[number] if self.times else 0.01
        changes = dict(self.changes.get(title, {}))
        if "trouble" in changes:
            raise UnreachableError(changes["trouble"])
        started = 1_700_000_000.0 + 100 * number
        seen = [restarted(started)] if changes.pop("restarts", False) else []
        outcome = changes.pop("outcome", "ok")
        starts = np.arange(6000) / 100
        times = np.where(np.arange(6000) % 2, seconds, 1.1 * seconds)
        run = run_of(samples_of(starts, times, outcome=outcome), plan, observations=seen, **changes)
        return replace(run, id=f"run-{number}", started=started)

    def close(self) -> None: ...


def restarted(started: float) -> observation.Observation:
    """An instance that restarts in the middle of a minute."""
    times = started + np.arange(60)
    series = observation.Series("metrics-1", times, np.where(np.arange(60) < 30, 0.0, times[30]))
    return observation.Observation("restarts", observation.Reading.GAUGE, "", (series,), 1.0)


def session_of(*readings: Reading, bed: FakeTestbed) -> Session:
    """A session of scenarios whose lines are 1, 2 …"""
    places = {(FEATURE, line): reading for line, reading in enumerate(readings, 1)}
    return Session(ENVIRONMENT, bed, places, judge)


def judge_scenario(session: Session, line: int = 1) -> list[CriterionResult]:
    """The results of the criteria of a scenario, as behave has them judged."""
    place = (FEATURE, line)
    scenario: Any = SimpleNamespace(
        filename=FEATURE, line=line, name="S", feature=SimpleNamespace(name="Shop"), effective_tags=("peak",)
    )
    session.begin_scenario(SimpleNamespace(), scenario)
    before = len(session.results)
    for criterion in session._readings[place].criteria:
        step: Any = SimpleNamespace(keyword="Then", name=criterion.sentence, line=5)
        session.begin_step(SimpleNamespace(), step)
        with suppress(AssertionError, *VERDICTS):
            session.judge(criterion)
    return session.results[before:]


ALONE, NOISY, NOISIER = (plan_of(level=level) for level in (90, 100, 110))


def beside_a_neighbour(plan: Plan, *others: Criterion) -> Reading:
    return Reading((*others, NEIGHBOUR), plan, references=((WITHOUT, ALONE),))


def titles(letters_and_levels: str) -> list[str]:
    """The titles of runs, such as "A90 B100"."""
    return [f"Run {each[0]}: {each[1:]} requests per second" for each in letters_and_levels.split()]


def test_a_noisy_tenant_is_compared_with_a_run_before_it_and_a_run_after_it() -> None:
    bed = FakeTestbed()
    session = session_of(beside_a_neighbour(NOISY), bed=bed)
    (result,) = judge_scenario(session)
    assert bed.titles == titles("A90 B100 C90")
    assert (result.run, result.verdict.status) == ("B", Status.PASS), result.verdict.reason
    assert [(run.letter, run.compared) for run in session.shared.values()] == [("A", 1), ("B", 0), ("C", 1)]
    runs = list(session.shared.values())
    assert _why(runs[2], runs[:2]) == "as run A, repeated after the load that is compared with both"


def test_a_criterion_before_the_comparison_does_not_change_the_order_of_its_runs() -> None:
    bed = FakeTestbed()
    judge_scenario(session_of(beside_a_neighbour(NOISY, P95), bed=bed))
    assert bed.titles == titles("A90 B100 C90")


def test_an_earlier_scenario_of_the_same_load_does_not_change_the_order_of_the_runs_of_a_comparison() -> None:
    bed = FakeTestbed()
    session = session_of(Reading((P95,), NOISY), beside_a_neighbour(NOISY), bed=bed)
    (first,), (second,) = judge_scenario(session, 1), judge_scenario(session, 2)
    assert bed.titles == titles("A90 B100 C90")
    assert (first.run, second.run) == ("B", "B")


def test_no_other_load_comes_between_the_runs_of_a_comparison() -> None:
    bed = FakeTestbed()
    plain, other = Reading((P95,), NOISY), Reading((P95,), plan_of(level=20))
    session = session_of(plain, other, beside_a_neighbour(NOISY), bed=bed)
    for line in (1, 2, 3):
        judge_scenario(session, line)
    assert bed.titles == titles("A90 B100 C90 D20")


def test_each_of_two_noisy_loads_is_between_two_runs_without_the_tenant_one_of_them_shared() -> None:
    # The machine slows down by a factor of two during the second noisy load.
    bed = FakeTestbed(times=(0.020, 0.022, 0.020, 0.040, 0.040))
    session = session_of(beside_a_neighbour(NOISY), beside_a_neighbour(NOISIER), bed=bed)
    statuses = [judge_scenario(session, line)[0].verdict.status for line in (1, 2)]
    assert bed.titles == titles("A90 B100 C90 D110 E90")
    assert statuses == [Status.PASS, Status.INCONCLUSIVE], "the tenant is not to blame"
    assert [run.compared for run in session.shared.values()] == [1, 0, 2, 0, 1]


def test_an_earlier_run_without_the_tenant_counts_only_directly_before_the_noisy_load() -> None:
    quiet, other = Reading((P95,), ALONE), Reading((P95,), plan_of(level=20))
    noisy = beside_a_neighbour(NOISY)
    for readings, order in (
        ((quiet, noisy), "A90 B100 C90"),
        ((quiet, other, noisy), "A90 B20 C90 D100 E90"),
        ((noisy, quiet), "A90 B100 C90"),
    ):
        bed = FakeTestbed()
        session = session_of(*readings, bed=bed)
        for line in range(1, len(readings) + 1):
            judge_scenario(session, line)
        assert bed.titles == titles(order)
        assert [run.title for run in session.shared.values()] == titles(order)


def test_a_disturbing_load_beside_a_tenant_goes_last_with_the_runs_around_it() -> None:
    noisy = beside_a_neighbour(replace(NOISY, actions=(Action("an instance is killed"),)))
    bed = FakeTestbed()
    session = session_of(noisy, Reading((P95,), plan_of(level=20)), bed=bed)
    judge_scenario(session, 1)
    assert bed.titles == titles("A20 B90 C100 D90")


def test_runs_without_the_tenant_that_both_came_before_the_noisy_load_show_nothing() -> None:
    # A Given of the first scenario failed, so its load ran for a later scenario only.
    session = session_of(beside_a_neighbour(NOISY), beside_a_neighbour(NOISIER), bed=FakeTestbed())
    (second,), (first,) = judge_scenario(session, 2), judge_scenario(session, 1)
    assert second.verdict.status is Status.PASS
    assert (first.verdict.status, first.verdict.reason) == (
        Status.NOT_JUDGED,
        'the loads without tenant "globex" did not run before and after the load with it',
    )


def test_a_comparison_whose_load_did_not_run_has_its_limit_as_a_factor() -> None:
    bed = FakeTestbed(changes={"Run A: 10 requests per second": {"trouble": "shop does not answer"}})
    session = session_of(beside_baseline(BESIDE), bed=bed)
    (result,) = judge_scenario(session)
    assert result.verdict.reason == "Run A: 10 requests per second: shop does not answer"
    assert (result.verdict.limit, result.verdict.unit) == (2.0, "times")


def beside_baseline(criterion: Criterion) -> Reading:
    return Reading((criterion,), NOISY, references=(("at the baseline load", plan_of(level=10)),))


@pytest.mark.parametrize(
    ("given", "then"),
    [
        ("the baseline load", "p95 is at most 2 times that at the baseline load"),
        ("1000 concurrent users", "throughput is at least 2 times that at the peak load"),
    ],
)
def test_a_load_that_would_be_compared_with_itself_is_refused(
    given: str, then: str, registry: object
) -> None:
    reading = reading_of(f"    Given {given}\n    Then {then}\n", registry)
    (problem,) = reading.problems
    assert "compares the load with itself: 1" in problem
    assert reading.plan is None


def test_a_run_is_asked_for_the_alerts_that_its_criteria_speak_of() -> None:
    criteria = (grammar.criterion("no alert fires"), grammar.criterion('the "Slow" alert fires within 9 s'))
    shared = share([Reading(criteria, plan_of())])
    assert [run.queries for run in shared.values()] == [("alerts", "alerts:Slow")]


# --- implicit criteria


def test_an_instance_that_restarted_unasked_is_told_beside_the_first_criterion_of_its_run() -> None:
    bed = FakeTestbed(changes={"Run A: 100 requests per second": {"restarts": True}})
    session = session_of(Reading((P95, ERRORS), NOISY), Reading((P95,), NOISIER), bed=bed)
    for line in (1, 2):
        judge_scenario(session, line)
    (broken,) = session.implicit
    assert (broken.sentence, broken.run, broken.verdict.status) == ("no instance restarts", "A", Status.FAIL)
    assert (broken.scenario_line, broken.level) == (1, "peak")


def test_an_implicit_criterion_is_no_requirement_and_never_advice() -> None:
    broken = _implicit(result_of(), Verdict("no instance restarts", Status.FAIL, "it did"), "B")
    assert (broken.requirements, broken.advisory, broken.level, broken.run) == ((), False, "peak", "B")


@pytest.mark.parametrize("run", ["A90", "B100", "C90"])
def test_an_instance_that_restarted_in_any_of_the_runs_of_a_comparison_is_told(run: str) -> None:
    (title,) = titles(run)
    bed = FakeTestbed(changes={title: {"restarts": True}}, times=(0.01, 0.01, 0.011))
    session = session_of(beside_a_neighbour(NOISY), bed=bed)
    judge_scenario(session)
    (broken,) = session.implicit
    assert (broken.sentence, broken.run) == ("no instance restarts", run[0])


def test_an_instance_that_restarted_in_a_reference_run_that_does_not_count_is_told() -> None:
    criterion = grammar.criterion("p95 is at most 2 times that at the baseline load, or below 50 ms")
    failing = {"restarts": True, "outcome": "refused"}
    bed = FakeTestbed(changes={"Run A: 10 requests per second": failing})
    session = session_of(beside_baseline(criterion), bed=bed)
    (result,) = judge_scenario(session)
    assert result.verdict.status is Status.PASS, result.verdict.reason
    (broken,) = session.implicit
    assert (broken.sentence, broken.run) == ("no instance restarts", "A")


def test_an_environment_that_a_run_left_in_another_state_is_not_judged() -> None:
    trouble = "run 1 disturbed the environment, and it is not as it was before: instances: metrics-2 down"
    bed = FakeTestbed(changes={"Run A: 100 requests per second": {"facts": {NOT_RESTORED: trouble}}})
    session = session_of(Reading((P95,), NOISY), bed=bed)
    (result,) = judge_scenario(session)
    assert result.verdict.status is Status.PASS
    (broken,) = session.implicit
    assert (broken.sentence, broken.run) == ("the environment is as it was before", "A")
    assert (broken.verdict.status, broken.verdict.reason) == (Status.NOT_JUDGED, f"R{trouble[1:]}.")


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
