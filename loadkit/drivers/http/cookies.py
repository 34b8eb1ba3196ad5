"""The cookies of one user at one service (RFC 6265; of its successor, 6265bis, what it says about Secure)."""

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate
from math import inf

__all__ = ["Cookies"]

_SECONDS = re.compile(r"-?[0-9]+")


@dataclass(frozen=True, slots=True)
class _Cookie:
    name: str
    value: str
    domain: str
    is_host_only: bool
    path: str
    expires: float
    """Unix time in seconds; infinite for as long as the user lives."""


class Cookies:
    """What the service asked the user to keep."""

    __slots__ = ("_is_secure", "_kept")

    def __init__(self, *, is_secure: bool) -> None:
        """Keep none yet.

        Args:
            is_secure: is TLS spoken? Over plain HTTP no ``Secure`` cookie is kept, so none is sent.

        """
        self._is_secure = is_secure
        self._kept: dict[tuple[str, str, str], _Cookie] = {}
        """By domain, path and name, in the order in which they are sent: longer paths first, then older cookies."""

    def take(self, host: str, path: str, fields: Iterable[str]) -> None:
        """Keep, replace or forget what the ``Set-Cookie`` fields of an answer say.

        Args:
            host: whom the request was for, without its port.
            path: the request's.
            fields: one for each cookie.

        """
        for field in fields:
            cookie = _read(field, host.lower(), path, is_secure=self._is_secure)
            if cookie is None:
                continue
            key = (cookie.domain, cookie.path, cookie.name)
            if cookie.expires <= time.time():
                self._kept.pop(key, None)
            elif key in self._kept:
                self._kept[key] = cookie  # in the place of the one before (5.3, step 11)
            else:
                self._kept[key] = cookie
                self._kept = dict(sorted(self._kept.items(), key=lambda kept: -len(kept[1].path)))

    def line(self, host: str, path: str) -> bytes:
        """The ``Cookie`` line of a request, as it stands on the wire; empty where there are none to send."""
        host, asked, now = host.lower(), path.partition("?")[0], time.time()
        pairs = [
            f"{cookie.name}={cookie.value}"
            for cookie in self._kept.values()
            if _is_under(asked, cookie.path)
            and cookie.expires > now
            and (host == cookie.domain or (not cookie.is_host_only and _is_within(host, cookie.domain)))
        ]
        return f"cookie: {'; '.join(pairs)}\r\n".encode("latin-1") if pairs else b""

    def __len__(self) -> int:
        return len(self._kept)


def _read(field: str, host: str, path: str, *, is_secure: bool) -> _Cookie | None:
    """The cookie of a ``Set-Cookie`` field; None where it must be ignored (5.2, 5.3)."""
    pair, *attributes = field.split(";")
    name, equals, value = pair.partition("=")
    name = name.strip()
    if not (equals and name):
        return None
    domain, place = "", ""
    age: float | None = None
    date: float | None = None
    for attribute in attributes:  # of one that comes twice the last counts; what cannot be read is left out
        title, _, text = (part.strip() for part in attribute.partition("="))
        match title.lower():
            case "domain":
                domain = text.removeprefix(".").lower() or domain
            case "path":
                place = text
            case "max-age" if _SECONDS.fullmatch(text):
                age = float(text)
            case "expires":
                moment = _moment(text)
                date = date if moment is None else moment
            case "secure" if not is_secure:
                return None
    if domain not in ("", host) and not _is_within(host, domain):
        return None  # a stranger's
    if not place.startswith("/"):
        place = path.partition("?")[0].rpartition("/")[0] or "/"
    expires = inf if date is None else date
    if age is not None:  # counts before a date
        expires = time.time() + age if age > 0 else -inf
    return _Cookie(name, value.strip(), domain or host, not domain, place, expires)


def _is_within(host: str, domain: str) -> bool:
    """Is a host below a domain? (5.1.3) Nobody is below a top-level domain here, as nobody may set cookies for all of it."""
    if not host.endswith("." + domain) or "." not in domain:
        return False
    # Of what has dots, an address ends in a number and a name does not; to have it parsed would cost with each request.
    return not host.rpartition(".")[2].isdigit()


def _is_under(path: str, place: str) -> bool:
    """Does a cookie of `place` go with requests to `path`? (5.1.4)"""
    return path == place or (path.startswith(place) and (place.endswith("/") or path[len(place)] == "/"))


def _moment(text: str) -> float | None:
    """When a date is, in Unix time; None where it cannot be read. Cookies' dates are UTC, whatever zone they name (5.1.1)."""
    fields = parsedate(text)
    if fields is None:
        return None
    try:
        return datetime(*fields[:6], tzinfo=UTC).timestamp()
    except ValueError:
        return None
