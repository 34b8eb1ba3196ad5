"""Measure how much load this machine can generate. Results at a higher load are not valid."""

import argparse
import dataclasses
import json
import math
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from loadkit.analysis import calibration
from loadkit.analysis.calibration import Climb, Clock, Step
from loadkit.errors import ConfigurationError
from loadkit.units import format_number, format_ratio, format_seconds
from loadkit.verdict import EXIT_CODES, Status
from loadkit.workload.workload import Think

__all__ = ["SCHEMA", "add", "execute", "lines", "to_json"]

SCHEMA = "loadkit-calibration/1"
"""Value of the `schema` key; it changes when the meaning of a key changes."""


def add(command: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    command.epilog = "The rate increases over at most eleven levels. This takes about half a minute."
    command.add_argument(
        "--workers",
        type=int,
        metavar="N",
        default=os.cpu_count() or 1,
        help="number of load processes (default: one per core)",
    )
    command.add_argument("--seconds", type=int, metavar="N", default=2, help="seconds per level (default: 2)")
    command.add_argument("--json", metavar="FILE", help="write the figures as JSON; - is standard output")


def execute(options: argparse.Namespace) -> int:
    """Calibrate with one worker and with all, and print the result. Invalid (4) if no level is usable."""
    if options.workers < 1 or options.seconds < 2:
        raise ConfigurationError(
            "a calibration needs at least one worker and two seconds per level: --workers 1 --seconds 2"
        )
    climbs = []
    with calibration.trivial_server() as base:
        for workers in sorted({1, options.workers}):
            print(f"increasing the rate with {_workers(workers)} …", file=sys.stderr)
            climbs.append(calibration.climb(base, workers, options.seconds, root=Path.cwd()))
    clock, files = calibration.clock(), calibration.files_allowed()
    if options.json:
        text = json.dumps(to_json(climbs, clock, files), indent=2, allow_nan=False)
        if options.json == "-":
            print(text)
        else:
            _write(Path(options.json), text)
    if options.json != "-":
        print("\n".join(lines(climbs, clock, files)))
    return 0 if any(climb.usable for climb in climbs) else EXIT_CODES[Status.INVALID]


def lines(climbs: Sequence[Climb], clock: Clock, files: float) -> Iterator[str]:
    """The result as text: a table, then sentences."""
    yield f"{platform.node()}: {os.cpu_count()} cores, {platform.system()} {platform.machine()}"
    yield (
        f"clock: resolution {format_seconds(clock.resolution)}, "
        f"smallest measured step {format_seconds(clock.step)}; "
        f"file descriptors: {_count(files)} per worker"
    )
    yield ""
    heads = ("workers", "due/s", "answered/s", "CPU", "lag p99", "late p99", "response", "health")
    yield "".join(f"{head:>11}" for head in heads)
    for climb in climbs:
        for step in climb.steps:
            yield "".join(f"{cell:>11}" for cell in (str(climb.workers), *_cells(step)))
    yield ""
    for climb in climbs:
        yield from _summary(climb, files)


def to_json(climbs: Sequence[Climb], clock: Clock, files: float) -> dict[str, Any]:
    """The result as JSON values: seconds, ratios 0-1, requests per second.

    Null means no limit of file descriptors, or no level in good health.
    """
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


def _summary(climb: Climb, files: float) -> Iterator[str]:
    """The result in sentences."""
    who, best, usable = _workers(climb.workers), climb.best, climb.usable
    if usable is None:
        why = "; ".join(climb.steps[0].reasons) if climb.steps else "no level was held"
        yield f"{who}: no result of this machine is valid now ({why}); end other busy programs"
        return
    if best is None:
        yield f"{who}: no level without warnings; end other busy programs, or results carry warnings"
    else:
        yield f"{who}: {format_number(best.rate)} requests per second in good health"
    if usable is not best:
        yield f"  with warnings at {format_number(usable.rate)}: {'; '.join(usable.reasons)}"
    above = climb.above(usable)
    if above is None:
        yield "  no higher level was tried"
    else:
        yield f"  overloaded at {format_number(above.rate)}: {'; '.join(above.reasons)}"
    yield (
        f"  enough for {_count(climb.users(files))} users with a think time of {format_seconds(Think().mean)}"
    )
    yield (
        f"  lateness of {format_seconds(usable.lateness)} (p99) is included in response times; "
        f"limits of {format_seconds(usable.shortest_limit)} or more need no warning"
    )


def _cells(step: Step) -> tuple[str, ...]:
    return (
        format_number(step.rate),
        format_number(step.answered),
        format_ratio(step.cpu),
        format_seconds(step.lag),
        format_seconds(step.lateness),
        "-" if step.response is None else format_seconds(step.response),
        step.health,
    )


def _workers(number: int) -> str:
    return "one worker" if number == 1 else f"{number} workers"


def _count(number: float) -> str:
    return "unlimited" if math.isinf(number) else f"{number:,.0f}"


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text + "\n")
    except OSError as error:
        raise ConfigurationError(f"cannot write {file}: {error.strerror}") from None
