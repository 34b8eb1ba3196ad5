"""Finds gaps, duplicates and disorder in the sequence numbers of streams."""

from bisect import bisect_right
from typing import NamedTuple

__all__ = ["Irregularity", "Stream", "StreamLedger"]

Stream = str | int
"""The name of a stream."""

_MOST_GAPS = 1000
"""Most open gaps of a stream that are remembered, so that memory is bounded."""


class Irregularity(NamedTuple):
    """The findings from a message with an unexpected number; each field is a number of messages."""

    missing: int = 0
    """Messages left out before this one."""
    filled: int = 0
    """1 if this message was missing until now."""
    doubled: int = 0
    """1 if this message arrived before."""
    out_of_order: int = 0
    """1 if this message follows one with a higher number over the same connection."""
    untold: int = 0
    """1 if this message is too old to tell whether it was missing or arrived before."""


class _Gaps:
    """The missing numbers of a stream, as ranges."""

    __slots__ = ("floor", "starts", "stops")

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.stops: list[int] = []
        self.floor = 0
        """Gaps that end at or below this number may no longer be remembered."""

    def add(self, start: int, stop: int) -> None:
        """Add numbers that are higher than all before: start <= n < stop."""
        self.starts.append(start)
        self.stops.append(stop)
        if len(self.starts) > _MOST_GAPS:
            del self.starts[0]
            self.floor = self.stops.pop(0)

    def fill(self, number: int) -> bool:
        """Remove a number; was it missing?"""
        place = bisect_right(self.starts, number) - 1
        if place < 0 or number >= self.stops[place]:
            return False
        start, stop = self.starts[place], self.stops[place]
        parts = [(low, high) for low, high in ((start, number), (number + 1, stop)) if low < high]
        self.starts[place : place + 1] = [low for low, _ in parts]
        self.stops[place : place + 1] = [high for _, high in parts]
        return True


class StreamLedger:
    """The numbers that one client received, by stream; it may outlive a connection.

    The first message of a stream begins it. A message with a lower number than the first one can
    only count as out of order.
    """

    __slots__ = ("_firsts", "_gaps", "_latest", "following")

    def __init__(self) -> None:
        self.following: dict[Stream, int] = {}
        """The next expected number, by stream.

        For an expected message, a caller may advance it itself instead of calling `note`."""
        self._firsts: dict[Stream, int] = {}
        self._gaps: dict[Stream, _Gaps] = {}
        self._latest: dict[Stream, tuple[int, int]] = {}
        """Streams whose highest number over this connection is not their highest number of all.

        The values are the former, and the next expected number at that time."""

    @property
    def missing(self) -> int:
        """Numbers that are missing now and are remembered."""
        return sum(
            stop - start
            for gaps in self._gaps.values()
            for start, stop in zip(gaps.starts, gaps.stops, strict=True)
        )

    def begin(self, stream: Stream, after: int) -> int:
        """Note that the service continues a stream after a number.

        If the stream has already begun with higher numbers, nothing changes.

        Returns:
            the number of messages that this leaves out.

        """
        expected = self.following.get(stream)
        if expected is None:
            self._firsts[stream] = self.following[stream] = after + 1
        elif expected <= after:
            self._gaps_of(stream).add(expected, after + 1)
            self.following[stream] = after + 1
            return after + 1 - expected
        return 0

    def reconnected(self) -> None:
        """Note that further messages come over a new connection, which has its own order."""
        self._latest = {stream: (-1, number) for stream, number in self.following.items()}

    def note(self, stream: Stream, number: int) -> Irregularity | None:
        """Note a message; None if it is the first of its stream or continues it."""
        expected = self.following.get(stream)
        if expected is None:
            self._firsts[stream] = number
        if expected is None or number == expected:
            self.following[stream] = number + 1
            return None
        if number > expected:
            self._gaps_of(stream).add(expected, number)
            self.following[stream] = number + 1
            return Irregularity(missing=number - expected)
        return self._earlier(stream, number, expected)

    def _earlier(self, stream: Stream, number: int, expected: int) -> Irregularity:
        latest, as_of = self._latest.get(stream, (expected - 1, expected))
        if as_of != expected:
            latest = expected - 1  # the stream has continued since
        self._latest[stream] = max(latest, number), expected
        out_of_order = int(number < latest)
        if number < self._firsts[stream]:
            return Irregularity(out_of_order=out_of_order)
        gaps = self._gaps.get(stream)
        if gaps is not None and gaps.fill(number):
            return Irregularity(filled=1, out_of_order=out_of_order)
        if gaps is not None and number < gaps.floor:
            return Irregularity(out_of_order=out_of_order, untold=1)
        return Irregularity(doubled=1)  # a duplicate has no order

    def _gaps_of(self, stream: Stream) -> _Gaps:
        found = self._gaps.get(stream)
        if found is None:
            found = self._gaps[stream] = _Gaps()
        return found
