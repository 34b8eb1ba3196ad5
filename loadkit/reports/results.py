"""criteria.json: what a session found, for the gate, for tracing and for other programs.

One document for all who read it. A reader ignores keys that a later version added.
"""

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loadkit.errors import ConfigurationError
from loadkit.structuring import structure
from loadkit.verdict import Status

__all__ = [
    "FILE",
    "SCHEMA",
    "CriterionEntry",
    "Results",
    "RunEntry",
    "Suite",
    "VerdictEntry",
    "plain",
    "read",
    "write",
]

FILE = "criteria.json"
"""The name of the results file within a session's folder of reports."""
SCHEMA = 1
"""The version of its layout; another one is refused, not guessed at. Fields are added, never renamed."""


@dataclass(frozen=True, slots=True)
class Suite:
    """What wrote the document."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class RunEntry:
    """One run of the session. Times in Unix seconds, durations in seconds."""

    letter: str
    """A, B …: as criteria refer to it."""
    id: str
    load: str
    """In words: "1000 users"."""
    stated: Mapping[str, float] | None
    """Of a rehearsal the stated {"level", "hold"}; None for the real thing."""
    started: float
    seconds: float
    ended: str
    """How it ended, in words."""
    ending: Mapping[str, str]
    """The same as {"kind", "detail"}."""
    criteria: int
    """How many were judged on it."""
    warnings: tuple[str, ...]
    plan: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class VerdictEntry:
    """A verdict as JSON has it: seconds, bytes, ratios 0-1, counts per second. What is not finite is None."""

    status: Status
    reason: str
    criterion: str = ""
    measured: float | None = None
    limit: float | None = None
    unit: str = ""
    margin: float | None = None
    """How far the measured value is from the limit, as a share of the limit."""
    interval: tuple[float | None, float | None] | None = None
    samples: int = 0
    effective_samples: float | None = None
    window: Mapping[str, Any] | None = None
    run: str = ""
    """The run's id."""
    rehearsed: str = ""
    """What was scaled; empty for the real thing."""
    censored: bool = False
    warnings: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CriterionEntry:
    """One `Then` line and what came of it."""

    sentence: str
    feature_file: str
    line: int
    advisory: bool
    """Does it only report, and never block?"""
    verdict: VerdictEntry
    id: str = ""
    """The same for the same criterion, wherever in its file it stands."""
    feature: str = ""
    scenario: str = ""
    scenario_line: int = 0
    keyword: str = ""
    tags: tuple[str, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)
    """The example of an outline: column and value."""
    requirements: tuple[str, ...] = ()
    level: str = ""
    area: str = ""
    run: str = ""
    """The letter of the run that was judged."""
    started: float = 0.0
    stopped: float = 0.0

    @property
    def where(self) -> str:
        """file:line of the sentence."""
        return f"{self.feature_file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Results:
    """All that a session found."""

    criteria: tuple[CriterionEntry, ...]
    runs: tuple[RunEntry, ...] = ()
    suite: Suite = Suite("", "")
    environment: str = ""
    started: float = 0.0
    stopped: float = 0.0
    exit_code: int = 2
    """What the session left with."""
    schema: int = SCHEMA


def write(results: Results, reports: Path) -> Path:
    """Write the document into a session's folder, whole or not at all, and return the file."""
    reports.mkdir(parents=True, exist_ok=True)
    file = reports / FILE
    passing = reports / f".{FILE}.{os.getpid()}"
    data = plain(results)
    # The schema first: who opens the file sees at once what it is.
    text = json.dumps({"schema": results.schema, **data}, indent=1, ensure_ascii=False, allow_nan=False)
    passing.write_text(text + "\n", encoding="utf-8")
    passing.replace(file)
    return file


def read(path: Path) -> Results:
    """The document in a file, or in a folder's criteria.json.

    Raises:
        ConfigurationError: it is missing, empty, of another schema, or not what a session writes.

    """
    if path.is_dir():
        path = path / FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"{path}: {error.strerror or error}; a session writes it at its end"
        ) from None
    except ValueError as error:
        raise ConfigurationError(f"{path}: not the results of a session: {error}") from None
    if isinstance(data, dict) and data.get("schema") != SCHEMA:
        raise ConfigurationError(f"{path}: schema {data.get('schema')!r}, this version reads {SCHEMA}")
    return structure(Results, data, f"{path}: not the results of a session", allow_unknown=True)


def plain(value: Any) -> Any:
    """A value as JSON has it: dataclasses as objects, enums as text, tuples as lists, other libraries' numbers as such, null for what is not finite."""
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, bool) or value is None:
        return value
    if hasattr(value, "tolist"):  # numpy's scalars and arrays
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int):
        return value
    return str(value)
