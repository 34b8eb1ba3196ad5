"""The checks of the load generator's health, with the bounds that warn and those that invalidate.

This is the one definition for the judge, the live status and the calibration.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from loadkit.units import Unit

__all__ = [
    "CHECKS",
    "CLOCK_SKEW",
    "CPU",
    "GC_PAUSE",
    "LATENESS",
    "LOOP_LAG",
    "OUT_OF_DESCRIPTORS",
    "SENT",
    "Bound",
    "HealthCheck",
]


@dataclass(frozen=True, slots=True)
class Bound:
    """A bound of a check: a fixed one or a share of the time limit, whichever is larger."""

    fixed: float = 0.0
    """In the check's unit."""
    of_limit: float = 0.0
    """Ratio of the time limit."""

    def at(self, limit: float) -> float:
        """The bound for a time limit in seconds."""
        return max(self.fixed, self.of_limit * limit)


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """One thing by which the generator's health shows."""

    name: str
    """In JSON documents."""
    title: str
    """As short as a table's column asks for."""
    words: str
    """What stands before the value in a sentence."""
    unit: Unit
    warns: Bound
    invalid: Bound
    falls: bool = False
    """Is a small value the bad one?"""

    def is_beyond(self, values: npt.NDArray[np.float64], bound: float) -> npt.NDArray[np.bool_]:
        """Which values are on the bad side of a bound; shape as `values`."""
        return np.asarray(values < bound if self.falls else values > bound)


LOOP_LAG = HealthCheck(
    "loop_lag_p99",
    "loop lag",
    "its event loop lagged (p99) by",
    Unit.SECONDS,
    warns=Bound(0.005),
    invalid=Bound(0.010, of_limit=0.05),
)
LATENESS = HealthCheck(
    "lateness_p99",
    "lateness",
    "it sent late (p99) by",
    Unit.SECONDS,
    warns=Bound(of_limit=0.02),
    invalid=Bound(of_limit=0.10),
)
CPU = HealthCheck(
    "busiest_cpu",
    "CPU",
    "a worker's processor was busy for",
    Unit.RATIO,
    warns=Bound(0.70),
    invalid=Bound(0.85),
)
SENT = HealthCheck(
    "sent_ratio",
    "sent",
    "of what was due it sent",
    Unit.RATIO,
    warns=Bound(0.995),
    invalid=Bound(0.98),
    falls=True,
)
GC_PAUSE = HealthCheck(
    "longest_pause",
    "GC pause",
    "garbage collection paused it for",
    Unit.SECONDS,
    warns=Bound(0.020),
    invalid=Bound(of_limit=0.20),
)
OUT_OF_DESCRIPTORS = HealthCheck(
    "starved_ratio",
    "no socket",
    "it lacked sockets or files for",
    Unit.RATIO,
    warns=Bound(0.0),
    invalid=Bound(0.001),
)
CLOCK_SKEW = HealthCheck(
    "clock_skew",
    "skew",
    "its workers' clocks differ by",
    Unit.SECONDS,
    warns=Bound(0.002),
    invalid=Bound(0.010),
)
CHECKS = (LOOP_LAG, LATENESS, CPU, SENT, GC_PAUSE, OUT_OF_DESCRIPTORS, CLOCK_SKEW)
"""All of them, in the order in which they are shown."""
