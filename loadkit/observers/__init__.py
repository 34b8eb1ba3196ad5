"""Where figures of the service come from, other than from the load itself."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from loadkit.grammar import ALERTS
from loadkit.observers.base import Observer

if TYPE_CHECKING:
    from loadkit.environment.environment import Testbed

__all__ = ["Observer", "observer_of"]


def observer_of(testbed: "Testbed", queries: Iterable[str] = ()) -> Observer | None:
    """Who watches an environment's service, as its file says; None where nobody does.

    Args:
        testbed: the environment, up.
        queries: free PromQL that sentences ask for, besides the measures of the file, or alerts as `grammar.observed_as` names them.

    """
    # Imported where it is used: it takes the judging of gauges with it, which a run without an observer does not need.
    from loadkit.observers.prometheus import PrometheusObserver

    environment = testbed.environment
    settings = environment.settings
    if testbed.observer is None or settings.observer is None:
        return None
    asked = tuple(queries)
    return PrometheusObserver(
        testbed.observer,
        environment.measures,
        tuple(query for query in asked if query.partition(":")[0] != ALERTS),
        scrape_interval=settings.observer.scrape_interval,
        alerts={
            query: re.escape(query.partition(":")[2]) or settings.alerts_matching
            for query in asked
            if query.partition(":")[0] == ALERTS
        },
    )
