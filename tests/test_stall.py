import numpy as np
import pytest

from loadkit.criterion import Scope
from loadkit.judging.omission import correct_omission
from loadkit.recording.histogram import quantile_of
from loadkit.recording.stalls import Stall
from loadkit.recording.traffic import series_of, traffic_of
from loadkit.verdict import Window
from tests.builders import plan_of, run_of, samples_of


def one_user(stalls, seconds=60):
    """A closed user without think time, 10 ms per operation; each stall (start, end) holds one operation up."""
    starts, times, now = [], [], 0.0
    while now < seconds:
        stall = next((end for start, end in stalls if start <= now < end), None)
        spent = 0.01 if stall is None else stall - now + 0.01
        starts.append(now)
        times.append(spent)
        now += spent
    run = run_of(samples_of(starts, times), plan_of(seconds))
    return traffic_of(run, series_of(Scope(), run), Window(0, seconds))


def test_a_stall_is_filled_with_the_arrivals_it_kept_away():
    traffic = one_user([(20, 30)])
    corrected = correct_omission(traffic, [Stall(20.01, 30.01)], 0, 0.5)
    assert corrected.corrected == pytest.approx(1000, rel=0.01)
    assert corrected.size == traffic.size + corrected.corrected
    # 1000 of 6000 waited between 0 and 10 s, evenly: the top 5 % of all are the longest 30 % of them.
    assert quantile_of(corrected.histogram(), 0.95) == pytest.approx(7.0, rel=0.02)
    assert quantile_of(traffic.histogram(), 0.95) == pytest.approx(0.01, rel=0.01)


def test_gaps_shorter_than_the_limit_or_than_twenty_usual_ones_are_not_stalls():
    traffic = one_user([(20, 21)])
    assert correct_omission(traffic, [Stall(20.01, 21.01)], 0, 1.5).corrected == 0
    assert correct_omission(traffic, [Stall(20.01, 20.11)], 0, 0.0).corrected == 0
    assert correct_omission(traffic, [Stall(20.01, 21.01)], 0, 0.5).corrected > 90


def test_what_did_arrive_in_a_stall_is_not_counted_twice():
    starts = np.arange(0, 60, 0.01)  # open, in effect: arrivals go on through the stall
    run = run_of(samples_of(starts, np.full(len(starts), 0.01)), plan_of())
    traffic = traffic_of(run, series_of(Scope(), run), Window(0, 60))
    assert correct_omission(traffic, [Stall(20.0, 30.0)], 0, 0.5).corrected == 0


def test_arrivals_that_vary_by_chance_were_not_prevented():
    """Users who think for minutes arrive on during short stalls, two per second on average."""
    starts = np.sort(np.random.default_rng(1).uniform(0, 6300, 12_600))
    run = run_of(samples_of(starts, np.full(len(starts), 0.01)), plan_of(6300))
    traffic = traffic_of(run, series_of(Scope(), run), Window(0, 6300))
    stalls = [Stall(float(start), start + 10.0) for start in range(100, 6300, 210)]
    assert correct_omission(traffic, stalls, 0, 0.5).corrected <= 0.08 * 20 * len(stalls)


def test_a_stall_is_filled_for_a_rare_part_of_the_traffic_too():
    """It is as long for the part as for the whole, although the part has no operation for seconds."""
    whole = one_user([(20, 25)])
    rare = np.arange(0, 60, 1.0)
    rare = rare[(rare <= 20) | (rare >= 25)] + 0.5
    run = run_of(samples_of(rare, np.full(len(rare), 0.01)), plan_of(60))
    part = traffic_of(run, series_of(Scope(), run), Window(0, 60))
    stalls = [Stall(20.01, 25.01)]
    assert correct_omission(part, stalls, 0, 0.5).corrected == 0  # as if it had no other operations
    assert correct_omission(part, stalls, 0, 0.5, whole=whole).corrected == pytest.approx(5, abs=1)


def test_a_stall_counts_as_far_as_it_lies_in_the_window():
    whole = one_user([(0, 20)])
    run_window = whole.only(np.arange(60) >= 10)
    corrected = correct_omission(run_window, [Stall(0.0, 20.0)], 10, 0.5)
    assert corrected.corrected == pytest.approx(1000, rel=0.01)
    late = correct_omission(one_user([(55, 70)]), [Stall(55.0, 70.0)], 0, 0.5)
    assert late.corrected == pytest.approx(500, rel=0.02)


def test_the_usual_rate_is_that_of_the_time_without_stalls():
    traffic = one_user([(5, 25), (30, 50)])
    corrected = correct_omission(traffic, [Stall(5.01, 25.01), Stall(30.01, 50.01)], 0, 0.5)
    assert corrected.corrected == pytest.approx(4000, rel=0.01)


def test_a_traffic_of_nothing_stays_so():
    run = run_of([], plan_of())
    traffic = traffic_of(run, (), Window(0, 60))
    assert correct_omission(traffic, [Stall(0, 60)], 0, 0.1).corrected == 0
