"""What a session came to: its runs, and every criterion with its verdict and what was done before it was judged.

The reporter collects one `Outcome`; the results file, the Allure results and the table on the terminal are views of it.
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
"""Seconds; below it, minutes alone do not tell when a run was."""


@dataclass(frozen=True, slots=True)
class ContextStep:
    """A Given or When that stood before a criterion."""

    text: str
    """With its keyword: "Given 1000 concurrent users"."""
    has_held: bool
    message: str = ""
    """Why it did not hold, in one line."""
    table: str = ""
    """Its table as written; empty without one."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A criterion at the end of the session."""

    result: CriterionResult
    context: tuple[ContextStep, ...] = ()
    """The Givens and Whens of its scenario, in order."""
    promise: str = ""
    """The feature's description: what is promised, in the product's words."""

    @property
    def scenario(self) -> str:
        """The scenario's name, with the values of its example that the name does not tell."""
        name = plain_name(self.result.scenario)
        example = ", ".join(value for _, value in self.result.parameters if value not in name)
        return f"{name} ({example})" if example else name


@dataclass(frozen=True, slots=True)
class Outcome:
    """A session that has ended."""

    criteria: tuple[Finished, ...]
    """In Gherkin order."""
    environment: str
    """Its name, as in environments/NAME.toml."""
    started: float
    """Unix seconds."""
    stopped: float
    """Unix seconds."""
    evidence: Mapping[str, Evidence] = field(default_factory=dict)
    """What the runs show, by letter, in the order they ran."""

    @property
    def runs(self) -> dict[str, Run]:
        """The runs by letter, in the order they ran."""
        return {letter: evidence.run for letter, evidence in self.evidence.items()}

    @property
    def code(self) -> int:
        """The exit code: over all criteria that are not advisory; 2 where there is none."""
        return exit_code(judged.status for judged in self.judged if not judged.is_advisory)

    @property
    def judged(self) -> list[Judged]:
        """The criteria as the gate sees them."""
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
    """A run in one sentence: "Run A (1000 users, 14:02–14:09) judges 8 criteria"; local time, as on the reader's clock."""
    noun = "criterion" if criteria == 1 else "criteria"
    cut = "" if run.is_complete else f"; cut short: {run.ended}"
    return f"Run {letter} ({run.plan.in_words}, {span(run)}) judges {criteria} {noun}{cut}"


def span(run: Run) -> str:
    """When it was, in local time: "14:02–14:09"; with seconds where it was short."""
    form = "%H:%M" if run.ended_at >= _SHORT else "%H:%M:%S"
    return "–".join(
        time.strftime(form, time.localtime(moment)) for moment in (run.started, run.started + run.ended_at)
    )
