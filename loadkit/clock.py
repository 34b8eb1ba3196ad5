"""The engine's clock: seconds on a monotonic clock, with a fixed offset to Unix time."""

import time
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Clock", "ManualClock", "MonotonicClock"]


class Clock(Protocol):
    """A clock in seconds that never goes backward."""

    def now(self) -> float:
        """The current time in seconds; only differences are meaningful."""
        ...

    def unix(self, moment: float) -> float:
        """The Unix time, in seconds, of a moment of this clock."""
        ...

    def unix_now(self) -> float:
        """The current Unix time, in seconds, without later steps of the wall clock."""
        ...


class MonotonicClock:
    """The machine's monotonic clock, which asyncio's event loops use too.

    The constructor fixes the offset to Unix time: steps of the wall clock do not affect a run.
    """

    __slots__ = ("_offset",)

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    now = staticmethod(time.monotonic)
    """Seconds since an arbitrary start."""

    def unix(self, moment: float) -> float:
        """The Unix time of a moment of this clock."""
        return moment + self._offset

    def unix_now(self) -> float:
        """The current Unix time."""
        return self.unix(self.now())

    def moment(self, unix: float) -> float:
        """The moment of this clock at a Unix time."""
        return unix - self._offset


@dataclass(slots=True)
class ManualClock:
    """A clock that tests advance explicitly, so that they do not sleep."""

    seconds: float = 0.0

    def now(self) -> float:
        """The seconds to which it was advanced."""
        return self.seconds

    def unix(self, moment: float) -> float:
        """The moment itself: the zero of this clock is the Unix epoch."""
        return moment

    def unix_now(self) -> float:
        """The seconds to which it was advanced."""
        return self.seconds

    def advance(self, seconds: float) -> None:
        """Move the clock forward."""
        self.seconds += seconds
