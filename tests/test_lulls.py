"""A lull counts against the service only where users waited for it."""

import dataclasses
from functools import cache

import numpy as np
import pytest

from loadkit.criterion import Comparison, Scope, ScopeKind
from loadkit.judging.evidence import Case, Evidence
from loadkit.judging.lulls import find_lulls
from loadkit.judging.spells import thin
from loadkit.recording.slices import SliceTable
from loadkit.verdict import Status, Window
from loadkit.workload.plan import Plan, Population
from loadkit.workload.workload import Model
from tests.builders import (
    EVERYTHING,
    changed,
    error_rate,
    judge,
    plan_of,
    response_time,
    run_of,
    samples_of,
    worker_seconds_of,
)

SECONDS, USERS = 300, 200
STAYS, NEVER = Comparison.STAYS_BELOW, Comparison.NEVER_EXCEEDS
REPORTS = Scope(ScopeKind.LABEL, "GET /reports")
WINDOW = Window(0, SECONDS)


def criteria(scope=EVERYTHING):
    return [
        response_time(0.95, 0.5, STAYS, scope),
        response_time(0.95, 0.5, NEVER, scope),
        response_time(None, 0.5, STAYS, scope, "mean"),
        error_rate(0.01, STAYS, scope),
        error_rate(0.01, NEVER, scope),
    ]


@cache
def simulated(answered_at, pause, seed=1, users=USERS):
    """A closed load as it comes about: each user waits for an answer, then pauses.

    `answered_at`: the end of an operation by its start; `pause`: until a user's next operation, by
    the number of operations it has done. Returns the intended starts in order, and the times.
    """
    random = np.random.default_rng(seed)
    starts, ends = [], []
    for _ in range(users):
        moment, done = pause(random, 0, 0.0), 0
        while moment < SECONDS:
            end = answered_at(random, moment)
            starts.append(moment)
            ends.append(end)
            done += 1
            moment = pause(random, done, end)
    order = np.argsort(starts)
    return np.array(starts)[order], (np.array(ends) - np.array(starts))[order]


def in_flight(starts, times):
    """The number in flight at the end of each second."""
    at = np.arange(1, SECONDS + 1)
    begun = np.searchsorted(np.sort(starts), at, "right")
    return begun - np.searchsorted(np.sort(starts + times), at, "right")


def seconds_with(waiting, held=USERS):
    each = worker_seconds_of(SECONDS, held=held)
    return [changed(one, in_flight=int(number)) for one, number in zip(each, waiting, strict=True)]


def closed(starts, times, labels="GET /", users=USERS):
    return run_of(
        samples_of(starts, times, labels),
        plan_of(SECONDS, level=users, model=Model.CLOSED),
        worker_seconds=seconds_with(in_flight(starts, times), users),
    )


def quick(random, moment):
    return moment + 0.005


def slow(random, moment):
    return moment + random.exponential(1.0)


def thinking(random, done, now):
    return now + random.uniform(0.5, 1.5)


def at_once(random, done, now):
    return now + 1e-9


def waves(random, done, now):
    """Ten operations half a second apart; the next journey begins with the next 20 seconds."""
    return now + 0.5 if done % 10 else 20 * np.floor(now / 20 + 1) * (now > 0) + random.uniform(0, 6)


@cache
def frozen(begin, end):
    def answered_at(random, moment):
        return max(moment + 0.005, end) if begin <= moment < end else moment + 0.005

    return answered_at


@pytest.mark.parametrize("criterion", criteria(), ids=lambda criterion: criterion.sentence)
def test_waves_of_journeys_are_no_lull_of_a_fast_service(criterion):
    run = closed(*simulated(quick, waves))
    verdict = judge(criterion, run)
    assert verdict.status is Status.PASS
    assert verdict.details["spells"]["over"] == []


@pytest.mark.parametrize("response", [0.05, 1.0, 3.0])
def test_waves_are_no_lull_whatever_the_usual_response_time(response):
    starts, times = simulated(lambda random, moment: moment + response, waves)
    case = Case(response_time(0.95, 5, STAYS), Evidence(closed(starts, times)), WINDOW)
    assert not find_lulls(case).any()


@pytest.mark.parametrize("criterion", criteria(REPORTS), ids=lambda criterion: criterion.sentence)
@pytest.mark.parametrize("response", [0.005, 0.4])
def test_waves_of_one_label_are_no_lull_of_it(criterion, response):
    """One user in twenty asks for reports, in the first six of each 20 seconds only."""
    starts, times = simulated(lambda random, moment: moment + response, thinking)
    chosen = (starts % 20 < 6) & (np.random.default_rng(2).uniform(size=len(starts)) < 0.05)
    run = closed(starts, times, np.where(chosen, REPORTS.name, "GET /").tolist())
    verdict = judge(criterion, run)
    assert verdict.details["spells"]["over"] == []
    assert verdict.status is not Status.FAIL


def test_a_few_more_users_waiting_by_chance_explain_no_lull():
    """Half of the users wait at any time, and the label is used by a few in the first ten of 20 s."""
    starts, times = simulated(slow, thinking)
    chosen = (starts % 20 < 10) & (np.random.default_rng(2).uniform(size=len(starts)) < 0.05)
    run = closed(starts, times, np.where(chosen, REPORTS.name, "GET /").tolist())
    case = Case(error_rate(0.01, STAYS, REPORTS), Evidence(run), WINDOW)
    assert thin(case.traffic.per_second()).any()
    assert not find_lulls(case).any()


@pytest.mark.parametrize("pause", [thinking, at_once], ids=["thinking", "back to back"])
def test_a_freeze_of_a_closed_load_is_a_lull(pause):
    """Nobody is answered for 12 s. One ten-second window has under half the usual traffic."""
    users = USERS if pause is thinking else 4
    starts, times = simulated(frozen(108.0, 120.0), pause, users=users)
    verdict = judge(error_rate(0.01, NEVER), closed(starts, times, users=users))
    assert verdict.status is Status.FAIL
    assert verdict.details["spells"]["over"] == [11]
    assert "1 of them with under half the usual traffic" in verdict.reason


@pytest.mark.parametrize("begin", range(100, 110))
def test_a_freeze_is_a_lull_wherever_the_ten_second_windows_begin(begin):
    starts, times = simulated(frozen(begin + 0.5, begin + 14.5), thinking)
    case = Case(error_rate(0.01, STAYS), Evidence(closed(starts, times)), WINDOW)
    found = find_lulls(case)
    assert found[10:13].any()
    assert not found[:10].any()
    assert not found[13:].any()


def test_a_service_so_slow_that_users_wait_makes_a_lull():
    """It takes 4 s instead of 5 ms for 30 seconds, so users make a fifth of their operations."""

    def answered_at(random, moment):
        return moment + (4.0 if 100 <= moment < 130 else 0.005)

    verdict = judge(error_rate(0.01, STAYS), closed(*simulated(answered_at, thinking)))
    assert verdict.status is Status.FAIL
    assert "3 in a row" in verdict.reason


@pytest.mark.parametrize("comparison", [STAYS, NEVER])
def test_the_beginning_of_an_open_load_of_journeys_is_no_lull(comparison):
    """Five journeys per second, each of which sends a request every 5 seconds, 20 times."""
    starts = np.sort((np.arange(0, 310, 0.2)[:, None] + 5 * np.arange(20)).ravel())
    starts = starts[starts < 310]
    run = run_of(
        samples_of(starts, np.full(len(starts), 0.02)),
        plan_of(300, 10, 5, Model.JOURNEYS),
        worker_seconds=worker_seconds_of(310, held=0, scheduled=5),
    )
    verdict = judge(error_rate(0.01, comparison), run)
    assert (verdict.status, verdict.details["spells"]["over"]) == (Status.PASS, [])
    case = Case(error_rate(0.01, comparison), Evidence(run), Window(10, 300))
    assert thin(case.traffic.per_second()).any()
    assert not find_lulls(case).any()


@pytest.mark.parametrize("comparison", [STAYS, NEVER])
def test_the_rhythm_of_a_label_in_a_constant_open_load_is_no_lull(comparison):
    """Two requests per second; one of three ten-second windows has no request of the label."""
    starts = np.arange(0, 300, 0.5)
    labels = np.where(starts % 30 < 20, REPORTS.name, "GET /").tolist()
    run = run_of(samples_of(starts, np.full(len(starts), 0.02), labels), plan_of(300, level=2))
    case = Case(error_rate(0.01, comparison, REPORTS), Evidence(run), WINDOW)
    assert thin(case.traffic.per_second()).any()
    assert not find_lulls(case).any()


def test_a_freeze_is_a_lull_of_each_label():
    starts, times = simulated(frozen(100.0, 120.0), thinking)
    labels = np.where(np.random.default_rng(2).uniform(size=len(starts)) < 0.1, REPORTS.name, "GET /")
    found = find_lulls(
        Case(error_rate(0.01, STAYS, REPORTS), Evidence(closed(starts, times, labels.tolist())), WINDOW)
    )
    assert np.flatnonzero(found).tolist() == [10, 11]


def test_a_part_of_the_users_that_waits_makes_a_lull_of_its_operations():
    """A tenth of the users have a label of their own, and only they are frozen."""
    some = simulated(frozen(100.0, 120.0), thinking, users=20)
    others = simulated(quick, thinking, seed=2, users=180)
    starts, times = (np.concatenate(pair) for pair in zip(some, others, strict=True))
    labels = [REPORTS.name] * len(some[0]) + ["GET /"] * len(others[0])
    found = find_lulls(
        Case(error_rate(0.01, STAYS, REPORTS), Evidence(closed(starts, times, labels)), WINDOW)
    )
    assert np.flatnonzero(found).tolist() == [10, 11]


def test_each_populations_lulls_are_judged_by_its_own_users():
    """Analysts come in waves while users of another population wait for the service."""
    plan = plan_of(SECONDS, level=USERS, model=Model.CLOSED)
    analysts = Population("analysts", plan.workload)
    plan = Plan("local", (dataclasses.replace(plan.populations[0], name="users"), analysts))
    calm, stuck = simulated(quick, waves), simulated(frozen(130.0, 150.0), thinking)
    table = SliceTable()
    table.record(samples_of(*calm), population="analysts")
    table.record(samples_of(*stuck), population="users")
    both = [
        dataclasses.replace(one, gauges=one.gauges | {"analysts": other.gauges["users"]})
        for one, other in zip(seconds_with(in_flight(*stuck)), seconds_with(in_flight(*calm)), strict=True)
    ]
    run = dataclasses.replace(run_of([], plan, worker_seconds=both), table=table)
    for name, expected in (("analysts", []), ("users", [13, 14])):
        criterion = error_rate(0.01, STAYS, Scope(ScopeKind.POPULATION, name))
        assert np.flatnonzero(find_lulls(Case(criterion, Evidence(run), WINDOW))).tolist() == expected


def test_waves_of_users_are_no_lull_beside_arrivals_that_go_on():
    """The users make most operations. Arrivals that stop for 30 seconds are a lull nevertheless."""
    starts, times = simulated(quick, waves)
    arrivals = np.sort(np.random.default_rng(1).uniform(0, SECONDS, 6_000))
    users = plan_of(SECONDS, level=USERS, model=Model.CLOSED).populations[0]
    others = plan_of(SECONDS, level=20).populations[0]
    plan = Plan("local", (users, others))
    stopped = arrivals[(arrivals < 100) | (arrivals >= 130)]
    for moments, expected in ((arrivals, []), (stopped, [11])):
        table = SliceTable()
        table.record(samples_of(starts, times), population=users.name)
        table.record(samples_of(moments, np.full(len(moments), 0.005)), population=others.name)
        run = run_of([], plan, worker_seconds=seconds_with(in_flight(starts, times)))
        case = Case(error_rate(0.01, STAYS), Evidence(dataclasses.replace(run, table=table)), WINDOW)
        assert np.flatnonzero(find_lulls(case)).tolist() == expected


def test_part_of_the_window_has_the_lulls_of_its_own_seconds():
    case = Case(error_rate(0.01, STAYS), Evidence(closed(*simulated(frozen(100.0, 120.0), thinking))), WINDOW)
    seconds = np.arange(SECONDS)
    assert np.flatnonzero(find_lulls(case.only(seconds >= 50))).tolist() == [5, 6]
    assert np.flatnonzero(find_lulls(case.only(seconds >= 50).only(seconds[:250] >= 20))).tolist() == [3, 4]
    assert find_lulls(case.only(seconds >= 50).by_service_time()).shape == (30,)


def test_a_thin_window_of_an_open_load_is_a_lull():
    starts = np.sort(np.random.default_rng(1).uniform(0, SECONDS, 30_000))
    starts = starts[(starts < 100) | (starts >= 130)]
    run = run_of(samples_of(starts, np.full(len(starts), 0.005)), plan_of(SECONDS))
    found = find_lulls(Case(error_rate(0.01, STAYS), Evidence(run), WINDOW))
    assert np.flatnonzero(found).tolist() == [10, 11, 12]
