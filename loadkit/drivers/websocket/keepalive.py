"""The pings of a connection: their round trip, and whether the connection is half-open."""

import random
from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import Protocol

from loadkit.drivers.websocket.alarms import GRID, Alarms
from loadkit.drivers.websocket.record import ConnectionRecord

__all__ = ["Keepalive", "Pinged", "Pings"]


_LATE = 2 * GRID
"""An alarm that is later than this, in seconds, shows that the loop did not read in time."""


@dataclass(frozen=True, slots=True)
class Keepalive:
    """How often a connection is pinged. A half-open one is found within the sum of both times."""

    every: float
    """Seconds from a pong to the next ping; infinite for no pings."""
    timeout: float
    """Seconds without any data after a ping, after which the connection is half-open."""


class Pinged(Protocol):
    """The part of a connection that `Pings` uses."""

    def ping(self, payload: bytes) -> None:
        """Send a ping."""
        ...

    def is_silent_since(self, moment: float) -> bool:
        """Has nothing arrived since a moment of the monotonic clock, while the socket was read?"""
        ...

    def fail_half_open(self, at: float) -> None:
        """End the connection, because nothing arrived after a ping."""
        ...


class Pings:
    """The pings of one connection. At most one ping is open at a time."""

    __slots__ = (
        "_alarm",
        "_alarms",
        "_has_waited",
        "_keepalive",
        "_number",
        "_pinged",
        "_record",
        "_sent_at",
    )

    def __init__(
        self,
        alarms: Alarms,
        pinged: Pinged,
        record: ConnectionRecord,
        keepalive: Keepalive,
    ) -> None:
        """Begin with a connection that has just opened."""
        self._alarms = alarms
        self._pinged = pinged
        self._record = record
        self._keepalive = keepalive
        self._number = 0
        """The number of the last ping, counted from 1."""
        self._sent_at = 0.0
        """When the open ping was sent, whose pong has not arrived; 0 for none."""
        self._alarm: int | None = None
        self._has_waited = False
        """Was the alarm for this ping late, and therefore set again until the sockets are read?"""
        if keepalive.every != inf:
            # Connections that opened together do not ping together.
            self._set_alarm(keepalive.every * random.uniform(0.5, 1.0))

    @property
    def sent(self) -> int:
        """The number of pings sent."""
        return self._number

    def answered(self, payload: bytes, at: float) -> None:
        """Note a pong that arrived at `at`. A pong that answers no open ping is ignored."""
        if self._sent_at and payload == self._payload():
            self._record.pinged(self._sent_at, at)
            self._sent_at = 0.0
            if self._alarm is not None:
                self.stop()
                self._set_alarm(self._keepalive.every)

    def stop(self) -> None:
        """Cancel the next alarm, so that no ping follows; for the end of the connection."""
        if self._alarm is not None:
            self._alarms.cancel(self._alarm, self)
            self._alarm = None

    def _set_alarm(self, seconds: float) -> None:
        self._alarm = self._alarms.set(monotonic() + seconds, self)

    def ring(self) -> None:
        """Check the last ping, and send the next one."""
        now = monotonic()
        if self._sent_at:
            if self._alarm is not None and now - self._alarm * GRID > _LATE and not self._has_waited:
                # The event loop stood still. Before the next alarm, it reads the data that arrived
                # meanwhile.
                self._has_waited = True
                self._set_alarm(GRID)
                return
            self._record.ping_failed(self._sent_at, now)
            if self._pinged.is_silent_since(self._sent_at):
                self._pinged.fail_half_open(now)
                return
        self._number += 1
        self._sent_at = now
        self._has_waited = False
        self._pinged.ping(self._payload())
        self._set_alarm(self._keepalive.timeout)

    def _payload(self) -> bytes:
        return self._number.to_bytes(4)
