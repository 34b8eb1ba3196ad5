"""The queries of the named measures of a service."""

from dataclasses import dataclass

from loadkit.observers.observation import Reading
from loadkit.units import Unit

__all__ = ["MeasureQuery"]


@dataclass(frozen=True, slots=True)
class MeasureQuery:
    """The query of a named measure, and how its samples are read."""

    name: str
    """The name in sentences: "CPU utilization"."""
    reading: Reading
    unit: Unit
    query: str
    """Selector of raw samples, such as ``process_cpu_seconds_total{job="service"}``."""
    capacity: str = ""
    """Selector of the capacity, if the measure is a share of it."""
    capacity_value: float = 0.0
    """The capacity as a number, if no source reports it."""
    per: str = "instance"
    """The label that identifies instances."""
    judged: str = "p95"
    """The figure that `stays` compares with the limit: "p95", "mean" (time-weighted) or "max"."""
