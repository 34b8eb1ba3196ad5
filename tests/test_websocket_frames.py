"""The fast path and the sans-I/O core of `websockets` alone deliver the same, for any bytes and any split."""

import struct
from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import CONT, PONG, TEXT, Frame, Opcode
from websockets.protocol import OPEN, Protocol
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from loadkit.drivers.websocket.frames import FrameReader

LIMIT, FRAGMENT_LIMIT = 400, 300
URI = parse_uri("ws://127.0.0.1/")


def core_of(*, is_compressed: bool, limits=(LIMIT, FRAGMENT_LIMIT)) -> ClientProtocol:
    core = ClientProtocol(URI, state=OPEN, max_size=limits)
    if is_compressed:
        core.extensions = [PerMessageDeflate(False, False, 12, 12)]
    return core


def ending_of(core: Protocol, sent: list[bytes]) -> tuple:
    """What the two ends know of the connection's end, and the frames that were sent."""
    peer = ServerProtocol(state=OPEN)
    for data in [*sent, *core.data_to_send()]:
        if data:
            peer.receive_data(data)
    sent = [(frame.opcode, bytes(frame.data)) for frame in peer.events_received()]
    return core.state, core.close_rcvd, core.close_sent, type(core.parser_exc), sent


def by_the_core_alone(stream: bytes, *, is_compressed: bool, has_ended: bool, closes_at: int | None) -> tuple:
    """The reference: the core reads byte by byte, and text that is no UTF-8 fails the connection."""
    core, events, parts, is_text, is_refused = core_of(is_compressed=is_compressed), [], [], False, False
    for at in range(len(stream)):
        if at == closes_at and core.state is OPEN:
            core.send_close(1000)
        core.receive_data(stream[at : at + 1])
        for frame in core.events_received():
            if frame.opcode is PONG:
                events.append(("pong", bytes(frame.data)))
            elif frame.opcode <= 2 and not is_refused:
                is_text = frame.opcode is TEXT if frame.opcode is not CONT else is_text
                parts.append(bytes(frame.data))
                if frame.fin:
                    message, parts = b"".join(parts), []
                    try:
                        events.append((message.decode() if is_text else message, len(message)))
                    except UnicodeDecodeError as error:
                        core.fail(1007, f"{error.reason} at position {error.start}")
                        core.parser_exc, is_refused = error, True
    if has_ended:
        core.receive_eof()
    return events, *ending_of(core, [])


def by_the_fast_path(
    chunks: list[bytes], *, is_compressed: bool, has_ended: bool, closes_at: int | None
) -> tuple:
    events, sent = [], []
    reader = FrameReader(
        (LIMIT, FRAGMENT_LIMIT),
        lambda message, size: events.append((message, size)),
        lambda data: events.append(("pong", data)),
        core_of(is_compressed=True) if is_compressed else None,
    )
    at = messages = 0
    for chunk in chunks:
        if at == closes_at and reader.needed().state is OPEN:
            reader.needed().send_close(1000)
        messages += reader.feed(chunk)
        if reader.core is not None:
            sent += reader.core.data_to_send()
            reader.rest()
        at += len(chunk)
    if has_ended:
        reader.end()
    assert messages == sum(event[0] != "pong" or isinstance(event[1], int) for event in events)
    return events, *ending_of(reader.needed(), sent)


def frame(first: int, payload: bytes, *, is_masked: bool = False, width: int = 0) -> bytes:
    """A frame with any first byte; `width` forces a longer form of its length."""
    mask = 0x80 if is_masked else 0
    if len(payload) < 126 and not width:
        head = bytes((first, mask | len(payload)))
    elif len(payload) < 1 << 16 and width < 8:
        head = bytes((first, mask | 126)) + struct.pack("!H", len(payload))
    else:
        head = bytes((first, mask | 127)) + struct.pack("!Q", len(payload))
    return head + (b"\0\0\0\0" if is_masked else b"") + payload


payloads = st.one_of(
    st.binary(max_size=20),
    st.text(max_size=20).map(str.encode),
    st.one_of(
        st.integers(100, LIMIT + 20),
        st.sampled_from([125, 126, FRAGMENT_LIMIT, FRAGMENT_LIMIT + 1, LIMIT - FRAGMENT_LIMIT + 1]),
    ).map(lambda size: b"x" * size),
    st.integers(0, 0xFFFF).map(lambda code: struct.pack("!H", code)),
)
whole = st.builds(frame, st.sampled_from([0x81, 0x82]), payloads, width=st.sampled_from([0, 0, 0, 2, 8]))
control = st.builds(frame, st.sampled_from([0x89, 0x8A]), st.binary(max_size=126))
close = st.builds(
    lambda code, reason: frame(0x88, struct.pack("!H", code) + reason),
    st.sampled_from([1000, 1001, 1005, 1011, 1013, 4000, 0]),
    st.text(max_size=5).map(str.encode) | st.just(b"\xff"),
) | st.just(frame(0x88, b""))
fragments = st.builds(
    lambda first, parts, between: (
        frame(first, parts[0])
        + b"".join(between[i % len(between)] + frame(0, part) for i, part in enumerate(parts[1:-1]))
        + frame(0x80, parts[-1])
    ),
    st.sampled_from([0x01, 0x02]),
    st.lists(payloads, min_size=2, max_size=4),
    st.lists(control | st.just(b""), min_size=1, max_size=2),
)
split_text = st.builds(
    lambda text, at: frame(0x01, text.encode()[:at]) + frame(0x80, text.encode()[at:]),
    st.text(max_size=10),
    st.integers(0, 10),
)
any_frame = st.builds(
    frame, st.integers(0, 255), payloads, is_masked=st.booleans(), width=st.sampled_from([0, 2, 8])
)
compressed = st.builds(
    lambda opcode, data: Frame(opcode, data).serialize(
        mask=False, extensions=[PerMessageDeflate(True, True, 12, 12)]
    ),
    st.sampled_from([Opcode.TEXT, Opcode.BINARY]),
    st.text(max_size=50).map(str.encode),
)
oversized = st.sampled_from([0x01, 0x80, 0x81, 0x82, 0x89]).map(
    lambda first: bytes((first, 127)) + struct.pack("!Q", 1 << 40)
)
usual = st.one_of(whole, whole, whole, control, fragments, split_text, compressed)
streams = st.builds(
    lambda good, odd, tail, missing: b"".join([*good, odd, *tail])[: -missing or None],
    st.lists(usual, max_size=6),
    st.one_of(st.just(b""), usual, close, any_frame, oversized, st.binary(max_size=12)),
    st.lists(st.one_of(usual, close, any_frame), max_size=3),
    st.one_of(st.just(0), st.integers(0, 10), st.integers(0, 400)),
)


def split(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    return [stream[start:stop] for start, stop in pairwise(places)]


@settings(max_examples=1500, deadline=None)
@given(
    stream=streams,
    cuts=st.lists(st.integers(0, 4000), max_size=12),
    is_compressed=st.booleans(),
    has_ended=st.booleans(),
    closes=st.none() | st.integers(0, 12),
)
@example(frame(0x81, b"\xff") + frame(0x89, b"after"), [], False, True, None)
@example(frame(0x81, b"a") + frame(0x89, b"p") + frame(0x82, b"b"), [], False, True, None)
@example(frame(0x01, b"a") + frame(0x81, b"b"), [], False, True, None)
@example(bytes((0x83, 126)), [1], False, False, None)
@example(frame(0x01, b"x" * FRAGMENT_LIMIT) + frame(0, b"x" * FRAGMENT_LIMIT)[:9], [1], False, False, None)
@example(frame(0x81, b"x" * (FRAGMENT_LIMIT + 1)), [], False, True, None)
@example(frame(0x81, b"x" * FRAGMENT_LIMIT), [], False, True, None)
def test_the_fast_path_delivers_what_the_core_alone_delivers(stream, cuts, is_compressed, has_ended, closes):
    chunks = split(stream, cuts)
    closes_at = None
    if closes is not None and chunks:
        closes_at = sum(map(len, chunks[: closes % len(chunks)]))
    how = {"is_compressed": is_compressed, "has_ended": has_ended, "closes_at": closes_at}
    assert by_the_fast_path(chunks, **how) == by_the_core_alone(stream, **how)


@given(st.lists(whole.filter(lambda data: len(data) < FRAGMENT_LIMIT), min_size=1, max_size=5))
@settings(deadline=None)
def test_whole_frames_never_reach_the_core(frames):
    core = core_of(is_compressed=False)
    fed = []
    core.receive_data = fed.append
    reader = FrameReader((LIMIT, FRAGMENT_LIMIT), lambda message, size: None, lambda data: None, core)
    for data in frames:
        reader.feed(data)
    assert fed == []


def test_a_core_is_kept_only_while_it_remembers_something():
    reader = FrameReader((LIMIT, FRAGMENT_LIMIT), lambda message, size: None, lambda data: None)
    remembers = {
        frame(0x8A, b"pong"): False,
        frame(0x89, b"ping"): False,
        frame(0x01, b"begin"): True,
        frame(0x89, b"between"): True,
        frame(0x80, b"end"): False,
        frame(0x88, b""): True,
    }
    for data, is_kept in remembers.items():
        reader.feed(data)
        reader.rest()
        assert (reader.core is not None) is is_kept, data


@given(st.integers(127, 255))
def test_a_length_with_the_mask_bit_or_of_64_bits_is_not_taken_for_the_length_of_one_message(second):
    """A text frame whose second byte, read as a plain length, fits the bytes that arrived."""
    stream = bytes((0x81, second)) + b"a" * second
    how = {"is_compressed": False, "has_ended": False, "closes_at": None}
    assert by_the_fast_path([stream], **how) == by_the_core_alone(stream, **how)
