"""An answer, as `httpx.Response` shows one; decoded only where somebody looks."""

import json
import zlib
from typing import Any

import orjson

from loadkit.drivers.http.headers import ResponseHeaders

__all__ = ["Head", "Response", "StatusError"]

_GZIP_MAGIC = b"\x1f\x8b"


class StatusError(Exception):
    """The answer's status is 400 or above."""

    def __init__(self, status_code: int) -> None:
        super().__init__(f"status {status_code}")
        self.status_code = status_code


class Head:
    """An answer's status line and headers. Those that come again are kept and shared by their answers: see `HttpDriver.heads`."""

    __slots__ = (
        "_bytes",
        "_headers",
        "is_encoded",
        "length",
        "opening",
        "sets_cookies",
        "size",
        "status_code",
    )

    def __init__(self, status_code: int, head: bytes, length: int = -1) -> None:
        lowered = head.lower()
        self.status_code = status_code
        self.sets_cookies = b"\r\nset-cookie:" in lowered
        self.is_encoded = b"\r\ncontent-encoding:" in lowered
        self.length = length
        """Bytes of the body, where all that follows this head on a connection is a body of this length; else -1."""
        self.opening = head + b"\r\n\r\n"
        """What such an answer begins with."""
        self.size = len(self.opening) + length
        """Bytes of such an answer."""
        self._bytes = head
        self._headers: ResponseHeaders | None = None

    @property
    def headers(self) -> ResponseHeaders:
        """The headers, read when somebody first looks."""
        if self._headers is None:
            self._headers = ResponseHeaders(self._bytes)
        return self._headers


class Response:
    """A whole answer."""

    __slots__ = ("_content", "at", "body", "head", "held_back", "size", "status_code")

    def __init__(self, head: Head, body: bytes, at: float, size: int, held_back: float = 0.0) -> None:
        self.head = head
        self.status_code = head.status_code
        self.body = body
        """As it came, compressed where it was."""
        self.at = at
        """When its last byte arrived, on the monotonic clock."""
        self.size = size
        """Bytes received, headers included."""
        self.held_back = held_back
        """Seconds that its request waited in the driver for others of its turn before it was sent."""
        self._content: bytes | None = None

    @property
    def headers(self) -> ResponseHeaders:
        """Its headers."""
        return self.head.headers

    @property
    def content(self) -> bytes:
        """The body, decompressed.

        Raises:
            ValueError: it is not what its Content-Encoding says.

        """
        if not self.head.is_encoded:
            return self.body
        if self._content is None:
            self._content = self._decoded()
        return self._content

    @property
    def text(self) -> str:
        """The body as text, in the charset that it states, where that is one, else UTF-8."""
        _, _, stated = self.headers.get("content-type", "").partition("charset=")
        charset = stated.split(";")[0].strip(" \"'")
        try:
            return self.content.decode(charset or "utf-8", "replace")
        except LookupError:
            return self.content.decode("utf-8", "replace")

    def json(self) -> Any:
        """The body as JSON values.

        As httpx does, it reads what Python's own parser reads: UTF-8, UTF-16 and UTF-32, with a byte order mark or
        without, and NaN and Infinity.

        Raises:
            ValueError: it is no JSON.

        """
        content = self.content if self.head.is_encoded else self.body
        try:
            return orjson.loads(content)
        except orjson.JSONDecodeError:  # orjson is the fast one, and the strict one
            try:
                return json.loads(content)
            except RecursionError:
                raise ValueError("the body is no JSON that can be read: it is nested too deeply") from None

    @property
    def is_success(self) -> bool:
        """Is its status 2xx?"""
        return 200 <= self.status_code < 300

    def raise_for_status(self) -> "Response":
        """Return itself.

        Raises:
            StatusError: its status is 400 or above.

        """
        if self.status_code >= 400:
            raise StatusError(self.status_code)
        return self

    def _decoded(self) -> bytes:
        body = self.body
        # The last that is named was applied last (RFC 9110, 8.4).
        for encoding in reversed(self.headers.get("content-encoding", "").lower().split(",")):
            body = _decoded(body, encoding.strip()) if body else body
        return body

    def __repr__(self) -> str:
        return f"<Response {self.status_code}, {self.size} bytes>"


def _decoded(body: bytes, encoding: str) -> bytes:
    if encoding in ("identity", ""):
        return body
    try:
        if encoding in ("gzip", "x-gzip"):
            return _gunzipped(body)
        if encoding == "deflate":
            # Some servers send the bare stream instead of the zlib one that the standard asks for.
            is_zlib = body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
            return zlib.decompress(body, zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)
    except zlib.error as error:
        raise ValueError(f"the body is not {encoding}: {error}") from None
    raise ValueError(f"cannot read a body in the encoding {encoding}; asked for gzip or deflate")


def _gunzipped(body: bytes) -> bytes:
    """All members of a gzip stream (RFC 1952, 2.2).

    The rule is that of GNU gzip. What follows a member and begins as one must be a whole member; anything else behind the
    first is no part of the stream.
    """
    content = []
    while True:
        member = zlib.decompressobj(16 + zlib.MAX_WBITS)
        content.append(member.decompress(body))
        if not member.eof:
            raise zlib.error("incomplete or truncated stream")
        body = member.unused_data
        if not body.startswith(_GZIP_MAGIC):
            return content[0] if len(content) == 1 else b"".join(content)
