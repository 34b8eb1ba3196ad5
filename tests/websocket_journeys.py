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


@journey("ask", uses=("ws",))
async def ask(user: User) -> None:
    """Send a message each tenth of a second, and wait for its answer."""
    ws = user.state.get("ws")
    if ws is None:
        ws = user.state["ws"] = await user.ws.connect("/live")
    name = f"{user.number}-{user.random.random()}"
    await ws.request(name, lambda message: message == name)
    await user.think()
