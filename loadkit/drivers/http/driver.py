"""HTTP/1.1, made for load: one kept-alive connection per user, moments taken when the bytes arrive.

An answer's head is kept as bytes and its headers are read only where somebody looks; the parser (httptools, which is
llhttp, Node's own) is asked for no single header.
"""

import asyncio
import errno
import socket
import ssl
from collections.abc import Awaitable, Callable
from functools import cached_property, partial
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar, cast
from urllib.parse import urlsplit

import httptools

from loadkit.drivers.base import Meter, TransportError
from loadkit.drivers.http.client import HttpClient
from loadkit.drivers.http.cookies import Cookies
from loadkit.drivers.http.headers import RequestHeaders
from loadkit.drivers.http.outbox import Outbox
from loadkit.drivers.http.response import Head, Response
from loadkit.drivers.tls import context_of
from loadkit.errors import ConfigurationError, UnreachableError
from loadkit.target import Target

if TYPE_CHECKING:
    from loadkit.drivers.http.httpx_session import HttpxSession

__all__ = ["HttpDriver", "HttpSession"]

_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})
"""May be sent again where the service closed the connection under them (RFC 9110, 9.2.2)."""
_NO_SOCKET = frozenset({errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM})
_BEGINNINGS_KEPT = 10_000
_HEADS_KEPT = 1_000
_END_OF_HEAD = b"\r\n\r\n"
_EARLY = 0.001
"""Seconds by which uvloop's timers, which count whole milliseconds, may fire too early."""


class HttpDriver:
    """Where the service is, looked up once."""

    name: ClassVar[str] = "http"
    descriptors_per_user: ClassVar[int] = 1

    def __init__(self, target: Target) -> None:
        parts = urlsplit(target.base)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigurationError(
                f'the base address "{target.base}" is none; expected one like "http://127.0.0.1:8080"'
            )
        self._target = target
        self._base = target.base
        self.scheme, self.netloc = parts.scheme, parts.netloc.rpartition("@")[2]
        self._host = parts.hostname
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._address = self._host
        self.tls = context_of(target) if parts.scheme == "https" else None
        self._connect_timeout, self._read_timeout = target.connect_timeout, target.read_timeout
        self.prefix = parts.path.rstrip("/")
        self._host_line = b"host: %b\r\n" % self.netloc.encode("idna")
        self._beginnings: dict[tuple[str, str], bytes] = {}
        self._outbox = Outbox()
        self.open_connections = 0
        self.heads: dict[bytes, Head] = {}
        """Heads of answers that came whole and are framed by their head alone: the same bytes need no second parsing."""

    async def open(self) -> None:
        """Find the address at which the service takes connections, so that no user has to look it up.

        Raises:
            UnreachableError: there is none.

        """
        loop = asyncio.get_running_loop()
        problem = "no address"
        try:
            found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise UnreachableError(f"{self._base}: {error.strerror or error}") from None
        for *_, place in found:
            address = str(place[0])
            try:
                transport, _ = await asyncio.wait_for(
                    loop.create_connection(asyncio.Protocol, address, self._port), timeout=5
                )
            except (OSError, TimeoutError) as error:
                problem = _kind_of(error)
            else:
                transport.close()
                self._address = address
                return
        raise UnreachableError(f"{self._base} takes no connection: {problem}")

    def client(self, meter: Meter) -> HttpClient:
        """A new user's client; nothing is sent yet."""
        return HttpClient(meter, self)

    def session(self) -> "HttpSession":
        """A new user's session; nothing is sent yet."""
        return HttpSession(self)

    def gauges(self) -> dict[str, float]:
        """How many connections are open."""
        return {"connections open": float(self.open_connections)}

    async def close(self) -> None:
        """Nothing: connections belong to their users."""

    def beginning(self, method: str, path: str) -> bytes:
        """What every request for a path begins with: its request line, and the host. Kept, as paths come again."""
        beginning = self._beginnings.get((method, path))
        if beginning is None:
            if len(self._beginnings) >= _BEGINNINGS_KEPT:
                self._beginnings.clear()
            line = f"{method} {path} HTTP/1.1\r\n".encode("ascii")
            beginning = self._beginnings[method, path] = line + self._host_line
        return beginning

    def httpx_session(self, note: Callable[[], None], options: dict[str, Any]) -> "HttpxSession":
        """See `Driver.httpx_session`."""
        from loadkit.drivers.http.httpx_session import HttpxSession

        return HttpxSession(
            self._base, self._httpx_context, self._connect_timeout, self._read_timeout, note, options
        )

    @cached_property
    def _httpx_context(self) -> ssl.SSLContext:
        # Made once for all users, also where the base address has no TLS: a redirect may lead to one that has.
        return context_of(self._target) if self.tls is None else self.tls

    async def connect(self, session: "HttpSession", deadline: float) -> "_Connection":
        """A new connection of a session's, by `deadline`.

        Raises:
            TransportError: there is none to be had.

        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(min(deadline - monotonic(), self._connect_timeout)):
                _, connection = await loop.create_connection(
                    lambda: _Connection(loop, self._outbox, self.heads, self._read_timeout, session),
                    self._address,
                    self._port,
                    ssl=self.tls,
                    server_hostname=self._host if self.tls else None,
                )
        except (OSError, ssl.SSLError, TimeoutError) as error:
            raise TransportError(_kind_of(error), monotonic()) from None
        return connection


class HttpSession:
    """One user's connection, made when it is needed and kept while the service keeps it."""

    __slots__ = ("_connection", "_cookies", "_path", "_prefix", "driver")

    def __init__(self, driver: HttpDriver) -> None:
        self.driver = driver
        self._prefix = driver.prefix
        self._connection: _Connection | None = None
        self._cookies: Cookies | None = None
        """None until the service asks for one to be kept."""
        self._path = ""
        """What was asked for last."""

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
        if self._cookies is not None:
            more += self._cookies.line(path)
        beginning = self.driver.beginning(method, path)
        message = b"".join((beginning, headers.block, more, b"\r\n", body or b""))
        return self.exchange(method, path, message, deadline)

    def exchange(self, method: str, path: str, message: bytes, deadline: float) -> Awaitable[Response]:
        """Send a request as it stands on the wire, over the kept connection or a new one.

        What is awaited raises a `TransportError` where no whole answer came.
        """
        self._path = path
        connection = self._connection
        if connection is not None and connection.is_open and connection.answer is None:
            return connection.send(message, method, deadline)  # a coroutine would cost with each answer
        return self._exchange_anew(message, method, deadline)

    async def _exchange_anew(self, message: bytes, method: str, deadline: float) -> Response:
        if self._connection is not None:
            if self._connection.is_awaited:
                raise RuntimeError(
                    "a user does one operation after the other; this one begins while another waits"
                )
            self._connection.abort()  # an answer that nobody waits for any more is not to be taken for this one's
        connection = self._connection = await self.driver.connect(self, deadline)
        if not connection.is_open:
            raise TransportError("closed", monotonic())
        return await connection.send(message, method, deadline)

    def send_again(
        self, answer: "asyncio.Future[Response]", message: bytes, method: str, deadline: float
    ) -> None:
        """Have an answer come over a new connection, since the kept one was closed before a byte of it came."""
        sending = asyncio.get_running_loop().create_task(self._exchange_anew(message, method, deadline))
        answer.add_done_callback(lambda _: sending.cancel())  # who waited may be gone
        sending.add_done_callback(partial(_hand_on, answer))

    def keep_cookies(self, response: Response) -> None:
        """Keep what an answer asks to be sent from now on."""
        self._cookies = self._cookies or Cookies()
        self._cookies.take(self._path, response.headers.all("set-cookie"))

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
    """One connection; requests one after the other."""

    __slots__ = (
        "_alarm",
        "_alarm_at",
        "_asked",
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
        """Of the answer before this one: most often the next begins with the same bytes."""
        self._patience = patience
        """Seconds of silence after which an answer is given up."""
        self._session = session
        """Who sends again, and keeps cookies."""
        self._parser = httptools.HttpResponseParser(self)
        self.answer: asyncio.Future[Response] | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = 0.0
        self._total = 0.0
        """When the request is given up in any case."""
        self._deadline = 0.0
        """When it is given up unless something comes before."""
        self._requests = 0
        self._now = 0.0
        self._size = 0
        self._interim = 0
        self._has_head = False
        self._head: list[bytes] = []
        self._body: list[bytes] = []
        self._message, self._method = b"", ""
        self._asked = self._held_back = 0.0
        self.is_open = False

    # --- what the session does

    @property
    def is_awaited(self) -> bool:
        """Does somebody wait for an answer?"""
        return self.answer is not None and not self.answer.done()

    def send(self, message: bytes, method: str, deadline: float) -> Awaitable[Response]:
        """Send a request; its answer comes, or a `TransportError` does."""
        self.answer = answer = self._loop.create_future()
        self._requests += 1
        if self._size:  # the answer before came through the parser
            self._size = self._interim = 0
            self._has_head = False
            self._head = []
            self._body = []
        self._total = self._deadline = deadline
        if self._patience != inf:
            self._deadline = min(deadline, monotonic() + self._patience)
        # One timer per connection, not per request: it is moved on only when it fires.
        if self._alarm is None or self._alarm_at > self._deadline:
            self._set_alarm()
        self._message, self._method = message, method
        self._asked = monotonic()
        self._outbox.add(self)
        return answer

    def flush(self) -> None:
        """Write the request, unless the connection was closed meanwhile: who waits has been told so, or has gone."""
        if self.is_open:
            self._held_back = monotonic() - self._asked
            self._transport.write(self._message)

    def abort(self) -> None:
        """Close at once."""
        self.is_open = False
        self._transport.abort()

    # --- what the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own do not inherit from it
        self.is_open = True
        if self._session is not None:
            self._session.driver.open_connections += 1

    def data_received(self, data: bytes) -> None:
        self._now = monotonic()
        answer = self.answer
        if answer is None:
            # Nobody asked: the connection cannot be trusted with another request.
            self.abort()
            return
        if not self._size:
            # Where the parser has seen these very bytes before, what it would say is known (1.5 µs).
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
        """The head of a whole answer that begins as one did before; None where it is not known to be whole."""
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
                self._fail("closed" if problem is None else _kind_of(problem))
        if self._alarm is not None:
            self._alarm.cancel()
        del self._parser  # it refers back to this connection

    # --- what the parser calls

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
            self._interim += 1  # 100 Continue, 103 Early Hints: the answer is still to come
        elif self.answer is not None:
            self._complete()

    # --- within

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
            return  # who asked has gone
        response = Response(head, body, self._now, size, self._held_back)
        if head.sets_cookies and self._session is not None:
            self._session.keep_cookies(response)
        answer.set_result(response)

    def _was_sent_again(self) -> bool:
        """A kept connection is gone, and not a byte came: perhaps the service never saw the request, and it may see it now."""
        answer, session = self.answer, self._session
        is_safe = self._size == 0 and self._requests > 1 and self._method in _IDEMPOTENT
        if not is_safe or session is None or answer is None or answer.done():
            return False
        self.answer = None
        session.send_again(answer, self._message, self._method, self._total)
        return True

    def _read_head(self, length: int) -> Head:
        """The answer's head; kept where its bytes alone say that a body of this length follows, and nothing else."""
        head = self._head_bytes()
        # Whatever is coded (chunks) or comes besides the body makes the answer longer than that.
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
        """Has the answer neither a length nor chunks, so that the connection's end is its own?"""
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


def _kind_of(error: BaseException) -> str:
    """The word under which a failure of the network is counted."""
    if isinstance(error, ssl.SSLError):
        return "tls"
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, ConnectionError):
        return "reset"
    if isinstance(error, TimeoutError):
        return "connect timeout"
    if isinstance(error, OSError):
        return "no socket" if error.errno in _NO_SOCKET else "unreachable"
    return f"error: {type(error).__name__}"
