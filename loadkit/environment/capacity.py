"""The load that this machine can carry, with the environment's parts on it, from a small load.

A small load shows how much processor time each part spends on one operation. The parts are the load
generator, the environment's named parts and the kernel. The processor time that they use without
the load does not depend on it and is subtracted first. The machine is full when at most 5 % of it
is idle::

    operations per second = (95 % of the processors - others - at rest) / time per operation

The time per operation falls at a higher load, because a process does more each time it wakes. So
the result of a small load is conservative, and its range extends further above it than below. The
result assumes that every processor can be used. On a machine with many processors, a part that is
limited to one of them reaches its own limit earlier.
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
    "CpuUsage",
    "capacity_of",
    "cpu_usage",
    "parts_of",
    "rounded",
]

FULL = 0.95
"""The share of the processors in use at which the machine counts as full."""
OTHER_PARTS = "other parts"
"""The processes of the environment that belong to none of its named parts."""
THE_ENVIRONMENT = "the environment"
"""The processes of the environment, if none of its parts has a name."""
_SERVICE = "the service"
"""All instances of the service together."""
_MOST = 0.6
"""The share of the time per operation that the largest parts take together, at least."""
_OTHERS = 0.1
"""If other processes take a larger share of the machine than this, the text states their share."""
_ACCURACY = 0.15
"""Repeated measurements differ by this ratio."""
_FALL = 0.3
"""The time per operation falls as a power of the rate, with at most this exponent.

It was measured on two processors, from 120 to 1250 operations per second."""
_NAMED = 3
"""The maximum number of parts that a sentence names."""


def parts_of(facts: Mapping[str, Any]) -> dict[int, str]:
    """The named parts of an environment: their names by process id.

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
class CpuUsage:
    """The processor use of each part between two snapshots, as a number of processors."""

    by_part: Mapping[str, float]
    """The parts of the environment by name, "load generator" and "kernel"."""
    others: float
    """All other processes."""
    steal: float
    """Processors that the host of a virtual machine took."""
    cores: int


def cpu_usage(before: Snapshot, after: Snapshot, roots: Mapping[int, str]) -> CpuUsage:
    """Assign the processor time between two snapshots to the parts.

    Args:
        before: the earlier snapshot.
        after: the later one.
        roots: the names of parts by process id. A part also has the descendants of its process,
            except those of another root.

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
    # The kernel works for all processes. The parts get the same share of its time as of other time.
    kernel = threads + (after.interrupts - before.interrupts) / seconds
    own = kernel * parts / (parts + others) if parts + others > 0 else 0.0
    steal = (after.steal - before.steal) / seconds
    return CpuUsage({**taken, Use.KERNEL: own}, others + kernel - own, steal, after.cores)


def _totals(snapshot: Snapshot, roots: Mapping[int, str]) -> Mapping[str, float]:
    """Processor seconds by part; those of a child that ended are counted in its parent."""
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
    """The capacity of a machine for one load."""

    costs: Mapping[str, float]
    """Processor seconds per operation by part, the largest first."""
    at_rest: float
    """Processors that the parts take without load."""
    others: float
    """Processors that other processes and the host of a virtual machine take."""
    cores: int
    level: float
    """The level that makes `rate` operations: users, or arrivals per second, of all populations."""
    rate: float
    """Operations per second at which it was measured."""
    is_here: bool = True
    """Do the environment's parts run on this machine? If not, only the generator has costs."""

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
        """The level at which the machine is full, in the unit of `level`."""
        return self.level * self.operations / self.rate

    @property
    def range(self) -> tuple[float, float]:
        """The lowest and the highest level at which the machine may be full."""
        level = self.largest_level
        further = max(1.0, self.operations / self.rate) ** _FALL
        return (1 - _ACCURACY) * level, (1 + _ACCURACY) * further * level

    @property
    def largest_parts(self) -> tuple[str, ...]:
        """The largest parts, which take most of the time per operation together; at most three."""
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
        """As a sentence: "about 700 users (600 to 920) before this machine is full; …"."""
        if self.largest_level < 1:
            return "this machine is full without load"
        *first, last = self.largest_parts
        parts = f"{', '.join(first)} and {last} take" if first else f"{last} takes"
        said = f"about {self.level_in_words(plan)} before this machine is full; {parts} most of it"
        taken = self.others / self.cores
        return said + (f"; others take {100 * taken:.0f} % of it now" if taken > _OTHERS else "")


def capacity_of(
    at_rest: CpuUsage,
    loaded: CpuUsage,
    operations: tuple[float, float],
    level: float,
    *,
    is_here: bool = True,
) -> Capacity:
    """The capacity from two measurements.

    Args:
        at_rest: the processor use without the load, or almost without it.
        loaded: the processor use with the load.
        operations: operations per second in the two measurements; the second number is larger.
        level: users, or arrivals per second, in the second measurement.
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
    # The cost of the few operations in the first measurement is not part of the use at rest.
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
    """A number with two significant digits: 743 as "740"; a short measurement gives no more."""
    if not math.isfinite(number):
        return "any number of"
    digits = max(0, math.floor(math.log10(abs(number))) - 1) if number else 0
    return f"{round(number, -digits):.0f}"
