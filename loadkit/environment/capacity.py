"""How much load this machine carries, with the environment's parts on it: from a small load.

A small load shows how much processor time one operation takes from each part: the load generator,
the environment's named parts and the kernel. What the parts take without the load does not depend
on it and is deducted first. The machine is full when at most 5 % of it is idle::

    operations per second = (95 % of the processors - others - at rest) / time per operation

The time per operation falls at a higher load: more is done per waking. So the result of a small
load is on the safe side, and what is possible reaches further above it than below. It assumes that every processor can be used: a part that is limited to one
processor reaches its own limit earlier on a machine with many.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from loadkit.observers.machine import Process, Snapshot, Use
from loadkit.workload.plan import Plan

__all__ = [
    "FULL",
    "OTHER_PARTS",
    "THE_ENVIRONMENT",
    "Capacity",
    "Spending",
    "capacity_of",
    "parts_of",
    "rounded",
    "spending",
]

FULL = 0.95
"""The share of the processors in use at which the machine counts as full."""
OTHER_PARTS = "other parts"
"""The processes of the environment that are none of its named parts."""
THE_ENVIRONMENT = "the environment"
"""Its processes, if none of its parts has a name."""
_SERVICE = "the service"
"""All instances of the service together."""
_MOST = 0.6
"""The parts that take most of the time per operation take at least this share of it."""
_OTHERS = 0.1
"""A larger share of the machine that others take is stated."""
_ACCURACY = 0.15
"""Repeated measurements differ by this ratio."""
_FALL = 0.3
"""The time per operation falls as a power of the rate, with at most this exponent.

It was measured on two processors, from 120 to 1250 operations per second."""
_NAMED = 3
"""The number of parts that a sentence names."""


def parts_of(facts: Mapping[str, Any]) -> dict[int, str]:
    """The named parts of an environment: the process id of each with its name.

    Args:
        facts: the report of its control command. "parts" is a table of names with their "pid",
            "instances" a list of the service's instances with their "pid"; both are optional.

    """
    parts, instances = facts.get("parts"), facts.get("instances")
    rows = [
        *(parts.items() if isinstance(parts, Mapping) else ()),
        *((_SERVICE, each) for each in (instances if isinstance(instances, list) else ())),
    ]
    return {each["pid"]: name for name, each in rows if isinstance(each, Mapping) and _is_pid(each)}


def _is_pid(fact: Mapping[str, Any]) -> bool:
    return type(fact.get("pid")) is int


@dataclass(frozen=True, slots=True)
class Spending:
    """The processors of a machine that each part took between two snapshots, as a number of them."""

    by_part: Mapping[str, float]
    """The parts of the environment by name, "load generator" and "kernel"."""
    others: float
    """All other processes."""
    steal: float
    """What the host of a virtual machine took."""
    cores: int


def spending(before: Snapshot, after: Snapshot, roots: Mapping[int, str]) -> Spending:
    """Assign the processor time between two snapshots.

    Args:
        before: the earlier snapshot.
        after: the later one.
        roots: process ids with the name of their part. It covers their descendants, except those of
            another root.

    """
    seconds = after.time - before.time
    earlier, later = (_totals(each, roots) for each in (before, after))
    taken = {
        name: max(0.0, later.get(name, 0.0) - earlier.get(name, 0.0)) / seconds
        for name in dict.fromkeys([*roots.values(), Use.KERNEL])
    }
    threads = taken.pop(Use.KERNEL)
    parts = sum(taken.values())
    # The machine counts in ticks, and processes exactly: the difference may be below 0.
    others = max(0.0, (after.busy - before.busy) / seconds - parts - threads)
    # The kernel works for all processes: the parts have a share of it as of the other time.
    kernel = threads + (after.interrupts - before.interrupts) / seconds
    own = kernel * parts / (parts + others) if parts + others > 0 else 0.0
    steal = (after.steal - before.steal) / seconds
    return Spending({**taken, Use.KERNEL: own}, others + kernel - own, steal, after.cores)


def _totals(snapshot: Snapshot, roots: Mapping[int, str]) -> Mapping[str, float]:
    """Processor seconds by part. A child that ends moves its time to its parent, so nothing is lost."""
    totals: dict[str, float] = defaultdict(float)
    for process in snapshot.processes.values():
        name = Use.KERNEL if process.is_kernel else _part(process, snapshot, roots)
        if name:
            totals[name] += process.own + process.reaped
    return totals


def _part(process: Process, snapshot: Snapshot, roots: Mapping[int, str]) -> str:
    """The part of the nearest ancestor that is a root; empty for none."""
    at: Process | None = process
    passed: set[int] = set()
    while at is not None and at.pid not in passed:
        if at.pid in roots:
            return roots[at.pid]
        passed.add(at.pid)
        at = snapshot.processes.get(at.parent)
    return ""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a machine carries of one load."""

    costs: Mapping[str, float]
    """Processor seconds per operation by part, the largest first."""
    at_rest: float
    """Processors that the parts take without load."""
    others: float
    """Processors that other processes take, and the host of a virtual machine."""
    cores: int
    level: float
    """The level of the load that has `rate` operations: users, or arrivals per second, in all."""
    rate: float
    """Operations per second at which it was measured."""
    is_here: bool = True
    """Do the environment's parts run on this machine? If not, the costs are the generator's alone."""

    @property
    def cost(self) -> float:
        """Processor seconds per operation of all parts together."""
        return sum(self.costs.values())

    @property
    def operations(self) -> float:
        """Operations per second at which the machine is full; 0 if it is full without load."""
        free = FULL * self.cores - self.others - self.at_rest
        return max(0.0, free) / self.cost if self.cost > 0 else math.inf

    @property
    def largest_level(self) -> float:
        """The level of the load, as of `level`, at which the machine is full."""
        return self.level * self.operations / self.rate

    @property
    def range(self) -> tuple[float, float]:
        """The lowest and the highest level at which the machine may be full."""
        level = self.largest_level
        further = max(1.0, self.operations / self.rate) ** _FALL
        return (1 - _ACCURACY) * level, (1 + _ACCURACY) * further * level

    @property
    def largest_parts(self) -> tuple[str, ...]:
        """The fewest parts that take most of the time per operation; at most three."""
        return tuple(self._largest())[:_NAMED]

    def _largest(self) -> Iterator[str]:
        sum_of_costs = 0.0
        for name, cost in self.costs.items():
            if sum_of_costs >= _MOST * self.cost:
                return
            sum_of_costs += cost
            yield name

    def level_in_words(self, plan: Plan) -> str:
        """The largest level of a plan's populations: "700 users (600 to 920)".

        Several populations are joined: "700 users (600 to 920) + 35 admin users (30 to 46)".
        """
        peaks = [population.workload.peak for population in plan.populations]
        levels = [
            [peak * level / sum(peaks) for level in (self.largest_level, *self.range)] for peak in peaks
        ]
        return " + ".join(
            population.level_in_words(rounded(level))
            + (f" ({rounded(least)} to {rounded(most)})" if math.isfinite(level) else "")
            for population, (level, least, most) in zip(plan.populations, levels, strict=True)
        )

    def in_words(self, plan: Plan) -> str:
        """For a plan: "about 700 users (600 to 920) before this machine is full; postgres takes …"."""
        if self.largest_level < 1:
            return "this machine is full without load"
        *first, last = self.largest_parts
        parts = f"{', '.join(first)} and {last} take" if first else f"{last} takes"
        said = f"about {self.level_in_words(plan)} before this machine is full; {parts} most of it"
        taken = self.others / self.cores
        return said + (f"; others take {100 * taken:.0f} % of it now" if taken > _OTHERS else "")


def capacity_of(
    at_rest: Spending,
    loaded: Spending,
    operations: tuple[float, float],
    level: float,
    *,
    is_here: bool = True,
) -> Capacity:
    """The capacity from two measurements.

    Args:
        at_rest: without the load, or almost.
        loaded: with it.
        operations: operations per second in the two measurements; the second is more.
        level: users, or arrivals per second, that have the operations of the second measurement.
        is_here: do the environment's parts run on this machine?

    Raises:
        ValueError: the second measurement has no more operations than the first.

    """
    few, many = operations
    if many <= few:
        raise ValueError(f"expected more operations with the load than without: {many:g} and {few:g}")
    costs = {
        name: max(0.0, processors - at_rest.by_part.get(name, 0.0)) / (many - few)
        for name, processors in loaded.by_part.items()
    }
    costs = dict(sorted(costs.items(), key=lambda row: -row[1]))
    # The few operations of the first measurement are no part of what is taken at rest.
    idle = max(0.0, sum(at_rest.by_part.values()) - few * sum(costs.values()))
    return Capacity(
        costs,
        at_rest=idle,
        others=loaded.others + loaded.steal,
        cores=loaded.cores,
        level=level,
        rate=many,
        is_here=is_here,
    )


def rounded(number: float) -> str:
    """A number with two significant digits: 743 as "740"; a measurement of seconds tells no more."""
    if not math.isfinite(number):
        return "any number of"
    digits = max(0, math.floor(math.log10(abs(number))) - 1) if number else 0
    return f"{round(number, -digits):.0f}"
