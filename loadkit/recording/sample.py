"""One measured operation."""

from typing import NamedTuple

__all__ = ["OK", "Sample"]

OK = "ok"
"""The outcome of a successful operation; any other text names the failure ("status 500")."""


class Sample(NamedTuple):
    """One operation, from its intended start to its last byte.

    Moments are seconds on the recorder's clock.

    It is a tuple for speed: creating one takes a third of the time of a slotted dataclass.
    """

    label: str
    """The kind of operation: "GET /api/v1/metrics/events"."""
    outcome: str
    """`OK`, or the kind of failure ("timeout", "status 500")."""
    intended: float
    """When the plan intended it to start."""
    sent: float
    """When the driver sent it, after any time for which the driver held it back. Connecting comes
    later."""
    end: float
    """When the last byte of the answer arrived, or when the operation was given up."""
    size: int
    """Bytes received."""
    tenant: str = ""
    region: str = ""
    lateness: float = 0.0
    """Seconds of `sent - intended` that the load generator itself caused."""
