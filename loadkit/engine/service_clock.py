"""The offset between the service's clock and this machine's, measured by round trips.

A round trip gives the service's time between two moments of this machine. As in NTP (RFC 5905,
section 8), the offset is the service's time minus the middle of both, and its error is at most half
of the round trip. The quickest of several trips has the smallest error.
"""

import email.utils
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse

from loadkit.engine.uptime import http_connection, request_path
from loadkit.errors import ConfigurationError
from loadkit.target import Target

__all__ = ["Offset", "RoundTrip", "clock_facts", "offset_of", "service_offset"]

_TRIPS = 20
"""Round trips of one measurement."""
_FIELD, _HEADER = "time", "X-Time"


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """A request for the service's time. All fields are Unix seconds, except the last."""

    sent: float
    theirs: float
    """The service's time, from its answer."""
    received: float
    resolution: float = 0.0
    """Seconds by which the service's actual time may be later than its answer."""

    @property
    def offset(self) -> float:
        """Seconds by which the service's clock is ahead of this machine's."""
        return self.theirs + self.resolution / 2 - (self.sent + self.received) / 2

    @property
    def error(self) -> float:
        """The maximum error of `offset`, in seconds."""
        return (self.received - self.sent + self.resolution) / 2


@dataclass(frozen=True, slots=True)
class Offset:
    """How far the service's clock is ahead of this machine's clock."""

    seconds: float
    uncertainty: float
    """The maximum error of `seconds`, in seconds."""

    def until(self, later: "Offset") -> dict[str, float]:
        """The offset, drift and uncertainty from this measurement to a later one, in seconds.

        Message times are corrected by this offset. So the drift until the later measurement is
        part of the error.
        """
        drift = later.seconds - self.seconds
        return {
            "offset": self.seconds,
            "drift": drift,
            "uncertainty": max(self.uncertainty, later.uncertainty) + abs(drift),
        }


def offset_of(trips: Sequence[RoundTrip]) -> Offset:
    """The offset from the quickest round trip.

    Instances of a service may have different clocks. If other trips contradict the quickest one,
    the uncertainty is increased until it agrees with them.
    """
    quickest = min(trips, key=lambda trip: trip.error)
    beyond = max(abs(trip.offset - quickest.offset) - trip.error for trip in trips)
    return Offset(quickest.offset, max(quickest.error, beyond))


def service_offset(target: Target, now: Callable[[], float] = time.time) -> Offset:
    """Measure the offset. Request the service's time several times over one connection.

    Raises:
        ConfigurationError: its answer contains no time.
        OSError, HTTPException: it does not answer.

    """
    return offset_of(list(_trips(target, now)))


def _trips(target: Target, now: Callable[[], float]) -> Iterator[RoundTrip]:
    path = request_path(target, target.clock)
    with closing(http_connection(target)) as connection:
        for _ in range(_TRIPS):
            if connection.sock is None:
                connection.connect()  # the connect time is not part of the round trip
            sent = now()
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
            received = now()
            theirs, resolution = _time_in(answer, body, target)
            yield RoundTrip(sent, theirs, received, resolution)


def _time_in(answer: HTTPResponse, body: bytes, target: Target) -> tuple[float, float]:
    """The service's time in an answer, and its resolution in seconds."""
    try:
        given = json.loads(body)
        if isinstance(given, dict) and _FIELD in given:
            return float(given[_FIELD]), 0.0
    except (ValueError, TypeError):
        pass  # a header may contain the time
    try:
        if (header := answer.getheader(_HEADER)) is not None:
            return float(header), 0.0
        if (date := answer.getheader("Date")) is not None:
            return email.utils.parsedate_to_datetime(date).timestamp(), 1.0
    except ValueError:
        pass
    raise ConfigurationError(
        f"{target.base}{target.clock} tells no time (status {answer.status}); [messages] clock expects a path "
        f'that answers with a JSON field such as "{_FIELD}": 1790000000.123, or with a header {_HEADER} or Date'
    )


def clock_facts(target: Target, before: Offset | None) -> dict[str, dict[str, float]]:
    """The facts about the service's clock at the end of a load; empty if they are unknown.

    Args:
        target: the service.
        before: the offset that was measured before the load; None if it was not measured.

    """
    if before is None:
        return {"clock": {"uncertainty": 0.0}} if target.shares_clock else {}
    try:
        return {"clock": before.until(service_offset(target))}
    except (ConfigurationError, OSError, HTTPException):
        return {}
