"""A WebSocket server that only pushes: it encodes each message once, and counts what it sends.

It reads no more of the protocol than its clients need: the handshake, pings and the close frame.
`GET /count` gives its figures, and `GET /rate/10` has each connection receive 10 messages per
second.
"""

import asyncio
import base64
import contextlib
import hashlib
import json
import random
import resource
import subprocess
import sys
import time
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import cast
from urllib.request import urlopen

import uvloop

__all__ = ["STREAMS", "MessageServer", "message_server"]

STREAMS = 100
"""Connections follow one stream each, in turn. The messages of all streams are spread evenly."""
_TICK = 0.001
"""Seconds between two looks at what is due."""
_MOST_AT_ONCE = 2 * STREAMS
"""Messages that are published at one look; what is due beyond them is left out."""
_ACCEPT = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CLOSE, _PING, _PONG = 8, 9, 10
_MEDIAN_DELAY, _SPREAD = 0.02, 0.5
"""Each message is stamped as if it had waited for a log-normal time: its median in seconds."""


class _Publisher:
    """The streams, and what was sent."""

    def __init__(self) -> None:
        self.streams: list[set[_Client]] = [set() for _ in range(STREAMS)]
        self.waiting = [0] * STREAMS
        """Connections of each stream whose socket takes no more data. Their stream stands still."""
        self.joined = self.messages = self.bytes = 0
        self._rate = 0.0
        self._begun = 0.0
        self._published = 0
        self._numbers = [0] * STREAMS
        draw = random.Random(13)
        self._delays = [draw.lognormvariate(0.0, _SPREAD) * _MEDIAN_DELAY for _ in range(9973)]
        self._log = array("d")
        """Of each publication: seconds from its creation to the last write, and its receivers."""

    def set_rate(self, per_second: float) -> None:
        """Have each connection receive so many messages per second from now on."""
        self._rate, self._begun, self._published = per_second * STREAMS, time.monotonic(), 0
        self._log = array("d")

    def figures(self) -> dict[str, float]:
        """What was sent since the start; the p95 latency in seconds since the rate was set."""
        pairs = sorted(zip(self._log[::2], self._log[1::2], strict=True))
        left = 0.95 * sum(receivers for _, receivers in pairs)
        p95 = 0.0
        for latency, receivers in pairs:
            p95, left = latency, left - receivers
            if left <= 0:
                break
        spent = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "messages": self.messages,
            "bytes": self.bytes,
            "connections": sum(map(len, self.streams)),
            "cpu_seconds": spent.ru_utime + spent.ru_stime,
            "p95": p95,
        }

    async def publish(self) -> None:
        """Publish what is due, for ever."""
        while True:
            await asyncio.sleep(_TICK)
            due = int((time.monotonic() - self._begun) * self._rate)
            for number in range(self._published, min(due, self._published + _MOST_AT_ONCE)):
                self._send(number % STREAMS)
            self._published = due

    def _send(self, stream: int) -> None:
        clients = self.streams[stream]
        if not clients or self.waiting[stream]:
            return
        self._numbers[stream] += 1
        created = time.time() - self._delays[self.messages % len(self._delays)]
        text = (
            f'{{"stream":"metrics.{stream}","sequence":{self._numbers[stream]},"created":{created:.6f},'
            '"tenant_key":"tk-0123456789abcdef","type":"metric","payload":{"name":"cpu.load","value":0.25}}'
        ).encode()
        frame = b"\x81\x7e" + len(text).to_bytes(2) + text
        for client in clients:
            client.transport.write(frame)
        self._log.extend((time.time() - created, len(clients)))
        self.messages += len(clients)
        self.bytes += len(clients) * len(frame)


class _Client(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self, publisher: _Publisher) -> None:
        self._publisher = publisher
        self._data = b""
        self._stream: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._data += data
        if self._stream is not None:
            self._read_frames()
        elif b"\r\n\r\n" in self._data:
            head, _, self._data = self._data.partition(b"\r\n\r\n")
            self._answer(head)

    def pause_writing(self) -> None:
        if self._stream is not None:
            self._publisher.waiting[self._stream] += 1

    def resume_writing(self) -> None:
        if self._stream is not None:
            self._publisher.waiting[self._stream] -= 1

    def connection_lost(self, _problem: Exception | None) -> None:
        self._leave()

    def _answer(self, head: bytes) -> None:
        first, *lines = head.split(b"\r\n")
        path = first.split()[1].decode()
        headers = {
            name.strip().lower(): value.strip() for name, _, value in (x.partition(b":") for x in lines)
        }
        key = headers.get(b"sec-websocket-key")
        if key is None:
            if path.startswith("/rate/"):
                self._publisher.set_rate(float(path.removeprefix("/rate/")))
            body = json.dumps(self._publisher.figures()).encode()
            self.transport.write(
                b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body
            )
            self.transport.close()
            return
        accept = base64.b64encode(hashlib.sha1(key + _ACCEPT).digest())
        self.transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
            b"sec-websocket-accept: " + accept + b"\r\n\r\n"
        )
        self._stream = self._publisher.joined % STREAMS
        self._publisher.joined += 1
        self._publisher.streams[self._stream].add(self)

    def _read_frames(self) -> None:
        """Answer control frames; clients mask theirs, and all are short."""
        while len(self._data) >= 6:
            opcode, length = self._data[0] & 15, self._data[1] & 127
            if len(self._data) < 6 + length:
                return
            mask, payload = self._data[2:6], self._data[6 : 6 + length]
            self._data = self._data[6 + length :]
            payload = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
            if opcode in (_CLOSE, _PING):
                answer = _PONG if opcode == _PING else _CLOSE
                self.transport.write(bytes((0x80 | answer, length)) + payload)
            if opcode == _CLOSE:
                self._leave()
                self.transport.close()

    def _leave(self) -> None:
        if self._stream is not None:
            self._publisher.streams[self._stream].discard(self)


@dataclass(frozen=True, slots=True)
class MessageServer:
    """A server under load."""

    url: str
    """Its HTTP address; that of its streams begins with "ws"."""

    def figures(self) -> dict[str, float]:
        """See `_Publisher.figures`."""
        return self._ask("/count")

    def messages(self) -> int:
        """How many messages it has sent since its start."""
        return int(self.figures()["messages"])

    def set_rate(self, per_second: float) -> None:
        """Have each connection receive so many messages per second."""
        self._ask(f"/rate/{min(per_second, 1e6):g}")

    def flood(self) -> None:
        """Have each connection receive as many messages as it takes."""
        self.set_rate(inf)

    def _ask(self, path: str) -> dict[str, float]:
        with urlopen(self.url + path, timeout=60) as answer:
            return dict(json.load(answer))


@contextlib.contextmanager
def message_server() -> Iterator[MessageServer]:
    """Start it on a free loopback port; it is gone afterwards."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.message_server"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent.parent,
    )
    try:
        assert process.stdout is not None
        yield MessageServer(f"http://127.0.0.1:{int(process.stdout.readline())}")
    finally:
        process.terminate()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


async def _serve() -> None:
    publisher = _Publisher()
    server = await asyncio.get_running_loop().create_server(
        lambda: _Client(publisher), "127.0.0.1", 0, backlog=8192
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await publisher.publish()


if __name__ == "__main__":
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve())
