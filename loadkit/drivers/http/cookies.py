"""The cookies of one user at one service (RFC 6265, as far as one host needs it)."""

import time
from collections.abc import Iterable
from email.utils import parsedate_to_datetime

__all__ = ["Cookies"]


class Cookies:
    """What the service asked the user to keep."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], str] = {}
        """By path and name."""

    def take(self, path: str, fields: Iterable[str]) -> None:
        """Keep, replace or forget what the ``Set-Cookie`` fields of an answer say; `path` is the request's."""
        for field in fields:
            pair, *attributes = field.split(";")
            name, equals, value = pair.strip().partition("=")
            if not equals:
                continue
            said = {}
            for attribute in attributes:
                title, _, text = attribute.strip().partition("=")
                said[title.lower()] = text.strip()
            given = said.get("path", "")
            key = (given if given.startswith("/") else path.partition("?")[0].rpartition("/")[0] or "/", name)
            self._kept.pop(key, None)
            if not _is_over(said):
                self._kept[key] = value.strip()

    def line(self, path: str) -> bytes:
        """The ``Cookie`` line of a request to `path`, as it stands on the wire; empty where there are none."""
        asked = path.partition("?")[0]
        pairs = [f"{name}={value}" for (place, name), value in self._kept.items() if _is_under(asked, place)]
        return f"cookie: {'; '.join(pairs)}\r\n".encode("latin-1") if pairs else b""

    def __len__(self) -> int:
        return len(self._kept)


def _is_under(path: str, place: str) -> bool:
    """Does a cookie of `place` go with requests to `path`? (RFC 6265, 5.1.4)"""
    return path == place or (path.startswith(place) and (place.endswith("/") or path[len(place)] == "/"))


def _is_over(said: dict[str, str]) -> bool:
    try:
        if "max-age" in said:
            return int(said["max-age"]) <= 0
        return "expires" in said and parsedate_to_datetime(said["expires"]).timestamp() <= time.time()
    except ValueError:
        return False  # what cannot be read is as if it were not there
