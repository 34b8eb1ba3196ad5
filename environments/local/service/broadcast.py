"""Messages to all subscribers of a stream, on all instances.

A stream is a topic of a tenant. Valkey gives each of its messages a sequence number, keeps the
newest ones, and passes it to all instances. An instance frames a message once, and writes the same
bytes to all its subscribers. Messages are written to Valkey in the order of their publication. A
batch contains all messages that were published while the previous batch was written.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field

from environments.local.service.cache import CacheError, Connection
from environments.local.service.tokens import TenantKeys
from environments.local.service.websocket import RESTART, Connections, WebSocket, text_frame

KEPT = 2000
"""The fewest messages that Valkey keeps of each stream."""
PAGE = 200
"""The most messages that one command reads from Valkey."""

_CHANNEL = b"published"
_DATABASE = b"1"  # not the cache's, so that emptying the cache does not change the streams
_MOST_KEYS = 500  # of a document
# Arguments: stream, message, key and value of each publication. A publication with a key and a
# value is an edit of a document. The script returns the sequence numbers; 0 for an edit beyond the
# limit of keys. The identifier `1-*` makes Valkey number the messages, from 0.
_PUBLISH = b"""
local sequences, lines = {}, {}
for i = 1, #ARGV, 4 do
    local stream, message, key, value = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
    local document = 'd:' .. stream
    if key ~= '' and redis.call('HEXISTS', document, key) == 0 and redis.call('HLEN', document) > %d then
        sequences[#sequences + 1] = 0
    else
        local id = redis.call('XADD', 's:' .. stream, 'MAXLEN', '~', %d, '1-*', 'm', message)
        local sequence = string.format('%%d', tonumber(string.sub(id, 3)) + 1)
        if key ~= '' then
            local entry = '{"version":' .. sequence .. ',"value":' .. value .. '}'
            redis.call('HSET', document, key, entry, '', sequence)
        end
        sequences[#sequences + 1] = tonumber(sequence)
        lines[#lines + 1] = stream .. ' ' .. sequence .. ' ' .. message
    end
end
if #lines > 0 then
    redis.call('PUBLISH', '%b', table.concat(lines, '\\n'))
end
return sequences
""" % (_MOST_KEYS, KEPT, _CHANNEL)


@dataclass(slots=True, eq=False)
class Group:
    """The subscribers of a stream at this instance."""

    tenant: int
    topic: str
    stream: bytes
    head: bytes
    last: int = 0
    """The newest sequence number received from Valkey; 0 before the first."""
    is_current: bool = False
    """Has a message been received from Valkey?"""
    members: dict[WebSocket, None] = field(default_factory=dict)
    joiners: dict[WebSocket, int] = field(default_factory=dict)
    """Subscribers ahead of this instance, each with the last sequence number that it received."""
    users: int = 0
    """The number of subscribers, including those that still receive earlier messages."""

    def frame(self, sequence: int, body: bytes) -> bytes:
        """A message as a WebSocket frame."""
        return text_frame(b"%b%d%b" % (self.head, sequence, body))

    def join(self, subscriber: WebSocket, position: int) -> None:
        """Send a subscriber all messages after a position; `last` must not be above it."""
        if self.is_current and position == self.last:
            self.members[subscriber] = None
        else:  # messages up to the position are still on their way to this instance
            self.joiners[subscriber] = position

    def receivers(self, sequence: int) -> Collection[WebSocket]:
        """The receivers of a message."""
        if self.joiners:
            for subscriber, position in list(self.joiners.items()):
                if position < sequence:
                    del self.joiners[subscriber]
                    self.members[subscriber] = None
        return self.members


Step = Callable[[Group, int, bytes, Collection[WebSocket]], None]
"""Delivers a message; the arguments are its group, sequence number, content and receivers."""
DeliveryFilter = Callable[[Step], Step]
"""A fault in the delivery of messages: returns a step that comes before the given step."""


class _Batch:
    """Publications that are written to Valkey with one command."""

    def __init__(self) -> None:
        self.arguments: list[bytes] = []
        self.taken: asyncio.Future[list[int]] | None = None


class Broadcast:
    """The access of this instance to the streams."""

    def __init__(self, url: str, keys: TenantKeys, connections: Connections) -> None:
        self._url = url
        self._keys = keys
        self._connections = connections
        self._groups: dict[bytes, Group] = {}
        self._batch = _Batch()
        self._wake = asyncio.Event()
        self._writing: Connection | None = None
        self._script = b""
        self._detours: list[DeliveryFilter] = []
        self._pass_on: Step = self._deliver
        self.unpublished_share = 0.0
        """The ratio of stored writes that are not published; only a fault sets it."""
        self.is_live = False
        """Does this instance receive publications?"""
        self.published = 0
        self.failed = 0
        self.resumes = 0
        self.gaps = 0

    # Publishing

    def publish(
        self, tenant: int, topic: str, kind: str, payload: bytes, key: bytes = b"", value: bytes = b""
    ) -> int:
        """Add a message to the next batch; return its place (see `taken`). `payload` is JSON."""
        arguments = self._batch.arguments
        body = b',"created":%.6f,"tenant_key":"%b","type":"%b","payload":%b}' % (
            time.time(),
            self._keys[tenant].encode(),
            kind.encode(),
            payload,
        )
        arguments += (stream_of(tenant, topic), body, key, value)
        self._wake.set()
        return len(arguments) // 4 - 1

    def taken(self) -> Awaitable[list[int]]:
        """The sequence numbers of the batch, when Valkey has assigned them. Raises CacheError."""
        if self._batch.taken is None:
            self._batch.taken = asyncio.get_running_loop().create_future()
        return asyncio.shield(self._batch.taken)

    async def write(self) -> None:
        """Write publications to Valkey, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            batch, self._batch = self._batch, _Batch()
            number = len(batch.arguments) // 4
            try:
                connection = await self._open()
                sequences = await connection.ask(b"EVALSHA", self._script, b"0", *batch.arguments)
            except CacheError as error:
                self.failed += number
                if batch.taken is not None and not batch.taken.done():
                    batch.taken.set_exception(error)
            else:
                self.published += number
                if batch.taken is not None and not batch.taken.done():
                    batch.taken.set_result(sequences)

    # Receiving

    async def read(self) -> None:
        """Pass publications on to the subscribers, until cancelled."""
        while True:
            try:
                connection = await Connection.open(self._url)
                try:
                    await connection.ask(b"SUBSCRIBE", _CHANNEL)
                    self.is_live = True
                    await connection.pass_on(self._receive)
                finally:
                    self.is_live = False
                    connection.close()
            except CacheError:
                # Messages may have been missed, so the clients must reconnect and resume.
                self._groups = {}
                self._connections.close_all(RESTART, "the instance lost the streams")
                await asyncio.sleep(0.2)

    def _receive(self, published: list[bytes]) -> None:
        _kind, _channel, lines = published
        for line in lines.split(b"\n"):
            stream, sequence, body = line.split(b" ", 2)
            group = self._groups.get(stream)
            if group is not None:
                number = int(sequence)
                group.last, group.is_current = number, True
                self._pass_on(group, number, body, group.receivers(number))

    def _deliver(self, group: Group, sequence: int, body: bytes, receivers: Collection[WebSocket]) -> None:
        frame = group.frame(sequence, body)
        for receiver in receivers:
            receiver.write(frame)
        self._connections.sent += len(receivers)
        self._connections.sent_bytes += len(receivers) * len(frame)

    # Subscribing

    def enter(self, tenant: int, topic: str) -> Group:
        """Return the group of a stream to a subscriber, which may `join` it and must `leave` it."""
        stream = stream_of(tenant, topic)
        group = self._groups.get(stream)
        if group is None:
            head = b'{"stream":"%b","sequence":' % topic.encode()
            group = self._groups[stream] = Group(tenant, topic, stream, head)
        group.users += 1
        return group

    def leave(self, group: Group, subscriber: WebSocket) -> None:
        """Remove a subscriber from the group that it entered."""
        group.members.pop(subscriber, None)
        group.joiners.pop(subscriber, None)
        group.users -= 1
        if group.users == 0 and self._groups.get(group.stream) is group:
            del self._groups[group.stream]

    async def newest(self, group: Group) -> int:
        """The newest sequence number of a stream. Raises CacheError."""
        connection = await self._open()
        found = await connection.ask(b"XREVRANGE", b"s:" + group.stream, b"+", b"-", b"COUNT", b"1")
        return _sequence(found[0][0]) if found else 0

    async def page(self, group: Group, after: int) -> list[tuple[int, bytes]]:
        """The first kept messages after a sequence number, at most `PAGE`. Raises CacheError."""
        connection = await self._open()
        found = await connection.ask(
            b"XRANGE", b"s:" + group.stream, b"1-%d" % after, b"+", b"COUNT", b"%d" % PAGE
        )
        return [(_sequence(identifier), fields[1]) for identifier, fields in found]

    async def document(self, group: Group) -> tuple[int, dict[bytes, bytes]]:
        """The version of a document, and its entries as JSON by key. Raises CacheError."""
        connection = await self._open()
        found = await connection.ask(b"HGETALL", b"d:" + group.stream)
        entries = dict(zip(found[::2], found[1::2], strict=True))
        return int(entries.pop(b"", 0)), entries

    async def _open(self) -> Connection:
        """The connection for writing and reading. Raises CacheError."""
        connection = self._writing
        if connection is None or connection.is_closed:
            connection = await Connection.open(self._url)
            await connection.ask(b"SELECT", _DATABASE)
            self._script = await connection.ask(b"SCRIPT", b"LOAD", _PUBLISH)
            self._writing = connection
        return connection

    def close(self) -> None:
        """Disconnect."""
        if self._writing is not None:
            self._writing.close()

    # Faults

    def add_delivery_filter(self, delivery_filter: DeliveryFilter) -> None:
        """Add a detour to the delivery of messages."""
        self._detours.append(delivery_filter)
        self._find_way()

    def remove_delivery_filter(self, delivery_filter: DeliveryFilter) -> None:
        """Remove a detour from the delivery of messages."""
        self._detours.remove(delivery_filter)
        self._find_way()

    def _find_way(self) -> None:
        self._pass_on = self._deliver
        for delivery_filter in self._detours:
            self._pass_on = delivery_filter(self._pass_on)


def _sequence(identifier: bytes) -> int:
    """The sequence number of a message's identifier in Valkey; 1 for 1-0, the first message."""
    return int(identifier[2:]) + 1


def stream_of(tenant: int, topic: str) -> bytes:
    """The name of a tenant's stream, unique over all tenants."""
    return b"%d:%b" % (tenant, topic.encode())
