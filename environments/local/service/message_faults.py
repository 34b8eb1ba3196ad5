"""The faults of WebSocket messages and connections."""

import asyncio
import random
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Collection

from environments.local.service.broadcast import Broadcast, Group, Step
from environments.local.service.fault import Background, Fault
from environments.local.service.tokens import TenantKeys
from environments.local.service.websocket import RESTART, Connections, WebSocket

Receivers = Collection[WebSocket]


class MessageFault(Fault, ABC):
    """A fault in the delivery of messages to their receivers."""

    def __init__(self, broadcast: Broadcast) -> None:
        self._broadcast = broadcast
        broadcast.add_delivery_filter(self.delivery_filter)

    @abstractmethod
    def delivery_filter(self, pass_on: Step) -> Step:
        """The delivery step that comes before `pass_on`."""

    async def end(self) -> None:
        """Remove the fault from the delivery."""
        self._broadcast.remove_delivery_filter(self.delivery_filter)


class EventsUnpublished(Fault):
    """Does not publish a share of the stored writes."""

    def __init__(self, share: float, broadcast: Broadcast) -> None:
        self._broadcast = broadcast
        broadcast.unpublished_share = share

    async def end(self) -> None:
        """Publish all stored writes again."""
        self._broadcast.unpublished_share = 0.0


class MessagesLost(MessageFault):
    """Omits a share of the deliveries."""

    def __init__(self, share: float, broadcast: Broadcast) -> None:
        self._share = share
        super().__init__(broadcast)

    def delivery_filter(self, pass_on: Step) -> Step:
        """Pass each message on to the receivers that do not lose it."""

        def lose(group: Group, sequence: int, body: bytes, receivers: Receivers) -> None:
            pass_on(group, sequence, body, [each for each in receivers if random.random() >= self._share])

        return lose


class MessagesDoubled(MessageFault):
    """Repeats a share of the deliveries."""

    def __init__(self, share: float, broadcast: Broadcast) -> None:
        self._share = share
        super().__init__(broadcast)

    def delivery_filter(self, pass_on: Step) -> Step:
        """Pass each message on to all receivers, then to some of them again."""

        def double(group: Group, sequence: int, body: bytes, receivers: Receivers) -> None:
            pass_on(group, sequence, body, receivers)
            pass_on(group, sequence, body, [each for each in receivers if random.random() < self._share])

        return double


class MessagesReordered(MessageFault):
    """Sends a share of the messages after the next one of their stream, or after a second."""

    _PATIENCE = 1.0

    def __init__(self, share: float, broadcast: Broadcast) -> None:
        self._share = share
        self._held: dict[Group, tuple[Step, int, bytes, Receivers]] = {}
        super().__init__(broadcast)

    def delivery_filter(self, pass_on: Step) -> Step:
        """Hold some messages back."""

        def reorder(group: Group, sequence: int, body: bytes, receivers: Receivers) -> None:
            if group not in self._held and random.random() < self._share:
                self._held[group] = (pass_on, sequence, body, list(receivers))
                asyncio.get_running_loop().call_later(self._PATIENCE, self._release, group, sequence)
                return
            pass_on(group, sequence, body, receivers)
            self._release(group)

        return reorder

    def _release(self, group: Group, only: int | None = None) -> None:
        """Send a group's held message; if `only` is given, the message must have that number."""
        held = self._held.get(group)
        if held is not None and only in (None, held[1]):
            del self._held[group]
            pass_on, sequence, body, receivers = held
            pass_on(group, sequence, body, receivers)

    async def end(self) -> None:
        """Send the held messages."""
        await super().end()
        for group in list(self._held):
            self._release(group)


class MessagesDelayed(MessageFault):
    """Delays every message by the same time."""

    def __init__(self, delay: float, broadcast: Broadcast) -> None:
        self._delay = delay
        self._held: deque[tuple[Step, Group, int, bytes, Receivers]] = deque()
        super().__init__(broadcast)

    def delivery_filter(self, pass_on: Step) -> Step:
        """Hold all messages back."""

        def delay(group: Group, sequence: int, body: bytes, receivers: Receivers) -> None:
            self._held.append((pass_on, group, sequence, body, list(receivers)))
            asyncio.get_running_loop().call_later(self._delay, self._release)

        return delay

    def _release(self) -> None:
        """Send the oldest held message. Each has a timer; after the fault's end, none is left."""
        if self._held:
            pass_on, group, sequence, body, receivers = self._held.popleft()
            pass_on(group, sequence, body, receivers)

    async def end(self) -> None:
        """Send the held messages."""
        await super().end()
        while self._held:
            self._release()


class ForeignMessages(MessageFault):
    """Sends a share of the messages with the key of another tenant.

    The sequence number and the creation time stay, so the key is the only error.
    """

    def __init__(self, share: float, broadcast: Broadcast, keys: TenantKeys) -> None:
        self._share = share
        self._keys = keys
        super().__init__(broadcast)

    def delivery_filter(self, pass_on: Step) -> Step:
        """Replace the key in a share of the messages."""

        def exchange(group: Group, sequence: int, body: bytes, receivers: Receivers) -> None:
            if random.random() < self._share:
                own, other = self._keys[group.tenant], self._keys[group.tenant + 1]
                body = body.replace(own.encode(), other.encode(), 1)
            pass_on(group, sequence, body, receivers)

        return exchange


class ConnectionsCut(Background):
    """Each second cuts a share of the connections, without a close frame."""

    def __init__(self, share: float, connections: Connections) -> None:
        super().__init__(self._cut(share, connections))

    @staticmethod
    async def _cut(share: float, connections: Connections) -> None:
        while True:
            await asyncio.sleep(1.0)
            for connection in connections:
                if random.random() < share:
                    connection.cut()


class AllConnectionsCut(Fault):
    """Cuts all connections once, without a close frame."""

    def __init__(self, connections: Connections) -> None:
        for connection in connections:
            connection.cut()


class ReconnectRefused(Fault):
    """Refuses handshakes for a time."""

    def __init__(self, seconds: float, connections: Connections) -> None:
        self._connections = connections
        connections.refused_until = time.monotonic() + seconds

    async def end(self) -> None:
        """Accept handshakes again."""
        self._connections.refused_until = 0.0


class ConnectionsClosedAtOnce(Fault):
    """Accepts connections, and closes a share of them at once."""

    def __init__(self, share: float, connections: Connections) -> None:
        self._share = share
        self._connections = connections
        connections.newcomers.append(self._meet)

    def _meet(self, connection: WebSocket) -> None:
        if random.random() < self._share:
            # The connection must have begun before it is closed.
            asyncio.get_running_loop().call_soon(connection.close, RESTART, "come back later")

    async def end(self) -> None:
        """Keep all connections again."""
        self._connections.newcomers.remove(self._meet)


class ConnectionsStalled(Fault):
    """Neither reads from nor writes to a share of the connections, as if clients were slow."""

    def __init__(self, share: float, connections: Connections) -> None:
        self._share = share
        self._connections = connections
        for connection in connections:
            self._meet(connection)
        connections.newcomers.append(self._meet)

    def _meet(self, connection: WebSocket) -> None:
        if random.random() < self._share:
            connection.stall()

    async def end(self) -> None:
        """Read and write again."""
        self._connections.newcomers.remove(self._meet)
        for connection in self._connections:
            connection.resume()
