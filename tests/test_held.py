"""Users held, beside those that the plan states: whole users, also where the level has fractions."""

import dataclasses
from functools import cache

import pytest

from loadkit.judging.evidence import Evidence
from loadkit.judging.health import held_per_second
from loadkit.recording.worker_second import HELD
from loadkit.verdict import Window
from loadkit.workload.workload import Stage
from tests.builders import run_of
from tests.virtual_time import plan_of, simulate

PEAK_HOUR = (0.3, 0.5, 0.8, 1.0, 0.9, 1.0, 0.7, 0.4)
"""The curve of environments/local.toml: the shares at the ends of its stages."""
SHAPES = {
    "curve": tuple((12.0, share) for share in PEAK_HOUR),
    "curve of thirds": tuple((12.0, share) for share in (0.33, 0.66, 0.85, 1.0, 0.15)),
    "steps": ((0.0, 0.85), (30.0, 0.85), (0.0, 0.25), (30.0, 0.25)),
    "ramp and hold": ((20.0, 1.0), (40.0, 1.0)),
    "up and down": ((20.0, 1.0), (20.0, 0.0)),
}
FOLLOWED = [(shape, users) for shape in SHAPES for users in range(1, 21)]


@cache
def followed(shape, users, workers=1):
    """A run in which the engine has put on so many users in a shape."""
    stages = tuple(Stage(seconds, share * users) for seconds, share in SHAPES[shape])
    plan = plan_of(stages=stages, drain=1.0)
    seconds = simulate(plan, lambda now, method, path: (0.01, 200), workers=workers).worker_seconds
    return run_of([], plan, worker_seconds=seconds, workers=workers)


def without_one_user(run):
    """The same run, in which one user is missing all the time."""
    seconds = [
        dataclasses.replace(
            each,
            gauges={
                name: {**gauges, HELD: max(0.0, gauges[HELD] - 1)} for name, gauges in each.gauges.items()
            },
        )
        for each in run.worker_seconds
    ]
    return dataclasses.replace(run, worker_seconds=tuple(seconds))


@pytest.mark.parametrize(("shape", "users"), FOLLOWED)
def test_few_users_on_a_shape_are_held_as_whole_users(shape, users):
    run = followed(shape, users)
    whole = Window(0, int(run.plan.seconds))
    held, stated = held_per_second(run, whole)
    assert held.tolist() == stated.tolist()
    assert stated.max() > 0 or users == 1  # less than half a user is none
    assert not Evidence(run).not_held(whole)


@pytest.mark.parametrize(("shape", "users"), FOLLOWED)
def test_one_missing_user_of_few_is_found(shape, users):
    run = followed(shape, users)
    whole = Window(0, int(run.plan.seconds))
    _, stated = held_per_second(run, whole)
    lost = Evidence(without_one_user(run)).not_held(whole)
    assert bool(lost) == ((stated > 0).mean() > 0.05)


def test_users_of_several_workers_are_the_same_whole_users():
    run = followed("curve", 15, workers=2)
    held, stated = held_per_second(run, Window(0, int(run.plan.seconds)))
    assert held.tolist() == stated.tolist()
