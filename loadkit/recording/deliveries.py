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
"""Seconds for which a write is remembered."""


class Deliveries:
    """The writes of the last minute, by key, and their receipts that came first."""

    __slots__ = ("_acknowledged", "_early", "_keys")

    def __init__(self) -> None:
        self._acknowledged: dict[object, float] = {}
        self._early: dict[object, list[tuple[float, Record]]] = {}
        """Receipts of writes that are not acknowledged yet, or are other workers'."""
        self._keys: deque[tuple[float, object]] = deque()

    def acknowledged(self, key: object, at: float) -> None:
        """Note that a write was acknowledged; receipts before that took no time."""
        self._remember(key, at)
        self._acknowledged[key] = at
        for moment, record in self._early.pop(key, ()):
            record(at, max(moment, at))

    def received(self, key: object, at: float, record: Record) -> None:
        """Note that a write reached somebody; `record` is called when its acknowledgement is known."""
        begun = self._acknowledged.get(key)
        if begun is not None:
            record(begun, at)
            return
        early = self._early.get(key)
        if early is None:
            self._remember(key, at)
            early = self._early[key] = []
        early.append((at, record))

    def _remember(self, key: object, at: float) -> None:
        keys = self._keys
        keys.append((at, key))
        while keys[0][0] < at - _REMEMBERED:
            _, old = keys.popleft()
            self._acknowledged.pop(old, None)
            self._early.pop(old, None)
