"""A load while it is on: what ends it, and what is known of it then."""

import os
import signal
import threading
import time
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace

import numpy as np
import pytest

from loadkit.clock import ManualClock
from loadkit.engine.channel import Disconnected
from loadkit.engine.monitor import RunMonitor
from loadkit.errors import ConfigurationError
from loadkit.recording.ending import COMPLETE, INTERRUPTED, Ending, EndingKind
from loadkit.recording.messages import CONNECTIONS
from loadkit.recording.recorder import Recorder, Report
from loadkit.recording.sample import OK, Sample
from loadkit.users.lifecycle import ARRIVAL_LABEL
from loadkit.verdict import Status
from loadkit.workload.plan import Action
from tests.builders import error_rate, judge, plan_of, response_time, run_of, samples_of, throughput

SECONDS = 60
PLAN = plan_of(SECONDS)


class FakeChannel:
    """Gives what it was given, and notes what it was told."""

    def __init__(self, *said: Report | Disconnected | None) -> None:
        self.said = list(said)
        self.told: list[str] = []
        self.on_stop = lambda: None
        self.on_kill = lambda: None

    def next(self, timeout: float) -> Report | Disconnected | None:
        return self.said.pop(0) if self.said else None

    @property
    def is_drained(self) -> bool:
        return not self.said

    def stop(self) -> None:
        self.told.append("stop")
        self.on_stop()

    def kill(self) -> None:
        self.told.append("kill")
        self.on_kill()


def report(worker: int = 0, failed: int = 0) -> Report:
    recorder = Recorder(worker, 0.0)
    recorder.population("users").requests.samples += [Sample("GET /", OK, 0.0, 0.0, 0.01, 0)]
    recorder.population("users").requests.samples += [Sample("GET /", "reset", 0.0, 0.0, 0.01, 0)] * failed
    return recorder.report()


def ended(error: Exception | None = None) -> "Future[None]":
    future: Future[None] = Future()
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
    return future


def monitor_of(channel: FakeChannel, plan=PLAN, workers=1, **rest) -> RunMonitor:
    return RunMonitor(plan, channel, workers, rest.get("stop", threading.Event()), rest.get("watch"))


def test_a_load_that_all_workers_went_through_is_complete() -> None:
    channel = FakeChannel(report(0), report(1), Disconnected(0, True), Disconnected(1, True))
    monitor = monitor_of(channel, workers=2)
    monitor.follow([ended(), ended()], time.time())
    assert (monitor.ended, monitor.ended_at, monitor.has_all_reports) == (COMPLETE, SECONDS, True)
    assert [second.worker for second in monitor.worker_seconds] == [0, 1]
    assert len(monitor.tables) == 2
    assert channel.told == []


def test_a_worker_that_dies_ends_the_load_of_the_others() -> None:
    recorder = Recorder(1, 0.0)
    reports = [recorder.report() for _ in range(10)]
    channel = FakeChannel(report(), *reports, Disconnected(1, is_done=False), Disconnected(0, True))
    monitor = monitor_of(channel, workers=2)
    monitor.follow([ended(), ended()], time.time() - 10)
    assert (monitor.ended, monitor.ended_at) == (Ending(EndingKind.WORKER_DIED, "worker 1"), 10)
    assert not monitor.has_all_reports
    assert channel.told == ["stop"]


def test_a_worker_that_dies_is_named_by_its_connection_although_the_whole_pool_broke_before() -> None:
    channel = FakeChannel(report(), None, None, Disconnected(1, is_done=False), Disconnected(0, True))
    monitor = monitor_of(channel, workers=2)
    monitor.follow([ended(BrokenProcessPool("broken")), ended(BrokenProcessPool("broken"))], time.time() - 10)
    assert monitor.ended == Ending(EndingKind.WORKER_DIED, "worker 1")


def test_a_worker_that_dies_before_it_connects_is_no_complete_run() -> None:
    monitor = monitor_of(FakeChannel())
    monitor.follow([ended(BrokenProcessPool("broken"))], time.time() - 10)
    assert monitor.ended == Ending(EndingKind.WORKER_FAILED, "worker 0: BrokenProcessPool: broken")


def test_a_worker_that_fails_ends_the_load_and_its_error_is_kept() -> None:
    channel = FakeChannel(report(), Disconnected(0, True))
    monitor = monitor_of(channel)
    monitor.follow([ended(ValueError("no such thing"))], time.time() - 10)
    assert monitor.ended == Ending(EndingKind.WORKER_FAILED, "worker 0: ValueError: no such thing")
    assert not monitor.has_all_reports
    assert channel.told == ["stop"]


def test_a_worker_that_could_not_begin_makes_no_run() -> None:
    channel = FakeChannel(Disconnected(0, True))
    with pytest.raises(ConfigurationError, match="too few accounts"):
        monitor_of(channel).follow([ended(ConfigurationError("too few accounts"))], time.time())
    assert channel.told == ["stop"]


def test_a_load_that_is_told_to_stop_was_interrupted() -> None:
    stop = threading.Event()
    stop.set()
    channel = FakeChannel(report(), Disconnected(0, True))
    monitor = monitor_of(channel, stop=stop)
    monitor.follow([ended()], time.time() - 5)
    assert (monitor.ended, monitor.has_all_reports) == (INTERRUPTED, True)
    assert channel.told == ["stop"]


def test_workers_that_do_not_end_are_killed() -> None:
    stuck: Future[None] = Future()
    channel = FakeChannel()
    channel.on_kill = lambda: stuck.set_result(None)
    monitor = monitor_of(channel)
    monitor.follow([stuck], time.time() - 1000)
    assert monitor.ended == Ending(EndingKind.WORKERS_STUCK)
    assert channel.told == ["stop", "kill"]


def test_workers_get_the_time_for_which_this_machine_was_halted() -> None:
    """No worker can end while the machine stands still, as a virtual machine does when it is moved."""
    done: Future[None] = Future()
    channel, clock, waits = FakeChannel(), ManualClock(), [0.25, 30.0, 0.25, 9.0, 0.25]

    def next_message(timeout: float) -> Disconnected | None:
        assert timeout == 0.25
        clock.advance(waits.pop(0))
        if waits:
            return None
        done.set_result(None)
        return Disconnected(0, True)

    channel.next = next_message
    monitor = RunMonitor(replace(PLAN, drain=0.0), channel, 1, threading.Event(), None, clock=clock)
    monitor.follow([done], -float(SECONDS))
    assert (monitor.ended, channel.told) == (COMPLETE, [])


def test_a_step_of_the_wall_clock_ends_no_load(monkeypatch) -> None:
    """An hour is more than the patience with workers."""
    channel = FakeChannel(report(), None, Disconnected(0, True))
    monitor, begun, now = monitor_of(channel), time.time(), time.time
    monkeypatch.setattr(time, "time", lambda: now() + 3600.0)
    monitor.follow([ended()], begun)
    assert (monitor.ended, channel.told) == (COMPLETE, [])


def stuck_after(seconds: int, *others: Disconnected, **rest) -> RunMonitor:
    """The monitor of a finished load of two workers: worker 0 is done, worker 1 reported some seconds and never ended."""
    stuck: Future[None] = Future()
    recorder = Recorder(1, 0.0)
    channel = FakeChannel(*[recorder.report() for _ in range(seconds)], Disconnected(0, True), *others)
    channel.on_kill = lambda: stuck.done() or stuck.set_result(None)
    monitor = monitor_of(channel, workers=2, **rest)
    monitor.follow([ended(), stuck], time.time() - 1000)
    return monitor


def test_a_load_ended_with_the_last_report_of_the_worker_that_is_stuck() -> None:
    monitor = stuck_after(30)
    assert (monitor.ended.kind, monitor.ended_at) == (EndingKind.WORKERS_STUCK, 30)
    assert not monitor.has_all_reports


def test_a_stop_does_not_hide_that_a_worker_was_stuck_before_it() -> None:
    stop = threading.Event()
    stop.set()
    monitor = stuck_after(30, stop=stop)
    assert (monitor.ended, monitor.ended_at) == (INTERRUPTED, 30)


def test_a_load_ended_with_the_last_report_of_the_worker_that_died_long_after_it() -> None:
    recorder = Recorder(1, 0.0)
    channel = FakeChannel(
        *[recorder.report() for _ in range(30)], Disconnected(0, True), Disconnected(1, False)
    )
    monitor = monitor_of(channel, workers=2)
    monitor.follow([ended(), ended()], time.time() - SECONDS - 1)
    assert (monitor.ended, monitor.ended_at) == (Ending(EndingKind.WORKER_DIED, "worker 1"), 30)


@pytest.mark.parametrize("others", [(), (Disconnected(1, True),)])
def test_a_worker_that_is_stuck_after_the_load_put_all_of_it_on(others) -> None:
    assert stuck_after(SECONDS + 5, *others).ended_at == SECONDS


def test_half_of_a_load_that_a_stuck_worker_left_out_passes_nothing() -> None:
    monitor = stuck_after(30)
    starts = np.concatenate([np.arange(0, 60, 0.02), np.arange(0, 30, 0.02)])
    run = run_of(
        samples_of(starts, np.full(len(starts), 0.01)),
        PLAN,
        ended=str(monitor.ended),
        ended_at=monitor.ended_at,
    )
    for criterion in (response_time(), error_rate(), throughput(80), throughput(90)):
        verdict = judge(criterion, run)
        assert verdict.status is Status.INCONCLUSIVE
        assert "cut short after 30 s (the workers did not end)" in verdict.reason
        assert verdict.measured == pytest.approx(
            100 if criterion.measure.name == "throughput" else verdict.measured
        )


@pytest.mark.parametrize(
    ("actions", "kind"),
    [((), EndingKind.EMERGENCY_STOP), ((Action("an instance is killed"),), EndingKind.COMPLETE)],
)
def test_most_operations_failing_ends_a_load_unless_the_plan_disturbs_the_service(actions, kind) -> None:
    channel = FakeChannel(*[report(failed=2) for _ in range(10)], Disconnected(0, True))
    monitor = monitor_of(channel, plan_of(SECONDS, actions=actions))
    monitor.follow([ended()], time.time() - 10)
    assert monitor.ended.kind is kind


@pytest.mark.parametrize(
    ("seconds_after_the_end", "kind"), [(-1, EndingKind.EMERGENCY_STOP), (1, EndingKind.COMPLETE)]
)
def test_operations_that_still_fail_in_the_drain_are_no_emergency(seconds_after_the_end, kind) -> None:
    channel = FakeChannel(*[report(failed=2) for _ in range(10)], Disconnected(0, True))
    monitor = monitor_of(channel)
    monitor.follow([ended()], time.time() - SECONDS - seconds_after_the_end)
    assert monitor.ended.kind is kind
    assert monitor.ended_at == pytest.approx(SECONDS, abs=1)
    assert channel.told == ([] if kind is EndingKind.COMPLETE else ["stop"])


@pytest.mark.parametrize(
    ("connections", "kind"), [(995, EndingKind.COMPLETE), (0, EndingKind.EMERGENCY_STOP)]
)
def test_users_who_cannot_log_in_end_no_load_whose_connections_are_open(connections, kind) -> None:
    recorder = Recorder(0, 0.0)
    reports = []
    for _ in range(10):
        population = recorder.population("users")
        population.gauges[CONNECTIONS] = float(connections)
        population.requests.samples += [Sample(ARRIVAL_LABEL, "status 401", 0.0, 0.0, 0.01, 0)] * 5
        reports.append(recorder.report())
    monitor = monitor_of(FakeChannel(*reports, Disconnected(0, True)))
    monitor.follow([ended()], time.time() - 10)
    assert monitor.ended.kind is kind


def test_the_progress_is_shown_once_a_second_although_each_look_comes_a_little_late(monkeypatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "time", lambda: now)
    shown: list[float] = []
    monitor = monitor_of(FakeChannel(), watch=lambda _progress: shown.append(now))
    monitor._started = monitor._shown = now
    for _ in range(150):
        now += 0.23
        monitor._show(now)
    assert len(shown) in (33, 34)
    shown.clear()
    now += 20  # the machine stood still: what was due meanwhile is not shown again and again
    for _ in range(5):
        monitor._show(now)
        now += 0.2
    assert len(shown) in (1, 2)


def test_a_progress_that_cannot_be_shown_is_a_warning_and_the_load_goes_on() -> None:
    def watch(_progress: object) -> None:
        raise BrokenPipeError("nobody reads it")

    channel = FakeChannel(report(), report(), Disconnected(0, True))
    monitor = monitor_of(channel, watch=watch)
    monitor.follow([ended()], time.time() - 5)
    assert monitor.ended == COMPLETE
    assert len(monitor.tables) == 2
    (warning,) = monitor.warnings
    assert warning.startswith("the progress could not be shown: BrokenPipeError: nobody reads it")


def test_ctrl_c_after_the_load_loses_nothing_of_it_and_is_not_forgotten() -> None:
    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # whoever runs the tests may have it ignored
    try:
        monitor = monitor_of(FakeChannel(report(), Disconnected(0, True)))
        with monitor.interruptible():
            monitor.follow([ended()], time.time())
            os.kill(os.getpid(), signal.SIGINT)  # while actions are undone, say
        assert (monitor.ended, monitor.ended_at) == (INTERRUPTED, SECONDS)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_sigterm_ends_the_load_as_ctrl_c_does_where_its_handler_is_that_of_ctrl_c() -> None:
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        monitor = monitor_of(FakeChannel(report(), Disconnected(0, True)))
        with monitor.interruptible():
            os.kill(os.getpid(), signal.SIGTERM)
            monitor.follow([ended()], time.time())
            assert monitor.ended == INTERRUPTED
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with monitor.interruptible():
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)


def test_ctrl_c_is_known_also_if_a_worker_died_at_the_same_moment() -> None:
    """A pipeline sends SIGTERM to all processes, also to the workers, so their end can be seen first."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        monitor = monitor_of(FakeChannel(Disconnected(0, False)))
        with monitor.interruptible():
            os.kill(os.getpid(), signal.SIGTERM)
            monitor.follow([ended()], time.time())
        assert monitor.ended.kind is EndingKind.WORKER_DIED
        assert monitor.is_interrupted
    finally:
        signal.signal(signal.SIGTERM, before)
