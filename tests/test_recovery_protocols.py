"""Recovery of what users see over WebSocket and in the database, beside their requests."""

import dataclasses
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from loadkit import grammar
from loadkit.judging.evidence import Evidence
from loadkit.recording.messages import CONNECTIONS, EARLY, FILLED, MISSING, TAIL_LOST
from loadkit.recording.run import Event
from loadkit.recording.slices import SliceTable
from loadkit.recording.timing import QUERY, REQUEST
from loadkit.reports import charts
from loadkit.verdict import Status
from loadkit.workload.plan import Action, Population
from loadkit.workload.workload import Model, Stage
from tests.builders import count_messages, judge, plan_of, run_of, samples_of, worker_seconds_of

WITHIN_30 = grammar.recovery_within("the service recovers within 30 seconds", 30.0)
KILLED = Action("an instance is killed", at=60.0)
KILL = Event(70.0, KILLED.name, 0.4)
SECONDS = 190
PASS, FAIL, UNKNOWN = Status.PASS, Status.FAIL, Status.INCONCLUSIVE


def plan_with_connections(seconds=SECONDS - 10.0):
    plan = plan_of(seconds, 10, 100, Model.CLOSED, actions=(KILLED,))
    (users,) = plan.populations
    return dataclasses.replace(plan, populations=(users, dataclasses.replace(users, name="connections")))


def mixed(
    *,
    late=(),
    silent=(),
    slow_queries=(),
    failing_queries=(),
    failing_requests=(),
    held=(),
    counts=(),
    has=("requests", "queries", "messages", "connections"),
    seconds=SECONDS,
    late_by=3.0,
    facts=None,
    plan=None,
):
    """A run with fifty requests, twenty queries and a hundred messages per second, and 200 connections.

    `late`, `silent`: the seconds whose messages arrive late, or are not published. `held`: by
    second, other numbers of connections. `counts`: by second, counts of the connections.
    """
    table = SliceTable()
    if "requests" in has:
        starts = np.arange(seconds * 50) / 50
        failed = np.isin(starts.astype(int), list(failing_requests))
        table.record(
            samples_of(
                starts, np.full(len(starts), 0.02), outcome=np.where(failed, "refused", "ok").tolist()
            ),
            timing=REQUEST,
            population="users",
        )
    if "queries" in has:
        starts = np.arange(seconds * 20) / 20
        times = np.where(np.isin(starts.astype(int), list(slow_queries)), 1.0, 0.01)
        failed = np.isin(starts.astype(int), list(failing_queries))
        outcome = np.where(failed, "connection lost", "ok").tolist()
        table.record(
            samples_of(starts, times, label="tenant overview", outcome=outcome),
            timing=QUERY,
            population="users",
        )
    if "messages" in has:
        created = np.arange(seconds * 100) / 100
        created = created[~np.isin(created.astype(int), list(silent))]
        latency = np.where(np.isin(created.astype(int), list(late)), late_by, 0.004)
        rows = np.column_stack((created, created + latency, np.full(len(created), 100.0)))
        count_messages(table, rows, "WS /api/v1/stream")
    by_second, counted = dict(held), dict(counts)
    rows = []
    for each in worker_seconds_of(seconds):
        gauges = {"held": 100.0}
        if "connections" in has:
            gauges[CONNECTIONS] = float(by_second.get(each.second, 200))
        counts_of_it = {**each.counts, "connections": counted.get(each.second, {})}
        rows.append(
            dataclasses.replace(each, gauges={**each.gauges, "connections": gauges}, counts=counts_of_it)
        )
    return run_of(
        table,
        plan or plan_with_connections(seconds - 10.0),
        worker_seconds=rows,
        events=(KILL,),
        facts={"clock": {"uncertainty": 0.0}} if facts is None else facts,
    )


def verdict(**trouble):
    return judge(WITHIN_30, mixed(**trouble))


def few(seconds, number=100):
    return dict.fromkeys(seconds, number)


def test_all_kinds_that_nothing_disturbs_recover_at_once():
    found = verdict()
    assert (found.status, found.measured) == (PASS, 0.0)
    assert found.reason == (
        "The service had recovered immediately after an instance is killed; the limit is 30 s: "
        "requests, queries, messages and connections recovered immediately."
    )
    assert list(found.details["kinds"]) == ["requests", "queries", "messages", "connections"]


TROUBLES = {
    "messages were late": lambda seconds: {"late": seconds},
    "messages were lost": lambda seconds: {"counts": {each: {MISSING: 20} for each in seconds}},
    "messages were too few": lambda seconds: {"silent": seconds},
    "queries were slow": lambda seconds: {"slow_queries": seconds},
    "queries failed": lambda seconds: {"failing_queries": seconds},
    "connections were too few": lambda seconds: {"held": few(seconds)},
    "requests failed": lambda seconds: {"failing_requests": seconds},
}


@pytest.mark.parametrize("words", TROUBLES)
def test_the_slowest_kind_decides_and_is_named(words):
    found = verdict(**TROUBLES[words](range(70, 82)))
    assert (found.status, found.measured) == (PASS, 15.0)
    assert f"{words} until 15 s after it" in found.reason
    assert found.details["decided_by"] in words


@pytest.mark.parametrize("words", TROUBLES)
def test_a_kind_that_takes_longer_than_the_limit_fails_the_service(words):
    found = verdict(**TROUBLES[words](range(70, 112)))
    assert (found.status, found.measured) == (FAIL, 45.0)
    assert f"{words} until 45 s after it" in found.reason


@pytest.mark.parametrize("words", TROUBLES)
def test_thirty_bad_seconds_of_a_kind_after_its_recovery_fail(words):
    found = verdict(**TROUBLES[words](range(120, 150)))
    assert found.status is FAIL
    assert "degraded again for 30 s from 50 s after it" in found.reason


@pytest.mark.parametrize("words", [each for each in TROUBLES if each.split()[-1] in {"late", "slow", "few"}])
def test_a_single_bad_window_of_a_kind_passes_with_a_warning(words):
    found = verdict(**TROUBLES[words](range(120, 125)))
    assert found.status is PASS
    assert any(
        "degraded again after an instance is killed: for 5 s from 50 s" in each for each in found.warnings
    )


@pytest.mark.parametrize("words", TROUBLES)
def test_a_load_that_ends_before_a_kind_was_good_for_long_enough_is_inconclusive(words):
    found = judge(WITHIN_30, mixed(seconds=110, **TROUBLES[words](range(70, 90))))
    assert found.status is UNKNOWN
    assert "20 s more would decide it" in found.reason


def test_each_slow_kind_is_told_the_slowest_first():
    found = verdict(late=range(70, 92), failing_requests=range(70, 74), held=few(range(70, 83)))
    assert found.reason == (
        "The service had recovered 25 s after an instance is killed; the limit is 30 s: messages were late until "
        "25 s after it; connections were too few until 15 s after it; requests failed until 5 s after it; "
        "queries recovered immediately."
    )


@pytest.mark.parametrize("words", ["messages were late", "connections were too few", "queries were slow"])
def test_slow_spells_of_a_kind_that_come_again_and_again_fail(words):
    often = [second for start in range(110, 310, 40) for second in range(start, start + 10)]
    found = judge(WITHIN_30, mixed(seconds=310, **TROUBLES[words](often)))
    assert found.status is FAIL
    assert "10 of 48 five-second windows after the recovery" in found.reason


@pytest.mark.parametrize("words", ["messages were lost", "queries failed"])
def test_failures_of_a_kind_that_come_again_and_again_fail_by_their_share_of_all(words):
    often = [second for start in range(105, 310, 40) for second in range(start, start + 5)]
    found = judge(WITHIN_30, mixed(seconds=310, **TROUBLES[words](often)))
    assert found.status is FAIL
    assert f"of all {words.split()[0]} after the recovery" in found.reason


def test_a_kind_that_fails_by_a_relapse_decides_though_another_was_slower():
    found = verdict(late=range(70, 92), failing_queries=range(120, 150))
    assert (found.status, found.measured) == (FAIL, 25.0)
    assert found.details["decided_by"] == "queries"
    assert "messages were late until 25 s after it" in found.reason


def test_a_kind_that_never_recovers_fails_with_its_own_figures():
    found = verdict(late=range(70, SECONDS))
    assert (found.status, found.measured) == (FAIL, None)
    assert "the p95 message latency was 3 s, and 6.8 ms is as before" in found.reason
    found = verdict(held=few(range(70, SECONDS)))
    assert "only 100 connections were open, and 196 is as before" in found.reason
    found = verdict(counts={each: {MISSING: 20} for each in range(70, SECONDS)})
    assert "16.7 % of the messages were lost, and 1 % is allowed" in found.reason


def test_a_stream_that_stops_is_told():
    found = verdict(silent=range(70, SECONDS))
    assert (found.status, found.measured) == (FAIL, None)
    assert "115 s after it no messages arrived" in found.reason


def test_a_gap_that_is_filled_is_late_and_not_lost():
    counts = {80: {MISSING: 1000}, 81: {FILLED: 1000}}
    found = verdict(late=range(70, 80), counts=counts)
    assert (found.status, found.measured) == (PASS, 10.0)
    assert "messages were late until 10 s after it" in found.reason
    assert verdict(late=range(70, 80), counts={80: {MISSING: 1000}}).measured == 15.0


def test_messages_that_subscribers_lack_when_the_load_ends_are_spread_over_the_time_after_the_action():
    assert verdict(counts={SECONDS - 1: {TAIL_LOST: 2000}}).status is FAIL
    assert verdict(counts={SECONDS - 1: {TAIL_LOST: 20}}).status is PASS


def test_half_of_the_messages_is_too_few_though_no_gap_shows_it():
    run = mixed(has=("messages", "connections"))
    table = SliceTable()
    created = np.concatenate([np.arange(0, 70, 0.01), np.arange(70, SECONDS, 0.02)]) + 0.001
    count_messages(table, np.column_stack((created, created + 0.004, np.full(len(created), 100.0))), "WS /")
    found = judge(WITHIN_30, dataclasses.replace(run, table=table))
    assert found.status is FAIL
    assert "only 250 messages arrived, and 417 is as before" in found.reason


@pytest.mark.parametrize("seed", range(10))
def test_messages_and_connections_that_vary_by_chance_recover_at_once(seed):
    chance = np.random.default_rng(seed)
    table = SliceTable()
    published = np.sort(chance.uniform(0, SECONDS, chance.poisson(SECONDS * 10)))
    created = np.repeat(published, 25)
    latency = 0.003 * chance.exponential(1, len(created))
    count_messages(table, np.column_stack((created, created + latency, np.full(len(created), 100.0))), "WS /")
    held = {second: 200 - number for second, number in enumerate(chance.poisson(2, SECONDS))}
    run = mixed(has=("messages", "connections"), held=held)
    found = judge(WITHIN_30, dataclasses.replace(run, table=table))
    assert found.status is not FAIL, found.reason
    assert found.measured is not None
    assert found.measured <= 5.0


def test_without_a_known_clock_messages_cannot_pass_and_can_fail():
    found = judge(WITHIN_30, mixed(facts={}))
    assert found.status is UNKNOWN
    assert "the offset between that clock and this machine's is not known" in found.reason
    assert judge(WITHIN_30, mixed(facts={}, held=few(range(70, SECONDS)))).status is FAIL
    assert verdict(counts={5: {EARLY: 1000}}).status is UNKNOWN


def test_what_the_clock_may_be_off_by_is_no_lateness():
    uncertain = {"clock": {"uncertainty": 0.01}}
    assert judge(WITHIN_30, mixed(late=range(70, SECONDS), late_by=0.012, facts=uncertain)).status is PASS
    assert verdict(late=range(70, SECONDS), late_by=0.012).status is FAIL


def test_an_odd_window_before_the_disturbance_lets_not_fewer_connections_pass():
    found = verdict(held=few(range(30, 35), 120) | few(range(70, SECONDS), 50))
    assert found.status is UNKNOWN
    assert "five-second windows before an instance is killed were far worse than the others" in found.reason
    assert verdict(held=few(range(30, 35), 120)).status is PASS


@pytest.mark.parametrize("kind", ["requests", "queries", "messages", "connections"])
def test_a_run_of_one_kind_is_judged_by_it_alone(kind):
    found = judge(WITHIN_30, mixed(has=(kind,)))
    assert (found.status, found.measured) == (PASS, 0.0)
    assert list(found.details["kinds"]) == [kind]
    assert found.reason.endswith("the limit is 30 s.")


def test_users_who_leave_in_the_last_second_are_no_lost_connections():
    assert verdict(held={SECONDS - 1: 0}).status is PASS


def test_after_a_peak_the_load_before_it_is_the_measure_of_messages_and_connections():
    stages = (Stage(10, 100), Stage(60, 100), Stage(20, 400), Stage(20, 400), Stage(10, 50), Stage(70, 50))
    plan = plan_of(model=Model.CLOSED).with_workloads(lambda load: dataclasses.replace(load, stages=stages))
    plan = dataclasses.replace(plan, populations=(Population("connections", plan.workload),))
    table = SliceTable()
    rates = np.array([100.0 * plan.workload.level_at(second + 0.5) / 100 for second in range(SECONDS)])
    created = np.repeat(np.arange(SECONDS), rates.astype(int)) + 0.5
    rows = np.column_stack((created, created + 0.004, np.full(len(created), 100.0)))
    count_messages(table, rows, "WS /")
    at = {second: plan.workload.level_at(second + 0.5) for second in range(SECONDS)}
    run = mixed(has=("connections",), held=at, plan=plan)
    rows = [
        dataclasses.replace(
            each, gauges={"connections": {CONNECTIONS: at[each.second], "held": at[each.second]}}
        )
        for each in run.worker_seconds
    ]
    run = dataclasses.replace(run, table=table, events=(), worker_seconds=tuple(rows))
    found = judge(WITHIN_30, run)
    assert (found.status, found.measured) == (PASS, 0.0)
    half = [
        dataclasses.replace(each, gauges={"connections": {CONNECTIONS: at[each.second] / 2, "held": 50.0}})
        if each.second >= 120
        else each
        for each in rows
    ]
    assert judge(WITHIN_30, dataclasses.replace(run, worker_seconds=tuple(half))).status is FAIL


def test_the_chart_has_a_panel_for_each_kind():
    drawn = charts.recovery(Evidence(mixed(late=range(70, 80))), None, WITHIN_30)
    text = "".join(ET.fromstring(drawn).itertext())
    for words in (
        "p95 response time",
        "p95 query time",
        "p95 message latency",
        "fewest connections",
        "deadline",
    ):
        assert words in text
