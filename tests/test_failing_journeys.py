"""Journeys that fail, give up or do nothing, simulated."""

import re
from collections import Counter

import pytest

from loadkit.drivers.fake import Answer
from loadkit.recording.slices import Kind, label_series
from loadkit.recording.traffic import LONGEST
from loadkit.recording.worker_second import (
    JOURNEY_ERROR,
    JOURNEYS,
    USERS,
    WITH_ERRORS,
    are_rare,
    journey_errors,
)
from loadkit.users.lifecycle import _MOST_IDLE
from loadkit.workload.workload import Think
from tests.virtual_time import ORIGIN, after, open_plan, plan_of, quantile, simulate


def test_a_check_that_does_not_hold_fails_the_operation_before_it():
    run = simulate(plan_of("tests.sample_journeys:failing_check", level=2, seconds=10), after(0.1))
    assert run.operations("GET /checked", "check: it holds") == run.operations() > 0


def test_a_service_that_answers_no_json_fails_all_operations_and_nothing_else():
    run = simulate(
        plan_of("tests.sample_journeys:two_steps", level=2, seconds=10), after(0.1, body=b"<html>")
    )
    assert run.operations("GET /first/{id}", "body is not JSON") == run.operations() > 0


@pytest.mark.parametrize("think", [Think(0.01, 0.01), Think(3.0, 3.0)])
def test_a_body_that_is_read_after_its_second_was_reported_fails_its_operation_and_no_count_is_negative(
    think,
):
    plan = plan_of("tests.sample_journeys:late_reading", level=20, seconds=30, think=think)
    run = simulate(plan, after(0.1, body=b"<html>"))
    # The last journey of a user can end in its think time, with the plan.
    assert 0 <= run.operations(outcome="ok") <= 20
    assert run.operations("GET /late", "body is not JSON") == run.operations() - run.operations(outcome="ok")
    assert run.operations() == sum(each.count("sent") for each in run.worker_seconds) >= 100
    assert (run.table.counts > 0).all()
    assert (run.table.sums[:, :4] > 0).all()


def mistakes_in(run, title, error):
    """How often a journey itself failed; it failed in this way only, and no operation did."""
    counts = Counter()
    for worker_second in run.worker_seconds:
        for named in worker_second.counts.values():
            counts.update({name: number for name, number in named.items() if name.startswith(JOURNEY_ERROR)})
    ((name, number),) = counts.items()
    place = r"tests/sample_journeys/__init__\.py:\d+"
    assert re.fullmatch(f'{JOURNEY_ERROR}the journey "{title}" itself failed: {error} at {place}', name), name
    assert run.operations() == run.operations(outcome="ok")
    return number


def test_a_mistake_in_a_journey_is_counted_apart_from_operations_and_the_user_goes_on():
    run = simulate(plan_of("tests.sample_journeys:mistake", level=2, seconds=10), after(0.1))
    code_errors = mistakes_in(run, "a mistake", "TypeError: the author's")
    assert code_errors > 10
    assert run.operations() == run.operations("GET /before") == pytest.approx(code_errors, abs=2)


def test_an_error_after_a_failed_answer_is_no_mistake_of_the_journey():
    run = simulate(plan_of("tests.sample_journeys:mistake", level=2, seconds=10), after(0.1, status_code=500))
    assert journey_errors(run.worker_seconds) == ""
    assert run.operations("GET /before", "status 500") == run.operations() > 10


def test_a_failed_answer_of_one_journey_does_not_excuse_the_next():
    def fails_at_first(now, _method, _path):
        return Answer(0.1, status_code=500 if now < ORIGIN + 5 else 200)

    run = simulate(plan_of("tests.sample_journeys:mistake", level=1, seconds=10), fails_at_first)
    assert "the author's" in journey_errors(run.worker_seconds)


@pytest.mark.parametrize("workers", [1, 3])
def test_the_users_that_met_a_mistake_are_counted_once_each_whatever_their_worker(workers):
    plan = plan_of("tests.sample_journeys:mistake_of_some", level=50, seconds=10)
    run = simulate(plan, after(0.1), workers=workers)
    place = r"tests/sample_journeys/__init__\.py:\d+"
    told = rf"the journey \"a mistake of some\" itself failed: TypeError: the author's at {place}"
    sentence = journey_errors(run.worker_seconds)
    assert re.fullmatch(rf"{told}, met by 5 of 50 users, \d\d times", sentence), sentence
    assert not are_rare(run.worker_seconds)
    whole = plan_of("tests.sample_journeys:two_steps", level=50, seconds=10)
    assert are_rare(simulate(whole, after(0.1), workers=workers).worker_seconds)


def test_the_users_of_an_open_load_that_met_a_mistake_are_counted_too():
    run = simulate(open_plan(journey="tests.sample_journeys:mistake", level=20, seconds=5), after(0.5))
    users = sum(each.count(USERS) for each in run.worker_seconds)
    met = sum(each.count(WITH_ERRORS) for each in run.worker_seconds)
    assert 0 < met <= users
    assert f", met by {met} of {users} users, " in journey_errors(run.worker_seconds)


@pytest.mark.parametrize("think", [Think(), Think(0, 0)])
def test_a_journey_that_fails_before_its_first_operation_does_not_spin(think):
    plan = plan_of("tests.sample_journeys:mistake_at_once", level=2, seconds=10, think=think)
    run = simulate(plan, after(0.1))
    assert 10 < mistakes_in(run, "a mistake at once", "KeyError: 'nothing'") <= 2 * (10 / 0.1 + 1)


def test_where_arrivals_set_the_pace_it_does_not_spin_either():
    plan = open_plan(journey="tests.sample_journeys:mistake_at_once", level=10, seconds=5, drain=0.0)
    run = simulate(plan, after(0.1))
    assert 0 < mistakes_in(run, "a mistake at once", "KeyError: 'nothing'") <= 60 * 5 / 0.1


@pytest.mark.parametrize("think", [Think(), Think(0, 0)])
def test_a_journey_without_an_operation_does_not_spin(think):
    run = simulate(plan_of("tests.sample_journeys:nothing", level=2, seconds=10, think=think), after(0.1))
    journeys = sum(each.count(JOURNEYS) for each in run.worker_seconds)
    assert 2 * 10 / 0.1 <= journeys <= 2 * (_MOST_IDLE + 10 / 0.1 + 2)
    assert run.operations() == 0
    assert max(each.second for each in run.worker_seconds) <= 10


def test_where_arrivals_set_the_pace_it_leaves_them_unfinished_and_the_run_ends_with_its_drain():
    plan = open_plan(journey="tests.sample_journeys:nothing", level=10, seconds=5, drain=1.0)
    run = simulate(plan, after(0.1))
    assert run.operations(outcome="unfinished") == run.operations() == pytest.approx(50, rel=0.4)
    assert max(each.second for each in run.worker_seconds) <= 6


@pytest.mark.parametrize(("think", "seconds"), [(Think(0, 0), 0.1), (Think(0.4, 0.4), 0.5)])
def test_a_journey_that_has_an_operation_now_and_then_has_it_when_it_is_due(think, seconds):
    plan = plan_of("tests.sample_journeys:now_and_then", level=10, seconds=30, think=think)
    run = simulate(plan, after(0.1))
    assert run.operations() == pytest.approx(10 * 30 / seconds, abs=10)
    assert quantile(run, Kind.RESPONSE, 1.0) == pytest.approx(0.1, rel=2e-3)
    assert quantile(run, Kind.LATENESS, 1.0) < 2e-6


def test_where_arrivals_set_the_pace_it_serves_each_when_it_is_due():
    run = simulate(open_plan(journey="tests.sample_journeys:now_and_then"), after(0.01))
    assert run.operations() == simulate(open_plan(), after(0.01)).operations()
    assert quantile(run, Kind.RESPONSE, 1.0) == pytest.approx(0.01, rel=2e-3)


@pytest.mark.parametrize(("status", "outcome"), [(200, "ok"), (404, "ok"), (500, "status 500")])
def test_a_status_is_a_failure_from_400_on_unless_it_is_expected(status, outcome):
    run = simulate(
        plan_of("tests.sample_journeys:expected_refusal", level=2, seconds=5), after(0.1, status_code=status)
    )
    assert run.operations("GET /refused", outcome) == run.operations() > 0


def test_in_an_open_load_each_arrival_becomes_an_operation_that_is_recorded():
    run = simulate(open_plan(journey="tests.sample_journeys:unrecorded"), after(0.1))
    assert (
        run.operations("GET /shown", "ok")
        == run.operations()
        == simulate(open_plan(), after(0.1)).operations()
    )
    assert sum(each.count("scheduled") for each in run.worker_seconds) == run.operations()


def test_what_is_not_to_be_recorded_is_not():
    run = simulate(plan_of("tests.sample_journeys:unrecorded", level=2, seconds=5), after(0.1))
    assert run.operations("GET /hidden") == 0
    assert run.operations("GET /shown") == run.operations() > 0


def test_a_journey_cannot_catch_the_end_of_its_users_time():
    run = simulate(plan_of("tests.sample_journeys:everything_caught", level=2, seconds=5), after(0.1))
    assert run.operations("GET /caught", "ok") == run.operations() > 0


def slow_for_ever(_now, _method, path):
    return Answer(5.0 if path == "/slow" else 0.02)


def test_an_operation_that_the_journey_gives_up_has_failed_and_does_not_delay_the_next():
    run = simulate(plan_of("tests.sample_journeys:gives_up", level=2, seconds=30), slow_for_ever)
    assert run.operations("GET /slow", "unfinished") == run.operations("GET /slow") > 10
    _, _, sums = run.table.totals([label_series("GET /fast")], 0, 60)
    assert sums[:, LONGEST].max() == pytest.approx(0.02, abs=0.001)


def test_a_journey_that_ends_because_it_gave_up_is_no_mistake():
    run = simulate(plan_of("tests.sample_journeys:gives_up_at_once", level=2, seconds=30), slow_for_ever)
    assert run.operations("GET /slow", "unfinished") == run.operations() > 10
    counted = {name for each in run.worker_seconds for named in each.counts.values() for name in named}
    assert not [name for name in counted if name.startswith(JOURNEY_ERROR)]
