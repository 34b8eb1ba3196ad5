"""reports/criteria.json: all results of a session, for the gate, for tracing and for other programs.

::

    schema        1
    suite         {"name", "version"}
    environment   as in environments/NAME.toml
    started, stopped      Unix seconds
    exit_code     what the session left with
    runs          [{"letter", "id", "load", "stated", "started", "seconds", "ended", "ending", "criteria",
                  "warnings", "plan"}]
    criteria      [{"id", "feature", "feature_file", "scenario", "scenario_line", "line", "keyword", "sentence", "tags",
                    "parameters", "requirements", "level", "area", "advisory", "run", "started", "stopped", "verdict"}]
    verdict       {"criterion", "status", "reason", "measured", "limit", "unit", "margin", "interval", "samples",
                    "effective_samples", "window", "run", "rehearsed", "censored", "warnings", "details"}

Values are seconds, bytes, ratios 0-1 and counts per second. A number that is not finite is null.
"""

import json
import math
import os
from collections import Counter
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from loadkit.recording.run import Run
from loadkit.reports.gate import FILE, SCHEMA
from loadkit.reports.summary import verdict_json
from steps.suite.outcome import Finished, Outcome

__all__ = ["SUITE", "document", "plain", "remove", "suite_version", "write"]

SUITE = "sla-acceptance"
"""The name of the distribution."""


def remove(reports: Path) -> None:
    """Take away what an earlier session wrote."""
    (reports / FILE).unlink(missing_ok=True)


def write(outcome: Outcome, reports: Path) -> Path:
    """Write the results of a session, whole or not at all, and return the file."""
    reports.mkdir(parents=True, exist_ok=True)
    file = reports / FILE
    passing = reports / f".{FILE}.{os.getpid()}"
    passing.write_text(
        json.dumps(document(outcome), indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
    )
    passing.replace(file)
    return file


def document(outcome: Outcome) -> dict[str, Any]:
    """The results as JSON values."""
    counts = Counter(finished.result.run for finished in outcome.criteria)
    return {
        "schema": SCHEMA,
        "suite": {"name": SUITE, "version": suite_version()},
        "environment": outcome.environment,
        "started": outcome.started,
        "stopped": outcome.stopped,
        "exit_code": outcome.code,
        "runs": [_run(letter, run, counts[letter]) for letter, run in outcome.runs.items()],
        "criteria": [_criterion(finished) for finished in outcome.criteria],
    }


def suite_version() -> str:
    """The installed version of the suite."""
    try:
        return version(SUITE)
    except PackageNotFoundError:
        return "not installed"


def plain(value: Any) -> Any:
    """A value as JSON has it: enums as text, tuples as lists, other libraries' numbers as such, null for what is not finite."""
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


def _run(letter: str, run: Run, criteria: int) -> dict[str, Any]:
    scaling = run.plan.scaling
    return {
        "letter": letter,
        "id": run.id,
        "load": run.plan.in_words,
        "stated": {"level": run.plan.populations[0].stated_level, "hold": scaling.stated_hold}
        if scaling.is_rehearsal
        else None,
        "started": run.started,
        "seconds": run.ended_at,
        "ended": str(run.ended),
        "ending": {"kind": run.ended.kind, "detail": run.ended.detail},
        "criteria": criteria,
        "warnings": list(run.warnings),
        "plan": plain(run.plan.to_json()),
    }


def _criterion(finished: Finished) -> dict[str, Any]:
    result = finished.result
    return {
        "id": result.identity,
        "feature": result.feature,
        "feature_file": result.feature_file,
        "scenario": result.scenario,
        "scenario_line": result.scenario_line,
        "line": result.line,
        "keyword": result.keyword,
        "sentence": result.sentence,
        "tags": sorted(result.tags),
        "parameters": dict(result.parameters),
        "requirements": list(result.requirements),
        "level": result.level,
        "area": result.area,
        "advisory": result.advisory,
        "run": result.run,
        "started": result.started,
        "stopped": result.stopped,
        "verdict": plain({**verdict_json(result.verdict), "margin": result.verdict.margin}),
    }
