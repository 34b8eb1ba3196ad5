"""One operation as it happened."""

from typing import NamedTuple

__all__ = ["OK", "Sample"]

OK = "ok"
"""The outcome of an operation that succeeded; any other text says how it failed ("timeout", "status 500")."""


class Sample(NamedTuple):
    """One operation, from when it should have started to its last byte. Moments are seconds since the run's start.

    A tuple, since one is made per operation: making it takes a third of the time of a slotted dataclass.
    """

    label: str
    """What was done: "GET /api/v1/metrics/events"."""
    outcome: str
    """`OK`, or how it failed."""
    intended: float
    """When the plan wanted it to start."""
    sent: float
    """When its bytes were handed to the connection."""
    end: float
    """When the last byte of the answer arrived, or it was given up."""
    size: int
    """Bytes received."""
    tenant: str = ""
    region: str = ""
