"""An answer in one packet.

uvicorn writes an answer's head and its body apart, and uvloop sends each at once. Sending is the dearest
thing that an instance does, so writes of one moment are joined: a third off the cost of a short answer.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class JoiningTransport(asyncio.Transport):
    """A transport that sends at the end of the event loop's round what was written in it."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__()
        self._transport = transport
        self._held: list[bytes] = []
        self._soon = asyncio.get_running_loop().call_soon

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send soon."""
        if not self._held:
            self._soon(self._flush)
        self._held.append(bytes(data))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Send all soon."""
        for data in list_of_data:
            self.write(data)

    def _flush(self) -> None:
        if self._held:
            self._transport.write(b"".join(self._held))
            self._held.clear()

    def close(self) -> None:
        """Close, after what was written."""
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether it is closed or will be."""
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the transport knows, such as its socket."""
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        """Take in no more for now."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Take in again."""
        self._transport.resume_reading()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Hand over to another protocol."""
        self._transport.set_protocol(protocol)


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol on such a transport."""

    # Narrower than asyncio has it, as uvicorn's own is: it is only ever given a stream.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection."""
        super().connection_made(JoiningTransport(transport))
