"""Measures this machine's capacity for a plan, with a small part of its load for a few seconds.

The results are stored beside the environment's lock. Each is measured once per start of the
environment, and again after a day, or if other processes then took much of the machine.
"""

import gc
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
    cpu_usage,
    parts_of,
)
from loadkit.environment.environment import ResolvedEnvironment
from loadkit.environment.preflight import approximate_rate
from loadkit.errors import ConfigurationError, UnreachableError
from loadkit.observers.machine import Process, Snapshot, Use
from loadkit.observers.proc import command_name, parts_behind, read_machine
from loadkit.recording.ending import COMPLETE
from loadkit.recording.run import Run
from loadkit.recording.worker_second import JOURNEYS, SENT
from loadkit.target import Target
from loadkit.workload.plan import Plan
from loadkit.workload.workload import Model, Stage, Workload

__all__ = ["SHORTEST", "capacity_from", "find_parts", "is_too_small", "keep", "kept", "measure", "small_plan"]

SHORTEST = 2.0
"""Minimum duration of the small load, in seconds."""
_USERS, _LOCAL_RATE = 60, 900.0
"""The maximum number of users of a brisk load, and its operations per second.

Few users log in quickly. Their pauses are shortened, so that they reach this rate. Measured on two
processors: an operation of the local environment takes 2.2 ms at 120 per second, 1.9 at 300, 1.4 at
900 and 1.1 at 1250. At a low rate, the result would be half of the machine's capacity."""
_REMOTE_RATE = 300.0
"""Operations per second of a load on an environment on other machines."""
_IN_FLIGHT = 240
"""Maximum arrivals in flight, so that a machine that is too small is not overloaded for long."""
_STEPS = 10
"""Assumed operations in a journey of an open load; the number is not known in advance."""
_TOO_FEW = 0.6
"""A brisk load that executes a smaller share of its intended operations is repeated."""
_SETTLING, _LEAVING = 2.0, 0.2
"""Seconds until the load is steady, and seconds until all users but one have left.

At first, the service opens connections, and each connection plans its queries. With a settling time
of 0.5 s, an operation took 1.6 to 3.3 ms instead of 0.9."""
_AT_REST = 1.0
"""Minimum seconds with one user. If half of the small load's duration is longer, it applies.

This part comes last, because users log in at the start."""
_EVERY = 0.1
"""Seconds between snapshots. A snapshot takes 4 ms at any level."""
_MOMENT = 0.5
"""Seconds for which other processes are observed when a stored result is used."""
_LONGEST_KEPT = 86_400.0
"""Seconds for which a stored result is valid."""


def find_parts(resolved: ResolvedEnvironment) -> dict[int, str]:
    """The parts of an environment on this machine: their names by process id.

    Empty if the parts run on other machines, or if their processes are unknown.
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
    """Execute a small part of a plan's load, and compute this machine's capacity for the plan.

    The load has its own run id and seed, and its run is not stored. It takes about six seconds
    longer than `seconds`. If its rate is far too low, a second load follows with a corrected rate.
    The reason is that the number of operations in a journey is not known in advance.

    Args:
        plan: the load; its populations keep their proportions.
        resolved: the environment; the caller holds its lock.
        parts: its parts on this machine, from `find_parts`; empty if there are none.
        seconds: the duration of the small load, two seconds or more.
        taken: counts the rows of test data that the load takes, by table, even if it ends early. A
            run starts after these rows.

    Raises:
        LoadkitError: the load could not be executed, or no operation was sent.
        KeyboardInterrupt: Ctrl-C ended the load.

    """
    taken = Counter() if taken is None else taken
    found = _measure(plan, small_plan(plan, seconds, is_here=bool(parts)), resolved, parts, taken)
    if is_too_small(found):
        larger = small_plan(plan, seconds, rate=_LOCAL_RATE * _LOCAL_RATE / found.rate)
        found = _measure(plan, larger, resolved, parts, taken)
    return found


def _measure(
    plan: Plan, small: Plan, resolved: ResolvedEnvironment, parts: Mapping[int, str], taken: Counter[str]
) -> Capacity:
    target = engine.without_rows(resolved.target, taken)
    with _snapshots() as snapshots:
        done = engine.run(small, target, root=resolved.environment.root)
    taken.update(done.facts.get(engine.ROWS_TAKEN, {}))
    if done.was_interrupted:
        raise KeyboardInterrupt
    if done.ended != COMPLETE:
        raise UnreachableError(f"{resolved.target.name} did not carry a small load: {done.ended}")
    return capacity_from(plan, done, snapshots, parts)


def is_too_small(found: Capacity) -> bool:
    """Did a brisk load execute far fewer operations than intended and than the machine can?"""
    return found.is_here and found.rate < _TOO_FEW * min(_LOCAL_RATE, found.operations)


def small_plan(plan: Plan, seconds: float, *, is_here: bool = True, rate: float = _LOCAL_RATE) -> Plan:
    """A plan of a small load, followed by a short time with one user, or one arrival per second.

    The load is brisk if the environment is on this machine. On other machines it is gentle, because
    other people may use the environment.

    Args:
        plan: the whole load.
        seconds: the duration of the small load.
        is_here: is the environment on this machine?
        rate: operations per second of a brisk load, if a journey has the assumed number.

    """
    loads = [population.workload for population in plan.populations]
    ratio = rate / sum(_rate_of(load) for load in loads)
    users = sum(load.peak for load in loads if load.model is Model.CLOSED)
    share = min(1.0, _USERS / users) if users else 1.0
    if not is_here:
        ratio = share = min(1.0, _REMOTE_RATE / sum(_rate_of(load) for load in loads))

    def smaller(load: Workload) -> Workload:
        is_open = load.model is not Model.CLOSED
        level = max(1.0, round(load.peak * (ratio if is_open else share)))
        # Pauses are shortened until this few users reach their part of the rate, never lengthened.
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
            is_poisson=False,  # with random arrivals, the number of operations would be random
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
    loaded, at_rest = (cpu_usage(span[0], span[-1], roots) for span in spans)
    times = [(span[0].time - done.started, span[-1].time - done.started) for span in spans]
    many, few = (_per_second(SENT, done, *span) for span in times)
    try:
        return capacity_of(
            at_rest, loaded, (few, many), _level_of(plan, done, *times[0]), is_here=bool(parts)
        )
    except ValueError as error:
        raise ConfigurationError(f"the capacity of this machine is not known: {error}") from None


def _level_of(plan: Plan, done: Run, start: float, end: float) -> float:
    """The level at which a plan has the same operations per second as its small load.

    The small load is evaluated between two moments. The level of an open load is its rate of served
    arrivals. A user of a closed load waits for answers and pauses. The wait was measured, and the
    pause was shortened by a known ratio::

        level = operations per second x wait + pausing users / ratio

    Users with a pace start journeys at fixed intervals, unless a journey takes longer::

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
        waiting = min(users, rate * wait) if operations else users  # without operations, all wait
        level += max(waiting + (users - waiting) / _pause_ratio(load, small.workload), journeys * load.pace)
    return level


def _pause_ratio(load: Workload, small: Workload) -> float:
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
    """Take snapshots of this machine in a thread; none where there is no /proc.

    Meanwhile, garbage collection skips the present objects of this process. A collection of 400,000
    objects takes 0.28 s. With one of these in the second at rest, an operation seemed to take the
    load generator no time at all.
    """
    taken: list[Snapshot] = []
    is_over = threading.Event()

    def take() -> None:
        with suppress(OSError, ValueError):
            while not is_over.wait(_EVERY):
                taken.append(_exact(read_machine()))

    thread = threading.Thread(target=take, daemon=True)
    gc.freeze()
    thread.start()
    try:
        yield taken
    finally:
        is_over.set()
        thread.join()
        gc.unfreeze()


def _exact(snapshot: Snapshot) -> Snapshot:
    """The snapshot with the times of processes in nanoseconds, instead of ticks of 10 ms.

    With ticks, the error of one second of a hundred processes would be as large as the result.
    """
    processes = {}
    for pid, process in snapshot.processes.items():
        with suppress(OSError):  # the process has ended meanwhile
            processes[pid] = replace(process, own=time.clock_gettime(_clock_of(pid)))
    return replace(snapshot, processes=processes)


def _clock_of(pid: int) -> int:
    """The id of a process's CPU-time clock, as clock_getcpuclockid(3) computes it on Linux."""
    return (~pid << 3) | 2


# --- stored results


def kept(plan: Plan, target: Target, parts: Mapping[int, str]) -> Capacity | None:
    """The stored capacity for such a load, measured since the environment's parts started.

    It includes the processors that other processes take now. None if it was not measured, a part
    has restarted or a day has passed.

    It is also None if other processes took so much that the small load was large enough for the
    rest of the machine, but is too small for the machine of now. While others took 38 % of two
    processors, an operation took 3.3 ms instead of 1.1, at a third of the intended rate.
    """
    entry = _read(lock.file_of(target, "capacity")).get(_key(plan), {})
    try:
        is_fresh = 0 <= time.time() - entry["time"] <= _LONGEST_KEPT
        if is_fresh and entry["processes"] == _identity(parts):
            stored = Capacity(**entry["capacity"])
            now = replace(stored, others=_others_now(parts))
            if is_too_small(stored) or not is_too_small(now):
                return now
    except (KeyError, TypeError):  # it was not measured, or another version of loadkit wrote it
        pass
    return None


def _others_now(parts: Mapping[int, str]) -> float:
    """The processors that other processes, and the host of a virtual machine, take now."""
    before = _exact(read_machine())
    time.sleep(_MOMENT)
    now = cpu_usage(before, _exact(read_machine()), _roots(parts))
    return now.others + now.steal


def _roots(parts: Mapping[int, str]) -> dict[int, str]:
    return {**parts, os.getpid(): Use.GENERATOR}


def keep(capacity: Capacity, plan: Plan, target: Target, parts: Mapping[int, str]) -> None:
    """Store a capacity for `kept`; do nothing if the file cannot be written."""
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
    """A digest of the behavior of a plan's users, and of the proportions of its populations.

    It excludes the levels and durations of the stages, because the capacity does not depend on
    them.
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
    """The start time of each part by process id, because a later process may have the same id."""
    processes = _machine()
    return {str(pid): processes[pid].born for pid in sorted(parts) if pid in processes}


def _machine() -> Mapping[int, Process]:
    """The processes of this machine by id; none where there is no /proc."""
    try:
        return read_machine().processes
    except (OSError, ValueError):
        return {}
