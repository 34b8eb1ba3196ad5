"""A plan."""

from dataclasses import dataclass

from loadkit.workload.workload import Plan, Workload

__all__ = ["Plan", "Population"]


@dataclass(frozen=True, slots=True)
class Population:
    """One load of a plan."""

    name: str
    workload: Workload
    stated_level: float = 0.0
