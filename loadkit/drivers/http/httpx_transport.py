"""The load driver's connections as a transport of `httpx.AsyncClient`, for code that uses httpx."""

from time import monotonic

import httpx

from loadkit.drivers.base import TransportError
from loadkit.drivers.http.driver import HttpDriver, HttpSession
from loadkit.errors import ConfigurationError

__all__ = ["LoadTransport"]

_DEFAULT_TIMEOUT = 10.0
_ERRORS: dict[str, type[httpx.TransportError]] = {
    "timeout": httpx.ReadTimeout,
    "read timeout": httpx.ReadTimeout,
    "connect timeout": httpx.ConnectTimeout,
    "refused": httpx.ConnectError,
    "unreachable": httpx.ConnectError,
    "no socket": httpx.ConnectError,
    "tls": httpx.ConnectError,
    "protocol": httpx.RemoteProtocolError,
    "closed": httpx.RemoteProtocolError,
}


class LoadTransport(httpx.AsyncBaseTransport):
    """Pass it to a client: ``httpx.AsyncClient(transport=LoadTransport(driver))``.

    It connects to one service. It opens as many connections as there are concurrent requests, and
    reuses them. The features of httpx above its transport (cookies, redirects, authentication) work
    as usual.
    """

    def __init__(self, driver: HttpDriver) -> None:
        self._driver = driver
        self._idle: list[HttpSession] = []
        self._sessions: list[HttpSession] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request.

        Raises:
            httpx.TransportError: no complete answer arrived.
            ConfigurationError: the request is for another service than the driver's.

        """
        netloc = request.url.netloc.decode("ascii")
        if (request.url.scheme, netloc) != (self._driver.scheme, self._driver.netloc):
            raise ConfigurationError(
                f"this transport connects to {self._driver.scheme}://{self._driver.netloc}, "
                f"not to {request.url.scheme}://{netloc}"
            )
        body = await request.aread()
        # Complete bodies only: a content-length replaces the chunked coding of httpx.
        lines = [
            b"%b: %b\r\n" % field for field in request.headers.raw if field[0].lower() != b"transfer-encoding"
        ]
        if body and "content-length" not in request.headers:
            lines.append(b"content-length: %d\r\n" % len(body))
        message = b"%b %b HTTP/1.1\r\n%b\r\n%b" % (
            request.method.encode("ascii"),
            request.url.raw_path,
            b"".join(lines),
            body,
        )
        timeout = request.extensions.get("timeout", {}).get("read") or _DEFAULT_TIMEOUT
        session = self._idle.pop() if self._idle else self._new_session()
        try:
            answer = await session.exchange(request.method, request.url.path, message, monotonic() + timeout)
        except TransportError as error:
            kind = _ERRORS.get(error.kind, httpx.ReadError)
            raise kind(error.kind, request=request) from None
        finally:
            self._idle.append(session)
        return httpx.Response(
            answer.status_code,
            headers=[(name, value) for name in answer.headers for value in answer.headers.all(name)],
            stream=httpx.ByteStream(answer.body),
        )

    def _new_session(self) -> HttpSession:
        session = self._driver.session()
        self._sessions.append(session)
        return session

    async def aclose(self) -> None:
        """Close all connections."""
        for session in self._sessions:
            session.close()
