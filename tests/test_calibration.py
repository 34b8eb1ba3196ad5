"""What a machine can generate: how a climb is read, and one real one."""

import argparse
import json
import math
import tempfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from loadkit import cli
from loadkit.analysis import calibration
from loadkit.analysis.calibration import LEVELS, Climb, Clock, Step
from loadkit.cli import calibrate
from loadkit.engine import small_load
from loadkit.engine.run import Progress
from loadkit.engine.worker import SPARE_FILES
from loadkit.environment.capacity import Capacity, capacity_of
from loadkit.errors import ConfigurationError
from loadkit.observers.machine import Use
from loadkit.workload.workload import Model
from tests.builders import plan_of

pytestmark = pytest.mark.load

ROOT = Path(__file__).parent.parent
CLOCK = Clock(1e-9, 5e-8)


def step(rate: float, health: str = "ok") -> Step:
    reasons = () if health == "ok" else (f"{health} at {rate:g}",)
    return Step(rate, rate, 0.3, 0.001, 0.0005, 0.002, health, reasons)


def test_levels_rise_by_the_root_of_two():
    for level, above in pairwise(LEVELS):
        assert above / level == pytest.approx(math.sqrt(2), rel=0.03)


@pytest.mark.parametrize(
    ("steps", "best", "usable", "above"),
    [
        ([step(1000), step(2000), step(4000, "invalid")], 2000, 2000, 4000),
        ([step(1000), step(2000, "warn"), step(4000, "invalid")], 1000, 2000, 4000),
        # What went well once, the machine can do: another program disturbed the first level.
        ([step(1000, "invalid"), step(2000)], 2000, 2000, None),
        ([step(1000, "warn")], None, 1000, None),
    ],
)
def test_a_climb_says_what_was_well_what_was_usable_and_what_was_too_much(steps, best, usable, above):
    climb = Climb(1, tuple(steps))
    assert climb.best == next((each for each in steps if each.rate == best), None)
    assert climb.usable is not None
    assert climb.usable.rate == usable
    assert climb.above(climb.usable) == next((each for each in steps if each.rate == above), None)


def test_users_are_bounded_by_the_rate_and_by_the_files():
    climb = Climb(2, (step(1000),))
    assert climb.users(math.inf) == 800  # 0.8 s from one request to the next
    assert climb.users(SPARE_FILES + 100) == 200
    assert climb.users(SPARE_FILES - 1) == 0
    assert Climb(1, (step(1000, "invalid"),)).users(math.inf) == 0


def test_a_step_tells_the_shortest_limit_that_its_lateness_allows():
    assert step(1000).shortest_limit == pytest.approx(0.025)  # lateness warns from 2 % of the limit on


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([step(1000), step(4000, "invalid")], ["one worker: 1000 requests per second without overload", "  not 4000: invalid at 4000"]),
        ([step(1000), step(2000, "warn")], ["  2000 with warnings: warn at 2000", "  no higher level was tried"]),
        ([step(1000, "warn")], ["one worker: every level has warnings, and so will results; stop other processes that use this machine's CPU"]),
        ([step(1000, "invalid")], ["one worker: results from this machine would be invalid (invalid at 1000); stop other processes that use its CPU"]),
        ([], ["one worker: results from this machine would be invalid (no level was completed); stop other processes that use its CPU"]),
    ],
)  # fmt: skip
def test_the_verdict_is_said_in_words(steps, said):
    told = list(calibrate.lines([Climb(1, tuple(steps))], CLOCK, math.inf))
    assert not set(said) - set(told)


def asked(**changed: object) -> argparse.Namespace:
    return argparse.Namespace(**{"workers": 1, "seconds": 2, "json": None, "env": None, "mix": "", **changed})


@pytest.mark.parametrize(("health", "code"), [("ok", 0), ("warn", 0), ("invalid", 4)])
def test_the_exit_code_says_whether_results_can_be_believed(monkeypatch, capsys, health, code):
    monkeypatch.setattr(
        calibration, "climb", lambda _base, workers, _seconds, root: Climb(workers, (step(1000, health),))
    )
    assert calibrate.execute(asked(workers=2, json="-")) == code
    data = json.loads(capsys.readouterr().out)
    assert [climb["workers"] for climb in data["climbs"]] == [1, 2]
    assert data["climbs"][0]["highest_healthy_rate"] == (1000 if health == "ok" else None)


@pytest.mark.parametrize("changed", [{"workers": 0}, {"seconds": 1}])
def test_a_calibration_that_can_tell_nothing_is_refused(changed):
    with pytest.raises(ConfigurationError, match="needs at least one worker and two seconds"):
        calibrate.execute(asked(**changed))


def test_a_file_that_cannot_be_written_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(calibration, "climb", lambda *_, **__: Climb(1, (step(1000),)))
    with pytest.raises(ConfigurationError, match="cannot write"):
        calibrate.execute(asked(json=str(tmp_path / "no" / "file")))


def test_a_real_climb_has_a_step_for_each_level_and_leaves_no_server(monkeypatch):
    # On a busy machine a climb rightly ends early (that has a test of its own): this one goes to the top.
    monkeypatch.setattr(calibration, "_MAX_OVERLOADED_REPORTS", math.inf)
    with calibration.trivial_server() as base:
        climb = calibration.climb(base, 1, 2, root=ROOT, levels=(50, 100))
    assert [step.rate for step in climb.steps] == [50, 100]
    for measured in climb.steps:
        # Poisson arrivals over two seconds: four standard deviations are 40 and 28 % of the rate.
        assert measured.answered == pytest.approx(measured.rate, rel=0.4)
        assert measured.response is not None
        assert measured.lateness < measured.response
    with pytest.raises(httpx.TransportError):
        httpx.get(base, trust_env=False)


def test_a_climb_ends_where_the_generator_was_not_well_twice_in_a_row(monkeypatch):
    class EndedError(Exception):
        pass

    def fake_run(*_args, watch, stop, **_rest):
        for health, is_enough in (("late", False), ("ok", False), ("late", False), ("late", True)):
            watch(Progress(1, 10, "stage 1", 0, 100, 0.001, 0.001, 0.001, 0, health))
            assert stop.is_set() is is_enough
        raise EndedError

    monkeypatch.setattr(calibration, "run", fake_run)
    with pytest.raises(EndedError):
        calibration.climb("http://127.0.0.1:1", 1, 2, root=ROOT)


def test_the_clock_is_fine_enough_for_a_millisecond():
    clock = calibration.clock()
    assert 0 < clock.step < 1e-4
    assert clock.resolution < 1e-4


# --- with an environment

CAPACITY = Capacity(
    {"postgres": 1e-3, "the service": 0.5e-3, Use.GENERATOR: 0.4e-3, Use.KERNEL: 0.0}, 0.0, 0.0, 2, 96, 120
)
PLAN = plan_of(level=150, model=Model.CLOSED)


def test_the_capacity_is_a_table_and_a_sentence():
    told = list(calibrate.capacity_lines(CAPACITY, PLAN, "API"))
    assert told[1] == "measured at 120 operations per second, as many as 96 users send"
    assert [line.split() for line in told[3:8]] == [
        ["part", "CPU", "per", "operation", "share"],
        ["postgres", "1", "ms", "52.6", "%"],
        ["the", "service", "500", "µs", "26.3", "%"],
        ["load", "generator", "400", "µs", "21.1", "%"],
        ["all", "1.9", "ms"],
    ]
    assert (
        told[9]
        == "about 800 users (680 to 1700) before this machine is full; postgres and the service take most of it"
    )
    assert "about 1000 operations per second" in told[10]


def test_of_an_environment_elsewhere_only_the_cost_of_the_generator_is_told():
    elsewhere = replace(CAPACITY, costs={Use.GENERATOR: 0.4e-3}, is_here=False)
    told = list(calibrate.capacity_lines(elsewhere, PLAN, "API"))
    assert told[-1].startswith("the processes of local are not on this machine, or not known: ")
    assert told[-1].endswith("the load generator's cost alone, enough for about 3800 users (3200 to 13000)")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with an environment that a server of the test answers for, and its run folder."""
    (tmp_path / "environments").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def write(base: str, text: str = "load_allowed = true"):
        (tmp_path / "environments" / "shop.toml").write_text(
            f'base = "{base}"\n{text}\njourneys = "tests.sample_journeys"\ndefault_mix = "steps"\n'
            'mixes.steps = [{ journey = "two steps", share = 1 }]\n'
        )

    return write


def test_an_environment_is_calibrated_with_a_small_load_of_its_mix(project, capsys, monkeypatch):
    # The server of the test is a thread of the load generator: a process of its own is the environment.
    monkeypatch.setattr(calibrate, "_USERS", 10)
    # Whatever else runs on this machine: it would be full without load where others take all of it.
    monkeypatch.setattr(
        small_load, "capacity_of", lambda *seen, **more: replace(capacity_of(*seen, **more), others=0.0)
    )
    with calibration.trivial_server() as base:
        project(base)
        assert cli.main(["calibrate", "--env=shop", "--seconds=2", "--json=capacity.json"]) == 0
    told = capsys.readouterr().out
    assert "shop with mix steps" in told
    assert "before this machine is full; " in told
    data = json.loads(Path("capacity.json").read_text())
    assert data["schema"] == "loadkit-capacity/1"
    assert data["measured"]["users"] > 10
    assert data["cpu_seconds_per_operation"]["load generator"] > 0
    assert not Path("reports").exists(), "nothing of it is archived"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--mix=API"], "--mix API: a mix is one of an environment; expected such as --env local --mix API"),
        (["--env=shop", "--workers=2"], "--workers 2: the small load of --env needs one load process"),
        (["--env=shop", "--seconds=1"], "--seconds 1: a small load needs at least 2 seconds: --seconds 5"),
        (["--env=shop", "--mix=API"], 'no mix "API" in environments/shop.toml; there are: steps'),
        (["--env=other"], 'no environment "other"; there are: shop'),
        (["--env=shop"], "shop.toml does not allow load; expected load_allowed = true"),
    ],
)
def test_what_cannot_be_calibrated_is_one_line(project, capsys, arguments, said):
    project("http://127.0.0.1:1", "")
    assert cli.main(["calibrate", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_machine_that_is_full_without_load_is_invalid(project, capsys, monkeypatch):
    project("http://127.0.0.1:1")
    monkeypatch.setattr(calibrate.Testbed, "capacity", lambda *_: replace(CAPACITY, others=2.0))
    assert cli.main(["calibrate", "--env=shop"]) == 4
    assert "this machine is full without load" in capsys.readouterr().out
