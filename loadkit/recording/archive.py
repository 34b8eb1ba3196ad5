"""Runs on disk: one folder each, kept so that a run can be judged again without load.

::

    RUNS/20261123-1402-ab12/
      run.json          plan, times, beats, gaps, probes, facts: all but the tables
      slices.npz        the slice table, packed as `loadkit.recording.slices` has it
      observations.npz  raw scrapes of every named measure

A folder is written under a passing name and renamed when it is whole: what has a run's name can be read.
"""

import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from loadkit.errors import ConfigurationError
from loadkit.observers.observation import Observation, Reading, Series
from loadkit.recording.ending import Ending, EndingKind
from loadkit.recording.run import Event, Run
from loadkit.recording.slices import SliceTable, Stall, WorkerSecond
from loadkit.workload.workload import Plan

__all__ = ["FORMAT", "find", "load", "save"]

FORMAT = 1
"""The version of the layout; another one is refused, not guessed at."""


def save(run: Run, runs: Path) -> Path:
    """Write a run into its folder under `runs`, and return that folder.

    Raises:
        ConfigurationError: it cannot be written (no space, no permission); nothing half-written keeps the run's name.

    """
    folder = runs / run.id
    try:
        runs.mkdir(parents=True, exist_ok=True)
        passing = Path(tempfile.mkdtemp(prefix=f".{run.id}-", dir=runs))
        try:
            _write(run, passing)
            if folder.exists():
                shutil.rmtree(folder)
            passing.replace(folder)
        except BaseException:
            shutil.rmtree(passing, ignore_errors=True)
            raise
    except OSError as error:
        raise ConfigurationError(f"cannot keep run {run.id} in {runs}: {error.strerror or error}") from None
    return folder


def load(folder: Path) -> Run:
    """Read a run's folder.

    Raises:
        ConfigurationError: it is not a run, or of another format.

    """
    try:
        data = json.loads((folder / "run.json").read_text())
        if data.get("format") != FORMAT:
            raise ConfigurationError(f"{folder}: format {data.get('format')}, this version reads {FORMAT}")
        with np.load(folder / "slices.npz") as arrays:
            table = SliceTable(
                series=data["series"],
                outcomes=data["outcomes"],
                keys=arrays["keys"],
                counts=arrays["counts"],
                cells=arrays["cells"],
                sums=arrays["sums"],
            )
        with np.load(folder / "observations.npz") as arrays:
            observations = {
                name: _observation(fields, dict(arrays)) for name, fields in data["observations"].items()
            }
        return Run(
            id=data["id"],
            plan=Plan.from_json(data["plan"]),
            started=data["started"],
            table=table,
            worker_seconds=tuple(_worker_second(fields) for fields in data["beats"]),
            stalls=tuple(Stall(*stall) for stall in data["gaps"]),
            observations=observations,
            probes=tuple((moment, answered) for moment, answered in data["probes"]),
            events=tuple(Event(**event) for event in data["happenings"]),
            workers=data["workers"],
            groups={name: tuple(patterns) for name, patterns in data["groups"].items()},
            ended=_ending(data),
            ended_at=data["ended_at"],
            warnings=tuple(data["warnings"]),
            facts=data["facts"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"{folder} is not a run that can be read: {error}") from None


def _ending(data: Mapping[str, Any]) -> Ending:
    """How a run ended; earlier versions kept only the words."""
    if "ending" not in data:
        return Ending.read(data["ended"])
    return Ending(EndingKind(data["ending"]["kind"]), data["ending"]["detail"])


_RENAMED = {"starved": "out_of_descriptors", "by_httpx": "httpx_requests", "clock_ahead": "clock_offset"}
"""Fields of a worker's second as earlier versions wrote them."""


def _worker_second(fields: dict[str, Any]) -> WorkerSecond:
    """A worker's second from its JSON values."""
    return WorkerSecond(**{_RENAMED.get(name, name): value for name, value in fields.items()})


def find(name: str, runs: Path) -> Path:
    """The folder of a run given as a path, as an id, or as the unique beginning of one; "last" is the newest.

    Raises:
        ConfigurationError: there is none, or several.

    """
    if (Path(name) / "run.json").is_file():
        return Path(name)
    known = sorted(path.parent for path in runs.glob("*/run.json")) if runs.is_dir() else []
    if name == "last" and known:
        return known[-1]
    matching = [folder for folder in known if folder.name.startswith(name)]
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise ConfigurationError(f'"{name}" may be {" or ".join(folder.name for folder in matching[:5])}')
    raise ConfigurationError(
        f'no run "{name}" in {runs}; the newest is {known[-1].name if known else "none"}'
    )


def _write(run: Run, folder: Path) -> None:
    arrays: dict[str, Any] = {}
    observations = {
        observation.name: _fields(observation, str(number), arrays)
        for number, observation in enumerate(run.observations.values())
    }
    data = {
        "format": FORMAT,
        "id": run.id,
        "plan": run.plan.to_json(),
        "started": run.started,
        "ended": str(run.ended),
        "ending": {"kind": run.ended.kind, "detail": run.ended.detail},
        "ended_at": run.ended_at,
        "workers": run.workers,
        "groups": {name: list(patterns) for name, patterns in run.groups.items()},
        "warnings": list(run.warnings),
        "facts": dict(run.facts),
        "series": run.table.series,
        "outcomes": run.table.outcomes,
        "observations": observations,
        "happenings": [dataclasses.asdict(event) for event in run.events],
        "probes": [list(probe) for probe in run.probes],
        "gaps": [[stall.start, stall.end] for stall in run.stalls],
        "beats": [dataclasses.asdict(worker_second) for worker_second in run.worker_seconds],
    }
    table = run.table
    np.savez_compressed(
        folder / "slices.npz", keys=table.keys, counts=table.counts, cells=table.cells, sums=table.sums
    )
    np.savez_compressed(folder / "observations.npz", **arrays)
    with (folder / "run.json").open("w") as file:
        json.dump(data, file, indent=1)
        file.flush()
        os.fsync(file.fileno())


_SERIES = ("series", "capacity")
"""The fields of an Observation that are raw scrapes, kept as arrays."""


def _fields(observation: Observation, prefix: str, arrays: dict[str, Any]) -> dict[str, Any]:
    """An observation as JSON values; its scrapes go to `arrays`, named after their place."""
    fields: dict[str, Any] = {
        field.name: getattr(observation, field.name)
        for field in dataclasses.fields(observation)
        if field.name not in _SERIES
    }
    for part in _SERIES:
        fields[part] = []
        for number, series in enumerate(getattr(observation, part)):
            place = f"{prefix}.{part}.{number}"
            arrays[f"{place}.times"], arrays[f"{place}.values"] = series.times, series.values
            fields[part].append([series.instance, place])
    return fields


def _observation(fields: dict[str, Any], arrays: dict[str, Any]) -> Observation:
    read = {
        part: tuple(
            Series(instance, arrays[f"{place}.times"], arrays[f"{place}.values"])
            for instance, place in fields[part]
        )
        for part in _SERIES
    }
    lifespans = {name: (span[0], span[1]) for name, span in fields["lifespans"].items()}
    return Observation(**{**fields, **read, "reading": Reading(fields["reading"]), "lifespans": lifespans})
