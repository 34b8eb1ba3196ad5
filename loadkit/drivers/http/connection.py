"""One HTTP/1.1 connection: it sends a request, and reads the answer when its bytes arrive.

An answer's head is kept as bytes, and its headers are parsed only when read. The parser (httptools,
based on Node's llhttp) reports no individual headers.
"""

import asyncio
from collections.abc import Awaitable
from math import inf
from time import monotonic
from typing import Protocol, cast

import httptools

from loadkit.drivers.base import TransportError
from loadkit.drivers.http.headers import ResponseHeaders
from loadkit.drivers.http.outbox import Outbox
from loadkit.drivers.http.response import Head, Response
from loadkit.drivers.network import kind_of

__all__ = ["Connection", "Owner"]

_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})
"""Methods that may be retried if the service closed the connection meanwhile (RFC 9110, 9.2.2)."""
_HEADS_KEPT = 1_000
_END_OF_HEAD = b"\r\n\r\n"
_EARLY = 0.001
"""Seconds by which uvloop's timers, which have millisecond resolution, may fire early."""
_CROSSING = 0.1
"""Seconds after a request in which the end of a connection counts as an idle timeout.

The service's end and the request have then crossed on their way. So the end arrives within a round
trip, which may be longer than this."""


class _Driver(Protocol):
    open_connections: int
    shortest_connect: float
    relayed_latency: float


class Owner(Protocol):
    """The session of a connection."""

    @property
    def driver(self) -> _Driver:
        """The driver; it counts the open connections, and knows the network to the service."""
        ...

    def send_again(
        self, answer: "asyncio.Future[Response]", message: bytes, method: str, deadline: float
    ) -> None:
        """Retry over a new connection, and count the retry.

        The service had closed the kept connection as the request left.
        """
        ...

    def keep_cookies(self, response: Response) -> None:
        """Store the cookies that an answer sets."""
        ...


class Connection(asyncio.Protocol):
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
        session: Owner | None = None,
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
        """Write the request, unless the connection closed and so failed or retried the request."""
        if self.is_open:
            self._held_back = monotonic() - self._requested_at
            self._transport.write(self._message)

    def abort(self) -> None:
        """Close the connection immediately."""
        self.is_open = False
        self._transport.abort()

    # --- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note that the connection is open."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's do not inherit from it
        self.is_open = True
        if self._session is not None:
            self._session.driver.open_connections += 1

    def data_received(self, data: bytes) -> None:
        """Read a part of an answer, or the whole one."""
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
        """End, retry or fail the pending answer."""
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
        """The head of an answer, or of an interim one, is complete."""
        if self.answer is None:
            self.abort()  # a second answer to one request
        elif self._parser.get_status_code() >= 200:
            self._has_head = True
            if self._method == "HEAD":
                # The parser would wait for the body that the headers describe.
                self._complete()
                self._parser = httptools.HttpResponseParser(self)

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """The answer, or an interim one, is complete."""
        if not self._has_head:
            self._interim += 1  # 100 Continue, 103 Early Hints: the final answer follows
        elif self.answer is not None:
            self._complete()

    # --- internal

    def _complete(self) -> None:
        answer, self.answer = self.answer, None
        assert answer is not None
        if not self._is_kept_alive():
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
        """Retry if a kept connection closed as the request left, before any byte of an answer.

        The service then never accepted the request, and only idempotent methods are retried. A
        service that ends a connection later has dropped a request.
        """
        answer, session = self.answer, self._session
        is_safe = self._size == 0 and self._requests > 1 and self._method in _IDEMPOTENT
        if not is_safe or session is None or answer is None or answer.done():
            return False
        waited = self._now - self._requested_at - self._held_back
        driver = session.driver
        if waited > max(_CROSSING, driver.shortest_connect) + driver.relayed_latency:
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

    def _is_kept_alive(self) -> bool:
        """May another request follow the answer (RFC 9112, 9.3)?"""
        if self._method != "HEAD":
            return self._parser.should_keep_alive()
        # Without a length, the parser would expect a body that the end of the connection ends.
        named = ResponseHeaders(self._head_bytes()).get("connection", "")
        options = {each.strip().lower() for each in named.split(",")}
        is_usual = self._parser.get_http_version() == "1.1" or "keep-alive" in options
        return is_usual and "close" not in options

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
