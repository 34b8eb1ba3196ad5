"""A scenario read before any load: its plan and its criteria, or why it cannot be judged.

Given, When and Then steps only describe. So they can be carried out on a `Page` in place of behave's context, on which
a Then notes its criterion instead of judging it; what a dry run prints and what a run does cannot disagree.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from behave.model import Scenario, Step

from loadkit import grammar
from loadkit.criterion import Criterion
from loadkit.environment.environment import Environment
from loadkit.errors import LoadkitError, PhraseError
from loadkit.planning import lint
from loadkit.planning import plan as planning
from loadkit.planning.draft import Draft
from loadkit.workload.plan import Plan

__all__ = ["Page", "Reading", "read"]


@dataclass(slots=True)
class Page:
    """What a step sees of behave's context."""

    draft: Draft = field(default_factory=Draft)
    criteria: list[Criterion] = field(default_factory=list)
    sentence: str = ""
    """Of the step at hand, without its keyword."""
    table: Any = None
    text: Any = None

    def judge(self, criterion: Criterion) -> None:
        """Note what would be judged."""
        self.criteria.append(criterion)

    def use_with_user_mode(self) -> AbstractContextManager[None]:
        """What behave asks of its context around a step."""
        return nullcontext()


@dataclass(frozen=True, slots=True)
class Reading:
    """What a scenario says."""

    criteria: tuple[Criterion, ...]
    plan: Plan | None
    """None where there are problems."""
    problems: tuple[str, ...] = ()
    """Each in one line that begins with file:line."""
    references: tuple[tuple[str, Plan], ...] = ()
    """The plans at other load levels that its criteria compare with, by level."""


def read(
    scenario: Scenario, registry: Any, environment: Environment, journeys: Mapping[str, str], seed: int
) -> Reading:
    """Read a scenario.

    Args:
        scenario: of behave's model.
        registry: behave's step registry.
        environment: whose levels, mixes and permissions hold.
        journeys: ``module:function`` by title.
        seed: fixes schedule and shapes.

    """
    page = Page()
    problems: list[str] = []
    first_then: Step | None = None
    for step in scenario.all_steps:
        if step.step_type == "then":
            first_then = first_then or step
        elif first_then is not None:
            problems.append(
                f'{step.filename}:{step.line}: "{step.keyword} {step.name}" stands after the Then of line '
                f"{first_then.line}, which put the load on; move it before"
            )
            continue
        trouble = _trouble(step, page, registry)
        if trouble:
            problems.append(trouble)
    if first_then is None:
        problems.append(
            f'{scenario.filename}:{scenario.line}: "{scenario.name}" judges nothing; it needs a Then'
        )
    if problems:
        return Reading(tuple(page.criteria), None, tuple(problems))
    try:
        plan = planning.plan(page.draft, environment, journeys, seed)
        environment.allow(plan)
        for criterion in page.criteria:
            lint.require_known(criterion, environment)
            lint.require_population(criterion, plan)
            lint.require_reachable(criterion, plan)
        levels = dict.fromkeys(each.reference.level for each in page.criteria if each.reference is not None)
        references = tuple(
            (level, planning.beside(level, page.draft, environment, journeys, seed)) for level in levels
        )
        for _, reference in references:
            environment.allow(reference)
    except LoadkitError as error:
        return Reading(tuple(page.criteria), None, (f"{scenario.filename}:{scenario.line}: {error}",))
    return Reading(tuple(page.criteria), plan, references=references)


def _trouble(step: Step, page: Page, registry: Any) -> str:
    """Carry a step out on a page; what is wrong with it in one line, empty where nothing is."""
    where = f"{step.filename}:{step.line}"
    match = registry.find_match(step)
    if match is None:
        unread = grammar.explain(step.name) or PhraseError(
            step.name, step.keyword, f"it is a sentence, but none that follows {step.step_type.title()}"
        )
        return str(PhraseError(unread.sentence, unread.word, unread.expected, where))
    page.sentence, page.table, page.text = step.name, step.table, step.text
    try:
        match.run(page)
    except PhraseError as error:
        return str(PhraseError(step.name, error.word, error.expected, where))
    except LoadkitError as error:
        return f'{where}: "{step.name}": {error}'
    except Exception as error:
        # Whatever a step of the suite's users may raise: their scenario is not judged, the others are.
        return f'{where}: "{step.name}": {type(error).__name__}: {error}'
    return ""
