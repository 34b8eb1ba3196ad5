"""HTTP/1.1 for load: one keep-alive connection per user; times are taken when bytes arrive."""

import asyncio
import copy
import ssl
from collections.abc import Awaitable, Callable
from functools import cached_property, partial
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from loadkit.drivers.base import Meter, TransportError
from loadkit.drivers.canaries import Canaries
from loadkit.drivers.http.client import HttpClient
from loadkit.drivers.http.connection import Connection
from loadkit.drivers.http.cookies import Cookies
from loadkit.drivers.http.headers import RequestHeaders
from loadkit.drivers.http.outbox import Outbox
from loadkit.drivers.http.response import Head, Response
from loadkit.drivers.masking import Mask
from loadkit.drivers.network import SENT_AGAIN, kind_of, reachable_address
from loadkit.drivers.tls import context_of
from loadkit.errors import ConfigurationError
from loadkit.target import Target

if TYPE_CHECKING:
    from loadkit.drivers.http.httpx_session import HttpxSession

__all__ = ["HttpDriver", "HttpSession"]

_BEGINNINGS_KEPT = 10_000
_LONGER = 4
"""Standard deviations above the mean that few round trips exceed."""


class HttpDriver:
    """The service's address, resolved once, and the state that its sessions share."""

    name: ClassVar[str] = "http"
    descriptors_per_user: ClassVar[int] = 1

    def __init__(self, target: Target) -> None:
        parts = urlsplit(target.base)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigurationError(
                f'the base address "{target.base}" is invalid; expected one like "http://127.0.0.1:8080"'
            )
        self._target = target
        self._base = target.base
        self.scheme, self.netloc = parts.scheme, parts.netloc.rpartition("@")[2]
        self.host = parts.hostname
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._address = self.host
        self._region = ""
        """The region whose relay it connects to; "" for the service itself."""
        self.tls = context_of(target) if parts.scheme == "https" else None
        self._connect_timeout, self._read_timeout = target.connect_timeout, target.read_timeout
        self.prefix = parts.path.rstrip("/")
        self._host_line = b"host: %b\r\n" % self.netloc.encode("idna")
        self._beginnings: dict[tuple[str, str], bytes] = {}
        self._outbox = Outbox()
        self.instance_header = target.instance_header
        self.canaries = Canaries(target.accounts)
        self.mask = Mask.of(target)
        self.open_connections = 0
        self.sent_again = 0
        """Requests sent again since the gauges were last read."""
        self.shortest_connect = inf
        """Seconds that the fastest connection took to open: at least one round trip."""
        self.relayed_latency = 0.0
        """Seconds that the relay of its region adds to one of the longer round trips."""
        self._regional: dict[str, HttpDriver] = {}
        """Drivers of regions whose users connect to a relay."""
        self.heads: dict[bytes, Head] = {}
        """Heads of complete answers with a plain body; equal bytes need no second parsing."""

    async def open(self) -> None:
        """Find an address that accepts connections, so that users need no look-up.

        Raises:
            UnreachableError: no address accepts connections.

        """
        self._address = await reachable_address(self.host, self._port, self._base)

    def client(self, meter: Meter) -> HttpClient:
        """Create the client of a new user; nothing is sent yet."""
        return HttpClient(meter, self._in_region(meter.region))

    def _in_region(self, region: str) -> "HttpDriver":
        """This driver, or a copy that connects to the relay of a region; all else is the same."""
        place = self._target.relays.get((region, self.host, self._port))
        if place is None:
            return self
        found = self._regional.get(region)
        if found is None:
            found = self._regional[region] = copy.copy(self)
            found.go_through(region, place)
        return found

    def go_through(self, region: str, place: tuple[str, int]) -> None:
        """Connect to the relay of a region from now on, at an address and a port."""
        self._region, self.open_connections, self.sent_again = region, 0, 0
        self._address, self._port = place
        network = self._target.regions[region]
        self.shortest_connect = inf
        self.relayed_latency = network.latency + _LONGER * network.jitter

    def session(self) -> "HttpSession":
        """Create the session of a new user; nothing is sent yet."""
        return HttpSession(self)

    def gauges(self) -> dict[str, float]:
        """The number of open connections, and of requests sent again since the last call."""
        drivers = (self, *self._regional.values())
        gauges = {"connections open": float(sum(each.open_connections for each in drivers))}
        if again := sum(each.sent_again for each in drivers):
            gauges[SENT_AGAIN] = float(again)
            for each in drivers:
                each.sent_again = 0
        return gauges

    async def close(self) -> None:
        """Do nothing; connections belong to their users."""

    def beginning(self, method: str, path: str) -> bytes:
        """The request line and the host header of a path; cached, because paths repeat."""
        beginning = self._beginnings.get((method, path))
        if beginning is None:
            if len(self._beginnings) >= _BEGINNINGS_KEPT:
                self._beginnings.clear()
            line = f"{method} {path} HTTP/1.1\r\n".encode("ascii")
            beginning = self._beginnings[method, path] = line + self._host_line
        return beginning

    def without_host(self, beginning: bytes) -> bytes:
        """The request line alone, for a request whose headers name the host."""
        return beginning.removesuffix(self._host_line)

    def httpx_session(self, note: Callable[[], None], options: dict[str, Any]) -> "HttpxSession":
        """See `Backend.httpx_session`.

        Raises:
            ConfigurationError: the user is in a region with a relay, which httpx would bypass.

        """
        if self._region:
            raise ConfigurationError(
                f"a user in {self._region} calls use_httpx, which passes by the region's network; expected "
                "the client of the load kit, or users in no region of the environment file"
            )
        from loadkit.drivers.http.httpx_session import HttpxSession

        return HttpxSession(
            self._base, self._httpx_context, self._connect_timeout, self._read_timeout, note, options
        )

    @cached_property
    def _httpx_context(self) -> ssl.SSLContext:
        # One for all users, even if the base address has no TLS: a redirect may lead to an address
        # with TLS.
        return context_of(self._target) if self.tls is None else self.tls

    async def connect(self, session: "HttpSession", deadline: float) -> "Connection":
        """Open a new connection for a session, by `deadline`.

        Raises:
            TransportError: it could not be opened.

        """
        loop = asyncio.get_running_loop()
        begun = monotonic()
        try:
            async with asyncio.timeout(min(deadline - monotonic(), self._connect_timeout)):
                _, connection = await loop.create_connection(
                    lambda: Connection(loop, self._outbox, self.heads, self._read_timeout, session),
                    self._address,
                    self._port,
                    ssl=self.tls,
                    server_hostname=self.host if self.tls else None,
                )
        except (OSError, ssl.SSLError, TimeoutError) as error:
            raise TransportError(kind_of(error), monotonic()) from None
        self.shortest_connect = min(self.shortest_connect, monotonic() - begun)
        return connection


class HttpSession:
    """One user's connection, opened when needed and kept while the service keeps it open."""

    __slots__ = ("_connection", "_cookies", "_headers", "_path", "_prefix", "driver")

    def __init__(self, driver: HttpDriver) -> None:
        self.driver = driver
        self._prefix = driver.prefix
        self._connection: Connection | None = None
        self._cookies: Cookies | None = None
        """None until the service sets a cookie."""
        self._path = ""
        """The path of the last request."""
        self._headers: RequestHeaders | None = None
        """The headers of the last request; their host is the cookies' host."""

    def request(
        self,
        method: str,
        path: str,
        headers: RequestHeaders,
        more: bytes,
        body: bytes | None,
        deadline: float,
    ) -> Awaitable[Response]:
        """See `Session.request`."""
        if body is not None:
            more = b"%bcontent-length: %d\r\n" % (more, len(body))
        elif method in ("POST", "PUT", "PATCH"):
            more = b"%bcontent-length: 0\r\n" % more
        path = self._prefix + path
        self._headers = headers
        if self._cookies is not None and "cookie" not in headers:
            more += self._cookies.line(self._requested_host(), path)
        beginning = self.driver.beginning(method, path)
        if headers.has_host:
            beginning = self.driver.without_host(beginning)
        message = b"".join((beginning, headers.block, more, b"\r\n", body or b""))
        return self.exchange(method, path, message, deadline)

    def exchange(self, method: str, path: str, message: bytes, deadline: float) -> Awaitable[Response]:
        """Send an encoded request, over the kept connection or a new one.

        Awaiting the result raises a `TransportError` if no complete answer arrives.
        """
        self._path = path
        connection = self._connection
        if connection is not None and connection.is_open and connection.answer is None:
            return connection.send(message, method, deadline)  # a coroutine here costs time per answer
        return self._exchange_anew(message, method, deadline)

    async def _exchange_anew(self, message: bytes, method: str, deadline: float) -> Response:
        if self._connection is not None:
            if self._connection.is_awaited:
                raise RuntimeError(
                    "a user does one operation after the other; this one began while another was in flight"
                )
            self._connection.abort()  # its late answer must not be taken for that of this request
        connection = self._connection = await self.driver.connect(self, deadline)
        if not connection.is_open:
            raise TransportError("closed", monotonic())
        return await connection.send(message, method, deadline)

    def send_again(
        self, answer: "asyncio.Future[Response]", message: bytes, method: str, deadline: float
    ) -> None:
        """See `Owner.send_again`."""
        self.driver.sent_again += 1
        sending = asyncio.get_running_loop().create_task(self._exchange_anew(message, method, deadline))
        answer.add_done_callback(lambda _: sending.cancel())  # the caller may have been cancelled
        sending.add_done_callback(partial(_hand_on, answer))

    def keep_cookies(self, response: Response) -> None:
        """Store the cookies that an answer sets."""
        if self._cookies is None:
            self._cookies = Cookies(is_secure=self.driver.tls is not None)
        self._cookies.take(self._requested_host(), self._path, response.headers.all("set-cookie"))

    def _requested_host(self) -> str:
        """The host of the last request: from its headers, else from the address."""
        if self._headers is None or not self._headers.has_host:
            return self.driver.host
        try:
            return urlsplit(f"//{self._headers['host']}").hostname or ""
        except ValueError:  # brackets that do not close
            return ""

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.abort()


def _hand_on(answer: "asyncio.Future[Response]", sending: "asyncio.Task[Response]") -> None:
    if sending.cancelled():
        answer.cancel()
    elif (error := sending.exception()) is None:
        if not answer.done():
            answer.set_result(sending.result())
    elif not answer.done():
        answer.set_exception(error)
