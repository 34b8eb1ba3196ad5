"""Request paths: their labels and their encoded form."""

import re
from urllib.parse import quote

__all__ = ["know", "known", "label_of", "quoted"]

_ID = re.compile(
    r"(?<=/)(?:\d+|[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}|[0-9a-fA-F]{16,})(?=/|$)"
)
_KEPT = 10_000
_SAFE = "/?&=:@!$'()*+,;%[]~-._"

known: dict[tuple[str, str], tuple[str, str]] = {}
"""Cache of `know` by method and path; the hot path reads it first."""


def know(method: str, path: str) -> tuple[str, str]:
    """An operation's label and its encoded path; cached in `known`."""
    if len(known) >= _KEPT:
        known.clear()
    found = known[method, path] = label_of(method, path), quoted(path)
    return found


def label_of(method: str, path: str) -> str:
    """The label of an operation: method and path without query, with numbers and ids as "{id}"."""
    return _ID.sub("{id}", f"{method} {path.partition('?')[0]}")


def quoted(path: str) -> str:
    """A path in which characters that a request line must not contain are percent-encoded."""
    is_clean = path.isascii() and path.isprintable() and " " not in path
    return path if is_clean else quote(path, safe=_SAFE)
