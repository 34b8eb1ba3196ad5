"""Headers: those that a user sends, kept as bytes until they change, and those of an answer, read when asked for."""

from collections.abc import Iterator, Mapping, MutableMapping

__all__ = ["RequestHeaders", "ResponseHeaders", "encode"]

_FRAMING = frozenset({"connection", "content-length", "transfer-encoding"})
"""Say where a request ends and what becomes of its connection: the client's to compute."""


def encode(fields: Mapping[str, str]) -> bytes:
    """Fields as they stand on the wire.

    Raises:
        ValueError: a line break in a name or a value, which would be another header.

    """
    lines = "".join([f"{name}: {value}\r\n" for name, value in fields.items()])
    if not lines.count("\r") == lines.count("\n") == len(fields):
        raise ValueError(f"a header must not contain a line break: {sorted(fields)}")
    return lines.encode("latin-1")


class RequestHeaders(MutableMapping[str, str]):
    """Headers that are sent with each request of a user. Names are compared without regard to case.

    Each name is sent once. A ValueError refuses a line break in a name or a value, and what the client computes:
    Content-Length, Transfer-Encoding, Connection.
    """

    __slots__ = ("_fields", "block", "has_host", "has_type")

    block: bytes
    """All of them as they stand on the wire; made when one changes, not with each request."""
    has_host: bool
    """Is there a host in place of the service's own?"""
    has_type: bool
    """Is there a content type in place of the one that comes with the kind of the body?"""

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
        self.has_type = "content-type" in fields

    def overlaid(self, own: Mapping[str, str]) -> "RequestHeaders":
        """These, and those of one request, which replace them where they have the same name.

        Raises:
            ValueError: a line break in a name or a value, or a header that the client computes.

        """
        lowered = self._fields.copy()
        as_written = lowered.copy()
        for name, value in own.items():
            low = name.lower()
            if low in lowered:
                as_written = {other: said for other, said in as_written.items() if other.lower() != low}
            lowered[low] = as_written[name] = value
        overlaid = RequestHeaders.__new__(RequestHeaders)
        overlaid._take(lowered, as_written)  # noqa: SLF001  of this class
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
    """Headers of an answer; several of one name are joined with commas, as HTTP lets them be, `all` keeps them apart."""

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
        """Each value of a name, in the order they came."""
        return list(self._values.get(name.lower(), ()))
