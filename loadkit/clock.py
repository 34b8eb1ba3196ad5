"""Time as the engine sees it: seconds on a monotonic clock, with the one instant that ties it to the calendar."""

import time
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Clock", "ManualClock", "MonotonicClock"]


class Clock(Protocol):
    """Seconds that only go forward."""

    def now(self) -> float:
        """Seconds on this clock; only differences mean anything."""
        ...

    def unix(self, moment: float) -> float:
        """The Unix time, in seconds, of a moment of this clock."""
        ...


class MonotonicClock:
    """The machine's monotonic clock, the one asyncio's loops use too.

    Its relation to Unix time is fixed when it is made: a step of the wall clock during a run moves nothing.
    """

    __slots__ = ("_offset",)

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    now = staticmethod(time.monotonic)
    """Seconds since an arbitrary start."""

    def unix(self, moment: float) -> float:
        """The Unix time of a moment of this clock."""
        return moment + self._offset

    def moment(self, unix: float) -> float:
        """The moment of this clock at a Unix time."""
        return unix - self._offset


@dataclass(slots=True)
class ManualClock:
    """A clock that is moved by hand, for tests that must not sleep."""

    seconds: float = 0.0

    def now(self) -> float:
        """Where it was moved to."""
        return self.seconds

    def unix(self, moment: float) -> float:
        """Itself: its zero is the Unix epoch."""
        return moment

    def advance(self, seconds: float) -> None:
        """Move it forward."""
        self.seconds += seconds
