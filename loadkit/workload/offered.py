"""What a load offers at most: a throughput beyond it can be judged of no service."""

import math
from collections.abc import Iterable

from loadkit.workload.workload import Model, Workload

__all__ = ["needed", "offered"]

_MARGIN = 1.05
"""How many times a throughput must be offered by arrivals, so that it can be told from the limit."""


def offered(workload: Workload, level: float) -> float:
    """Requests per second that a level of a load brings about at most, however fast the service answers.

    Infinite where the plan alone does not tell: users who do not think or who keep a pace, and journeys, which make as
    many requests as they like.
    """
    match workload.model:
        case Model.CLOSED:
            return level / workload.think.mean if workload.think.mean and not workload.pace else math.inf
        case Model.REQUESTS:
            return level
        case Model.JOURNEYS:
            return math.inf


def needed(workloads: Iterable[Workload], limit: float) -> float:
    """Requests per second that loads must offer together, so that a throughput can be held against a limit.

    Arrivals come at random: as many as the limit cannot be told from fewer.
    """
    is_open = all(workload.model is not Model.CLOSED for workload in workloads)
    return _MARGIN * limit if is_open else limit
