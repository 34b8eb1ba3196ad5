"""A service inside the process, with given response times and no sockets.

It is for tests, and for checks against known answers.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from loadkit.clock import Clock
from loadkit.drivers.base import Meter, TransportError
from loadkit.drivers.canaries import Canaries
from loadkit.drivers.http.client import HttpClient
from loadkit.drivers.http.headers import RequestHeaders
from loadkit.drivers.http.response import Head, Response
from loadkit.drivers.masking import Mask

__all__ = ["Answer", "FakeDriver", "FakeSession"]


@dataclass(frozen=True, slots=True)
class Answer:
    """The service's answer to one request."""

    seconds: float
    """Seconds until the last byte."""
    status_code: int = 200
    body: bytes = b"{}"
    failure: str = ""
    """The kind of transport failure that replaces the answer, such as "refused"; "" for none."""
    held_back: float = 0.0
    """The part of `seconds` before the request was sent."""


Service = Callable[[float, str, str], Answer]
"""Maps a request's arrival (seconds on the clock), method and path to its answer."""


@dataclass(frozen=True, slots=True)
class FakeDriver:
    """Answers HTTP requests with a function."""

    name: ClassVar[str] = "http"
    descriptors_per_user: ClassVar[int] = 1
    instance_header: ClassVar[str] = ""
    canaries: ClassVar[Canaries] = Canaries(())
    mask: ClassVar[Mask] = Mask()

    service: Service
    clock: Clock

    def client(self, meter: Meter) -> HttpClient:
        """Create the client of a new user."""
        return HttpClient(meter, self)

    def gauges(self) -> dict[str, float]:
        """No gauges."""
        return {}

    async def close(self) -> None:
        """Do nothing; there are no resources."""

    async def open(self) -> None:
        """Do nothing; there is no address to look up."""

    def session(self) -> "FakeSession":
        """Create the session of a new user."""
        return FakeSession(self.service, self.clock)

    # Without a network, the parameters make no difference.
    def httpx_session(self, note: Callable[[], None], options: dict[str, Any]) -> "FakeSession":  # noqa: ARG002  the interface has them
        """Create the same session; httpx would make no difference without a network."""
        return FakeSession(self.service, self.clock)


@dataclass(frozen=True, slots=True)
class FakeSession:
    """One user's session, which calls the function."""

    service: Service
    clock: Clock

    async def request(
        self,
        method: str,
        path: str,
        headers: RequestHeaders,  # noqa: ARG002  part of the interface, unused here
        more: bytes,  # noqa: ARG002  part of the interface, unused here
        body: bytes | None,  # noqa: ARG002  part of the interface, unused here
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
        """Do nothing; there are no resources."""
