"""What a run says of its messages and connections, and when it cannot know."""

import dataclasses
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from loadkit import grammar
from loadkit.judging.evidence import Evidence
from loadkit.recording.deliveries import UNREACHED
from loadkit.recording.messages import (
    CHECKED,
    CONNECTIONS,
    CREATED_BEFORE,
    DISCONNECTED,
    DOUBLED,
    EARLIEST,
    EARLY,
    FILLED,
    FOREIGN,
    LATENCY,
    LEAST_CONNECTIONS,
    MESSAGES_RECEIVED,
    MESSAGES_SEARCHED,
    MISSING,
    NOT_RESUMED,
    OUT_OF_ORDER,
    STATE_SEEN,
    STATES_DUE,
    TAIL_LOST,
    TAIL_UNKNOWN,
    UNCLASSIFIED,
    UNREADABLE,
)
from loadkit.recording.run import Event
from loadkit.recording.slices import Kind, SliceTable, worker_series
from loadkit.recording.sql import FOREIGN_ROWS, ROWS_SEARCHED
from loadkit.recording.timing import (
    CONNECT,
    DELIVERY,
    LIFETIME,
    MESSAGE,
    RECONNECT,
    REQUEST,
    ROUND_TRIP,
)
from loadkit.recording.worker_second import JOURNEY_ERROR, JOURNEYS, USERS, WITH_ERRORS
from loadkit.reports import charts, protocol_charts
from loadkit.verdict import Status
from loadkit.workload.plan import Scaling
from loadkit.workload.workload import Lognormal, MixEntry, Model, Stage
from tests.builders import count_messages, judge, plan_of, run_of, samples_of, worker_seconds_of

PASS, FAIL, UNKNOWN = Status.PASS, Status.FAIL, Status.INCONCLUSIVE
LOST, DOUBLE, ORDER = "no message is lost", "no message is delivered twice", "messages arrive in order"
REACH = "reach is above 99.9%"
FRESH = "the p95 message latency is below 100 ms"
CLOCK = {"facts": {"clock": {"uncertainty": 0.0}}}


def run_with(
    counts=(),
    messages=6000,
    latency=0.005,
    gauges=(),
    seconds=60,
    samples=(),
    plan=None,
    workers=1,
    **changes,
):
    """A run of `seconds` with messages spread evenly, and counts in its last second."""
    table = SliceTable()
    if messages:
        created = np.linspace(0, seconds - 0.1, messages)
        rows = np.column_stack((created, created + latency, np.full(messages, 100.0)))
        count_messages(table, rows, "WS /")
    for timing, some in samples:
        table.record(some, timing=timing)
    each = worker_seconds_of(seconds)
    held = {"connections": {CONNECTIONS: 100.0, LEAST_CONNECTIONS: 100.0}}
    rows = [
        dataclasses.replace(second, gauges={**second.gauges, **held}, worker=worker)
        for second in each
        for worker in range(workers)
    ]
    for at, changed in gauges:
        rows[at] = dataclasses.replace(rows[at], gauges={**rows[at].gauges, "connections": changed})
    rows[-1] = dataclasses.replace(rows[-1], counts={**rows[-1].counts, "connections": dict(counts)})
    plan = plan or plan_of(seconds, model=Model.CLOSED)
    return run_of(table, plan, worker_seconds=rows, workers=workers, **{**CLOCK, **changes})


def verdict(sentence, run):
    return judge(grammar.criterion(sentence), run)


def statuses(run):
    return {sentence: verdict(sentence, run).status for sentence in (LOST, DOUBLE, ORDER, REACH)}


NOTHING_WRONG = dict.fromkeys((LOST, DOUBLE, ORDER, REACH), PASS)


@pytest.mark.parametrize(
    ("counts", "flipped"),
    [
        ({}, {}),
        ({MISSING: 1}, {LOST: FAIL}),
        ({MISSING: 100}, {LOST: FAIL, REACH: FAIL}),
        ({TAIL_LOST: 100}, {LOST: FAIL, REACH: FAIL}),
        ({MISSING: 50, FILLED: 50}, {}),
        ({MISSING: 50, FILLED: 50, OUT_OF_ORDER: 50}, {ORDER: FAIL}),
        ({DOUBLED: 3}, {DOUBLE: FAIL}),
        ({TAIL_UNKNOWN: 1}, {LOST: UNKNOWN}),
        ({TAIL_UNKNOWN: 100}, {LOST: UNKNOWN, REACH: UNKNOWN}),
        ({NOT_RESUMED: 1}, {LOST: UNKNOWN, REACH: UNKNOWN}),
        ({UNREADABLE: 1}, dict.fromkeys(NOTHING_WRONG, UNKNOWN)),
        ({UNREADABLE: 9, MISSING: 9}, dict.fromkeys(NOTHING_WRONG, UNKNOWN)),
        ({UNREADABLE: 9, MISSING: 10}, {LOST: FAIL, DOUBLE: UNKNOWN, ORDER: UNKNOWN, REACH: UNKNOWN}),
        ({UNCLASSIFIED: 1}, {LOST: UNKNOWN, DOUBLE: UNKNOWN, REACH: UNKNOWN}),
        (
            {MISSING: 1100, FILLED: 1000, UNCLASSIFIED: 100},
            {LOST: UNKNOWN, DOUBLE: UNKNOWN, REACH: UNKNOWN},
        ),
    ],
)
def test_each_fault_flips_its_criteria_and_no_other(counts, flipped):
    assert statuses(run_with(counts)) == NOTHING_WRONG | flipped


def test_messages_that_a_journey_fails_to_read_are_not_lost_and_its_errors_are_named():
    error = "the reader of messages (subscribe) itself failed: KeyError: 'seq' at live.py:3"
    found = verdict(LOST, run_with({MISSING: 9, f"{JOURNEY_ERROR}{error}": 9}))
    assert found.status is Status.INVALID
    assert "live.py:3" in found.reason


def test_without_a_message_nothing_is_known():
    silent = run_with(messages=0)
    assert set(statuses(silent).values()) == {UNKNOWN}
    assert verdict(FRESH, silent).status is UNKNOWN
    assert verdict("throughput stays above 10 messages per second", silent).status is UNKNOWN


def test_a_stream_of_which_nothing_arrived_is_lost():
    assert verdict(LOST, run_with({TAIL_LOST: 10}, messages=0)).status is FAIL


def test_a_run_that_was_cut_short_shows_a_loss_and_never_that_there_was_none():
    cut = {"ended": "interrupted", "ended_at": 30.0}
    assert set(statuses(run_with(**cut)).values()) == {UNKNOWN}
    assert verdict(LOST, run_with({MISSING: 1}, **cut)).status is FAIL


def test_the_figures_of_a_loss_are_told():
    found = verdict(LOST, run_with({MISSING: 12, FILLED: 10}))
    assert found.reason == "2 of the 6,002 expected messages were lost, and none is allowed."
    assert (found.measured, found.details["filled"], found.samples) == (2.0, 10, 6002)


def test_few_messages_cannot_show_a_reach():
    assert verdict(REACH, run_with(messages=900)).status is UNKNOWN
    assert verdict(REACH, run_with(messages=1000)).status is PASS


def test_tenants_are_kept_apart_only_where_each_message_was_searched():
    sentence = "no message carries another tenant's data"
    received = {MESSAGES_RECEIVED: 6000}
    assert verdict(sentence, run_with(received)).status is UNKNOWN
    some = verdict(sentence, run_with({**received, MESSAGES_SEARCHED: 5990}))
    assert some.status is UNKNOWN
    assert "10 of 6,000 were not searched for the data of other tenants" in some.reason
    assert verdict(sentence, run_with({**received, MESSAGES_SEARCHED: 6000})).status is PASS
    assert verdict(sentence, run_with({**received, MESSAGES_SEARCHED: 6000, FOREIGN: 1})).status is FAIL
    # Runs that are stored know only whether users looked.
    assert verdict(sentence, run_with({**received, CHECKED: 100})).status is PASS


@pytest.mark.parametrize("late", [0.0, 20.0])
@pytest.mark.parametrize("refused", [0, 50])
@pytest.mark.parametrize("errors", [0, 20])
def test_no_fault_of_the_load_generator_excuses_a_message_of_another_tenant(errors, refused, late):
    mistake = {
        f"{JOURNEY_ERROR}the journey itself failed": errors,
        JOURNEYS: 1000,
        USERS: 100,
        WITH_ERRORS: 2,
    }
    counts = {MESSAGES_RECEIVED: 6000, MESSAGES_SEARCHED: 6000, FOREIGN: 40, **(mistake if errors else {})}
    relay = {"out_of_descriptors": refused, "late": [[30, late]] if late else []}
    facts = {**CLOCK["facts"], "relay": relay, "regions": {"Asia": {}}}
    mix = (MixEntry("journeys:browse", 1.0, "Asia"),)
    plan = plan_of(60, model=Model.CLOSED).with_workloads(lambda load: dataclasses.replace(load, mix=mix))
    found = verdict("no message carries another tenant's data", run_with(counts, plan=plan, facts=facts))
    assert found.status is FAIL
    excuses = sum("this does not explain the fail" in warning for warning in found.warnings)
    assert excuses == bool(errors) + bool(refused or late)
    lost = verdict(LOST, run_with({**counts, MISSING: 9}, plan=plan, facts=facts))
    assert lost.status is (Status.INVALID if errors or refused or late else FAIL)


def test_a_row_of_another_tenant_is_no_message_of_another_tenant():
    counts = {MESSAGES_RECEIVED: 6000, MESSAGES_SEARCHED: 6000, ROWS_SEARCHED: 5, FOREIGN_ROWS: 1}
    assert verdict("no message carries another tenant's data", run_with(counts)).status is PASS


# --- latency


@pytest.mark.parametrize(("before", "status"), [(60, PASS), (61, UNKNOWN)])
def test_the_latency_of_messages_that_were_created_before_the_run_is_not_known(before, status):
    found = verdict(FRESH, run_with({CREATED_BEFORE: before}))
    assert found.status is status
    assert ("messages were created before the run" in found.reason) == (status is UNKNOWN)


@pytest.mark.parametrize(("latency", "status"), [(0.005, PASS), (2.0, UNKNOWN)])
def test_messages_of_before_the_run_in_the_ramp_can_explain_a_fail_and_no_pass(latency, status):
    """The service sends them again to users who connect, or the clock of an instance is behind."""
    run = run_with(seconds=70, plan=RAMPED, latency=latency)
    rows = list(run.worker_seconds)
    rows[5] = dataclasses.replace(rows[5], counts={**rows[5].counts, "connections": {CREATED_BEFORE: 3000}})
    assert verdict(FRESH, dataclasses.replace(run, worker_seconds=rows)).status is status


def test_latency_is_judged_on_messages_and_not_on_requests():
    requests = samples_of(np.arange(0, 59, 0.01), np.full(5900, 0.5))
    mixed = run_with(samples=[(REQUEST, requests)])
    assert verdict(FRESH, mixed).status is PASS
    assert verdict("p95 is below 100 ms", mixed).status is FAIL
    assert verdict(FRESH, run_with(latency=0.3)).status is FAIL


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (run_with(facts={}), "is not known"),
        (run_with({EARLY: 60}), "arrived before they were created"),
        (run_with({MISSING: 7000}), "Only 6,000 of 13,000 expected messages arrived"),
    ],
)
def test_latency_is_not_known_without_a_common_clock_and_most_messages(run, said):
    found = verdict(FRESH, run)
    assert found.status is UNKNOWN
    assert said in found.reason


def test_latency_of_a_stream_that_was_not_published_says_nothing():
    plan = plan_of(60, model=Model.CLOSED)
    publishing = dataclasses.replace(plan.populations[0], delivers=1000.0)
    run = run_with(plan=dataclasses.replace(plan, populations=(publishing,)))
    assert "Only 100 of 1000 messages per second" in verdict(FRESH, run).reason


def test_a_clock_that_agrees_roughly_decides_only_what_it_cannot_change():
    rough = {"facts": {"clock": {"uncertainty": 0.05}}}
    assert verdict(FRESH, run_with(latency=0.04, **rough)).status is PASS
    assert verdict(FRESH, run_with(latency=0.08, **rough)).status is UNKNOWN
    assert verdict(FRESH, run_with(latency=0.3, **rough)).status is FAIL


def round_trips(seconds=60, outcome="ok", took=0.06, each=100):
    starts = np.linspace(0, seconds - 1, seconds * each)
    return ROUND_TRIP, samples_of(starts, np.full(len(starts), took), "WS / edit", outcome)


BY_ROUND_TRIP = {"facts": {LATENCY: "message round trip"}}
"""The facts of a run on another host, whose clock is not known."""


def test_where_the_environment_says_so_latency_is_judged_on_round_trips_and_needs_no_common_clock():
    run = run_with(latency=0.005, samples=[round_trips()], **BY_ROUND_TRIP)
    assert verdict(FRESH, run).status is PASS
    found = verdict("the p95 message latency is below 50 ms", run)
    assert found.status is FAIL
    assert found.reason.startswith("p95 message round trip was 60")
    assert found.reason.endswith(
        "; message latency is judged on the message round trip here, as the environment states."
    )
    assert found.details["judged_on"] == "message round trip"
    assert found.measured == pytest.approx(0.06, rel=0.01)


def test_round_trips_are_a_measure_of_their_own_in_every_environment():
    run = run_with(samples=[round_trips()])
    found = verdict("the p95 message round trip is below 50 ms", run)
    assert found.status is FAIL
    assert "environment" not in found.reason
    assert verdict("the p95 message latency is below 50 ms", run).status is PASS


def test_messages_that_nobody_answers_break_a_latency_that_is_judged_on_round_trips():
    silent = run_with(
        samples=[round_trips(), round_trips(outcome="timeout", took=10.0, each=10)], **BY_ROUND_TRIP
    )
    assert verdict(FRESH, silent).status is FAIL


def test_without_a_round_trip_a_latency_that_is_judged_on_them_is_not_known():
    found = verdict(FRESH, run_with(**BY_ROUND_TRIP))
    assert found.status is UNKNOWN
    assert "No message round trip was recorded; journeys measure them with ws.request" in found.reason


def test_other_criteria_on_messages_are_the_same_where_latency_is_judged_on_round_trips():
    run = run_with(samples=[round_trips()], **BY_ROUND_TRIP)
    assert statuses(run) == NOTHING_WRONG
    assert verdict("throughput stays above 90 messages per second", run).measured == pytest.approx(
        100, rel=0.05
    )


def test_an_event_that_is_lost_reaches_no_dashboard():
    reaches = "an event reaches every dashboard within 100 ms"
    arrived = samples_of(np.linspace(0, 59, 3000), np.full(3000, 0.01), "WS /")
    assert verdict(reaches, run_with(samples=[(DELIVERY, arrived)])).status is PASS
    assert verdict(reaches, run_with()).status is UNKNOWN
    late = samples_of(np.linspace(0, 59, 3000), np.full(3000, 0.3), "WS /")
    assert verdict(reaches, run_with(samples=[(DELIVERY, late)])).status is FAIL
    lost = run_with({MISSING: 600}, samples=[(DELIVERY, arrived)])
    assert verdict(reaches, lost).status is FAIL
    assert verdict(FRESH, lost).status is PASS
    assert verdict("80% of the events reach every dashboard within 100 ms", lost).status is PASS


REACHES = "an event reaches every dashboard within 100 ms"


def unreached(number):
    """Writes that were acknowledged and reached nobody, evenly spread."""
    return DELIVERY, samples_of(np.linspace(0, 59, number), np.full(number, 10.0), "WS /", UNREACHED)


@pytest.mark.parametrize(("number", "status"), [(60, PASS), (600, FAIL)])
def test_a_write_that_reached_nobody_counts_as_above_every_limit(number, status):
    found = verdict(REACHES, run_with(samples=[deliveries((0, 60, 3000)), unreached(number), STEADY]))
    assert found.status is status, found.reason
    of = f"{number} of {3000 + number:,} deliveries failed, because their writes were acknowledged"
    assert f"{of} and reached nobody" in found.reason
    assert found.details["unreached"] == number
    if status is FAIL:  # whatever the limit
        assert (
            verdict(
                "an event reaches every dashboard within 30 s",
                run_with(samples=[deliveries((0, 60, 3000)), unreached(number), STEADY]),
            ).status
            is FAIL
        )


def test_a_service_that_tells_nobody_of_any_write_fails():
    assert verdict(REACHES, run_with(samples=[unreached(600), STEADY])).status is FAIL


def test_a_message_that_all_who_watch_have_missed_fails_once():
    found = {}
    for missing, number in ((200, 0), (200, 100), (0, 100), (100, 100)):
        samples = [deliveries((0, 60, 6000)), *([unreached(number)] if number else []), STEADY]
        found[missing, number] = verdict(REACHES, run_with({MISSING: missing}, samples=samples)).samples
    assert found == {(200, 0): 6200, (200, 100): 6200, (0, 100): 6100, (100, 100): 6100}


def deliveries(*parts):
    """Events that reach somebody after 10 ms; of each part: from, to (s), and how many."""
    starts = np.concatenate([np.linspace(begin, end - 0.01, number) for begin, end, number in parts])
    return DELIVERY, samples_of(starts, np.full(len(starts), 0.01), "WS /")


def requests(*parts):
    starts = np.concatenate([np.linspace(begin, end - 0.02, number) for begin, end, number in parts])
    return REQUEST, samples_of(starts, np.full(len(starts), 0.01), "POST /events")


def test_an_event_that_is_missing_at_the_end_of_a_stream_reaches_no_dashboard():
    whole = deliveries((0, 60, 3000))
    assert verdict(REACHES, run_with({TAIL_LOST: 60}, samples=[whole])).status is PASS
    assert verdict(REACHES, run_with({TAIL_LOST: 600}, samples=[whole])).status is FAIL
    assert verdict(REACHES, run_with({MISSING: 600, FILLED: 600}, samples=[whole])).status is PASS


STEADY = requests((0, 60, 600))


@pytest.mark.parametrize(
    ("samples", "status", "said"),
    [
        ([deliveries((0, 60, 3000)), STEADY], PASS, ""),
        ([deliveries((0, 30, 1500)), STEADY], UNKNOWN, "no write reached anybody for 30 s"),
        ([deliveries((0, 30, 1500))], UNKNOWN, "no write reached anybody for 30 s"),
        ([deliveries((0, 15, 750)), STEADY], UNKNOWN, "no write reached anybody for 45 s"),
        ([deliveries((0, 20, 1000), (35, 60, 1250)), STEADY], UNKNOWN, "no write reached anybody for 15 s"),
        ([deliveries((0, 40, 2000), (40, 60, 200)), STEADY], UNKNOWN, "in 2 ten-second windows hardly any"),
        # The requests stopped too, so nothing was written.
        ([deliveries((0, 30, 1500)), requests((0, 30, 300))], PASS, ""),
        ([deliveries((0, 20, 1000), (40, 60, 1000)), requests((0, 20, 200), (40, 60, 200))], PASS, ""),
        # One write to a hundred dashboards every fifteen seconds.
        ([deliveries(*((at, at + 1, 100) for at in (7, 22, 37, 52))), STEADY], PASS, ""),
    ],
)
def test_events_that_reach_nobody_for_a_time_may_be_lost(samples, status, said):
    found = verdict(REACHES, run_with(samples=samples))
    assert found.status is status, found.reason
    assert said in found.reason


def test_events_pass_without_the_seconds_in_which_the_generator_lagged():
    run = run_with({MISSING: 60, TAIL_LOST: 60}, samples=[deliveries((0, 60, 3000)), STEADY])
    moments = np.arange(60.0)
    run.table.count(Kind.LAG, worker_series(0), moments, np.where(moments % 20 == 5, 0.2, 0.0005))
    found = verdict(REACHES, run)
    assert found.status is PASS
    assert any("the verdict is the same without it" in warning for warning in found.warnings)


def test_events_do_not_pass_where_most_messages_did_not_arrive():
    plan = plan_of(60, model=Model.CLOSED)
    publishing = dataclasses.replace(plan.populations[0], delivers=1000.0)
    published = dataclasses.replace(plan, populations=(publishing,))
    found = verdict(REACHES, run_with(plan=published, samples=[deliveries((0, 60, 3000))]))
    assert found.status is UNKNOWN
    assert "but only 100 of 1000 messages per second were delivered" in found.reason


@pytest.mark.parametrize("sentence", [LOST, REACH])
def test_messages_of_a_load_that_was_not_put_on_for_most_of_the_time_show_no_loss(sentence):
    for lagged, status in ((20, PASS), (40, Status.INVALID)):
        run = run_with()
        moments = np.arange(60.0)
        run.table.count(Kind.LAG, worker_series(0), moments, np.where(moments < lagged, 0.2, 0.0005))
        found = verdict(sentence, run)
        assert found.status is status
        assert status is not PASS or any("overloaded" in warning for warning in found.warnings)


def test_throughput_of_messages_counts_messages_alone():
    assert verdict("throughput stays above 90 messages per second", run_with()).status is PASS
    assert verdict("throughput stays above 110 messages per second", run_with()).status is FAIL
    assert verdict("throughput stays above 90 requests per second", run_with()).status is UNKNOWN


def doubled_by_second(number):
    """A run that receives 100 messages per second, of which a number arrived again."""
    run = run_with()
    for second in run.worker_seconds:
        second.counts.setdefault("connections", {})[DOUBLED] = number
    return run


def test_a_message_that_arrives_twice_counts_once_in_throughput():
    least = "throughput stays above 90 messages per second"
    assert verdict(least, doubled_by_second(5)).status is PASS
    found = verdict(least, doubled_by_second(50))
    assert (found.status, round(found.measured)) == (FAIL, 50)
    assert "3,000 messages that arrived again are not counted" in found.reason


def test_of_which_messages_the_doubled_ones_are_is_not_known():
    least = 'throughput of "WS /" stays above 90 messages per second'
    assert verdict(least, doubled_by_second(5)).status is PASS
    assert verdict(least, doubled_by_second(50)).status is UNKNOWN
    assert verdict(least.replace("90", "110"), doubled_by_second(50)).status is FAIL


# --- connections


def attempts(times, failed=0):
    starts = np.linspace(0, 9.9, len(times))
    every = len(times) // failed if failed else 0
    outcome = ["status 503" if every and at % every == 0 else "ok" for at in range(len(times))]
    return (CONNECT, samples_of(starts, times, "WS /", outcome))


RAMPED = plan_of(60, ramp=10, model=Model.CLOSED)


def test_connections_are_judged_where_they_are_made_in_the_ramp():
    fine = run_with(seconds=70, plan=RAMPED, samples=[attempts(np.full(500, 0.01))])
    assert verdict("the p99 connection time stays below 1 s", fine).status is PASS
    assert verdict("the connection success rate is above 99%", fine).status is PASS
    slow = run_with(seconds=70, plan=RAMPED, samples=[attempts(np.full(500, 2.0))])
    assert verdict("the p99 connection time stays below 1 s", slow).status is FAIL
    refused = run_with(seconds=70, plan=RAMPED, samples=[attempts(np.full(500, 0.01), failed=50)])
    assert verdict("the connection success rate is above 99%", refused).status is FAIL


@pytest.mark.parametrize(
    ("sentence", "how"),
    [
        ("the p99 connection time stays below 1 s", {"times": np.linspace(0.01, 1.005, 500)}),
        ("the mean connection time stays below 1 s", {"times": np.linspace(0.01, 1.98, 100)}),
        ("the connection success rate is above 99%", {"times": np.full(500, 0.01), "failed": 4}),
    ],
)
def test_too_few_connections_advise_more_connections_and_no_longer_run(sentence, how):
    found = verdict(sentence, run_with(seconds=70, plan=RAMPED, samples=[attempts(**how)]))
    assert found.status is UNKNOWN
    assert re.search(r"[0-9] connections in place of [0-9]+ would decide it|more connections", found.reason)
    assert "steady load" not in found.reason


def test_the_fewest_connections_of_all_seconds_count():
    open_all = "at least 100 connections stay open"
    assert verdict(open_all, run_with()).status is PASS
    dip = (30, {CONNECTIONS: 100.0, LEAST_CONNECTIONS: 99.0})
    found = verdict(open_all, run_with(gauges=[dip]))
    assert found.status is FAIL
    assert "Only 99 connections were open in second 30" in found.reason


def test_connections_that_drop_at_the_start_of_the_window_are_not_users_who_connect():
    some = {CONNECTIONS: 90.0, LEAST_CONNECTIONS: 90.0}
    dips = [(at, some) for at in range(10, 16)]
    open_all = "at least 100 connections stay open"
    assert verdict(open_all, run_with(seconds=70, plan=RAMPED, gauges=dips)).status is FAIL
    late = [(at, some) for at in range(16)]
    assert verdict(open_all, run_with(seconds=70, plan=RAMPED, gauges=late)).status is PASS
    run = run_with(seconds=70, plan=RAMPED, gauges=late)
    dropped = {**run.worker_seconds[12].counts, "connections": {f"{DISCONNECTED}closed 1006": 10}}
    rows = list(run.worker_seconds)
    rows[12] = dataclasses.replace(rows[12], counts=dropped)
    assert verdict(open_all, dataclasses.replace(run, worker_seconds=rows)).status is FAIL


def ended(run, second, number):
    """A run in which the service ended connections in a second."""
    rows = list(run.worker_seconds)
    counts = {**rows[second].counts, "connections": {f"{DISCONNECTED}closed 1006": number}}
    rows[second] = dataclasses.replace(rows[second], counts=counts)
    return dataclasses.replace(run, worker_seconds=rows)


@pytest.mark.parametrize(("number", "status"), [(1, PASS), (20, FAIL)])
def test_a_connection_that_drops_while_others_are_made_is_not_all_that_are_missing(number, status):
    some = [
        (at, {CONNECTIONS: float(open_), LEAST_CONNECTIONS: float(open_)})
        for at, open_ in ((10, 80), (11, 91))
    ]
    late = [(at, {CONNECTIONS: 0.0, LEAST_CONNECTIONS: 0.0}) for at in range(10)]
    run = run_with(
        seconds=70, plan=RAMPED, gauges=[*late, *some, (12, some[0][1])] if number > 1 else [*late, *some]
    )
    assert verdict("at least 90 connections stay open", ended(run, 11, number)).status is status


@pytest.mark.parametrize(("lasted", "status"), [(0.1, PASS), (5.0, FAIL)], ids=["at once", "later"])
def test_connections_that_the_service_closes_at_once_delay_the_users_who_connect(lasted, status):
    """In second 12, ten connections end; ten users are missing until second 16."""
    some = {CONNECTIONS: 90.0, LEAST_CONNECTIONS: 90.0}
    closed = samples_of(np.full(10, 12.0 - int(lasted)), np.full(10, lasted), outcome="closed 1006")
    run = run_with(
        seconds=70, plan=RAMPED, gauges=[(at, some) for at in range(16)], samples=[(LIFETIME, closed)]
    )
    assert verdict("at least 100 connections stay open", ended(run, 12, 10)).status is status


@pytest.mark.parametrize(("low", "status"), [(20, PASS), (100, FAIL)])
def test_connections_of_an_earlier_hold_are_not_those_of_the_judged_one(low, status):
    """The last users connect in the first second of the second hold; if none had left, they are missing."""
    stages = (Stage(0, 100), Stage(60, 100), Stage(0, low), Stage(30, low), Stage(0, 100), Stage(60, 100))
    plan = plan_of(60, level=100, model=Model.CLOSED)
    plan = plan.with_workloads(lambda load: dataclasses.replace(load, stages=stages))
    few, first = ({CONNECTIONS: float(number), LEAST_CONNECTIONS: float(number)} for number in (low, 99))
    run = run_with(seconds=150, plan=plan, gauges=[*((at, few) for at in range(60, 90)), (90, first)])
    found = verdict("at least 100 connections stay open", run)
    assert found.status is status, found.reason


@pytest.mark.parametrize(
    ("second", "errors", "status"),
    [(29, 2, Status.INVALID), (30, 2, Status.INVALID), (29, 1, FAIL), (5, 2, FAIL), (40, 2, FAIL)],
)
def test_connections_that_errors_of_journeys_closed_are_no_fail_of_the_service(second, errors, status):
    dips = [(30, {CONNECTIONS: 98.0, LEAST_CONNECTIONS: 98.0})]
    run = run_with({JOURNEYS: 10_000, USERS: 100, WITH_ERRORS: 1}, gauges=dips)
    rows = list(run.worker_seconds)
    counts = {**rows[second].counts, "connections": {f"{JOURNEY_ERROR}the journey failed": errors}}
    rows[second] = dataclasses.replace(rows[second], counts=counts)
    found = verdict("at least 100 connections stay open", dataclasses.replace(run, worker_seconds=rows))
    assert found.status is status, found.reason


def test_users_may_take_a_moment_to_connect_and_not_the_whole_time():
    some = {CONNECTIONS: 90.0, LEAST_CONNECTIONS: 90.0}
    open_all = "at least 100 connections stay open"
    assert verdict(open_all, run_with(gauges=[(0, some), (1, some)])).status is PASS
    assert verdict(open_all, run_with(gauges=[(at, some) for at in range(20)])).status is FAIL


def test_users_who_leave_in_the_last_second_close_their_connections():
    none = {CONNECTIONS: 0.0, LEAST_CONNECTIONS: 0.0}
    open_all = "at least 100 connections stay open"
    gone = run_with(plan=plan_of(60, model=Model.REQUESTS))
    last = dataclasses.replace(
        gone.worker_seconds[-1], gauges={**gone.worker_seconds[-1].gauges, "connections": none}
    )
    before = gone.worker_seconds[:-1]
    assert verdict(open_all, dataclasses.replace(gone, worker_seconds=(*before, last))).status is PASS
    earlier = dataclasses.replace(last, second=58)
    some = (*before[:-1], earlier, gone.worker_seconds[-1])
    assert verdict(open_all, dataclasses.replace(gone, worker_seconds=some)).status is FAIL


def test_the_fewest_of_two_workers_need_not_be_at_one_moment():
    dip = {CONNECTIONS: 100.0, LEAST_CONNECTIONS: 99.0}
    two = run_with(workers=2, gauges=[(60, dip), (61, dip)], plan=plan_of(60, model=Model.REQUESTS))
    assert verdict("at least 200 connections stay open", two).status is UNKNOWN
    assert verdict("at least 198 connections stay open", two).status is PASS


def test_a_plan_that_drops_connections_does_not_promise_that_all_stay():
    plan = plan_of(60, model=Model.CLOSED).with_workloads(lambda load: dataclasses.replace(load, churn=0.01))
    assert verdict("at least 100 connections stay open", run_with(plan=plan)).status is Status.NOT_JUDGED


def with_others(plan, **others):
    """A plan whose population holds connections, and a second one of 5 users that hold none."""
    connected = dataclasses.replace(plan.populations[0], name="connections")
    stages = tuple(dataclasses.replace(stage, level=5) for stage in plan.workload.stages)
    workload = dataclasses.replace(plan.workload, stages=stages, **others)
    users = dataclasses.replace(plan.populations[0], name="users", workload=workload)
    return dataclasses.replace(plan, populations=(connected, users))


def held_by_both(run):
    """The same run, in which both populations hold their users."""
    run.worker_seconds = tuple(
        dataclasses.replace(
            each,
            gauges={"connections": {**each.gauges["connections"], "held": 100.0}, "users": {"held": 5.0}},
        )
        for each in run.worker_seconds
    )
    return run


def test_a_plan_whose_users_leave_does_not_promise_that_all_connections_stay():
    stay = Lognormal(20.0, 60.0)
    plan = plan_of(60, model=Model.CLOSED).with_workloads(
        lambda load: dataclasses.replace(load, session=stay)
    )
    gone = {CONNECTIONS: 100.0, LEAST_CONNECTIONS: 98.0}
    run = run_with(plan=plan, gauges=[(second, gone) for second in range(60)])
    assert verdict("at least 100 connections stay open", run).status is Status.NOT_JUDGED


def test_users_without_connections_may_leave_while_all_connections_stay():
    plan = with_others(plan_of(60, model=Model.CLOSED), session=Lognormal(20.0, 60.0))
    run = held_by_both(run_with(plan=plan))
    assert verdict("at least 100 connections stay open", run).status is PASS


def test_users_without_connections_are_no_connections_that_had_to_last():
    plan = with_others(plan_of(60, model=Model.CLOSED))
    run = held_by_both(run_with(plan=plan, samples=[lifetimes(100, 0)]))
    assert verdict("99.9% of the connections stay open for 50 s", run).status is PASS
    run = held_by_both(run_with(plan=plan, samples=[lifetimes(97, 0, left=3)]))
    assert verdict("99.9% of the connections stay open for 50 s", run).status is UNKNOWN


def lifetimes(kept, broken, left=0):
    """Connections from the first second on: those that lasted, that the service ended, that the generator closed."""
    rows = [(59.5, "ok")] * kept + [(20.0, "closed 1006")] * broken + [(20.0, "ok")] * left
    times = np.array([time for time, _ in rows])
    return (LIFETIME, samples_of(np.zeros(len(rows)), times, "WS /", [how for _, how in rows]))


@pytest.mark.parametrize(
    ("rows", "status"),
    [
        (lifetimes(100, 0), PASS),
        (lifetimes(99, 1), FAIL),
        (lifetimes(50, 0, left=50), UNKNOWN),
        (lifetimes(0, 0, left=100), UNKNOWN),
    ],
)
def test_a_connection_must_be_the_same_for_the_whole_time(rows, status):
    assert verdict("99.9% of the connections stay open for 50 s", run_with(samples=[rows])).status is status


def test_a_rehearsal_says_nothing_of_half_an_hour():
    plan = plan_of(60, model=Model.CLOSED, stated_level=100, scaling=Scaling(time=0.1, stated_hold=1800))
    found = verdict(
        "99.9% of the connections stay open for 30 minutes", run_with(plan=plan, samples=[lifetimes(100, 0)])
    )
    assert found.status is Status.NOT_JUDGED
    assert "rehearsed" in found.reason


def returns(*rows):
    times = np.array([time for time, _ in rows])
    return (RECONNECT, samples_of(np.full(len(rows), 20.0), times, "WS /", [how for _, how in rows]))


@pytest.mark.parametrize(
    ("rows", "status"),
    [
        ([(3.0, "ok")] * 100, PASS),
        ([(3.0, "ok")] * 95 + [(12.0, "ok")] * 5, PASS),
        ([(3.0, "ok")] * 94 + [(12.0, "ok")] * 6, FAIL),
        ([(3.0, "ok")] * 94 + [(12.0, "not back")] * 6, FAIL),
        ([(3.0, "ok")] * 94 + [(4.0, "not back")] * 6, UNKNOWN),
        ([(3.0, "ok")] * 94 + [(4.0, "return failed")] * 6, FAIL),
        ([(3.0, "ok")] * 3, UNKNOWN),
    ],
)
def test_dropped_clients_must_be_back_in_time(rows, status):
    found = verdict("95% of the clients are back within 10 seconds", run_with(samples=[returns(*rows)]))
    assert found.status is status


def test_without_a_drop_it_is_not_known_how_soon_clients_are_back():
    sentence = "95% of the clients are back within 10 seconds"
    assert verdict(sentence, run_with()).status is UNKNOWN
    assert "did not reconnect" in verdict(sentence, run_with({f"{DISCONNECTED}closed 1006": 7})).reason


def cut_off(number, label):
    """Connections that the service ended after fifteen seconds."""
    return LIFETIME, samples_of(np.full(number, 5.0), np.full(number, 15.0), label, "closed 1006")


@pytest.mark.parametrize(
    ("lost", "status"),
    [
        (cut_off(100, "WS /collab"), UNKNOWN),
        (cut_off(6, "WS /collab"), UNKNOWN),
        (cut_off(5, "WS /collab"), PASS),  # 100 of 105 are 95 %
        (cut_off(130, "WS /"), PASS),  # some were cut off again while they came back
    ],
)
def test_clients_that_nobody_brings_back_are_not_left_out(lost, status):
    back = returns(*[(3.0, "ok")] * 100)
    found = verdict("95% of the clients are back within 10 seconds", run_with(samples=[back, lost]))
    assert found.status is status, found.reason
    if status is UNKNOWN:
        assert "other connections dropped, and their users did not reconnect automatically" in found.reason


# --- faults of the generator, and actions that did not happen


OPEN, KEPT, BACK = (
    "at least 100 connections stay open",
    "99.9% of the connections stay open for 50 s",
    "95% of the clients are back within 10 seconds",
)


def dropped_run(at, stall=None, starved=()):
    """Half of the connections are gone from a second on; the generator's faults, in seconds of the run."""
    ended = samples_of(np.zeros(50), np.full(50, at + 0.5), "WS /", "closed 1006")
    away = samples_of(np.full(50, at + 0.0), np.full(50, 12.0), "WS /", "ok")
    gone = {CONNECTIONS: 50.0, LEAST_CONNECTIONS: 50.0}
    run = run_with(
        samples=[lifetimes(50, 0), (LIFETIME, ended), (RECONNECT, away)],
        gauges=[(second, gone) for second in range(at, at + 12)],
    )
    if stall:
        run.table.count(Kind.LAG, worker_series(0), np.array([stall + 0.2]), np.array([8.0]))
    rows = [
        changed_counts(each, out_of_descriptors=5 if each.second in starved else 0)
        for each in run.worker_seconds
    ]
    return dataclasses.replace(run, worker_seconds=rows)


def changed_counts(second, out_of_descriptors):
    users = {**second.counts["users"], "out of descriptors": out_of_descriptors}
    return dataclasses.replace(second, counts={**second.counts, "users": users})


@pytest.mark.parametrize(
    ("run", "statuses"),
    [
        (dropped_run(20), (FAIL, FAIL, FAIL)),
        (dropped_run(20, stall=20), (Status.INVALID, Status.INVALID, Status.INVALID)),
        # An open connection needs no new socket.
        (dropped_run(20, starved=range(20, 32)), (Status.INVALID, FAIL, Status.INVALID)),
        # Before the fault, or long after it, the service alone was at fault.
        (dropped_run(20, stall=55), (FAIL, FAIL, FAIL)),
        (dropped_run(45, stall=9), (FAIL, FAIL, FAIL)),
    ],
)
def test_connections_that_the_generator_itself_may_have_lost_do_not_fail(run, statuses):
    found = [verdict(sentence, run) for sentence in (OPEN, KEPT, BACK)]
    assert tuple(each.status for each in found) == statuses, [each.reason for each in found]


def test_few_connections_in_the_ramp_do_not_make_a_fail_of_the_hold_stand():
    run = dropped_run(40, stall=40)
    rows = [
        dataclasses.replace(
            each, gauges={**each.gauges, "connections": {CONNECTIONS: 5.0 * at, LEAST_CONNECTIONS: 5.0 * at}}
        )
        if at < 20
        else each
        for at, each in enumerate(run.worker_seconds)
    ]
    ramped = dataclasses.replace(run, worker_seconds=rows, plan=plan_of(40, 20, model=Model.CLOSED))
    assert verdict(OPEN, ramped).status is Status.INVALID


def test_the_generators_fault_is_named_also_where_it_does_not_explain_a_fail():
    stood = "event loop of the load generator stood still"
    assert stood in verdict(KEPT, dropped_run(20, stall=20)).reason
    assert any(
        "does not explain the fail" in each for each in verdict(KEPT, dropped_run(20, stall=55)).warnings
    )


def test_an_action_that_could_not_be_carried_out_shows_nothing_that_had_to_survive_it():
    event = Event(20.0, "all connections drop", failed="the command took more than 30 s")
    for sentence in (LOST, DOUBLE, REACH):
        found = verdict(sentence, run_with(events=[event]))
        assert found.status is Status.NOT_JUDGED
        assert "could not be carried out: the command" in found.reason
    assert verdict(LOST, run_with({MISSING: 1}, events=[event])).status is FAIL


@pytest.mark.parametrize(("earliest", "status"), [(0.003, PASS), (0.008, UNKNOWN), (0.0, UNKNOWN)])
def test_messages_may_be_early_by_the_error_of_a_measured_offset(earliest, status):
    clock = {"facts": {"clock": {"offset": 1.0, "uncertainty": 0.005}}}
    here = {CONNECTIONS: 100.0, LEAST_CONNECTIONS: 100.0, EARLIEST: earliest}
    run = run_with({EARLY: 600}, gauges=[(50, here)], **clock)
    assert verdict(FRESH, run).status is status


# --- shared states


def seen(*states):
    counts = {STATES_DUE: 0}
    for what, digest in states:
        counts[STATES_DUE] += 1
        name = f"{STATE_SEEN}{what} {digest}"
        counts[name] = counts.get(name, 0) + 1
    return counts


@pytest.mark.parametrize(
    ("counts", "status"),
    [
        (seen(*[("acme/dashboard 1", "a")] * 10, ("acme/dashboard 2", "b")), PASS),
        (seen(*[("acme/dashboard 1", "a")] * 2, ("acme/dashboard 2", "b")), UNKNOWN),
        (seen(("acme/dashboard 1", "a"), ("acme/dashboard 1", "b")), FAIL),
        (seen(("acme/dashboard 1", "a"), ("acme/dashboard 2", "b")), UNKNOWN),
        ({**seen(("d 1", "a"), ("d 1", "a")), STATES_DUE: 3}, UNKNOWN),
        ({}, UNKNOWN),
    ],
)
def test_users_of_one_dashboard_must_see_the_same_in_the_end(counts, status):
    assert verdict("all users see the same dashboard", run_with(counts)).status is status


@pytest.mark.parametrize(
    "sentence",
    [
        LOST,
        REACH,
        FRESH,
        "at least 100 connections stay open",
        "95% of the clients are back within 10 seconds",
    ],
)
def test_messages_and_connections_are_drawn(sentence):
    run = run_with({MISSING: 3, f"{DISCONNECTED}closed 1006": 2}, samples=[returns((3.0, "ok"))])
    drawn = charts.measure(Evidence(run), None, grammar.criterion(sentence))
    assert sentence in "".join(ET.fromstring(drawn).itertext())


def test_the_report_shows_messages_and_connections_of_a_run_and_the_curve_of_their_latency():
    evidence = Evidence(run_with())
    for draw, title in (
        (protocol_charts.messages, "Messages"),
        (protocol_charts.disconnects, "Connections, and how"),
    ):
        assert title in "".join(ET.fromstring(draw(evidence, None)).itertext())
    curve = charts.percentiles(evidence, None, timing=MESSAGE.key)
    assert "message latency (judged)" in "".join(ET.fromstring(curve).itertext())


def test_messages_that_no_journey_expects_are_drawn_too(monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        protocol_charts,
        "draw_lines",
        lambda _axes, lines: drawn.update({name: values for name, _, values in lines}),
    )
    monkeypatch.setattr(protocol_charts, "legend", lambda _axes: None)
    protocol_charts.messages(Evidence(run_with({MESSAGES_RECEIVED: 7000})), None)
    assert drawn["messages received per second"].sum() == 7000


def test_messages_that_are_missing_at_the_end_are_drawn_also_where_they_were_counted_after_the_load(
    monkeypatch,
):
    run = run_with({TAIL_LOST: 7})
    *others, last = run.worker_seconds
    early = dataclasses.replace(others[9], counts={"connections": {TAIL_LOST: 2}})
    late = dataclasses.replace(last, second=last.second + 3)
    changed = dataclasses.replace(run, worker_seconds=[*others[:9], early, *others[10:], late])
    drawn = {}

    def note(_axes, lines):
        drawn.update({name: values for name, _, values in lines})

    monkeypatch.setattr(protocol_charts, "draw_lines", note)
    monkeypatch.setattr(protocol_charts, "legend", lambda _axes: None)
    protocol_charts.messages(Evidence(changed), None)
    assert {second: values for second, values in enumerate(drawn["missing at the end"]) if values} == {
        9: 2,
        59: 7,
    }
    assert not drawn["missing"].any()
