"""What load is put on: addresses, accounts, and secrets that do not show."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

__all__ = ["Account", "Address", "Secret", "Target", "masked", "masked_path"]

_HIDDEN = "***"


class Secret:
    """A text that prints as ``***``, so that it reaches no log, report or error."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself, for the wire only."""
        return self._text

    def __repr__(self) -> str:
        return _HIDDEN

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


class Address(Secret):
    """An address that shows where something is, and never who may enter.

    Credentials, the values of the query and the fragment print as ``***``:
    ``http://***@host/path?token=***``. A text that is no address prints as ``***`` alone, such as
    ``host=db password=…``.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        scheme, is_url, rest = self._text.partition("://")
        place = re.split(r"[?#]", rest, maxsplit=1)[0]
        if not is_url:
            return self._text if _PLAIN.fullmatch(self._text) else _HIDDEN
        if "@" in rest and not _is_readable(self._text):
            # Such as a password with a "/" that was not percent-encoded: its end cannot be known.
            return f"{scheme}://{_HIDDEN}"
        if "@" in place.partition("/")[0]:
            place = f"{_HIDDEN}@{place.rpartition('@')[2]}"
        _, is_query, query = rest.partition("#")[0].partition("?")
        path = masked_path(f"{place}{is_query}{query}")
        return f"{scheme}://{path}{f'#{_HIDDEN}' if '#' in rest else ''}"


_PLAIN = re.compile(r"([A-Za-z0-9.-]+(:[0-9]+)?(/[A-Za-z0-9/.-]*)?)?")
"""Host, port and path without a scheme: no place for a secret."""


def masked(value: Any) -> Any:
    """A text, or plain data of any depth, in which every address shows as an `Address` does."""
    if isinstance(value, Mapping):
        return {name: masked(each) for name, each in value.items()}
    if isinstance(value, list):
        return [masked(each) for each in value]
    return _URL.sub(_masked_address, value) if isinstance(value, str) else value


def _masked_address(found: re.Match[str]) -> str:
    return str(Address(found[0])) if _is_readable(found[0]) else _HIDDEN


def masked_path(path: str) -> str:
    """A path, or an address, without the values of its query."""
    place, is_query, query = path.partition("?")
    pairs = (part.partition("=") for part in query.split("&"))
    names = "&".join(f"{name}={_HIDDEN}" if is_pair else _HIDDEN for name, is_pair, _ in pairs)
    return f"{place}?{names}" if is_query else place


_URL = re.compile(r"""[A-Za-z][A-Za-z0-9+.-]*://[^\s"'<>]*[^\s"'<>.,:;)]""")


def _is_readable(url: str) -> bool:
    """Is the port of a URL a number, and does each bracket close?"""
    try:
        return (urlsplit(url).port or 0) >= 0
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Account:
    """Who a virtual user logs in as."""

    username: str
    password: Secret
    tenant: str = ""
    role: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """A service that may be loaded, as the engine needs to know it."""

    name: str
    """The environment's name."""
    base: str
    """Scheme, host, port: "http://127.0.0.1:8080"; journeys give paths."""
    """Nothing in it is secret: credentials and a query are refused before it comes here."""
    websocket: Address = Address("")  # noqa: RUF009
    accounts: tuple[Account, ...] = ()
    """Who the users are; empty where no journey needs one."""
    shares_accounts: bool = False
    """May two users have the same account?"""
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Endpoint groups: name to label patterns, as `fnmatch` reads them."""
    journeys: str = ""
    """The package of the journeys; where it has an ``async def arrive(user)``, each user runs it, unrecorded, before
    its first operation."""
    ready: str = ""
    """The path of the readiness probe; empty where there is none."""
    ca_file: str = ""
    """PEM file of the certificate authority of a TLS target; empty for the system's."""
    cert_file: str = ""
    """PEM file of the certificate that the client shows; empty for none."""
    key_file: str = ""
    """PEM file of its key; empty where `cert_file` holds both."""
    connect_timeout: float = math.inf
    """Seconds that making a connection may take, TLS included; the whole request's time-out ends it in any case."""
    read_timeout: float = math.inf
    """Seconds that the service may be silent before or within an answer; the whole request's ends it in any case."""
