"""Waking virtual users."""

import asyncio
from time import monotonic

import pytest
import uvloop

from loadkit.clock import MonotonicClock
from loadkit.users.pacer import BEST_ALARM, LoopAlarm, Pacer, on_grid
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


def test_a_call_is_made_at_its_moment_before_any_task_runs():
    async def main(clock):
        pacer, order = Pacer(clock, LoopAlarm), []

        async def sleep():
            await pacer.until(1.0)
            order.append("task")

        sleeping = asyncio.ensure_future(sleep())
        await asyncio.sleep(0)  # the task waits first
        pacer.call_at(1.0, lambda: order.append(clock.now()))
        await sleeping
        return order

    assert virtually(main) == [1.0, "task"]


def test_a_call_may_ask_for_the_next_one():
    async def main(clock):
        pacer, times = Pacer(clock, LoopAlarm), []

        def call():
            times.append(clock.now())
            if len(times) < 4:
                pacer.call_at([1.0, 1.0, 2.5][len(times) - 1], call)

        pacer.call_at(0.5, call)
        await pacer.until(3.0)
        return times

    assert virtually(main) == [0.5, 1.0, 1.0, 2.5]


class CountedAlarm(LoopAlarm):
    """Counts how often it was set."""

    __slots__ = ("times",)

    def __init__(self, ring):
        super().__init__(ring)
        self.times = []

    def set(self, moment):
        self.times.append(moment)
        super().set(moment)


def test_sleepers_of_one_moment_share_one_alarm():
    async def main(clock):
        pacer = Pacer(clock, CountedAlarm)
        await asyncio.gather(*(pacer.until(moment) for moment in (1.0, 2.0, 1.0, 2.0, 2.0)))
        return pacer._alarm.times

    assert virtually(main) == [1.0, 2.0]


def test_moments_less_than_half_a_millisecond_apart_become_one():
    assert on_grid(7.0004) == on_grid(6.9996) == 7.0
    assert on_grid(on_grid(0.3004)) == 0.3


@pytest.mark.parametrize("alarm", sorted({BEST_ALARM, LoopAlarm}, key=lambda each: each.__name__))
def test_an_alarm_that_nobody_set_again_rings_once(alarm):
    rings = 0

    async def main():
        nonlocal rings
        rung = asyncio.Event()

        def ring():
            nonlocal rings
            rings += 1
            rung.set()

        one = alarm(ring)
        one.set(monotonic())
        await rung.wait()
        for _ in range(100):  # iterations of the loop, each of which asks for readable descriptors
            await asyncio.sleep(0)
        one.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(main(), 10))
    assert rings == 1


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
