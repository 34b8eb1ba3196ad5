"""A user's session through an `httpx.AsyncClient`: slower, with more features.

The load kit's own client lacks a proxy, digest authentication and redirects, for example. An answer
counts as arrived when httpx returns it, so the measured time includes httpx's own work.
"""

import asyncio
import math
import ssl
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import httpx

from loadkit.drivers.base import TransportError
from loadkit.drivers.http.headers import RequestHeaders
from loadkit.drivers.http.response import Head, Response
from loadkit.drivers.network import kind_of

__all__ = ["HttpxSession"]

_KINDS: tuple[tuple[type[Exception], str], ...] = (
    (httpx.ConnectTimeout, "connect timeout"),
    (httpx.TimeoutException, "timeout"),
    (httpx.ProxyError, "proxy"),
    (httpx.ConnectError, "refused"),
    (httpx.ProtocolError, "protocol"),
    (httpx.DecodingError, "protocol"),
    (httpx.TooManyRedirects, "redirects"),
    (httpx.NetworkError, "reset"),
)
"""The outcome of each error; the first match applies."""
_HTTPX_DEFAULTS = ("accept", "accept-encoding", "user-agent")
"""Headers that httpx adds by default; the user's headers replace them."""


class HttpxSession:
    """One user's session; see `loadkit.drivers.http.client.Session`."""

    def __init__(
        self,
        base: str,
        context: ssl.SSLContext,
        connect_timeout: float,
        read_timeout: float,
        note: Callable[[], None],
        options: dict[str, Any],
    ) -> None:
        """Create the client; nothing is sent yet.

        Args:
            base: the service's address.
            context: the TLS context.
            connect_timeout: seconds; infinite for no limit besides that of the whole request.
            read_timeout: seconds of silence; infinite likewise.
            note: called on each request.
            options: options of `httpx.AsyncClient`, which override the arguments above. Headers are
                not among them, because they come with each request.

        """
        # Proxies of this machine's environment must not affect the measurement; a journey may name
        # one.
        usual: dict[str, Any] = {"base_url": base, "verify": context, "trust_env": False}
        self._client = httpx.AsyncClient(**usual | options)
        for name in _HTTPX_DEFAULTS:  # a default that the user deleted is not sent either
            self._client.headers.pop(name, None)
        self._connect_timeout, self._read_timeout = connect_timeout, read_timeout
        self._note = note
        self._closing: asyncio.Task[None] | None = None

    async def request(
        self,
        method: str,
        path: str,
        headers: RequestHeaders,
        more: bytes,
        body: bytes | None,
        deadline: float,
    ) -> Response:
        """See `Session.request`."""
        self._note()
        fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        fields += [(name, value) for name, _, value in (line.partition(b": ") for line in more.splitlines())]
        left = max(deadline - monotonic(), 0.0)
        timeouts = httpx.Timeout(
            None,
            connect=None if self._connect_timeout == math.inf else self._connect_timeout,
            read=None if self._read_timeout == math.inf else self._read_timeout,
        )
        try:
            async with asyncio.timeout(left):
                async with self._client.stream(
                    method, path, headers=fields, content=body, timeout=timeouts
                ) as answer:
                    # Raw bytes, because httpx would decompress only the first member of a gzip
                    # stream.
                    raw_body = b"".join([piece async for piece in answer.aiter_raw()])
                    at = monotonic()
        except TimeoutError:
            raise TransportError("timeout", monotonic()) from None
        except httpx.ReadTimeout:
            raise TransportError("read timeout", monotonic()) from None
        except httpx.HTTPError as error:
            raise TransportError(_kind_of(error), monotonic()) from None
        lines = [b"HTTP/1.1 %d" % answer.status_code, *(b"%b: %b" % field for field in answer.headers.raw)]
        head = b"\r\n".join(lines)
        return Response(Head(answer.status_code, head), raw_body, at, len(head) + answer.num_bytes_downloaded)

    def close(self) -> None:
        """Schedule the closing of its connections."""
        self._closing = asyncio.get_running_loop().create_task(self._client.aclose())


def _kind_of(error: Exception) -> str:
    causes = {kind_of(cause) for cause in _causes(error)}
    for kind in ("tls", "no socket"):  # httpx has no error of its own for them
        if kind in causes:
            return kind
    return next((word for kind, word in _KINDS if isinstance(error, kind)), f"error: {type(error).__name__}")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and its causes; all errors, if several addresses were tried."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        if isinstance(cause, BaseExceptionGroup):
            for each in cause.exceptions:
                yield from _causes(each)
        cause = cause.__cause__ or cause.__context__
