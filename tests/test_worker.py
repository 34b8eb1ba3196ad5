"""One worker's load, simulated: virtual time, a service of given times."""

import asyncio
import contextlib
import gc
import re
from collections import Counter
from dataclasses import replace

import pytest

from loadkit import grammar
from loadkit.criterion import Comparison
from loadkit.drivers.fake import Answer
from loadkit.engine import worker
from loadkit.engine.worker import Shard, journeys_of, used_before
from loadkit.errors import ConfigurationError
from loadkit.recording import histogram as buckets
from loadkit.recording.deliveries import UNREACHED
from loadkit.recording.examples import MOST, Exchange
from loadkit.recording.messages import STATE_SEEN, STATES_DUE
from loadkit.recording.slices import Kind, label_series, tenant_series
from loadkit.recording.stalls import common
from loadkit.recording.timing import DELIVERY, QUERY, REQUEST, WORKFLOW
from loadkit.recording.traffic import LONGEST
from loadkit.recording.worker_second import (
    JOURNEY_ERROR,
    JOURNEYS,
    SENT,
    USERS,
    WITH_ERRORS,
    are_rare,
    journey_errors,
)
from loadkit.target import Account, Secret, Target
from loadkit.users.accounts import AccountKind, accounts_in_use
from loadkit.users.lifecycle import _MOST_IDLE
from loadkit.users.open_load import DROPPED_LABEL, OpenLoad
from loadkit.verdict import Status
from loadkit.workload.plan import Plan
from loadkit.workload.workload import MixEntry, Model, Stage, Think
from tests.builders import error_rate, judge, response_time, run_of
from tests.virtual_time import ORIGIN, ROOT, plan_of, simulate


def after(seconds: float, **rest):
    return lambda _now, _method, _path: Answer(seconds, **rest)


def accounts(count: int, role: str = "") -> tuple[Account, ...]:
    return tuple(
        Account(f"{role or 'user'}{number}", Secret("x"), f"tenant{number % 3}", role)
        for number in range(count)
    )


def quantile(simulation, kind: Kind, share: float, series: str = "") -> float:
    table = simulation.table
    _, _, bucket, count = table.select(kind, [series] if series else table.series, 0, 1 << 22)
    totals = Counter()
    for where, number in zip(bucket.tolist(), count.tolist(), strict=True):
        totals[where] += number
    rank, passed = share * totals.total(), 0
    for where in sorted(totals):
        passed += totals[where]
        if passed >= rank:
            return buckets.middle(where)
    raise AssertionError("empty")


# --- closed


def test_users_of_a_closed_load_wait_for_the_answer_and_think():
    # Each user does one operation in 0.1 s + 0.4 s.
    run = simulate(plan_of(level=10, seconds=30, think=Think(0.4, 0.4)), after(0.1))
    assert run.operations() == 10 * 30 / 0.5
    assert run.operations("GET /", "ok") == run.operations()


def test_a_user_with_a_pace_starts_a_journey_each_so_often_whatever_the_one_before_took():
    # A journey is 0.1 s + 0.4 s + 0.1 s.
    paced = plan_of("tests.sample_journeys:two_steps", level=10, seconds=30, think=Think(0.4, 0.4), pace=2)
    assert simulate(paced, after(0.1)).operations("GET /first/{id}") == 10 * 30 / 2


def test_a_journey_longer_than_the_pace_is_followed_at_once():
    paced = plan_of("tests.sample_journeys:two_steps", level=10, seconds=30, think=Think(0.4, 0.4), pace=0.5)
    run = simulate(paced, after(0.1))
    assert run.operations("GET /first/{id}") == pytest.approx(10 * 30 / 0.6, abs=10)
    assert quantile(run, Kind.RESPONSE, 0.99) == pytest.approx(0.1, rel=0.01)


def test_users_are_held_from_their_join_to_their_leave():
    run = simulate(plan_of(level=10, ramp=10, seconds=5), after(0.1))
    held = {worker_second.second: worker_second.gauge("held") for worker_second in run.worker_seconds}
    assert [held[second] for second in range(15)] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10, 10, 10, 10]


def test_users_who_come_with_the_start_are_held_from_the_first_second_on():
    run = simulate(plan_of(level=10, seconds=3), after(0.1))
    assert [worker_second.gauge("held") for worker_second in run.worker_seconds][:3] == [10, 10, 10]


def test_held_is_the_same_whatever_the_service_answers():
    run = simulate(plan_of(level=10, seconds=5), after(0.0, failure="refused"))
    assert [worker_second.gauge("held") for worker_second in run.worker_seconds][:5] == [10] * 5
    assert run.operations(outcome="refused") == run.operations() > 0


def test_lateness_of_a_generator_that_is_never_late_is_nothing():
    run = simulate(plan_of(level=10, seconds=10), after(0.1))
    assert quantile(run, Kind.LATENESS, 1.0) < 2e-6
    assert quantile(run, Kind.LAG, 1.0) < 2e-6


def test_response_and_service_time_are_the_services():
    run = simulate(plan_of(level=10, seconds=10), after(0.1))
    assert quantile(run, Kind.RESPONSE, 0.5) == pytest.approx(0.1, rel=2e-3)
    assert quantile(run, Kind.SERVICE, 0.5) == pytest.approx(0.1, rel=2e-3)


def test_nothing_starts_after_the_plans_end():
    run = simulate(plan_of(level=10, seconds=10), after(0.1))
    seconds = run.table.select(Kind.RESPONSE, run.table.series, 0, 1 << 22)[0]
    assert seconds.max() == 9


def test_operations_open_after_the_drain_are_unfinished():
    run = simulate(plan_of(level=3, seconds=5, drain=2.0, timeout=60.0), after(50.0))
    assert run.operations(outcome="unfinished") == run.operations() == 3
    assert quantile(run, Kind.RESPONSE, 1.0) == pytest.approx(7.0, rel=2e-3)


@pytest.mark.parametrize(
    ("model", "level", "unanswered"),
    [
        (Model.CLOSED, 3, 3),
        (Model.REQUESTS, 100, 200),  # ten users serve ten arrivals, and the others wait for a user
    ],
)
def test_the_last_report_of_a_load_that_was_cut_states_what_had_no_answer(model, level, unanswered):
    reports = []

    def emit(report) -> bool:
        reports.append(report)
        return len(reports) < 7  # in the drain

    plan = plan_of(model=model, level=level, seconds=5, drain=20.0, timeout=60.0)
    target = Target("fake", "http://fake", accounts=accounts(10))
    simulate(plan, lambda now, *_: Answer(0.01 if now < ORIGIN + 3 else 50.0), target=target, emit=emit)
    in_flight = [report.worker_second.gauge("in flight") for report in reports]
    assert in_flight[-2] == min(unanswered, 10)
    assert in_flight[-1] == pytest.approx(unanswered, rel=0.3)
    assert "unfinished" not in reports[-1].table.outcomes


def test_operations_answered_in_the_drain_count():
    run = simulate(plan_of(level=3, seconds=5, drain=5.0), after(8.0))
    assert run.operations(outcome="ok") == run.operations() == 3


def test_a_slow_answer_is_a_timeout_and_the_user_goes_on():
    run = simulate(plan_of(level=2, seconds=20, timeout=1.0, think=Think(1, 1)), after(5.0))
    assert run.operations(outcome="timeout") == run.operations() == 2 * 10


def test_stages_bring_users_and_take_them_away():
    stages = (Stage(0, 10), Stage(5, 10), Stage(0, 2), Stage(5, 2), Stage(0, 6), Stage(5, 6))
    run = simulate(plan_of(stages=stages), after(0.1))
    held = {worker_second.second: worker_second.gauge("held") for worker_second in run.worker_seconds}
    assert [held[second] for second in (2, 7, 12)] == [10, 2, 6]


def test_a_last_stage_of_no_duration_adds_nobody():
    stages = (Stage(0, 10), Stage(5, 10), Stage(0, 20))
    run = simulate(plan_of(stages=stages), after(0.1))
    assert max(worker_second.gauge("held") for worker_second in run.worker_seconds) == 10


@pytest.mark.parametrize(
    ("stages", "begins"),
    [
        ((Stage(10, 10), Stage(30, 10)), 10),
        ((Stage(5, 2), Stage(10, 2), Stage(5, 10), Stage(30, 10)), 20),
        ((Stage(10, 5), Stage(10, 8), Stage(10, 2)), 10),
        ((Stage(0, 10), Stage(30, 10)), 0),
        ((Stage(10, 10),), None),
    ],
    ids=["ramp and hold", "the highest stage", "a curve", "no ramp", "nothing is judged"],
)
def test_a_worker_settles_when_the_phase_begins_that_is_judged(stages, begins):
    moments = []

    def settle():
        moments.append(asyncio.get_running_loop().time() - ORIGIN)

    simulate(plan_of(stages=stages), after(0.1), settled=settle)
    assert moments == pytest.approx([] if begins is None else [begins], abs=0.01)


def test_the_process_of_a_worker_then_exempts_its_users_from_garbage_collections(monkeypatch):
    exempt, users = [], []

    async def live(*_arguments, settled, **_options):
        users.extend([] for _ in range(1000))
        before = gc.get_freeze_count()
        settled()
        exempt.append(gc.get_freeze_count() - before)

    class Endpoint(contextlib.nullcontext):
        def clock_offset(self, _clock):
            return 0.0

    monkeypatch.setattr(worker, "run_users", live)
    monkeypatch.setattr(worker, "allow_files", lambda _connections: None)
    thresholds = gc.get_threshold()
    try:
        worker.run_shard(
            plan_of(), Shard(0, 1, Target("fake", "http://fake"), "run-1", ROOT), 0.0, Endpoint()
        )
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)
    assert exempt[0] >= len(users) == 1000


def test_one_worker_and_four_put_on_the_same_load():
    plan = plan_of(
        level=40,
        seconds=20,
        ramp=5,
        mix=(MixEntry("tests.sample_journeys:two_steps", 0.7), MixEntry("loadkit.journey:fetch", 0.3, "eu")),
    )
    one, four = (simulate(plan, after(0.05), workers=workers) for workers in (1, 4))
    kinds = (Kind.RESPONSE, Kind.SERVICE, Kind.COMPLETED)
    series = [name for name in one.table.series if not name.startswith("worker:")]
    for kind in kinds:
        for name in series:
            ours, theirs = one.table.select(kind, [name], 0, 99), four.table.select(kind, [name], 0, 99)
            assert [column.tolist() for column in ours] == [column.tolist() for column in theirs]


def test_another_seed_is_another_load():
    first, second = (simulate(plan_of(level=10, seconds=20, seed=seed), after(0.1)) for seed in (1, 2))
    assert first.table.keys.tolist() != second.table.keys.tolist()


def test_a_stall_of_the_service_is_a_gap():
    def stalls(now, _method, _path):
        since = now - ORIGIN
        return Answer(0.01 if not 10 <= since < 13 else 13 - since)

    run = simulate(plan_of(level=50, seconds=20), stalls)
    stalls = [stall for stall in common([run.idle_intervals[0]]) if stall.seconds > 1]
    assert len(stalls) == 1
    assert stalls[0].start == pytest.approx(10, abs=0.1)
    assert stalls[0].end == pytest.approx(13, abs=0.01)


def test_a_time_in_which_all_time_out_is_one_gap():
    def stalls(now, _method, _path):
        return Answer(30.0 if 5 <= now - ORIGIN < 10 else 0.01)

    run = simulate(plan_of(level=50, seconds=20, timeout=1.0, think=Think(0.1, 0.3)), stalls)
    (stall,) = (stall for stall in common([run.idle_intervals[0]]) if stall.seconds > 1)
    assert stall.start == pytest.approx(5, abs=0.1)
    assert stall.end > 10


def test_a_load_ends_with_its_plan_however_long_its_users_think():
    run = simulate(plan_of(level=5, seconds=4, think=Think(6, 6)), after(0.1))
    assert max(worker_second.second for worker_second in run.worker_seconds) <= 4


# --- open


def open_plan(**rest):
    return plan_of(**{"model": Model.REQUESTS, "level": 50, "seconds": 20, **rest})


def test_arrivals_do_not_wait_for_answers():
    fast, slow = (simulate(open_plan(), after(seconds)) for seconds in (0.01, 2.0))
    assert fast.operations() == slow.operations() == pytest.approx(1000, rel=0.1)


def test_an_arrival_that_found_no_user_keeps_its_intended_time():
    # One at a time: 10 arrivals per second, each of a second, soon wait for each other.
    plan = open_plan(level=10, seconds=3, max_in_flight=1000, drain=60.0)
    target = Target("fake", "http://fake", accounts=accounts(1))
    run = simulate(plan, after(1.0), target=target)
    longest = quantile(run, Kind.RESPONSE, 1.0)
    assert longest > 0.8 * run.operations()
    assert quantile(run, Kind.SERVICE, 1.0) == pytest.approx(1.0, rel=2e-3)
    assert quantile(run, Kind.LATENESS, 1.0) < 2e-6, "the service held the place, not the generator"
    assert sum(worker_second.count("blocked") for worker_second in run.worker_seconds) >= run.operations() - 2
    assert sum(worker_second.count("scheduled") for worker_second in run.worker_seconds) == run.operations()


@pytest.mark.parametrize("workers", [1, 2])
def test_arrivals_that_wait_while_all_accounts_are_in_use_are_told_once_with_their_number(workers):
    plan, target = open_plan(level=20, seconds=10), Target("fake", "http://fake", accounts=accounts(5))
    (warning,) = accounts_in_use(simulate(plan, after(1.0), target=target, workers=workers).worker_seconds)
    assert warning.startswith("all accounts for the requests were in use (5). Arrivals waited for a user")
    assert warning.endswith("; name more, or let users share them (share_accounts = true)")


def test_the_accounts_of_a_role_that_are_all_in_use_are_told_with_the_role():
    mix = (MixEntry("tests.sample_journeys:administer", 0.5), MixEntry("loadkit.journey:fetch", 0.5))
    target = Target("fake", "http://fake", accounts=accounts(100) + accounts(3, "admin"))
    (warning,) = accounts_in_use(simulate(open_plan(mix=mix), after(0.5), target=target).worker_seconds)
    assert warning.startswith("all accounts with the role admin for the requests were in use (3). ")


@pytest.mark.parametrize(
    ("number", "seconds", "status"),
    [(12, 0.01, Status.INVALID), (12, 1.0, Status.FAIL), (60, 0.01, Status.PASS)],
    ids=["too few accounts", "too few accounts, and a slow service", "enough accounts"],
)
def test_a_fail_for_want_of_accounts_is_invalid(number, seconds, status):
    plan = open_plan(
        journey="tests.sample_journeys:two_pages",
        model=Model.JOURNEYS,
        level=20,
        seconds=60,
        think=Think(0.8, 0.8),
    )
    target = Target("fake", "http://fake", accounts=accounts(number))
    load = simulate(plan, after(seconds), target=target)
    run = run_of(load.table, plan, worker_seconds=load.worker_seconds)
    for sentence in ("the p95 response time is below 500 ms", "the mean response time is below 500 ms"):
        verdict = judge(grammar.criterion(sentence), run)
        assert verdict.status is status, verdict.reason
        assert ("because all accounts of this load were in use" in verdict.reason) == (
            status is Status.INVALID
        )


@pytest.mark.parametrize(
    ("accounts", "seconds", "shares"),
    [(accounts(5), 1.0, True), (accounts(1000), 1.0, False), ((), 1.0, False), (accounts(4), 0.001, False)],
    ids=["shared", "plenty", "none needed", "few, and one of them is always free"],
)
def test_accounts_that_no_arrival_waits_for_are_no_warning(accounts, seconds, shares):
    target = Target("fake", "http://fake", accounts=accounts, shares_accounts=shares)
    assert accounts_in_use(simulate(open_plan(), after(seconds), target=target).worker_seconds) == ()


@pytest.mark.parametrize(("model", "label"), [(Model.REQUESTS, "GET /"), (Model.JOURNEYS, "(dropped)")])
def test_arrivals_that_still_wait_for_a_user_when_the_drain_ends_are_unfinished(model, label):
    # One at a time: of 100 arrivals, a user who takes a second for each serves 15 before the drain ends.
    target = Target("fake", "http://fake", accounts=accounts(1))
    patient, run = (
        simulate(open_plan(model=model, level=10, seconds=10, drain=drain), after(1.0), target=target)
        for drain in (1000.0, 5.0)
    )
    assert run.operations(outcome="ok") <= 15
    assert run.operations() == patient.operations() == patient.operations(outcome="ok") > 80
    assert run.operations(outcome="unfinished") == run.operations() - run.operations(outcome="ok")
    assert run.operations(label, "unfinished") >= run.operations(outcome="unfinished") - 1
    assert sum(worker_second.count("scheduled") for worker_second in run.worker_seconds) == run.operations()
    assert sum(worker_second.count("dropped") for worker_second in run.worker_seconds) == 0
    unserved = [each for each in run.examples if each.outcome == "unfinished" and each.user is None]
    assert len(unserved) == MOST
    assert all(each.at > 0 and each.seconds > 4 and each.tenant == "tenant0" for each in unserved)


def test_a_service_that_hangs_near_the_end_fails_although_most_arrivals_never_get_a_user():
    plan = open_plan(level=100, seconds=60)
    target = Target("fake", "http://fake", accounts=accounts(2000), journeys="tests.sample_journeys.arriving")
    load = simulate(
        plan, lambda now, _method, _path: Answer(0.01 if now < ORIGIN + 51 else 1000.0), target=target
    )
    run = run_of(load.table, plan, worker_seconds=load.worker_seconds)
    verdict = judge(error_rate(0.01), run)
    assert verdict.status is Status.FAIL, verdict.reason
    assert verdict.measured == pytest.approx(9 / 60, rel=0.2)
    assert judge(response_time(comparison=Comparison.NEVER_EXCEEDS), run).status is Status.FAIL


def test_arrivals_beyond_the_most_in_flight_are_dropped_and_counted():
    run = simulate(open_plan(max_in_flight=10, timeout=60.0, drain=60.0), after(30.0))
    assert run.operations(outcome="dropped") == sum(
        worker_second.count("dropped") for worker_second in run.worker_seconds
    )
    assert run.operations(outcome="dropped") == run.operations() - 10
    nobodys = [each for each in run.examples if each.outcome == "dropped"]
    assert len(nobodys) == MOST
    assert {(each.label, each.user, each.exchange) for each in nobodys} == {("GET /", None, Exchange())}


def test_a_dropped_arrival_counts_against_what_it_would_have_become():
    mix = (
        MixEntry("loadkit.journey:fetch", 0.5, arguments=(("path", "/a"),)),
        MixEntry("tests.sample_journeys:two_steps", 0.5),
    )
    run = simulate(open_plan(level=200, seconds=50, mix=mix, max_in_flight=60, timeout=60.0), after(0.5))
    dropped = {
        label: run.operations(label, "dropped") for label in ("GET /a", "GET /first/{id}", "POST /second")
    }
    assert sum(dropped.values()) == run.operations(outcome="dropped") > 1000
    assert dropped["GET /a"] / sum(dropped.values()) == pytest.approx(0.5, abs=0.05)
    assert dropped["POST /second"] == pytest.approx(dropped["GET /first/{id}"], rel=0.2)


@pytest.mark.parametrize(("max_in_flight", "outcome"), [(10, "dropped"), (5000, "unfinished")])
def test_an_arrival_that_would_have_become_a_query_fails_as_a_query(max_in_flight, outcome):
    plan = open_plan(
        journey="tests.sample_journeys:slow_query",
        level=100,
        seconds=10,
        max_in_flight=max_in_flight,
        drain=5.0,
    )
    run = simulate(plan, after(1.0), target=Target("fake", "http://fake", accounts=accounts(20)))
    failed, number = counted(run, outcome, label_series("all events", QUERY))
    assert failed > 500
    assert number == pytest.approx(1000, rel=0.15)
    assert run.operations() == 0, "none is a request"
    of_tenants = [counted(run, outcome, tenant_series(f"tenant{place}", QUERY))[0] for place in range(3)]
    assert min(of_tenants) > 100
    assert sum(of_tenants) == failed


@pytest.mark.parametrize(("max_in_flight", "outcome"), [(10, "dropped"), (5000, "unfinished")])
def test_a_journey_of_queries_that_nobody_begins_fails_as_a_query(max_in_flight, outcome):
    plan = open_plan(
        journey="tests.sample_journeys:slow_query",
        model=Model.JOURNEYS,
        level=100,
        seconds=10,
        max_in_flight=max_in_flight,
        drain=5.0,
    )
    run = simulate(plan, after(1.0), target=Target("fake", "http://fake", accounts=accounts(20)))
    failed = counted(run, outcome, label_series(DROPPED_LABEL, QUERY))[0]
    assert failed > 500
    # Before the first query has ended, nobody knows what a journey does.
    assert run.operations(DROPPED_LABEL, outcome) < 200
    (unserved,) = {
        (each.user, each.service, each.timing) for each in run.examples if each.label == DROPPED_LABEL
    } - {(None, None, REQUEST.key)}
    assert unserved == (None, None, QUERY.key)
    of_tenants = [counted(run, outcome, tenant_series(f"tenant{place}", QUERY))[0] for place in range(3)]
    in_flight = counted(run, outcome, label_series("all events", QUERY))[0]
    assert sum(of_tenants) == failed + in_flight


def test_the_time_of_a_workflow_contains_the_wait_of_its_arrival_for_a_user():
    journey = "tests.sample_journeys:visit_logged_in"
    plan = open_plan(journey=journey, model=Model.JOURNEYS, level=20, seconds=20, timeout=60.0)
    target = Target("fake", "http://fake", accounts=accounts(5))
    run = simulate(plan, lambda _, __, path: Answer(0.5 if path == "/page" else 0.01), target=target)
    visits, pages = label_series("visit", WORKFLOW), label_series("GET /page")
    assert quantile(run, Kind.RESPONSE, 1.0, pages) > 15.0, "half of the arrivals wait"
    for share in (0.5, 1.0):
        longest = quantile(run, Kind.RESPONSE, share, pages)
        assert quantile(run, Kind.RESPONSE, share, visits) == pytest.approx(longest, abs=0.1)
    assert quantile(run, Kind.SERVICE, 1.0, visits) < 0.6


def test_a_journey_that_waited_for_a_user_ends_in_the_drain():
    plan = open_plan(
        journey="tests.sample_journeys:page_and_query",
        model=Model.JOURNEYS,
        level=20,
        seconds=20,
        timeout=60.0,
        drain=10.0,
    )
    target = Target("fake", "http://fake", accounts=accounts(5))
    run = simulate(plan, lambda _, __, path: Answer(0.5 if path == "/page" else 0.01), target=target)
    visits, pages = (
        counted(run, "ok", label_series(*of)) for of in (("visit", WORKFLOW), ("GET /page", REQUEST))
    )
    assert visits[0] >= pages[0] - 5, "the end of the drain cuts off one for each user"
    assert pages[0] == pytest.approx(5 * 30 / 0.51, rel=0.05)


@pytest.mark.parametrize("journey", ["page_and_query", "query_and_page"])
def test_a_journey_that_nobody_begins_fails_as_each_kind_of_operation_and_workflow_that_it_would_have(
    journey,
):
    plan = open_plan(
        journey=f"tests.sample_journeys:{journey}",
        model=Model.JOURNEYS,
        level=100,
        seconds=60,
        timeout=60.0,
        drain=5.0,
    )
    target = Target("fake", "http://fake", accounts=accounts(30))
    load = simulate(plan, lambda now, *_: Answer(0.01 if now < ORIGIN + 36 else 1000.0), target=target)
    for timing in (REQUEST, QUERY, WORKFLOW):
        unserved = counted(load, "unfinished", label_series(DROPPED_LABEL, timing))[0]
        assert unserved == pytest.approx(2400, rel=0.1)
    run = run_of(load.table, plan, worker_seconds=load.worker_seconds)
    for criterion in (
        response_time(comparison=Comparison.NEVER_EXCEEDS),
        grammar.criterion("the p95 query time never exceeds 500 ms"),
        grammar.criterion("the p95 workflow time never exceeds 500 ms"),
        grammar.criterion("the workflow success rate is above 99%"),
    ):
        verdict = judge(criterion, run)
        assert verdict.status is Status.FAIL, verdict.reason


def test_a_journey_that_nobody_begins_fails_as_a_query_as_often_as_others_have_one():
    plan = open_plan(
        journey="tests.sample_journeys:seldom_a_query",
        model=Model.JOURNEYS,
        level=100,
        seconds=60,
        drain=5.0,
    )
    target = Target("fake", "http://fake", accounts=accounts(30))
    run = simulate(plan, lambda now, *_: Answer(0.01 if now < ORIGIN + 40 else 1000.0), target=target)
    failed = counted(run, "unfinished", label_series(DROPPED_LABEL))[0]
    assert failed == pytest.approx(2000, rel=0.1)
    assert counted(run, "unfinished", label_series(DROPPED_LABEL, QUERY))[0] / failed == pytest.approx(
        0.1, abs=0.03
    )


@pytest.mark.parametrize(("max_in_flight", "outcome"), [(10, "dropped"), (5000, "unfinished")])
def test_a_journey_that_nobody_begins_fails_as_a_workflow_although_no_request_was_ever_answered(
    max_in_flight, outcome
):
    plan = open_plan(
        journey="tests.sample_journeys:page_and_query",
        model=Model.JOURNEYS,
        level=100,
        seconds=20,
        timeout=1.0,
        max_in_flight=max_in_flight,
        drain=5.0,
    )
    run = simulate(plan, after(5.0), target=Target("fake", "http://fake", accounts=accounts(20)))
    workflows, requests = (
        counted(run, outcome, label_series(DROPPED_LABEL, timing))[0] for timing in (WORKFLOW, REQUEST)
    )
    # What the first journeys are is unknown until one of them ends.
    assert workflows == pytest.approx(requests, rel=0.1)
    assert requests > 1000
    assert counted(run, outcome, label_series(DROPPED_LABEL, QUERY))[0] == 0


def counted(run, outcome: str, series: str) -> tuple[int, int]:
    """How many samples of a series have an outcome, and how many there are."""
    _, outcomes, sums = run.table.totals([series], 0, 1 << 22)
    return int(sums[outcomes == run.table.outcomes.index(outcome), 0].sum()), int(sums[:, 0].sum())


def test_arrivals_of_one_tenant_that_found_no_user_are_of_that_tenant():
    plan = open_plan(level=100, seconds=10, drain=5.0)
    plan = replace(plan, populations=(replace(plan.populations[0], tenant="tenant1"),))
    target = Target("fake", "http://fake", accounts=accounts(30), journeys="tests.sample_journeys.arriving")
    run = simulate(plan, after(1000.0), target=target)
    failed = run.operations(outcome="unfinished")
    assert failed > 500
    assert counted(run, "unfinished", tenant_series("tenant1"))[0] == failed


def test_a_worker_without_a_user_records_its_arrivals_as_unfinished():
    target = Target("fake", "http://fake", accounts=accounts(1))
    run = simulate(open_plan(level=100, seconds=10, drain=5.0), after(0.001), target=target, workers=2)
    assert run.operations(outcome="ok") == pytest.approx(500, rel=0.1)
    assert run.operations(outcome="unfinished") == pytest.approx(500, rel=0.1)


def test_what_a_dropped_journey_would_have_begun_with_nobody_knows():
    plan = open_plan(model=Model.JOURNEYS, level=200, max_in_flight=10, timeout=60.0)
    run = simulate(plan, after(30.0))
    assert run.operations("(dropped)") == run.operations(outcome="dropped") > 0


def test_requests_are_drawn_from_the_mix_by_its_shares():
    mix = (
        MixEntry("loadkit.journey:fetch", 0.8, arguments=(("path", "/often"),)),
        MixEntry("loadkit.journey:fetch", 0.2, arguments=(("path", "/seldom"),)),
    )
    run = simulate(open_plan(level=200, seconds=50, mix=mix), after(0.01))
    assert run.operations("GET /often") / run.operations() == pytest.approx(0.8, abs=0.02)


def test_arrivals_pace_requests_and_users_do_not_think():
    plan = open_plan(journey="tests.sample_journeys:two_steps", level=40, seconds=20)
    run = simulate(plan, after(0.01))
    assert run.operations() == pytest.approx(800, rel=0.1)
    assert run.operations("GET /first/{id}") == pytest.approx(run.operations("POST /second"), abs=10)


def test_journeys_start_by_plan_and_think_in_between():
    plan = open_plan(
        model=Model.JOURNEYS,
        journey="tests.sample_journeys:two_steps",
        level=5,
        seconds=20,
        think=Think(1, 1),
    )
    run = simulate(plan, after(0.01))
    starts = run.operations("GET /first/{id}")
    assert starts == pytest.approx(100, rel=0.3)
    assert 0 <= starts - run.operations("POST /second") <= 12, "those whose second step lay behind the end"
    assert quantile(run, Kind.RESPONSE, 1.0) == pytest.approx(0.01, rel=2e-3)


def test_four_workers_share_the_arrivals():
    one, four = (simulate(open_plan(), after(0.01), workers=workers) for workers in (1, 4))
    assert one.operations() == four.operations()


def test_no_users_are_held_in_an_open_load():
    assert {
        worker_second.gauge("held") for worker_second in simulate(open_plan(), after(0.01)).worker_seconds
    } == {0}


# --- journeys that fail


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


# --- accounts and arrivals


def test_users_of_a_role_get_its_accounts_and_each_its_own():
    mix = (MixEntry("tests.sample_journeys:administer", 0.5), MixEntry("loadkit.journey:fetch", 0.5))
    target = Target("fake", "http://fake", accounts=accounts(10) + accounts(10, "admin"))
    seen = set()

    def service(_now, _method, path):
        seen.add(path)
        return Answer(0.1)

    run = simulate(plan_of(level=20, seconds=5, mix=mix), service, target=target, workers=2)
    assert run.operations("as admin") > 0
    assert {path for path in seen if "/admin/" in path} == {f"/admin/admin{number}" for number in range(10)}
    assert set(run.table.names("tenant:")) == {"tenant0", "tenant1", "tenant2"}


ADMINISTER = (MixEntry("tests.sample_journeys:administer", 1.0),)


def sent_by_population(run) -> Counter:
    sent = Counter()
    for each in run.worker_seconds:
        sent.update({name: counts.get(SENT, 0) for name, counts in each.counts.items()})
    return sent


def together(**populations) -> Plan:
    """A plan of several populations, by their names; a tuple has the tenant of the population, too."""
    several = []
    for name, stated in populations.items():
        plan, tenant = stated if isinstance(stated, tuple) else (stated, "")
        several.append(replace(plan.populations[0], name=name, tenant=tenant))
    return replace(plan_of(seconds=5), populations=tuple(several))


def test_open_loads_take_the_accounts_that_closed_loads_leave():
    """However many users an open load may need: more than there are accounts."""
    closed = plan_of(level=2, seconds=5, mix=ADMINISTER)
    arriving = open_plan(level=3, seconds=5, mix=ADMINISTER)
    plan = together(first=closed, arrivals=arriving, last=closed, more=arriving)
    before = [each.accounts[AccountKind("admin")] for each in used_before(plan, journeys_of(plan, ROOT))]
    assert before[:4] == [0, 4, 2, 4]
    used = Counter()

    def service(_now, _method, path):
        used[path] += 1
        return Answer(0.1)

    run = simulate(plan, service, target=Target("fake", "http://fake", accounts=accounts(8, "admin")))
    assert run.operations(outcome="ok") == run.operations() == sum(used.values())
    assert len(used) == 8
    assert min(sent_by_population(run)[name] for name in ("first", "arrivals", "last", "more")) > 0


@pytest.mark.parametrize(
    ("workers", "noisy"), [(1, 1), (2, 2), (2, 3)], ids=["one account", "one a worker", "three for two"]
)
def test_arrivals_of_a_noisy_tenant_with_few_accounts_are_sent(workers, noisy):
    usual = tuple(Account(f"acme{number}", Secret("x"), "acme") for number in range(20))
    # The users of one tenant have half of its accounts.
    loud = tuple(Account(f"globex{number}", Secret("x"), "globex") for number in range(2 * noisy))
    plan = together(requests=open_plan(level=100), globex=(open_plan(level=44), "globex"))
    target = Target("fake", "http://fake", accounts=(*usual, *loud))
    run = simulate(plan, after(0.001), target=target, workers=workers)
    assert sent_by_population(run)["globex"] == pytest.approx(44 * 20, rel=0.15)
    assert run.operations(outcome="ok") == run.operations()


def test_arrivals_that_alone_need_a_role_are_sent_with_one_account_of_it():
    plan = together(requests=open_plan(), admins=open_plan(model=Model.JOURNEYS, level=20, mix=ADMINISTER))
    target = Target("fake", "http://fake", accounts=accounts(20) + accounts(1, "admin"))
    run = simulate(plan, after(0.001), target=target)
    assert run.operations("as admin", "ok") == pytest.approx(20 * 20, rel=0.2)


def test_arrivals_that_alone_need_a_role_have_all_accounts_of_it():
    plan = together(requests=open_plan(), admins=open_plan(mix=ADMINISTER))
    target = Target("fake", "http://fake", accounts=accounts(200) + accounts(7, "admin"))
    (warning,) = accounts_in_use(simulate(plan, after(1.0), target=target).worker_seconds)
    assert warning.startswith("all accounts with the role admin for the admins were in use (7). ")


def test_each_entry_of_a_mix_of_arrivals_has_a_user_before_any_has_more_than_it_needs():
    mix = tuple(
        MixEntry("loadkit.journey:fetch", share, arguments=(("path", f"/{number}"),))
        for number, share in enumerate((0.4, 0.3, 0.2, 0.1))
    )
    plan = open_plan(level=100, mix=mix, seconds=60)
    run = simulate(plan, after(0.01), target=Target("fake", "http://fake", accounts=accounts(10)))
    assert run.operations(outcome="ok") == run.operations() == pytest.approx(6000, rel=0.1)
    assert quantile(run, Kind.RESPONSE, 0.99) < 0.1


def test_each_open_load_has_users_at_the_start_before_any_has_all_accounts():
    """The first load would like 102 users at the start, and can do with ten."""
    plan = together(requests=open_plan(level=1000, seconds=5), inserts=open_plan(level=500, seconds=5))
    target = Target("fake", "http://fake", accounts=accounts(100))
    run = simulate(plan, after(0.01), target=target)
    assert run.operations(outcome="ok") == run.operations()
    assert quantile(run, Kind.RESPONSE, 0.99) < 0.02


def test_users_arrive_unrecorded_before_their_first_operation():
    target = Target("fake", "http://fake", accounts=accounts(5), journeys="tests.sample_journeys.arriving")
    logins = []

    def service(now, _method, path):
        if path == "/login":
            logins.append(now)
        return Answer(0.1)

    run = simulate(plan_of("tests.sample_journeys.arriving:work", level=5, seconds=5), service, target=target)
    assert len(logins) == 5
    assert max(logins) < ORIGIN
    assert run.operations(outcome="ok") == run.operations()
    assert len(run.table.names("label:")) == 5


def test_users_of_a_ramp_arrive_shortly_before_they_join():
    target = Target("fake", "http://fake", accounts=accounts(100), journeys="tests.sample_journeys.arriving")
    logins = []

    def service(now, _method, path):
        if path == "/login":
            logins.append(now - ORIGIN)
        return Answer(0.1)

    simulate(
        plan_of("tests.sample_journeys.arriving:work", level=100, ramp=50, seconds=5), service, target=target
    )
    assert len(logins) == 100
    assert max(logins) == pytest.approx(50 - 0.25 - 3, abs=0.1)


def test_a_failing_arrival_is_counted_tried_again_and_the_user_is_held_all_the_same():
    target = Target("fake", "http://fake", accounts=accounts(5), journeys="tests.sample_journeys.arriving")

    def service(now, _method, path):
        if path == "/login" and now < ORIGIN + 3:
            return Answer(0.1, status_code=500)
        return Answer(0.1)

    run = simulate(
        plan_of("tests.sample_journeys.arriving:work", level=5, seconds=10), service, target=target
    )
    assert run.operations("(arrival)", "status 500") == 5 * 4
    assert [worker_second.gauge("held") for worker_second in run.worker_seconds][:10] == [5] * 10
    late = quantile(run, Kind.RESPONSE, 1.0)
    assert late == pytest.approx(3.4, abs=0.3), "the first operation should have started when the user joined"


@pytest.mark.parametrize(("status", "is_mistake"), [(200, True), (503, False)])
def test_a_mistake_in_arrive_is_counted_apart_from_operations_unless_the_service_failed(status, is_mistake):
    target = Target("fake", "http://fake", accounts=accounts(5), journeys="tests.sample_journeys.misspelt")
    plan = plan_of("tests.sample_journeys.misspelt:idle", level=5, seconds=10)
    run = simulate(plan, after(0.1, status_code=status), target=target)
    if is_mistake:
        assert run.operations() == 0
        assert re.fullmatch(
            r"the preparation of users \(arrive\) itself failed: KeyError: 'token' at "
            r"tests/sample_journeys/misspelt\.py:\d+, met by 5 of 5 users, \d\d times",
            journey_errors(run.worker_seconds),
        )
    else:
        assert journey_errors(run.worker_seconds) == ""
        assert run.operations("(arrival)", "error: KeyError") == run.operations() > 0
    assert [each.gauge("held") for each in run.worker_seconds][:10] == [5] * 10


# --- orders and mishaps


@pytest.mark.parametrize("model", [Model.CLOSED, Model.REQUESTS])  # arrivals wait for a user, too
def test_a_worker_that_is_told_to_stop_ends_within_the_second_and_blames_nobody(model):
    reports = []

    def emit(report):
        reports.append(report)
        return len(reports) < 3

    target = Target("fake", "http://fake", accounts=accounts(5))
    simulate(plan_of(model=model, level=5, seconds=60, timeout=50.0), after(40.0), emit=emit, target=target)
    assert [report.worker_second.second for report in reports] == [0, 1, 2, 3]
    assert all(len(report.table.cells) == 0 for report in reports)


def test_each_second_has_one_beat():
    run = simulate(plan_of(level=5, seconds=10), after(0.1))
    assert [worker_second.second for worker_second in run.worker_seconds] == list(
        range(len(run.worker_seconds))
    )


def test_a_worker_that_is_not_ready_in_time_says_so():
    plan = plan_of(level=5, seconds=10)
    with pytest.raises(TimeoutError, match=r"worker 0 was ready 2\.0 s after the start instant"):
        simulate(plan, after(0.1), late=2.0)


def test_a_journey_that_is_not_there_is_a_configuration_error():
    with pytest.raises(ConfigurationError, match=r'no journey at "tests\.sample_journeys:nowhere"'):
        simulate(plan_of("tests.sample_journeys:nowhere"), after(0.1))


def test_an_error_of_the_engine_ends_the_load_with_that_error():
    def explode():
        raise AssertionError("the engine's own")

    def service(now, _method, _path):
        if now > ORIGIN + 2:
            asyncio.get_running_loop().call_soon(explode)
        return Answer(0.1)

    with pytest.raises(AssertionError, match="the engine's own"):
        simulate(plan_of(level=1, seconds=4), service)


def test_an_error_while_arrivals_are_admitted_ends_the_load(monkeypatch):
    def fail(*_):
        raise LookupError("no such account")

    monkeypatch.setattr(OpenLoad, "_add_user", fail)
    with pytest.raises(ExceptionGroup) as raised:
        simulate(plan_of(model=Model.REQUESTS, level=10, seconds=3), after(0.01))
    assert raised.group_contains(LookupError)


def test_an_error_amid_arrivals_ends_the_load(monkeypatch):
    admit, times = OpenLoad._admit, []

    def fail_later(self, pool, moment):
        times.append(moment)
        if len(times) == 7:
            raise LookupError("no such account")
        admit(self, pool, moment)

    monkeypatch.setattr(OpenLoad, "_admit", fail_later)
    with pytest.raises(ExceptionGroup) as raised:
        simulate(plan_of(model=Model.REQUESTS, level=10, seconds=3), after(0.01))
    assert raised.group_contains(LookupError)
    assert len(times) == 7


# --- groups of users


def test_users_who_share_something_have_the_number_of_their_group_and_one_tenant():
    plan = plan_of("tests.sample_journeys:sharing", level=20, seconds=5)
    plan = replace(plan, populations=(replace(plan.populations[0], group=5),))
    target = Target("fake", "http://fake", accounts=accounts(60))
    seen = set()

    def service(_now, _method, path):
        seen.add(path)
        return Answer(0.1)

    simulate(plan, service, target=target, workers=2)
    shared = Counter(path.rpartition("/")[0] for path in seen)
    assert sorted(shared.values()) == [5] * 4, seen
    assert {path.split("/")[2] for path in shared} == {"0", "1", "2", "3"}


def test_a_write_that_reaches_nobody_is_a_failed_delivery_of_the_second_of_its_acknowledgement():
    plan = plan_of(
        "tests.sample_journeys:announcing", level=1, seconds=30, think=Think(0.9, 0.9), timeout=5.0
    )
    run = simulate(plan, after(0.1))
    # A write each second: those of the last time-out are not known.
    series = [label_series("stream", DELIVERY)]
    second, outcome, sums = run.table.totals(series, 0, 1 << 22)
    seconds = {
        run.table.outcomes[place]: [
            int(at) for at, which in zip(second, outcome, strict=True) if which == place
        ]
        for place in set(outcome.tolist())
    }
    assert seconds == {"ok": list(range(1, 30, 2)), UNREACHED: list(range(0, 25, 2))}
    assert sums[:, 0].tolist() == [1] * 28
    assert run.operations("POST /write", "ok") == 30


def test_a_write_that_reaches_nobody_is_found_although_no_other_write_is_acknowledged():
    plan = plan_of("tests.sample_journeys:announcing", level=1, seconds=15, think=Think(1, 1), timeout=5.0)
    answers = iter([Answer(0.1)])
    run = simulate(plan, lambda *_: next(answers, Answer(60.0)))
    _, outcome, sums = run.table.totals([label_series("stream", DELIVERY)], 0, 1 << 22)
    assert [run.table.outcomes[place] for place in outcome] == [UNREACHED]
    assert sums[:, 0].tolist() == [1]


def test_a_user_who_leaves_before_the_end_is_not_asked_for_the_state_that_it_saw():
    stages = (Stage(0, 4), Stage(10, 4), Stage(0, 2), Stage(10, 2))
    run = simulate(plan_of("tests.sample_journeys:telling", stages=stages), after(0.1))
    counts = Counter()
    for each in run.worker_seconds:
        for of_population in each.counts.values():
            counts.update(of_population)
    assert counts[STATES_DUE] == 2
    assert sum(number for name, number in counts.items() if name.startswith(STATE_SEEN)) == 2


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


def test_a_token_that_expires_during_a_pause_is_renewed_before_the_next_journey():
    asked = []

    def service(now, _method, path):
        asked.append((path, now))
        return Answer(0.01)

    simulate(plan_of("tests.sample_journeys:with_a_token", level=1, seconds=500, pace=120.0), service)
    of_tokens = [place for place, (path, _) in enumerate(asked) if path == "/token"]
    assert len(of_tokens) == 4
    assert all(asked[place + 1][1] - asked[place][1] < 1.0 for place in of_tokens)


@pytest.mark.parametrize("journey", ["unrecorded", "shown_alone"])
def test_an_unrecorded_operation_does_not_hide_that_its_arrival_waited_for_a_user(journey):
    accounts = (Account("ann", Secret("x")),)
    target = Target("shop", "http://fake", accounts=accounts)
    how = {"model": Model.JOURNEYS, "level": 5, "seconds": 20, "think": Think(0, 0)}
    run = simulate(plan_of(f"tests.sample_journeys:{journey}", **how), after(0.5), target=target)
    _, _, sums = run.table.totals([label_series("GET /shown")], 0, 1 << 22)
    assert sums[:, LONGEST].max() > 10
