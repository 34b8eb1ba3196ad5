"""What a connection is opened with, and who opens it."""

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from loadkit.drivers.websocket.connection import Connection, Keepalive
from loadkit.drivers.websocket.heads import StreamHeads
from loadkit.drivers.websocket.record import ConnectionRecord

__all__ = ["Backend", "Handshake"]


@dataclass(frozen=True, slots=True)
class Handshake:
    """What a connection is opened with."""

    path: str
    headers: Mapping[str, str]
    subprotocols: Sequence[str]
    is_compressed: bool
    """Is permessage-deflate offered (RFC 7692)?"""
    max_size: int
    """Bytes of a message; a larger one fails the connection with 1009."""
    max_frame: int | None
    """Bytes of a frame, besides; None for no limit of its own."""
    keepalive: Keepalive


class Backend(Protocol):
    """Opens connections: the driver."""

    heads: StreamHeads

    def connect(
        self, handshake: Handshake, record: ConnectionRecord, deadline: float
    ) -> Awaitable[Connection]:
        """Open a connection, by `deadline` on the monotonic clock.

        Raises:
            TransportError: it could not be opened.

        """
        ...
