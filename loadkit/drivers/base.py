"""The seam between virtual users and the wire: a driver gives each user a session, a session carries requests."""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from loadkit.drivers.http.headers import RequestHeaders
from loadkit.drivers.http.response import Response

__all__ = ["Driver", "Session", "TransportError"]


class TransportError(Exception):
    """No whole answer came."""

    def __init__(self, kind: str, at: float) -> None:
        super().__init__(kind)
        self.kind = kind
        """"refused", "reset", "timeout", "connect timeout", "read timeout", "tls", "protocol", "address", "no socket" …"""
        self.at = at
        """When it was clear, on the monotonic clock."""


class Session(Protocol):
    """One user's way to the service; one request at a time."""

    def request(
        self,
        method: str,
        path: str,
        headers: RequestHeaders,
        more: bytes,
        body: bytes | None,
        deadline: float,
    ) -> Awaitable[Response]:
        """Send a request and wait for its answer.

        Args:
            method: "GET" …
            path: with its query, from the root: "/api/v1/widgets/7?fresh=1".
            headers: the user's, sent with each request.
            more: this request's own, as they stand on the wire; b"" for none.
            body: None for no body at all.
            deadline: the moment, on the monotonic clock, at which to give up.

        Raises:
            TransportError: no whole answer came.

        """
        ...

    def close(self) -> None:
        """Let go of what it holds."""
        ...


class Driver(Protocol):
    """What all users of one worker share."""

    async def open(self) -> None:
        """Look up addresses and the like, before load.

        Raises:
            UnreachableError: the service's address cannot be used.

        """
        ...

    def session(self) -> Session:
        """A new user's session; nothing is sent yet."""
        ...

    def httpx_session(self, note: Callable[[], None], options: dict[str, Any]) -> Session:
        """A session over an `httpx.AsyncClient` with these options; `note` is called with each request."""
        ...
