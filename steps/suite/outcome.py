"""The outcome of a session: its runs, and its criteria with verdicts and Given and When steps.

The reporter collects one `Outcome`. The results file, the Allure results and the table on the
terminal are views of it.
"""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from loadkit.judging.evidence import Evidence
from loadkit.recording.run import Run
from loadkit.reports.gate import Judged
from loadkit.verdict import exit_code
from steps.suite.results import CriterionResult, plain_name

__all__ = ["ContextStep", "Finished", "Outcome", "run_line", "span"]

_SHORT = 120
"""A duration in seconds. The clock times of shorter runs are shown with seconds."""


@dataclass(frozen=True, slots=True)
class ContextStep:
    """A Given or When step before a criterion."""

    text: str
    """The step with its keyword: "Given 1000 concurrent users"."""
    has_held: bool
    """Did the step succeed?"""
    message: str = ""
    """Why the step failed, in one line."""
    table: str = ""
    """The table of the step as written; empty without one."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A criterion at the end of the session."""

    result: CriterionResult
    context: tuple[ContextStep, ...] = ()
    """The Given and When steps of its scenario, in order."""
    promise: str = ""
    """The description of the feature: what the product promises."""

    @property
    def scenario(self) -> str:
        """The scenario's name, with the values of its example that the name does not contain."""
        name = plain_name(self.result.scenario)
        example = ", ".join(value for _, value in self.result.parameters if value not in name)
        return f"{name} ({example})" if example else name


@dataclass(frozen=True, slots=True)
class Outcome:
    """A session that has ended."""

    criteria: tuple[Finished, ...]
    """In the order of the feature files."""
    environment: str
    """Name of the environment, as in environments/NAME.toml."""
    started: float
    """Unix seconds."""
    stopped: float
    """Unix seconds."""
    evidence: Mapping[str, Evidence] = field(default_factory=dict)
    """The evidence of the runs, by letter, in the order they ran."""

    @property
    def runs(self) -> dict[str, Run]:
        """The runs by letter, in the order they ran."""
        return {letter: evidence.run for letter, evidence in self.evidence.items()}

    @property
    def code(self) -> int:
        """The exit code over all criteria that are not advisory; 2 if there is none."""
        return exit_code(judged.status for judged in self.judged if not judged.is_advisory)

    @property
    def judged(self) -> list[Judged]:
        """The criteria in the form that the gate needs."""
        return [
            Judged(
                sentence=finished.result.sentence,
                where=f"{finished.result.feature_file}:{finished.result.line}",
                status=finished.result.verdict.status,
                reason=finished.result.verdict.reason,
                rehearsed=finished.result.verdict.rehearsed,
                is_advisory=finished.result.advisory,
            )
            for finished in self.criteria
        ]

    def run_lines(self) -> list[str]:
        """One sentence for each run, in order."""
        counts = Counter(finished.result.run for finished in self.criteria)
        return [run_line(letter, run, counts[letter]) for letter, run in self.runs.items()]


def run_line(letter: str, run: Run, criteria: int) -> str:
    """A run in one sentence, in local time: "Run A (1000 users, 14:02–14:09) judges 8 criteria"."""
    noun = "criterion" if criteria == 1 else "criteria"
    cut = "" if run.is_complete else f"; cut short: {run.ended}"
    return f"Run {letter} ({run.plan.in_words}, {span(run)}) judges {criteria} {noun}{cut}"


def span(run: Run) -> str:
    """Start and end in local time: "14:02–14:09"; with seconds for a short run."""
    form = "%H:%M" if run.ended_at >= _SHORT else "%H:%M:%S"
    return "–".join(
        time.strftime(form, time.localtime(moment)) for moment in (run.started, run.started + run.ended_at)
    )
