"""Run one instance with `python -m environments.local.service`; the supervisor does this.

Commands are JSON lines on standard input. A line on standard output answers each command. At the
end of the input, the supervisor has ended, so the instance ends too.
"""

import asyncio
import json
import os
import socket
import sys
from typing import Any

import uvicorn
import uvloop

from environments.local.service.app import App
from environments.local.service.config import Config
from environments.local.service.context import Context
from environments.local.service.transport import HttpProtocol
from environments.local.service.websocket import Connections


class Server(uvicorn.Server):
    """uvicorn's server, which reports when it accepts requests and closes WebSockets at its end."""

    def __init__(self, config: uvicorn.Config, connections: Connections) -> None:
        super().__init__(config)
        self._connections = connections

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and report the port to the supervisor."""
        await super().startup(sockets)
        if sockets and self.started:
            _answer({"port": sockets[0].getsockname()[1]})

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the WebSocket connections, and stop."""
        await self._connections.end()
        await super().shutdown(sockets)


def _answer(facts: dict[str, object]) -> None:
    os.write(1, json.dumps(facts).encode() + b"\n")


async def _read_commands(context: Context, server: Server) -> None:
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(commands), sys.stdin
    )
    while line := await commands.readline():
        await context.faults.set(json.loads(line)["faults"])
        _answer({"done": True})
    server.should_exit = True


async def _serve() -> None:
    context = Context.make(Config.from_environment())
    app = App(context)
    site: Any = app  # HttpProtocol calls it directly, so it is no ASGI application
    config = uvicorn.Config(
        site,
        interface="asgi3",
        lifespan="off",
        http=HttpProtocol,
        proxy_headers=False,
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        headers=[("X-Instance", context.config.name)],
        timeout_graceful_shutdown=3,
        backlog=4096,
    )
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    server = Server(config, context.connections)
    commands = asyncio.create_task(_read_commands(context, server))
    async with app.running():
        await server.serve([listener])
    commands.cancel()


with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(_serve())
