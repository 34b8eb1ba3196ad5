"""The interface of observers: sources of service metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from loadkit.observers.machine import HostFigure
from loadkit.observers.measures import MeasureQuery
from loadkit.observers.observation import Observation
from loadkit.target import Address

__all__ = ["Observer", "ObserverSettings"]


@dataclass(frozen=True, slots=True)
class ObserverSettings:
    """The observer settings of an environment, with all references resolved."""

    url: Address
    """The address of the source: ``http://127.0.0.1:9090``. Credentials are sent but not
    printed."""
    measures: tuple[MeasureQuery, ...] = ()
    scrape_interval: float = 15.0
    """Seconds between scrapes, as configured in the source."""
    alerts_matching: str = ".+"
    """A regular expression for the names of the alerts that "no alert fires" covers."""
    hosts: Mapping[HostFigure, str] = field(default_factory=dict)
    """Queries for the figures of the service's machines; each returns one value per label
    "instance"."""


class Observer(Protocol):
    """A source of raw scrapes, configured with its queries."""

    @property
    def names(self) -> Sequence[str]:
        """The names of its measures and queries, which are the keys of the result of `observe`."""
        ...

    def observe(self, start: float, end: float) -> dict[str, Observation]:
        """Read all measures and free queries from `start` to `end` (Unix seconds).

        The result is by name or query. It never raises: `Observation.problem` states why an
        observation has no data.
        """
        ...
