"""A fail that the relay of the regions can have caused is invalid, and any other fail stands."""

import dataclasses

import numpy as np
import pytest

from loadkit.criterion import Comparison, Criterion, Family, Measure, Scope, ScopeKind, Unit
from loadkit.judging.evidence import Evidence
from loadkit.judging.families import rules_of
from loadkit.judging.finding import Finding
from loadkit.judging.relays_fault import blamed_on_relay
from loadkit.recording.health_bounds import LONGEST_RELAY_LATENESS
from loadkit.recording.run import Run
from loadkit.recording.slices import SliceTable
from loadkit.recording.timing import timing_of
from loadkit.verdict import Status
from loadkit.workload.plan import Plan, Population
from loadkit.workload.workload import MixEntry, Model
from tests.builders import (
    error_rate,
    gauge,
    judge,
    plan_of,
    response_time,
    run_of,
    samples_of,
    throughput,
    worker_seconds_of,
)
from tests.test_recovery import PLAN as WITH_A_KILL
from tests.test_recovery import WITHIN_30, disturbed

IN_ASIA = Scope(ScopeKind.REGION, "Asia")
HOME = Scope(ScopeKind.REGION, "Home")
"""Its users connect directly."""


def in_regions(plan: Plan, *regions: str) -> Plan:
    """A plan whose users are in regions, of which only "Asia" has a network."""
    mix = tuple(MixEntry("journeys:browse", 1 / len(regions), region) for region in regions)
    first, *others = plan.populations
    first = dataclasses.replace(first, workload=dataclasses.replace(first.workload, mix=mix))
    return dataclasses.replace(plan, populations=(first, *others))


def behind_relay(
    late: float = 0.0,
    refused: int = 0,
    *,
    seconds: float = 0.02,
    outcome: str = "ok",
    plan: Plan | None = None,
    region: str = "Asia",
    held: int = 100,
) -> Run:
    """A minute of 50 operations per second, each of which takes `seconds`; the relay was late, or refused."""
    starts = np.arange(0, 60, 0.02)
    relay = {
        "cpu_seconds": 5.0,
        "late_p99": late,
        "late_p999": late,
        "connections": 100,
        "out_of_descriptors": refused,
    }
    return run_of(
        samples_of(starts, np.full(len(starts), seconds), outcome=outcome, region=region),
        in_regions(plan or plan_of(60), "Asia", "Home"),
        worker_seconds=worker_seconds_of(60, held=held),
        facts={"relay": relay, "regions": {"Asia": {"latency": 0.2}}},
    )


@pytest.mark.parametrize(
    ("late", "seconds", "status", "words"),
    [
        (0.001, 0.7, Status.FAIL, ""),
        (0.049, 0.55, Status.FAIL, ""),
        (0.2, 0.7, Status.INVALID, "late by 200 ms (p99), which may be why"),
        (0.2, 2.0, Status.FAIL, "without that the criterion fails too"),
        (0.2, 0.02, Status.PASS, ""),
        (LONGEST_RELAY_LATENESS, 60.0, Status.INVALID, "which may be why"),
    ],
)
def test_a_time_is_invalid_if_it_would_be_within_the_limit_without_the_lateness(
    late: float, seconds: float, status: Status, words: str
) -> None:
    verdict = judge(response_time(), behind_relay(late, seconds=seconds))
    assert verdict.status is status
    assert words in " ".join([verdict.reason, *verdict.warnings])


def test_a_slow_spell_beyond_the_lateness_fails_although_most_times_are_well_within_the_limit() -> None:
    starts = np.arange(0, 60, 0.02)
    run = behind_relay(0.2)
    for slow, status in ((2.0, Status.FAIL), (0.7, Status.INVALID)):
        times = np.where((starts > 30) & (starts < 42), slow, 0.02)
        found = run_of(
            samples_of(starts, times, region="Asia"),
            run.plan,
            worker_seconds=run.worker_seconds,
            facts=run.facts,
        )
        assert judge(response_time(0.5, comparison=Comparison.STAYS_BELOW), found).status is status


def test_a_rare_greater_lateness_counts_by_its_largest_thousandth() -> None:
    run = behind_relay(0.06, seconds=0.7)
    assert judge(response_time(), run).status is Status.FAIL
    relay = {**run.facts["relay"], "late_p999": 0.2}
    later = dataclasses.replace(run, facts={**run.facts, "relay": relay})
    assert judge(response_time(), later).status is Status.INVALID


@pytest.mark.parametrize("criterion", [error_rate(0.01), throughput(49.0)], ids=["errors", "throughput"])
def test_errors_fail_although_the_relay_was_late_and_not_if_it_had_no_sockets(criterion: Criterion) -> None:
    late, starved = (behind_relay(*each, outcome="status 500") for each in ((0.2, 0), (0.0, 7)))
    verdict = judge(criterion, late)
    assert verdict.status is Status.FAIL
    assert any("does not explain the fail" in each for each in verdict.warnings)
    assert judge(criterion, starved).status is Status.INVALID


@pytest.mark.parametrize(("limit", "status"), [(55.0, Status.INVALID), (70.0, Status.FAIL)])
def test_a_throughput_of_users_who_wait_is_invalid_if_they_can_reach_it_without_the_lateness(
    limit: float, status: Status
) -> None:
    # 100 users make 50 operations per second, so each makes one every 2 s; without 2 x 0.2 s, every 1.6 s: 62.5.
    closed = plan_of(60, 0, 100, Model.CLOSED)
    assert judge(throughput(limit), behind_relay(0.2, plan=closed)).status is status
    assert judge(throughput(limit), behind_relay(0.2)).status is Status.FAIL, "arrivals do not wait"


@pytest.mark.parametrize(
    ("refused", "seconds", "status"),
    [(6, 2.0, Status.FAIL), (7, 2.0, Status.INVALID), (7, 0.02, Status.PASS)],
)
def test_a_fail_is_invalid_if_the_relay_had_no_sockets_for_a_thousandth_of_the_operations(
    refused: int, seconds: float, status: Status
) -> None:
    verdict = judge(response_time(), behind_relay(refused=refused, seconds=seconds))
    assert verdict.status is status
    assert ("no socket or file descriptor for 7 connections" in verdict.reason) == (status is Status.INVALID)


@pytest.mark.parametrize(("late", "refused"), [(0.2, 0), (0.0, 20)], ids=["late", "without sockets"])
def test_users_who_do_not_pass_the_relay_have_no_excuse(late: float, refused: int) -> None:
    for region, scope, status in (("Asia", IN_ASIA, Status.INVALID), ("Home", HOME, Status.FAIL)):
        run = behind_relay(late, refused, seconds=0.7, region=region)
        assert judge(response_time(scope=scope), run).status is status
    run = behind_relay(late, refused, seconds=0.7)
    at_home = dataclasses.replace(run, plan=in_regions(run.plan, "Home"))
    assert judge(response_time(), at_home).status is Status.FAIL


def test_a_population_that_does_not_pass_the_relay_has_no_excuse() -> None:
    run = behind_relay(0.2)
    (first,) = run.plan.populations
    second = Population("direct users", in_regions(plan_of(60), "Home").populations[0].workload)
    starts = np.arange(0, 60, 0.02)
    for population, status in ((first, Status.INVALID), (second, Status.FAIL)):
        table = SliceTable()
        table.record(samples_of(starts, np.full(len(starts), 0.7)), population=population.name)
        plan = dataclasses.replace(run.plan, populations=(first, second))
        seconds = [
            dataclasses.replace(
                each,
                counts={first.name: each.counts["users"], second.name: each.counts["users"]},
                gauges={first.name: each.gauges["users"], second.name: each.gauges["users"]},
            )
            for each in worker_seconds_of(60)
        ]
        found = run_of(table, plan, worker_seconds=seconds, facts=run.facts)
        scope = Scope(ScopeKind.POPULATION, population.name)
        assert judge(response_time(scope=scope), found).status is status


@pytest.mark.parametrize(("timing", "name"), [("query", "query time"), ("acquire", "pool wait")])
def test_queries_do_not_pass_the_relay(timing: str, name: str) -> None:
    run = behind_relay(0.2, 20)
    starts = np.arange(0, 60, 0.02)
    table = SliceTable()
    table.record(samples_of(starts, np.full(len(starts), 0.7)), timing=timing_of(timing))
    found = run_of(table, run.plan, worker_seconds=run.worker_seconds, facts=run.facts)
    measure = Measure(name, Family.TIME, Unit.SECONDS, 0.95, "p95", timing)
    assert judge(dataclasses.replace(response_time(), measure=measure), found).status is Status.FAIL


@pytest.mark.parametrize(
    ("relay", "status"),
    [({"late_p99": 0.2}, Status.FAIL), ({"out_of_descriptors": 20}, Status.INVALID)],
)
def test_a_recovery_fails_although_the_relay_was_late_and_not_if_it_had_no_sockets(
    relay: dict[str, float], status: Status
) -> None:
    facts = {"relay": relay, "regions": {"Asia": {}}}
    run = disturbed(failing=range(70, 112), plan=in_regions(WITH_A_KILL, "Asia"), facts=facts)
    assert judge(WITHIN_30, run).status is status


def test_what_does_not_rest_on_users_fails_although_the_relay_had_no_sockets() -> None:
    evidence, fail = Evidence(behind_relay(refused=20)), Finding(Status.FAIL, "it was 1")
    for criterion, status in ((gauge(0.5), Status.FAIL), (error_rate(), Status.INVALID)):
        rules = rules_of(criterion.measure.family)
        found = blamed_on_relay(criterion, evidence, rules, fail, lambda _: fail)
        assert found.status is status
