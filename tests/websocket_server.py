"""A WebSocket server of a test's own, in a thread."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from websockets.asyncio.server import serve


@contextmanager
def serving(handler: Callable[[Any], Awaitable[None]], **options: Any) -> Iterator[str]:
    """Gives the base address of a server that has `handler` for each connection; options of `websockets.serve`."""
    ready, address, over = threading.Event(), [], []

    async def main() -> None:
        async with serve(handler, "127.0.0.1", 0, ping_interval=None, **options) as server:
            address.append(f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}")
            over.extend((asyncio.get_running_loop(), asyncio.Event()))
            ready.set()
            await over[1].wait()

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    try:
        assert ready.wait(10)
        yield address[0]
    finally:
        over[0].call_soon_threadsafe(over[1].set)
        thread.join()
