"""Users of a closed load who wait long for one answer, while the others are answered, are seen in the verdict."""

import dataclasses

import numpy as np
import pytest

from loadkit.criterion import Scope, ScopeKind
from loadkit.judging.evidence import EVERYTHING, Evidence
from loadkit.judging.omission import StuckOperations, Users, correct_omission
from loadkit.recording.histogram import quantile_of
from loadkit.recording.sample import OK, Sample
from loadkit.recording.slices import SliceTable
from loadkit.recording.timing import MESSAGE
from loadkit.recording.worker_second import HELD
from loadkit.verdict import Status, Window
from loadkit.workload.plan import Plan, Population
from loadkit.workload.workload import MixEntry, Model, Stage, Workload
from tests.builders import judge, plan_of, response_time, run_of, samples_of, worker_seconds_of

USERS, SECONDS = 120, 300
LABEL, TENANT = Scope(ScopeKind.LABEL, "GET /b"), Scope(ScopeKind.TENANT, "tenant-1")


def operations(respond, users=USERS, seconds=SECONDS, tenants=4, think=(0.3, 1.3)):
    """What each of the users does, one operation after the other; `respond(user, now, draw)`: time and outcome."""
    draw = np.random.default_rng(1)
    samples = []
    for user in range(users):
        now = draw.uniform(0, 1)
        while now < seconds:
            took, outcome = respond(user, now, draw)
            label = f"GET /{'abc'[int(draw.integers(3))]}"
            samples.append(Sample(label, outcome, now, now, now + took, 100, f"tenant-{user % tenants}"))
            now += took + draw.uniform(*think)
    return samples


def hang(begin, end, stuck=60, timeout=1000.0, until=10_000.0):
    """The first `stuck` users are on an instance that answers nothing from `begin` to `end`; the load stops at `until`."""

    def respond(user, now, draw):
        took = draw.exponential(0.02)
        if user < stuck and begin <= now < end:
            took = min(end - now + took, timeout, until - now)
            return took, "timeout" if took == timeout else "unfinished" if took == until - now else OK
        return took, OK

    return respond


def independent(draw_time):
    """Every operation's time is drawn for itself."""
    return lambda _user, _now, draw: (draw_time(draw), OK)


def closed(samples, users=USERS, seconds=SECONDS, ramp=0, **changes):
    return run_of(samples, plan_of(seconds - ramp, ramp, users, Model.CLOSED), **changes)


HANGS = {
    "answered at its end": closed(operations(hang(100, 160))),
    "timed out after 10 s and tried again": closed(operations(hang(100, 160, timeout=10.0))),
    "timed out after 5 s and tried again": closed(operations(hang(100, 160, timeout=5.0))),
    "begun before the window": closed(operations(hang(20, 80)), ramp=30),
    "given up at the end of the load": closed(operations(hang(240, 1000, until=310.0))),
}


@pytest.mark.parametrize("quantile", [0.95, 0.99])
@pytest.mark.parametrize("scope", [EVERYTHING, LABEL, TENANT], ids=str)
@pytest.mark.parametrize("run", HANGS.values(), ids=HANGS)
def test_half_of_the_users_stuck_for_a_fifth_of_the_time_never_pass(run, scope, quantile):
    verdict = judge(response_time(quantile, 0.5, scope=scope), run)
    assert verdict.status in {Status.FAIL, Status.INCONCLUSIVE}
    assert verdict.details["filled"] > 0
    assert any("of 120 users waited for one answer" in warning for warning in verdict.warnings)


@pytest.mark.parametrize(
    ("name", "window", "stuck_seconds"),
    [
        ("answered at its end", Window(0, 300), 60),
        ("timed out after 10 s and tried again", Window(0, 300), 60),
        ("begun before the window", Window(30, 270), 50),
        ("given up at the end of the load", Window(0, 300), 60),
    ],
)
def test_with_the_prevented_operations_there_are_as_many_as_without_a_hang(name, window, stuck_seconds):
    evidence = Evidence(HANGS[name])
    traffic, corrected = evidence.traffic(window=window), evidence.corrected(0.5, window=window)
    usual = USERS / (0.8 + 0.02)
    assert corrected.size == traffic.size + corrected.corrected
    assert corrected.size == pytest.approx(usual * window.seconds, rel=0.01)
    assert corrected.corrected == pytest.approx(usual * stuck_seconds / 2, rel=0.15)


def test_the_prevented_operations_wait_until_the_hang_ends():
    evidence = Evidence(HANGS["answered at its end"])
    corrected = evidence.corrected(0.5, window=Window(0, 300))
    # A tenth of all operations wait between 0 and 60 s, evenly.
    for quantile, wait in ((0.925, 15), (0.95, 30), (0.975, 45)):
        assert quantile_of(corrected.histogram(), quantile) == pytest.approx(wait, rel=0.05)


@pytest.mark.parametrize(("tenant", "is_on_it"), [("tenant-0", True), ("tenant-1", False)])
def test_a_tenant_is_corrected_by_its_own_stuck_users(tenant, is_on_it):
    """The stuck users are all of the first of two tenants."""

    def respond(user, now, draw):
        return hang(100, 160, stuck=USERS)(user, now, draw) if user % 2 == 0 else (0.02, OK)

    evidence = Evidence(closed(operations(respond, tenants=2)))
    corrected = evidence.corrected(0.5, Scope(ScopeKind.TENANT, tenant))
    assert corrected.corrected == pytest.approx(4390 if is_on_it else 0, rel=0.05)


def test_parts_of_the_prevented_operations_add_up_to_the_whole():
    evidence = Evidence(HANGS["answered at its end"])
    parts = [evidence.corrected(0.5, Scope(ScopeKind.LABEL, f"GET /{name}")).corrected for name in "abc"]
    assert sum(parts) == pytest.approx(evidence.corrected(0.5).corrected, abs=3)


INDEPENDENT = {
    "4 % of 5 s": lambda draw: 5.0 if draw.random() < 0.04 else draw.exponential(0.02),
    "a heavy tail to 10 s": lambda draw: min(10.0, 0.05 * draw.random() ** (-1 / 1.5)),
    "exponential times of a second": lambda draw: draw.exponential(1.0),
}


@pytest.mark.parametrize("stuck", [12, 36, 60, 72])
def test_users_stuck_during_the_whole_window_never_pass_however_many_they_are(stuck):
    run = closed(operations(hang(0, 1000, stuck=stuck, timeout=30.0, until=310.0)))
    assert judge(response_time(0.95, 0.5), run).status is Status.FAIL


@pytest.mark.parametrize(
    ("stuck", "begin", "end", "timeout"),
    [(20, 50, 250, 5.0), (30, 50, 250, 6.0), (20, 30, 290, 8.0), (60, 10, 290, 5.0)],
)
def test_users_who_time_out_again_and_again_for_most_of_the_window_never_pass(stuck, begin, end, timeout):
    """The quiet rest of the window shows what is usual."""
    run = closed(operations(hang(begin, end, stuck=stuck, timeout=timeout, until=310.0)))
    assert judge(response_time(0.95, 0.5), run).status in {Status.FAIL, Status.INCONCLUSIVE}


def test_a_wait_of_hours_adds_only_the_operations_of_the_window():
    """The user began three hours before the window ended and waits for seven more."""
    users = Users("users", np.full(300, 10.0), np.full(300, 10))
    second, took, count = np.array([-10_500]), np.array([36_000.0]), np.array([2])
    stuck = StuckOperations(users, second, took, count, np.ones(1, np.bool_), np.zeros(300, np.bool_))
    moment, wait = stuck.prevented()
    assert len(moment) == 2 * 300
    assert moment.min() >= 0
    assert moment.max() < 300
    assert wait.tolist() == pytest.approx((25_500.5 - moment).tolist())


@pytest.mark.parametrize("draw_time", INDEPENDENT.values(), ids=INDEPENDENT)
def test_operations_that_are_long_independently_prevent_nothing(draw_time):
    evidence = Evidence(closed(operations(independent(draw_time))))
    for limit in (0.0, 0.5, 1.0):
        assert evidence.corrected(limit).corrected == 0


def test_a_service_in_which_one_in_twenty_five_takes_long_passes_its_p95():
    run = closed(operations(independent(INDEPENDENT["4 % of 5 s"])))
    verdict = judge(response_time(0.95, 1.0), run)
    assert verdict.status is Status.PASS
    assert "filled" not in verdict.details


def test_long_answers_of_one_user_are_corrected_as_stalls_and_not_twice():
    samples = operations(
        lambda _user, now, _draw: (5.0 if 100 <= now < 101.3 or 200 <= now < 201.3 else 0.02, OK), users=1
    )
    stalls = [(each.sent, each.end) for each in samples if each.end - each.sent > 1]
    for known in (stalls, []):
        run = closed(samples, users=1, stalls=known)
        evidence = Evidence(run)
        before = correct_omission(evidence.traffic(), run.stalls, 0, 0.5)
        assert evidence.corrected(0.5).corrected == before.corrected


@pytest.mark.parametrize("limit", [0.0, 0.5, 10.0])
@pytest.mark.parametrize("users", [3, USERS])
def test_what_a_full_stall_prevented_is_not_added_twice(limit, users):
    samples = operations(hang(100, 160, stuck=users), users=users)
    last = max(each.end for each in samples if each.end < 105)
    run = closed(samples, users=users, stalls=[(last, 160.0)])
    evidence = Evidence(run)
    before = correct_omission(evidence.traffic(), run.stalls, 0, limit)
    assert before.corrected > 0
    assert evidence.corrected(limit).corrected == pytest.approx(before.corrected, rel=0.01)


def test_a_stall_and_stuck_users_are_both_stated():
    everybody, half = hang(50, 80, stuck=USERS), hang(100, 160)
    samples = operations(lambda user, now, draw: (everybody if now < 90 else half)(user, now, draw))
    last = max(each.end for each in samples if each.end < 60)
    verdict = judge(response_time(0.5), closed(samples, stalls=[(last, 80.0)]))
    (warning,) = (each for each in verdict.warnings if "coordinated-omission" in each)
    assert warning.startswith(
        "the service stood still, and up to 60 of 120 users waited for one answer for up to 60 s: "
        "coordinated-omission correction added "
    )


def test_an_open_load_gets_nothing_added_for_users():
    run = dataclasses.replace(HANGS["answered at its end"], plan=plan_of(SECONDS, level=USERS))
    assert Evidence(run).corrected(0.5).corrected == 0


def test_messages_that_come_late_prevent_nothing():
    table = SliceTable()
    table.record(operations(hang(100, 160)), timing=MESSAGE)
    run = dataclasses.replace(closed([]), table=table)
    assert Evidence(run).corrected(0.5, timing=MESSAGE.key).corrected == 0


def test_each_population_has_its_own_stuck_users():
    """Users hang; a population of slower users and an open load go on."""
    mix = (MixEntry("journeys:browse", 1.0),)
    populations = tuple(
        Population(name, Workload(model, (Stage(0, level), Stage(SECONDS, level)), mix))
        for name, model, level in (
            ("users", Model.CLOSED, 120),
            ("analysts", Model.CLOSED, 20),
            ("inserts", Model.REQUESTS, 30),
        )
    )
    healthy = independent(lambda draw: draw.exponential(0.02))
    table = SliceTable()
    table.record(operations(hang(100, 160)), population="users")
    slow = operations(healthy, users=20, think=(5.0, 15.0))
    table.record([each._replace(label="GET /report") for each in slow], population="analysts")
    starts = np.arange(0, SECONDS, 1 / 30)
    table.record(samples_of(starts, np.full(len(starts), 5.0), "POST /"), population="inserts")
    gauges = {"users": {HELD: 120.0}, "analysts": {HELD: 20.0}}
    seconds = [dataclasses.replace(each, counts={}, gauges=gauges) for each in worker_seconds_of(SECONDS)]
    run = dataclasses.replace(run_of([], Plan("local", populations), worker_seconds=seconds), table=table)
    evidence = Evidence(run)
    prevented = {
        EVERYTHING: 4300,
        Scope(ScopeKind.POPULATION, "users"): 4300,
        Scope(ScopeKind.POPULATION, "analysts"): 0,
        Scope(ScopeKind.POPULATION, "inserts"): 0,
        LABEL: 2150,  # thirty of the sixty operations that hung
        TENANT: 1075,
        Scope(ScopeKind.LABEL, "GET /report"): 0,
        Scope(ScopeKind.LABEL, "POST /"): 0,
    }
    for scope, number in prevented.items():
        assert evidence.corrected(0.5, scope).corrected == pytest.approx(number, rel=0.15), scope


def test_stuck_users_of_a_slow_population_are_seen():
    """Each sends one operation in 25 s, so the median of single seconds is small; 36 wait for 50 s or longer."""
    slow = {"users": 30, "seconds": 600, "think": (20, 30)}
    run = closed(operations(hang(100, 200, stuck=15), **slow), users=30, seconds=600)
    assert Evidence(run).corrected(0.5).corrected == pytest.approx(15 * (100 - 1.5 * 25) / 25, rel=0.4)


@pytest.mark.parametrize(
    "respond",
    [hang(50, 250, timeout=10.0), hang(50, 250, timeout=30.0), hang(0, 1000, stuck=12, until=310.0)],
    ids=["two thirds of the time, 10 s", "two thirds of the time, 30 s", "a tenth of the users, always"],
)
def test_a_hang_for_most_of_the_window_is_not_taken_for_usual(respond):
    run = closed(operations(respond))
    assert Evidence(run).corrected(0.5).size == pytest.approx(USERS / 0.82 * SECONDS, rel=0.03)
    assert judge(response_time(0.95, 0.5), run).status is Status.FAIL
