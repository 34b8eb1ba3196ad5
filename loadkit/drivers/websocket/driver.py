"""WebSocket for load: the address, resolved once, and the connections of all users of a worker."""

import asyncio
import copy
import ssl
from time import monotonic
from typing import ClassVar
from urllib.parse import urlsplit, urlunsplit

from websockets.exceptions import InvalidURI
from websockets.uri import parse_uri

from loadkit.drivers.base import Meter, TransportError
from loadkit.drivers.canaries import Canaries
from loadkit.drivers.masking import Mask
from loadkit.drivers.network import kind_of, reachable_address
from loadkit.drivers.tls import context_of
from loadkit.drivers.websocket.alarms import Alarms
from loadkit.drivers.websocket.client import WebSocketClient
from loadkit.drivers.websocket.connection import Connection, Shared
from loadkit.drivers.websocket.exchanges import ExchangeFormat
from loadkit.drivers.websocket.handshake import Handshake, Opening
from loadkit.drivers.websocket.heads import StreamHeads
from loadkit.drivers.websocket.record import ConnectionRecord
from loadkit.errors import ConfigurationError
from loadkit.target import Address, Target

__all__ = ["WebSocketDriver"]

_SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}


class WebSocketDriver:
    """The service's WebSocket address: the target's own, else its base address with ws or wss."""

    name: ClassVar[str] = "ws"
    descriptors_per_user: ClassVar[int] = 1

    def __init__(self, target: Target) -> None:
        address = target.websocket or Address(target.base)
        parts = urlsplit(address.reveal())
        try:
            self._uri = parse_uri(urlunsplit(parts._replace(scheme=_SCHEMES.get(parts.scheme, ""))))
        except (InvalidURI, ValueError):
            raise ConfigurationError(
                f'the WebSocket address "{address}" is invalid; expected one like "ws://127.0.0.1:8080"'
            ) from None
        self._shown = str(address)
        self._address, self._port = self._uri.host, self._uri.port
        self._relays = target.relays
        self._regional: dict[str, WebSocketDriver] = {}
        """Drivers of regions whose users connect to a relay."""
        self._tls = context_of(target) if self._uri.secure else None
        self._connect_timeout = target.connect_timeout
        self._clock_offset = target.clock_offset
        self.sockets = 0
        """Open sockets, those in their handshake included."""
        self._shared: Shared | None = None
        """The state that its connections share; None before the first one."""
        self.heads = StreamHeads()
        self.canaries = Canaries(target.accounts)
        self.mask = Mask.of(target)
        self.exchange_format = ExchangeFormat(self.mask, target.instance_header)

    async def open(self) -> None:
        """Find an address that accepts connections, so that users need no look-up.

        Raises:
            UnreachableError: no address accepts connections.

        """
        self._address = await reachable_address(self._uri.host, self._uri.port, self._shown)

    def client(self, meter: Meter) -> WebSocketClient:
        """Create the client of a new user; nothing is sent yet."""
        return WebSocketClient(meter, self._in_region(meter.region))

    def _in_region(self, region: str) -> "WebSocketDriver":
        """This driver, or a copy that connects to the relay of a region; all else is the same."""
        place = self._relays.get((region, self._uri.host, self._uri.port))
        if place is None:
            return self
        found = self._regional.get(region)
        if found is None:
            found = self._regional[region] = copy.copy(self)
            found.go_through(place)
        return found

    def go_through(self, place: tuple[str, int]) -> None:
        """Connect to the relay of a region from now on, at an address and a port."""
        self.sockets, self._shared = 0, None
        self._address, self._port = place

    def gauges(self) -> dict[str, float]:
        """The number of open sockets. The call also notes the newest numbers of the streams."""
        self.heads.look(monotonic())
        drivers = (self, *self._regional.values())
        return {"WebSocket sockets": float(sum(each.sockets for each in drivers))}

    async def close(self) -> None:
        """Do nothing; connections belong to their users."""

    async def connect(self, handshake: Handshake, record: ConnectionRecord, deadline: float) -> Connection:
        """See `Backend.connect`."""
        loop = asyncio.get_running_loop()
        shared = self._shared
        if shared is None or shared.loop is not loop:
            shared = self._shared = Shared(loop, Alarms(loop), self._lost, self._clock_offset)
        core, request = handshake.begun(self._uri)
        try:
            async with asyncio.timeout(min(deadline - monotonic(), self._connect_timeout)):
                _, opening = await loop.create_connection(
                    lambda: Opening(core, record, handshake.keepalive, shared),
                    self._address,
                    self._port,
                    ssl=self._tls,
                    server_hostname=self._uri.host if self._tls else None,
                )
        except (OSError, ssl.SSLError, TimeoutError) as error:
            raise TransportError(kind_of(error), monotonic()) from None
        self.sockets += 1
        return await opening.execute(request, deadline)

    def _lost(self) -> None:
        self.sockets -= 1
