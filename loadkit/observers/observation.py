"""Observations of a source other than the load generator: raw scrapes of gauges and counters."""

import enum
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

__all__ = ["LIFE_SIGN", "Judged", "Observation", "Reading", "Series"]

LIFE_SIGN = ""
"""The name of the series in an observation of alerts that has a sample whenever the source itself
worked."""


class Reading(enum.StrEnum):
    """How raw values are converted to the measure."""

    GAUGE = "gauge"
    """The value itself."""
    COUNTER = "counter"
    """The increase per second, corrected for counter resets."""


class Judged(enum.StrEnum):
    """The figure of the worst instance compared with the limit; "never" uses the extreme value."""

    P95 = "p95"
    """The value that is not exceeded for 95 % of the time (for a lower limit: not undercut): CPU,
    pools."""
    MAXIMUM = "maximum"
    """The extreme value: memory, disk."""
    MEAN = "mean"
    """The mean over the window: hit rates and other shares of counted events."""


@dataclass(frozen=True, slots=True)
class Series:
    """The raw scrapes of one instance."""

    instance: str
    """The instance label of the source; "" where there is only one instance."""
    times: npt.NDArray[np.float64]
    """Unix seconds, ascending, shape (n,)."""
    values: npt.NDArray[np.float64]
    """In the unit of the measure (for a counter, that unit times seconds), shape (n,).

    They may be infinite. NaN is a scrape without a value, such as 0/0.
    """

    @property
    def known(self) -> "Series":
        """The scrapes that have a value."""
        is_known = ~np.isnan(self.values)
        return Series(self.instance, self.times[is_known], self.values[is_known])


@dataclass(frozen=True, slots=True)
class Observation:
    """The scrapes of one named measure over one run."""

    name: str
    """The name in sentences: "CPU utilization"."""
    reading: Reading
    unit: str
    """The unit of the measure, a `criterion.Unit` value."""
    series: tuple[Series, ...]
    scrape_interval: float
    """Seconds between scrapes, as configured in the source."""
    capacity: tuple[Series, ...] = ()
    """Capacity per instance (pool size, CPU limit), at its own times; empty if the measure is not a
    share."""
    capacity_reading: Reading = Reading.GAUGE
    """GAUGE for pool size or CPU limit; COUNTER for a share of counted events (hits of lookups)."""
    judged: Judged = Judged.P95
    query: str = ""
    """The query that was sent to the source."""
    source: str = ""
    problem: str = ""
    """Why there is no data to judge, in one sentence; empty where there is data."""
    lifespans: dict[str, tuple[float, float]] = field(default_factory=dict)
    """The planned lifespans of instances (Unix seconds) that were not present for the whole run."""
    warnings: tuple[str, ...] = ()
    """Warnings of the source, in its own words, that its answer may be incomplete. Empty if it is
    complete."""

    @classmethod
    def missing(cls, name: str, problem: str) -> "Observation":
        """The observation of a measure without data; `problem` states why, in one sentence."""
        return cls(name, Reading.GAUGE, "", (), 0.0, problem=problem)
