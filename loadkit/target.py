"""What load is put on: addresses, accounts, and secrets that do not show."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Account", "Secret", "Target"]


class Secret:
    """A text that prints as ``***``, so that it reaches no log, report or error."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself, for the wire only."""
        return self._text

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


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
    websocket: str = ""
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
