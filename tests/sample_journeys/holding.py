"""Journeys that hold a connection, for tests of the trial."""

import json

from loadkit.journey import User, journey

READ: list[int] = []
"""The numbers that the readers have read."""


def _read(message):
    number = json.loads(message)
    READ.append(number)
    return "stream", number, 0.0


@journey("hold", uses=("ws",))
async def hold(user: User) -> None:
    ws = await user.ws.connect("/hold")
    await ws.hold()


@journey("subscribe", uses=("ws",))
async def subscribe(user: User) -> None:
    ws = await user.ws.connect("/subscribe")
    ws.subscribe(_read)
    await ws.hold()


@journey("receive, then subscribe", uses=("ws",))
async def receive_first(user: User) -> None:
    ws = await user.ws.connect("/first")
    await ws.receive()
    ws.subscribe(_read)
    await ws.hold()


@journey("stay", uses=("ws",))
async def stay(user: User) -> None:
    async def begin(earlier):
        ws = await user.ws.connect("/stay")
        return ws, ws.subscribe(_read, after=earlier)

    await user.ws.stay(begin)


@journey("hold a while", uses=("ws",))
async def hold_a_while(user: User) -> None:
    ws = await user.ws.connect("/while")
    await ws.hold(0.3)
    await ws.send("after the hold")
    await ws.close()


@journey("a mistake after the first message", uses=("ws",))
async def mistaken(user: User) -> None:
    ws = await user.ws.connect("/mistaken")
    first = json.loads(await ws.receive())
    await ws.hold(first["seconds"])
