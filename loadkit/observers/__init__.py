"""Where figures of the service come from, other than from the load itself."""

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from loadkit.errors import ConfigurationError
from loadkit.grammar import ALERTS
from loadkit.observers.base import Observer

if TYPE_CHECKING:
    from loadkit.environment.environment import Environment

__all__ = ["Observer", "observer_of"]


def observer_of(
    environment: "Environment", facts: Mapping[str, Any], queries: Iterable[str] = ()
) -> Observer | None:
    """Who watches an environment's service, as its file says; None where nobody does.

    Args:
        environment: whose.
        facts: what `Environment.up` returned.
        queries: free PromQL that sentences ask for, besides the measures of the file, or alerts as `grammar.observed_as` names them.

    Raises:
        ConfigurationError: there is no such kind of observer, or its address is missing.

    """
    # Imported where it is used: it takes the judging of gauges with it, which a run without an observer does not need.
    from loadkit.observers.prometheus import PrometheusObserver

    settings = environment.observer_settings(facts)
    if not settings:
        return None
    kind = settings.get("kind", "prometheus")
    if kind != "prometheus":
        raise ConfigurationError(
            f'{environment.file.name}: no observer of kind "{kind}"; expected "prometheus"'
        )
    if not settings.get("url"):
        raise ConfigurationError(
            f'{environment.file.name}: the observer needs url = "http://…", where Prometheus is'
        )
    asked = tuple(queries)
    return PrometheusObserver(
        str(settings["url"]),
        environment.measures,
        tuple(query for query in asked if query.partition(":")[0] != ALERTS),
        scrape_interval=float(settings.get("scrape_interval", 15.0)),
        alerts={
            query: re.escape(query.partition(":")[2]) or environment.alerts_matching
            for query in asked
            if query.partition(":")[0] == ALERTS
        },
    )
