"""Messages that the service sent by itself: a log in columns, and the names of their counts.

A load receives ten thousand messages per second. A `Sample` for each would take more time than
reading it. So a message is three numbers in a list, which are counted later like samples.

The counts are per second and population, and can be added. Over the whole run, the lost messages
are `MISSING` minus `FILLED`, plus `TAIL_LOST`.
"""

from array import array
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

__all__ = [
    "BYTES_RECEIVED",
    "BYTES_SENT",
    "CHECKED",
    "CONNECTIONS",
    "CREATED_BEFORE",
    "DISCONNECTED",
    "DOUBLED",
    "EARLIEST",
    "EARLY",
    "FILLED",
    "FOREIGN",
    "LATENCY",
    "LEAST_CONNECTIONS",
    "MESSAGES_RECEIVED",
    "MESSAGES_SEARCHED",
    "MESSAGES_SENT",
    "MISSING",
    "NOT_BACK",
    "NOT_RESUMED",
    "OPENED",
    "OUT_OF_ORDER",
    "READER",
    "RETURN_FAILED",
    "STATES_DUE",
    "STATE_SEEN",
    "TAIL_LOST",
    "TAIL_UNKNOWN",
    "UNANSWERED_CLOSES",
    "UNCLASSIFIED",
    "UNREADABLE",
    "MessageLog",
    "take",
]

LATENCY = "message latency"
"""The fact of a run that names the time by which criteria on message latency are judged. It is
present only if this is not the time since the creation."""

# Gauges of a population.
CONNECTIONS = "connections held"
"""Connections from the end of their handshake until either side closes them."""

LEAST_CONNECTIONS = "connections held: least"
"""The fewest connections that a worker's population held at any moment of the second."""

# Counts.
OPENED = "connections opened"
DISCONNECTED = "disconnected: "
"""Connections that the load generator did not close. The rest of the name is the reason, such as
"closed 1006"."""
UNANSWERED_CLOSES = "closes not answered"
"""Connections that the load generator closed, but whose close frame the service never answered."""
MESSAGES_RECEIVED = "messages received"
MESSAGES_SENT = "messages sent"
BYTES_RECEIVED = "bytes received"
"""Bytes as they arrived in frames, before decompression."""
BYTES_SENT = "bytes sent"
"""Bytes of the payloads of messages, before compression."""
MISSING = "messages missing"
"""Messages that a gap in the sequence numbers of a stream left out. They count in the second in
which the gap ends."""
FILLED = "messages missing: filled"
"""Missing messages that arrived later."""
TAIL_LOST = "messages missing: at the end"
"""Messages that a subscription had not received when it ended, although they and its connection
were older than the plan's time-out. Other subscribers or publishers of the worker knew their
numbers."""
TAIL_UNKNOWN = "messages perhaps missing: at the end"
"""The same for younger messages (but older than a second), and for a younger connection. It is not
known whether they would have arrived."""
NOT_RESUMED = "subscriptions not resumed"
"""Subscriptions that were interrupted and not resumed before their user's time was over. A
subscription that its own user dropped counts only after the plan's time-out."""
NOT_BACK = "not back"
"""The outcome of a client that dropped and had not reconnected when its time was over."""
RETURN_FAILED = "return failed"
"""The outcome of a client that dropped, and whose journey failed while it reconnected."""
STATES_DUE = "shared states due"
"""Users that share a state with others, and must report the state that they see at the end."""
STATE_SEEN = "shared state: "
"""The start of the names that count users by the state that they saw at the end. The rest is the
name of the shared state, a space, and its digest."""
MESSAGES_SEARCHED = "messages searched for other tenants' data"
"""Received messages that the driver or the journey searched for other tenants' data."""
CHECKED = "users that check tenants"
"""Users that check each of their messages. Earlier versions counted this instead of messages."""
FOREIGN = "messages of other tenants"
DOUBLED = "messages doubled"
OUT_OF_ORDER = "messages out of order"
"""Messages that arrived after one with a higher number, over the same connection."""
UNCLASSIFIED = "messages untold"
"""Messages whose gap is too old to tell whether they were missing or doubled."""
UNREADABLE = "messages unreadable"
"""Messages whose stream, number or time could not be read."""
READER = "the reader of messages (subscribe)"
"""The start of the sentences about errors in the code that reads messages."""
CREATED_BEFORE = "messages created before the run"
"""Messages whose creation time is before the start of the run."""
EARLY = "messages before their creation"
"""Messages that arrived before their own creation time, because the clocks differ. Their latency is
0."""
EARLIEST = "most seconds before a creation"
"""Gauge: the largest number of seconds, so far, by which a message arrived before its own creation
time."""


class MessageLog:
    """Messages of one label, tenant and region that wait to be counted."""

    __slots__ = ("columns", "label", "region", "tenant")

    def __init__(self, label: str, tenant: str = "", region: str = "") -> None:
        self.label, self.tenant, self.region = label, tenant, region
        self.columns: list[float] = []
        """Creation time, receipt time and size of each message, one after the other. The hot path
        extends this list. A list takes three numbers in a third of the time that an array needs."""

    def __len__(self) -> int:
        return len(self.columns) // 3

    def add(self, created: float, received: float, size: int) -> None:
        """Add a message of `size` bytes; its moments are on the recorder's clock."""
        self.columns.extend((created, received, size))


def take(
    logs: Iterable[MessageLog], most: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], list[MessageLog]]:
    """Remove and return the first messages of several logs, at most `most` in total.

    Returns:
        creation time, receipt time and size of each message, shape (n, 3); the index of its log in
        the third result, shape (n,); the logs that had messages.

    """
    columns: list[float] = []
    numbers: list[int] = []
    owners: list[MessageLog] = []
    for log in logs:
        own = log.columns
        if own:
            taken = own[: 3 * most]
            del own[: 3 * most]
            columns += taken
            numbers.append(len(taken) // 3)
            owners.append(log)
            most -= numbers[-1]
            if not most:
                break
    # array.array converts a list of floats in half the time that numpy takes.
    messages = np.frombuffer(array("d", columns)).reshape(-1, 3)
    return messages, np.repeat(np.arange(len(owners)), numbers), owners
