"""The cookies of one user at one service (RFC 6265, and the Secure attribute by 6265bis)."""

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
    """Unix time in seconds; infinite for a session cookie."""


class Cookies:
    """The cookies that the service set for one user."""

    __slots__ = ("_is_secure", "_kept")

    def __init__(self, *, is_secure: bool) -> None:
        """Create an empty store.

        Args:
            is_secure: is TLS used? Over plain HTTP no ``Secure`` cookie is stored, so none is sent.

        """
        self._is_secure = is_secure
        self._kept: dict[tuple[str, str, str], _Cookie] = {}
        """By domain, path and name, in sending order: longer paths first, then older cookies."""

    def take(self, host: str, path: str, fields: Iterable[str]) -> None:
        """Store, replace or delete cookies by the ``Set-Cookie`` fields of an answer.

        Args:
            host: the host of the request, without port.
            path: the path of the request.
            fields: one per cookie.

        """
        for field in fields:
            cookie = _read(field, host.lower(), path, is_secure=self._is_secure)
            if cookie is None:
                continue
            key = (cookie.domain, cookie.path, cookie.name)
            if cookie.expires <= time.time():
                self._kept.pop(key, None)
            elif key in self._kept:
                self._kept[key] = cookie  # keeps the position of the old one (5.3, step 11)
            else:
                self._kept[key] = cookie
                self._kept = dict(sorted(self._kept.items(), key=lambda kept: -len(kept[1].path)))

    def line(self, host: str, path: str) -> bytes:
        """The encoded ``Cookie`` line of a request; empty if there are no cookies to send."""
        host, requested, now = host.lower(), path.partition("?")[0], time.time()
        pairs = [
            f"{cookie.name}={cookie.value}"
            for cookie in self._kept.values()
            if _is_under(requested, cookie.path)
            and cookie.expires > now
            and (host == cookie.domain or (not cookie.is_host_only and _is_within(host, cookie.domain)))
        ]
        return f"cookie: {'; '.join(pairs)}\r\n".encode("latin-1") if pairs else b""

    def __len__(self) -> int:
        return len(self._kept)


def _read(field: str, host: str, path: str, *, is_secure: bool) -> _Cookie | None:
    """The cookie of a ``Set-Cookie`` field; None if it must be ignored (5.2, 5.3)."""
    pair, *attributes = field.split(";")
    name, equals, value = pair.partition("=")
    name = name.strip()
    if not (equals and name):
        return None
    domain, place = "", ""
    age: float | None = None
    date: float | None = None
    for attribute in attributes:  # of a repeated one the last counts; unreadable ones are ignored
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
        return None  # a domain that does not include the host
    if not place.startswith("/"):
        place = path.partition("?")[0].rpartition("/")[0] or "/"
    expires = inf if date is None else date
    if age is not None:  # takes precedence over a date
        expires = time.time() + age if age > 0 else -inf
    return _Cookie(name, value.strip(), domain or host, not domain, place, expires)


def _is_within(host: str, domain: str) -> bool:
    """Is a host below a domain (5.1.3)? False for top-level domains: no cookie may cover one."""
    if not host.endswith("." + domain) or "." not in domain:
        return False
    # A dotted address ends in a number, and a name does not. Full parsing would take time with each
    # request.
    return not host.rpartition(".")[2].isdigit()


def _is_under(path: str, place: str) -> bool:
    """Does a cookie with the path `place` apply to requests for `path` (5.1.4)?"""
    return path == place or (path.startswith(place) and (place.endswith("/") or path[len(place)] == "/"))


def _moment(text: str) -> float | None:
    """A date in Unix time; None if unreadable. Cookie dates are UTC whatever their zone (5.1.1)."""
    fields = parsedate(text)
    if fields is None:
        return None
    try:
        return datetime(*fields[:6], tzinfo=UTC).timestamp()
    except ValueError:
        return None
