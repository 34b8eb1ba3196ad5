"""Messages that the service sent by itself: a log in columns, and the names of what is counted.

A load receives ten thousand messages per second. A `Sample` for each would take more time than
reading it. So a message is three numbers in an array, counted later like samples.

The counts are per second and population, and can be added. What is lost in the end is
`MISSING` minus `FILLED`, over the whole run.
"""

from array import array

import numpy as np
import numpy.typing as npt

__all__ = [
    "BYTES_RECEIVED",
    "BYTES_SENT",
    "CONNECTIONS",
    "DISCONNECTED",
    "DOUBLED",
    "EARLY",
    "FILLED",
    "MESSAGES_RECEIVED",
    "MESSAGES_SENT",
    "MISSING",
    "OPENED",
    "OUT_OF_ORDER",
    "UNANSWERED_CLOSES",
    "UNREADABLE",
    "UNTOLD",
    "MessageLog",
]

# Gauges of a population.
CONNECTIONS = "connections held"
"""Connections from the end of their handshake until they were closed by either side."""

# Counts.
OPENED = "connections opened"
DISCONNECTED = "disconnected: "
"""Connections that the generator did not close; the rest of the name is the reason, such as
"closed 1006"."""
UNANSWERED_CLOSES = "closes not answered"
"""Connections that the generator closed, and whose close frame the service never answered."""
MESSAGES_RECEIVED = "messages received"
MESSAGES_SENT = "messages sent"
BYTES_RECEIVED = "bytes received"
"""As they arrived in frames, before decompression."""
BYTES_SENT = "bytes sent"
"""Payloads of messages, before compression."""
MISSING = "messages missing"
"""Messages that a gap in the sequence numbers of a stream left out, in the second of its end."""
FILLED = "messages missing: filled"
"""Missing messages that arrived later."""
DOUBLED = "messages doubled"
OUT_OF_ORDER = "messages out of order"
"""Messages that arrived after one with a higher number, over the same connection."""
UNTOLD = "messages untold"
"""Messages of which it is not known whether they were missing or doubled: their gap is too old."""
UNREADABLE = "messages unreadable"
"""Messages whose stream, number and time could not be read."""
EARLY = "messages before their creation"
"""Messages that arrived before their own creation time: the clocks differ. Their latency is 0."""


class MessageLog:
    """Messages of one label, tenant and region that wait to be counted."""

    __slots__ = ("_columns", "label", "region", "tenant")

    def __init__(self, label: str, tenant: str = "", region: str = "") -> None:
        self.label, self.tenant, self.region = label, tenant, region
        self._columns = array("d")

    def __len__(self) -> int:
        return len(self._columns) // 3

    def add(self, created: float, received: float, size: int) -> None:
        """Add a message of `size` bytes; its moments are on the recorder's clock."""
        self._columns.extend((created, received, size))

    def take(self, most: int) -> npt.NDArray[np.float64]:
        """Remove and return the first messages: created, received, size; shape (n, 3)."""
        taken = self._columns[: 3 * most]
        del self._columns[: 3 * most]
        return np.frombuffer(taken).reshape(-1, 3)
