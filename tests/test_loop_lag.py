"""How a worker measures the lag of its event loop, on a clock that stalls as the test says."""

import asyncio
import random
from types import SimpleNamespace

import pytest

from loadkit.engine import worker

BOUND = 0.01
"""Seconds: the lag of one sample in a hundred at which a worker counts as overloaded."""
SECONDS = 2000.0


class OverError(Exception):
    pass


class StallingLoop:
    """A clock, a pacer and a recorder; whoever is due during a stall wakes at its end."""

    def __init__(self, stalls):
        self.time = 0.0
        self.lags = []
        self._stalls = iter(stalls)
        self._stall = next(self._stalls)

    def now(self):
        return self.time

    async def until(self, due):
        while sum(self._stall) <= due:
            self._stall = next(self._stalls, (float("inf"), 0.0))
        begun, length = self._stall
        self.time = begun + length if begun <= due else due
        if self.time > SECONDS:
            raise OverError

    def lag(self, _now, seconds):
        self.lags.append(seconds)

    def count_full_chunks(self):
        return False


def stalls(length, busy):
    """Stalls of a length that take a ratio of the time, at random moments."""
    draw, at, found = random.Random(5), 0.0, []
    while at < SECONDS:
        at += draw.expovariate(busy / (length * (1 - busy)))
        found.append((at, length))
        at += length
    return found


def share_of_lags(length, busy, tick, monkeypatch):
    """The ratio of the samples that lag by more than the bound."""
    monkeypatch.setattr(worker, "_TICK", tick)
    loop = StallingLoop(stalls(length, busy))
    with pytest.raises(OverError):
        asyncio.run(worker._watch_loop(SimpleNamespace(clock=loop, pacer=loop, recorder=loop)))
    return sum(lag > BOUND for lag in loop.lags) / len(loop.lags)


@pytest.mark.parametrize("length", [0.012, 0.02, 0.05, 0.2, 1.0])
def test_stalls_of_any_length_show_as_often_as_with_a_look_every_hundredth_of_a_second(length, monkeypatch):
    """A long stall is one sample. So fewer samples besides make it weigh more, not less."""
    busy = 0.1
    usual = share_of_lags(length, busy, worker._TICK, monkeypatch)
    assert usual > 0.8 * share_of_lags(length, busy, 0.01, monkeypatch)


@pytest.mark.parametrize("length", [0.012, 0.02])
def test_short_stalls_show_as_often_as_the_loop_would_be_late(length, monkeypatch):
    busy = 0.1
    late = busy * (length - BOUND) / length  # who is due then waits for longer than the bound
    assert share_of_lags(length, busy, worker._TICK, monkeypatch) == pytest.approx(late, rel=0.15)
