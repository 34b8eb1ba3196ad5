"""The line between the workers and who started them."""

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Client, Listener
from types import SimpleNamespace

import numpy as np
import pytest

from loadkit.clock import MonotonicClock
from loadkit.engine import channel as line
from loadkit.engine.channel import HungUp, Line, Switchboard
from loadkit.recording.recorder import Recorder
from loadkit.recording.slices import Kind


def report_of(worker: int):
    recorder = Recorder(worker, 0.0)
    recorder.lag(0.5, 0.001)
    return recorder.report()


def heard(board, count: int):
    return [board.next(5.0) for _ in range(count)]


def test_reports_arrive_in_order_and_then_the_line_is_hung_up():
    with Switchboard(1) as board:
        with pickle.loads(pickle.dumps(board.line(0))) as emit:
            assert emit(report_of(0))
            assert emit(report_of(0))
        first, second, end = heard(board, 3)
    assert np.array_equal(first.table.keys, second.table.keys)
    assert first.table.select(Kind.LAG, ["worker:0"], 0, 1)[3].tolist() == [1]
    assert end == HungUp(0, is_done=True)


class SteppedClock(MonotonicClock):
    """The clock of a host whose time is wrong."""

    def unix(self, moment):
        return super().unix(moment) + 3600.0


def test_a_worker_knows_how_far_its_clock_is_ahead():
    with Switchboard(1) as board, board.line(0) as emit:
        # Both read this machine's clock: what they differ by is far less than the round trip may last.
        assert abs(emit.clock_offset(MonotonicClock())) < 1
        assert emit.clock_offset(SteppedClock()) == pytest.approx(3600, abs=1)


def test_of_the_times_that_it_is_told_a_worker_believes_the_one_that_came_soonest(monkeypatch):
    moments = iter([0.0, 1.0, 10.0, 10.1, 20.0, 25.0])
    monkeypatch.setattr(line, "_ROUNDS", 3)
    monkeypatch.setattr(line, "time", SimpleNamespace(monotonic=lambda: next(moments)))

    class Hearsay:
        times = iter([100.0, 110.05, 115.0])

        def send(self, said):
            assert said == "what time is it?"

        def recv(self):
            return next(self.times)

    assert Line("", b"", 0)._ask_for_the_time(Hearsay()) == (pytest.approx(10.05), 110.05)


def test_a_worker_that_is_told_to_stop_hears_it_with_a_report():
    with Switchboard(1) as board, board.line(0) as emit:
        assert emit(report_of(0))
        board.next(5.0)
        board.stop()
        goes_on = threading.Event()
        for _ in range(50):
            if not emit(report_of(0)):
                break
            goes_on.wait(0.05)
        else:
            pytest.fail("it was never told")


def test_a_line_that_breaks_is_no_proper_end():
    with Switchboard(1) as board:
        address, key, worker = board.line(4).__getstate__()
        with Client(address, authkey=key) as connection:
            connection.send((worker, 99))
        assert board.next(5.0) == HungUp(4, is_done=False)
        assert board.pids == {4: 99}


def test_strangers_are_not_let_in():
    with Switchboard(1) as board:
        address, _, _ = board.line(0).__getstate__()
        with pytest.raises(Exception, match="digest"), Client(address, authkey=b"guessed"):
            pass
        with board.line(0) as emit:
            emit(report_of(0))
        assert board.next(5.0).worker == 0


def test_a_board_that_nobody_called_closes():
    with Switchboard(2) as board:
        pass
    assert not board._operator.is_alive()


def test_a_worker_whose_board_is_gone_is_told_to_stop():
    with Listener(family="AF_UNIX", authkey=b"key") as listener:
        their_end = Line(listener.address, b"key", 0)
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
    with Switchboard(1) as board:
        assert board.next(0.01) is None
