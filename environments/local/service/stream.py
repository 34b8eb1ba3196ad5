"""Live metrics and updates of dashboards: subscriptions to streams, and publications.

environments/README.md describes the messages.
"""

import asyncio
import random
import re
from typing import Any

import orjson

from environments.local.service.broadcast import PAGE, Broadcast, Group
from environments.local.service.cache import CacheError
from environments.local.service.context import Context
from environments.local.service.endpoint import ApiError, Call, Reply, json_reply
from environments.local.service.upgrade import upgrade
from environments.local.service.websocket import RESTART, UNWELCOME, WebSocket, text_frame

DASHBOARD = "dashboard"
"""The topic whose messages report stored events."""

_MOST_TOPICS = 20
_MOST_MESSAGES = 1000
_MOST_IDS = 50
_LARGEST_PAYLOAD = 2000  # bytes
_LARGEST_PUBLICATION = 256 * 1024  # bytes of payload
_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,39}")
_NAME_EXAMPLE = "expected a name such as metrics"
_POSITION = re.compile(r"([^:]+):([0-9]{1,15})")


class Subscription(WebSocket):
    """A connection that receives the messages of some streams."""

    __slots__ = ("_broadcast", "_groups", "_instance", "_joining", "_positions", "_tenant")

    def __init__(self, context: Context, tenant: int, positions: dict[str, int | None]) -> None:
        """Subscribe to topics, each after a sequence number or from now on (None)."""
        super().__init__(context.connections)
        self._broadcast: Broadcast = context.broadcast
        self._instance = context.config.name
        self._tenant = tenant
        self._positions = positions
        self._groups: list[Group] = []
        self._joining: asyncio.Task[None] | None = None

    def opened(self) -> None:
        """Send the earlier messages, then the new ones."""
        self.is_catching_up = True
        self._joining = asyncio.get_running_loop().create_task(self._join())

    def received(self, _text: str) -> None:
        """Refuse messages: a subscriber only listens."""
        self.close(UNWELCOME, "a subscriber only listens")

    def left(self) -> None:
        """Leave all streams."""
        for group in self._groups:
            self._broadcast.leave(group, self)
        if self._joining is not None:
            self._joining.cancel()

    async def _join(self) -> None:
        try:
            await self._catch_up()
        except CacheError:
            self.close(RESTART, "the instance lost the streams")
        self._joining = None
        self.is_catching_up = False

    async def _catch_up(self) -> None:
        broadcast = self._broadcast
        self._groups = [broadcast.enter(self._tenant, topic) for topic in self._positions]
        begun: dict[str, int] = {}
        pages: list[list[tuple[int, bytes]] | None] = []
        for group, after in zip(self._groups, self._positions.values(), strict=True):
            if after is None:
                begun[group.topic] = group.last if group.is_current else await broadcast.newest(group)
                pages.append(None)
            else:
                broadcast.resumes += 1
                first = await broadcast.page(group, after)
                begun[group.topic] = await self._resume(group, after, first)
                pages.append(first)
        self._tell({"type": "subscribed", "streams": begun, "instance": self._instance})
        for group, page in zip(self._groups, pages, strict=True):
            await self._replay(group, begun[group.topic], page)

    async def _resume(self, group: Group, after: int, page: list[tuple[int, bytes]]) -> int:
        """The number after which the stream continues; tell the subscriber if there is a gap."""
        resumed = page[0][0] - 1 if page else await self._broadcast.newest(group)
        if resumed != after and (page or resumed < after):
            self._broadcast.gaps += 1
            self._tell({"type": "gap", "stream": group.topic, "from": after, "resumed": resumed})
            return resumed
        return after

    async def _replay(self, group: Group, position: int, page: list[tuple[int, bytes]] | None) -> None:
        """Send the messages after a position; `page` is the first page if it was already read.

        The subscriber joins the others when it has received all earlier messages.
        """
        is_complete = page is None or len(page) < PAGE
        while self.is_open:
            if page:
                for sequence, body in page:
                    self._connections.send_one(self, group.frame(sequence, body))
                position = page[-1][0]
                await self.drain()
            if is_complete and group.last <= position:
                group.join(self, position)
                return
            page = await self._broadcast.page(group, position)
            is_complete = len(page) < PAGE

    def _tell(self, notice: dict[str, Any]) -> None:
        self.write(text_frame(orjson.dumps(notice)))


async def subscribe(call: Call) -> Reply:
    """Open a subscription."""
    topics = call.query.get("topics", "").split(",")
    if not 0 < len(topics) <= _MOST_TOPICS or len(set(topics)) < len(topics):
        raise ApiError(422, f"topics: expected 1 to {_MOST_TOPICS} different ones")
    if not all(map(_NAME.fullmatch, topics)):
        raise ApiError(422, "topics: expected names such as metrics,dashboard")
    positions: dict[str, int | None] = dict.fromkeys(topics)
    for text in call.query.get("from", "").split(",") if call.query.get("from") else ():
        found = _POSITION.fullmatch(text)
        if found is None or found[1] not in positions:
            raise ApiError(422, "from: expected sequence numbers of topics, such as metrics:17,dashboard:4")
        positions[found[1]] = int(found[2])
    return upgrade(call, Subscription(call.context, call.caller.tenant, positions))


async def publish(call: Call) -> Reply:
    """Publish messages on topics of the tenant; the answer has their sequence numbers."""
    given = call.body.get("messages") if isinstance(call.body, dict) else None
    if not isinstance(given, list) or not 0 < len(given) <= _MOST_MESSAGES:
        raise ApiError(422, f"messages: expected a list of 1 to {_MOST_MESSAGES}")
    messages = [_read(place, message) for place, message in enumerate(given)]
    if sum(len(payload) for *_, payload in messages) > _LARGEST_PUBLICATION:
        raise ApiError(422, f"messages: expected at most {_LARGEST_PUBLICATION} bytes of payload in all")
    broadcast, tenant = call.context.broadcast, call.caller.tenant
    places = [broadcast.publish(tenant, *message) for message in messages]
    sequences = await broadcast.taken()
    return json_reply({"sequences": sequences[places[0] : places[-1] + 1]}, 201)


def _read(place: int, message: Any) -> tuple[str, str, bytes]:
    if not isinstance(message, dict):
        raise ApiError(422, f"messages[{place}]: expected an object")
    topic, kind = message.get("topic"), message.get("type", "metric")
    if not isinstance(topic, str) or _NAME.fullmatch(topic) is None:
        raise ApiError(422, f"messages[{place}].topic: {_NAME_EXAMPLE}")
    if not isinstance(kind, str) or _NAME.fullmatch(kind) is None:
        raise ApiError(422, f"messages[{place}].type: {_NAME_EXAMPLE}")
    payload = orjson.dumps(message.get("payload", {}))
    if len(payload) > _LARGEST_PAYLOAD:
        raise ApiError(422, f"messages[{place}].payload: expected at most {_LARGEST_PAYLOAD} bytes")
    return topic, kind, payload


def publish_stored_events(call: Call, ids: list[str], session: str | None = None) -> None:
    """Publish the ids of stored events, in messages of limited size."""
    broadcast = call.context.broadcast
    if random.random() < broadcast.unpublished_share:
        return
    for at in range(0, len(ids), _MOST_IDS):
        listed = '","'.join(ids[at : at + _MOST_IDS])
        head, kind = ("", "events") if session is None else (f'"id":"{session}",', "session")
        payload = f'{{{head}"ids":["{listed}"]}}'.encode()
        broadcast.publish(call.caller.tenant, DASHBOARD, kind, payload)
