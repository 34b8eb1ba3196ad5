"""A fail that the relay of the regions can have caused is invalid, and any other fail stands."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from loadkit.criterion import Comparison, Criterion, Family, Measure, Scope, ScopeKind, Unit
from loadkit.judging.evidence import Evidence
from loadkit.judging.families import rules_of
from loadkit.judging.finding import Finding
from loadkit.judging.relays_fault import check_relay_fault
from loadkit.recording.health_bounds import RELAY_NOTED
from loadkit.recording.run import Run
from loadkit.recording.slices import SliceTable
from loadkit.recording.timing import timing_of
from loadkit.verdict import Status
from loadkit.workload.plan import Plan, Population
from loadkit.workload.workload import MixEntry
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
    seconds: float | np.ndarray = 0.02,
    outcome: str | Sequence[str] = "ok",
    plan: Plan | None = None,
    region: str = "Asia",
    during: range = range(60),
) -> Run:
    """A minute of 50 operations per second, each of which takes `seconds`; the relay was late, or refused."""
    starts = np.arange(0, 60, 0.02)
    return run_of(
        samples_of(starts, np.full(len(starts), seconds), outcome=outcome, region=region),
        in_regions(plan or plan_of(60), "Asia", "Home"),
        worker_seconds=worker_seconds_of(60),
        facts={"relay": relay_that_was(late, refused, during), "regions": {"Asia": {"latency": 0.2}}},
    )


def relay_that_was(late: float, refused: int = 0, during: range = range(60)) -> dict[str, Any]:
    """What a relay says of itself."""
    seconds = [[second, late] for second in during] if late >= RELAY_NOTED else []
    return {
        "cpu_seconds": 5.0,
        "late_p99": late,
        "connections": 100,
        "out_of_descriptors": refused,
        "late": seconds,
    }


@pytest.mark.parametrize(
    ("late", "seconds", "status", "words"),
    [
        (0.001, 0.7, Status.FAIL, ""),
        (0.004, 0.51, Status.FAIL, ""),
        (0.049, 0.55, Status.INVALID, "late by up to 49 ms in 60 of 60 seconds, which may be why"),
        (0.045, 0.75, Status.FAIL, "this does not explain the fail"),
        (0.2, 0.7, Status.INVALID, "late by up to 200 ms in 60 of 60 seconds, which may be why"),
        (0.2, 1.2, Status.INVALID, "which may be why"),
        (0.2, 2.0, Status.FAIL, "this does not explain the fail"),
        (0.2, 0.02, Status.PASS, ""),
        (9.0, 20.0, Status.INVALID, "which may be why"),
        (9.0, 50.0, Status.FAIL, "this does not explain the fail"),
    ],
)
def test_a_time_is_invalid_if_it_would_be_within_the_limit_without_four_times_the_lateness(
    late: float, seconds: float, status: Status, words: str
) -> None:
    verdict = judge(response_time(), behind_relay(late, seconds=seconds))
    assert verdict.status is status
    assert words in " ".join([verdict.reason, *verdict.warnings])


@pytest.mark.parametrize(
    ("during", "status"),
    [(range(30, 42), Status.INVALID), (range(10, 22), Status.FAIL)],
    ids=["then", "before"],
)
def test_a_slow_spell_is_invalid_if_the_relay_was_late_then(during: range, status: Status) -> None:
    starts = np.arange(0, 60, 0.02)
    times = np.where((starts > 30) & (starts < 42), 2.0, 0.02)
    run = behind_relay(0.6, seconds=times, during=during)
    assert judge(response_time(0.5, comparison=Comparison.STAYS_BELOW), run).status is status


@pytest.mark.parametrize("late", [0.049, 0.06])
def test_a_lateness_in_one_second_does_not_explain_a_minute(late: float) -> None:
    run = behind_relay(late, seconds=0.55, during=range(30, 31))
    assert judge(response_time(), run).status is Status.FAIL


def test_a_short_standstill_of_the_relay_explains_what_waited_for_it() -> None:
    starts = np.arange(0, 60, 0.02)
    times = np.where((starts > 30) & (starts < 32), 2.0, 0.02)
    limit = response_time(comparison=Comparison.NEVER_EXCEEDS)
    assert judge(limit, behind_relay(0.0, seconds=times)).status is Status.FAIL
    assert judge(limit, behind_relay(2.0, seconds=times, during=range(32, 33))).status is Status.INVALID


@pytest.mark.parametrize("criterion", [error_rate(0.01), throughput(49.0)], ids=["errors", "throughput"])
@pytest.mark.parametrize(
    ("outcome", "status"),
    [("status 500", Status.FAIL), ("timeout", Status.INVALID), ("closed", Status.INVALID)],
)
def test_errors_of_the_service_fail_although_the_relay_was_late_and_time_outs_do_not(
    criterion: Criterion, outcome: str, status: Status
) -> None:
    verdict = judge(criterion, behind_relay(0.2, seconds=3.0, outcome=outcome))
    assert verdict.status is status
    assert any("does not explain the fail" in each for each in verdict.warnings) is (status is Status.FAIL)


def test_time_outs_while_the_relay_was_well_fail() -> None:
    starts = np.arange(0, 60, 0.02)
    outcomes = np.where(starts < 40, "timeout", "ok").tolist()
    run = behind_relay(0.2, seconds=3.0, outcome=outcomes, during=range(45, 50))
    assert judge(error_rate(0.01), run).status is Status.FAIL


def test_errors_fail_not_if_the_relay_had_no_sockets() -> None:
    for criterion in (error_rate(0.01), throughput(49.0)):
        assert judge(criterion, behind_relay(refused=7, outcome="status 500")).status is Status.INVALID


def test_all_is_in_doubt_if_the_relay_was_late_for_longer_than_a_run_waits_at_its_end() -> None:
    plan = plan_of(60, drain=10.0)
    for late, status in ((9.0, Status.FAIL), (10.0, Status.INVALID)):
        run = behind_relay(late, outcome="status 500", plan=plan, during=range(20, 21))
        assert judge(error_rate(0.01), run).status is status


@pytest.mark.parametrize(("timing", "status"), [("request", Status.FAIL), ("workflow", Status.INVALID)])
def test_a_time_of_several_answers_waits_for_the_relay_any_number_of_times(
    timing: str, status: Status
) -> None:
    run, starts, table = behind_relay(0.1), np.arange(0, 60, 0.02), SliceTable()
    table.record(samples_of(starts, np.full(len(starts), 6.5)), timing=timing_of(timing))
    found = run_of(table, run.plan, worker_seconds=run.worker_seconds, facts=run.facts)
    criterion = response_time(limit=5.0)
    measure = dataclasses.replace(criterion.measure, timing=timing)
    assert judge(dataclasses.replace(criterion, measure=measure), found).status is status


def test_of_a_run_of_an_earlier_version_it_is_not_known_when_the_relay_was_late() -> None:
    run = behind_relay(seconds=0.6)
    for late, status in ((0.049, Status.FAIL), (0.2, Status.INVALID)):
        relay = {"cpu_seconds": 5.0, "late_p99": late, "connections": 100}
        earlier = dataclasses.replace(run, facts={**run.facts, "relay": relay})
        assert judge(response_time(), earlier).status is status


@pytest.mark.parametrize(
    ("refused", "seconds", "status"),
    [(3, 2.0, Status.FAIL), (4, 2.0, Status.INVALID), (4, 0.02, Status.PASS)],
)
def test_a_fail_is_invalid_if_the_relay_had_no_sockets_for_a_thousandth_of_the_operations(
    refused: int, seconds: float, status: Status
) -> None:
    verdict = judge(response_time(), behind_relay(refused=refused, seconds=seconds))
    assert verdict.status is status
    assert ("no socket or file descriptor for 4 connections" in verdict.reason) == (status is Status.INVALID)


def test_the_operations_of_other_users_do_not_make_a_lack_of_sockets_rare() -> None:
    run = behind_relay(refused=9, outcome="status 500")
    starts = np.arange(0, 60, 0.002)
    run.table.record(samples_of(starts, np.full(len(starts), 0.02), region="Home"))
    assert judge(dataclasses.replace(error_rate(0.01), scope=IN_ASIA), run).status is Status.INVALID
    assert judge(error_rate(0.01), run).status is Status.FAIL


@pytest.mark.parametrize(
    ("criterion", "outcome"), [(error_rate(0.01), "timeout"), (throughput(49.0), "timeout")]
)
def test_a_short_lateness_of_the_relay_is_no_excuse_for_failures(criterion: Criterion, outcome: str) -> None:
    assert judge(criterion, behind_relay(0.045, outcome=outcome)).status is Status.FAIL


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
    [
        (relay_that_was(0.9, during=range(70, 120)), Status.INVALID),
        (relay_that_was(0.9, during=range(10, 40)), Status.FAIL),
        (relay_that_was(0.0, refused=20), Status.INVALID),
    ],
    ids=["late then", "late before", "without sockets"],
)
def test_a_recovery_is_invalid_if_the_relay_was_late_then_or_had_no_sockets(
    relay: dict[str, Any], status: Status
) -> None:
    facts = {"relay": relay, "regions": {"Asia": {}}}
    run = disturbed(slow=range(70, 112), plan=in_regions(WITH_A_KILL, "Asia"), facts=facts)
    assert judge(WITHIN_30, run).status is status


def test_what_does_not_rest_on_users_fails_although_the_relay_had_no_sockets() -> None:
    evidence, fail = Evidence(behind_relay(refused=20)), Finding(Status.FAIL, "it was 1")
    for criterion, status in ((gauge(0.5), Status.FAIL), (error_rate(), Status.INVALID)):
        rules = rules_of(criterion.measure.family)
        found = check_relay_fault(criterion, evidence, rules, fail, lambda _: fail)
        assert found.status is status


def test_a_relay_that_did_not_answer_at_the_end_may_have_hung() -> None:
    run = behind_relay(outcome="timeout")
    silent = dataclasses.replace(run, facts={"regions": run.facts["regions"]})
    verdict = judge(error_rate(0.01), silent)
    assert verdict.status is Status.INVALID
    assert "the network relay of the regions did not answer at the end" in verdict.reason.replace(
        "The", "the", 1
    )
    assert judge(error_rate(0.01), dataclasses.replace(run, facts={})).status is Status.FAIL
