"""Which runs a session has, and how an environment is brought up, loaded and taken down."""

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from loadkit import grammar
from loadkit.environment import lock, preflight
from loadkit.environment.environment import Environment
from loadkit.environment.lock import BusyError
from loadkit.environment.preflight import Check, NotReadyError
from loadkit.environment.settings import Settings
from loadkit.errors import ConfigurationError, UnreachableError
from loadkit.judging.evidence import Evidence
from loadkit.observers import observation
from loadkit.target import Address
from loadkit.verdict import Status, Verdict
from loadkit.workload.plan import Action, Plan
from loadkit.workload.workload import Model, Stage
from steps.suite import bench as benches
from steps.suite.bench import EnvironmentBench
from steps.suite.dry_run import difference
from steps.suite.reading import Reading
from steps.suite.results import CriterionResult
from steps.suite.session import Session, SharedRun, share
from tests.builders import plan_of, run_of

P95 = grammar.criterion("p95 is below 1 s")
ERRORS = grammar.criterion("the error rate is below 1%")
BESIDE = grammar.criterion("p95 is at most 2 times that at the baseline load")
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
    shared = share([Reading((BESIDE, P95), peak, references=(("baseline", baseline),))])
    told = [(run.letter, run.plan, run.criteria, run.compared) for run in shared.values()]
    assert told == [("A", baseline, 0, 1), ("B", peak, 2, 0)]


def test_a_run_is_asked_for_the_alerts_that_its_criteria_speak_of() -> None:
    criteria = (grammar.criterion("no alert fires"), grammar.criterion('the "Slow" alert fires within 9 s'))
    shared = share([Reading(criteria, plan_of())])
    assert [run.queries for run in shared.values()] == [("alerts", "alerts:Slow")]


def test_an_instance_that_restarted_unasked_is_told_beside_the_first_criterion_of_its_run() -> None:
    times = 1_700_000_000.0 + np.arange(60)
    restarted = observation.Series("metrics-1", times, np.where(np.arange(60) < 30, 0.0, times[30]))
    watched = observation.Observation("restarts", observation.Reading.GAUGE, "", (restarted,), 1.0)
    session = Session(environment_of(None), None, {}, None)  # type: ignore[arg-type]
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
    session = Session(environment_of(None), None, {}, None)  # type: ignore[arg-type]
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


# --- the bench


class FakeControl:
    """Notes what it is told; `up` says whether the environment was up before."""

    def __init__(self, *, up: bool, fails: str = "") -> None:
        self.is_up, self.fails, self.verbs = up, fails, []

    def call(self, *arguments: str, timeout: float = 0) -> dict[str, object]:
        self.verbs.append(arguments[0])
        if arguments[0] == self.fails:
            raise ConfigurationError(f"cannot {arguments[0]}")
        dsn = "postgresql://user:secret@host"
        return {"up": self.is_up, "version": "1.0", "database": dsn, "instances": [{"name": "a", "url": dsn}]}


CHECKS = (
    Check("the service", "/readyz says 200", "200"),
    Check("this machine's processors", "80 % in use", "at most half", holds=False, is_needed=False),
)


@contextmanager
def silent(title: str):
    yield lambda progress: None


@pytest.fixture
def loads(monkeypatch) -> list[Plan]:
    """The plans that the engine was given; it makes an empty run of each."""
    given: list[Plan] = []

    def run(plan: Plan, target, **_: object):
        given.append(plan)
        return run_of([], plan)

    monkeypatch.setattr(benches.engine, "run", run)
    monkeypatch.setattr(benches.live, "watcher", silent)
    monkeypatch.setattr(benches.preflight, "ready", lambda look: CHECKS)
    return given


def environment_of(control: FakeControl | None) -> Environment:
    settings = Settings(base=Address("http://127.0.0.1:1"))
    return Environment(Path(), Path("environments/shop.toml"), settings, control=control)  # type: ignore[arg-type]


def test_an_environment_is_brought_up_for_the_first_run_and_taken_down_at_the_end(tmp_path, loads) -> None:
    control = FakeControl(up=False)
    bench = EnvironmentBench(environment_of(control), tmp_path)
    assert control.verbs == []
    bench.run(plan_of(ramp=5), "Run A", ())
    bench.run(plan_of(ramp=5), "Run B", ())
    bench.close()
    bench.close()
    assert control.verbs == ["status", "up", "down"]


def test_an_environment_that_was_up_stays_up(tmp_path, loads) -> None:
    control = FakeControl(up=True)
    bench = EnvironmentBench(environment_of(control), tmp_path)
    bench.run(plan_of(ramp=5), "Run A", ())
    bench.close()
    assert control.verbs == ["status", "up"]


def test_an_environment_without_control_is_taken_as_it_is(tmp_path, loads) -> None:
    bench = EnvironmentBench(environment_of(None), tmp_path)
    bench.run(plan_of(ramp=5), "Run A", ())
    bench.close()
    assert len(loads) == 1


def test_an_environment_that_does_not_come_up_is_not_tried_again(tmp_path, loads) -> None:
    control = FakeControl(up=False, fails="up")
    bench = EnvironmentBench(environment_of(control), tmp_path)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="cannot up"):
            bench.run(plan_of(), "Run A", ())
    assert control.verbs == ["status", "up"]


def test_an_environment_that_does_not_go_down_leaves_the_verdicts_standing(tmp_path, loads, capsys) -> None:
    bench = EnvironmentBench(environment_of(FakeControl(up=False, fails="down")), tmp_path)
    bench.run(plan_of(ramp=5), "Run A", ())
    bench.close()
    assert capsys.readouterr().err == "shop: cannot down\n"


def test_a_run_is_kept_with_what_the_environment_tells_of_itself_but_no_secret(tmp_path, loads) -> None:
    run = EnvironmentBench(environment_of(FakeControl(up=True)), tmp_path).run(plan_of(ramp=5), "Run A", ())
    instances = [{"name": "a", "url": "postgresql://***@host"}]
    assert run.facts["environment"] == {"version": "1.0", "instances": instances}
    kept = next(tmp_path.glob("*/run.json")).read_text()
    assert '"version": "1.0"' in kept
    assert "secret" not in kept


def test_a_run_keeps_what_was_looked_at_before_it_and_warns_of_what_did_not_hold(tmp_path, loads) -> None:
    run = EnvironmentBench(environment_of(None), tmp_path).run(plan_of(ramp=5), "Run A", ())
    assert run.facts["preflight"][0] == "the service: /readyz says 200"
    assert run.warnings == ("this machine's processors: 80 % in use, expected at most half",)


def test_what_is_not_ready_to_judge_is_not_loaded(tmp_path, loads, monkeypatch) -> None:
    def refuse(look: object) -> None:
        raise NotReadyError("not ready to judge: its version: 1.0, expected 1.1")

    monkeypatch.setattr(benches.preflight, "ready", refuse)
    with pytest.raises(NotReadyError):
        EnvironmentBench(environment_of(None), tmp_path).run(plan_of(ramp=5), "Run A", ())
    assert loads == []


def test_an_environment_under_load_by_somebody_else_is_not_loaded(tmp_path, loads) -> None:
    environment = environment_of(None)
    with lock.hold(environment.target({}), "Run X"), pytest.raises(BusyError, match="Run X"):
        EnvironmentBench(environment, tmp_path).run(plan_of(ramp=5), "Run A", ())
    assert loads == []


def test_a_run_that_cannot_be_kept_is_judged_all_the_same(tmp_path, loads, capsys) -> None:
    (tmp_path / "runs").write_text("in the way")
    run = EnvironmentBench(environment_of(None), tmp_path / "runs").run(plan_of(ramp=5), "Run A", ())
    assert run.is_complete
    assert "cannot keep run" in capsys.readouterr().err


def test_a_ramp_warms_the_cache(tmp_path, loads) -> None:
    EnvironmentBench(environment_of(None), tmp_path).run(plan_of(ramp=5), "Run A", ())
    assert len(loads) == 1


def test_without_a_ramp_untimed_load_warms_the_cache_first(tmp_path, loads) -> None:
    plan = plan_of(ramp=0, level=200)
    run = EnvironmentBench(environment_of(None), tmp_path).run(plan, "Run A", ())
    assert [load.workload.stages for load in loads] == [(Stage(0, 20), Stage(5, 20)), plan.workload.stages]
    assert run.plan == plan


def test_a_cold_cache_is_emptied_and_not_warmed(tmp_path, loads) -> None:
    control = FakeControl(up=True)
    EnvironmentBench(environment_of(control), tmp_path).run(plan_of(ramp=0, cache="cold"), "Run A", ())
    assert control.verbs == ["status", "up", "flush"]
    assert len(loads) == 1


def test_a_cold_cache_is_refused_where_nothing_can_empty_it(tmp_path, loads) -> None:
    with pytest.raises(ConfigurationError, match="could empty the cache"):
        EnvironmentBench(environment_of(None), tmp_path).run(plan_of(cache="cold"), "Run A", ())
    assert loads == []


def test_an_interrupted_warm_up_is_followed_by_no_load(tmp_path, loads, monkeypatch) -> None:
    monkeypatch.setattr(benches.engine, "run", lambda plan, *_, **__: run_of([], plan, ended="interrupted"))
    with pytest.raises(KeyboardInterrupt):
        EnvironmentBench(environment_of(None), tmp_path).run(plan_of(ramp=0), "Run A", ())


READY = preflight.ready
KILLING = plan_of(ramp=5, actions=(Action("an instance is killed"),))


class ChangingControl(FakeControl):
    """An environment that is another one after it was brought up."""

    def __init__(self, **after: object) -> None:
        super().__init__(up=True)
        self.after = after

    def call(self, *arguments: str, timeout: float = 0) -> dict[str, object]:
        facts = super().call(*arguments)
        alive = {
            "instances": [{"name": "metrics-1", "state": "running", "pid": len(self.verbs)}],
            "faults": {},
        }
        is_later = self.verbs.count("status") > 1
        return {**facts, **alive, **(self.after if is_later else {})}


@pytest.fixture
def impatient(loads, monkeypatch) -> None:
    """Looks once before a run, and once after it."""
    monkeypatch.setattr(benches.preflight, "ready", lambda look: READY(look, patience=0.0))
    monkeypatch.setattr(benches.preflight, "look", lambda *_: CHECKS)


def test_after_a_run_that_disturbed_an_environment_as_it_was_is_loaded_on(tmp_path, loads, impatient) -> None:
    bench = EnvironmentBench(environment_of(ChangingControl()), tmp_path)
    bench.run(KILLING, "Run A", ())
    bench.run(plan_of(ramp=5), "Run B", ())
    assert len(loads) == 2


@pytest.mark.parametrize(
    "after",
    [
        {"instances": []},
        {"instances": [{"name": "metrics-1", "state": "dead"}]},
        {"faults": {"instance-killed": {}}},
        {"version": "1.1"},
    ],
)
def test_an_environment_that_is_not_as_it_was_is_not_loaded_again(after, tmp_path, loads, impatient) -> None:
    bench = EnvironmentBench(environment_of(ChangingControl(**after)), tmp_path)
    run = bench.run(KILLING, "Run A", ())
    assert run.is_complete
    with pytest.raises(NotReadyError, match="it is not as it was"):
        bench.run(plan_of(ramp=5), "Run B", ())
    assert len(loads) == 1


def test_what_the_engine_cannot_do_is_passed_on(tmp_path, monkeypatch, loads) -> None:
    def refuse(*_: object, **__: object):
        raise UnreachableError("http://127.0.0.1:1 does not answer")

    monkeypatch.setattr(benches.engine, "run", refuse)
    with pytest.raises(UnreachableError):
        EnvironmentBench(environment_of(None), tmp_path).run(plan_of(ramp=5), "Run A", ())
