"""`loadkit calibrate`: what this machine can generate, told before anyone believes a result that comes from it."""

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
"""What the `schema` key says; it changes when a key changes its meaning."""


def add(command: argparse.ArgumentParser) -> None:
    """Give the command its options."""
    command.epilog = "A level holds for some seconds, and there are eleven at most: half a minute in all."
    command.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="load processes (default: one per core)"
    )
    command.add_argument("--seconds", type=int, default=2, help="how long each level holds (default: 2)")
    command.add_argument("--json", metavar="FILE", help="write the figures as JSON; - is standard output")


def execute(options: argparse.Namespace) -> int:
    """Climb with one worker and with all, print what was found. Invalid (4) where no level could be believed."""
    if options.workers < 1 or options.seconds < 2:
        raise ConfigurationError("a calibration needs a worker, and two seconds at each level: --seconds 2")
    climbs = []
    with calibration.trivial_server() as base:
        for workers in sorted({1, options.workers}):
            print(f"climbing with {_workers(workers)} …", file=sys.stderr)
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
    """What was found, for people: a table, then sentences."""
    yield f"{platform.node()}: {os.cpu_count()} cores, {platform.system()} {platform.machine()}"
    yield (
        f"clock: resolution {format_seconds(clock.resolution)}, smallest step seen {format_seconds(clock.step)}; "
        f"files: {_count(files)} per worker"
    )
    yield ""
    heads = ("workers", "asked/s", "answered/s", "CPU", "lag p99", "late p99", "response", "health")
    yield "".join(f"{head:>11}" for head in heads)
    for climb in climbs:
        for step in climb.steps:
            yield "".join(f"{cell:>11}" for cell in (str(climb.workers), *_cells(step)))
    yield ""
    for climb in climbs:
        yield from _said(climb, files)


def to_json(climbs: Sequence[Climb], clock: Clock, files: float) -> dict[str, Any]:
    """As JSON values: seconds, ratios 0-1, requests per second; null where there is no limit, or nothing went well."""
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


def _said(climb: Climb, files: float) -> Iterator[str]:
    """The verdict in words."""
    who, best, usable = _workers(climb.workers), climb.best, climb.usable
    if usable is None:
        why = "; ".join(climb.steps[0].reasons) if climb.steps else "no level was held"
        yield f"{who}: trust no result of this machine as it is ({why}); end what else keeps it busy"
        return
    if best is None:
        yield f"{who}: never quite well; end what else keeps this machine busy, or results carry warnings"
    else:
        yield f"{who}: {format_number(best.rate)} requests per second in good health"
    if usable is not best:
        yield f"  {format_number(usable.rate)} with warnings: {'; '.join(usable.reasons)}"
    above = climb.above(usable)
    if above is None:
        yield "  no level above was tried"
    else:
        yield f"  not {format_number(above.rate)}: {'; '.join(above.reasons)}"
    yield f"  enough for {_count(climb.users(files))} users who pause {format_seconds(Think().mean)} after each answer"
    yield (
        f"  adds {format_seconds(usable.lateness)} (p99) to a response time; "
        f"time limits from {format_seconds(usable.shortest_limit)} on are judged without a warning of it"
    )


def _cells(step: Step) -> tuple[str, ...]:
    return (
        format_number(step.rate),
        format_number(step.answered),
        format_ratio(step.cpu),
        format_seconds(step.lag),
        format_seconds(step.lateness),
        "above all" if step.response is None else format_seconds(step.response),
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
