"""How an environment is brought up, loaded and taken down."""

import os
import re
import sys
import tempfile
from collections import Counter
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from loadkit.engine import small_load, testbed
from loadkit.environment import lock, preflight
from loadkit.environment.capacity import Capacity
from loadkit.environment.environment import Environment
from loadkit.environment.lock import BusyError
from loadkit.environment.preflight import Check, NotReadyError
from loadkit.environment.settings import Data, Database, Observer, Settings
from loadkit.errors import ConfigurationError, UnreachableError
from loadkit.observers.fake import FakeObserver
from loadkit.observers.observation import Observation, Reading
from loadkit.recording import archive
from loadkit.recording.run import Run
from loadkit.target import Address, Target
from loadkit.workload.plan import Action, Plan
from loadkit.workload.workload import Model, Stage
from tests.bad_servers import always_says, in_a_thread
from tests.builders import plan_of, run_of
from tests.virtual_time import ROOT
from tests.virtual_time import plan_of as selling_plan


class FakeControl:
    """Notes what it is told; `up` says whether the environment was up before."""

    def __init__(self, *, up: bool, fails: str = "") -> None:
        self.is_up, self.fails, self.verbs = up, fails, []

    def call(self, *arguments: str, within: float = 0) -> dict[str, object]:
        self.verbs.append(arguments[0])
        if arguments[0] == self.fails:
            raise ConfigurationError(f"cannot {arguments[0]}")
        dsn = "postgresql://user:secret@host"
        return {"up": self.is_up, "version": "1.0", "database": dsn, "instances": [{"name": "a", "url": dsn}]}


CHECKS = (
    Check("the service", "/readyz answered 200", "200"),
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

    monkeypatch.setattr(testbed.engine, "run", run)
    monkeypatch.setattr(testbed.preflight, "ready", lambda look: CHECKS)
    return given


BEDS: list[testbed.Testbed] = []
"""The testbeds of a test, which hold the lock of their environment until they are closed."""


@pytest.fixture(autouse=True)
def closed_beds():
    yield
    while BEDS:
        BEDS.pop().close()


def bed_of(environment: Environment, runs: Path, *, watcher=silent) -> testbed.Testbed:
    BEDS.append(testbed.Testbed(environment, runs, watcher=watcher, tell=partial(print, file=sys.stderr)))
    return BEDS[-1]


def environment_of(control: FakeControl | None) -> Environment:
    settings = Settings(base=Address("http://127.0.0.1:1"))
    return Environment(Path(), Path("environments/shop.toml"), settings, control=control)  # type: ignore[arg-type]


def test_an_environment_is_brought_up_for_the_first_run_and_taken_down_at_the_end(tmp_path, loads) -> None:
    control = FakeControl(up=False)
    bed = bed_of(environment_of(control), tmp_path)
    assert control.verbs == []
    bed.run(plan_of(ramp=5), "Run A", ())
    bed.run(plan_of(ramp=5), "Run B", ())
    bed.close()
    bed.close()
    assert control.verbs == ["status", "up", "down"]


def test_an_environment_that_was_up_stays_up(tmp_path, loads) -> None:
    control = FakeControl(up=True)
    bed = bed_of(environment_of(control), tmp_path)
    bed.run(plan_of(ramp=5), "Run A", ())
    bed.close()
    assert control.verbs == ["status", "up"]


def test_an_environment_without_control_is_taken_as_it_is(tmp_path, loads) -> None:
    bed = bed_of(environment_of(None), tmp_path)
    bed.run(plan_of(ramp=5), "Run A", ())
    bed.close()
    assert len(loads) == 1


def test_an_environment_that_does_not_come_up_is_not_tried_again(tmp_path, loads) -> None:
    control = FakeControl(up=False, fails="up")
    bed = bed_of(environment_of(control), tmp_path)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="cannot up"):
            bed.run(plan_of(), "Run A", ())
    assert control.verbs == ["status", "up"]


def test_an_environment_that_does_not_go_down_leaves_the_verdicts_standing(tmp_path, loads, capsys) -> None:
    bed = bed_of(environment_of(FakeControl(up=False, fails="down")), tmp_path)
    bed.run(plan_of(ramp=5), "Run A", ())
    bed.close()
    assert capsys.readouterr().err == "shop: cannot down\n"


def test_a_run_is_kept_with_what_the_environment_tells_of_itself_but_no_secret(tmp_path, loads) -> None:
    run = bed_of(environment_of(FakeControl(up=True)), tmp_path).run(plan_of(ramp=5), "Run A", ())
    instances = [{"name": "a", "url": "postgresql://***@host"}]
    assert run.facts["environment"] == {"version": "1.0", "instances": instances}
    kept = next(tmp_path.glob("*/run.json")).read_text()
    assert '"version": "1.0"' in kept
    assert "secret" not in kept


def test_a_run_keeps_what_was_looked_at_before_it_and_warns_of_what_did_not_hold(tmp_path, loads) -> None:
    run = bed_of(environment_of(None), tmp_path).run(plan_of(ramp=5), "Run A", ())
    assert run.facts["preflight"][0] == "the service: /readyz answered 200"
    assert run.warnings == ("this machine's processors: 80 % in use, expected at most half",)


def test_what_is_not_ready_to_judge_is_not_loaded(tmp_path, loads, monkeypatch) -> None:
    def refuse(look: object) -> None:
        raise NotReadyError("not ready to judge: its version: 1.0, expected 1.1")

    monkeypatch.setattr(testbed.preflight, "ready", refuse)
    with pytest.raises(NotReadyError):
        bed_of(environment_of(None), tmp_path).run(plan_of(ramp=5), "Run A", ())
    assert loads == []


def test_an_environment_under_load_by_somebody_else_is_not_loaded(tmp_path, loads) -> None:
    environment = environment_of(None)
    with lock.hold(environment.target({}), "Run X"), pytest.raises(BusyError, match="Run X"):
        bed_of(environment, tmp_path).run(plan_of(ramp=5), "Run A", ())
    assert loads == []


def test_no_other_session_loads_an_environment_until_the_one_that_started_it_has_stopped_it(
    tmp_path, loads
) -> None:
    control, later = FakeControl(up=False), FakeControl(up=True)
    first, second = bed_of(environment_of(control), tmp_path), bed_of(environment_of(later), tmp_path)
    first.run(plan_of(ramp=5), "Run A", ())
    first.run(plan_of(ramp=5), "Run B", ())
    with pytest.raises(BusyError, match="Run B"):
        second.run(plan_of(ramp=5), "Run A of the other session", ())
    held = []
    control.call = lambda verb, **_: held.append((verb, lock.holder_of(environment_of(None).target({}))))
    first.close()
    assert [(verb, holder.what) for verb, holder in held] == [("down", "Run B")]
    second.run(plan_of(ramp=5), "Run A of the other session", ())
    second.close()


def test_a_session_that_may_not_load_an_environment_does_not_stop_it(tmp_path, loads) -> None:
    control = FakeControl(up=False)  # both sessions saw that it was not up
    bed = bed_of(environment_of(control), tmp_path)
    with lock.hold(environment_of(None).target({}), "Run X"), pytest.raises(BusyError, match="Run X"):
        bed.run(plan_of(ramp=5), "Run A", ())
    bed.close()
    assert control.verbs == ["status", "up"]


def test_a_run_that_cannot_be_kept_is_judged_all_the_same(tmp_path, loads, capsys) -> None:
    (tmp_path / "runs").write_text("in the way")
    run = bed_of(environment_of(None), tmp_path / "runs").run(plan_of(ramp=5), "Run A", ())
    assert run.is_complete
    assert "cannot keep run" in capsys.readouterr().err
    said = "the run is not stored as it was judged: cannot keep run"
    assert len([each for each in run.warnings if each.startswith(said)]) == 1


def test_a_ramp_warms_the_cache(tmp_path, loads) -> None:
    bed_of(environment_of(None), tmp_path).run(plan_of(ramp=5), "Run A", ())
    assert len(loads) == 1


def test_without_a_ramp_untimed_load_warms_the_cache_first(tmp_path, loads) -> None:
    plan = plan_of(ramp=0, level=200)
    run = bed_of(environment_of(None), tmp_path).run(plan, "Run A", ())
    assert [load.workload.stages for load in loads] == [(Stage(0, 20), Stage(5, 20)), plan.workload.stages]
    assert run.plan == plan


def test_a_cold_cache_is_emptied_and_not_warmed(tmp_path, loads) -> None:
    control = FakeControl(up=True)
    bed_of(environment_of(control), tmp_path).run(plan_of(ramp=0, cache="cold"), "Run A", ())
    assert control.verbs == ["status", "up", "flush"]
    assert len(loads) == 1


def test_a_cold_cache_is_refused_where_nothing_can_empty_it(tmp_path, loads) -> None:
    with pytest.raises(ConfigurationError, match="could empty the cache"):
        bed_of(environment_of(None), tmp_path).run(plan_of(cache="cold"), "Run A", ())
    assert loads == []


def test_an_interrupted_warm_up_is_followed_by_no_load(tmp_path, loads, monkeypatch) -> None:
    monkeypatch.setattr(testbed.engine, "run", lambda plan, *_, **__: run_of([], plan, ended="interrupted"))
    with pytest.raises(KeyboardInterrupt):
        bed_of(environment_of(None), tmp_path).run(plan_of(ramp=0), "Run A", ())


READY = preflight.ready
KILLING = plan_of(ramp=5, actions=(Action("an instance is killed"),))


class ChangingControl(FakeControl):
    """An environment that is another one after it was brought up."""

    def __init__(self, **after: object) -> None:
        super().__init__(up=True)
        self.after = after

    def call(self, *arguments: str, within: float = 0) -> dict[str, object]:
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
    monkeypatch.setattr(testbed.preflight, "ready", lambda look: READY(look, patience=0.0))
    monkeypatch.setattr(testbed.preflight, "look", lambda *_: CHECKS)


def test_after_a_run_that_disturbed_an_environment_as_it_was_is_loaded_on(tmp_path, loads, impatient) -> None:
    bed = bed_of(environment_of(ChangingControl()), tmp_path)
    bed.run(KILLING, "Run A", ())
    bed.run(plan_of(ramp=5), "Run B", ())
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
    bed = bed_of(environment_of(ChangingControl(**after)), tmp_path)
    run = bed.run(KILLING, "Run A", ())
    assert run.is_complete
    with pytest.raises(NotReadyError, match="it is not as it was"):
        bed.run(plan_of(ramp=5), "Run B", ())
    assert len(loads) == 1


def test_an_environment_that_is_not_as_it_was_is_told_at_once_and_kept_with_the_run(
    tmp_path, loads, impatient, capsys
) -> None:
    dead = {"instances": [{"name": "metrics-1", "state": "dead"}]}
    bed = bed_of(environment_of(ChangingControl(**dead)), tmp_path)
    run = bed.run(KILLING, "Run A", ())
    told = (
        f"run {run.id} disturbed the environment, and it is not as it was before: not ready to judge: "
        "instances: metrics-1 dead, expected metrics-1 running"
    )
    assert capsys.readouterr().err == f"{told}\n"
    assert (run.warnings[-1], run.facts[testbed.NOT_RESTORED]) == (told, told)
    assert (kept(tmp_path).warnings, kept(tmp_path).facts) == (run.warnings, run.facts)


def test_a_run_after_which_the_environment_is_as_it_was_says_nothing_of_it(
    tmp_path, loads, impatient, capsys
) -> None:
    run = bed_of(environment_of(ChangingControl()), tmp_path).run(KILLING, "Run A", ())
    assert testbed.NOT_RESTORED not in run.facts
    assert capsys.readouterr().err == ""


def test_what_the_engine_cannot_do_is_passed_on(tmp_path, monkeypatch, loads) -> None:
    def refuse(*_: object, **__: object):
        raise UnreachableError("http://127.0.0.1:1 does not answer")

    monkeypatch.setattr(testbed.engine, "run", refuse)
    with pytest.raises(UnreachableError):
        bed_of(environment_of(None), tmp_path).run(plan_of(ramp=5), "Run A", ())


# --- whatever fails after the load, the run is kept first


def observing(monkeypatch, observer: object) -> None:
    monkeypatch.setattr(testbed, "observer_of", lambda *_: observer)


def kept(runs: Path) -> Run:
    (folder,) = runs.iterdir()
    return archive.load(folder)


def test_a_run_is_kept_before_the_observer_is_asked_and_again_with_what_it_saw(
    tmp_path, loads, monkeypatch
) -> None:
    class Slow(FakeObserver):
        def observe(self, start: float, end: float):
            assert kept(tmp_path).observations == {}
            return super().observe(start, end)

    cpu = Observation("CPU utilization", Reading.GAUGE, "ratio", (), 1.0)
    observing(monkeypatch, Slow({"CPU utilization": cpu}))
    bed_of(environment_of(None), tmp_path).run(plan_of(ramp=5), "Run A", ())
    assert kept(tmp_path).observations == {"CPU utilization": cpu}


def test_a_run_whose_observer_fails_is_kept_with_the_reason(tmp_path, loads, monkeypatch) -> None:
    cpu = Observation("CPU utilization", Reading.GAUGE, "ratio", (), 1.0)
    observing(monkeypatch, FakeObserver({"CPU utilization": cpu}, fails=KeyError("p99")))
    run = bed_of(environment_of(None), tmp_path).run(plan_of(ramp=5), "Run A", ())
    assert any("the observer failed: KeyError: 'p99'" in warning for warning in run.warnings)
    assert kept(tmp_path).warnings == run.warnings
    assert "KeyError" in kept(tmp_path).observations["CPU utilization"].problem


def test_a_run_whose_observer_is_interrupted_is_kept(tmp_path, loads, monkeypatch) -> None:
    class Interrupted(FakeObserver):
        def observe(self, start: float, end: float):
            raise KeyboardInterrupt

    observing(monkeypatch, Interrupted())
    run = bed_of(environment_of(None), tmp_path).run(plan_of(ramp=5), "Run A", ())
    for each in (run, kept(tmp_path)):
        assert each.is_complete
        assert each.was_interrupted, "no further load starts"
        assert "the observers were interrupted while they read their results" in each.warnings


def test_a_run_is_kept_although_its_display_cannot_be_taken_away(tmp_path, loads) -> None:
    @contextmanager
    def broken(title: str):
        yield lambda progress: None
        raise BrokenPipeError

    bed = bed_of(environment_of(None), tmp_path, watcher=broken)
    with pytest.raises(BrokenPipeError):
        bed.run(plan_of(ramp=5), "Run A", ())
    assert kept(tmp_path).is_complete


def test_a_run_after_which_the_environment_cannot_be_asked_stands_and_is_the_last(
    tmp_path, loads, impatient
) -> None:
    class Gone(ChangingControl):
        def call(self, *arguments: str, within: float = 0) -> dict[str, object]:
            if "status" in self.verbs and arguments[0] == "status":
                raise ValueError("no JSON")
            return super().call(*arguments)

    bed = bed_of(environment_of(Gone()), tmp_path)
    assert bed.run(KILLING, "Run A", ()).is_complete
    with pytest.raises(NotReadyError, match="ValueError: no JSON"):
        bed.run(plan_of(ramp=5), "Run B", ())


def test_the_references_of_an_environment_are_resolved_once(tmp_path, loads, monkeypatch) -> None:
    monkeypatch.setenv("SHOP_URL", "http://127.0.0.1:1")
    settings = Settings(base=Address("env:SHOP_URL"), observer=Observer(url=Address("env:SHOP_URL")))
    bed = bed_of(Environment(Path(), Path("shop.toml"), settings), tmp_path)
    observing(monkeypatch, None)
    bed.run(plan_of(ramp=5), "Run A", ())
    monkeypatch.delenv("SHOP_URL")
    bed.run(plan_of(ramp=5), "Run B", ())
    assert len(loads) == 2


# --- the rows of earlier runs


class CleaningControl(FakeControl):
    """Tells how many rows it removed; notes its calls in `events`, among those of others."""

    def __init__(self, *, fails: str = "", **facts: object) -> None:
        super().__init__(up=True, fails=fails)
        self.events: list[str] = []
        self.facts = facts

    def call(self, *arguments: str, within: float = 0) -> dict[str, object]:
        if arguments[0] == "clean":
            self.events.append(" ".join(arguments))
        return {**super().call(*arguments), **(self.facts if arguments[0] == "clean" else {})}


def cleaning(control: FakeControl | None, **keys: object) -> Environment:
    """An environment whose database is cleaned of the rows of earlier runs."""
    keys = {"clean": ("clean", "--all")} | keys
    settings = Settings(
        base=Address("http://127.0.0.1:1"),
        control=("a", "command"),
        database=Database(dsn=Address("postgresql://user@127.0.0.1/shop"), **keys),  # type: ignore[arg-type]
    )
    return Environment(Path(), Path("environments/shop.toml"), settings, control=control)  # type: ignore[arg-type]


def of_population(**fields: float) -> Plan:
    plan = plan_of(ramp=5)
    return replace(plan, populations=(replace(plan.populations[0], **fields),))  # type: ignore[arg-type]


@pytest.mark.parametrize("fields", [{}, {"records_needed": 1e7}, {"records": 1.0}])
def test_the_rows_of_earlier_runs_are_removed_before_a_load(
    tmp_path, loads, monkeypatch, capsys, fields
) -> None:
    control = CleaningControl(removed={"events": 5_000_000, "sessions": 12_000})
    monkeypatch.setattr(testbed.preflight, "ready", lambda _: control.events.append("checks") or CHECKS)
    monkeypatch.setattr(
        testbed.engine, "run", lambda plan, *_, **__: control.events.append("load") or run_of([], plan)
    )
    run = bed_of(cleaning(control), tmp_path).run(of_population(**fields), "Run A", ())
    assert control.events == ["clean --all", "checks", "load"]
    assert capsys.readouterr().err.splitlines() == [
        "removing the rows of earlier runs …",
        "removing the rows of earlier runs: 5,012,000 removed",
    ]
    assert "the rows of earlier runs: 5,012,000 removed" in run.facts["preflight"]


def test_a_run_keeps_the_number_of_rows_that_were_left_for_it(tmp_path, loads, monkeypatch) -> None:
    looked_at = []
    monkeypatch.setattr(testbed.preflight, "look", lambda _, up, __: looked_at.append(up.facts["rows"]))
    monkeypatch.setattr(testbed.preflight, "ready", lambda look: look() or CHECKS)
    control = CleaningControl(removed={"events": 5}, rows={"events": 100})
    run = bed_of(cleaning(control), tmp_path).run(of_population(records=1.0), "Run A", ())
    assert run.facts["environment"]["rows"] == {"events": 100}
    assert looked_at == [{"events": 100}]


def test_each_load_begins_without_the_rows_of_the_one_before(tmp_path, loads) -> None:
    control = CleaningControl(removed={})
    bed = bed_of(cleaning(control), tmp_path)
    for title in ("Run A", "Run B"):
        bed.run(of_population(records=1.0), title, ())
    assert control.events == ["clean --all"] * 2


def test_the_writes_of_a_run_are_compared_before_their_rows_are_removed(tmp_path, loads, monkeypatch) -> None:
    control = CleaningControl(removed={})
    monkeypatch.setattr(testbed, "database_observer", lambda *_, **__: "a database")
    monkeypatch.setattr(testbed, "observe_database", lambda *_: control.events.append("compared"))
    bed = bed_of(cleaning(control), tmp_path)
    for title in ("Run A", "Run B"):
        bed.run(of_population(records=1.0), title, ())
    assert control.events == ["clean --all", "compared", "clean --all", "compared"]


def test_deadlocks_are_awaited_if_a_criterion_judges_them(tmp_path, loads, monkeypatch) -> None:
    awaited = []
    monkeypatch.setattr(
        testbed, "database_observer", lambda _, *, awaits_deadlocks: awaited.append(awaits_deadlocks)
    )
    bed = bed_of(environment_of(None), tmp_path)
    bed.run(plan_of(ramp=5), "Run A", (), {"deadlocks", "error rate"})
    bed.run(plan_of(ramp=5), "Run B", (), {"error rate"})
    assert awaited == [True, False]


def test_nothing_is_removed_without_a_verb(tmp_path, loads) -> None:
    control = CleaningControl()
    for load, environment in (("Run B", cleaning(control, clean=())), ("Run C", cleaning(None))):
        bed = bed_of(environment, tmp_path)
        bed.run(of_population(records=1.0), load, ())
        bed.close()
    assert control.events == []
    assert len(loads) == 2


def test_a_calibration_removes_no_rows(tmp_path, loads, measured) -> None:
    control = CleaningControl()
    bed_of(cleaning(control), tmp_path).capacity(of_population(records=1.0), 5)
    assert control.events == []


def test_rows_that_cannot_be_removed_are_one_line_and_no_load(tmp_path, loads) -> None:
    bed = bed_of(cleaning(CleaningControl(fails="clean")), tmp_path)
    with pytest.raises(NotReadyError) as refusal:
        bed.run(of_population(records=1.0), "Run A", ())
    assert str(refusal.value) == "cannot remove the rows of earlier runs: cannot clean"
    assert loads == []


def test_an_answer_that_is_no_number_of_rows_is_one_line_and_no_load(tmp_path, loads) -> None:
    bed = bed_of(cleaning(CleaningControl(removed={"events": "many", "sessions": -0.5})), tmp_path)
    with pytest.raises(NotReadyError, match=r'removed\.events = "many": expected .*; .*sessions') as refusal:
        bed.run(of_population(records=1.0), "Run A", ())
    assert "\n" not in str(refusal.value)
    assert loads == []


def test_a_command_that_tells_no_number_of_rows_is_not_said_to_have_removed_none(
    tmp_path, loads, capsys
) -> None:
    bed_of(cleaning(CleaningControl()), tmp_path).run(of_population(records=1.0), "Run A", ())
    assert capsys.readouterr().err.splitlines()[-1] == "removing the rows of earlier runs: removed"


# --- what this machine carries

PEAK = plan_of(300, ramp=60, level=1000, model=Model.CLOSED)
CAPACITY = Capacity({"postgres": 1e-3, "the service": 0.9e-3}, 0.0, 0.0, 2, level=80, rate=100)
WARNING = (
    "the capacity of this machine: about 800 users (680 to 1800) before this machine is full; postgres and "
    "the service take most of it, expected at least 1000 users, as planned"
)


@pytest.fixture
def measured(monkeypatch, tmp_path) -> list[Plan]:
    """The plans of which a small part was put on; the parts of the environment run on this machine."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    plans: list[Plan] = []

    def measure(plan: Plan, *_: object) -> Capacity:
        plans.append(plan)
        return CAPACITY

    monkeypatch.setattr(small_load, "measure", measure)
    monkeypatch.setattr(small_load, "find_parts", lambda _: {os.getpid(): "postgres"})
    monkeypatch.setattr(small_load, "_others_now", lambda _: 0.0)
    return plans


def test_a_plan_that_this_machine_does_not_carry_is_warned_of_before_the_load(
    tmp_path, loads, measured, monkeypatch, capsys
) -> None:
    told_before = []

    def run(plan: Plan, *_: object, **__: object) -> Run:
        told_before.append(capsys.readouterr().err)
        return run_of([], plan)

    monkeypatch.setattr(testbed.engine, "run", run)
    done = bed_of(environment_of(None), tmp_path / "runs").run(PEAK, "Run A", ())
    assert told_before == [f"warning: {WARNING}\n"]
    assert done.facts["preflight"][-1] == WARNING
    assert WARNING in done.warnings


def test_a_plan_that_this_machine_carries_is_no_warning(tmp_path, loads, measured, capsys) -> None:
    plan = plan_of(300, ramp=60, level=700, model=Model.CLOSED)
    done = bed_of(environment_of(None), tmp_path / "runs").run(plan, "Run A", ())
    assert "about 800 users" in done.facts["preflight"][-1]
    assert not [warning for warning in done.warnings if "capacity" in warning]
    assert capsys.readouterr().err == ""


def test_the_capacity_is_measured_once_while_the_same_processes_run(tmp_path, loads, measured) -> None:
    for _ in range(2):  # two sessions
        bed = bed_of(environment_of(None), tmp_path / "runs")
        bed.run(PEAK, "Run A", ())
        bed.run(plan_of(300, ramp=60, level=900, model=Model.CLOSED), "Run B", ())
        bed.close()
    assert measured == [PEAK]


def test_the_capacity_is_not_measured_for_a_small_plan_or_parts_elsewhere(
    tmp_path, loads, measured, monkeypatch
) -> None:
    bed = bed_of(environment_of(None), tmp_path / "runs")
    bed.run(plan_of(ramp=5, level=50, model=Model.CLOSED), "Run A", ())
    monkeypatch.setattr(small_load, "find_parts", lambda _: {})
    bed.run(PEAK, "Run B", ())
    assert measured == []


def test_a_small_load_that_cannot_be_put_on_does_not_end_the_session(
    tmp_path, loads, measured, monkeypatch
) -> None:
    def refuse(*_: object) -> Capacity:
        raise UnreachableError("shop did not carry a small load")

    monkeypatch.setattr(small_load, "measure", refuse)
    bed_of(environment_of(None), tmp_path / "runs").run(PEAK, "Run A", ())
    assert loads == [PEAK]


def test_a_calibration_is_kept_for_the_runs_after_it_and_respects_the_lock(tmp_path, loads, measured) -> None:
    environment = environment_of(None)
    bed = bed_of(environment, tmp_path / "runs")
    assert bed.capacity(PEAK, 5) == CAPACITY
    bed.run(PEAK, "Run A", ())
    assert measured == [PEAK]
    bed.close()
    with lock.hold(environment.target({}), "Run X"), pytest.raises(BusyError, match="Run X"):
        bed.capacity(PEAK, 5)


# --- what a run has for itself


def selling(folder: Path, base: str) -> Environment:
    """An environment with products that each operation needs one of."""
    file = folder / "products.csv"
    file.write_text("sku\n" + "".join(f"a{number}\n" for number in range(50_000)))
    settings = Settings(base=Address(base), data={"products": Data(str(file), "operation")})
    return Environment(ROOT, Path("environments/shop.toml"), settings)


@pytest.mark.slow
def test_a_run_has_other_rows_and_another_run_id_than_its_warm_up(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(testbed, "_WARM_UP", 1.0)
    monkeypatch.setattr(testbed.preflight, "ready", lambda look: CHECKS)
    plan = selling_plan("tests.data_journeys:sell", model=Model.REQUESTS, level=90, seconds=2, drain=1.0)
    with in_a_thread(always_says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")) as server:
        run = bed_of(selling(tmp_path, server.base), tmp_path / "runs").run(plan, "Run A", ())
    rows: dict[str, list[str]] = {}
    for request in map(bytes.decode, server.requests):
        if found := re.match(r"GET /products/(\S+) (?s:.*)x-run-id: (\S+)", request, re.IGNORECASE):
            rows.setdefault(found[2], []).append(found[1])
    assert rows.keys() == {run.id, f"{run.id}-warmup"}
    every = [row for taken in rows.values() for row in taken]
    assert len(every) == len(set(every))
    assert len(rows[run.id]) > len(rows[f"{run.id}-warmup"]) > 2
    # A user takes its row before its arrival comes.
    assert run.facts["rows taken"]["products"] >= len(rows[run.id])


@pytest.mark.parametrize("fails", [False, True])
def test_a_run_begins_after_the_rows_of_the_small_load_and_of_the_warm_up(
    tmp_path, loads, measured, monkeypatch, fails
) -> None:
    begun = []

    def run(plan: Plan, target: Target, **_: object) -> Run:
        begun.append((target.tables["products"].first, plan.seed))
        return replace(run_of([], plan), facts={"rows taken": {"products": 50}})

    def measure(plan: Plan, up: object, parts: object, seconds: float, taken: Counter[str]) -> Capacity:
        taken["products"] += 4000
        if fails:
            raise UnreachableError("shop did not carry a small load")
        return CAPACITY

    monkeypatch.setattr(testbed.engine, "run", run)
    monkeypatch.setattr(small_load, "measure", measure)
    bed = bed_of(selling(tmp_path, "http://127.0.0.1:1"), tmp_path / "runs")
    bed.run(plan_of(300, ramp=0, level=1000, model=Model.CLOSED), "Run A", ())
    assert begun == [(4000, PEAK.seed + 1), (4050, PEAK.seed)]


def test_the_rows_that_a_load_took_are_those_up_to_the_last_one_of_a_worker() -> None:
    def ended_with(taken: dict[str, int] | Exception) -> "Future[object]":
        future: Future[object] = Future()
        if isinstance(taken, Exception):
            future.set_exception(taken)
        else:
            future.set_result(taken)
        return future

    # Of the third worker, nothing is known. The second one has taken the rows 1, 4 and 7 after the trial's.
    workers = [ended_with({"a": 1}), ended_with({"a": 3, "b": 1}), ended_with(ValueError("it failed"))]
    assert testbed.engine._rows_taken({"a": 2, "c": 1}, workers) == {"a": 10, "b": 2, "c": 1}
    assert testbed.engine._rows_taken({}, [ended_with({})]) == {}
