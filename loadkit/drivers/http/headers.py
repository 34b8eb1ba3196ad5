"""Headers: those that a user sends, kept as bytes until they change, and those of an answer, read when asked for."""

from collections.abc import Iterator, Mapping, MutableMapping

__all__ = ["RequestHeaders", "ResponseHeaders", "encode"]


def encode(fields: Mapping[str, str]) -> bytes:
    """Fields as they stand on the wire.

    Raises:
        ValueError: a line break in a name or a value, which would be another header.

    """
    lines = [f"{name}: {value}\r\n" for name, value in fields.items()]
    if any("\r" in line[:-2] or "\n" in line[:-2] for line in lines):
        raise ValueError(f"a header must not contain a line break: {sorted(fields)}")
    return "".join(lines).encode("latin-1")


class RequestHeaders(MutableMapping[str, str]):
    """Headers that are sent with each request of a user. Names are compared without regard to case."""

    __slots__ = ("_block", "_fields")

    def __init__(self, fields: Mapping[str, str]) -> None:
        self._fields = {name.lower(): value for name, value in fields.items()}
        self._block: bytes | None = None

    @property
    def block(self) -> bytes:
        """All of them as bytes; made once, until one changes."""
        if self._block is None:
            self._block = encode(self._fields)
        return self._block

    def __getitem__(self, name: str) -> str:
        return self._fields[name.lower()]

    def __setitem__(self, name: str, value: str) -> None:
        self._fields[name.lower()] = value
        self._block = None

    def __delitem__(self, name: str) -> None:
        del self._fields[name.lower()]
        self._block = None

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
