"""How long writes take to reach those who watch: from the acknowledgement to each receipt.

The one who writes and those who watch are different users. What they know of a write meets here, in
their worker, on one clock. A write of another worker is not known, so its receipts do not count.

A write that reaches nobody has no receipt. So those who watch say from when on they do, and each of
them has missed a write if it surely had to receive it: it watched before the write was sent, and
still did a time-out after the acknowledgement. Until the end of the run, a receipt by anybody makes
the write late, and not missed.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import inf

__all__ = ["UNREACHED", "Deliveries", "Follower"]

Record = Callable[[float, float], None]
"""Takes the moments of an acknowledgement and of a receipt."""

UNREACHED = "reached nobody"
"""The outcome of a delivery whose write was acknowledged and reached nobody in its worker."""

_REMEMBERED = 60.0
"""Seconds for which a write is remembered at least, and a receipt of an unknown write at most."""
_MOST = 200_000
"""Writes that are remembered for longer, so that a receipt that comes minutes late counts; 40 MB."""


@dataclass(frozen=True, slots=True, eq=False)
class Follower:
    """A user whom the writes of its tenant must reach."""

    since: float
    """From when on; on the run's clock."""
    is_gone: Callable[[], bool]
    """Does it follow no longer?"""
    missed: Callable[[float], None]
    """Takes the moment of the acknowledgement of a write that reached nobody."""


class Deliveries:
    """The latest writes, by key, and receipts that came before their acknowledgement."""

    __slots__ = (
        "_acknowledged",
        "_early",
        "_followers",
        "_patience",
        "_unknown",
        "_unreached",
        "_written",
        "_young",
    )

    def __init__(self) -> None:
        self._acknowledged: dict[object, float] = {}
        self._written: deque[tuple[float, object]] = deque()
        """The keys of the acknowledged writes, the oldest first."""
        self._early: dict[object, list[tuple[float, Record]]] = {}
        """Receipts of writes that are not acknowledged yet, or are other workers'."""
        self._unknown: deque[tuple[float, object]] = deque()
        """The keys of these receipts, the oldest first."""
        self._followers: dict[str, tuple[Follower, ...]] = {}
        """By tenant."""
        self._patience = 0.0
        """Seconds within which a write must reach its followers."""
        self._unreached: dict[object, tuple[Follower, ...]] = {}
        """The remembered writes that have reached nobody, with those who had to receive them; these
        are known once the patience is over."""
        self._young: deque[tuple[float, float, str, object]] = deque()
        """Writes whose patience is not over: acknowledged, sent, tenant and key, the oldest first."""

    def follow(self, tenant: str, follower: Follower, patience: float) -> None:
        """Note somebody whom each further write of a tenant must reach within `patience` seconds."""
        present = [each for each in self._followers.get(tenant, ()) if not each.is_gone()]
        self._followers[tenant] = (*present, follower)
        self._patience = max(self._patience, patience)

    def acknowledged(self, key: object, at: float, sent: float = -inf, tenant: str = "") -> None:
        """Note that a write was acknowledged; receipts before that took no time.

        Args:
            key: identifies the write.
            at: when it was acknowledged.
            sent: when it was sent; minus infinity if that is not known.
            tenant: whose followers it must reach.

        """
        written, early = self._written, self._early.pop(key, ())
        if not early and tenant in self._followers and key not in self._acknowledged:
            self._unreached[key] = ()
            self._young.append((at, sent, tenant, key))
        written.append((at, key))
        self._acknowledged[key] = at
        self.find_overdue(at)
        while len(written) > _MOST and written[0][0] < at - _REMEMBERED:
            self._forget(*written.popleft())
        for moment, record in early:
            record(at, max(moment, at))

    def end(self, now: float) -> None:
        """Tell the followers what they have missed; nothing is received after that."""
        self.find_overdue(now)
        while self._written:
            self._forget(*self._written.popleft())

    def find_overdue(self, now: float) -> None:
        """Find who had to receive the writes that have reached nobody within the patience.

        Call it often: who has left before the call, had to receive nothing.
        """
        young = self._young
        while young and young[0][0] <= now - self._patience:
            _, sent, tenant, key = young.popleft()
            if key in self._unreached:
                followers = self._followers[tenant]
                due = tuple(each for each in followers if each.since <= sent and not each.is_gone())
                if due:
                    # Mostly all of them: such writes share a tuple, and many of them cost little.
                    self._unreached[key] = followers if len(due) == len(followers) else due
                else:
                    del self._unreached[key]

    def _forget(self, at: float, key: object) -> None:
        self._acknowledged.pop(key, None)
        for follower in self._unreached.pop(key, ()):
            follower.missed(at)

    def received(self, key: object, at: float, record: Record) -> None:
        """Note that a write reached somebody; `record` is called when its acknowledgement is known."""
        begun = self._acknowledged.get(key)
        if begun is not None:
            self._unreached.pop(key, None)
            record(begun, at)
            return
        early, unknown = self._early.get(key), self._unknown
        if early is None:
            early = self._early[key] = []
            unknown.append((at, key))
            while unknown[0][0] < at - max(_REMEMBERED, self._patience):
                self._early.pop(unknown.popleft()[1], None)
        early.append((at, record))
