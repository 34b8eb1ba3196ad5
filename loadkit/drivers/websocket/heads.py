"""The newest number of each stream that is known in a worker, now and some seconds ago.

A gap in the numbers shows a lost message only when a later one arrives. If messages are lost at the
end of a subscription, only the numbers that others know show this.
"""

from collections import deque
from collections.abc import Iterable, Mapping

from loadkit.drivers.websocket.ledger import Stream

__all__ = ["StreamHeads"]

_IN_FLIGHT = 1.0
"""Seconds before the end of a subscription; messages published then need not have arrived."""
_EVERY = 0.9
"""Least seconds between two snapshots."""

Following = Mapping[Stream, int]
"""The next expected number, by stream."""


class StreamHeads:
    """The next number of each stream, known from subscribers' messages and publishers' answers.

    Streams of different tenants are different streams.
    """

    __slots__ = ("_followed", "_heads", "_past", "_patience")

    def __init__(self) -> None:
        self._followed: dict[int, tuple[str, Following]] = {}
        """Open subscriptions: tenant and next expected numbers, by the identity of the latter."""
        self._heads: dict[tuple[str, Stream], int] = {}
        self._past: deque[tuple[float, dict[tuple[str, Stream], int]]] = deque()
        self._patience = 0.0

    def follow(self, tenant: str, following: Following, patience: float) -> None:
        """Learn from a subscription. Messages later than `patience` seconds count as lost."""
        self._followed[id(following)] = (tenant, following)
        self._patience = max(self._patience, patience)

    def forget(self, following: Following) -> None:
        """Stop learning from a subscription, and keep what is known of it."""
        found = self._followed.pop(id(following), None)
        if found is not None:
            self._learn([found])

    def know(self, tenant: str, stream: Stream, number: int) -> None:
        """Note a number that the service has assigned, such as in an answer to a publisher."""
        if number >= self._heads.get((tenant, stream), 0):
            self._heads[tenant, stream] = number + 1

    def look(self, now: float) -> None:
        """Take a snapshot; called about once a second."""
        if self._past and now < self._past[-1][0] + _EVERY:
            return
        self._learn(self._followed.values())
        self._past.append((now, dict(self._heads)))
        while len(self._past) > 1 and self._past[1][0] <= now - self._patience - _IN_FLIGHT:
            self._past.popleft()

    def unseen(self, tenant: str, following: Following, at: float) -> tuple[int, int]:
        """Count the messages that a subscription that ended at `at` did not receive.

        Returns:
            the number of messages older than the patience, and of those younger than that and older
            than a second.

        """
        old, recent = self._heads_at(at - self._patience), self._heads_at(at - _IN_FLIGHT)
        lost = unknown = 0
        for stream, expected in following.items():
            known = max(old.get((tenant, stream), 0), expected)
            lost += known - expected
            unknown += max(recent.get((tenant, stream), 0) - known, 0)
        return lost, unknown

    def _learn(self, subscriptions: Iterable[tuple[str, Following]]) -> None:
        heads = self._heads
        for tenant, following in subscriptions:
            for stream, number in following.items():
                if number > heads.get((tenant, stream), 0):
                    heads[tenant, stream] = number

    def _heads_at(self, moment: float) -> Mapping[tuple[str, Stream], int]:
        """The newest snapshot that was taken at or before a moment."""
        return next((heads for at, heads in reversed(self._past) if at <= moment), {})
