"""HTTP/1.1 for load: one keep-alive connection per user, times taken when the bytes arrive.

An answer's head is kept as bytes, and its headers are parsed only when read. The parser (httptools,
based on Node's llhttp) reports no individual headers.
"""

import asyncio
import copy
import ssl
from collections.abc import Awaitable, Callable
from functools import cached_property, partial
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar, cast
from urllib.parse import urlsplit

import httptools

from loadkit.drivers.base import Meter, TransportError
from loadkit.drivers.canaries import Canaries
from loadkit.drivers.http.client import HttpClient
from loadkit.drivers.http.cookies import Cookies
from loadkit.drivers.http.headers import RequestHeaders
from loadkit.drivers.http.outbox import Outbox
from loadkit.drivers.http.response import Head, Response
from loadkit.drivers.masking import Mask
from loadkit.drivers.network import kind_of, reachable_address
from loadkit.drivers.tls import context_of
from loadkit.errors import ConfigurationError
from loadkit.target import Target

if TYPE_CHECKING:
    from loadkit.drivers.http.httpx_session import HttpxSession

__all__ = ["HttpDriver", "HttpSession"]

_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})
"""Methods that may be retried if the service closed the connection meanwhile (RFC 9110, 9.2.2)."""
_BEGINNINGS_KEPT = 10_000
_HEADS_KEPT = 1_000
_END_OF_HEAD = b"\r\n\r\n"
_EARLY = 0.001
"""Seconds by which uvloop's timers, which have millisecond resolution, may fire early."""


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
        self._region, self.open_connections = region, 0
        self._address, self._port = place

    def session(self) -> "HttpSession":
        """Create the session of a new user; nothing is sent yet."""
        return HttpSession(self)

    def gauges(self) -> dict[str, float]:
        """The number of open connections."""
        drivers = (self, *self._regional.values())
        return {"connections open": float(sum(each.open_connections for each in drivers))}

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
        """See `Driver.httpx_session`.

        Raises:
            ConfigurationError: the user is in a region with a relay, which httpx would pass by.

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

    async def connect(self, session: "HttpSession", deadline: float) -> "_Connection":
        """Open a new connection for a session, by `deadline`.

        Raises:
            TransportError: it could not be opened.

        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(min(deadline - monotonic(), self._connect_timeout)):
                _, connection = await loop.create_connection(
                    lambda: _Connection(loop, self._outbox, self.heads, self._read_timeout, session),
                    self._address,
                    self._port,
                    ssl=self.tls,
                    server_hostname=self.host if self.tls else None,
                )
        except (OSError, ssl.SSLError, TimeoutError) as error:
            raise TransportError(kind_of(error), monotonic()) from None
        return connection


class HttpSession:
    """One user's connection, opened when needed and kept while the service keeps it open."""

    __slots__ = ("_connection", "_cookies", "_headers", "_path", "_prefix", "driver")

    def __init__(self, driver: HttpDriver) -> None:
        self.driver = driver
        self._prefix = driver.prefix
        self._connection: _Connection | None = None
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
            self._connection.abort()  # its late answer must not answer this request
        connection = self._connection = await self.driver.connect(self, deadline)
        if not connection.is_open:
            raise TransportError("closed", monotonic())
        return await connection.send(message, method, deadline)

    def send_again(
        self, answer: "asyncio.Future[Response]", message: bytes, method: str, deadline: float
    ) -> None:
        """Retry over a new connection, because the kept one was closed before the first byte."""
        sending = asyncio.get_running_loop().create_task(self._exchange_anew(message, method, deadline))
        answer.add_done_callback(lambda _: sending.cancel())  # the caller may have been cancelled
        sending.add_done_callback(partial(_hand_on, answer))

    def keep_cookies(self, response: Response) -> None:
        """Store the cookies that an answer sets."""
        if self._cookies is None:
            self._cookies = Cookies(is_secure=self.driver.tls is not None)
        self._cookies.take(self._requested_host(), self._path, response.headers.all("set-cookie"))

    def _requested_host(self) -> str:
        """The host of the last request: that of its headers, else that of the address."""
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


class _Connection(asyncio.Protocol):
    """One connection, which handles one request at a time."""

    __slots__ = (
        "_alarm",
        "_alarm_at",
        "_body",
        "_deadline",
        "_has_head",
        "_head",
        "_heads",
        "_held_back",
        "_interim",
        "_last",
        "_loop",
        "_message",
        "_method",
        "_now",
        "_outbox",
        "_parser",
        "_patience",
        "_requested_at",
        "_requests",
        "_session",
        "_size",
        "_total",
        "_transport",
        "answer",
        "is_open",
    )

    _transport: asyncio.Transport

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        outbox: Outbox,
        heads: dict[bytes, Head],
        patience: float = inf,
        session: HttpSession | None = None,
    ) -> None:
        self._loop = loop
        self._outbox = outbox
        self._heads = heads
        self._last: Head | None = None
        """The head of the previous answer; the next one usually begins with the same bytes."""
        self._patience = patience
        """Seconds of silence after which an answer is given up."""
        self._session = session
        """The session, which retries and stores cookies."""
        self._parser = httptools.HttpResponseParser(self)
        self.answer: asyncio.Future[Response] | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = 0.0
        self._total = 0.0
        """When the request is given up in any case, on the monotonic clock."""
        self._deadline = 0.0
        """When it is given up unless data arrives earlier."""
        self._requests = 0
        self._now = 0.0
        self._size = 0
        self._interim = 0
        self._has_head = False
        self._head: list[bytes] = []
        self._body: list[bytes] = []
        self._message, self._method = b"", ""
        self._requested_at = self._held_back = 0.0
        self.is_open = False

    # --- called by the session

    @property
    def is_awaited(self) -> bool:
        """Is a caller waiting for an answer?"""
        return self.answer is not None and not self.answer.done()

    def send(self, message: bytes, method: str, deadline: float) -> Awaitable[Response]:
        """Send a request; awaiting the result gives the answer or raises a `TransportError`."""
        self.answer = answer = self._loop.create_future()
        self._requests += 1
        if self._size:  # the previous answer went through the parser
            self._size = self._interim = 0
            self._has_head = False
            self._head = []
            self._body = []
        self._total = self._deadline = deadline
        if self._patience != inf:
            self._deadline = min(deadline, monotonic() + self._patience)
        # One timer per connection, not per request: it is rescheduled only when it fires.
        if self._alarm is None or self._alarm_at > self._deadline:
            self._set_alarm()
        self._message, self._method = message, method
        self._requested_at = monotonic()
        self._outbox.add(self)
        return answer

    def flush(self) -> None:
        """Write the request, unless the connection closed; the caller already knows that."""
        if self.is_open:
            self._held_back = monotonic() - self._requested_at
            self._transport.write(self._message)

    def abort(self) -> None:
        """Close at once."""
        self.is_open = False
        self._transport.abort()

    # --- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's do not inherit from it
        self.is_open = True
        if self._session is not None:
            self._session.driver.open_connections += 1

    def data_received(self, data: bytes) -> None:
        self._now = monotonic()
        answer = self.answer
        if answer is None:
            # Unrequested data: the connection must not be used for another request.
            self.abort()
            return
        if not self._size:
            # If the same bytes were parsed before, the result is known; that saves 1.5 µs.
            head = self._last
            if head is None or not (len(data) == head.size and data.startswith(head.opening)):
                head = self._known_head(data)
            if head is not None:
                self.answer = None
                self._give(answer, head, data[len(head.opening) :], len(data))
                return
        self._size += len(data)
        if not self._has_head:
            self._head.append(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail("protocol")
        if self.answer is not None and self._patience != inf:
            self._deadline = min(self._total, self._now + self._patience)

    def _known_head(self, data: bytes) -> Head | None:
        """The cached head of an answer that is known to be complete; else None."""
        first, end, rest = data.partition(_END_OF_HEAD)
        head = self._heads.get(first)
        if head is None or not end or len(rest) != head.length:
            return None
        self._last = head
        return head

    def connection_lost(self, problem: Exception | None) -> None:
        self.is_open = False
        if self._session is not None:
            self._session.driver.open_connections -= 1
        self._now = monotonic()
        if self.answer is not None:
            if problem is None and self._has_head and self._ends_with_connection():
                self._complete()
            elif not self._was_sent_again():
                self._fail("closed" if problem is None else kind_of(problem))
        if self._alarm is not None:
            self._alarm.cancel()
        del self._parser  # it refers back to this connection

    # --- called by the parser

    def on_headers_complete(self) -> None:
        if self.answer is None:
            self.abort()  # a second answer to one request
        elif self._parser.get_status_code() >= 200:
            self._has_head = True
            if self._method == "HEAD":
                # The parser would wait for the body that the headers describe.
                self._complete()
                self._parser = httptools.HttpResponseParser(self)

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        if not self._has_head:
            self._interim += 1  # 100 Continue, 103 Early Hints: the final answer follows
        elif self.answer is not None:
            self._complete()

    # --- internal

    def _complete(self) -> None:
        answer, self.answer = self.answer, None
        assert answer is not None
        parser = self._parser
        if not parser.should_keep_alive():
            self.is_open = False
            self._transport.close()
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._give(answer, self._read_head(len(body)), body, self._size)

    def _give(self, answer: "asyncio.Future[Response]", head: Head, body: bytes, size: int) -> None:
        if answer.done():
            return  # the caller was cancelled
        response = Response(head, body, self._now, size, self._held_back)
        if head.sets_cookies and self._session is not None:
            self._session.keep_cookies(response)
        answer.set_result(response)

    def _was_sent_again(self) -> bool:
        """Retry if a kept connection closed before the first byte of an answer.

        The service may never have seen the request, and only idempotent methods are retried.
        """
        answer, session = self.answer, self._session
        is_safe = self._size == 0 and self._requests > 1 and self._method in _IDEMPOTENT
        if not is_safe or session is None or answer is None or answer.done():
            return False
        self.answer = None
        session.send_again(answer, self._message, self._method, self._total)
        return True

    def _read_head(self, length: int) -> Head:
        """The answer's head; cached if only a plain body of this length follows it."""
        head = self._head_bytes()
        # Chunks, or data besides the body, would make the answer longer than that.
        is_plain = self._size == len(head) + len(_END_OF_HEAD) + length
        if not (is_plain and self.is_open) or self._method == "HEAD":
            return Head(self._parser.get_status_code(), head)
        if len(self._heads) >= _HEADS_KEPT:
            self._heads.clear()
        self._heads[head] = read = Head(self._parser.get_status_code(), head, length)
        return read

    def _head_bytes(self) -> bytes:
        return b"".join(self._head).split(_END_OF_HEAD, self._interim + 1)[self._interim]

    def _ends_with_connection(self) -> bool:
        """Has the answer neither a length nor chunks, so that the end of the connection ends it?"""
        head = self._head_bytes().lower()
        return b"\r\ncontent-length:" not in head and b"\r\ntransfer-encoding:" not in head

    def _fail(self, kind: str) -> None:
        answer, self.answer = self.answer, None
        self.abort()
        if answer is not None and not answer.done():
            answer.set_exception(TransportError(kind, self._now))

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = self._deadline
        self._alarm = self._loop.call_later(max(self._deadline - monotonic(), 0.0), self._ring)

    def _ring(self) -> None:
        self._alarm = None
        if self.answer is None:
            return
        self._now = monotonic()
        if self._now + _EARLY < self._deadline:
            self._set_alarm()
        else:
            self._fail("timeout" if self._deadline == self._total else "read timeout")
