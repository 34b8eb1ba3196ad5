"""The alarms of many connections, on a clock that the test moves."""

import pytest

from loadkit.drivers.websocket import alarms as module
from loadkit.drivers.websocket.alarms import GRID, Alarms


class FakeLoop:
    """A loop whose timers expire as its time passes."""

    def __init__(self):
        self.now = 1000.0
        self.timers = []

    def call_later(self, delay, callback):
        timer = FakeTimer(self.now + delay, callback)
        self.timers.append(timer)
        return timer

    def pass_to(self, moment):
        while due := [each for each in self.timers if not each.is_over and each.moment <= moment]:
            timer = min(due, key=lambda each: each.moment)
            self.now = max(self.now, timer.moment)
            timer.is_over = True
            timer.callback()
        self.now = moment

    @property
    def pending(self):
        return sum(not each.is_over for each in self.timers)


class FakeTimer:
    def __init__(self, moment, callback):
        self.moment, self.callback, self.is_over = moment, callback, False

    def cancel(self):
        self.is_over = True


class Bell:
    def __init__(self, loop, then=lambda: None):
        self._loop, self._then = loop, then
        self.rung = []

    def ring(self):
        self.rung.append(self._loop.now)
        self._then()


@pytest.fixture
def loop(monkeypatch):
    loop = FakeLoop()
    monkeypatch.setattr(module, "monotonic", lambda: loop.now)
    return loop


@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.02, 0.049, 0.05, 0.3333, 20.0])
def test_an_alarm_rings_once_at_its_moment_or_up_to_a_grid_later(loop, seconds):
    alarms, bell = Alarms(loop), Bell(loop)
    alarms.set(1000.0 + seconds, bell)
    loop.pass_to(1100.0)
    (rung,) = bell.rung
    assert 1000.0 + seconds <= rung <= 1000.0 + seconds + GRID + 1e-9


def test_an_alarm_before_all_others_is_not_kept_waiting(loop):
    alarms, late, early = Alarms(loop), Bell(loop), Bell(loop)
    alarms.set(1010.0, late)
    alarms.set(1001.0, early)
    loop.pass_to(1002.0)
    assert (len(early.rung), len(late.rung)) == (1, 0)
    loop.pass_to(1011.0)
    assert len(late.rung) == 1


def test_a_cancelled_alarm_does_not_ring_also_if_the_one_that_rings_with_it_cancels_it(loop):
    alarms = Alarms(loop)
    bells = [Bell(loop, lambda: alarms.cancel(set_for[1], bells[1])), Bell(loop)]
    bells[1]._then = lambda: alarms.cancel(set_for[0], bells[0])
    set_for = [alarms.set(1001.0, each) for each in bells]
    alone = Bell(loop)
    alarms.cancel(alarms.set(1001.5, alone), alone)
    loop.pass_to(1010.0)
    assert sum(len(each.rung) for each in bells) == 1
    assert alone.rung == []


def test_an_alarm_that_is_set_while_one_rings_rings_too(loop):
    alarms, second = Alarms(loop), Bell(loop)
    alarms.set(1001.0, Bell(loop, lambda: alarms.set(loop.now, second)))
    loop.pass_to(1010.0)
    (rung,) = second.rung
    assert rung <= 1001.0 + 2 * GRID


def test_a_thousand_alarms_need_one_timer_at_a_time_and_leave_none_behind(loop):
    alarms, bells = Alarms(loop), [Bell(loop) for _ in range(1000)]
    for number, bell in enumerate(bells):
        alarms.set(1000.0 + number * 0.01, bell)
        assert loop.pending == 1
    loop.pass_to(1100.0)
    assert loop.pending == 0
    assert all(len(each.rung) == 1 for each in bells)
