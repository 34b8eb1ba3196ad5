"""Alarms of many connections with one timer of the event loop.

A timer of the loop takes 0.6 KB. A connection that is only held needs two: for its next ping, and
for the end of the user's time. An alarm of this module takes 0.1 KB.
"""

import asyncio
import heapq
from math import ceil
from time import monotonic
from typing import Protocol

__all__ = ["GRID", "AlarmReceiver", "Alarms"]

GRID = 0.05
"""The spacing of alarms in seconds.

An alarm fires at most this much later than its moment, and never before it."""


class AlarmReceiver(Protocol):
    """The receiver of an alarm."""

    def ring(self) -> None:
        """Do what is due."""
        ...


class Alarms:
    """The alarms of one event loop, on a grid."""

    __slots__ = ("_heap", "_loop", "_places", "_set_at", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._places: dict[int, set[AlarmReceiver]] = {}
        """The receivers of the alarms at each place of the grid."""
        self._heap: list[int] = []
        """The places, including those whose alarms were all cancelled."""
        self._set_at = 0
        """The place for which the timer is set."""
        self._timer: asyncio.TimerHandle | None = None

    def set(self, moment: float, ringing: AlarmReceiver) -> int:
        """Set an alarm for a moment of the monotonic clock. Return the alarm, for `cancel`."""
        place = ceil(moment / GRID)
        found = self._places.get(place)
        if found is None:
            found = self._places[place] = set()
            heapq.heappush(self._heap, place)
            if self._timer is None or place < self._set_at:
                self._set_timer()
        found.add(ringing)
        return place

    def cancel(self, alarm: int, ringing: AlarmReceiver) -> None:
        """Cancel an alarm. This has no effect on an alarm that already fired."""
        found = self._places.get(alarm)
        if found is not None:
            found.discard(ringing)

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._set_at = self._heap[0]
        delay = max(self._set_at * GRID - monotonic(), 0.0)
        self._timer = self._loop.call_later(delay, self._ring)

    def _ring(self) -> None:
        self._timer = None
        now, heap = monotonic(), self._heap
        while heap and heap[0] * GRID <= now:
            place = heapq.heappop(heap)
            ringing = self._places[place]
            while ringing:  # a receiver may cancel the alarm of another
                ringing.pop().ring()
            del self._places[place]
        if heap and self._timer is None:
            self._set_timer()
