"""The maximum throughput that a load can offer to any service."""

import math
from collections.abc import Iterable

from loadkit.workload.workload import Model, Workload

__all__ = ["needed", "offered"]

_MARGIN = 1.05
"""Required ratio of offered arrivals to the limit, because the number of arrivals is random."""


def offered(workload: Workload, level: float) -> float:
    """The maximum requests per second of a load at a level, however fast the service answers.

    It is infinite if the plan does not determine it. This is so for users without think time or
    with a pace, and for journeys, whose number of requests is unknown.
    """
    match workload.model:
        case Model.CLOSED:
            return level / workload.think.mean if workload.think.mean and not workload.pace else math.inf
        case Model.REQUESTS:
            return level
        case Model.JOURNEYS:
            return math.inf


def needed(workloads: Iterable[Workload], limit: float) -> float:
    """The requests per second that all loads must offer, so that a throughput limit can be judged.

    Open arrivals are random. An offer equal to the limit cannot be distinguished from a lower one.
    """
    is_open = all(workload.model is not Model.CLOSED for workload in workloads)
    return _MARGIN * limit if is_open else limit
