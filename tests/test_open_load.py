"""Arrivals that do not wait for answers, simulated: who serves them, and what becomes of those that nobody serves."""

import asyncio
from dataclasses import replace
from random import Random

import pytest

from loadkit import grammar
from loadkit.criterion import Comparison
from loadkit.drivers.fake import Answer
from loadkit.recording.examples import MOST, Exchange
from loadkit.recording.slices import Kind, label_series, tenant_series
from loadkit.recording.stalls import Stall, common
from loadkit.recording.timing import QUERY, REQUEST, WORKFLOW
from loadkit.recording.traffic import LONGEST
from loadkit.tables import scan
from loadkit.target import Account, Secret, Target
from loadkit.users.accounts import accounts_in_use
from loadkit.users.arrival_queue import ArrivalQueue
from loadkit.users.open_load import DROPPED_LABEL
from loadkit.verdict import Status
from loadkit.workload.workload import MixEntry, Model, Stage, Think
from tests.builders import error_rate, judge, response_time, run_of
from tests.virtual_time import ORIGIN, accounts, after, open_plan, plan_of, quantile, simulate


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


def visits(think, **rest):
    """Twenty journeys of two pages per second, with a think time between the pages."""
    how = {"model": Model.JOURNEYS, "level": 20, "seconds": 60, **rest}
    return open_plan(journey="tests.sample_journeys:two_pages", think=think, **how)


@pytest.mark.parametrize(
    ("number", "seconds", "status"),
    [(12, 0.01, Status.INVALID), (12, 1.0, Status.FAIL), (60, 0.01, Status.PASS)],
    ids=["too few accounts", "too few accounts, and a slow service", "enough accounts"],
)
def test_a_fail_for_want_of_accounts_is_invalid(number, seconds, status):
    plan = visits(Think(0.8, 0.8))
    target = Target("fake", "http://fake", accounts=accounts(number))
    load = simulate(plan, after(seconds), target=target)
    run = run_of(load.table, plan, worker_seconds=load.worker_seconds)
    for sentence in ("the p95 response time is below 500 ms", "the mean response time is below 500 ms"):
        # One short stall of the service in the middle does not explain the waits of the whole minute.
        for each in (run, replace(run, stalls=(Stall(30.0, 31.1),))):
            verdict = judge(grammar.criterion(sentence), each)
            assert verdict.status is status, verdict.reason
            assert ("because all accounts of this load were in use" in verdict.reason) == (
                status is Status.INVALID
            )


@pytest.mark.parametrize(
    ("service", "status"),
    [(after(1.0), Status.INVALID), (after(1.0, status_code=500), Status.FAIL)],
    ids=["only dropped", "failed too"],
)
@pytest.mark.parametrize(
    "sentence",
    ["the error rate is below 1%", "availability is above 99%", "throughput is above 15 requests per second"],
)
def test_failures_for_want_of_accounts_are_invalid(service, status, sentence):
    """Five users serve 5 of 20 requests per second, and the others are dropped."""
    plan = open_plan(level=20, seconds=60, max_in_flight=30)
    load = simulate(plan, service, target=Target("fake", "http://fake", accounts=accounts(5)))
    assert load.operations(outcome="dropped") > 500
    verdict = judge(grammar.criterion(sentence), run_of(load.table, plan, worker_seconds=load.worker_seconds))
    assert verdict.status is status, verdict.reason
    assert ("all accounts of this load were in use" in verdict.reason) == (status is Status.INVALID)


@pytest.mark.parametrize(
    ("think", "seconds", "status"),
    [
        (Think(5, 5), 0.01, Status.INVALID),
        (Think(0, 0), 10.0, Status.FAIL),
        (Think(2, 2), 10.0, Status.FAIL),
        (Think(1, 1), 0.01, Status.PASS),
    ],
    ids=["they think", "they wait for the service", "few of them think", "there are enough"],
)
def test_arrivals_that_are_dropped_because_users_think_are_no_fail_of_the_service(think, seconds, status):
    plan = visits(think, max_in_flight=50)
    load = simulate(plan, after(seconds))
    verdict = judge(error_rate(0.01), run_of(load.table, plan, worker_seconds=load.worker_seconds))
    assert verdict.status is status, verdict.reason
    assert ("most of them were thinking" in verdict.reason) == (status is Status.INVALID)


def test_some_users_who_think_explain_no_arrivals_that_are_dropped():
    """At each moment, a tenth of the users think, and the others wait for the service."""
    plan = visits(Think(1, 3), seconds=120, max_in_flight=50)
    random = Random(1)
    load = simulate(plan, lambda *_: Answer(random.uniform(5, 15)))
    assert load.operations(outcome="dropped") > 1500
    verdict = judge(error_rate(0.7), run_of(load.table, plan, worker_seconds=load.worker_seconds))
    assert verdict.status is Status.FAIL, verdict.reason


@pytest.mark.parametrize(("seconds", "status"), [(0.01, Status.INVALID), (2.0, Status.FAIL)])
def test_times_of_arrivals_that_were_served_while_most_users_think_are_judged(seconds, status):
    plan = visits(Think(9, 9), max_in_flight=50)
    load = simulate(plan, after(seconds))
    verdict = judge(response_time(limit=1.0), run_of(load.table, plan, worker_seconds=load.worker_seconds))
    assert verdict.status is status, verdict.reason
    assert ("most of them were thinking" in verdict.reason) == (status is Status.INVALID)


def test_a_request_that_fails_in_the_drain_takes_no_second_arrival():
    """The backlog at the end is served in the drain by users whose journey fails each time."""
    plan = open_plan(journey="tests.sample_journeys:two_pages", level=20, seconds=10, drain=600.0)
    target = Target("fake", "http://fake", accounts=accounts(2))
    load = simulate(plan, after(1.0, failure="timeout"), target=target)
    scheduled = sum(each.count("scheduled") for each in load.worker_seconds)
    assert load.operations() == scheduled > 150


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
    stalls = [
        (each.start, each.end) for each in common([load.idle_intervals[0]]) if each.timing == REQUEST.key
    ]
    run = run_of(load.table, plan, worker_seconds=load.worker_seconds, stalls=stalls)
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


@pytest.mark.parametrize("journey", ["unrecorded", "shown_alone"])
def test_an_unrecorded_operation_does_not_hide_that_its_arrival_waited_for_a_user(journey):
    accounts = (Account("ann", Secret("x")),)
    target = Target("shop", "http://fake", accounts=accounts)
    how = {"model": Model.JOURNEYS, "level": 5, "seconds": 20, "think": Think(0, 0)}
    run = simulate(plan_of(f"tests.sample_journeys:{journey}", **how), after(0.5), target=target)
    _, _, sums = run.table.totals([label_series("GET /shown")], 0, 1 << 22)
    assert sums[:, LONGEST].max() > 10


def test_a_token_that_has_expired_at_once_makes_no_user_leave():
    plan = open_plan(journey="tests.sample_journeys:page_with_a_short_token", level=20, seconds=20)
    load = simulate(plan, after(0.01), target=Target("fake", "http://fake", accounts=accounts(5)))
    scheduled = sum(each.count("scheduled") for each in load.worker_seconds)
    assert load.operations("GET /page") == scheduled > 300
    assert load.operations(outcome="unfinished") == 0


def test_users_whose_journeys_fail_shortly_before_the_end_serve_the_last_arrivals():
    """Each of two users pauses after an arrival, and more arrive in the last tenth of a second."""
    stages = (Stage(0, 5), Stage(9.9, 5), Stage(0, 60), Stage(0.1, 60))
    plan = open_plan(journey="tests.sample_journeys:wrong_page").with_workloads(
        lambda load: replace(load, stages=stages)
    )
    load = simulate(plan, after(0.01), target=Target("fake", "http://fake", accounts=accounts(2)))
    assert load.operations(outcome="unfinished") == 0
    scheduled = sum(each.count("scheduled") for each in load.worker_seconds)
    assert load.operations("GET /page") == scheduled > 40


def test_a_workflow_does_not_include_the_wait_for_the_next_arrival():
    plan = open_plan(journey="tests.sample_journeys:visit_logged_in", level=2, seconds=60)
    load = simulate(plan, after(0.01))
    _, _, sums = load.table.totals([label_series("visit", WORKFLOW)], 0, 1 << 22)
    assert sums[:, 0].sum() > 20
    assert sums[:, LONGEST].max() == pytest.approx(0.01, rel=0.01)


@pytest.mark.parametrize("model", [Model.REQUESTS, Model.JOURNEYS])
def test_a_loop_that_continues_a_user_late_is_the_generators_time(monkeypatch, model):
    """The loop takes 30 ms from the arrival until its user continues."""
    admit = ArrivalQueue.admit

    def slowly(queue, moment):
        found = admit(queue, moment)
        asyncio.get_running_loop().clock.seconds += 0.03
        return found

    monkeypatch.setattr(ArrivalQueue, "admit", slowly)
    load = simulate(open_plan(model=model, level=5, seconds=20, think=Think(0, 0)), after(0.01))
    assert quantile(load, Kind.LATENESS, 0.5) == pytest.approx(0.03, rel=0.01)
    assert quantile(load, Kind.SERVICE, 0.5) == pytest.approx(0.01, rel=0.01)


def test_a_table_whose_rows_are_used_up_ends_the_users_of_an_open_load(tmp_path):
    (tmp_path / "t.csv").write_text("sku\n" + "a\n" * 20)
    tables = {"products": scan("products", tmp_path / "t.csv", "operation", repeat=False)}
    plan = open_plan(journey="tests.data_journeys:sell", level=20, seconds=10)
    load = simulate(plan, after(0.01), target=Target("fake", "http://fake", tables=tables))
    assert load.operations(outcome="ok") == 20
