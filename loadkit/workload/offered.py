"""What a load offers at most: a throughput beyond it can be judged of no service."""

import math
from collections.abc import Iterable

from loadkit.workload.workload import Model, Workload

__all__ = ["needed", "offered"]

_MARGIN = 1.05
"""Times the limit that arrivals must offer, so that a throughput can be told from it."""


def offered(workload: Workload, level: float) -> float:
    """Requests per second that a level of a load makes at most, however fast the service is.

    Infinite where the plan alone does not tell: users who do not think or who keep a pace, and
    journeys, which make as many requests as they like.
    """
    match workload.model:
        case Model.CLOSED:
            return level / workload.think.mean if workload.think.mean and not workload.pace else math.inf
        case Model.REQUESTS:
            return level
        case Model.JOURNEYS:
            return math.inf


def needed(workloads: Iterable[Workload], limit: float) -> float:
    """Requests per second that loads must offer together to judge a limit on throughput.

    Arrivals come at random: as many as the limit cannot be told from fewer.
    """
    is_open = all(workload.model is not Model.CLOSED for workload in workloads)
    return _MARGIN * limit if is_open else limit
