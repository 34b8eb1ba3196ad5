"""The kinds of time that samples measure."""

from dataclasses import dataclass

__all__ = [
    "ACQUIRE",
    "CONNECT",
    "DELIVERY",
    "LIFETIME",
    "MESSAGE",
    "OPERATION",
    "OPERATIONS",
    "PING",
    "QUERY",
    "RECONNECT",
    "RECORD",
    "REQUEST",
    "ROUND_TRIP",
    "SEND",
    "WORKFLOW",
    "Timing",
    "timing_of",
]


@dataclass(frozen=True, slots=True)
class Timing:
    """One kind of time, such as a response time or a message latency.

    Samples of different timings never mix: a message is not part of a response time's p95.

    A driver may define its own timings. Sentences name only the timings below.
    """

    key: str
    """Used in the names of series: "message". Letters only."""
    name: str
    """Its name in sentences: "message latency"."""


REQUEST = Timing("request", "response time")
"""From the intended start of a user's request. A series name without a timing means this one."""
CONNECT = Timing("connect", "connection time")
MESSAGE = Timing("message", "message latency")
DELIVERY = Timing("delivery", "time to the dashboards")
"""From the acknowledgement of a write until a user who watches receives it."""
RECONNECT = Timing("reconnect", "time to reconnect")
QUERY = Timing("query", "query time")
OPERATION = Timing("operation", "response time")
"""All of `OPERATIONS` together, for example for the error rate. No sample has this timing
itself."""
RECORD = Timing("record", "record")
"""Records have no times. They are counted when the service acknowledges them."""
ACQUIRE = Timing("acquire", "pool wait")
PING = Timing("ping", "ping round trip")
SEND = Timing("send", "send time")
"""From the intended start until the socket has taken the message."""
ROUND_TRIP = Timing("roundtrip", "message round trip")
"""From the intended start of a message until its answer arrives, both on the load generator's
clock."""
LIFETIME = Timing("lifetime", "connection lifetime")
"""From the end of the handshake to the close. The outcome is "ok" where the generator closed it."""
WORKFLOW = Timing("workflow", "workflow time")
"""The time of all steps of a workflow, without the pauses between them."""
OPERATIONS = (REQUEST, QUERY, ROUND_TRIP)
"""What a user does and waits for. A failure of any of them is a failed operation."""


_NAMED = {
    each.key: each
    for each in (
        REQUEST,
        CONNECT,
        MESSAGE,
        DELIVERY,
        RECONNECT,
        QUERY,
        ACQUIRE,
        PING,
        SEND,
        ROUND_TRIP,
        LIFETIME,
        OPERATION,
        WORKFLOW,
    )
}


def timing_of(key: str) -> Timing:
    """The timing with a key.

    A timing that only its driver defines has the key as its name.
    """
    return _NAMED.get(key) or Timing(key, key)
