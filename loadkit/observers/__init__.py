"""Where figures of the service come from, other than from the load itself."""

import re
from collections.abc import Iterable

from loadkit.grammar import ALERTS
from loadkit.observers.base import Observer, ObserverSettings
from loadkit.observers.prometheus import PrometheusObserver

__all__ = ["Observer", "ObserverSettings", "observer_of"]


def observer_of(settings: ObserverSettings | None, queries: Iterable[str] = ()) -> Observer | None:
    """Who watches a service; None where nobody does.

    Args:
        settings: what its environment says of that.
        queries: free PromQL that sentences ask for, besides the measures of the environment, or alerts as
            `grammar.observed_as` names them.

    """
    if settings is None:
        return None
    asked = tuple(queries)
    return PrometheusObserver(
        settings.url,
        settings.measures,
        tuple(query for query in asked if query.partition(":")[0] != ALERTS),
        scrape_interval=settings.scrape_interval,
        alerts={
            query: re.escape(query.partition(":")[2]) or settings.alerts_matching
            for query in asked
            if query.partition(":")[0] == ALERTS
        },
    )
