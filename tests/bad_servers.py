"""Servers on loopback that say given bytes, whatever is asked; and the ways in which servers misbehave."""

import asyncio
import socket
import ssl
import struct
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter


@dataclass(slots=True)
class Server:
    """One that is listening."""

    port: int
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)
    """Head and body of each request, as they came."""

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"


Behaviour = Callable[[Server, Reader, Writer], Awaitable[None]]


@asynccontextmanager
async def listening(
    behaviour: Behaviour, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[Server]:
    """A server that treats each connection so."""
    server = Server(0)
    handlers: set[asyncio.Task[None]] = set()

    async def handle(reader: Reader, writer: Writer) -> None:
        task = asyncio.current_task()
        assert task is not None
        handlers.add(task)
        server.connections += 1
        try:
            await behaviour(server, reader, writer)
        except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    listener = await asyncio.start_server(handle, host, 0, ssl=tls)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for task in handlers:
            task.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)


@contextmanager
def in_a_thread(behaviour: Behaviour, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    """The same, beside tests that are not asynchronous."""
    up: list[Server] = []
    is_up, is_over = threading.Event(), threading.Event()

    async def serve() -> None:
        async with listening(behaviour, tls=tls) as server:
            up.append(server)
            is_up.set()
            while not is_over.is_set():
                await asyncio.sleep(0.02)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    is_up.wait()
    try:
        yield up[0]
    finally:
        is_over.set()
        thread.join()


async def asked(server: Server, reader: Reader) -> bytes:
    """Wait for a whole request."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
    )
    request = head + (await reader.readexactly(length))
    server.requests.append(request)
    return request


def says(*answers: bytes) -> Behaviour:
    """Answers the first request of a connection with the first of `answers`, and so on; then closes it."""

    async def behaviour(server: Server, reader: Reader, writer: Writer) -> None:
        for answer in answers:
            await asked(server, reader)
            writer.write(answer)
            await writer.drain()

    return behaviour


def always_says(answer: bytes) -> Behaviour:
    """Answers every request so, and keeps the connection."""

    async def behaviour(server: Server, reader: Reader, writer: Writer) -> None:
        while True:
            await asked(server, reader)
            writer.write(answer)
            await writer.drain()

    return behaviour


async def never_answers(server: Server, reader: Reader, _writer: Writer) -> None:
    """Takes requests and says nothing."""
    while True:
        await asked(server, reader)


async def hangs_up(server: Server, reader: Reader, _writer: Writer) -> None:
    """Takes a request and closes the connection."""
    await asked(server, reader)


async def resets(server: Server, reader: Reader, writer: Writer) -> None:
    """Resets the connection when it is asked (TCP's RST)."""
    await asked(server, reader)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def drips(answer: bytes, pause: float) -> Behaviour:
    """Answers byte by byte."""

    async def behaviour(server: Server, reader: Reader, writer: Writer) -> None:
        await asked(server, reader)
        for byte in answer:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(pause)

    return behaviour


def closes_idle(answer: bytes, closed: asyncio.Event) -> Behaviour:
    """Answers one request per connection as if it kept it, then closes it and sets `closed`."""

    async def behaviour(server: Server, reader: Reader, writer: Writer) -> None:
        await asked(server, reader)
        writer.write(answer)
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        closed.set()

    return behaviour


def hangs_up_on_the_second(answer: bytes) -> Behaviour:
    """Answers the first request of the first connection, takes the second and closes; later connections it keeps."""

    async def behaviour(server: Server, reader: Reader, writer: Writer) -> None:
        is_first = server.connections == 1
        while True:
            await asked(server, reader)
            if is_first and len(server.requests) > 1:
                return
            writer.write(answer)
            await writer.drain()

    return behaviour
