"""criteria.json: the results of a session, for the gate, for tracing and for other programs.

All readers use this one document. A reader ignores keys that a later version added.
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
"""Name of the results file within the folder of reports."""
SCHEMA = 1
"""Version of the layout; other versions are refused. Fields are added, never renamed."""


@dataclass(frozen=True, slots=True)
class Suite:
    """The program that wrote the document."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class RunEntry:
    """One run of the session. Times in Unix seconds, durations in seconds."""

    letter: str
    """A, B …; criteria refer to it."""
    id: str
    load: str
    """The load in words: "1000 users"."""
    stated: Mapping[str, float] | None
    """For a rehearsal the stated {"level", "hold"}; None for a run at the stated load."""
    started: float
    seconds: float
    ended: str
    """The ending of the run in words."""
    ending: Mapping[str, str]
    """The ending as {"kind", "detail"}."""
    criteria: int
    """Number of criteria judged on the run."""
    warnings: tuple[str, ...]
    plan: Mapping[str, Any]
    distributions: tuple[Mapping[str, Any], ...] = ()
    """The requested distributions beside the drawn ones, if the plan states skewed times."""
    tenant_sizes: Mapping[str, Any] | None = None
    """For such a plan, each tenant's share of the operations, the Zipf exponent that fits best, and
    the same figures of the accounts."""


@dataclass(frozen=True, slots=True)
class VerdictEntry:
    """A verdict as JSON values (seconds, bytes, ratios 0-1, per second); None if not finite."""

    status: Status
    reason: str
    criterion: str = ""
    measured: float | None = None
    limit: float | None = None
    unit: str = ""
    margin: float | None = None
    """Distance of the measured value from the limit, as a ratio of the limit."""
    interval: tuple[float | None, float | None] | None = None
    samples: int = 0
    effective_samples: float | None = None
    window: Mapping[str, Any] | None = None
    run: str = ""
    """Id of the run."""
    rehearsed: str = ""
    """What was scaled; empty for a run at the stated load."""
    censored: bool = False
    warnings: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CriterionEntry:
    """One `Then` line and its verdict."""

    sentence: str
    feature_file: str
    line: int
    advisory: bool
    """Is it reported only, and never blocks a release?"""
    verdict: VerdictEntry
    id: str = ""
    """Stable id of the criterion, independent of its line in the file."""
    feature: str = ""
    scenario: str = ""
    scenario_line: int = 0
    keyword: str = ""
    tags: tuple[str, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)
    """The example of a scenario outline: column and value."""
    requirements: tuple[str, ...] = ()
    level: str = ""
    area: str = ""
    run: str = ""
    """The letter of the run that was judged."""
    started: float = 0.0
    stopped: float = 0.0
    failures_by_kind: Mapping[str, int] = field(default_factory=dict)
    """The number of failed operations of its scope and timing in its window, by kind.

    This field and the next two are empty for a criterion that passed."""
    examples: tuple[Mapping[str, Any], ...] = ()
    """The first failures of each kind, at most 20; as in `run.schema.json`."""
    by_timing: Mapping[str, Any] = field(default_factory=dict)
    """By key of the timing, the criterion's own first: {"name", "operations", "failed",
    "failures_by_kind", "slowest"}, the last with at most 20 examples."""
    above_limit: Mapping[str, Any] = field(default_factory=dict)
    """For a failed criterion on times, its operations above the limit: {"limit", "count",
    "operations", "first", "last", "by_label", "by_tenant", "by_region"}, in seconds and ratios.

    `first` and `last` are seconds since the start of the load. Both are null for never. `last` is
    also null for the end of the load."""

    @property
    def where(self) -> str:
        """file:line of the sentence."""
        return f"{self.feature_file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Results:
    """All results of a session."""

    criteria: tuple[CriterionEntry, ...]
    runs: tuple[RunEntry, ...] = ()
    suite: Suite = Suite("", "")
    environment: str = ""
    started: float = 0.0
    stopped: float = 0.0
    exit_code: int = 2
    """Exit code of the session."""
    schema: int = SCHEMA


def write(results: Results, reports: Path) -> Path:
    """Write the document atomically into the folder of reports, and return the file."""
    reports.mkdir(parents=True, exist_ok=True)
    file = reports / FILE
    temporary = reports / f".{FILE}.{os.getpid()}"
    data = plain(results)
    # The schema is the first key, so that readers of the file see it first.
    text = json.dumps({"schema": results.schema, **data}, indent=1, ensure_ascii=False, allow_nan=False)
    temporary.write_text(text + "\n", encoding="utf-8")
    temporary.replace(file)
    return file


def read(path: Path) -> Results:
    """Read the document from a file, or from criteria.json in a folder.

    Raises:
        ConfigurationError: the file is missing, empty, of another schema, or not of this kind.

    """
    if path.is_dir():
        path = path / FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"{path}: {error.strerror or error}; expected the results that behave writes at the end"
        ) from None
    except ValueError as error:
        raise ConfigurationError(f"{path}: not the results of a session: {error}") from None
    if isinstance(data, dict) and data.get("schema") != SCHEMA:
        raise ConfigurationError(f"{path}: schema {data.get('schema')!r}, expected {SCHEMA}")
    return structure(Results, data, f"{path}: not the results of a session", allow_unknown=True)


def plain(value: Any) -> Any:
    """A value as JSON values: dataclasses as objects, enums as text, tuples as lists.

    Numbers of other libraries become plain numbers. Numbers that are not finite become null.
    """
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
