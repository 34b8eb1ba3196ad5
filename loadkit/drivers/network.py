"""What drivers over TCP share: how a failure of the network is named, and the look-up of an address."""

import asyncio
import errno
import socket
import ssl

from loadkit.errors import UnreachableError

__all__ = ["kind_of", "reachable_address"]

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
    loop = asyncio.get_running_loop()
    problem = "no address"
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise UnreachableError(f"{name}: {error.strerror or error}") from None
    for *_, place in found:
        address = str(place[0])
        try:
            transport, _ = await asyncio.wait_for(
                loop.create_connection(asyncio.Protocol, address, port), timeout=_PATIENCE
            )
        except (OSError, TimeoutError) as error:
            problem = kind_of(error)
        else:
            transport.close()
            return address
    raise UnreachableError(f"{name} accepts no connection: {problem}")


def kind_of(error: BaseException) -> str:
    """The outcome that counts a network failure."""
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
