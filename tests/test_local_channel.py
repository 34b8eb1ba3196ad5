"""The channel between workers and who started them, as it is on one machine."""

import pickle
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Client, Listener
from types import SimpleNamespace

import numpy as np
import pytest

from loadkit.clock import MonotonicClock
from loadkit.engine import local_channel
from loadkit.engine.channel import Disconnected
from loadkit.engine.local_channel import LocalChannel, LocalEndpoint
from loadkit.recording.recorder import Recorder
from loadkit.recording.slices import Kind


def report_of(worker: int):
    recorder = Recorder(worker, 0.0)
    recorder.lag(0.5, 0.001)
    return recorder.report()


def heard(channel, count: int):
    return [channel.next(5.0) for _ in range(count)]


def test_reports_arrive_in_order_and_then_the_worker_is_disconnected():
    with LocalChannel(1) as channel:
        with pickle.loads(pickle.dumps(channel.endpoint(0))) as emit:
            assert emit(report_of(0))
            assert emit(report_of(0))
        first, second, end = heard(channel, 3)
    assert np.array_equal(first.table.keys, second.table.keys)
    assert first.table.select(Kind.LAG, ["worker:0"], 0, 1)[3].tolist() == [1]
    assert end == Disconnected(0, is_done=True)


def test_a_channel_is_drained_when_all_that_connected_are_said_to_be_gone():
    with LocalChannel(1) as channel:
        assert channel.is_drained, "nobody connected yet"
        with channel.endpoint(0) as emit:
            emit(report_of(0))
        seen = [(type(channel.next(5.0)).__name__, channel.is_drained) for _ in range(2)]
    assert seen == [("Report", False), ("Disconnected", True)]


class SteppedClock(MonotonicClock):
    """The clock of a host whose time is wrong."""

    def unix(self, moment):
        return super().unix(moment) + 3600.0


def test_a_worker_knows_how_far_its_clock_is_ahead():
    with LocalChannel(1) as channel, channel.endpoint(0) as emit:
        # Both read this machine's clock: what they differ by is far less than the round trip may last.
        assert abs(emit.clock_offset(MonotonicClock())) < 1
        assert emit.clock_offset(SteppedClock()) == pytest.approx(3600, abs=1)


def test_of_the_times_that_it_is_told_a_worker_takes_the_one_that_came_soonest(monkeypatch):
    moments = iter([0.0, 1.0, 10.0, 10.1, 20.0, 25.0])
    monkeypatch.setattr(local_channel, "_ROUNDS", 3)
    monkeypatch.setattr(local_channel, "time", SimpleNamespace(monotonic=lambda: next(moments)))

    class Hearsay:
        times = iter([100.0, 110.05, 115.0])

        def send(self, said):
            assert said == "what time is it?"

        def recv(self):
            return next(self.times)

    assert LocalEndpoint("", b"", 0)._read_clock(Hearsay()) == (pytest.approx(10.05), 110.05)


def test_a_worker_that_is_told_to_stop_hears_it_with_a_report():
    with LocalChannel(1) as channel, channel.endpoint(0) as emit:
        assert emit(report_of(0))
        channel.next(5.0)
        channel.stop()
        goes_on = threading.Event()
        for _ in range(50):
            if not emit(report_of(0)):
                break
            goes_on.wait(0.05)
        else:
            pytest.fail("it was never told")


def test_a_worker_that_connects_after_the_order_to_stop_hears_it_too():
    with LocalChannel(1) as channel:
        channel.stop()
        with channel.endpoint(0) as emit:
            goes_on = threading.Event()
            for _ in range(50):
                if not emit(report_of(0)):
                    break
                goes_on.wait(0.05)
            else:
                pytest.fail("it was never told")


def test_workers_that_do_not_stop_are_killed_and_who_started_them_is_not():
    with LocalChannel(2) as channel, channel.endpoint(0):
        address, key, _ = channel.endpoint(1).__getstate__()
        script = f"""
from loadkit.engine.local_channel import LocalEndpoint
with LocalEndpoint({address!r}, {key!r}, 1) as emit:
    print("connected", flush=True)
    __import__("time").sleep(60)
"""
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as worker:
            assert worker.stdout is not None
            worker.stdout.readline()
            channel.kill()
            assert worker.wait(10) == -signal.SIGKILL
        assert channel.next(5.0) == Disconnected(1, is_done=False)


def test_a_connection_that_breaks_is_no_proper_end():
    with LocalChannel(1) as channel:
        address, key, worker = channel.endpoint(4).__getstate__()
        with Client(address, authkey=key) as connection:
            connection.send((worker, 99))
        assert channel.next(5.0) == Disconnected(4, is_done=False)


def test_strangers_are_not_let_in():
    with LocalChannel(1) as channel:
        address, _, _ = channel.endpoint(0).__getstate__()
        with pytest.raises(Exception, match="digest"), Client(address, authkey=b"guessed"):
            pass
        with channel.endpoint(0) as emit:
            emit(report_of(0))
        assert channel.next(5.0).worker == 0


def test_a_channel_that_no_worker_connected_to_closes():
    with LocalChannel(2) as channel:
        pass
    assert not channel._acceptor.is_alive()


def test_a_worker_whose_channel_is_gone_is_told_to_stop():
    with Listener(family="AF_UNIX", authkey=b"key") as listener:
        their_end = LocalEndpoint(listener.address, b"key", 0)
        with ThreadPoolExecutor(1) as other:
            other.submit(lambda: listener.accept().close())
            with their_end as emit:
                for _ in range(100):
                    if not emit(report_of(0)):
                        break
                    threading.Event().wait(0.02)
                else:
                    pytest.fail("it went on")


def test_nothing_said_is_nothing_heard():
    with LocalChannel(1) as channel:
        assert channel.next(0.01) is None


def test_an_endpoint_closes_although_the_other_side_keeps_its_connection_open():
    with Listener(family="AF_UNIX", authkey=b"key") as listener, ThreadPoolExecutor(2) as other:
        theirs = other.submit(listener.accept)

        def live():
            with LocalEndpoint(listener.address, b"key", 0) as emit:
                emit(report_of(0))

        lived = other.submit(live)
        with theirs.result(60) as connection:
            assert connection.recv()[0] == 0
            for _ in range(local_channel._ROUNDS):
                assert connection.recv() == "what time is it?"
                connection.send(0.0)
            assert connection.recv() is not None
            assert connection.recv() is None
            lived.result(60)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_report_that_cannot_be_sent_ends_the_worker_and_is_noticed_at_once():
    with LocalChannel(1) as channel, channel.endpoint(0) as emit:
        emit(lambda: "cannot be pickled")
        assert channel.next(60.0) == Disconnected(0, is_done=False)
        assert not emit(report_of(0))
