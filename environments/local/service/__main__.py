"""Run one instance: `python -m environments.local.service`, as the supervisor does.

Orders come in as JSON lines on the standard input, each answered by a line on the standard output; their
end is the supervisor's, and so the instance's.
"""

import asyncio
import json
import os
import socket
import sys

import uvicorn
import uvloop

from environments.local.service.app import App
from environments.local.service.config import Config
from environments.local.service.context import Context
from environments.local.service.transport import HttpProtocol


class Server(uvicorn.Server):
    """uvicorn, which says when it takes requests."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and tell the supervisor the port."""
        await super().startup(sockets)
        if sockets and self.started:
            _answer({"port": sockets[0].getsockname()[1]})


def _answer(facts: dict[str, object]) -> None:
    os.write(1, json.dumps(facts).encode() + b"\n")


async def _take_orders(context: Context, server: Server) -> None:
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(orders), sys.stdin
    )
    while line := await orders.readline():
        await context.faults.set(json.loads(line)["faults"])
        _answer({"done": True})
    server.should_exit = True


async def _serve() -> None:
    context = Context.make(Config.from_environment())
    config = uvicorn.Config(
        App(context),
        http=HttpProtocol,
        proxy_headers=False,
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        headers=[("X-Instance", context.config.name)],
        timeout_keep_alive=120,  # longer than the balancer keeps an idle connection, so it never meets a closing one
        timeout_graceful_shutdown=3,
        backlog=4096,
    )
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    server = Server(config)
    orders = asyncio.create_task(_take_orders(context, server))
    await server.serve([listener])
    orders.cancel()


with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(_serve())
