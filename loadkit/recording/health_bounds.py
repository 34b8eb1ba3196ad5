"""The health checks of the load generator, and the bounds at which each warns or invalidates.

This is their only definition. The judge applies it to a window, the live status to the last second,
and a calibration to each of its levels.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from loadkit.units import Unit

__all__ = [
    "CHECKS",
    "CHECKS_OF_MEAN",
    "CLOCK_SKEW",
    "CPU",
    "GC_PAUSE",
    "LATENESS",
    "LATENESS_OF_MEAN",
    "LOOP_LAG",
    "OUT_OF_DESCRIPTORS",
    "RELAY_LATE",
    "RELAY_NOTED",
    "SENT",
    "Bound",
    "HealthCheck",
]

RELAY_LATE = 0.05
"""If a relay of regions is late by this many seconds, it delays operations like a busy machine."""
RELAY_NOTED = 0.005
"""From this lateness on (seconds), it can be why a time is just above its limit."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A bound of a check: the larger of a fixed value and a ratio of the judged time limit."""

    fixed: float = 0.0
    """The fixed value, in the check's unit."""
    of_limit: float = 0.0
    """The ratio of the time limit."""

    def at(self, limit: float) -> float:
        """The bound for a time limit in seconds."""
        return max(self.fixed, self.of_limit * limit)


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """One measure of the load generator's health."""

    name: str
    """The key in JSON documents."""
    title: str
    """Short form, for a table's column."""
    words: str
    """The text before the value in a sentence."""
    unit: Unit
    warns: Bound
    invalid: Bound
    falls: bool = False
    """Is a value below the bound bad?"""

    def is_beyond(self, values: npt.NDArray[np.float64], bound: float) -> npt.NDArray[np.bool_]:
        """Which values are beyond a bound; same shape as `values`."""
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
LATENESS_OF_MEAN = HealthCheck(
    "lateness_mean",
    "mean lateness",
    "it sent late on average by",
    Unit.SECONDS,
    warns=Bound(of_limit=0.02),
    invalid=Bound(of_limit=0.10),
)
"""Replaces `LATENESS` for a mean time, because late operations add their mean lateness to it."""
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
    "its ratio of sent to due operations was",
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
"""All checks, in display order."""
CHECKS_OF_MEAN = tuple(LATENESS_OF_MEAN if check is LATENESS else check for check in CHECKS)
"""All checks for a mean time."""
