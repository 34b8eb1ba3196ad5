"""The time that writes take to reach other users: from the acknowledgement to each receipt.

The user that writes and the users that watch are different. This module joins what both know of a
write, within their worker and on one clock. The writes of other workers are not known here, so
their receipts do not count.

A write that reaches nobody has no receipt. So each watching user registers the moment from which it
watches. A user has missed a write if it watched before the write was sent, and still watched one
time-out after the acknowledgement. If anybody receives the write before the end of the run, it is
late and not missed.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import inf

__all__ = ["UNREACHED", "Deliveries", "Follower"]

Record = Callable[[float, float], None]
"""A function that takes the moments of an acknowledgement and of a receipt."""

UNREACHED = "reached nobody"
"""The outcome of a delivery whose write was acknowledged but reached nobody in its worker."""

_REMEMBERED = 60.0
"""Seconds for which a write is remembered at least. A receipt of an unknown write is remembered for
the same time, or for the patience if that is longer."""
_MOST = 200_000
"""Number of writes that are remembered longer, so that a receipt that arrives minutes late counts;
40 MB."""


@dataclass(frozen=True, slots=True, eq=False)
class Follower:
    """A user that must receive the writes of its tenant."""

    since: float
    """The moment from which it follows, on the run's clock."""
    is_gone: Callable[[], bool]
    """Has it stopped following?"""
    missed: Callable[[float], None]
    """It is called with the moment of the acknowledgement of a write that reached nobody."""


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
        """Receipts of writes that are not acknowledged yet, or that other workers wrote."""
        self._unknown: deque[tuple[float, object]] = deque()
        """The keys of these receipts, the oldest first."""
        self._followers: dict[str, tuple[Follower, ...]] = {}
        """The followers by tenant."""
        self._patience = 0.0
        """Seconds within which a write must reach its followers."""
        self._unreached: dict[object, tuple[Follower, ...]] = {}
        """The remembered writes that have reached nobody, with the followers that had to receive
        them. The followers are known once the patience is over."""
        self._young: deque[tuple[float, float, str, object]] = deque()
        """Writes whose patience is not over: moments of acknowledgement and sending, tenant and
        key; the oldest first."""

    def follow(self, tenant: str, follower: Follower, patience: float) -> None:
        """Note a follower that further writes of a tenant must reach within `patience` seconds."""
        present = [each for each in self._followers.get(tenant, ()) if not each.is_gone()]
        self._followers[tenant] = (*present, follower)
        self._patience = max(self._patience, patience)

    def acknowledged(self, key: object, at: float, sent: float = -inf, tenant: str = "") -> None:
        """Note that a write was acknowledged. Earlier receipts of it count as taking no time.

        Args:
            key: identifies the write.
            at: when it was acknowledged.
            sent: when it was sent; minus infinity if that is not known.
            tenant: the tenant whose followers it must reach.

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
        """Tell the followers which writes they missed. Call it when nothing more is received."""
        self.find_overdue(now)
        while self._written:
            self._forget(*self._written.popleft())

    def find_overdue(self, now: float) -> None:
        """Find the followers that had to receive writes that reached nobody in time.

        The time is the patience. Call it often: a follower that left before the call does not count
        as having missed anything.
        """
        young = self._young
        while young and young[0][0] <= now - self._patience:
            _, sent, tenant, key = young.popleft()
            if key in self._unreached:
                followers = self._followers[tenant]
                due = tuple(each for each in followers if each.since <= sent and not each.is_gone())
                if due:
                    # Usually these are all. Such writes share one tuple, so many cost little.
                    self._unreached[key] = followers if len(due) == len(followers) else due
                else:
                    del self._unreached[key]

    def _forget(self, at: float, key: object) -> None:
        if self._acknowledged.get(key) == at:  # the key may have been acknowledged again
            del self._acknowledged[key]
        for follower in self._unreached.pop(key, ()):
            follower.missed(at)

    def received(self, key: object, at: float, record: Record) -> None:
        """Note that a write reached a user; `record` is called once the write is acknowledged."""
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
