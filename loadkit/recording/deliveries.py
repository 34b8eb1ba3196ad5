"""How long writes take to reach those who watch: from the acknowledgement to each receipt.

The one who writes and those who watch are different users. What they know of a write meets here, in
their worker, on one clock. A write of another worker is not known, so its receipts do not count.
"""

from collections import deque
from collections.abc import Callable

__all__ = ["Deliveries"]

Record = Callable[[float, float], None]
"""Takes the moments of an acknowledgement and of a receipt."""

_REMEMBERED = 60.0
"""Seconds for which a write is remembered at least, and a receipt of an unknown write at most."""
_MOST = 200_000
"""Writes that are remembered for longer, so that a receipt that comes minutes late counts; 40 MB."""


class Deliveries:
    """The latest writes, by key, and receipts that came before their acknowledgement."""

    __slots__ = ("_acknowledged", "_early", "_unknown", "_written")

    def __init__(self) -> None:
        self._acknowledged: dict[object, float] = {}
        self._written: deque[tuple[float, object]] = deque()
        """The keys of the acknowledged writes, the oldest first."""
        self._early: dict[object, list[tuple[float, Record]]] = {}
        """Receipts of writes that are not acknowledged yet, or are other workers'."""
        self._unknown: deque[tuple[float, object]] = deque()
        """The keys of these receipts, the oldest first."""

    def acknowledged(self, key: object, at: float) -> None:
        """Note that a write was acknowledged; receipts before that took no time."""
        written = self._written
        written.append((at, key))
        self._acknowledged[key] = at
        while len(written) > _MOST and written[0][0] < at - _REMEMBERED:
            self._acknowledged.pop(written.popleft()[1], None)
        for moment, record in self._early.pop(key, ()):
            record(at, max(moment, at))

    def received(self, key: object, at: float, record: Record) -> None:
        """Note that a write reached somebody; `record` is called when its acknowledgement is known."""
        begun = self._acknowledged.get(key)
        if begun is not None:
            record(begun, at)
            return
        early, unknown = self._early.get(key), self._unknown
        if early is None:
            early = self._early[key] = []
            unknown.append((at, key))
            while unknown[0][0] < at - _REMEMBERED:
                self._early.pop(unknown.popleft()[1], None)
        early.append((at, record))
