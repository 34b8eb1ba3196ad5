"""Reads the frames of a connection: a fast path for whole messages, `websockets` for all others.

Almost all frames of a stream are whole, final, unmasked data frames. They are read from the
receive buffer here. Every other frame goes to the sans-I/O core of `websockets`, one whole frame
at a time: control frames, fragments, compressed and invalid frames. So the core is always at the
start of a frame, and both agree on the state. A header that the core refuses is passed to it
immediately.

Both together deliver the same events as the core alone, for any bytes and any split of them. A
property test checks this.

A core takes 2.5 KB, including its data of the handshake. If a core is open, at the start of a
message and without an extension, a new one would have the same state. So the reader has a core only
while it is needed.
"""

from collections.abc import Callable

from websockets.frames import CONT, PONG, TEXT, CloseCode, Frame
from websockets.protocol import Protocol, Side, State

__all__ = ["FrameReader", "Limits"]

Limits = tuple[int | None, int | None]
"""Most bytes of a message and of a frame; None for no limit."""

_WHOLE_TEXT, _WHOLE_BINARY = 0x81, 0x82
_WHOLE = (_WHOLE_TEXT, _WHOLE_BINARY)
"""The first byte of a data frame that is a whole message, uncompressed."""
_PONG = 0x8A
"""The first byte of a pong."""
_OPCODES = frozenset({0, 1, 2, 8, 9, 10})
_SHORT = 4
"""Bytes of the longest header that `FrameReader.feed` reads itself."""
_SIXTEEN_BITS, _SIXTY_FOUR_BITS = 126, 127
"""Values of the second byte that announce a longer length; higher ones have the mask bit set."""


class FrameReader:
    """Turns received bytes into messages and pongs."""

    __slots__ = (
        "_chunks",
        "_have",
        "_is_plain",
        "_is_text",
        "_limits",
        "_most",
        "_need",
        "_parts",
        "_pong",
        "core",
        "has_acted",
        "is_over",
        "take",
    )

    def __init__(
        self,
        limits: Limits,
        take: Callable[[str | bytes, int], None],
        pong: Callable[[bytes], None],
        core: Protocol | None = None,
    ) -> None:
        """Begin after the handshake.

        Args:
            limits: most bytes of a message and of a frame.
            take: called with each message, text or binary, and its size in bytes.
            pong: called with the payload of each pong.
            core: the connection's protocol core, if it has negotiated an extension; it is open.

        """
        self.core = core
        """The protocol core; None while it has no state to keep: see `needed` and `rest`."""
        self._limits = limits
        self.take = take
        self._pong = pong
        self._chunks: list[bytes] | None = None
        """The beginning of a frame whose rest has not arrived; None for none."""
        self._have = self._need = 0
        self._parts: list[bytes | bytearray | memoryview] | None = None
        """The fragments of the current message; None outside of one."""
        self._is_text = False
        self._is_plain = True
        """Does a frame begin next, outside a fragmented message, on an open connection?"""
        self._most = self._limit()
        """The largest length of a frame outside a fragmented message, in bytes."""
        self.has_acted = False
        """Did the core act, so that it may have something to send? Its owner resets this."""
        self.is_over = False
        """Did a close frame arrive, or did the connection fail? All further bytes are discarded."""

    def needed(self) -> Protocol:
        """The core; a new one is created if there is none."""
        if self.core is None:
            self.core = Protocol(Side.CLIENT, max_size=self._limits)
        return self.core

    def rest(self) -> None:
        """Drop the core if a new one would have the same state. Its output is already taken."""
        core = self.core
        if (
            core is not None
            and core.state is State.OPEN
            and core.current_size is None
            and not core.extensions
            and core.parser_exc is None
        ):
            self.core = None

    def feed(self, data: bytes) -> int:
        """Read bytes as they arrived, and return the number of messages in them.

        The core may then have something to send.
        """
        if self._is_plain and len(data) > _SHORT and data[0] == _WHOLE_TEXT:
            # Most arrivals are one text message, and nothing else.
            length, start = data[1], 2
            if length == _SIXTEEN_BITS:
                length, start = data[2] << 8 | data[3], 4
            is_short = length < _SIXTEEN_BITS or start == _SHORT
            if is_short and start + length == len(data) and length <= self._most:
                try:
                    message = data[start:].decode()
                except UnicodeDecodeError as error:
                    self._refuse_text(error)
                    return 0
                self.take(message, length)
                return 1
        messages = self._read(data)
        self._is_plain = not (self._chunks or self.is_over) and not self._is_in_message
        return messages

    @property
    def _is_in_message(self) -> bool:
        """Has a fragmented message begun, and not ended?"""
        return self.core is not None and self.core.current_size is not None

    def _read(self, data: bytes) -> int:
        if self.is_over:
            return 0
        if self._chunks:
            self._chunks.append(data)
            self._have += len(data)
            if self._have < self._need:
                return 0
            data = b"".join(self._chunks)
            self._chunks = None
        take = self.take
        messages = at = 0
        end = len(data)
        is_whole = not self._is_in_message
        limit = self._most if is_whole else self._limit()
        while at < end:
            start = at + 2
            if end < start:
                return self._keep(data, at, 2, messages)
            first, length = data[at], data[at + 1]
            is_fast = is_whole and first in _WHOLE
            if length >= _SIXTEEN_BITS or not is_fast:
                if (first & 0x0F) not in _OPCODES or length > _SIXTY_FOUR_BITS:
                    return messages + self._give(data[at:])  # the core refuses it
                if length == _SIXTEEN_BITS:
                    start = at + 4
                    if end < start:
                        return self._keep(data, at, 4, messages)
                    length = data[at + 2] << 8 | data[at + 3]
                elif length == _SIXTY_FOUR_BITS:
                    start = at + 10
                    if end < start:
                        return self._keep(data, at, 10, messages)
                    length = int.from_bytes(data[at + 2 : start])
            if length > limit:
                return messages + self._give(data[at:])  # the core refuses it
            stop = start + length
            if end < stop:
                return self._keep(data, at, stop - at, messages)
            if is_fast:
                payload = data[start:stop]
                if first == _WHOLE_TEXT:
                    try:
                        message: str | bytes = payload.decode()
                    except UnicodeDecodeError as error:
                        self._refuse_text(error)
                        return messages
                else:
                    message = payload
                take(message, length)
                messages += 1
            elif first == _PONG and self.core is None and length < _SIXTEEN_BITS:
                self._pong(data[start:stop])
            else:
                messages += self._give(data[at:stop])
                if self._has_ended():
                    return messages
                limit = self._limit()
                is_whole = not self._is_in_message
            at = stop
        return messages

    def end(self) -> None:
        """Read the end of the stream; without a close frame before it, the connection failed."""
        self._chunks = None
        core = self.needed()
        if core.state is not State.CLOSED:
            core.receive_eof()
        self._acted()

    def _keep(self, data: bytes, at: int, need: int, messages: int) -> int:
        """Keep the beginning of a frame until `need` bytes of it have arrived."""
        rest = data[at:]
        self._chunks = [rest]
        self._have, self._need = len(rest), need
        return messages

    def _limit(self) -> float:
        """The largest length of the next frame, in bytes."""
        of_message, of_frame = self._limits
        most = float("inf") if of_message is None else of_message
        if self.core is not None and self.core.current_size is not None:
            most -= self.core.current_size
        return most if of_frame is None else min(most, of_frame)

    def _give(self, data: bytes) -> int:
        """Give a frame to the core, and return the number of messages that it completes: 0 or 1."""
        core = self.needed()
        core.receive_data(data)
        self._acted()
        messages = 0
        for frame in core.events_received():
            assert isinstance(frame, Frame)  # the response to the handshake came before
            if frame.opcode is PONG:
                self._pong(bytes(frame.data))
            elif frame.opcode <= 2:
                if frame.opcode is not CONT:
                    self._is_text = frame.opcode is TEXT
                if self._parts is None:
                    self._parts = []
                self._parts.append(frame.data)
                if frame.fin:
                    messages += self._complete()
        return messages

    def _complete(self) -> int:
        message = b"".join(self._parts or ())
        self._parts = None
        if not self._is_text:
            self.take(message, len(message))
            return 1
        try:
            text = message.decode()
        except UnicodeDecodeError as error:
            self._refuse_text(error)
            return 0
        self.take(text, len(message))
        return 1

    def _refuse_text(self, error: UnicodeDecodeError) -> None:
        """Fail the connection (RFC 6455, 8.1). The core leaves the check of text to its caller."""
        core = self.needed()
        core.fail(CloseCode.INVALID_DATA, f"{error.reason} at position {error.start}")
        core.parser_exc = error
        self._acted()

    def _acted(self) -> None:
        self.has_acted = True
        self.is_over = self._has_ended()
        self._is_plain = self._is_plain and not self.is_over

    def _has_ended(self) -> bool:
        core = self.core
        return core is not None and (core.close_rcvd is not None or core.parser_exc is not None)
