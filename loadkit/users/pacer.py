"""Wakes virtual users at exact moments.

uvloop's timers have millisecond resolution and use a cached time, so they are up to a millisecond
late or early. That is most of a response time of 2 ms. On Linux, a timer descriptor expires within
some 50 µs; one of them and a heap serve all users.
"""

import asyncio
import ctypes
import heapq
import os
import sys
from collections.abc import Callable
from typing import Protocol

from loadkit.clock import Clock

__all__ = ["BEST_ALARM", "Alarm", "LoopAlarm", "Pacer", "TimerAlarm"]

_CLOCK_MONOTONIC = 1
_ABSOLUTE = 1


class Alarm(Protocol):
    """A one-shot timer."""

    def set(self, moment: float) -> None:
        """Expire at `moment` only; replaces any moment that was set before."""
        ...

    def close(self) -> None:
        """Disable the timer."""
        ...


class Pacer:
    """Creates futures that complete at given moments, never earlier."""

    __slots__ = ("_alarm", "_clock", "_heap", "_loop", "_made", "_set_at")

    def __init__(self, clock: Clock, alarm_of: Callable[[Callable[[], None]], Alarm]) -> None:
        self._loop = asyncio.get_running_loop()
        self._clock = clock
        self._heap: list[tuple[float, int, asyncio.Future[None]]] = []
        self._made = 0
        self._set_at = float("inf")
        self._alarm = alarm_of(self._ring)

    def until(self, moment: float) -> asyncio.Future[None]:
        """A future that completes at `moment`."""
        sleeper = self._loop.create_future()
        self._made += 1
        heapq.heappush(self._heap, (moment, self._made, sleeper))
        if moment < self._set_at:
            self._set_at = moment
            self._alarm.set(moment)
        return sleeper

    def close(self) -> None:
        """Stop the timer; no further future completes."""
        self._alarm.close()

    def _ring(self) -> None:
        heap, now = self._heap, self._clock.now()
        while heap and heap[0][0] <= now:
            sleeper = heapq.heappop(heap)[2]
            if not sleeper.done():
                sleeper.set_result(None)
        self._set_at = heap[0][0] if heap else float("inf")
        if heap:
            self._alarm.set(self._set_at)


class LoopAlarm:
    """The event loop's own timer, for a loop whose time equals the clock's."""

    __slots__ = ("_handle", "_loop", "_ring")

    def __init__(self, ring: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._ring = ring
        self._handle: asyncio.TimerHandle | None = None

    def set(self, moment: float) -> None:
        """See `Alarm.set`."""
        self.close()
        self._handle = self._loop.call_at(moment, self._ring)

    def close(self) -> None:
        """See `Alarm.close`."""
        if self._handle is not None:
            self._handle.cancel()


class _TimerSpec(ctypes.Structure):
    """``struct itimerspec``: interval, then first expiry, each in seconds and nanoseconds."""

    _fields_ = (
        ("interval_seconds", ctypes.c_long),
        ("interval_nanoseconds", ctypes.c_long),
        ("seconds", ctypes.c_long),
        ("nanoseconds", ctypes.c_long),
    )


class TimerAlarm:
    """A timer descriptor (timerfd_create(2)) on the clock of `time.monotonic`."""

    __slots__ = ("_descriptor", "_libc", "_loop", "_ring", "_spec", "_where")

    def __init__(self, ring: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._ring = ring
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._spec = _TimerSpec()
        self._where = ctypes.byref(self._spec)
        self._descriptor = int(self._libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC))
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._loop.add_reader(self._descriptor, self._read)

    def set(self, moment: float) -> None:
        """See `Alarm.set`."""
        nanoseconds = max(int(moment * 1e9) + 1, 1)  # zero would disarm it
        self._spec.seconds, self._spec.nanoseconds = divmod(nanoseconds, 1_000_000_000)
        self._libc.timerfd_settime(self._descriptor, _ABSOLUTE, self._where, None)

    def close(self) -> None:
        """See `Alarm.close`."""
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)

    def _read(self) -> None:
        try:
            os.read(self._descriptor, 8)
        except BlockingIOError:
            return  # it was set again after it expired
        self._ring()


BEST_ALARM: Callable[[Callable[[], None]], Alarm] = TimerAlarm if sys.platform == "linux" else LoopAlarm
"""The most accurate alarm on this system."""
