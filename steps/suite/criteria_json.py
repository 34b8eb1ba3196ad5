"""Converts the outcome of a session to its results document, `loadkit.reports.results`."""

import sys
from collections import Counter
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from loadkit.errors import one_line
from loadkit.judging.evidence import Evidence
from loadkit.recording.distributions import is_realistic
from loadkit.recording.run import Run
from loadkit.reports import distributions, results
from loadkit.reports.results import CriterionEntry, Results, RunEntry, Suite, VerdictEntry
from loadkit.verdict import Status, Verdict
from steps.suite.evidence import causes_of_result
from steps.suite.outcome import Finished, Outcome

__all__ = ["SUITE", "document", "remove", "suite_version", "write"]

SUITE = "sla-acceptance"
"""The name of the Python package of the suite."""


def remove(reports: Path) -> None:
    """Remove the results of an earlier session."""
    (reports / results.FILE).unlink(missing_ok=True)


def write(outcome: Outcome, reports: Path) -> Path:
    """Write the results of a session atomically, and return the file."""
    return results.write(document(outcome), reports)


def document(outcome: Outcome) -> Results:
    """The results of a session."""
    counts = Counter(finished.result.run for finished in outcome.criteria)
    return Results(
        suite=Suite(SUITE, suite_version()),
        environment=outcome.environment,
        started=outcome.started,
        stopped=outcome.stopped,
        exit_code=outcome.code,
        runs=tuple(_run(letter, run, counts[letter]) for letter, run in outcome.runs.items()),
        criteria=tuple(
            _criterion(finished, outcome.evidence.get(finished.result.run)) for finished in outcome.criteria
        ),
    )


def suite_version() -> str:
    """The installed version of the suite."""
    try:
        return version(SUITE)
    except PackageNotFoundError:
        return "not installed"


def _run(letter: str, run: Run, criteria: int) -> RunEntry:
    plan = run.plan
    stated = {"level": plan.populations[0].stated_level, "hold": plan.scaling.stated_hold}
    return RunEntry(
        letter=letter,
        id=run.id,
        load=plan.in_words,
        stated=stated if plan.scaling.is_rehearsal else None,
        started=run.started,
        seconds=run.ended_at,
        ended=str(run.ended),
        ending={"kind": run.ended.kind, "detail": run.ended.detail},
        criteria=criteria,
        warnings=tuple(run.warnings),
        plan=plan.to_json(),
        distributions=tuple(distributions.json_of(run)) if is_realistic(run) else (),
        tenant_sizes=distributions.tenants_json_of(run) if is_realistic(run) else None,
    )


def _criterion(finished: Finished, evidence: Evidence | None) -> CriterionEntry:
    result = finished.result
    causes: dict[str, Any] = {}
    if evidence is not None and result.verdict.status is not Status.PASS:
        try:
            causes = causes_of_result(result, evidence).to_json()
        except Exception as error:
            # A failed explanation must not prevent the verdicts of the session.
            print(f'no causes of "{result.sentence}": {one_line(error)}', file=sys.stderr)
    return CriterionEntry(
        id=result.identity,
        feature=result.feature,
        feature_file=result.feature_file,
        scenario=result.scenario,
        scenario_line=result.scenario_line,
        line=result.line,
        keyword=result.keyword,
        sentence=result.sentence,
        tags=tuple(sorted(result.tags)),
        parameters=dict(result.parameters),
        requirements=result.requirements,
        level=result.level,
        area=result.area,
        advisory=result.advisory,
        run=result.run,
        started=result.started,
        stopped=result.stopped,
        verdict=_verdict(result.verdict),
        **causes,
    )


def _verdict(verdict: Verdict) -> VerdictEntry:
    fields: dict[str, Any] = {name: getattr(verdict, name) for name in verdict.__slots__}
    window = asdict(verdict.window) if verdict.window is not None else None
    return VerdictEntry(**{**fields, "window": window, "margin": verdict.margin})
