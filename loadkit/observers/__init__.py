"""Sources of service metrics other than the load generator."""

import re
from collections.abc import Iterable

from loadkit.grammar import ALERTS
from loadkit.observers.base import Observer, ObserverSettings
from loadkit.observers.machine import HOSTS
from loadkit.observers.prometheus import PrometheusObserver

__all__ = ["Observer", "ObserverSettings", "observer_of"]


def observer_of(settings: ObserverSettings | None, queries: Iterable[str] = ()) -> Observer | None:
    """The observer of a service; None without settings.

    Args:
        settings: the observer settings of the environment.
        queries: free PromQL in sentences, or alerts as `grammar.observed_as` names them. The
            measures of the environment are always observed.

    """
    if settings is None:
        return None
    queries = tuple(queries)
    return PrometheusObserver(
        settings.url,
        settings.measures,
        tuple(query for query in queries if query.partition(":")[0] != ALERTS),
        scrape_interval=settings.scrape_interval,
        alerts={
            query: re.escape(query.partition(":")[2]) or settings.alerts_matching
            for query in queries
            if query.partition(":")[0] == ALERTS
        },
        hosts={f"{HOSTS}{figure}": query for figure, query in settings.hosts.items()},
    )
