"""Shared editing: all editors of a dashboard see the same document.

A document is a set of keys with values. Valkey gives each edit a version, which is its sequence
number in the document's stream, and keeps the newest value of each key. All editors receive all
edits in this order, their own included.
"""

import asyncio
from typing import Any

import orjson

from environments.local.service.broadcast import Broadcast, Group
from environments.local.service.cache import CacheError
from environments.local.service.context import Context
from environments.local.service.endpoint import Call, Reply
from environments.local.service.tokens import Identity
from environments.local.service.upgrade import upgrade
from environments.local.service.websocket import RESTART, WebSocket, text_frame

_LONGEST_NAME = 64
_LARGEST_VALUE = 2000  # bytes


class Editor(WebSocket):
    """The connection of one editor of a document."""

    __slots__ = ("_broadcast", "_group", "_identity", "_instance", "_tasks", "_topic")

    def __init__(self, context: Context, identity: Identity, dashboard: int) -> None:
        super().__init__(context.connections)
        self._broadcast: Broadcast = context.broadcast
        self._instance = context.config.name
        self._identity = identity
        self._topic = f"collab/{dashboard}"
        self._group: Group | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def opened(self) -> None:
        """Send the document, then the edits."""
        self._group = self._broadcast.enter(self._identity.tenant, self._topic)
        self._begin(self._join(self._group))

    def received(self, text: str) -> None:
        """Check an edit and publish it."""
        try:
            edit = orjson.loads(text)
        except orjson.JSONDecodeError:
            self._refuse(None, "expected JSON")
            return
        given = edit if isinstance(edit, dict) else {}
        key, name = given.get("key"), given.get("id")
        if not (name is None or (isinstance(name, str) and len(name) <= _LONGEST_NAME)):
            self._refuse(None, f"id: expected a text of at most {_LONGEST_NAME} characters")
        elif not isinstance(key, str) or not 0 < len(key) <= _LONGEST_NAME:
            self._refuse(name, f"key: expected a text of 1 to {_LONGEST_NAME} characters")
        elif "value" not in given or len(value := orjson.dumps(given["value"])) > _LARGEST_VALUE:
            self._refuse(name, f"value: expected JSON of at most {_LARGEST_VALUE} bytes")
        else:
            payload = orjson.dumps(
                {"key": key, "value": orjson.Fragment(value), "id": name, "editor": self._identity.account}
            )
            place = self._broadcast.publish(
                self._identity.tenant, self._topic, "edit", payload, key.encode(), value
            )
            self._begin(self._confirm(name, place, self._broadcast.taken()))

    def left(self) -> None:
        """Leave the document."""
        if self._group is not None:
            self._broadcast.leave(self._group, self)

    def _begin(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _join(self, group: Group) -> None:
        broadcast = self._broadcast
        try:
            version, entries = await broadcast.document(group)
            while group.last > version:  # it was edited meanwhile
                version, entries = await broadcast.document(group)
        except CacheError:
            self.close(RESTART, "the instance lost the streams")
            return
        if not self.is_open:
            return
        state = {
            "type": "state",
            "stream": self._topic,
            "version": version,
            "instance": self._instance,
            "payload": {key.decode(): orjson.Fragment(entry) for key, entry in entries.items()},
        }
        self.write(text_frame(orjson.dumps(state)))
        group.join(self, version)

    async def _confirm(self, name: str | None, place: int, taken: Any) -> None:
        """Tell the editor if its edit was refused; an accepted edit comes back as a message."""
        try:
            if (await taken)[place] == 0:
                self._refuse(name, "the document has too many keys")
        except CacheError as error:
            self._refuse(name, f"the edit was not taken: {error}")

    def _refuse(self, name: str | None, message: str) -> None:
        self.write(text_frame(orjson.dumps({"type": "refused", "id": name, "message": message})))


async def edit(call: Call) -> Reply:
    """Open a document for editing."""
    return upgrade(call, Editor(call.context, call.caller, call.path["id"]))
