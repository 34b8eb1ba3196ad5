"""Headers: request headers, kept encoded until they change, and response headers, parsed lazily."""

from collections.abc import Iterator, Mapping, MutableMapping

__all__ = ["HARMLESS", "RequestHeaders", "ResponseHeaders", "encode"]

HARMLESS = frozenset({
    "accept", "accept-encoding", "accept-language", "cache-control", "content-encoding", "content-type",
    "origin", "referer", "traceparent", "user-agent", "x-run-id",
})  # fmt: skip
"""Request headers without credentials. Of any other header, only the name is stored and shown."""
_FRAMING = frozenset({"connection", "content-length", "transfer-encoding"})
"""Headers of message framing and of the connection; the client computes them."""


def encode(fields: Mapping[str, str]) -> bytes:
    """Encode fields as they are sent.

    Raises:
        ValueError: a name or a value contains a line break, which would start another header.

    """
    lines = "".join([f"{name}: {value}\r\n" for name, value in fields.items()])
    if not lines.count("\r") == lines.count("\n") == len(fields):
        raise ValueError(f"a header must not contain a line break: {sorted(fields)}")
    return lines.encode("latin-1")


class RequestHeaders(MutableMapping[str, str]):
    """Headers sent with each request of a user. Names are case-insensitive.

    Each name is sent once. Setting a name or a value with a line break raises ValueError, and so
    does setting a header that the client computes: Content-Length, Transfer-Encoding, Connection.
    """

    __slots__ = ("_fields", "block", "has_host", "has_trace", "has_type")

    block: bytes
    """All headers encoded; built when one changes, not with each request."""
    has_host: bool
    """Does a header replace the service's own host?"""
    has_trace: bool
    """Does a header replace the trace that the client begins?"""
    has_type: bool
    """Does a header replace the content type that the kind of body implies?"""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self._fields: dict[str, str] = {}
        lowered = {name.lower(): value for name, value in fields.items()}
        self._take(lowered, lowered)

    def _take(self, fields: dict[str, str], as_written: Mapping[str, str]) -> None:
        if not _FRAMING.isdisjoint(fields):
            raise ValueError(
                f'the header "{min(_FRAMING.intersection(fields))}" cannot be set, the client computes it; '
                'expected others, such as "accept", and a body as json=, data= or content='
            )
        self.block = encode(as_written)
        self._fields = fields
        self.has_host = "host" in fields
        self.has_trace = "traceparent" in fields
        self.has_type = "content-type" in fields

    def overlaid(self, own: Mapping[str, str]) -> "RequestHeaders":
        """These headers with those of one request, which replace headers of the same name.

        Raises:
            ValueError: a name or a value contains a line break, or the client computes the header.

        """
        lowered = self._fields.copy()
        as_written = lowered.copy()
        for name, value in own.items():
            low = name.lower()
            if low in lowered:
                as_written = {other: text for other, text in as_written.items() if other.lower() != low}
            lowered[low] = as_written[name] = value
        overlaid = RequestHeaders.__new__(RequestHeaders)
        overlaid._take(lowered, as_written)  # noqa: SLF001  same class
        return overlaid

    def __getitem__(self, name: str) -> str:
        return self._fields[name.lower()]

    def __setitem__(self, name: str, value: str) -> None:
        fields = self._fields | {name.lower(): value}
        self._take(fields, fields)

    def __delitem__(self, name: str) -> None:
        fields = self._fields.copy()
        del fields[name.lower()]
        self._take(fields, fields)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._fields

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __repr__(self) -> str:
        return f"<RequestHeaders {', '.join(self._fields)}>"  # names only: a value may be a token


class ResponseHeaders(Mapping[str, str]):
    """Headers of an answer. Repeated values are joined with commas; `all` separates them."""

    __slots__ = ("_values",)

    def __init__(self, head: bytes) -> None:
        self._values: dict[str, list[str]] = {}
        for line in head.split(b"\r\n")[1:]:
            name, colon, value = line.decode("latin-1").partition(":")
            if colon:
                self._values.setdefault(name.lower(), []).append(value.strip())

    def __getitem__(self, name: str) -> str:
        return ", ".join(self._values[name.lower()])

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def all(self, name: str) -> list[str]:
        """Each value of a name, in the order received."""
        return list(self._values.get(name.lower(), ()))
