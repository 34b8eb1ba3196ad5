"""The method on real load: servers whose truth is known, and what the suite says of them (method: "Known answers").

A figure may be above the truth by what both processes say that the machine made them late, and never below it: on a
quiet machine that is a millisecond, on a busy one these tests say less and do not fail. The long versions (`prove`)
have the method's own durations.
"""

import math

import numpy as np
import pytest

from loadkit.criterion import Comparison, Scope, ScopeKind
from loadkit.drivers.fake import Answer
from loadkit.judging.health import NO_TIME_LIMIT, health
from loadkit.recording.ending import EndingKind
from loadkit.recording.histogram import quantile_of
from loadkit.recording.slices import Kind, SliceTable
from loadkit.units import Unit
from loadkit.verdict import Status
from loadkit.workload.workload import MixEntry, Model
from tests.builders import error_rate, judge, response_time, run_of, samples_of, throughput, worker_seconds_of
from tests.known_answers import hidden_stall
from tests.known_answers.runs import Case, answer_of, answers_of, cases, ideal, plan_of
from tests.known_answers.servers import Mixture
from tests.virtual_time import Simulation, simulate

pytestmark = pytest.mark.load

QUANTILES = (0.5, 0.95, 0.99)
USUAL = 0.75
"""The quantile whose disturbance a mean is allowed."""


class Bench:
    """The answers of one scale, waited for as they are asked for."""

    def __init__(self, cases, futures, *, is_full):
        self.cases, self.futures, self.is_full = cases, futures, is_full

    def __getitem__(self, name):
        return self.futures[name].result()


@pytest.fixture(
    scope="module",
    params=[pytest.param("short", marks=pytest.mark.slow), pytest.param("full", marks=pytest.mark.prove)],
)
def bench(request):
    is_full = request.param == "full"
    chosen = cases(full=is_full)
    with answers_of(chosen) as futures:
        yield Bench(chosen, futures, is_full=is_full)


def is_near(measured, truth, allowed, answer, quantile):
    """Is it the truth, but for what is allowed, and above it for what the machine did?"""
    return truth - allowed <= measured <= truth + allowed + answer.disturbance(quantile)


def is_well(answer, verdict):
    """Was the generator in order for a verdict? Its limit may be no time."""
    return answer.is_well(verdict.limit if verdict.unit == Unit.SECONDS else NO_TIME_LIMIT)


def is_judged(verdict, expected, answer):
    """Is it what it must be? Where the generator was disturbed it may also be doubted, and never the opposite."""
    return verdict.status is expected or (
        not is_well(answer, verdict) and verdict.status in {Status.INVALID, Status.INCONCLUSIVE}
    )


# --- 1: a stall of a tenth of the time


def test_an_open_load_sees_each_stall_as_it_is(bench):
    answer = bench["stalls, open"]
    stall = bench.cases["stalls, open"].behaviour.stall
    # A tenth of the evenly spaced requests wait for what is left of a stall: uniform between none and all of it.
    for quantile, waited in ((0.95, 0.5), (0.99, 0.9), (0.999, 0.99)):
        assert is_near(answer.response(quantile), waited * stall + 0.01, 0.02, answer, quantile)
    assert is_judged(judge(response_time(0.99, 0.1), answer.run), Status.FAIL, answer)


def test_a_user_back_to_back_hides_the_stalls_and_filling_shows_them(bench):
    answer = bench["stalls, one user"]
    stall = bench.cases["stalls, one user"].behaviour.stall
    verdict = judge(response_time(0.99, 0.1), answer.run)
    assert is_near(verdict.details["unfilled"], 0.01, 0.001, answer, 0.99)
    assert is_near(verdict.measured, 0.9 * stall + 0.01, 0.02 + 0.05 * stall, answer, 0.99)
    assert is_judged(verdict, Status.FAIL, answer)


# --- 2: M/M/1, service rate 100/s


@pytest.mark.parametrize("name", ["half used", "well used"])
def test_a_queue_is_measured_as_its_schedule_makes_it(bench, name):
    """Arrivals and service times are fixed by seeds, so Lindley's recursion gives this very run's times."""
    answer = bench[name]
    truth = ideal(bench.cases[name], answer.window)
    assert answer.traffic.size == len(truth)
    for quantile in QUANTILES:
        expected = float(np.quantile(truth, quantile))
        assert is_near(answer.response(quantile), expected, 0.001 + 0.02 * expected, answer, quantile)


@pytest.mark.parametrize(
    ("name", "utilization", "short", "full"),
    [
        # Three standard deviations of p50, p95, p99 over as many seconds, by simulation: 7, 12, 17 % in 30 s …
        ("half used", 0.5, (0.22, 0.35, 0.52), (0.07, 0.11, 0.17)),
        ("well used", 0.8, (0.43, 0.73, 0.77), (0.07, 0.10, 0.17)),
    ],
)
def test_a_queue_is_measured_as_theory_has_it(bench, name, utilization, short, full):
    answer = bench[name]
    for quantile, share in zip(QUANTILES, full if bench.is_full else short, strict=True):
        truth = -math.log(1 - quantile) / (100 * (1 - utilization))
        assert is_near(answer.response(quantile), truth, share * truth, answer, quantile)


# --- 3: N users of one server, service 10 ms and thinking 1 s, both exponential (machine repairman)


@pytest.mark.parametrize(
    ("users", "rate", "time", "spread"),
    [(50, 49.07, 0.0190, 0.18), (100, 92.43, 0.0819, 0.40), (150, 100.0, 0.500, 0.18)],
)
def test_a_closed_load_is_measured_as_theory_has_it(bench, users, rate, time, spread):
    answer = bench[f"{users} users"]
    traffic = answer.traffic
    measured = traffic.completed.sum() / traffic.seconds
    # Three standard deviations by simulation: of the rate at most 2 % in 40 s and 0.7 % in 300 s; of the time the
    # spread in 40 s and 7, 14, 7 % in 300 s. A disturbed machine makes each round longer.
    allowed = 0.02 if bench.is_full else 0.06
    slowed = answer.disturbance(USUAL) / (1 + time)
    assert rate * (1 - allowed - slowed) <= measured <= rate * (1 + allowed)
    if bench.is_full:
        spread = max(0.10, spread * 0.35)
    assert is_near(traffic.mean, time, spread * time, answer, USUAL)


@pytest.mark.parametrize("users", [50, 100, 150])
def test_users_rate_and_time_of_a_closed_load_agree(bench, users):
    """Little's law: N = X · (R + Z). The thinking time varies too: 3 standard deviations are 3 / √requests."""
    answer = bench[f"{users} users"]
    traffic = answer.traffic
    there = traffic.size / traffic.seconds * (traffic.mean + 1.0)
    assert there == pytest.approx(
        users, rel=max(0.05, 3 / math.sqrt(traffic.size)) + answer.disturbance(USUAL)
    )


# --- 4: two kinds of requests


@pytest.mark.parametrize(("share", "p95", "expected"), [(0.04, 0.02, Status.PASS), (0.08, 0.4, Status.FAIL)])
def test_a_mixture_is_judged_by_its_shares(bench, share, p95, expected):
    answer = bench[f"{share:.0%} slow"]
    verdict = judge(response_time(0.95, 0.1), answer.run)
    assert is_judged(verdict, expected, answer)
    assert is_near(answer.response(0.95), p95, 0.002, answer, 0.95)
    assert is_near(answer.response(0.99), 0.4, 0.002, answer, 0.99)


# --- 8: one worker and four


def skewed(_now, _method, path):
    """A service that is slow for every fourth user: one of four workers has them all."""
    return Answer(0.4 if int(path.removeprefix("/")) % 4 == 0 else 0.02)


def test_four_workers_count_what_one_does_and_their_percentiles_may_not_be_averaged():
    plan = plan_of(Model.CLOSED, 40, 60, mix=(MixEntry("tests.known_answers.journeys:numbered", 1.0),))
    one, four = (simulate(plan, skewed, workers=workers) for workers in (1, 4))
    assert one.operations() == four.operations() > 1000
    assert np.array_equal(histogram(one.table), histogram(four.table))

    shards = [Simulation() for _ in range(4)]
    simulate(plan, skewed, workers=4, emit=lambda report: shards[report.worker].take(report))
    averaged = np.mean([quantile_of(histogram(shard.table), 0.99) for shard in shards])
    assert quantile_of(histogram(four.table), 0.99) == pytest.approx(0.4, rel=0.002)
    assert averaged == pytest.approx((0.4 + 3 * 0.02) / 4, rel=0.002)


def histogram(table: SliceTable):
    labels = [name for name in table.series if name.startswith("label:")]
    return sum(table.histograms(Kind.RESPONSE, labels, 0, 1 << 20).values())


# --- 9: the server's own log


@pytest.mark.parametrize(
    "name", ["half used", "well used", "50 users", "100 users", "150 users", "4% slow", "8% slow"]
)
def test_the_servers_own_log_says_the_same(bench, name):
    answer = bench[name]
    for quantile in QUANTILES:
        served = float(np.quantile(answer.served, quantile))
        assert is_near(answer.response(quantile), served, 0.002 + 0.02 * served, answer, quantile)
    # What was sent in the window and what came in it differ by what was on its way at its edges.
    assert len(answer.served) == pytest.approx(answer.traffic.size, abs=5 + 200 * answer.disturbance(0.99))


@pytest.mark.prove
@pytest.mark.parametrize(("model", "level"), [(Model.CLOSED, 1000), (Model.REQUESTS, 5000)], ids=str)
def test_the_servers_own_log_says_the_same_of_a_heavy_load(model, level):
    """Times from 20 to 400 ms, for 1000 users, and for 5000 requests per second.

    A machine that has no room for both sides is said by the generator to be none, and then nothing is proven.
    """
    case = Case(Mixture(0.07, 0.02, 0.4), plan_of(model, level, 30, ramp=10))
    answer = answer_of(case)
    state = health(answer.run, answer.window, 0.4)
    if state.status == "invalid":
        pytest.skip("the generator was overloaded: " + "; ".join(state.reasons))
    traffic, think = answer.traffic, case.plan.workload.think.mean
    rounds = traffic.mean + think if model is Model.CLOSED else 1.0  # N = X · (R + Z), or the rate itself
    assert traffic.size / traffic.seconds * rounds == pytest.approx(level, rel=0.03)
    assert traffic.failed == 0
    for quantile in (0.5, 0.9, 0.95, 0.99):
        served = float(np.quantile(answer.served, quantile))
        assert is_near(answer.response(quantile), served, 0.002 + 0.02 * served, answer, quantile)


# --- 10: a service that breaks down


@pytest.mark.parametrize("cpu", [0.1, 0.8])
def test_a_stall_is_the_services_also_where_the_generator_was_warned_of(cpu):
    """A worker at 80 % of its core is warned of; by service time the stalls must be seen as by response time."""
    starts = np.arange(0, 300, 0.0125)
    starts = starts[starts % 10 >= 1]  # back to back, and a second of each ten without any
    run = run_of(
        samples_of(starts, np.full(len(starts), 0.01)),
        plan_of(Model.CLOSED, 1, 300),
        stalls=[(float(start), start + 1.0) for start in range(0, 300, 10)],
        worker_seconds=worker_seconds_of(300, held=1, cpu_seconds=cpu),
    )
    assert judge(response_time(0.99, 0.1), run).status is Status.FAIL


def test_a_freeze_under_closed_load_is_a_fail_and_never_the_generators_fault(bench):
    answer = bench["freezes"]
    frozen = bench.cases["freezes"].behaviour.stall
    never = judge(response_time(0.95, 0.5, Comparison.NEVER_EXCEEDS), answer.run)
    assert is_judged(never, Status.FAIL, answer)
    # A short freeze may lie in one ten-second window of six, which only warns; and once is too seldom for a share.
    stays = judge(response_time(0.95, 0.5, Comparison.STAYS_BELOW), answer.run)
    assert is_judged(stays, Status.FAIL if bench.is_full else Status.INCONCLUSIVE, answer)
    whole = judge(response_time(0.95, 0.5), answer.run)
    assert is_judged(whole, Status.INCONCLUSIVE, answer)
    # A fifteenth of the time it stood still: a twentieth of all arrivals would have waited for a quarter of that or more.
    assert is_near(answer.corrected(0.95), frozen / 4, frozen / 10, answer, 0.95)
    assert max(stall.seconds for stall in answer.run.stalls) == pytest.approx(
        frozen, abs=0.5 + answer.disturbance(0.99)
    )


def test_a_service_that_refuses_everything_from_the_middle_on_fails(bench):
    answer = bench["refuses"]
    assert answer.run.ended.kind is EndingKind.EMERGENCY_STOP
    for criterion in (
        error_rate(0.01),
        error_rate(0.01, Comparison.STAYS_BELOW),
        response_time(0.95, 0.5),
        response_time(0.95, 0.5, Comparison.STAYS_BELOW),
        response_time(0.95, 0.5, Comparison.NEVER_EXCEEDS),
        throughput(20, Comparison.NEVER_FALLS_BELOW),
    ):
        assert is_judged(judge(criterion, answer.run), Status.FAIL, answer), criterion.sentence
    # One bad ten-second window is all that there was time for.
    spell = judge(throughput(20, Comparison.STAYS_ABOVE), answer.run)
    assert spell.status is not Status.PASS
    assert spell.status is not Status.INVALID or not is_well(answer, spell)


def collapsed(out_of_descriptors=0):
    """A run of 300 s whose service refuses all but one of its two labels from 150 s on; stopped at 156 s."""
    starts = np.arange(0, 156, 0.05)
    is_up = starts < 150
    times = np.full(len(starts), 0.01)
    samples = (
        samples_of(starts[is_up], times[is_up])
        + samples_of(starts[~is_up], times[~is_up], outcome="reset")
        + samples_of(starts[::10], times[::10], label="GET /fine")
    )
    return run_of(
        samples,
        plan_of(Model.CLOSED, 20, 300),
        worker_seconds=worker_seconds_of(156, held=20, out_of_descriptors=out_of_descriptors),
        ended="emergency stop: 120 of 220 operations failed in the last ten seconds",
        ended_at=156.0,
    )


@pytest.mark.parametrize("criterion", [error_rate(0.01), error_rate(0.01, Comparison.STAYS_BELOW)])
def test_a_service_that_collapses_late_in_a_long_run_fails_by_how_it_was_when_it_was_stopped(criterion):
    verdict = judge(criterion, collapsed())
    assert verdict.status is Status.FAIL
    assert verdict.window.phase == "until the emergency stop"
    assert judge(criterion, collapsed(out_of_descriptors=1)).status not in {Status.PASS, Status.FAIL}


def test_what_still_worked_at_an_emergency_stop_is_not_blamed():
    fine = Scope(ScopeKind.LABEL, "GET /fine")
    assert judge(error_rate(0.01, scope=fine), collapsed()).status is Status.INCONCLUSIVE


# --- beside other tools


@pytest.mark.prove
@pytest.mark.skipif(not hidden_stall.is_there(), reason="no wrk to compare with")
def test_a_closed_tool_hides_the_stall_that_we_show(capsys, tmp_path):
    rows = hidden_stall.stall_rows(tmp_path)
    with capsys.disabled():
        print("\n" + hidden_stall.table(hidden_stall.STALLING, rows))
    p99 = {row.tool: row.times[-1] for row in rows}
    truth = p99["the truth"]
    assert p99["loadkit, 1 user, as it came"] < 0.1 * truth
    assert p99.get("k6, 1 connection", 0.0) < 0.1 * truth
    assert p99["loadkit, 1 user, stalls filled"] > 0.9 * truth
    assert p99["loadkit, 100 arriving per second"] > 0.9 * truth


@pytest.mark.prove
@pytest.mark.skipif(not hidden_stall.is_there(), reason="no wrk to compare with")
def test_every_tool_says_the_same_of_a_server_without_stalls(capsys, tmp_path):
    (own, *others), disturbance = hidden_stall.agreement_rows(tmp_path)
    with capsys.disabled():
        print("\n" + hidden_stall.table(hidden_stall.CONSTANT, [own, *others]))
    for other in others:
        for our_time, their_time in zip(own.times, other.times, strict=True):
            assert abs(our_time - their_time) <= max(0.001, 0.05 * their_time) + disturbance, other.tool
