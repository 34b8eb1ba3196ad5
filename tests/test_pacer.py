"""Waking virtual users."""

import asyncio
from time import monotonic

import pytest
import uvloop

from loadkit.clock import MonotonicClock
from loadkit.users.pacer import BEST_ALARM, LoopAlarm, Pacer
from tests.virtual_time import VirtualLoop


def virtually(main):
    loop = VirtualLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main(loop.clock))


def test_sleepers_wake_at_their_moments_in_their_order():
    async def main(clock):
        pacer, woken = Pacer(clock, LoopAlarm), []

        async def sleep(moment):
            await pacer.until(moment)
            woken.append((moment, clock.now()))

        await asyncio.gather(*(sleep(moment) for moment in (3.0, 1.0, 2.0, 1.0)))
        return woken

    assert virtually(main) == [(1.0, 1.0), (1.0, 1.0), (2.0, 2.0), (3.0, 3.0)]


def test_a_moment_that_is_past_is_now():
    async def main(clock):
        clock.advance(5.0)
        await Pacer(clock, LoopAlarm).until(1.0)
        return clock.now()

    assert virtually(main) == 5.0


def test_a_sleeper_who_was_cancelled_keeps_nobody_else_from_waking():
    async def main(clock):
        pacer = Pacer(clock, LoopAlarm)
        pacer.until(1.0).cancel()
        await pacer.until(2.0)
        return clock.now()

    assert virtually(main) == 2.0


@pytest.mark.parametrize("alarm", sorted({BEST_ALARM, LoopAlarm}, key=lambda each: each.__name__))
def test_on_a_real_loop_nobody_wakes_early(alarm):
    async def main():
        pacer = Pacer(MonotonicClock(), alarm)
        moments = [monotonic() + number * 0.0037 for number in range(20)]
        for moment in (*moments, *reversed(moments)):
            await pacer.until(moment)
            assert monotonic() >= moment
        pacer.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(main(), 10))
