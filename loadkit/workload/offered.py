"""The maximum throughput that a load can offer, whatever the service."""

import math
from collections.abc import Iterable

from loadkit.workload.workload import Model, Workload

__all__ = ["needed", "offered"]

_MARGIN = 1.05
"""Ratio of offered arrivals to the limit, so that the random count differs from the limit."""


def offered(workload: Workload, level: float) -> float:
    """The maximum requests per second of a load at a level, however fast the service answers.

    Infinite where the plan does not determine it: users without think time or with a pace, and
    journeys, whose number of requests is unknown.
    """
    match workload.model:
        case Model.CLOSED:
            return level / workload.think.mean if workload.think.mean and not workload.pace else math.inf
        case Model.REQUESTS:
            return level
        case Model.JOURNEYS:
            return math.inf


def needed(workloads: Iterable[Workload], limit: float) -> float:
    """Requests per second that loads must offer together for a limit on throughput to be judged.

    Arrivals are random: an offer equal to the limit cannot be distinguished from a lower one.
    """
    is_open = all(workload.model is not Model.CLOSED for workload in workloads)
    return _MARGIN * limit if is_open else limit
