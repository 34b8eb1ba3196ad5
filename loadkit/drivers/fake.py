"""A service inside the process: given times instead of sockets, for tests and for known answers."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from loadkit.clock import Clock
from loadkit.drivers.base import Meter, TransportError
from loadkit.drivers.http.client import HttpClient
from loadkit.drivers.http.headers import RequestHeaders
from loadkit.drivers.http.response import Head, Response

__all__ = ["Answer", "FakeDriver", "FakeSession"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the service does with one request."""

    seconds: float
    """Until the last byte."""
    status_code: int = 200
    body: bytes = b"{}"
    failure: str = ""
    """How the transport fails instead: "refused" …"""
    held_back: float = 0.0
    """Seconds of them before the request left."""


Service = Callable[[float, str, str], Answer]
"""From when a request came (seconds on the clock), its method and its path, what becomes of it."""


@dataclass(frozen=True, slots=True)
class FakeDriver:
    """Carries HTTP requests to a function."""

    name: ClassVar[str] = "http"
    descriptors_per_user: ClassVar[int] = 1

    service: Service
    clock: Clock

    def client(self, meter: Meter) -> HttpClient:
        """A new user's client."""
        return HttpClient(meter, self)

    def gauges(self) -> dict[str, float]:
        """Nothing is held."""
        return {}

    async def close(self) -> None:
        """Nothing to let go of."""

    async def open(self) -> None:
        """Nothing to look up."""

    def session(self) -> "FakeSession":
        """A new user's session."""
        return FakeSession(self.service, self.clock)

    def httpx_session(self, note: Callable[[], None], options: dict[str, Any]) -> "FakeSession":  # noqa: ARG002  the seam's
        """The same: nothing of HTTP is left here that httpx could do in another way."""
        return FakeSession(self.service, self.clock)


@dataclass(frozen=True, slots=True)
class FakeSession:
    """One user's way to the function."""

    service: Service
    clock: Clock

    async def request(
        self,
        method: str,
        path: str,
        headers: RequestHeaders,  # noqa: ARG002  the seam's, of no interest here
        more: bytes,  # noqa: ARG002  the same
        body: bytes | None,  # noqa: ARG002  the same
        deadline: float,
    ) -> Response:
        """See `Session.request`."""
        begun = self.clock.now()
        answer = self.service(begun, method, path)
        done = begun + answer.seconds
        await asyncio.sleep(min(done, deadline) - begun)
        if done > deadline:
            raise TransportError("timeout", deadline)
        if answer.failure:
            raise TransportError(answer.failure, done)
        head = b"HTTP/1.1 %d\r\ncontent-type: application/json" % answer.status_code
        size = len(head) + len(answer.body)
        return Response(Head(answer.status_code, head), answer.body, done, size, answer.held_back)

    def close(self) -> None:
        """Nothing to let go of."""
