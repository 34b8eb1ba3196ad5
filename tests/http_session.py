"""A session of the HTTP driver, and what it makes of a server's answers."""

import asyncio
from time import monotonic

import uvloop

from loadkit.drivers.base import TransportError
from loadkit.drivers.http.connection import Connection
from loadkit.drivers.http.driver import HttpDriver
from loadkit.drivers.http.headers import RequestHeaders
from loadkit.drivers.http.outbox import Outbox
from loadkit.target import Target
from tests import bad_servers
from tests.bad_servers import listening

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
HEADERS = RequestHeaders({"accept": "*/*"})


def running(main):
    """Run a coroutine on the loop that workers use."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(asyncio.wait_for(main, 120))


async def ask(session, method="GET", path="/", body=None, timeout=60.0, more=b""):
    return await session.request(method, path, HEADERS, more, body, monotonic() + timeout)


def answers_and_then(behaviour):
    """Answers the first request of a connection, and treats the next as said."""

    async def handler(server, reader, writer):
        await bad_servers.asked(server, reader)
        writer.write(OK)
        await writer.drain()
        await behaviour(server, reader, writer)

    return handler


async def session_at(base: str):
    driver = HttpDriver(Target("t", base))
    await driver.open()
    return driver.session()


def outcomes(behaviour, *methods: str, timeout: float = 60.0, between=None):
    """What becomes of requests made one after the other in one session, how often it connected, what was received."""

    async def main():
        async with listening(behaviour) as server:
            driver = HttpDriver(Target("t", server.base))
            session = driver.session()
            found = []
            for method in methods:
                if found and between is not None:
                    await between()
                try:
                    answer = await ask(
                        session, method, body=b"x" if method == "POST" else None, timeout=timeout
                    )
                    found.append((answer.status_code, answer.content))
                except TransportError as error:
                    found.append(error.kind)
            session.close()
            return found, server

    return running(main())


class SilentTransport:
    """What a connection writes to, where nobody listens."""

    def __init__(self):
        self.is_closed = False

    def write(self, data):
        pass

    def close(self):
        self.is_closed = True

    abort = close


def received(pieces, method="GET", ends=False, heads=None):
    """The answer that a connection makes of bytes which arrive in these pieces."""

    async def main():
        connection = Connection(asyncio.get_running_loop(), Outbox(), {} if heads is None else heads)
        connection.connection_made(SilentTransport())
        waiting = connection.send(b"", method, monotonic() + 60)
        for piece in pieces:
            connection.data_received(piece)
        if ends:
            connection.connection_lost(None)
        answer = await waiting if waiting.done() else None
        if not ends:
            connection.connection_lost(None)
        return answer

    return running(main())
