"""What one `Then` line came to, as the reports take it over."""

import re
from dataclasses import dataclass
from typing import Self

from behave.model import Feature, Scenario, Step

from loadkit.verdict import Verdict

__all__ = ["AREAS", "LEVELS", "CriterionResult", "plain_name"]

LEVELS = ("baseline", "normal", "peak", "stress")
"""Tags of the load levels."""
AREAS = ("api", "websocket", "database", "system", "scalability", "operations")
"""Tags of the areas."""

_REQUIREMENT = re.compile(r"[A-Z]+-[0-9]+")
_EXAMPLE = re.compile(r" -- @[0-9]+\.[0-9]+.*$")
"""What behave adds to an outline's name for each example; it counts rows, so it changes when they are reordered."""


@dataclass(frozen=True, slots=True)
class CriterionResult:
    """One criterion of one scenario, with its verdict."""

    feature: str
    feature_file: str
    """As behave was given it: "features/api/peak.feature"."""
    scenario: str
    """Its name; of an outline with behave's mark of the example."""
    scenario_line: int
    line: int
    """Where the `Then` stands."""
    keyword: str
    """"Then", "And", "But"."""
    sentence: str
    """Without its keyword."""
    tags: tuple[str, ...]
    """Of the scenario and its feature."""
    parameters: tuple[tuple[str, str], ...]
    """The example of an outline: column and value."""
    verdict: Verdict
    run: str
    """The letter of the run that was judged; empty without one."""
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
        """A step of behave's model with what was found of it; times in Unix seconds."""
        row = getattr(scenario, "_row", None)  # behave gives the example of an outline no public name
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
        """The same for the same criterion, wherever in its file it stands."""
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
        """The load level it is tagged with; empty without one."""
        return next((level for level in LEVELS if level in self.tags), "")

    @property
    def area(self) -> str:
        """The area it is tagged with; empty without one."""
        return next((area for area in AREAS if area in self.tags), "")

    @property
    def advisory(self) -> bool:
        """Is it advice, no gate?"""
        return "advisory" in self.tags


def plain_name(scenario: str) -> str:
    """A scenario's name without what behave adds for the examples of an outline."""
    return _EXAMPLE.sub("", scenario)
