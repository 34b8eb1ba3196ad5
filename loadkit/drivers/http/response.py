"""An answer with the interface of `httpx.Response`; it is decoded only when read."""

import json
import zlib
from typing import Any

import orjson

from loadkit.drivers.http.headers import ResponseHeaders
from loadkit.recording.sample import Sample

__all__ = ["BodyError", "Head", "NotJsonError", "Response", "StatusError"]

_GZIP_MAGIC = b"\x1f\x8b"


class StatusError(Exception):
    """The answer's status is 400 or above."""

    def __init__(self, status_code: int) -> None:
        super().__init__(f"status {status_code}")
        self.status_code = status_code


class BodyError(ValueError):
    """The answer's body cannot be read. The fault is the service's, so the operation failed."""

    kind: str
    """The outcome of the operation: "body is not gzip" …"""
    response: "Response"

    def __init__(self, kind: str, reason: str, response: "Response") -> None:
        super().__init__(reason)
        self.kind, self.response = kind, response


class NotJsonError(BodyError, json.JSONDecodeError):
    """The answer's body is not JSON. Code that catches the parser's own error catches it too."""

    def __init__(self, reason: str, response: "Response", document: str = "", position: int = 0) -> None:
        json.JSONDecodeError.__init__(self, reason, document, position)
        self.kind, self.response = "body is not JSON", response


class Head:
    """An answer's status line and headers.

    Equal heads are cached and shared by their answers: see `HttpDriver.heads`.
    """

    __slots__ = (
        "_bytes",
        "_headers",
        "is_encoded",
        "lacks",
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
        """Body length in bytes, if only a plain body follows the head; else -1."""
        self.opening = head + b"\r\n\r\n"
        """The first bytes of an answer with this head."""
        self.size = len(self.opening) + length
        """The size of an answer with this head and a plain body, in bytes."""
        self.lacks: bytes | None = None
        """A text that these bytes do not contain, so that nobody searches them for it again. None before
        the first search, and always if the body is encoded."""
        self._bytes = head
        self._headers: ResponseHeaders | None = None

    @property
    def headers(self) -> ResponseHeaders:
        """The headers, parsed on first access."""
        if self._headers is None:
            self._headers = ResponseHeaders(self._bytes)
        return self._headers


class Response:
    """A complete answer."""

    __slots__ = ("_content", "at", "body", "head", "held_back", "label", "sample", "size", "status_code")

    def __init__(self, head: Head, body: bytes, at: float, size: int, held_back: float = 0.0) -> None:
        self.head = head
        self.status_code = head.status_code
        self.body = body
        """The body as received, possibly compressed."""
        self.at = at
        """When its last byte arrived, on the monotonic clock."""
        self.size = size
        """Bytes received, headers included."""
        self.held_back = held_back
        """Seconds that the driver held the request back to send it in a batch."""
        self.label = ""
        """The label of its operation: "GET /api/v1/widgets/{id}"; the client sets it."""
        self.sample: Sample | None = None
        """Its operation as the client recorded it; None if the operation is not recorded."""
        self._content: bytes | None = None

    @property
    def headers(self) -> ResponseHeaders:
        """The headers."""
        return self.head.headers

    @property
    def content(self) -> bytes:
        """The body, decompressed.

        Raises:
            BodyError: it does not match its Content-Encoding.

        """
        if not self.head.is_encoded:
            return self.body
        if self._content is None:
            self._content = self._decoded()
        return self._content

    @property
    def text(self) -> str:
        """The body as text, in the charset of its content type if that is known, else UTF-8."""
        return self._as_text(self.content)

    def beginning(self, characters: int) -> str:
        """At least this number of characters of `text`, if it has them.

        The rest of the body is not decoded to text, which saves time.
        """
        return self._as_text(self.content[: 4 * characters])  # no charset takes more bytes for one

    def _as_text(self, content: bytes) -> str:
        _, _, stated = self.headers.get("content-type", "").partition("charset=")
        charset = stated.split(";")[0].strip(" \"'")
        try:
            return content.decode(charset or "utf-8", "replace")
        except LookupError:
            return content.decode("utf-8", "replace")

    def json(self) -> Any:
        """The body as JSON values.

        Like httpx, it accepts what Python's own parser accepts: UTF-8, UTF-16 and UTF-32, with or
        without a byte order mark, and NaN and Infinity.

        Raises:
            NotJsonError: it is not JSON.
            BodyError: it does not match its Content-Encoding.

        """
        content = self.content if self.head.is_encoded else self.body
        try:
            return orjson.loads(content)
        except orjson.JSONDecodeError:  # orjson is fast, but strict
            try:
                return json.loads(content)
            except json.JSONDecodeError as error:
                reason = f"the body is not JSON: {error.msg}"
                raise NotJsonError(reason, self, error.doc, error.pos) from None
            except UnicodeDecodeError as error:
                raise NotJsonError(f"the body is not JSON: {error}", self) from None
            except RecursionError:
                raise NotJsonError("the body is not JSON: it is nested too deeply", self) from None

    @property
    def is_success(self) -> bool:
        """Is its status 2xx?"""
        return 200 <= self.status_code < 300

    def raise_for_status(self) -> "Response":
        """Return the response itself.

        Raises:
            StatusError: its status is 400 or above.

        """
        if self.status_code >= 400:
            raise StatusError(self.status_code)
        return self

    def _decoded(self) -> bytes:
        body = self.body
        # The last encoding named was applied last (RFC 9110, 8.4).
        for encoding in reversed(self.headers.get("content-encoding", "").lower().split(",")):
            body = self._without(encoding.strip(), body) if body else body
        return body

    def _without(self, encoding: str, body: bytes) -> bytes:
        if encoding in ("identity", ""):
            return body
        try:
            if encoding in ("gzip", "x-gzip"):
                return _gunzipped(body)
            if encoding == "deflate":
                # Some servers send a raw deflate stream instead of the zlib format, which the
                # standard requires.
                is_zlib = body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
                return zlib.decompress(body, zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)
        except zlib.error as error:
            raise BodyError(f"body is not {encoding}", f"the body is not {encoding}: {error}", self) from None
        raise BodyError(
            "body is neither gzip nor deflate",
            f"cannot read a body in the encoding {encoding}; expected gzip or deflate",
            self,
        )

    def __repr__(self) -> str:
        return f"<Response {self.status_code}, {self.size} bytes>"


def _gunzipped(body: bytes) -> bytes:
    """Decompress all members of a gzip stream (RFC 1952, 2.2).

    The rule is that of GNU gzip: data after a member that begins like a member must be a complete
    member. Other data after the first member is not part of the stream.
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
