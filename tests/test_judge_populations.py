"""Several loads in one run: each is held, sent and corrected on its own account; a timing is judged on its own."""

import dataclasses

import numpy as np
import pytest

from loadkit.criterion import Comparison, Criterion, Family, Measure, Scope, ScopeKind, Unit
from loadkit.judging.evidence import EVERYTHING, Evidence
from loadkit.judging.health import health
from loadkit.judging.omission import shared
from loadkit.recording.slices import SliceTable
from loadkit.recording.stalls import Stall
from loadkit.recording.timing import MESSAGE
from loadkit.recording.traffic import Traffic
from loadkit.recording.worker_second import BLOCKED, HELD, SCHEDULED, SENT, WorkerSecond
from loadkit.recording.worker_second import USERS as WORKERS_USERS
from loadkit.verdict import Status, Window
from loadkit.workload.plan import Plan, Population
from loadkit.workload.workload import MixEntry, Model, Stage, Workload
from tests.builders import error_rate, judge, response_time, run_of, samples_of, throughput

MIX = (MixEntry("journeys:browse", 1.0),)
USERS = Population("users", Workload(Model.CLOSED, (Stage(0, 100), Stage(300, 100)), MIX))
ANALYSTS = Population("analysts", Workload(Model.CLOSED, (Stage(0, 10), Stage(300, 10)), MIX))
INSERTS = Population("inserts", Workload(Model.REQUESTS, (Stage(0, 50), Stage(300, 50)), MIX))
OF_USERS, OF_ANALYSTS, OF_INSERTS = (
    Scope(ScopeKind.POPULATION, name) for name in ("users", "analysts", "inserts")
)


def worker_seconds(held=None, sent=None, counts=None):
    """A healthy worker: users and analysts held as stated, a hundred and ten due in each second, unless told otherwise."""
    gauges = {
        "users": {HELD: 100.0},
        "analysts": {HELD: 10.0},
    } | {name: {HELD: float(number)} for name, number in (held or {}).items()}
    counts = {
        name: {SCHEDULED: due, SENT: (sent or {}).get(name, due)}
        for name, due in (("users", 100), ("analysts", 10), ("inserts", 50))
    } | (counts or {})
    return [WorkerSecond(0, second, 0.1, 0.001, 50_000_000, 0.0, counts, gauges) for second in range(300)]


def run_with(*populations, frozen=None, stalls=(), slow=(), **worker):
    """Users and analysts of 20 ms each; `slow` populations take a second; `frozen` ones wait from 100 s to 120 s."""
    table, draw = SliceTable(), np.random.default_rng(1)
    for population in populations:
        rate = {"users": 100, "analysts": 10, "inserts": 50}[population.name]
        starts = np.sort(draw.uniform(0, 300, 300 * rate))
        times = draw.exponential(0.02, len(starts)) + (1.0 if population.name in slow else 0.0)
        if population.name == frozen:
            asked = (starts < 100.5) | (starts > 120)
            starts, times = starts[asked], times[asked]
            waiting = (starts >= 100) & (starts < 120)
            times[waiting] = 120 - starts[waiting]
        label = f"GET /{population.name}"
        table.record(samples_of(starts, times, label), population=population.name)
    run = run_of([], Plan("local", populations), worker_seconds=worker_seconds(**worker))
    return dataclasses.replace(run, table=table, stalls=tuple(stalls))


@pytest.mark.parametrize("scope", [EVERYTHING, OF_USERS, OF_ANALYSTS])
def test_a_population_that_was_not_held_makes_every_verdict_invalid_and_is_named(scope):
    assert judge(response_time(scope=scope), run_with(USERS, ANALYSTS)).status is Status.PASS
    # Ninety-nine of a hundred and ten in all would be enough.
    verdict = judge(response_time(scope=scope), run_with(USERS, ANALYSTS, held={"analysts": 9}))
    assert verdict.status is Status.INVALID
    assert "Only 9 of 10 analysts were held" in verdict.reason


def test_a_population_that_was_not_sent_is_named_although_the_whole_was_sent():
    run = run_with(USERS, ANALYSTS, sent={"analysts": 5})
    state = health(run, Window(0, 300))
    assert state.status == "invalid"
    assert state.reasons == ("its ratio of sent to due operations was 50 % for the analysts, below 98 %",)
    assert state.unhealthy.all()
    assert judge(response_time(), run).status is Status.INVALID
    assert health(run_with(USERS, ANALYSTS), Window(0, 300)).status == "ok"


def test_an_open_population_without_any_user_makes_every_verdict_invalid_and_is_named():
    """The arrivals that wait for a user are blocked, and so no check of the generator sees them."""
    blocked = {SCHEDULED: 50, BLOCKED: 50}
    for scope in (EVERYTHING, OF_USERS):
        verdict = judge(response_time(scope=scope), run_with(USERS, INSERTS, counts={"inserts": blocked}))
        assert verdict.status is Status.INVALID
        assert "None of the inserts that were due was sent, because the load had no user" in verdict.reason


@pytest.mark.parametrize(
    "counts",
    [
        {"inserts": {SCHEDULED: 50, BLOCKED: 50, WORKERS_USERS: 1}},
        {"inserts": {}},
        {"inserts": {SCHEDULED: 50, SENT: 50}},
        {"users": {SCHEDULED: 50, BLOCKED: 50}},
    ],
    ids=["all users are held up", "nothing was due", "stored without users", "closed"],
)
def test_a_population_whose_users_the_service_holds_up_had_users(counts):
    assert Evidence(run_with(USERS, INSERTS, counts=counts)).not_held(Window(0, 300)) == ""


def test_a_criterion_of_a_population_speaks_of_its_operations_alone():
    run = run_with(USERS, ANALYSTS, slow=("analysts",))
    assert judge(response_time(scope=OF_USERS), run).status is Status.PASS
    assert judge(response_time(scope=OF_ANALYSTS), run).status is Status.FAIL
    assert judge(error_rate(scope=OF_ANALYSTS), run).samples == 3000


FREEZE = [Stall(100.5, 120.0, "users")]


@pytest.mark.parametrize(
    ("scope", "kept_away"),
    [(OF_USERS, 1950), (EVERYTHING, 1950), (OF_INSERTS, 0), (Scope(ScopeKind.LABEL, "GET /inserts"), 0)],
)
def test_each_population_is_corrected_by_its_own_stalls(scope, kept_away):
    """An open load beside it goes on: nothing keeps its arrivals away."""
    evidence = Evidence(run_with(USERS, INSERTS, frozen="users", stalls=FREEZE))
    corrected = evidence.corrected(0.5, scope)
    assert corrected.corrected == pytest.approx(kept_away, rel=0.05)
    assert corrected.size == evidence.traffic(scope).size + corrected.corrected
    assert (corrected.histogram().sum(), corrected.per_second().sum()) == (corrected.size, corrected.size)


def test_operations_of_whom_is_not_told_are_corrected_where_every_population_stands_still():
    """And by their own waits: fifty of them wait from 100.5 s on, of which the shared stall covers half."""
    label = Scope(ScopeKind.LABEL, "GET /users")
    for stalls, prevented in (
        (FREEZE, 50 * 19.25),
        ([*FREEZE, Stall(110.0, 130.0, "inserts")], 1000 + 50 * 9.25),
    ):
        evidence = Evidence(run_with(USERS, INSERTS, frozen="users", stalls=stalls))
        assert evidence.corrected(0.5, label).corrected == pytest.approx(prevented, rel=0.05)


def test_a_population_without_operations_of_a_kind_does_not_hide_that_they_stood_still():
    label = Scope(ScopeKind.LABEL, "GET /users")
    run = run_with(USERS, frozen="users", stalls=FREEZE)
    evidence = Evidence(dataclasses.replace(run, plan=Plan("local", (USERS, INSERTS))))
    assert evidence.corrected(0.5, label).corrected == pytest.approx(1950, rel=0.05)


def test_stalls_that_several_share_are_where_they_overlap():
    ones = [Stall(0, 10), Stall(20, 30), Stall(40, 50)]
    others = [Stall(5, 22), Stall(28, 29), Stall(60, 70)]
    assert [(each.start, each.end) for each in shared([ones, others])] == [(5, 10), (20, 22), (28, 29)]
    assert list(shared([ones, []])) == []


def test_parts_of_the_traffic_add_up_to_the_whole():
    evidence = Evidence(run_with(USERS, ANALYSTS))
    parts = [evidence.traffic(scope) for scope in (OF_USERS, OF_ANALYSTS)]
    whole, added = evidence.traffic(), Traffic.sum_of(parts)
    assert added.size == whole.size
    assert (added.histogram() == whole.histogram()).all()
    assert np.allclose(added.timed, whole.timed)
    assert (added.completed == whole.completed).all()


@pytest.mark.parametrize(
    ("scope", "limit", "status"),
    [
        (EVERYTHING, 200, Status.NOT_JUDGED),  # 125 of users who think, 50 of arrivals
        (EVERYTHING, 170, Status.FAIL),
        (OF_INSERTS, 60, Status.NOT_JUDGED),
        (OF_USERS, 120, Status.FAIL),
        (OF_USERS, 130, Status.NOT_JUDGED),
        (EVERYTHING, 140, Status.PASS),
    ],
)
def test_a_throughput_is_offered_by_the_populations_that_make_it(scope, limit, status):
    criterion = dataclasses.replace(throughput(limit), scope=scope)
    assert judge(criterion, run_with(USERS, INSERTS)).status is status


def test_a_ramp_of_one_population_is_no_lull_of_the_service():
    """Inserts that come for the first half alone: the whole has under half the usual traffic after it."""
    ends = Workload(Model.REQUESTS, (Stage(0, 50), Stage(150, 50), Stage(0, 1), Stage(150, 1)), MIX)
    stays = response_time(limit=0.5, comparison=Comparison.STAYS_BELOW)
    starts = np.sort(np.random.default_rng(1).uniform(0, 300, 6000))
    of_users = np.arange(len(starts)) % 5 == 0
    table = SliceTable()
    for name, some in (("users", starts[of_users]), (INSERTS.name, starts[~of_users & (starts < 250)])):
        table.record(samples_of(some, np.full(len(some), 0.02)), population=name)
    for others, status in (
        (INSERTS, Status.FAIL),
        (dataclasses.replace(INSERTS, workload=ends), Status.PASS),
    ):
        plan = Plan("local", (dataclasses.replace(USERS, name="users"), others))
        run = run_of([], plan, worker_seconds=worker_seconds())
        assert judge(stays, dataclasses.replace(run, table=table)).status is status


def test_a_timing_is_judged_on_its_own_operations():
    """Messages of half a second are no part of the response time, and a stall of requests corrects no message."""
    starts = np.sort(np.random.default_rng(1).uniform(0, 300, 30_000))
    table = SliceTable()
    table.record(samples_of(starts, np.full(30_000, 0.02)))
    table.record(samples_of(starts, np.full(30_000, 0.5), "push", ["ok"] * 30_000), timing=MESSAGE)
    run = run_of([], Plan.of("local", USERS.workload), worker_seconds=worker_seconds())
    run = dataclasses.replace(
        run, table=table, stalls=(Stall(100.0, 120.0),), facts={"clock": {"uncertainty": 0.0}}
    )
    latency = Measure("message latency", Family.TIME, Unit.SECONDS, 0.95, "p95", timing=MESSAGE.key)
    criterion = Criterion("the p95 message latency is below 100 ms", latency, Comparison.IS_BELOW, 0.1)
    verdict = judge(criterion, run)
    assert verdict.status is Status.FAIL
    assert verdict.measured == pytest.approx(0.5, rel=0.002)
    assert "unfilled" not in verdict.details
    assert judge(response_time(limit=0.1), run).measured == pytest.approx(0.02, rel=0.002)
    rate = Measure("throughput", Family.THROUGHPUT, Unit.PER_SECOND, timing=MESSAGE.key)
    messages = Criterion("throughput is above 90 messages per second", rate, Comparison.IS_ABOVE, 90)
    assert judge(messages, run).status is Status.PASS


def test_a_timing_that_was_not_recorded_is_no_pass():
    latency = Measure("message latency", Family.TIME, Unit.SECONDS, 0.95, "p95", timing=MESSAGE.key)
    criterion = Criterion("the p95 message latency is below 100 ms", latency, Comparison.IS_BELOW, 0.1)
    verdict = judge(criterion, run_with(USERS))
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.reason == "No operation was recorded at all."
