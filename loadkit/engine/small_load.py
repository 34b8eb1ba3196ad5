"""Measures what this machine carries of a plan: puts on a small part of it for a few seconds.

The results are kept beside the lock of the environment: each is measured once per start of it.
"""

import hashlib
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from loadkit.engine import run as engine
from loadkit.environment import lock
from loadkit.environment.capacity import (
    OTHER_PARTS,
    THE_ENVIRONMENT,
    Capacity,
    capacity_of,
    parts_of,
    spending,
)
from loadkit.environment.environment import ResolvedEnvironment
from loadkit.environment.preflight import approximate_rate
from loadkit.errors import ConfigurationError, UnreachableError
from loadkit.observers.machine import Process, Snapshot, Use
from loadkit.observers.proc import command_name, parts_behind, read_machine
from loadkit.recording.ending import COMPLETE, INTERRUPTED
from loadkit.recording.run import Run
from loadkit.recording.worker_second import JOURNEYS, SENT
from loadkit.target import Target
from loadkit.workload.plan import Plan
from loadkit.workload.workload import Model, Stage, Workload

__all__ = ["SHORTEST", "capacity_from", "find_parts", "is_too_small", "keep", "kept", "measure", "small_plan"]

SHORTEST = 2.0
"""The least seconds of the small load."""
_USERS, _BRISK = 60, 900.0
"""The most users of a brisk load, and its operations per second; users pause so briefly.

It takes few users, so that they have soon logged in. Measured on two processors: an operation of the
local environment takes 2.2 ms at 120 a second, 1.9 at 300, 1.4 at 900 and 1.1 at 1250. At few
operations, the result would be half of what the machine carries."""
_GENTLE = 300.0
"""Operations per second of a load on an environment elsewhere."""
_IN_FLIGHT = 240
"""The most arrivals in flight; so a machine that is too small is not overloaded for long."""
_STEPS = 10
"""The operations of a journey of an open load, as far as is known before."""
_TOO_FEW = 0.6
"""A brisk load with a smaller share of its operations is put on again."""
_SETTLING, _LEAVING = 2.0, 0.2
"""Seconds until the users' work is even, and until all but one have left.

At first, the service opens connections, and each plans its queries: with 0.5 s, an operation took 1.6
to 3.3 ms instead of 0.9."""
_AT_REST = 1.0
"""Seconds with one user, or half of the seconds before. They come last: at first, users log in."""
_EVERY = 0.1
"""Seconds between snapshots; one takes 4 ms, at any level."""
_MOMENT = 0.5
"""Seconds for which other processes are watched where a result is kept."""
_LONGEST_KEPT = 86_400.0
"""Seconds for which a result is kept."""


def find_parts(resolved: ResolvedEnvironment) -> dict[int, str]:
    """The parts of an environment on this machine: the process id of each with its name.

    Empty if its parts run elsewhere, or if their processes are not known.
    """
    target = resolved.target
    named = parts_of(resolved.facts)
    processes = dict.fromkeys(target.processes, OTHER_PARTS if named else THE_ENVIRONMENT)
    if not processes:
        processes_here = _machine()
        processes = {
            pid: command_name(pid, processes_here[pid].name)
            for pid in parts_behind(target.base) or ()
            if pid in processes_here
        }
    return {**processes, **named} if processes else {}


def measure(
    plan: Plan,
    resolved: ResolvedEnvironment,
    parts: Mapping[int, str],
    seconds: float = SHORTEST,
    taken: Counter[str] | None = None,
) -> Capacity:
    """Put on a small part of a plan's load, and compute what this machine carries of it.

    The load has a run id and a seed of its own. Nothing is stored of it. It takes about six seconds besides
    `seconds`. A load that turns out far too small is put on once more, as large as it should be:
    the number of operations in a journey is not known before.

    Args:
        plan: the load; its populations keep their proportions.
        resolved: the environment; its lock is held.
        parts: its parts on this machine, as of `find_parts`; empty if there are none.
        seconds: the duration of the small load, two seconds or more.
        taken: counts the rows of test data that the load takes, by table, also if it ends early; a run
            begins after them.

    Raises:
        LoadkitError: the load could not be executed, or no operation was sent.
        KeyboardInterrupt: Ctrl-C ended the load.

    """
    taken = Counter() if taken is None else taken
    found = _measure(plan, small_plan(plan, seconds, is_here=bool(parts)), resolved, parts, taken)
    if is_too_small(found):
        larger = small_plan(plan, seconds, rate=_BRISK * _BRISK / found.rate)
        found = _measure(plan, larger, resolved, parts, taken)
    return found


def _measure(
    plan: Plan, small: Plan, resolved: ResolvedEnvironment, parts: Mapping[int, str], taken: Counter[str]
) -> Capacity:
    target = engine.without_rows(resolved.target, taken)
    with _snapshots() as snapshots:
        done = engine.run(small, target, root=resolved.environment.root)
    taken.update(done.facts.get(engine.ROWS_TAKEN, {}))
    if done.ended == INTERRUPTED:
        raise KeyboardInterrupt
    if done.ended != COMPLETE:
        raise UnreachableError(f"{resolved.target.name} did not carry a small load: {done.ended}")
    return capacity_from(plan, done, snapshots, parts)


def is_too_small(found: Capacity) -> bool:
    """Had a brisk load far fewer operations than it should have, on a machine with room for more?"""
    return found.is_here and found.rate < _TOO_FEW * min(_BRISK, found.operations)


def small_plan(plan: Plan, seconds: float, *, is_here: bool = True, rate: float = _BRISK) -> Plan:
    """A plan of a small load, followed by one user, or one arrival per second, for a moment.

    The load is brisk if the environment is on this machine. Elsewhere it is gentle, because others
    may use it.

    Args:
        plan: the whole load.
        seconds: the duration of the small one.
        is_here: is the environment on this machine?
        rate: operations per second of a brisk load, if its journeys have as many as assumed.

    """
    loads = [population.workload for population in plan.populations]
    ratio = rate / sum(_rate_of(load) for load in loads)
    users = sum(load.peak for load in loads if load.model is Model.CLOSED)
    share = min(1.0, _USERS / users) if users else 1.0
    if not is_here:
        ratio = share = min(1.0, _GENTLE / sum(_rate_of(load) for load in loads))

    def smaller(load: Workload) -> Workload:
        is_open = load.model is not Model.CLOSED
        level = max(1.0, round(load.peak * (ratio if is_open else share)))
        # Pauses as short as so few users need for their part of the rate; nobody pauses for longer.
        hurry = 1.0 if is_open or not is_here else min(1.0, level / load.peak / ratio)
        return replace(
            load,
            stages=(
                Stage(0.0, level),
                Stage(_SETTLING + seconds, level),
                Stage(0.0, 1.0),
                Stage(_LEAVING + max(_AT_REST, seconds / 2), 1.0),
            ),
            think=replace(load.think, low=load.think.low * hurry, high=load.think.high * hurry),
            pace=load.pace * hurry,
            is_poisson=False,  # random arrivals would be a random number of operations
            max_in_flight=min(load.max_in_flight, _IN_FLIGHT),
        )

    return replace(plan.with_workloads(smaller), actions=(), drain=2.0, seed=plan.seed + 2)


def _rate_of(load: Workload) -> float:
    """The approximate operations per second of a load at its peak."""
    return approximate_rate(load) * (_STEPS if load.model is Model.JOURNEYS else 1)


def capacity_from(plan: Plan, done: Run, snapshots: list[Snapshot], parts: Mapping[int, str]) -> Capacity:
    """The capacity from a run of `small_plan` and snapshots of this machine during it.

    Raises:
        ConfigurationError: the snapshots do not cover both levels, or no operation was sent.

    """
    loaded_phase, rest_phase = done.plan.workload.phases()
    roots = _roots(parts)
    spans = [
        [each for each in snapshots if done.started + start <= each.time <= done.started + end]
        for start, end in (
            (loaded_phase.start + _SETTLING, loaded_phase.end),
            (rest_phase.start + _LEAVING, rest_phase.end),
        )
    ]
    if any(len(span) < 2 for span in spans):
        raise ConfigurationError(
            "this machine could not be read during the small load; expected /proc of Linux"
        )
    loaded, at_rest = (spending(span[0], span[-1], roots) for span in spans)
    times = [(span[0].time - done.started, span[-1].time - done.started) for span in spans]
    many, few = (_per_second(SENT, done, *span) for span in times)
    try:
        return capacity_of(
            at_rest, loaded, (few, many), _level_of(plan, done, *times[0]), is_here=bool(parts)
        )
    except ValueError as error:
        raise ConfigurationError(f"the capacity of this machine is not known: {error}") from None


def _level_of(plan: Plan, done: Run, start: float, end: float) -> float:
    """The level of a plan at which it has the operations of its small load between two moments.

    The level of an open load is its arrivals that were served. A user waits for the answers and
    pauses. The wait was measured, and the pause was shortened by a known ratio::

        level = operations per second x wait + pausing users / ratio

    Users with a pace start journeys at fixed intervals, if a journey is not longer than one::

        level = journeys per second x pace

    """
    operations, waited = (float(done.table.sums[:, column].sum()) for column in (0, 1))
    wait = waited / operations if operations else 0.0
    level = 0.0
    for planned, small in zip(plan.populations, done.plan.populations, strict=True):
        load, name = planned.workload, planned.name
        rate, journeys = (_per_second(count, done, start, end, name) for count in (SENT, JOURNEYS))
        if load.model is not Model.CLOSED:
            level += rate if load.model is Model.REQUESTS else journeys
            continue
        users = small.workload.peak
        waiting = min(users, rate * wait) if operations else users  # unanswered
        level += max(waiting + (users - waiting) / _hurry(load, small.workload), journeys * load.pace)
    return level


def _hurry(load: Workload, small: Workload) -> float:
    """The ratio by which a small load shortens the pauses."""
    before, after = ((each.think.mean or each.pace) for each in (load, small))
    return after / before if before else 1.0


def _per_second(count: str, done: Run, start: float, end: float, population: str | None = None) -> float:
    """A count per second between two moments, in seconds after the start."""
    by_second: Counter[int] = Counter()
    for each in done.worker_seconds:
        by_second[each.second] += each.count(count, population)
    moments = np.arange(max(by_second, default=0) + 2)
    sums = np.cumsum([0, *(by_second[int(second)] for second in moments[:-1])])
    before, after = np.interp([start, end], moments, sums)
    return float(after - before) / (end - start)


@contextmanager
def _snapshots() -> Iterator[list[Snapshot]]:
    """Take snapshots of this machine in a thread; none where there is no /proc."""
    taken: list[Snapshot] = []
    is_over = threading.Event()

    def take() -> None:
        with suppress(OSError, ValueError):
            while not is_over.wait(_EVERY):
                taken.append(_exact(read_machine()))

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    try:
        yield taken
    finally:
        is_over.set()
        thread.join()


def _exact(snapshot: Snapshot) -> Snapshot:
    """The snapshot with the times of processes in nanoseconds, instead of ticks of 10 ms.

    A second of a hundred processes would otherwise have an error as large as its result.
    """
    processes = {}
    for pid, process in snapshot.processes.items():
        with suppress(OSError):  # it has ended meanwhile
            processes[pid] = replace(process, own=time.clock_gettime(_clock_of(pid)))
    return replace(snapshot, processes=processes)


def _clock_of(pid: int) -> int:
    """The clock of the processor time of a process, as of clock_getcpuclockid(3) on Linux."""
    return (~pid << 3) | 2


# --- what is kept


def kept(plan: Plan, target: Target, parts: Mapping[int, str]) -> Capacity | None:
    """The capacity that was measured for such a load since the environment's parts started.

    It counts with what other processes take now. None if there is none: it was not measured, some
    part has restarted, or a day has passed.
    """
    entry = _read(lock.file_of(target, "capacity")).get(_key(plan), {})
    try:
        is_fresh = 0 <= time.time() - entry["time"] <= _LONGEST_KEPT
        if is_fresh and entry["processes"] == _identity(parts):
            return replace(Capacity(**entry["capacity"]), others=_others_now(parts))
    except (KeyError, TypeError):  # it was not measured, or another version of loadkit wrote it
        pass
    return None


def _others_now(parts: Mapping[int, str]) -> float:
    """The processors that other processes take now, watched for a moment."""
    before = _exact(read_machine())
    time.sleep(_MOMENT)
    now = spending(before, _exact(read_machine()), _roots(parts))
    return now.others + now.steal


def _roots(parts: Mapping[int, str]) -> dict[int, str]:
    return {**parts, os.getpid(): Use.GENERATOR}


def keep(capacity: Capacity, plan: Plan, target: Target, parts: Mapping[int, str]) -> None:
    """Keep a capacity for `kept`; without effect if the file cannot be written."""
    file = lock.file_of(target, "capacity")
    entry = {"time": time.time(), "processes": _identity(parts), "capacity": asdict(capacity)}
    with suppress(OSError):
        file.write_text(json.dumps({**_read(file), _key(plan): entry}))


def _read(file: Path) -> dict[str, Any]:
    try:
        entries = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return entries if isinstance(entries, dict) else {}


def _key(plan: Plan) -> str:
    """A digest of what the users of a plan do, and of the proportions of its populations.

    The level and the times of the stages do not belong to it: the capacity does not depend on them.
    """
    whole = sum(population.workload.peak for population in plan.populations)
    behaviors = [
        [
            load.model,
            round(load.peak / whole, 2),
            sorted(map(str, load.mix)),
            asdict(load.think),
            load.pace,
        ]
        for load in (population.workload for population in plan.populations)
    ]
    return hashlib.sha256(json.dumps(behaviors).encode()).hexdigest()[:12]


def _identity(parts: Mapping[int, str]) -> dict[str, int]:
    """When each part was started, by process id: another process may have the id later."""
    processes = _machine()
    return {str(pid): processes[pid].born for pid in sorted(parts) if pid in processes}


def _machine() -> Mapping[int, Process]:
    """The processes of this machine by id; none where there is no /proc."""
    try:
        return read_machine().processes
    except (OSError, ValueError):
        return {}
