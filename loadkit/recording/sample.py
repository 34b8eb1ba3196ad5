"""One operation as it happened."""

from typing import NamedTuple

__all__ = ["OK", "Sample"]

OK = "ok"
"""The outcome of an operation that succeeded; any other text says how it failed ("timeout", "status 500")."""


class Sample(NamedTuple):
    """One operation, from when it should have started to its last byte. Moments are seconds on the recorder's clock.

    A tuple, since one is made per operation: making it takes a third of the time of a slotted dataclass.
    """

    label: str
    """What was done: "GET /api/v1/metrics/events"."""
    outcome: str
    """`OK`, or how it failed."""
    intended: float
    """When the plan wanted it to start."""
    sent: float
    """When it was handed to the driver, and what that held back is over; making a connection comes after it."""
    end: float
    """When the last byte of the answer arrived, or it was given up."""
    size: int
    """Bytes received."""
    tenant: str = ""
    region: str = ""
    lateness: float = 0.0
    """Seconds of `sent - intended` that the generator itself caused."""
