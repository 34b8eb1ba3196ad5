"""The steady window: the ramp and the warm-up are left out, and nothing else."""

import dataclasses

import numpy as np
import pytest

from loadkit.judging.window import window as steady_window
from loadkit.workload.plan import Action
from loadkit.workload.workload import Stage
from tests.builders import plan_of, run_of, samples_of


def run_with(times_by_second, ramp=0, **changes):
    """Ten operations per second, of the times given."""
    starts = np.arange(len(times_by_second) * 10) / 10 + 0.01
    samples = samples_of(starts, np.repeat(times_by_second, 10))
    return run_of(samples, plan_of(len(times_by_second) - ramp, ramp), **changes)


def noise(seconds, seed=1):
    return 0.02 * np.random.default_rng(seed).uniform(0.9, 1.1, seconds)


def test_the_declared_ramp_is_never_in_the_window():
    window = steady_window(run_with(noise(90), ramp=30))
    assert (window.start, window.seconds, window.phase) == (30, 60, "hold")


def test_a_service_that_is_steady_from_the_start_loses_nothing():
    assert all(steady_window(run_with(noise(60, seed))).start == 0 for seed in range(20))


def test_a_first_second_that_is_hardly_out_of_line_is_kept():
    times = noise(60)
    times[0] = 0.02 * 1.15
    assert steady_window(run_with(times)).start == 0
    times[0] = 0.02 * 1.8
    assert 1 <= steady_window(run_with(times)).start <= 2


@pytest.mark.parametrize(("seconds", "period"), [(60, 1), (300, 5)])
def test_a_slow_start_is_left_out(seconds, period):
    times = noise(seconds)
    times[:15] += np.linspace(0.2, 0.01, 15)
    window = steady_window(run_with(times))
    assert 10 <= window.start <= 15
    assert window.start % period == 0
    assert window.end == seconds


def test_a_start_that_flatters_is_left_out_too():
    times = noise(60)
    times[:10] *= np.linspace(0.1, 0.8, 10)
    assert 7 <= steady_window(run_with(times)).start <= 10


def test_a_stall_in_the_first_third_is_no_warm_up():
    times = noise(300)
    times[50:70] = 5.0
    assert steady_window(run_with(times)).start == 0


def test_no_more_than_a_third_is_left_out():
    times = noise(60) + np.linspace(1.0, 0.0, 60)
    assert steady_window(run_with(times)).start <= 20


def test_seconds_without_operations_do_not_disturb_the_search():
    starts = np.concatenate([np.arange(20.0), np.arange(40.0, 90.0)])
    run = run_of(samples_of(starts, np.full(70, 0.02)), plan_of(90))
    assert steady_window(run).start == 0


def test_a_run_without_operations_has_its_hold_as_window():
    assert steady_window(run_of([], plan_of(60, 10))).start == 10


def test_criteria_are_judged_before_the_first_action():
    plan = plan_of(90, 10, actions=(Action("kill instance"), Action("empty cache", at=60)))
    run = run_of([], plan)
    assert steady_window(run).end == 40
    assert steady_window(run, "after kill instance").start == 40


def test_an_action_at_the_very_start_leaves_no_window_before_it():
    run = run_of([], plan_of(60, actions=(Action("kill instance", at=0),)))
    assert steady_window(run) is None


def test_the_last_constant_stage_is_the_one():
    plan = plan_of()
    stages = (Stage(10, 50), Stage(30, 50), Stage(10, 100), Stage(40, 100), Stage(10, 0))
    plan = plan.with_workloads(lambda load: dataclasses.replace(load, stages=stages))
    window = steady_window(run_of([], plan))
    assert (window.start, window.seconds, window.phase) == (50, 40, "stage 4")
    assert steady_window(run_of([], plan), "stage 2").start == 10
    assert steady_window(run_of([], plan), "no such stage") is None


def test_a_load_that_is_never_constant_has_no_window_unless_a_phase_is_named():
    plan = plan_of()
    plan = plan.with_workloads(lambda load: dataclasses.replace(load, stages=(Stage(60, 100), Stage(60, 0))))
    assert steady_window(run_of([], plan)) is None
    assert steady_window(run_of([], plan), "stage 1").seconds == 60


def test_a_run_cut_short_has_what_there_was():
    run = run_with(noise(60), ended="interrupted", ended_at=25.7)
    assert steady_window(run).end == 25
    assert steady_window(run_with(noise(60), ended="interrupted", ended_at=1.5)) is None


def followed(*stages):
    plan = plan_of()
    return plan.with_workloads(lambda load: dataclasses.replace(load, stages=stages))


def test_of_several_constant_stages_the_highest_is_judged():
    plan = followed(
        Stage(10, 50), Stage(30, 50), Stage(10, 100), Stage(40, 100), Stage(10, 50), Stage(60, 50)
    )
    window = steady_window(run_of([], plan))
    assert (window.start, window.seconds) == (50, 40)


def test_of_a_curve_all_after_the_first_ramp_is_judged_and_nothing_of_it_left_out():
    plan = followed(Stage(60, 50), Stage(60, 100), Stage(60, 40))
    starts = np.arange(1800) / 10
    times = np.where(starts < 80, 2.0, 0.02)
    window = steady_window(run_of(samples_of(starts, times), plan))
    assert (window.start, window.seconds, window.phase) == (60, 120, "the curve")
