"""HTTP of an instance: uvicorn's protocol, with a shorter path from a request to its answer.

uvicorn converts each request to messages for an ASGI application, and the answer back. An instance
has only one application, so this protocol calls it directly. It sends head and body in one packet.
Parsing, the queue of pipelined requests, flow control and shutdown are those of uvicorn.
"""

import asyncio
from collections.abc import Awaitable
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_MAX_BODY = 4_000_000


class BodyTooLargeError(Exception):
    """The body of a request is larger than the service accepts."""

    def __init__(self) -> None:
        super().__init__(f"the body is larger than {_MAX_BODY} bytes")


class Reply(Protocol):
    """An encoded answer."""

    status: int
    body: bytes
    content_type: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    switch_to: asyncio.Protocol | None
    """The protocol that takes over the connection after status 101."""


class Page(Protocol):
    """Answers the requests of one method and path."""

    def answer(self, request: "Request") -> Awaitable[Reply]:
        """Answer a request; a failed request raises no exception."""


class Site(Protocol):
    """The application: all pages."""

    def find(self, method: bytes, path: bytes) -> tuple[Page, dict[str, int]]:
        """The page of a request and the parameters in its path."""


class Request:
    """One request and its answer, with the attributes that HttpToolsProtocol uses."""

    __slots__ = (
        "_page",
        "_protocol",
        "body",
        "disconnected",
        "headers",
        "keep_alive",
        "message_event",
        "more_body",
        "parameters",
        "query",
        "response_complete",
        "task",
    )

    def __init__(
        self,
        protocol: "HttpProtocol",
        page: Page,
        parameters: dict[str, int],
        query: bytes,
        headers: list[tuple[bytes, bytes]],
        *,
        keep_alive: bool,
    ) -> None:
        self._protocol = protocol
        self._page = page
        self.parameters = parameters
        self.query = query
        self.headers = headers
        self.keep_alive = keep_alive
        self.body = bytearray()
        self.more_body = True
        self.disconnected = False
        self.response_complete = False
        self.message_event: Any = _NULL_EVENT
        self.task: asyncio.Task[None] | None = None

    async def read_body(self) -> bytearray:
        """The whole body. Raises BodyTooLargeError."""
        if self.more_body:  # usually the body arrived with the head
            self.message_event = asyncio.Event()
            if self._protocol.expect_100_continue:
                self._protocol.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            while self.more_body and len(self.body) <= _MAX_BODY and not self.disconnected:
                self._protocol.flow.resume_reading()
                await self.message_event.wait()
                self.message_event.clear()
        if len(self.body) > _MAX_BODY:
            raise BodyTooLargeError
        return self.body

    async def run(self) -> None:
        """Answer the request."""
        protocol = self._protocol
        try:
            reply = await self._page.answer(self)
            if protocol.flow.write_paused and not self.disconnected:
                await protocol.flow.drain()
            self.response_complete = True
            if reply.switch_to is not None and not self.disconnected:
                protocol.switch(b"".join(self._encode_switch(reply)), reply.switch_to)
                return
            if not self.disconnected:
                protocol.transport.write(b"".join(self._encode(reply)))
                if not self.keep_alive:
                    protocol.transport.close()
            protocol.on_response_complete()
        finally:
            assert self.task is not None
            protocol.tasks.discard(self.task)

    def _encode_switch(self, reply: Reply) -> list[bytes]:
        parts = [_STATUS_LINES[reply.status], self._protocol.default_head]
        for name, value in reply.headers:
            parts += (name, b": ", value, b"\r\n")
        parts.append(b"\r\n")
        return parts

    def _encode(self, reply: Reply) -> list[bytes]:
        parts = [
            _STATUS_LINES[reply.status],
            self._protocol.default_head,
            b"content-type: ",
            reply.content_type,
            b"\r\ncontent-length: %d\r\n" % len(reply.body),
        ]
        for name, value in reply.headers:
            parts += (name, b": ", value, b"\r\n")
        parts.append(b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n")
        parts.append(reply.body)
        return parts


class _NullEvent:
    """Replaces an event that nobody waits for."""

    def set(self) -> None:
        """Do nothing: nobody waits."""


_NULL_EVENT = _NullEvent()
_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol for a Site instead of an ASGI application.

    Idle connections have no time limit, because the load balancer closes its idle connections.
    """

    app: Any  # a Site
    cycle: Any  # a Request
    pipeline: Any
    default_head: bytes

    # The parameter's type is narrower than asyncio's, as in uvicorn.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # always a stream
        """Accept a connection."""
        super().connection_made(transport)
        self.default_head = b"".join(b"%b: %b\r\n" % header for header in self.server_state.default_headers)

    def on_message_begin(self) -> None:
        """Begin a request."""
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_headers_complete(self) -> None:
        """Start the answer; the body may arrive later."""
        parser = self.parser
        path, _, query = self.url.partition(b"?")
        if b"%" in path:
            path = unquote_to_bytes(path)
        page, parameters = self.app.find(parser.get_method(), path)
        # The parser reads nothing after a request for an upgrade.
        keep_alive = (
            parser.should_keep_alive() and parser.get_http_version() != "1.0" and not parser.should_upgrade()
        )
        before = self.cycle
        self.cycle = request = Request(self, page, parameters, query, self.headers, keep_alive=keep_alive)
        if before is None or before.response_complete:
            self._start_asgi_task(request, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((request, self.app))

    def _start_asgi_task(self, cycle: Any, _app: object) -> None:
        cycle.task = self.loop.create_task(cycle.run())
        self.tasks.add(cycle.task)

    def switch(self, head: bytes, successor: asyncio.Protocol) -> None:
        """Send the head of an answer, and pass the connection to another protocol."""
        self.server_state.total_requests += 1
        self.connections.discard(self)
        self.transport.write(head)
        self.transport.set_protocol(successor)
        self.cycle = self.parser = None  # type: ignore[assignment]  # both refer to this object, which is no longer used
        successor.connection_made(self.transport)

    def _unsupported_upgrade_warning(self) -> None:
        """Print no warning about an upgrade request: the page accepts or refuses the upgrade."""

    def on_response_complete(self) -> None:
        """Start the next pipelined request, if there is one."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
