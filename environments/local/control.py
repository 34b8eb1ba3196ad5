"""The protocol between command line and supervisor: one JSON line each way over a Unix socket."""

import asyncio
import fcntl
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from environments.local.errors import LocalError
from environments.local.layout import Layout, socket_address

Answer = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


def lock(layout: Layout) -> bool:
    """Take the supervisor's lock until this process ends; False if another process holds it."""
    descriptor = os.open(layout.lock, os.O_RDWR | os.O_CREAT, 0o600)  # never closed
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return False
    os.ftruncate(descriptor, 0)
    os.write(descriptor, str(os.getpid()).encode())
    # A killed supervisor leaves its socket. A client that connects to it would conclude that this
    # supervisor hangs.
    layout.socket.unlink(missing_ok=True)
    return True


def is_supervised(layout: Layout) -> bool:
    """Whether a supervisor is running."""
    # This does not take the lock, because that could block a supervisor that is starting.
    if not layout.lock.exists():
        return False
    inode = layout.lock.stat().st_ino
    return any(
        line.split()[1] == "FLOCK" and line.split()[5].endswith(f":{inode}")
        for line in Path("/proc/locks").read_text().splitlines()
        if "->" not in line
    )


def supervisor_pid(layout: Layout) -> int:
    """The process id of the running supervisor."""
    return int(layout.lock.read_text())


async def serve(layout: Layout, answer: Answer) -> asyncio.Server:
    """Answer commands. A LocalError is returned as an answer."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            order = json.loads(await reader.readline())
            try:
                facts = await answer(order)
            except LocalError as error:
                facts = {"error": str(error)}
            writer.write(json.dumps(facts).encode() + b"\n")
            await writer.drain()
        except (ConnectionError, json.JSONDecodeError):
            pass  # the client has disconnected
        finally:
            writer.close()

    directory = os.open(layout.directory, os.O_PATH)
    try:
        return await asyncio.start_unix_server(
            converse, socket_address(layout.socket, directory), limit=2**20
        )
    finally:
        os.close(directory)


async def ask(layout: Layout, order: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Send the supervisor a command. Raises LocalError if it refuses, fails or does not answer."""
    if not layout.socket.exists():
        raise LocalError("the environment is starting or stopping: try again in a moment")
    directory = os.open(layout.directory, os.O_PATH)
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_unix_connection(
                socket_address(layout.socket, directory), limit=2**20
            )
            writer.write(json.dumps(order).encode() + b"\n")
            line = await reader.readline()
            writer.close()
    except (OSError, TimeoutError) as error:
        raise LocalError(f"the supervisor does not answer: {error or 'too slow'}") from error
    finally:
        os.close(directory)
    if not line:
        raise LocalError("the supervisor ended before it answered")
    facts: dict[str, Any] = json.loads(line)
    if "error" in facts:
        raise LocalError(facts["error"])
    return facts
