"""What the time of a sample is the time of."""

from dataclasses import dataclass

__all__ = ["ACQUIRE", "CONNECT", "MESSAGE", "QUERY", "RECONNECT", "REQUEST", "Timing"]


@dataclass(frozen=True, slots=True)
class Timing:
    """One kind of time. Samples of two timings never mix: a message is no part of a response time's p95.

    A driver may make its own; these are the ones that sentences name.
    """

    key: str
    """In the names of series: "message". Letters only."""
    name: str
    """As sentences say it: "message latency"."""


REQUEST = Timing("request", "response time")
"""Of what a user asks for, from its intended start. Series without a timing are of this one."""
CONNECT = Timing("connect", "connection time")
MESSAGE = Timing("message", "message latency")
RECONNECT = Timing("reconnect", "time to reconnect")
QUERY = Timing("query", "query time")
ACQUIRE = Timing("acquire", "pool wait")
