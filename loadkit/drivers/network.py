"""Functions that the drivers over TCP share: names of network failures, and address lookup."""

import asyncio
import errno
import socket
import ssl

from loadkit.errors import UnreachableError
from loadkit.target import is_loopback

__all__ = ["SENT_AGAIN", "kind_of", "reachable_address", "unused_addresses"]

SENT_AGAIN = "requests sent again"
"""The gauge that counts, for each second, the requests that a driver sent again."""
_NO_SOCKET = frozenset({errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM})
_PATIENCE = 5.0
"""Seconds that an address has to accept a connection."""


async def reachable_address(host: str, port: int, name: str) -> str:
    """Find an address of a host that accepts connections, so that users need no look-up.

    Args:
        host: the host's name or address.
        port: its port.
        name: the service's address as errors show it; it contains no secret.

    Raises:
        UnreachableError: no address accepts connections.

    """
    problem = "no address"
    try:
        found = await _addresses(host, port)
    except OSError as error:
        raise UnreachableError(f"{name}: {error.strerror or error}") from None
    for address in found:
        problem = await _refusal(address, port)
        if not problem:
            return address
    raise UnreachableError(f"{name} accepts no connection: {problem}")


async def unused_addresses(host: str, port: int) -> str:
    """A sentence about the addresses of a host that get no load, because users connect to one only.

    It is empty for a host with one address, and for this machine. It is also empty for a host
    without an address, because the drivers report that.
    """
    try:
        found = await _addresses(host, port)
    except (OSError, UnicodeError):
        return ""
    if len(found) < 2 or all(map(is_loopback, found)):
        return ""
    refusals = await asyncio.gather(*(_refusal(address, port) for address in found))
    refused = [f"{address} ({why})" for address, why in zip(found, refusals, strict=True) if why]
    more = f"; no connection is accepted by {', '.join(refused)}" if refused else ""
    return (
        f"{host} has {len(found)} addresses ({', '.join(found)}), and all load goes to the first that accepts "
        f"a connection{more}"
    )


async def _addresses(host: str, port: int) -> tuple[str, ...]:
    """The addresses of a host, in the order that the system gives.

    Raises:
        OSError: it has none.

    """
    rows = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(place[0]) for *_, place in rows))


async def _refusal(address: str, port: int) -> str:
    """Why an address accepts no connection; "" if it accepts one."""
    loop = asyncio.get_running_loop()
    try:
        transport, _ = await asyncio.wait_for(
            loop.create_connection(asyncio.Protocol, address, port), timeout=_PATIENCE
        )
    except (OSError, TimeoutError) as error:
        return kind_of(error)
    transport.close()
    return ""


def kind_of(error: BaseException) -> str:
    """The outcome under which a network failure is counted."""
    if isinstance(error, ssl.SSLError):
        return "tls"
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, ConnectionError):
        return "reset"
    if isinstance(error, TimeoutError):
        return "connect timeout"
    if isinstance(error, OSError):
        return "no socket" if error.errno in _NO_SOCKET else "unreachable"
    return f"error: {type(error).__name__}"
