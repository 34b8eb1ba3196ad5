"""Every fault is found by the criteria that speak of it, and by no other."""

import os

import pytest

from environments.local.faults import FAULTS
from loadkit import grammar
from loadkit.criterion import Scope
from loadkit.judging.window import window
from loadkit.recording import histogram as buckets
from loadkit.recording.run import Run
from loadkit.recording.traffic import series_of, traffic_of
from tests.local_environment import LocalEnvironment, environment
from tests.matrix import results
from tests.matrix.areas import AREAS
from tests.matrix.runs import Bench
from tests.matrix.table import DOUBT, EXCUSED, FAILS, PASSES, ROWS

__all__ = ["environment"]

HTTP = AREAS["HTTP"]
each_area = pytest.mark.parametrize("area", AREAS.values(), ids=AREAS)


@pytest.fixture(scope="module")
def bench(environment: LocalEnvironment) -> Bench:
    return Bench(environment, environment.verb("up", "--owner", str(os.getpid())))


def seen(run: Run) -> float:
    """The share of the requests in the window that failed or took longer than the limit, nothing filled in."""
    where = window(run)
    assert where is not None
    histogram = traffic_of(run, series_of(Scope(), run), where).histogram()
    return float(histogram[buckets.index(HTTP.limit) + 1 :].sum() / max(1, histogram.sum()))


@pytest.mark.prove
@pytest.mark.timeout(900)  # the longest row holds for 300 s
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_fault_flips_the_criteria_that_speak_of_it_and_no_other(bench, row):
    run = HTTP.run(bench, row)
    outcome = HTTP.outcome(run)
    results.record("HTTP", row, outcome)
    assert HTTP.told(row, outcome) == [], row.sentence
    assert seen(run) <= row.seen
    assert outcome.health != "ok" or not row.starves_generator


def test_every_fault_that_the_local_environment_knows_has_a_row():
    assert {row.fault for area in AREAS.values() for row in area.rows} == {"", *FAULTS}


@each_area
def test_every_row_speaks_of_criteria_that_there_are_and_of_parameters_that_its_fault_has(area):
    for row in area.rows:
        assert row.verdicts.keys() <= area.criteria.keys(), row.name
        for fault, parameters in (*row.amid.items(), (row.fault, row.parameters)):
            assert not fault or parameters.keys() <= FAULTS[fault].parameters.keys(), row.name


@each_area
def test_every_criterion_is_flipped_by_a_fault_or_more(area):
    flipped = {name for row in area.rows for name in area.flipped(row)}
    assert flipped == area.criteria.keys()


def judged(area):
    """The criteria that a fault flips to another verdict than that it is not known."""
    return {
        name
        for row in area.rows
        for name in area.flipped(row)
        if row.fault and area.allowed(row, name, "ok") != DOUBT
    }


def test_every_criterion_is_judged_under_a_fault_in_its_area_or_for_all_protocols_in_another_one():
    """It is the same measure there, perhaps with another limit or of all users."""

    def measure(area, name):
        return grammar.criterion(area.criteria[name]).measure.name

    others = [area for name, area in AREAS.items() if name != "system"]
    assert [area.criteria.keys() - judged(area) for area in others] == [set()] * len(others)
    measures = {measure(area, name) for area in others for name in area.criteria}
    system = AREAS["system"]
    assert {measure(system, name) for name in system.criteria.keys() - judged(system)} <= measures


@each_area
def test_each_area_has_a_row_with_nothing_wrong(area):
    assert any(not row.fault and not row.verdicts for row in area.rows)


def test_every_fault_is_found_but_the_one_that_nobody_should_notice():
    unseen = {row.fault for row in ROWS if row.fault and not HTTP.flipped(row)}
    assert unseen == {"counter-reset"}


def test_no_row_leaves_open_whether_a_promise_is_kept_but_for_what_the_machine_decides():
    both = PASSES | FAILS
    left_open = {
        (area_name, row.users, name)
        for area_name, area in AREAS.items()
        for row in area.rows
        for name in area.criteria
        if both <= area.allowed(row, name, "ok")
    }
    assert left_open == {("HTTP", 60, "cpu")}


def test_a_broken_alert_rule_is_seen_in_the_alerts_alone():
    slow, silenced = (
        next(row for row in ROWS if row.fault == fault) for fault in ("slow-share", "alert-rule-broken")
    )
    assert silenced.amid == {slow.fault: slow.parameters}
    assert HTTP.flipped(slow) - HTTP.flipped(silenced) == {"quiet", "alarm"}
    assert HTTP.flipped(silenced) <= HTTP.flipped(slow)


@each_area
@pytest.mark.parametrize("health", EXCUSED)
def test_a_busy_machine_excuses_no_missed_fault_and_no_false_alarm(area, health):
    for row in area.rows:
        for name in area.criteria:
            excused = area.allowed(row, name, health) - area.allowed(row, name, "ok")
            assert excused.isdisjoint(PASSES | FAILS), row.name
