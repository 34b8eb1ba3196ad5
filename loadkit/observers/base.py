"""The seam to whatever watches the service."""

from dataclasses import dataclass
from typing import Protocol

from loadkit.observers.measures import MeasureQuery
from loadkit.observers.observation import Observation
from loadkit.target import Address

__all__ = ["Observer", "ObserverSettings"]


@dataclass(frozen=True, slots=True)
class ObserverSettings:
    """What an environment says of its observer, with all references resolved."""

    url: Address
    """Where it is: ``http://127.0.0.1:9090``. Its credentials are sent and not shown."""
    measures: tuple[MeasureQuery, ...] = ()
    scrape_interval: float = 15.0
    """Seconds between scrapes, as the source is set to."""
    alerts_matching: str = ".+"
    """A regular expression of the names of the alerts that "no alert fires" speaks of."""


class Observer(Protocol):
    """A source of raw scrapes, set up with what it will be asked for."""

    def observe(self, start: float, end: float) -> dict[str, Observation]:
        """All named measures and free queries as they were from `start` to `end` (Unix seconds), by name or query.

        What cannot be told is said in `Observation.problem`; this never raises.
        """
        ...
