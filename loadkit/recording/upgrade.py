"""Converts run.json of earlier formats to the current format."""

from collections.abc import Mapping
from typing import Any

from loadkit.errors import ConfigurationError
from loadkit.recording.ending import Ending
from loadkit.recording.worker_second import (
    BLOCKED,
    DROPPED,
    HELD,
    HTTPX_REQUESTS,
    IN_FLIGHT,
    OUT_OF_DESCRIPTORS,
    SCHEDULED,
    SENT,
)
from loadkit.workload.plan import PLAIN_NAMES
from loadkit.workload.workload import Model

__all__ = ["FORMAT", "upgraded", "upgraded_plan"]

FORMAT = 4
"""The version of the layout. Later versions are refused.

1: a plan had one workload; a worker's second had a field for each count.
2: a plan has populations; counts and gauges of a second have names.
3: the wrong writes of a run have moments and tenants.
4: the writes of a run have the instances that answered. Where they are missing, none is known.
"""

_COUNTS = {
    "scheduled": SCHEDULED,
    "sent": SENT,
    "blocked": BLOCKED,
    "dropped": DROPPED,
    "starved": OUT_OF_DESCRIPTORS,
    "by_httpx": HTTPX_REQUESTS,
}
_GAUGES = {"held": HELD, "in_flight": IN_FLIGHT}
_RETIRED = {
    "plan": {"requirements", "workload"},
    "action": {"arguments"},
    "scaling": {"stated_users"},
    "run": {"beats", "gaps", "happenings"},
}
"""Keys that are no longer used, by the object that had them."""


def upgraded(data: dict[str, Any]) -> dict[str, Any]:
    """Convert the content of run.json to the current format.

    Raises:
        ConfigurationError: the format is unknown or newer than this version.
        KeyError, TypeError, AttributeError, ValueError: the content does not match its format.

    """
    written = data.get("format")
    if written not in range(1, FORMAT + 1):
        raise ConfigurationError(f"a run of format {written}; this version reads the formats 1 to {FORMAT}")
    if written == 1:
        data = _of_populations(data)
    if written in {1, 2}:
        data = _of_wrong_records(data)
    return {**data, "format": FORMAT}


def _of_populations(data: Mapping[str, Any]) -> dict[str, Any]:
    """Convert format 1 to format 2."""
    plan = upgraded_plan(data["plan"])
    population = plan["populations"][0]["name"]
    ending = Ending.read(data["ended"])
    return {
        **_without(data, "run"),
        "plan": plan,
        "ending": {"kind": ending.kind.value, "detail": ending.detail},
        "events": data["happenings"],
        "stalls": [{"start": start, "end": end, "population": population} for start, end in data["gaps"]],
        "worker_seconds": [_second(beat, population) for beat in data["beats"]],
    }


def _of_wrong_records(data: dict[str, Any]) -> dict[str, Any]:
    """Convert format 2 to format 3."""
    database = data.get("database")
    if database is None or database["writes"] is None:
        return data
    writes = dict(database["writes"])
    for kind, examples in (
        ("lost", "lost_examples"),
        ("doubled", "doubled_examples"),
        ("phantoms", "phantom_examples"),
    ):
        ids = [{"id": each} for each in writes.pop(examples)]
        writes[kind] = {"number": writes[kind], "examples": ids}
    return {**data, "database": {**database, "writes": writes}}


def upgraded_plan(data: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a plan of format 1 to the current format.

    Its workload becomes its only population.
    """
    workload = data["workload"]
    population = {
        "name": PLAIN_NAMES[Model(workload["model"])],
        "workload": workload,
        "stated_level": data["scaling"]["stated_users"],
    }
    return {
        **_without(data, "plan"),
        "populations": [population],
        "actions": [_without(action, "action") for action in data["actions"]],
        "scaling": _without(data["scaling"], "scaling"),
    }


def _second(beat: Mapping[str, Any], population: str) -> dict[str, Any]:
    kept = ("worker", "second", "cpu_seconds", "longest_pause", "memory_bytes")
    return {
        **{name: beat[name] for name in kept},
        "clock_offset": beat.get("clock_ahead", 0.0),
        "counts": {population: {new: beat.get(old, 0) for old, new in _COUNTS.items()}},
        "gauges": {population: {new: float(beat[old]) for old, new in _GAUGES.items()}},
    }


def _without(data: Mapping[str, Any], kind: str) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key not in _RETIRED[kind]}
