"""What a source is asked: the named measures of a service, and how each is read."""

from dataclasses import dataclass

from loadkit.observers.observation import Reading
from loadkit.units import Unit

__all__ = ["MeasureQuery"]


@dataclass(frozen=True, slots=True)
class MeasureQuery:
    """How a named measure is read from the observer."""

    name: str
    """As sentences say it: "CPU utilization"."""
    reading: Reading
    unit: Unit
    query: str
    """Selector of raw samples, such as ``process_cpu_seconds_total{job="service"}``."""
    capacity: str = ""
    """Selector of the whole, where the measure is a share of it."""
    capacity_value: float = 0.0
    """The whole as a number, where no source tells it."""
    per: str = "instance"
    """The label that tells instances apart."""
    judged: str = "p95"
    """What of it is judged with `stays`: "p95" (time-weighted) or "max"."""
