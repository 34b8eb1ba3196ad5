"""One user's WebSocket client: it opens connections when they are due, and reconnects."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from math import inf

from loadkit.drivers.base import Meter, NoResponse, TransportError
from loadkit.drivers.http.headers import RequestHeaders
from loadkit.drivers.http.paths import know, known, quoted
from loadkit.drivers.http.traces import traceparent
from loadkit.drivers.websocket.connection import Connection
from loadkit.drivers.websocket.exchanges import Origin
from loadkit.drivers.websocket.exchanges import handshake as describe
from loadkit.drivers.websocket.failures import ConnectFailed, ConnectionClosed
from loadkit.drivers.websocket.handshake import Backend, Handshake
from loadkit.drivers.websocket.keepalive import Keepalive
from loadkit.drivers.websocket.ledger import Stream
from loadkit.drivers.websocket.record import ConnectionRecord
from loadkit.drivers.websocket.subscription import Subscription
from loadkit.drivers.websocket.websocket import WebSocket
from loadkit.recording.messages import NOT_BACK, RETURN_FAILED
from loadkit.recording.sample import OK, Sample
from loadkit.recording.timing import CONNECT, RECONNECT

__all__ = ["ConnectFailed", "ConnectionClosed", "WebSocket", "WebSocketClient"]

_AGENT = "loadkit/0.1"
_MOST_BYTES = 1 << 20
_PING_EVERY = _PING_TIMEOUT = 20.0
_COMPUTED = frozenset(
    {
        "sec-websocket-accept",
        "sec-websocket-extensions",
        "sec-websocket-key",
        "sec-websocket-protocol",
        "sec-websocket-version",
        "upgrade",
    }
)
_FIRST_WAIT, _LONGEST_WAIT = 2.0, 8.0
"""Limits of the random wait before a client reconnects, in seconds.

The first one applies to the first attempt. Each failed attempt doubles it, up to the second one."""


class WebSocketClient:
    """Opens a user's connections when they are due, and records each attempt by its label."""

    __slots__ = ("_backend", "_connections", "_headers", "_meter", "_subscriptions")

    def __init__(self, meter: Meter, backend: Backend) -> None:
        self._headers: RequestHeaders | None = None
        """None until a journey reads them, because a held connection does not need them."""
        self._meter = meter
        self._backend = backend
        self._connections: list[Connection] = []
        self._subscriptions: list[Subscription] = []
        """Subscriptions whose end has not been counted."""

    @property
    def headers(self) -> RequestHeaders:
        """The headers of each handshake: `user.ws.headers["authorization"] = f"Bearer {token}"`."""
        if self._headers is None:
            self._headers = self._usual_headers()
        return self._headers

    def _usual_headers(self) -> RequestHeaders:
        return RequestHeaders({"user-agent": _AGENT, "x-run-id": self._meter.run_id})

    async def connect(
        self,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        subprotocols: Sequence[str] = (),
        compress: bool = False,
        label: str | None = None,
        timeout: float | None = None,
        max_size: int = _MOST_BYTES,
        max_frame: int | None = None,
        ping_every: float = _PING_EVERY,
        ping_timeout: float = _PING_TIMEOUT,
    ) -> WebSocket:
        """Open a connection: one operation, whose time is the connection time.

        The connection is closed when the journey no longer refers to it.

        Args:
            path: from the service's WebSocket address: "/api/v1/stream?topics=cpu".
            headers: for this handshake only; they replace the client's headers of the same name.
            subprotocols: the offered ones, the preferred first.
            compress: offer permessage-deflate. Compressed messages take the slow path.
            label: the label under which the attempts and the messages are counted; default: "WS"
                and the path, with ids replaced by "{id}".
            timeout: seconds for the whole attempt; default: the plan's.
            max_size: most bytes of a message; a larger one fails the connection.
            max_frame: most bytes of a frame; None for `max_size` alone.
            ping_every: seconds from a pong to the next ping; infinite for no pings.
            ping_timeout: seconds without any data after a ping, after which the connection counts
                as half-open and is closed.

        Raises:
            ConnectFailed: the attempt failed, and the failure is recorded.
            ValueError: a header contains a line break, or is one that the client computes.

        """
        meter = self._meter
        if label is None:
            label, path = known.get(("WS", path)) or know("WS", path)
        else:
            path = quoted(path)
        sent = self._usual_headers() if self._headers is None else self._headers
        if headers:
            sent = sent.overlaid(headers)
        for name in sent:
            if name in _COMPUTED:
                raise ValueError(
                    f'the header "{name}" cannot be set, the client computes it; '
                    "expected others, and subprotocols= or compress= for what is offered"
                )
        trace = "" if sent.has_trace else self._trace()
        handshake = Handshake(
            path,
            sent,
            subprotocols,
            compress,
            max_size,
            max_frame,
            Keepalive(ping_every, ping_timeout),
            trace,
        )
        exchange_format = self._backend.exchange_format
        origin = Origin("", (trace or sent["traceparent"])[3:35], sent, path)
        record = ConnectionRecord(
            meter, label, exchange_format, origin, self._backend.canaries.search_for(meter.tenant)
        )
        with await meter.begin(label, CONNECT) as operation:
            deadline = meter.now() + (meter.timeout if timeout is None else timeout)
            try:
                connection = await self._backend.connect(handshake, record, deadline)
            except TransportError as failure:
                was_answered = failure.kind.startswith("status ")
                operation.failed(failure.kind, failure.at, was_answered=was_answered)
                meter.exchange = describe, exchange_format, path, sent, origin.trace, failure.answer
                record.look_for_others(failure.answer, failure.at)
                meter.count_shortage(failure.kind)
                raise ConnectFailed(failure.kind) from None
            except asyncio.CancelledError:  # for the example of an attempt without an answer
                meter.exchange = describe, exchange_format, path, sent, origin.trace, b""
                raise
            operation.succeeded(connection.opened_at, connection.handshake_size)
            if meter.is_slow:
                meter.exchange = (
                    describe,
                    exchange_format,
                    path,
                    sent,
                    origin.trace,
                    b"",
                    record.origin.instance,
                )
        self._connections = [*(each for each in self._connections if not each.is_lost), connection]
        return WebSocket(meter, connection, label, self._backend.heads, self._subscriptions)

    def _trace(self) -> str:
        """The trace of a handshake; its flag "sampled" follows the rule for requests."""
        recorder = self._meter.recorder
        is_sampled = self._meter.is_recorded and recorder.traces_due > 0
        recorder.traces_due -= is_sampled
        return traceparent(is_sampled=is_sampled)

    async def stay(
        self, begin: Callable[[Subscription | None], Awaitable[tuple[WebSocket, Subscription]]]
    ) -> None:
        """Keep a connection until the user's time is over, and reconnect whenever it drops.

        Before each attempt to reconnect, the client waits for a random time, which is longer after
        each failed attempt. So clients that dropped together do not reconnect together. The time to
        reconnect is the time from the drop until `begin` returns. If the plan states a rate of
        drops, the client also drops connections itself.

        Args:
            begin: opens a connection and subscribes. It gets the subscription to continue, or None
                for the first connection. A failure of the first connection ends the journey.

        Raises:
            UserFinished: the user's time is over.
            Exception: any exception of `begin`, except NoResponse during a reconnect. The
                subscription then counts as not resumed.

        """
        meter = self._meter
        ws, subscription = await begin(None)
        while True:
            try:
                await ws.hold(random.expovariate(meter.churn) if meter.churn else inf)
                dropped = meter.now()
                ws.drop()
            except ConnectionClosed as closed:
                dropped = closed.ending.at
            outcome = NOT_BACK
            try:
                ws, subscription = await self._come_back(begin, subscription)
                outcome = OK
            except Exception:
                outcome = RETURN_FAILED
                for each in self._subscriptions:
                    if each.has_same_options(subscription):
                        each.give_up()
                raise
            finally:
                if meter.is_recorded and not meter.is_cut:
                    sample = Sample(
                        ws.label, outcome, dropped, dropped, meter.now(), 0, meter.tenant, meter.region
                    )
                    reconnects = meter.recorder.timing(RECONNECT)
                    reconnects.samples.append(sample)
                    if outcome != OK or sample.end - dropped > reconnects.slow_from.get(ws.label, 0.0):
                        meter.record_example(sample, RECONNECT)

    async def _come_back(
        self,
        begin: Callable[[Subscription | None], Awaitable[tuple[WebSocket, Subscription]]],
        subscription: Subscription,
    ) -> tuple[WebSocket, Subscription]:
        meter, longest = self._meter, _FIRST_WAIT
        while True:
            meter.intended = max(meter.intended, meter.now()) + random.uniform(0.0, longest)
            pause = meter.pause()
            if pause is not None:
                await pause
            # Such a journey lasts as long as its user, so nothing else renews the user's token.
            await meter.renew_if_due()
            # The drop is already counted. It must not excuse an error in the service's next
            # answers.
            had_failed, meter.has_failed = meter.has_failed, False
            try:
                begun = await begin(subscription)
            except NoResponse:
                longest = min(2 * longest, _LONGEST_WAIT)
                meter.has_failed = True
            else:
                meter.has_failed = meter.has_failed or had_failed
                return begun

    def knows(self, stream: Stream, number: int, tenant: str | None = None) -> None:
        """Note a message number that the service assigned, such as in its answer to a publisher.

        If a subscriber of this worker never receives that message, it counts as lost.

        Args:
            stream: the stream's name, as the readers of messages return it.
            number: the message's number in the stream.
            tenant: whose stream it is; default: the user's tenant.

        """
        self._backend.heads.know(self._meter.tenant if tenant is None else tenant, stream, number)

    def close(self) -> None:
        """Close all connections."""
        for connection in self._connections:
            connection.leave()
        self._connections.clear()
        for subscription in self._subscriptions:
            subscription.settle(is_over=True)
        self._subscriptions.clear()
