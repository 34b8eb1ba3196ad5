"""The handshake: the settings of a new connection, the request, and the answer to it."""

import asyncio
import re
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import Protocol, cast

from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.http11 import Request
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI

from loadkit.drivers.base import TransportError
from loadkit.drivers.canaries import Canaries
from loadkit.drivers.masking import READ
from loadkit.drivers.network import kind_of
from loadkit.drivers.websocket.connection import Connection, Shared
from loadkit.drivers.websocket.exchanges import ExchangeFormat
from loadkit.drivers.websocket.heads import StreamHeads
from loadkit.drivers.websocket.keepalive import Keepalive
from loadkit.drivers.websocket.record import ConnectionRecord

__all__ = ["Backend", "Handshake", "Opening"]

_END_OF_HEAD = b"\r\n\r\n"
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])\b")


@dataclass(frozen=True, slots=True)
class Handshake:
    """The settings of a new connection."""

    path: str
    headers: Mapping[str, str]
    subprotocols: Sequence[str]
    is_compressed: bool
    """Is permessage-deflate offered (RFC 7692)?"""
    max_size: int
    """Most bytes of a message; a larger one fails the connection with 1009."""
    max_frame: int | None
    """Most bytes of a frame; None for no separate limit."""
    keepalive: Keepalive
    trace: str = ""
    """The `traceparent` header; "" if the user's headers have one."""

    def begun(self, service: WebSocketURI) -> tuple[ClientProtocol, Request]:
        """The protocol core that will read the answer, and the request to the service."""
        core = ClientProtocol(
            self._uri(service),
            extensions=[ClientPerMessageDeflateFactory()] if self.is_compressed else None,
            subprotocols=[Subprotocol(name) for name in self.subprotocols] or None,
            max_size=(self.max_size, self.max_frame),
        )
        request = core.connect()
        for name, value in self.headers.items():
            if name in request.headers:
                del request.headers[name]
            request.headers[name] = value
        if self.trace:
            request.headers["traceparent"] = self.trace
        return core, request

    def _uri(self, service: WebSocketURI) -> WebSocketURI:
        """The service's address, with this path appended to its own path, and with both queries."""
        path, _, query = self.path.partition("?")
        queries = [each for each in (service.query, query) if each]
        return replace(service, path=service.path.rstrip("/") + path, query="&".join(queries))


class Backend(Protocol):
    """Opens connections: the driver."""

    canaries: Canaries
    heads: StreamHeads
    exchange_format: ExchangeFormat

    def connect(
        self, handshake: Handshake, record: ConnectionRecord, deadline: float
    ) -> Awaitable[Connection]:
        """Open a connection, by `deadline` on the monotonic clock.

        Raises:
            TransportError: it could not be opened.

        """
        ...


class Opening(asyncio.Protocol):
    """A socket until the handshake is over; then it belongs to a `Connection`."""

    _transport: asyncio.Transport

    def __init__(
        self,
        core: ClientProtocol,
        record: ConnectionRecord,
        keepalive: Keepalive,
        shared: Shared,
    ) -> None:
        """Prepare for a socket that is being connected."""
        self._core = core
        self._record = record
        self._keepalive = keepalive
        self._shared = shared
        self._opened: asyncio.Future[Connection] = shared.loop.create_future()
        """Done when the handshake has succeeded or failed."""
        self._head = b""

    async def execute(self, request: Request, deadline: float) -> Connection:
        """Execute the handshake, by `deadline` on the monotonic clock.

        Raises:
            TransportError: the service refused or did not answer; "status 401" if that was its
                answer.

        """
        alarm = self._shared.loop.call_later(max(deadline - monotonic(), 0.0), self._give_up)
        try:
            self._core.send_request(request)
            self._transport.writelines(self._core.data_to_send())
            return await self._opened
        except BaseException:
            self._opened.cancel()
            self._transport.abort()
            raise
        finally:
            alarm.cancel()

    # --- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's do not inherit from it

    def data_received(self, data: bytes) -> None:
        """Read the head of the answer; frames may follow it in the same bytes."""
        now = monotonic()
        if self._opened.done():
            return  # it was refused
        core = self._core
        before = len(self._head)
        self._head += data
        end = self._head.find(_END_OF_HEAD)
        of_head = len(data) if end < 0 else end + len(_END_OF_HEAD) - before
        core.receive_data(data[:of_head])
        core.events_received()
        if core.state is State.OPEN:
            self._hand_over(before + of_head, now, data[of_head:])
        elif end >= 0 or core.handshake_exc is not None:
            # The status is known. The body of a refusal is not awaited, because it may never end.
            status = _STATUS.match(self._head)
            code = int(status[1]) if status else 0
            self._refuse(f"status {code}" if code not in (0, 101) else "protocol", now)

    def connection_lost(self, problem: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._refuse("closed" if problem is None else kind_of(problem), monotonic())
        self._shared.on_lost()

    def _hand_over(self, size: int, now: float, rest: bytes) -> None:
        """Hand the socket over to a connection; the first frames may have arrived already."""
        record = self._record
        record.origin = record.origin._replace(instance=record.exchange_format.instance_of(self._head))
        connection = Connection(
            self._transport,
            self._core,
            self._record,
            self._keepalive,
            self._shared,
            opened_at=now,
            handshake_size=size,
        )
        self._transport.set_protocol(connection)
        self._opened.set_result(connection)
        if rest:
            connection.data_received(rest)

    def _give_up(self) -> None:
        self._refuse("timeout", monotonic())

    def _refuse(self, kind: str, at: float) -> None:
        if not self._opened.done():
            self._opened.set_exception(TransportError(kind, at, self._head[:READ]))
