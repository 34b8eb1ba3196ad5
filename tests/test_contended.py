"""A machine that was busy with something else, or too small: what becomes of a verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from loadkit import grammar
from loadkit.criterion import Comparison, Criterion, Unit
from loadkit.judging.evidence import Evidence
from loadkit.judging.machine import contention
from loadkit.observers import machine
from loadkit.observers.machine import Use
from loadkit.observers.observation import LIFE_SIGN, Judged, Observation, Reading, Series
from loadkit.recording.messages import NOT_BACK, RETURN_FAILED
from loadkit.recording.run import Event, Run
from loadkit.recording.slices import Kind, SliceTable, worker_series
from loadkit.recording.timing import DELIVERY, QUERY, RECONNECT, WORKFLOW
from loadkit.recording.worker_second import JOURNEY_ERROR
from loadkit.verdict import Status, Verdict, Window
from loadkit.workload.plan import Action
from loadkit.workload.workload import MixEntry, Model
from tests.builders import (
    availability,
    count_messages,
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

PASS, FAIL, INCONCLUSIVE, INVALID = Status.PASS, Status.FAIL, Status.INCONCLUSIVE, Status.INVALID
SECONDS = 120
STARTED = 1_700_000_000.0
TIMES = STARTED + np.arange(-2.0, SECONDS + 2)
ALWAYS = range(SECONDS)


def counter(name: str, shares: Mapping[str, float | np.ndarray], unit: Unit = Unit.RATIO) -> Observation:
    """A counter that grows by these shares per second; an array gives one for each second of `TIMES`."""
    series = [
        Series(who, TIMES, np.cumsum(np.broadcast_to(share, TIMES.shape))) for who, share in shares.items()
    ]
    return Observation(name, Reading.COUNTER, str(unit), tuple(series), 1.0, judged=Judged.MEAN)


def during(seconds: Sequence[int], share: float, otherwise: float = 0.0) -> np.ndarray:
    return np.where(np.isin(np.round(TIMES - STARTED), np.array(seconds) + 1), share, otherwise)


def figures(
    use: Mapping[str, float | np.ndarray],
    *,
    waiting: Mapping[str, float | np.ndarray] | None = None,
    others: Mapping[str, float | np.ndarray] | None = None,
    largest: float = 0.3,
    swapped: float = 0.0,
    held: float = 0.2,
) -> tuple[Observation, ...]:
    """A machine whose shares are these; what is left of it was idle."""
    usual = {Use.GENERATOR: 0.05, Use.ENVIRONMENT: 0.2, Use.OTHERS: 0.0, Use.KERNEL: 0.0, Use.STEAL: 0.0}
    shares = {**usual, **use}
    shares = {Use.IDLE: 1 - sum(shares.values()), **shares}
    memory = {"all": 8e9, Use.ENVIRONMENT: held * 8e9}
    found = [
        counter(machine.PROCESSORS, {str(who): share for who, share in shares.items()}),
        counter(machine.OTHERS, {"python burner.py": shares[Use.OTHERS]} if others is None else others),
        counter(machine.PARTS, {"postgres 7": 0.1, "python 8": largest}),
        counter(machine.SWAPPING, {"in and out": swapped}, Unit.BYTES),
        Observation(
            machine.MEMORY,
            Reading.GAUGE,
            "bytes",
            tuple(Series(str(who), TIMES, np.full(len(TIMES), size)) for who, size in memory.items()),
            1.0,
        ),
    ]
    if waiting:
        found.append(counter(machine.PRESSURE, waiting))
    return tuple(found)


BURNER = {Use.OTHERS: 0.58, Use.ENVIRONMENT: 0.3, Use.GENERATOR: 0.1}
SMALL = {Use.ENVIRONMENT: 0.65, Use.GENERATOR: 0.25, Use.KERNEL: 0.08}


@cache
def operations(slow: Sequence[int] = ALWAYS, outcome: str = "ok", share: float = 1.0):
    """100 operations a second that take 20 ms; in some seconds a share of them takes a second, or fails."""
    random = np.random.default_rng(1)
    starts = np.sort(random.uniform(0, SECONDS, 100 * SECONDS))
    hit = np.isin(starts.astype(int), list(slow)) & (random.uniform(size=len(starts)) < share)
    times = np.where(hit, 1.0, random.exponential(0.02, len(starts)))
    return samples_of(starts, times, outcome=np.where(hit, outcome, "ok").tolist())


def run_with(observations: Sequence[Observation], slow: Sequence[int] = ALWAYS, **changes) -> Run:
    outcome, share = changes.pop("outcome", "ok"), changes.pop("share", 1.0)
    samples = operations(slow, outcome, share)
    return run_of(samples, plan_of(SECONDS), observations=observations, **changes)


def verdict_on(observations: Sequence[Observation], slow: Sequence[int] = ALWAYS, **changes) -> Verdict:
    return judge(response_time(), run_with(observations, slow, **changes))


# --- what becomes of a fail

OTHERS = "Other processes took 58 % of this machine (python burner.py 58 %), which may be why p95 "
HALF = {Use.OTHERS: 0.5, Use.ENVIRONMENT: 0.2, Use.GENERATOR: 0.1}


@pytest.mark.parametrize(
    ("machine_was", "status", "reason"),
    [
        pytest.param(figures(BURNER), INVALID, OTHERS, id="full, and others took most of it"),
        pytest.param(figures({}), FAIL, "P95 ", id="nearly idle"),
        pytest.param(
            figures({Use.OTHERS: 0.04, Use.ENVIRONMENT: 0.86, Use.GENERATOR: 0.1}, largest=0.9),
            FAIL,
            "",
            id="full, but others took little of it",
        ),
        pytest.param(
            figures({Use.OTHERS: 0.12, Use.ENVIRONMENT: 0.8}, largest=0.8),
            FAIL,
            "",
            id="full, and others took little beside what the service burned",
        ),
        pytest.param(
            figures(HALF, waiting={"cpu": 0.3}), FAIL, "", id="others have a processor of their own"
        ),
        pytest.param(
            figures(HALF, waiting={"cpu": 0.9}),
            INVALID,
            "Other processes took 50 % of this machine",
            id="others share a processor with the service, and another is idle",
        ),
        pytest.param(
            figures({Use.STEAL: 0.3}),
            INVALID,
            "The host took 30 % of this machine's processors (steal), which may be why p95 ",
            id="the host of the virtual machine took a part",
        ),
        pytest.param(figures({Use.STEAL: 0.05}), FAIL, "", id="the host took a little"),
        pytest.param(
            figures({}, waiting={"memory": 0.2}),
            INVALID,
            "This machine was short of memory: processes waited for it 20 % of the time",
            id="short of memory",
        ),
        pytest.param(
            figures({}, swapped=5e6),
            INVALID,
            "This machine was short of memory: processes waited for it 0 % of the time, and 5 MB per second were swapped",
            id="swapping, and the kernel does not measure pressure",
        ),
        pytest.param(
            figures({}, waiting={"memory": 0.2}, swapped=5e6, held=0.8),
            FAIL,
            "",
            id="short of memory, which the service itself filled",
        ),
        pytest.param(
            figures(SMALL),
            INVALID,
            "This machine was full, and the load generator itself took 25 % of it, which may be why p95 ",
            id="full, and the load generator took a quarter",
        ),
        pytest.param(
            figures({Use.ENVIRONMENT: 0.85, Use.GENERATOR: 0.1, Use.KERNEL: 0.05}),
            FAIL,
            "",
            id="full, and the load generator took little",
        ),
        pytest.param(figures(SMALL, largest=0.9), FAIL, "", id="full, and an instance burned a processor"),
        pytest.param(
            figures({Use.ENVIRONMENT: 0.5, Use.GENERATOR: 0.25}), FAIL, "", id="not full, generator large"
        ),
        pytest.param((), FAIL, "P95 ", id="no figures"),
    ],
)
def test_a_fail_that_the_machine_explains_is_invalid_and_any_other_stands(
    machine_was: tuple[Observation, ...], status: Status, reason: str
) -> None:
    verdict = verdict_on(machine_was)
    assert verdict.status is status, verdict.reason
    assert verdict.reason.lower().startswith(reason.lower()), verdict.reason


def test_the_reason_is_one_sentence_with_the_figures_of_the_service_and_an_advice() -> None:
    reason = verdict_on(figures(SMALL)).reason
    assert reason.endswith("the limit of 500 ms; measure from another machine or on a faster one.")
    assert "1 s" in reason


def test_the_top_three_processes_are_named_and_the_others_are_not() -> None:
    shares = {"make": 0.3, "gcc": 0.2, "cc1": 0.05, "sshd": 0.03, "bash": 0.01}
    verdict = verdict_on(figures(BURNER, others=shares))
    assert "(make 30 %, gcc 20 %, cc1 5 %)" in verdict.reason
    assert verdict.details["machine"]["other processes"] == pytest.approx(0.58, abs=0.01)
    assert list(verdict.details["machine"]["busiest other processes"]) == ["make", "gcc", "cc1"]


def test_two_causes_are_told_in_one_sentence() -> None:
    reason = verdict_on(
        figures({Use.STEAL: 0.2, Use.OTHERS: 0.5, Use.ENVIRONMENT: 0.2, Use.GENERATOR: 0.1})
    ).reason
    assert "of this machine (python burner.py 50 %) and the host took 20 % of" in reason


# --- what becomes of other verdicts


def test_a_pass_was_reached_in_spite_of_the_machine() -> None:
    verdict = verdict_on(figures(BURNER), slow=())
    assert verdict.status is PASS
    assert verdict.warnings == ("other processes took 58 % of this machine (python burner.py 58 %)",)


def test_a_verdict_without_figures_is_as_it_was_before_there_were_any() -> None:
    assert verdict_on((), slow=()).warnings == ()
    for slow in ((), ALWAYS):
        assert "machine" not in verdict_on((), slow=slow).details


def test_an_inconclusive_verdict_stays_one_and_names_the_machine() -> None:
    verdict = verdict_on(figures(BURNER), slow=range(60, 66))
    assert verdict.status is INCONCLUSIVE
    assert any("other processes took" in warning for warning in verdict.warnings)


def test_an_overloaded_load_generator_has_its_cause_in_the_reason() -> None:
    run = run_with(figures(BURNER))
    run.table.count(Kind.LAG, worker_series(0), np.arange(float(SECONDS)), np.full(SECONDS, 0.2))
    verdict = judge(response_time(), run)
    assert verdict.status is INVALID
    assert (
        "58 % of this machine (python burner.py 58 %); the load generator was overloaded: " in verdict.reason
    )


def test_a_mistake_of_a_journey_is_the_reason_whatever_the_machine_did() -> None:
    seconds = worker_seconds_of(SECONDS)
    seconds[3] = replace(
        seconds[3], counts={"users": seconds[3].counts["users"] | {JOURNEY_ERROR + "it broke": 1}}
    )
    assert verdict_on(figures(BURNER), worker_seconds=seconds).reason.startswith("It broke")


# --- when it was busy


def busy_in(seconds: Sequence[int]) -> tuple[Observation, ...]:
    return figures({Use.OTHERS: during(seconds, 0.7), Use.ENVIRONMENT: 0.2, Use.GENERATOR: 0.1})


@pytest.mark.parametrize(
    ("slow", "busy", "status"),
    [
        (range(40, 80), range(40, 80), INVALID),  # slow only while the machine was busy
        (range(40, 80), range(90, 110), FAIL),  # busy at another time
        (ALWAYS, range(40, 80), FAIL),  # slow without it too
        (range(40, 84), range(40, 80), INVALID),  # the queue of a busy time is worked off
        (ALWAYS, range(4, 116), INVALID),  # too little is left to judge
    ],
)
def test_a_fail_stands_if_it_is_one_without_the_seconds_in_which_the_machine_was_busy(
    slow, busy, status
) -> None:
    verdict = judge(response_time(comparison=Comparison.STAYS_BELOW), run_with(busy_in(busy), slow))
    assert verdict.status is status, verdict.reason
    if status is FAIL:
        assert any("this does not explain the fail" in warning for warning in verdict.warnings)
    else:
        assert f" of {SECONDS} seconds, which may be why" in verdict.reason


def test_a_short_cause_is_no_warning_to_a_pass() -> None:
    assert not verdict_on(busy_in(range(50, 53)), slow=()).warnings


def test_a_gap_in_the_figures_is_bridged_and_what_lies_outside_them_is_unknown() -> None:
    (processors, *rest) = figures(BURNER)
    sparse = np.isin(np.arange(len(TIMES)), [0, 1, 2, 30, 31, 60])
    processors = replace(
        processors,
        series=tuple(
            Series(each.instance, each.times[sparse], each.values[sparse]) for each in processors.series
        ),
    )
    found = contention(run_with((processors, *rest)), Window(0, SECONDS))
    assert found is not None
    assert np.flatnonzero(found.seconds).tolist() == list(range(60))


# --- what no machine explains


def failing(outcome: str, seconds: float, criterion: Criterion) -> Status:
    """A fifth of the operations fails after this time."""
    run = run_of(operations(()), plan_of(SECONDS), observations=figures(BURNER))
    starts = np.arange(0.0, SECONDS, 0.05)
    run.table.record(samples_of(starts, np.full(len(starts), seconds), outcome=outcome))
    return judge(criterion, run).status


@pytest.mark.parametrize("criterion", [error_rate(0.01), availability(0.99), response_time()])
@pytest.mark.parametrize(
    ("outcome", "seconds", "status"),
    [
        ("timeout", 10.0, INVALID),
        ("closed", 3.0, INVALID),
        ("unfinished", 10.0, INVALID),
        ("status 503", 3.0, INVALID),
        ("status 503", 0.01, FAIL),
        ("closed", 0.01, FAIL),
        ("status 500", 3.0, FAIL),
        ("status 404", 3.0, FAIL),
        ("refused", 3.0, FAIL),
        ("check: a page has 50 events", 3.0, FAIL),
    ],
)
def test_a_wrong_answer_or_a_refusal_is_no_effect_of_a_slow_machine_but_a_missing_answer_is(
    outcome, seconds, status, criterion
) -> None:
    assert failing(outcome, seconds, criterion) is status


def test_a_few_wrong_answers_do_not_explain_why_the_others_were_slow() -> None:
    run = run_with(figures(BURNER), slow=ALWAYS)
    wrong = samples_of(np.arange(0.0, SECONDS), np.full(SECONDS, 0.01), outcome="status 500")
    run.table.record(wrong)
    assert judge(response_time(), run).status is INVALID


def test_throughput_of_a_slow_machine_is_invalid() -> None:
    run = run_of(operations(()), plan_of(SECONDS, level=200), observations=figures(BURNER))
    assert judge(throughput(150, Comparison.IS_ABOVE), run).status is INVALID


@pytest.mark.parametrize(("outcome", "status"), [("status 503", FAIL), ("timeout", INVALID)])
def test_throughput_that_refusals_lower_is_no_effect_of_a_slow_machine(outcome, status) -> None:
    """A hundred a second succeed, and a hundred fail."""
    run = run_of(operations(()), plan_of(SECONDS, level=200), observations=figures(BURNER))
    starts = np.arange(0.0, SECONDS, 0.01)
    run.table.record(samples_of(starts, np.full(len(starts), 0.01), outcome=outcome))
    assert judge(throughput(150, Comparison.IS_ABOVE), run).status is status


@pytest.mark.parametrize("wrong", [0, 1])
def test_a_single_wrong_answer_does_not_explain_a_window_in_which_nobody_was_answered(wrong: int) -> None:
    samples = list(operations(range(40, 50), "timeout"))
    samples[500 : 500 + wrong] = [each._replace(outcome="status 404") for each in samples[500 : 500 + wrong]]
    run = run_of(samples, plan_of(SECONDS), observations=busy_in(range(36, 56)))
    verdict = judge(throughput(80, Comparison.NEVER_FALLS_BELOW), run)
    assert verdict.status is INVALID
    assert judge(throughput(80, Comparison.NEVER_FALLS_BELOW), replace(run, observations={})).status is FAIL


def measured(name: str, busy: Sequence[int], reading: Reading = Reading.GAUGE) -> Observation:
    """A share of 90 % in some seconds, and else of 10 %."""
    values = during(busy, 0.9, 0.1)
    series = Series("metrics-1", TIMES, values if reading is Reading.GAUGE else np.cumsum(values))
    return Observation(name, reading, "ratio", (series,), 1.0)


POOL = "database connection pool utilization"


@pytest.mark.parametrize(
    ("name", "reading", "full", "busy", "status"),
    [
        (POOL, Reading.GAUGE, ALWAYS, ALWAYS, INVALID),  # connections are in use for longer
        (POOL, Reading.GAUGE, ALWAYS, (), FAIL),
        (POOL, Reading.GAUGE, ALWAYS, range(60, 120), FAIL),
        (POOL, Reading.GAUGE, range(60, 120), range(60, 120), INVALID),
        ("CPU utilization", Reading.COUNTER, ALWAYS, ALWAYS, FAIL),  # it would have used more
    ],
)
def test_a_gauge_that_a_slow_machine_fills_is_invalid_and_processor_time_is_not_such_a_gauge(
    name, reading, full, busy, status
) -> None:
    run = run_with((*busy_in(busy), measured(name, full, reading)), slow=())
    assert judge(gauge(0.7, name), run).status is status


def test_probes_that_were_not_answered_in_time_are_invalid() -> None:
    probes = tuple((float(second), second % 2 == 0) for second in range(SECONDS))
    criterion = grammar.criterion("uptime is above 90%")
    assert judge(criterion, run_with(figures(BURNER), probes=probes)).status is INVALID
    assert judge(criterion, run_with(figures({}), probes=probes)).status is FAIL


def firing(at: int) -> Observation:
    alive = Series(LIFE_SIGN, TIMES, np.ones(len(TIMES)))
    alert = Series("HighLatency", STARTED + np.arange(at, at + 5.0), np.ones(5))
    return Observation("alerts:", Reading.GAUGE, "", (alive, alert), 1.0)


@pytest.mark.parametrize(("busy", "status"), [(range(20), INVALID), ((), FAIL), (range(100, 120), FAIL)])
def test_an_alert_that_fires_after_the_machine_was_busy_is_invalid(busy, status) -> None:
    criterion = grammar.criterion("no alert fires")
    alerts = replace(firing(40), name=grammar.observed_as(criterion.measure))
    assert judge(criterion, run_with((*busy_in(busy), alerts))).status is status


def test_an_alert_that_fires_again_long_after_the_machine_was_busy_fails() -> None:
    criterion = grammar.criterion("no alert fires")
    first, again = firing(40), firing(110)
    alive, alert = first.series
    times = np.concatenate((alert.times, again.series[1].times))
    both = replace(first, series=(alive, Series("HighLatency", times, np.ones(10))))
    alerts = replace(both, name=grammar.observed_as(criterion.measure))
    assert judge(criterion, run_with((*busy_in(range(20)), alerts))).status is FAIL


def test_an_alert_that_did_not_fire_is_not_excused() -> None:
    criterion = grammar.criterion('the "Slow" alert fires within 10 s')
    alerts = replace(firing(-5), name=grammar.observed_as(criterion.measure))
    assert judge(criterion, run_with((*figures(BURNER), alerts))).status is FAIL


BACK = grammar.criterion("95% of the clients are back within 10 seconds")


@pytest.mark.parametrize(
    ("away", "busy", "status"),
    [
        ({40: 40}, range(4, 14), FAIL),  # busy in the ramp
        ({40: 40}, range(88, 100), FAIL),  # they had been due for long
        ({40: 40}, range(42, 50), INVALID),
        ({40: 40}, range(28, 38), INVALID),  # the queues of a busy time are worked off
        ({40: 40, 80: 11}, range(42, 50), FAIL),  # of the others, too many stayed away as well
        ({40: 40, 80: 10}, range(42, 50), INVALID),  # ten of two hundred may
        ({40: 40}, (), FAIL),
    ],
)
def test_clients_that_stay_away_fail_unless_the_machine_was_busy_when_they_were_due(
    away: Mapping[int, int], busy: Sequence[int], status: Status
) -> None:
    """A hundred clients drop at 40 s and at 80 s each; those that are away never come back."""
    run = run_with(busy_in(busy), slow=())
    for dropped in (40, 80):
        missing = away.get(dropped, 0)
        for number, time, outcome in ((100 - missing, 3.0, "ok"), (missing, 119.0 - dropped, "not back")):
            returns = samples_of(np.full(number, float(dropped)), np.full(number, time), "WS /", outcome)
            run.table.record(returns, timing=RECONNECT)
    verdict = judge(BACK, run)
    assert verdict.status is status, verdict.reason
    excused = any("this does not explain the fail" in warning for warning in verdict.warnings)
    assert excused is (status is FAIL and bool(busy))


def test_clients_whose_journey_failed_on_the_way_back_are_not_excused_by_a_busy_machine() -> None:
    run = run_with(busy_in(range(42, 50)), slow=())
    for dropped, number, time, outcome in (
        (40, 60, 3.0, "ok"),
        (40, 40, 79.0, NOT_BACK),
        (80, 89, 3.0, "ok"),
        (80, 11, 2.0, RETURN_FAILED),
    ):
        returns = samples_of(np.full(number, float(dropped)), np.full(number, time), "WS /", outcome)
        run.table.record(returns, timing=RECONNECT)
    assert judge(BACK, run).status is FAIL


def test_a_run_that_ended_because_nobody_was_answered_is_invalid_where_the_machine_was_busy() -> None:
    changes = {
        "outcome": "timeout",
        "ended": "emergency stop: 100 of 100 operations failed in the last ten seconds",
    }
    for observations, status in ((figures(BURNER), INVALID), (figures({}), FAIL)):
        run = run_with(observations, slow=range(100, 120), ended_at=120.0, **changes)
        assert judge(error_rate(0.01), run).status is status


# --- where it is not known who used the machine


def without(name: str, *uses: Use) -> tuple[Observation, ...]:
    return tuple(
        replace(each, series=tuple(one for one in each.series if one.instance not in uses))
        if each.name == name
        else each
        for each in figures(BURNER)
    )


def test_other_processes_that_may_be_the_services_own_explain_nothing() -> None:
    unknown = without(machine.PROCESSORS, Use.OTHERS, Use.ENVIRONMENT)
    assert verdict_on(unknown).status is FAIL
    small = tuple(
        replace(each, series=tuple(one for one in each.series if one.instance != Use.ENVIRONMENT))
        for each in figures(SMALL)
    )
    assert verdict_on(small).status is FAIL


def test_what_runs_outside_a_container_may_be_the_service_and_explains_nothing() -> None:
    outside = figures({Use.GENERATOR: 0.2, Use.ENVIRONMENT: 0.0, Use.OUTSIDE: 0.8})
    assert verdict_on(outside).status is FAIL


def test_a_machine_that_carries_only_the_load_generator_may_be_too_small_for_it() -> None:
    alone = figures({Use.GENERATOR: 0.97, Use.ENVIRONMENT: 0.0}, largest=0.0)
    assert "the load generator itself took 97 % of it" in verdict_on(alone).reason


def test_the_causes_are_found_once_for_all_criteria() -> None:
    evidence = Evidence(run_with(figures(BURNER)))
    assert evidence.contention(Window(0, SECONDS)) is evidence.contention(Window(0, SECONDS))


# --- other machines


def hosts(**shares: float) -> tuple[Observation, ...]:
    """What node_exporter tells of one machine, as the environment file's queries give it."""
    return tuple(
        Observation(
            f"{machine.HOSTS}{figure}",
            Reading.GAUGE,
            "ratio",
            (Series("db-1", TIMES, np.full(len(TIMES), share)),),
            1.0,
        )
        for figure, share in shares.items()
    )


@pytest.mark.parametrize(
    ("figures_of_hosts", "status", "reason"),
    [
        (
            hosts(idle=0.5, steal=0.3),
            INVALID,
            "The host took 30 % of db-1's processors (steal), which may be why",
        ),
        (hosts(steal=0.3), INVALID, "The host took 30 % of db-1's processors (steal), which may be why"),
        (
            hosts(idle=0.02, steal=0.0, environment=0.4),
            INVALID,
            "Other processes took 58 % of db-1, which may be why",
        ),
        (hosts(idle=0.3, pressure=0.8, environment=0.3), INVALID, "Other processes took 40 % of db-1,"),
        (hosts(idle=0.02, steal=0.0), FAIL, ""),  # full, and by the service, for all that is known
        (hosts(idle=0.02, environment=0.95), FAIL, ""),
        (hosts(idle=0.5, environment=0.2), FAIL, ""),
    ],
)
def test_other_machines_explain_a_fail_by_steal_and_by_processes_that_are_not_the_services(
    figures_of_hosts, status, reason
) -> None:
    verdict = verdict_on((*figures({}), *figures_of_hosts))
    assert verdict.status is status, verdict.reason
    assert status is FAIL or verdict.reason.startswith(reason), verdict.reason


@pytest.mark.parametrize(
    ("sentence", "outcome", "seconds", "timing", "status"),
    [
        ("the workflow success rate is above 99%", "step failed: see it", 10.5, WORKFLOW, INVALID),
        ("the workflow success rate is above 99%", "step failed: see it", 0.5, WORKFLOW, FAIL),
        ("the error rate is below 1%", "statement timeout (57014)", 5.0, QUERY, INVALID),
        ("the error rate is below 1%", "deadlock (40P01)", 5.0, QUERY, FAIL),
        ("the p95 time to reconnect is below 5 s", NOT_BACK, 15.0, RECONNECT, INVALID),
        ("the p95 time to reconnect is below 5 s", "status 401", 15.0, RECONNECT, FAIL),
    ],
)
def test_operations_that_were_given_up_after_waiting_may_come_from_a_busy_machine(
    sentence, outcome, seconds, timing, status
) -> None:
    run = run_with(figures(BURNER), ())
    for number, how, took in ((SECONDS * 20, outcome, seconds), (SECONDS * 50, "ok", 0.02)):
        starts = np.linspace(0, SECONDS, number, endpoint=False)
        run.table.record(samples_of(starts, np.full(number, took), "it", how), timing=timing)
    assert judge(grammar.criterion(sentence), run).status is status


@pytest.mark.parametrize("fault", ["machine", "relay"])
def test_deliveries_are_judged_again_without_a_correction_for_users_who_wait(fault) -> None:
    """They are slow only while something delays them. Nobody waits for them, so none is added."""
    random = np.random.default_rng(1)
    created = np.sort(random.uniform(0, SECONDS, 2000 * SECONDS))
    slow = 9.0 * random.uniform(0.8, 1.0, len(created))
    took = np.where((created >= 30) & (created < 90), slow, random.exponential(0.01, len(created)))
    table = SliceTable()
    rows = np.column_stack((created, created + took, np.full(len(created), 100.0)))
    count_messages(table, rows, "edit", DELIVERY)
    relay = {"late": [[second, 3.0] for second in range(33, 90)]}  # each for the 3 s before
    mix = (MixEntry("journeys:browse", 1.0, "Asia"),)
    run = run_of(
        table,
        plan_of(SECONDS, model=Model.CLOSED).with_workloads(lambda load: replace(load, mix=mix)),
        observations=busy_in(range(28, 92)) if fault == "machine" else (),
        facts={"relay": relay, "regions": {"Asia": {}}} if fault == "relay" else {},
    )
    verdict = judge(grammar.criterion("an event reaches every dashboard within 100 ms"), run)
    assert verdict.status is INVALID, verdict.reason


def test_figures_of_other_machines_need_none_of_this_one() -> None:
    verdict = verdict_on(hosts(idle=0.5, steal=0.3))
    assert verdict.status is INVALID
    assert verdict.details["machine"]["other machines"]["db-1"]["steal"] == pytest.approx(0.3)


def test_a_busy_machine_before_the_disturbance_is_no_measure_of_before():
    """Other processes made operations slow before the kill; the service is as slow after it."""
    killed = Action("an instance is killed", at=60.0)
    busy = {Use.OTHERS: during(range(38, 60), 0.72), Use.ENVIRONMENT: 0.2, Use.GENERATOR: 0.05}
    run = run_of(
        operations(range(40, 120)),
        plan_of(SECONDS, actions=(killed,)),
        observations=figures(busy),
        events=(Event(60.0, killed.name, 0.1),),
    )
    verdict = judge(grammar.recovery_within("the service recovers within 10 seconds", 10.0), run)
    assert verdict.status is FAIL


@pytest.mark.parametrize(
    ("slow_until", "status"),
    [
        (68, INVALID),  # two bad windows: without the busy seconds it had recovered after 10 s
        (78, FAIL),  # after 20 s, whatever else ran later
    ],
)
def test_a_recovery_is_judged_again_without_the_windows_in_which_the_machine_was_busy(slow_until, status):
    """Other processes make one window bad, after most of the bad ones."""
    killed = Action("an instance is killed", at=60.0)
    busy = {Use.OTHERS: during(range(80, 87), 0.72), Use.ENVIRONMENT: 0.2, Use.GENERATOR: 0.05}
    run = run_of(
        operations((*range(60, slow_until), 82, 83)),
        plan_of(SECONDS, actions=(killed,)),
        observations=figures(busy),
        events=(Event(60.0, killed.name, 0.1),),
    )
    verdict = judge(grammar.recovery_within("the service recovers within 15 seconds", 15.0), run)
    assert verdict.status is status
    assert verdict.measured == 25.0
    stands = any("this does not explain the fail" in warning for warning in verdict.warnings)
    assert stands is (status is FAIL)
