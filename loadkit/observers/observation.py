"""What a source other than the load generator saw: raw scrapes of gauges and counters."""

import enum
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

__all__ = ["LIFE_SIGN", "Judged", "Observation", "Reading", "Series"]

LIFE_SIGN = ""
"""The series, among those of the alerts, that has a sample whenever the source itself was at work."""


class Reading(enum.StrEnum):
    """How raw values become the measure."""

    GAUGE = "gauge"
    """The value itself."""
    COUNTER = "counter"
    """Its increase per second; resets are added back."""


class Judged(enum.StrEnum):
    """Which figure of the worst instance is held against the limit. With "never" it is always the extreme one."""

    P95 = "p95"
    """What it stays within for 95 % of the time (a lower limit: above for 95 %): CPU, pools."""
    MAXIMUM = "maximum"
    """The extreme one: memory, disk."""
    MEAN = "mean"
    """That of the whole window: hit rates and other shares of what was counted."""


@dataclass(frozen=True, slots=True)
class Series:
    """One instance's raw scrapes."""

    instance: str
    """Whose they are: the source's instance label; "" where there is only one."""
    times: npt.NDArray[np.float64]
    """Unix seconds, rising, shape (n,)."""
    values: npt.NDArray[np.float64]
    """In the unit of the measure (a counter: in that unit times seconds), shape (n,)."""


@dataclass(frozen=True, slots=True)
class Observation:
    """One named measure as it was scraped over one run."""

    name: str
    """As sentences name it: "CPU utilization"."""
    reading: Reading
    unit: str
    """A `criterion.Unit` value, of the measure."""
    series: tuple[Series, ...]
    scrape_interval: float
    """Seconds between scrapes, as the source is set to."""
    capacity: tuple[Series, ...] = ()
    """Where the measure is a share: the whole of it per instance (pool size, CPU limit), at times of its own."""
    capacity_reading: Reading = Reading.GAUGE
    """Pool size and CPU limit are gauges; where a share of what was counted is meant (hits of lookups), a counter."""
    judged: Judged = Judged.P95
    query: str = ""
    """What the source was asked."""
    source: str = ""
    problem: str = ""
    """Why there is nothing to judge, in one sentence; empty where there is."""
    lifespans: dict[str, tuple[float, float]] = field(default_factory=dict)
    """When an instance was there by plan (Unix seconds), where that is not the whole run."""
