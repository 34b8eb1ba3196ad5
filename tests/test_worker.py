"""One worker's load, simulated: virtual time, a service of given times."""

import asyncio
import contextlib
import gc
from collections import Counter
from dataclasses import replace

import pytest

from loadkit.drivers.fake import Answer
from loadkit.engine import worker
from loadkit.engine.worker import Shard
from loadkit.errors import ConfigurationError
from loadkit.recording.deliveries import UNREACHED
from loadkit.recording.messages import STATE_SEEN, STATES_DUE
from loadkit.recording.slices import Kind, label_series
from loadkit.recording.stalls import common
from loadkit.recording.timing import DELIVERY
from loadkit.target import Target
from loadkit.users.open_load import OpenLoad
from loadkit.workload.workload import MixEntry, Model, Stage, Think
from tests.virtual_time import ORIGIN, ROOT, accounts, after, plan_of, quantile, simulate


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


def test_a_token_that_expires_during_a_pause_is_renewed_before_the_next_journey():
    asked = []

    def service(now, _method, path):
        asked.append((path, now))
        return Answer(0.01)

    simulate(plan_of("tests.sample_journeys:with_a_token", level=1, seconds=500, pace=120.0), service)
    of_tokens = [place for place, (path, _) in enumerate(asked) if path == "/token"]
    assert len(of_tokens) == 4
    assert all(asked[place + 1][1] - asked[place][1] < 1.0 for place in of_tokens)
