"""The record of one connection: its opening, hold, end, pings and messages."""

from dataclasses import dataclass

from loadkit.drivers.base import Meter
from loadkit.drivers.canaries import TenantSearch
from loadkit.drivers.websocket.exchanges import ExchangeFormat, Origin, ended, received
from loadkit.recording.exact import own_canary
from loadkit.recording.examples import DeferredExchange
from loadkit.recording.messages import (
    BYTES_SENT,
    CONNECTIONS,
    DISCONNECTED,
    FOREIGN,
    LEAST_CONNECTIONS,
    MESSAGES_SENT,
    OPENED,
    UNANSWERED_CLOSES,
)
from loadkit.recording.sample import OK, Sample
from loadkit.recording.timing import LIFETIME, MESSAGE, PING, Timing

__all__ = ["ConnectionRecord", "Ending"]


@dataclass(frozen=True, slots=True)
class Ending:
    """How a connection ended."""

    kind: str
    """The outcome: "closed 1001", "half-open", "bad UTF-8" …; `OK` if the generator closed it."""
    code: int
    """The close code that the service sent, or 1006 if it sent none.

    If the generator closed or failed the connection, the code is the generator's."""
    reason: str
    at: float
    """When the bytes that ended it arrived, or its failure was detected; monotonic clock."""


class ConnectionRecord:
    """Counts one connection for its user's population."""

    __slots__ = (
        "_opened_at",
        "exchange_format",
        "is_recorded",
        "label",
        "meter",
        "origin",
        "population",
        "search",
    )

    def __init__(
        self,
        meter: Meter,
        label: str,
        exchange_format: ExchangeFormat,
        origin: Origin,
        search: TenantSearch | None = None,
    ) -> None:
        self.label = label
        self.search = search
        """Searches each message for other tenants' data; None if there is no canary to search."""
        self.exchange_format = exchange_format
        self.origin = origin
        """Its instance is known after the handshake."""
        self.meter = meter
        self.is_recorded = False
        """Has its user ever been recorded? A later pause of the record affects operations only."""
        self.population = meter.recorder
        """The record of its population; the hot path adds received messages and bytes to it."""
        self._opened_at = 0.0

    def begins(self) -> bool:
        """Has the record of its user begun by now?"""
        self.is_recorded = self.is_recorded or self.meter.is_recorded
        return self.is_recorded

    def count(self, name: str, number: int = 1) -> None:
        """Add to a counter of the current second."""
        if self.begins():
            self.population.counts[name] += number

    def opened(self, at: float) -> None:
        """Note the end of the handshake."""
        self._opened_at = at
        self._hold(1)
        self.count(OPENED)

    def ended(self, ending: Ending) -> None:
        """Note that either side closed the connection, or that it failed."""
        self._hold(-1)
        self.look_for_others(ending.reason, ending.at)
        self._sample(LIFETIME, ending.kind, self._opened_at, ending.at)
        if ending.kind != OK:
            self.count(DISCONNECTED + ending.kind)
            seconds = ending.at - self._opened_at
            exchange = (
                ended,
                self.exchange_format,
                self.origin,
                ending.kind,
                ending.code,
                ending.reason,
                seconds,
            )
            self.record_example(ending.kind, ending.at, LIFETIME, exchange)

    def look_for_others(self, message: str | bytes, at: float) -> None:
        """Search a message that arrived at `at` for the data of other tenants, and count a hit.

        A refused handshake and the reason of a close count as messages.
        """
        search = self.search
        if search is None:
            return
        if search.finds_own(message):
            self.population.counts[own_canary(search.tenant)] += 1
        tenant = search.found(message)
        if tenant:
            kind = f"{FOREIGN} ({tenant})"
            self.count(FOREIGN)
            self.count(kind)
            self.record_example(kind, at, MESSAGE, (received, self.exchange_format, self.origin, message))

    def record_example(self, kind: str, at: float, timing: Timing, exchange: DeferredExchange) -> None:
        """Keep a fault of the connection as an example of its kind.

        Args:
            kind: the name under which the fault is counted.
            at: when it happened; monotonic clock.
            timing: the timing that it belongs to.
            exchange: describes it as text.

        """
        if self.begins():
            meter = self.meter
            sample = Sample(self.label, kind, at, at, at, 0, meter.tenant, meter.region)
            meter.record_example(sample, timing, exchange)

    def close_was_not_answered(self) -> None:
        """Note that the service did not answer the generator's close frame in time."""
        self.count(UNANSWERED_CLOSES)

    def pinged(self, sent: float, answered: float) -> None:
        """Note a pong."""
        self._sample(PING, OK, sent, answered)

    def ping_failed(self, sent: float, at: float) -> None:
        """Note a ping that was not answered in time."""
        self._sample(PING, "timeout", sent, at)

    def sent(self, size: int) -> None:
        """Note a message of `size` bytes that was sent."""
        self.count(MESSAGES_SENT)
        self.count(BYTES_SENT, size)

    def _hold(self, change: int) -> None:
        gauges = self.meter.recorder.gauges
        gauges[CONNECTIONS] = held = gauges.get(CONNECTIONS, 0.0) + change
        gauges[LEAST_CONNECTIONS] = min(gauges.get(LEAST_CONNECTIONS, 0.0), held)

    def _sample(self, timing: Timing, outcome: str, start: float, end: float) -> None:
        if self.begins():
            meter = self.meter
            sample = Sample(self.label, outcome, start, start, end, 0, meter.tenant, meter.region)
            meter.recorder.timing(timing).samples.append(sample)
