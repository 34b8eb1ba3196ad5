"""The result of one `Then` line, for the reports."""

import re
from dataclasses import dataclass
from typing import Self

from behave.model import Feature, Scenario, Step

from loadkit.verdict import Verdict

__all__ = ["AREAS", "LEVELS", "CriterionResult", "plain_name"]

LEVELS = ("baseline", "normal", "peak", "stress")
"""Tags of the load levels."""
AREAS = ("api", "websocket", "database", "system", "scalability", "operations")
"""Tags of the areas of the product."""

_REQUIREMENT = re.compile(r"[A-Z]+-[0-9]+")
_EXAMPLE = re.compile(r" -- @[0-9]+\.[0-9]+.*$")
"""The suffix that behave adds to an outline's name for an example. It depends on the row order."""


@dataclass(frozen=True, slots=True)
class CriterionResult:
    """One criterion of one scenario, with its verdict."""

    feature: str
    feature_file: str
    """Path as passed to behave: "features/api/peak.feature"."""
    scenario: str
    """Name of the scenario; for an outline with the suffix of the example."""
    scenario_line: int
    line: int
    """Line of the `Then`."""
    keyword: str
    """"Then", "And", "But"."""
    sentence: str
    """The criterion without its keyword."""
    tags: tuple[str, ...]
    """Tags of the scenario and its feature."""
    parameters: tuple[tuple[str, str], ...]
    """The example of a scenario outline: column and value."""
    verdict: Verdict
    run: str
    """The letter of the run that was judged; empty without a run."""
    started: float
    """Unix seconds."""
    stopped: float
    """Unix seconds."""

    @classmethod
    def of(
        cls,
        feature: Feature,
        scenario: Scenario,
        step: Step,
        verdict: Verdict,
        *,
        run: str,
        started: float,
        stopped: float,
    ) -> Self:
        """The result of a step of behave's model; times in Unix seconds."""
        row = getattr(scenario, "_row", None)  # behave has no public name for the example
        return cls(
            feature=feature.name,
            feature_file=scenario.filename,
            scenario=scenario.name,
            scenario_line=scenario.line,
            line=step.line,
            keyword=step.keyword,
            sentence=step.name,
            tags=tuple(str(tag) for tag in scenario.effective_tags),
            parameters=tuple(row.items()) if row is not None else (),
            verdict=verdict,
            run=run,
            started=started,
            stopped=stopped,
        )

    @property
    def identity(self) -> str:
        """Stable id of the criterion, independent of its line in the file."""
        example = ",".join(f"{name}={value}" for name, value in self.parameters)
        return " > ".join(
            part for part in (self.feature_file, plain_name(self.scenario), example, self.sentence) if part
        )

    @property
    def requirements(self) -> tuple[str, ...]:
        """The ids of the requirements it judges: ("API-1",)."""
        return tuple(sorted(tag for tag in self.tags if _REQUIREMENT.fullmatch(tag)))

    @property
    def level(self) -> str:
        """The load level in its tags; empty without one."""
        return next((level for level in LEVELS if level in self.tags), "")

    @property
    def area(self) -> str:
        """The area in its tags; empty without one."""
        return next((area for area in AREAS if area in self.tags), "")

    @property
    def advisory(self) -> bool:
        """Is the criterion only reported, so that it never blocks a release?"""
        return "advisory" in self.tags


def plain_name(scenario: str) -> str:
    """The name of a scenario without the suffix that behave adds for an example."""
    return _EXAMPLE.sub("", scenario)
