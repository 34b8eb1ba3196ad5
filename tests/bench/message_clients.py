"""WebSocket clients that do what a load needs of each message: read its number and its time.

Each runs on uvloop and reads JSON with orjson, so that only the WebSocket client differs. One of
them also runs on asyncio's own loop, as programs do that have no uvloop.
"""

import asyncio
import json
import resource
import sys
import time
from array import array
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import uvloop

__all__ = ["CLIENTS"]

_AT_ONCE = 100
"""Handshakes at one time."""

Client = Callable[[str, asyncio.Semaphore, float], Awaitable[None]]

lost: list[int] = []
latencies = array("d")


class _Stream:
    """What one connection received."""

    __slots__ = ("following",)

    def __init__(self) -> None:
        self.following: dict[str, int] = {}

    def take(self, text: str | bytes) -> None:
        """Read a message, look at its number, and note its latency."""
        now = time.time()
        event = orjson.loads(text)
        stream, number = event["stream"], event["sequence"]
        expected = self.following.get(stream, number)
        if number != expected:
            lost.append(number - expected)
        self.following[stream] = number + 1
        latencies.append(now - event["created"])


async def _websockets(url: str, turn: asyncio.Semaphore, until: float) -> None:
    from websockets.asyncio.client import connect

    take = _Stream().take
    async with turn:
        connection = await connect(url, compression=None)
    async with connection:
        try:
            async with asyncio.timeout_at(until):
                async for message in connection:
                    take(message)
        except TimeoutError:
            pass


async def _aiohttp(url: str, turn: asyncio.Semaphore, until: float) -> None:
    take = _Stream().take
    async with turn:
        connection = await _session().ws_connect(url)
    async with connection:
        try:
            async with asyncio.timeout_at(until):
                async for message in connection:
                    take(message.data)
        except TimeoutError:
            pass


async def _picows(url: str, turn: asyncio.Semaphore, until: float) -> None:
    import picows

    stream = _Stream()

    class Listener(picows.WSListener):  # type: ignore[misc]  # it has no types
        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            if frame.msg_type == picows.WSMsgType.TEXT:
                stream.take(frame.get_payload_as_memoryview())
            elif frame.msg_type == picows.WSMsgType.PING:
                transport.send_pong(frame.get_payload_as_bytes())

    async with turn:
        transport, _ = await picows.ws_connect(Listener, url)
    await asyncio.sleep(until - asyncio.get_running_loop().time())
    transport.send_close(picows.WSCloseCode.OK)
    transport.disconnect()


CLIENTS: dict[str, Client] = {
    "websockets": _websockets,
    "websockets-asyncio": _websockets,
    "aiohttp": _aiohttp,
    "picows": _picows,
}
_LOOPS = {"websockets-asyncio": asyncio.new_event_loop}
"""By client: another loop than uvloop's."""
_sessions: list[Any] = []


def _session() -> Any:
    if not _sessions:
        import aiohttp

        _sessions.append(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
    return _sessions[0]


async def _main(client: Client, url: str, connections: int, seconds: float) -> None:
    turn = asyncio.Semaphore(_AT_ONCE)
    until = asyncio.get_running_loop().time() + seconds
    await asyncio.gather(*(client(url, turn, until) for _ in range(connections)))
    for session in _sessions:
        await session.close()
    latencies_sorted = sorted(latencies)
    p95 = latencies_sorted[int(0.95 * len(latencies_sorted))] if latencies_sorted else 0.0
    print(json.dumps({"received": len(latencies_sorted), "lost": sum(lost), "p95": p95}))


if __name__ == "__main__":
    name, url, connections, seconds = sys.argv[1:]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with asyncio.Runner(loop_factory=_LOOPS.get(name, uvloop.new_event_loop)) as runner:
        runner.run(_main(CLIENTS[name], url.replace("http", "ws", 1) + "/", int(connections), float(seconds)))
