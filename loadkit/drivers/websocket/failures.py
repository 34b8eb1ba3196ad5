"""The exceptions of a connection that end a journey: it did not open, or it has ended."""

from loadkit.drivers.base import NoResponse
from loadkit.drivers.websocket.record import Ending

__all__ = ["ConnectFailed", "ConnectionClosed"]


class ConnectFailed(NoResponse):
    """The connection did not open. The failure is recorded; the user begins a new journey."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind
        """The kind of failure: "status 401", "refused", "timeout", "protocol" …"""

    @property
    def status_code(self) -> int:
        """The status of the refusal; 0 if there was none."""
        return int(self.kind.removeprefix("status ")) if self.kind.startswith("status ") else 0


class ConnectionClosed(NoResponse):
    """The connection has ended. The end is recorded; the user begins a new journey.

    A journey that reconnects by itself catches it.
    """

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending.kind)
        self.ending = ending

    @property
    def code(self) -> int:
        """The close code: 1006 if the service sent none."""
        return self.ending.code
