"""Paths of requests: under which label each is counted, and how it stands on the wire."""

import re
from urllib.parse import quote

__all__ = ["know", "known", "label_of", "quoted"]

_ID = re.compile(
    r"(?<=/)(?:\d+|[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}|[0-9a-fA-F]{16,})(?=/|$)"
)
_KEPT = 10_000
_SAFE = "/?&=:@!$'()*+,;%[]~-._"

known: dict[tuple[str, str], tuple[str, str]] = {}
"""What `know` said of a method and a path. Looked into first, as paths come again."""


def know(method: str, path: str) -> tuple[str, str]:
    """An operation's label, and its path as it may stand on the wire; kept in `known`."""
    if len(known) >= _KEPT:
        known.clear()
    found = known[method, path] = label_of(method, path), quoted(path)
    return found


def label_of(method: str, path: str) -> str:
    """The label of an operation: method and path, without query, numbers and UUIDs in it replaced by "{id}"."""
    return _ID.sub("{id}", f"{method} {path.partition('?')[0]}")


def quoted(path: str) -> str:
    """A path with all percent-encoded that may not stand in a request line."""
    is_clean = path.isascii() and path.isprintable() and " " not in path
    return path if is_clean else quote(path, safe=_SAFE)
