"""`loadkit calibrate`: measure the maximum load that this machine can generate reliably.

With --env, it puts a small load on an environment, and tells how much of it this machine carries.
"""

import argparse
import dataclasses
import json
import math
import os
import platform
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from loadkit.analysis import calibration
from loadkit.analysis.calibration import Climb, Clock, Step
from loadkit.engine import small_load
from loadkit.engine.progress import Progress
from loadkit.engine.testbed import Testbed
from loadkit.environment import environment
from loadkit.environment.capacity import Capacity, rounded
from loadkit.errors import ConfigurationError
from loadkit.planning import plan as planning
from loadkit.planning.draft import Draft
from loadkit.units import format_number, format_ratio, format_seconds
from loadkit.users import discovery
from loadkit.verdict import EXIT_CODES, Status
from loadkit.workload.plan import Plan
from loadkit.workload.workload import Model, Think

__all__ = [
    "CAPACITY_SCHEMA",
    "SCHEMA",
    "add",
    "capacity_json",
    "capacity_lines",
    "execute",
    "lines",
    "to_json",
]

SCHEMA, CAPACITY_SCHEMA = "loadkit-calibration/1", "loadkit-capacity/1"
"""The values of the `schema` key; they change when a key changes its meaning."""
_USERS = 240
"""The number of users of the small load; fewer if the environment does not allow as many."""


def add(command: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    command.epilog = (
        "Without --env, the command increases the rate until the load generator is overloaded: at most eleven "
        "levels, about half a minute in all. With --env, it puts on one small load and takes about twelve seconds."
    )
    command.add_argument(
        "--workers",
        type=int,
        help="number of load processes (default: one per core)",
    )
    command.add_argument(
        "--seconds",
        type=int,
        help="duration of each level in seconds (default: 2), or of the small load of --env (default: 5)",
    )
    command.add_argument(
        "--env",
        metavar="NAME",
        help="environment whose capacity on this machine is measured, as in environments/NAME.toml",
    )
    command.add_argument(
        "--mix", metavar="NAME", default="", help="mix of the small load (default: the environment's)"
    )
    command.add_argument("--json", metavar="FILE", help="write the figures as JSON; - for standard output")


def execute(options: argparse.Namespace) -> int:
    """Calibrate and print the result; return 4 (invalid) if the machine is not usable."""
    if options.mix and not options.env:
        raise ConfigurationError(
            f"--mix {options.mix}: a mix is one of an environment; expected such as --env local --mix {options.mix}"
        )
    if options.env:
        if options.workers is not None:
            raise ConfigurationError(
                f"--workers {options.workers}: the small load of --env needs one load process; leave the option out"
            )
        return _of_environment(options.env, options.mix, options.seconds, options.json)
    return _of_generator(options)


def _of_generator(options: argparse.Namespace) -> int:
    """Calibrate one worker and all workers."""
    seconds = 2 if options.seconds is None else options.seconds
    most = (os.cpu_count() or 1) if options.workers is None else options.workers
    if most < 1 or seconds < 2:
        raise ConfigurationError(
            "a calibration needs at least one worker and two seconds per level: --workers 1 --seconds 2"
        )
    climbs = []
    with calibration.trivial_server() as base:
        for workers in sorted({1, most}):
            print(f"calibrating {_workers(workers)} …", file=sys.stderr)
            climbs.append(calibration.climb(base, workers, seconds, root=Path.cwd()))
    clock, files = calibration.clock(), calibration.files_allowed()
    _print(lines(climbs, clock, files), to_json(climbs, clock, files), options.json)
    return 0 if any(climb.usable for climb in climbs) else EXIT_CODES[Status.INVALID]


def _of_environment(name: str, mix: str, seconds: int | None, json_file: str | None) -> int:
    """Measure how much of an environment's load this machine carries."""
    chosen = environment.load(name, Path.cwd())
    draft = Draft()
    most = chosen.settings.max_users
    draft.load(Model.CLOSED, _USERS if most is None else min(_USERS, most), mix=mix)
    plan = planning.plan(draft, chosen, discovery.find(chosen.settings.journeys, chosen.root))
    length = 5 if seconds is None else seconds
    if length < small_load.SHORTEST:
        raise ConfigurationError(
            f"--seconds {length}: a small load needs at least {small_load.SHORTEST:g} seconds: --seconds 5"
        )
    chosen.allow(plan)
    print(f"calibrating {chosen.name} with a small load …", file=sys.stderr)
    testbed = Testbed(chosen, Path("reports/runs"), watcher=_unwatched, tell=partial(print, file=sys.stderr))
    try:
        capacity = testbed.capacity(plan, length)
    finally:
        testbed.close()
    _print(
        capacity_lines(capacity, plan, mix or chosen.settings.default_mix),
        capacity_json(capacity, plan),
        json_file,
    )
    return 0 if capacity.largest_level >= 1 else EXIT_CODES[Status.INVALID]


@contextmanager
def _unwatched(_title: str) -> Iterator[Callable[[Progress], None]]:
    yield lambda _progress: None


def capacity_lines(capacity: Capacity, plan: Plan, mix: str) -> Iterator[str]:
    """The capacity of a machine as text: a table of the parts, then sentences."""
    yield f"{platform.node()}: {capacity.cores} cores; {plan.environment} with mix {mix}"
    yield (
        f"measured at {format_number(capacity.rate)} operations per second, as many as "
        f"{plan.populations[0].level_in_words(f'{capacity.level:.0f}')} send"
    )
    yield ""
    yield f"{'part':<20}{'CPU per operation':>18}{'share':>10}"
    for name, cost in capacity.costs.items():
        if cost:
            yield f"{name:<20}{format_seconds(cost):>18}{format_ratio(cost / capacity.cost):>10}"
    yield f"{'all':<20}{format_seconds(capacity.cost):>18}"
    yield ""
    if not capacity.is_here:
        yield (
            f"the processes of {plan.environment} are not on this machine, or not known: this is the load "
            f"generator's cost alone, enough for about {capacity.level_in_words(plan)}"
        )
        return
    yield capacity.in_words(plan)
    yield (
        f"that is about {rounded(capacity.operations)} operations per second; "
        "a part that is limited to one processor may be full earlier"
    )


def capacity_json(capacity: Capacity, plan: Plan) -> dict[str, Any]:
    """The capacity as JSON: seconds, processors, operations per second; null for no limit."""
    bounded = math.isfinite(capacity.operations)
    return {
        "schema": CAPACITY_SCHEMA,
        "environment": plan.environment,
        "cores": capacity.cores,
        "measured": {"users": capacity.level, "operations_per_second": capacity.rate},
        "cpu_seconds_per_operation": {str(name): cost for name, cost in capacity.costs.items()},
        "cores_at_rest": capacity.at_rest,
        "cores_of_others": capacity.others,
        "parts_on_this_machine": capacity.is_here,
        "operations_per_second": capacity.operations if bounded else None,
        "users": capacity.largest_level if bounded else None,
        "users_between": list(capacity.range) if bounded else None,
        "largest_parts": list(capacity.largest_parts),
    }


def _print(text: Iterable[str], data: dict[str, Any], json_file: str | None) -> None:
    """Print the result; `json_file` as in --json."""
    if json_file:
        written = json.dumps(data, indent=2, allow_nan=False)
        if json_file == "-":
            print(written)
            return
        _write(Path(json_file), written)
    print("\n".join(text))


def lines(climbs: Sequence[Climb], clock: Clock, files: float) -> Iterator[str]:
    """The result as text: a table, then sentences."""
    yield f"{platform.node()}: {os.cpu_count()} cores, {platform.system()} {platform.machine()}"
    yield (
        f"clock: resolution {format_seconds(clock.resolution)}, "
        f"smallest observed step {format_seconds(clock.step)}; "
        f"file descriptors: {_count(files)} per worker"
    )
    yield ""
    heads = ("workers", "planned/s", "answered/s", "CPU", "lag p99", "late p99", "response", "health")
    yield "".join(f"{head:>11}" for head in heads)
    for climb in climbs:
        for step in climb.steps:
            yield "".join(f"{cell:>11}" for cell in (str(climb.workers), *_cells(step)))
    yield ""
    for climb in climbs:
        yield from _conclusion(climb, files)


def to_json(climbs: Sequence[Climb], clock: Clock, files: float) -> dict[str, Any]:
    """The result as JSON: seconds, ratios 0-1, requests per second; null for no limit or level."""
    return {
        "schema": SCHEMA,
        "machine": {"cores": os.cpu_count(), "system": platform.platform()},
        "clock": dataclasses.asdict(clock),
        "files": None if math.isinf(files) else files,
        "climbs": [
            {
                "workers": climb.workers,
                "highest_healthy_rate": climb.best.rate if climb.best else None,
                "users": climb.users(files),
                "highest_usable_rate": climb.usable.rate if climb.usable else None,
                "steps": [dataclasses.asdict(step) for step in climb.steps],
            }
            for climb in climbs
        ],
    }


def _conclusion(climb: Climb, files: float) -> Iterator[str]:
    """The conclusion in words."""
    workers, best, usable = _workers(climb.workers), climb.best, climb.usable
    if usable is None:
        reason = "; ".join(climb.steps[0].reasons) if climb.steps else "no level was completed"
        yield (
            f"{workers}: results from this machine would be invalid ({reason}); "
            "stop other processes that use its CPU"
        )
        return
    if best is None:
        yield (
            f"{workers}: every level has warnings, and so will results; "
            "stop other processes that use this machine's CPU"
        )
    else:
        yield f"{workers}: {format_number(best.rate)} requests per second without overload"
    if usable is not best:
        yield f"  {format_number(usable.rate)} with warnings: {'; '.join(usable.reasons)}"
    above = climb.above(usable)
    if above is None:
        yield "  no higher level was tried"
    else:
        yield f"  not {format_number(above.rate)}: {'; '.join(above.reasons)}"
    yield (
        f"  sufficient for {_count(climb.users(files))} users "
        f"with a think time of {format_seconds(Think().mean)}"
    )
    yield (
        f"  lateness adds {format_seconds(usable.lateness)} (p99) to a response time; "
        f"time limits of at least {format_seconds(usable.shortest_limit)} are judged without a warning"
    )


def _cells(step: Step) -> tuple[str, ...]:
    return (
        format_number(step.rate),
        format_number(step.answered),
        format_ratio(step.cpu),
        format_seconds(step.lag),
        format_seconds(step.lateness),
        "undefined" if step.response is None else format_seconds(step.response),
        step.health,
    )


def _workers(number: int) -> str:
    return "one worker" if number == 1 else f"{number} workers"


def _count(number: float) -> str:
    return "any number" if math.isinf(number) else f"{number:,.0f}"


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text + "\n")
    except OSError as error:
        raise ConfigurationError(f"cannot write {file}: {error.strerror}") from None
