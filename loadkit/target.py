"""The target of a load: addresses, accounts, and secrets that print as ``***``."""

import ipaddress
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from loadkit.tables import DataTable

__all__ = [
    "Account",
    "Address",
    "DatabaseUse",
    "NetworkPath",
    "Secret",
    "Target",
    "is_loopback",
    "masked",
    "masked_path",
]

_HIDDEN = "***"


class Secret:
    """A text that prints as ``***``, so that it reaches no log, report or error."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself; use it only to send it to the service."""
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
    """An address that prints without its credentials.

    Credentials, the values of the query and the fragment print as ``***``:
    ``http://***@host/path?token=***``. A text that is not an address prints as ``***`` alone, such
    as ``host=db password=…``.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        scheme, is_url, rest = self._text.partition("://")
        place = re.split(r"[?#]", rest, maxsplit=1)[0]
        if not is_url:
            return self._text if _PLAIN.fullmatch(self._text) else _HIDDEN
        if "@" in rest and not _is_readable(self._text):
            # A password may contain a "/" that is not percent-encoded: its end is then unknown.
            return f"{scheme}://{_HIDDEN}"
        authority = place.partition("/")[0]
        if "@" in place and "@" not in authority and ":" in authority:
            # It may be a password that begins as a port does: "user:7/secret@host".
            return f"{scheme}://{_HIDDEN}"
        if "@" in authority:
            place = f"{_HIDDEN}@{place.rpartition('@')[2]}"
        _, is_query, query = rest.partition("#")[0].partition("?")
        path = masked_path(f"{place}{is_query}{query}")
        return f"{scheme}://{path}{f'#{_HIDDEN}' if '#' in rest else ''}"


_PLAIN = re.compile(r"([A-Za-z0-9.-]+(:[0-9]+)?(/[A-Za-z0-9/.-]*)?)?")
"""Host, port and path without a scheme; such a text cannot contain a secret."""


def masked(value: Any) -> Any:
    """A text, or plain data of any depth, with every address masked as `Address` prints it."""
    if isinstance(value, Mapping):
        return {name: masked(each) for name, each in value.items()}
    if isinstance(value, list):
        return [masked(each) for each in value]
    return _URL.sub(_masked_address, value) if isinstance(value, str) else value


def _masked_address(found: re.Match[str]) -> str:
    return str(Address(found[0])) if _is_readable(found[0]) else _HIDDEN


def masked_path(path: str) -> str:
    """A path or an address with the values of its query masked."""
    place, is_query, query = path.partition("?")
    pairs = (part.partition("=") for part in query.split("&"))
    names = "&".join(f"{name}={_HIDDEN}" if is_pair else _HIDDEN for name, is_pair, _ in pairs)
    return f"{place}?{names}" if is_query else place


_URL = re.compile(
    r"""[A-Za-z][A-Za-z0-9+.-]*://(?:(?:[^\s"'<>]|["'](?![,:;)\]}\s])){0,256}@)?[^\s"'<>]*[^\s"'<>.,:;)]"""
)
"""An address in a text. A quote ends it, but a password before an "@" may contain quotes.

A quote before a comma, colon or bracket always ends it, as in JSON. The limit of 256 characters
keeps the search linear."""


def _is_readable(url: str) -> bool:
    """Is the port of a URL a number, and is each bracket closed?"""
    try:
        return (urlsplit(url).port or 0) >= 0
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Account:
    """The credentials with which a virtual user logs in."""

    username: str
    password: Secret
    tenant: str = ""
    role: str = ""
    canary: Secret = Secret("")  # noqa: RUF009  nothing changes it
    """A text that only the data of the account's tenant contains; "" for none."""


@dataclass(frozen=True, slots=True)
class DatabaseUse:
    """How journeys use the service's database."""

    queries: str = ""
    """The folder of the named queries; empty for none."""
    tenant: str = ""
    """The PostgreSQL setting that row-level security reads: "app.tenant"; empty for none."""
    pool: int = 20
    """The maximum number of connections of a worker."""
    retries: int = 0
    """The maximum number of retries of a query after a temporary failure."""
    statement_timeout: float = 0.0
    """Seconds after which the server cancels a statement; 0 for its own setting."""
    statement_cache: bool | None = None
    """May statements stay prepared? None: yes, unless there is a connection pooler in between."""


@dataclass(frozen=True, slots=True)
class NetworkPath:
    """The network between the users of a region and the service."""

    latency: float
    """Mean round trip in seconds, as `ping` shows it; half of it in each direction."""
    jitter: float = 0.0
    """Standard deviation of the round trip in seconds, the "mdev" of `ping`."""
    loss: float = 0.0
    """Ratio 0-1 of the packets in each direction that are lost and retransmitted later."""


@dataclass(frozen=True, slots=True)
class Target:
    """A service that may be loaded, with what the engine needs for it."""

    name: str
    """The environment's name."""
    base: str
    """Scheme, host, port: "http://127.0.0.1:8080"; journeys add the paths.

    It contains no secret: `Environment` refuses credentials and a query."""
    websocket: Address = Address("")  # noqa: RUF009  nothing changes it
    database: Address = Address("")  # noqa: RUF009  nothing changes it
    """The service's database: "postgresql://user:password@host/name"; empty for none."""
    database_use: DatabaseUse = DatabaseUse()
    accounts: tuple[Account, ...] = ()
    """The accounts of the users; empty where no journey needs one."""
    shares_accounts: bool = False
    """May two users have the same account?"""
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Endpoint groups: name to label patterns, as `fnmatch` reads them."""
    journeys: str = ""
    """The package of the journeys.

    If it has an ``async def arrive(user)``, each user runs it before the first operation. That is
    not recorded."""
    instance_header: str = ""
    """The header of an answer that names the instance that answered; "" for none."""
    trace_url: str = ""
    """The URL that shows a trace, with "{trace}" in place of its id; "" for none."""
    ready: str = ""
    """The path of the readiness probe; empty where there is none."""
    websocket_ready: str = ""
    """The path whose WebSocket handshake is probed; empty where there is none."""
    ca_file: str = ""
    """PEM file of the CA bundle used to verify the server; empty for the system's."""
    cert_file: str = ""
    """PEM file of the client certificate; empty for none."""
    key_file: str = ""
    """PEM file of its key; empty where `cert_file` contains both."""
    connect_timeout: float = math.inf
    """Seconds allowed to connect, TLS included; the timeout of the whole request applies too."""
    read_timeout: float = math.inf
    """Seconds without data before or within an answer; the timeout of the request applies too."""
    clock: str = ""
    """The path below `base` from which the service's time is read; empty if there is none."""
    clock_offset: float = 0.0
    """Seconds by which the service's clock is ahead of this machine's, as measured before the load.

    Creation times of messages are corrected by it."""
    judges_round_trips: bool = False
    """Is message latency judged on the round trips of the messages that the service answers?"""
    processes: tuple[int, ...] = ()
    """Ids of the processes on this machine that, with their descendants, are the service's parts.

    Empty if they are not stated: then the processes that serve `base` are looked up."""
    regions: Mapping[str, NetworkPath] = field(default_factory=dict)
    """The networks of the regions, by name. Users of other regions connect directly."""
    tables: Mapping[str, DataTable] = field(default_factory=dict)
    """The tables of test data by name."""
    relays: Mapping[tuple[str, str, int], tuple[str, int]] = field(default_factory=dict)
    """The host and port of the relay to which users of a region connect; empty without a relay.

    Each key is a region, the service's host, and the service's port."""
    file: str = ""
    """The name that commands take: NAME of environments/NAME.toml; empty without such a file."""

    @property
    def shares_clock(self) -> bool:
        """Does the service use this machine's clock, as all its addresses are loopback addresses?

        Not if the environment states a path for the service's time: a tunnel also has a loopback
        address.
        """
        if self.clock:
            return False
        addresses = (self.base, *([self.websocket.reveal()] if self.websocket else []))
        return all(is_loopback(urlsplit(address).hostname or "") for address in addresses)


def is_loopback(host: str) -> bool:
    """Is a host a loopback address or the name "localhost"?"""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
