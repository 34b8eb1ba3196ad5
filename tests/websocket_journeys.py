"""Journeys of users with a WebSocket."""

import json

from loadkit.journey import User, journey


def read(message):
    return tuple(json.loads(message))


@journey("follow", uses=("ws",))
async def follow(user: User) -> None:
    ws = await user.ws.connect("/live")
    ws.subscribe(read)
    await ws.hold()
