"""What a relay passes on: bytes in order, ends, resets, backpressure. No test looks at times."""

import asyncio
import errno
import os
import random
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
import uvloop

from loadkit.network.relay import DueTimes, Relay
from loadkit.target import NetworkPath
from loadkit.users.pacer import BEST_ALARM

Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter
Handler = Callable[[Reader, Writer], Awaitable[None]]
NEAR = NetworkPath(0.004, jitter=0.002)


@asynccontextmanager
async def relayed(handler: Handler, path: NetworkPath = NEAR) -> AsyncIterator[int]:
    """The port of a relay in front of a service that treats each connection so."""
    handlers: set[asyncio.Task[None]] = set()

    async def handle(reader: Reader, writer: Writer) -> None:
        task = asyncio.current_task()
        assert task is not None
        handlers.add(task)
        await handler(reader, writer)

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    due_times = DueTimes(BEST_ALARM)
    place = ("127.0.0.1", server.sockets[0].getsockname()[1])
    relay = Relay(path, place, due_times, random.Random(1))
    try:
        yield await relay.open()
    finally:
        relay.close()
        await asyncio.sleep(0)
        server.close()
        for task in handlers:
            task.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)
        due_times.close()


def run(test: Awaitable[None]) -> None:
    """Run a test on the loop that relays use; one that hangs fails."""

    async def limited() -> None:
        async with asyncio.timeout(20):
            await test

    uvloop.run(limited())


async def echo(reader: Reader, writer: Writer) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


def test_bytes_arrive_in_order_and_none_is_lost() -> None:
    async def test() -> None:
        sent = os.urandom(3_000_000)
        async with relayed(echo, NetworkPath(0.004, jitter=0.004, loss=0.01)) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)

            async def feed() -> None:
                at = 0
                while at < len(sent):
                    size = random.randint(1, 200_000)
                    writer.write(sent[at : at + size])
                    await writer.drain()
                    at += size
                writer.write_eof()

            feeding = asyncio.create_task(feed())
            assert await reader.read() == sent
            await feeding
            writer.close()

    run(test())


def test_200_connections_are_answered_each_with_its_own_bytes() -> None:
    async def ask(port: int, number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for turn in range(3):
            writer.write(question := b"%d %d\n" % (number, turn))
            assert await reader.readline() == question
        writer.close()

    async def test() -> None:
        async with relayed(echo) as port:
            await asyncio.gather(*(ask(port, number) for number in range(200)))

    run(test())


def test_a_side_that_has_ended_its_stream_still_receives() -> None:
    async def answer_at_the_end(reader: Reader, writer: Writer) -> None:
        asked = await reader.read()  # up to the end of the stream
        writer.write(b"you said " + asked)
        writer.close()

    async def test() -> None:
        async with relayed(answer_at_the_end) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"hello")
            writer.write_eof()
            assert await reader.read() == b"you said hello"
            writer.close()

    run(test())


def test_a_reset_by_the_service_reaches_the_user_as_a_reset() -> None:
    async def reset(reader: Reader, writer: Writer) -> None:
        await reader.read(1)
        _will_reset(writer)
        writer.transport.abort()

    async def test() -> None:
        async with relayed(reset) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"x")
            with pytest.raises(ConnectionResetError):
                await reader.read(1)

    run(test())


def test_what_the_service_sent_before_a_reset_reaches_the_user_before_it() -> None:
    async def answer_and_reset(reader: Reader, writer: Writer) -> None:
        await reader.readexactly(1)
        writer.write(b"refused")
        await writer.drain()
        await asyncio.sleep(0.02)  # the relay has read it, and holds it for 100 ms
        _will_reset(writer)
        writer.transport.abort()

    async def test() -> None:
        async with relayed(answer_and_reset, NetworkPath(0.2)) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"x")
            assert await reader.readexactly(7) == b"refused"
            with pytest.raises(ConnectionResetError):
                await reader.read(1)

    run(test())


def test_a_reset_by_the_user_reaches_the_service_as_a_reset() -> None:
    async def test() -> None:
        seen: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

        async def look(reader: Reader, writer: Writer) -> None:
            writer.write(b"hello")
            try:
                await reader.read(1)
            except ConnectionResetError as error:
                seen.set_result(error)
            else:
                seen.set_result(None)

        async with relayed(look) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            await reader.readexactly(5)
            _will_reset(writer)
            writer.transport.abort()
            assert isinstance(await seen, ConnectionResetError)

    run(test())


def test_a_refusal_by_the_service_reaches_the_user_as_a_reset() -> None:
    async def test() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            closed = listener.getsockname()
        due_times = DueTimes(BEST_ALARM)
        relay = Relay(NEAR, closed, due_times, random.Random(1))
        reader, _ = await asyncio.open_connection("127.0.0.1", await relay.open())
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
        relay.close()
        due_times.close()

    run(test())


@pytest.mark.parametrize(
    ("number", "counted"), [(errno.EMFILE, 1), (errno.EADDRNOTAVAIL, 1), (errno.ECONNREFUSED, 0)]
)
def test_a_connection_for_which_the_relay_has_no_socket_is_reset_and_counted(
    number: int, counted: int
) -> None:
    async def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    async def test() -> None:
        loop = asyncio.get_running_loop()
        due_times = DueTimes(BEST_ALARM)
        relay = Relay(NEAR, ("127.0.0.1", 1), due_times, random.Random(1))
        user = socket.create_connection(("127.0.0.1", await relay.open()))  # the kernel accepts it
        user.setblocking(False)
        loop.create_connection = refuse  # type: ignore[method-assign, assignment]
        with user, pytest.raises(ConnectionResetError):
            await loop.sock_recv(user, 1)
        relay.close()
        due_times.close()
        assert (relay.connections, relay.out_of_descriptors) == (1, counted)

    run(test())


def test_a_user_that_does_not_read_slows_the_service_down() -> None:
    async def test() -> None:
        given = 0
        goes_on = asyncio.Event()

        async def pour(_reader: Reader, writer: Writer) -> None:
            nonlocal given
            writer.transport.set_write_buffer_limits(1 << 16)
            while True:
                writer.write(b"x" * 65536)
                try:
                    await asyncio.wait_for(writer.drain(), 2.0)
                except TimeoutError:
                    goes_on.set()  # it must wait: the way to the user is full
                    return
                given += 65536

        async with relayed(pour) as port:
            with socket.create_connection(("127.0.0.1", port)):
                await goes_on.wait()
            # The relay's window, and what the kernel takes at four ends, and no more.
            assert given < 64 << 20

    run(test())


def _will_reset(writer: Writer) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_seconds_in_which_it_is_late_enough_to_matter_are_noted_with_the_longest_lateness() -> None:
    async def noted() -> tuple[dict[int, float], float]:
        due_times = DueTimes(BEST_ALARM)
        for late in (0.049, 0.2, 3.0, 0.06):
            due_times.note(late)
        due_times.close()
        return due_times.late, due_times.lateness(0.5)

    begun = int(time.time())
    late, median = asyncio.run(noted())
    assert max(late.values()) == 3.0
    assert all(begun <= second <= time.time() for second in late)
    assert median == pytest.approx(0.0601, abs=0.001)


def test_bytes_that_it_has_not_delivered_at_its_end_are_late_too() -> None:
    async def noted() -> dict[int, float]:
        due_times = DueTimes(BEST_ALARM)
        due_times.add(time.monotonic() + 60, cast("Any", None))
        due_times.add(time.monotonic() - 5, cast("Any", None))
        due_times.close()
        return due_times.late

    (late,) = asyncio.run(noted()).values()
    assert late == pytest.approx(5, abs=0.5)


def test_a_busy_event_loop_is_late_without_any_delivery() -> None:
    async def noted() -> dict[int, float]:
        due_times = DueTimes(BEST_ALARM)
        watching = asyncio.create_task(due_times.watch())
        await asyncio.sleep(0)
        time.sleep(0.6)  # noqa: ASYNC251  the loop stands still
        while not due_times.late:
            await asyncio.sleep(0.01)
        watching.cancel()
        due_times.close()
        return due_times.late

    assert max(asyncio.run(asyncio.wait_for(noted(), 20)).values()) >= 0.4
