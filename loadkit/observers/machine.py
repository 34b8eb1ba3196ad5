"""The figures of a machine: what used its processors, and which resources were short.

`Ledger` assigns the processor time between two snapshots to the load generator, the parts of the
environment, the kernel and all other processes. Its result is a few observations with reserved
names. They are stored, charted and judged like any other observation.
"""

import enum
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from loadkit.observers.observation import Judged, Observation, Reading, Series
from loadkit.units import Unit

__all__ = [
    "HOSTS",
    "MEMORY",
    "OTHERS",
    "PARTS",
    "PRESSURE",
    "PROCESSORS",
    "SWAPPING",
    "HostFigure",
    "Ledger",
    "Process",
    "Snapshot",
    "Use",
    "shares",
]

PROCESSORS = "processors of this machine"
"""The time of all processors by `Use`, as a share of the machine. The shares together grow by 1 per
second."""
PRESSURE = "pressure on this machine"
"""The time in which a process waited for "cpu" or "memory" (pressure stall information, "some")."""
MEMORY = "memory of this machine"
"""Bytes in use: "all", and by `Use` the memory that its processes do not share."""
SWAPPING = "swapping of this machine"
"""Bytes swapped in and out."""
OTHERS = "other processes on this machine"
"""The processor time of the busiest other processes, by name, as a share of the machine."""
PARTS = "environment's processes on this machine"
"""The processor time of the environment's busiest processes, in processors."""

HOSTS = "other machines: "
"""The first words of the names of other machines' figures, which a source reports. A `HostFigure`
follows."""

_SHORT_LIVED = "short-lived processes"
_SHOWN = 10
"""The number of other processes, and of environment processes, that are stored."""
_LARGEST_DEBT = 0.5
"""The largest debt, in processor seconds per core: see `Ledger._unassigned`."""

Floats = npt.NDArray[np.float64]


class Use(enum.StrEnum):
    """What a machine's processors did."""

    GENERATOR = "load generator"
    """The process that runs the engine, and its children: the workers."""
    ENVIRONMENT = "environment"
    """The parts of the environment that run on this machine."""
    OTHERS = "other processes"
    KERNEL = "kernel"
    """Interrupts and kernel threads: work for the network and the disks."""
    IDLE = "idle"
    """Nothing, or waiting for a disk."""
    STEAL = "steal"
    """The host of this virtual machine ran something else, although work was waiting here."""
    OUTSIDE = "outside this container"
    """Processes that cannot be seen from this container."""


class HostFigure(enum.StrEnum):
    """A figure of other machines, with its name in the environment file; all figures are ratios."""

    IDLE = "idle"
    STEAL = "steal"
    PRESSURE = "pressure"
    """The share of the time in which some process waits for a processor."""
    ENVIRONMENT = "environment"
    """The share of the machine that the environment's parts used."""


@dataclass(frozen=True, slots=True)
class Process:
    """One process at the moment of a snapshot."""

    pid: int
    parent: int
    born: int
    """When it started, in clock ticks since the machine started. It distinguishes processes with a
    reused pid."""
    name: str
    own: float
    """Processor seconds of its threads."""
    reaped: float = 0.0
    """Processor seconds of its children that have ended."""
    resident: float = 0.0
    """Bytes of memory that it does not share."""
    is_kernel: bool = False

    @property
    def key(self) -> tuple[int, int]:
        """The identity of the process over time."""
        return self.pid, self.born


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A machine at one moment. Times are totals since the start of the machine, in seconds."""

    time: float
    """Unix seconds."""
    busy: float
    """Processor seconds of processes, summed over all processors. The next three fields are summed
    likewise."""
    interrupts: float
    idle: float
    steal: float
    processes: Mapping[int, Process]
    """By pid."""
    cores: int = 1
    pressure: Mapping[str, float] = field(default_factory=dict)
    """Seconds by resource, "cpu" or "memory"; empty if the kernel does not report them."""
    swapped: float = 0.0
    """Bytes swapped in and out."""
    memory: float = 0.0
    """Bytes in use."""
    is_container: bool = False
    """Are there processes on this machine that cannot be seen from here?"""


def _own_name(process: Process) -> str:
    return process.name


@dataclass(slots=True)
class Ledger:
    """Computes from a sequence of snapshots what used the machine."""

    roots: dict[int, Use]
    """By pid: processes whose use is known. Their descendants have the same use."""
    name_of: Callable[[Process], str] = _own_name
    """The name of a process in reports."""
    problem: str = ""
    """Why the environment's parts cannot be distinguished from other processes; empty if they
    can."""
    _last: Snapshot | None = None
    _use: dict[tuple[int, int], Use] = field(default_factory=dict)
    """By key: the known use of processes. An orphan keeps the use of its parent."""
    _times: list[float] = field(default_factory=list)
    _sums: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    _rows: list[dict[str, float]] = field(default_factory=list)
    """The sums by use at each time, as shares of the machine."""
    _others: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    """By name: the times at which the sum changed, and the sums, as shares of the machine."""
    _parts: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    """The same for the environment's processes, in processor seconds."""
    _pressure: list[Mapping[str, float]] = field(default_factory=list)
    _memory: list[dict[str, float]] = field(default_factory=list)
    _swapped: list[float] = field(default_factory=list)
    _debt: float = 0.0

    def add(self, now: Snapshot) -> None:
        """Assign the time since the last snapshot."""
        before, self._last = self._last, now
        uses = self._uses(now)
        if before is not None and now.time > before.time:
            self._spend(before, now, uses)
        memory: dict[str, float] = defaultdict(float, all=now.memory)
        for process in now.processes.values():
            memory[uses[process.pid]] += process.resident
        self._times.append(now.time)
        self._rows.append(dict(self._sums))
        self._pressure.append(now.pressure)
        self._memory.append(dict(memory))
        self._swapped.append(now.swapped)

    def _uses(self, now: Snapshot) -> dict[int, Use]:
        """The use of each process, by pid: its own, or that of its nearest known ancestor."""
        uses: dict[int, Use] = {}
        for process in now.processes.values():
            path: list[Process] = []
            at: Process | None = process
            use = Use.OTHERS
            while at is not None and at not in path:
                known = uses.get(at.pid) or self.roots.get(at.pid) or self._use.get(at.key)
                if known or at.is_kernel:
                    use = known or Use.KERNEL
                    break
                path.append(at)
                at = now.processes.get(at.parent)
            for each in (*path, process):
                uses[each.pid] = use
        # OTHERS is not remembered, because a part of the environment may be recognised later.
        self._use = {
            process.key: uses[process.pid]
            for process in now.processes.values()
            if uses[process.pid] is not Use.OTHERS
        }
        return uses

    def _spend(self, before: Snapshot, now: Snapshot, uses: Mapping[int, Use]) -> None:
        states = {
            Use.IDLE: now.idle - before.idle,
            Use.STEAL: now.steal - before.steal,
            Use.KERNEL: now.interrupts - before.interrupts,
        }
        busy = max(0.0, now.busy - before.busy)
        total = busy + sum(states.values())
        if total <= 0:
            return
        share = (now.time - before.time) / total
        for use, seconds in states.items():
            self._sums[use] += seconds * share
        ended = _ended(before, now)
        assigned, by_children = 0.0, []
        for process in now.processes.values():
            earlier = before.processes.get(process.pid)
            if earlier is None or earlier.key != process.key:
                earlier = Process(process.pid, 0, process.born, "", 0.0)
            own = max(0.0, process.own - earlier.own)
            assigned += own
            self._record(process, own, uses[process.pid], share, before.time, now.time)
            children = process.reaped - earlier.reaped - ended.get(process.pid, 0.0)
            if children > 0:
                by_children.append((process, children))
        left = busy - assigned
        for process, children in by_children:
            seconds = min(children, max(0.0, left))
            left -= seconds
            self._record(process, seconds, uses[process.pid], share, before.time, now.time)
        left = self._unassigned(left, now.cores)
        use = Use.OUTSIDE if now.is_container else Use.OTHERS
        self._sums[use] += left * share
        if use is Use.OTHERS and left:
            self._note(self._others, _SHORT_LIVED, left * share, before.time, now.time)

    def _unassigned(self, left: float, cores: int) -> float:
        """The processor time of processes that lived only between two snapshots.

        The machine's time is counted in clock ticks, but the time of a process is exact. So their
        difference varies around 0. A negative difference is deducted later.
        """
        left += self._debt
        self._debt = max(min(left, 0.0), -_LARGEST_DEBT * cores)
        return max(left, 0.0)

    def _record(
        self, process: Process, seconds: float, use: Use, share: float, before: float, now: float
    ) -> None:
        if seconds <= 0:
            return
        self._sums[use] += seconds * share
        if use is Use.OTHERS:
            self._note(self._others, self.name_of(process), seconds * share, before, now)
        elif use is Use.ENVIRONMENT:
            self._note(self._parts, f"{self.name_of(process)} {process.pid}", seconds, before, now)

    @staticmethod
    def _note(
        sums: dict[str, list[tuple[float, float]]], name: str, amount: float, before: float, now: float
    ) -> None:
        points = sums.setdefault(name, [(before, 0.0)])
        last, total = points[-1]
        if last == now:
            points[-1] = (now, total + amount)
            return
        if last < before:
            points.append((before, total))
        points.append((now, total + amount))

    def observations(self) -> dict[str, Observation]:
        """The figures as observations, by name; {} with fewer than two snapshots."""
        if len(self._times) < 2:
            return {}
        times = np.array(self._times)
        hidden = {Use.OTHERS, Use.ENVIRONMENT} if self.problem else set()
        rows = {use: [row.get(use, 0.0) for row in self._rows] for use in Use}
        processors = {str(use): np.array(rows[use]) for use in Use if use not in hidden}
        if self.problem:
            processors["processes"] = np.array(rows[Use.OTHERS]) + np.array(rows[Use.ENVIRONMENT])
        resources = [name for name in ("cpu", "memory") if all(name in each for each in self._pressure)]
        memory = {
            name: np.array([each.get(name, 0.0) for each in self._memory])
            for name in ("all", Use.GENERATOR, Use.ENVIRONMENT, Use.OTHERS)
            if name not in hidden
        }
        pressure = {name: np.array([each[name] for each in self._pressure]) for name in resources}
        found = [
            self._observation(PROCESSORS, Unit.RATIO, processors, problem=self.problem),
            self._observation(PRESSURE, Unit.RATIO, pressure),
            self._observation(MEMORY, Unit.BYTES, memory, Reading.GAUGE),
            self._observation(SWAPPING, Unit.BYTES, {"in and out": np.array(self._swapped)}),
        ]
        if not self.problem:
            found += [
                self._observation(OTHERS, Unit.RATIO, dict(_busiest(self._others, times))),
                self._observation(PARTS, Unit.RATIO, dict(_busiest(self._parts, times))),
            ]
        return {each.name: each for each in found if each.series}

    def _observation(
        self,
        name: str,
        unit: Unit,
        values: Mapping[str, Floats],
        reading: Reading = Reading.COUNTER,
        problem: str = "",
    ) -> Observation:
        times = np.array(self._times)
        return Observation(
            name=name,
            reading=reading,
            unit=str(unit),
            series=tuple(Series(who, times, each) for who, each in values.items()),
            scrape_interval=float(np.median(np.diff(times))),
            judged=Judged.MEAN if reading is Reading.COUNTER else Judged.MAXIMUM,
            source="/proc",
            warnings=(problem,) if problem else (),
        )


def shares(observation: Observation | None) -> dict[str, float]:
    """The mean increase per second of each series of a counter, by name; {} without the counter."""
    return {
        each.instance: float((each.values[-1] - each.values[0]) / (each.times[-1] - each.times[0]))
        for each in (observation.series if observation is not None else ())
        if len(each.times) > 1
    }


def _busiest(sums: Mapping[str, list[tuple[float, float]]], times: Floats) -> Iterator[tuple[str, Floats]]:
    """The processes with the most time, the busiest first, with their sums at each time."""
    order = sorted(sums, key=lambda name: -sums[name][-1][1])
    for name in order[:_SHOWN]:
        moments, totals = np.array(sums[name]).T
        yield name, np.interp(times, moments, totals)


def _ended(before: Snapshot, now: Snapshot) -> dict[int, float]:
    """The known processor time of ended processes, by the pid of their nearest living ancestor.

    This time was assigned before. It becomes part of the ancestor's reaped time.
    """
    ended: dict[int, float] = defaultdict(float)
    gone = {
        process.pid
        for process in before.processes.values()
        if process.pid not in now.processes or now.processes[process.pid].key != process.key
    }
    for pid in gone:
        process = before.processes[pid]
        parent, steps = process.parent, 0
        while parent in gone and parent in before.processes and steps < len(gone):
            parent, steps = before.processes[parent].parent, steps + 1
        ended[parent] += process.own + process.reaped
    return ended
