"""The reading of a scenario before any load: its plan and criteria, or its problems.

Given, When and Then steps only describe the load and the criteria. They are executed on a `Page`
instead of behave's context. A Then records its criterion without judging it. A dry run and a run
use the same reading.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

from behave.model import Scenario, Step

from loadkit import grammar
from loadkit.criterion import Criterion
from loadkit.environment.environment import Environment
from loadkit.errors import ConfigurationError, LoadkitError, PhraseError
from loadkit.planning import lint
from loadkit.planning import plan as planning
from loadkit.planning.draft import Draft
from loadkit.workload.plan import Plan

__all__ = ["Page", "Reading", "read"]


@dataclass(slots=True)
class Page:
    """The part of the context of behave that steps use."""

    draft: Draft = field(default_factory=Draft)
    criteria: list[Criterion] = field(default_factory=list)
    sentence: str = ""
    """The current step without its keyword."""
    below: dict[str, Any] = field(default_factory=dict)
    """The "table" and the "text" below the current step."""
    unread: set[str] = field(default_factory=set)
    """The names in `below` that the step has not read."""

    def begin(self, step: Step) -> None:
        """Make a step the current one."""
        self.sentence = step.name
        self.below = {
            name: value for name, value in (("table", step.table), ("text", step.text)) if value is not None
        }
        self.unread = set(self.below)

    @property
    def table(self) -> Any:
        """The table below the current step; None if there is none."""
        self.unread.discard("table")
        return self.below.get("table")

    @property
    def text(self) -> Any:
        """The text below the current step; None if there is none."""
        self.unread.discard("text")
        return self.below.get("text")

    def judge(self, criterion: Criterion) -> None:
        """Record a criterion."""
        self.criteria.append(criterion)

    def use_with_user_mode(self) -> AbstractContextManager[None]:
        """A context manager that behave requires around a step."""
        return nullcontext()


@dataclass(frozen=True, slots=True)
class Reading:
    """The content of a scenario."""

    criteria: tuple[Criterion, ...]
    plan: Plan | None
    """None if there are problems."""
    problems: tuple[str, ...] = ()
    """One line per problem, which begins with file:line."""
    references: tuple[tuple[str, Plan], ...] = ()
    """The plans of the reference loads of its criteria, with the words of each reference."""


def read(
    scenario: Scenario, registry: Any, environment: Environment, journeys: Mapping[str, str], seed: int
) -> Reading:
    """Read a scenario.

    Args:
        scenario: a scenario of behave's model.
        registry: step registry of behave.
        environment: defines the levels, mixes and permissions.
        journeys: ``module:function`` by title.
        seed: seed of the schedule and the load curves.

    """
    page = Page()
    problems: list[str] = []
    first_then: Step | None = None
    for step in scenario.all_steps:
        if step.step_type == "then":
            first_then = first_then or step
        elif first_then is not None:
            problems.append(
                f'{step.filename}:{step.line}: "{step.keyword} {step.name}" is after the Then of line '
                f"{first_then.line}, which starts the load; move it before that line"
            )
            continue
        trouble = _trouble(step, page, registry)
        if trouble:
            problems.append(trouble)
    if first_then is None:
        problems.append(
            f'{scenario.filename}:{scenario.line}: "{scenario.name}" has no criterion; expected a Then'
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
        compared = dict.fromkeys(
            replace(each.reference, or_limit=None) for each in page.criteria if each.reference is not None
        )
        references = tuple(
            (
                str(each),
                planning.without(each.without, page.draft, environment, journeys, seed)
                if each.without
                else planning.beside(each.level, page.draft, environment, journeys, seed),
            )
            for each in compared
        )
        for words, reference in references:
            _require_other_load(words, reference, plan)
            environment.allow(reference)
    except LoadkitError as error:
        return Reading(tuple(page.criteria), None, (f"{scenario.filename}:{scenario.line}: {error}",))
    return Reading(tuple(page.criteria), plan, references=references)


def _require_other_load(words: str, reference: Plan, plan: Plan) -> None:
    """Refuse a comparison of a load with itself: its ratio is 1 whatever the service does.

    Raises:
        ConfigurationError: both plans are the same run.

    """
    if reference.key == plan.key:
        raise ConfigurationError(
            f'"that {words}" compares the load with itself: {plan.in_words}; expected two loads, such as '
            '"Given the peak load" and "that at the baseline load"'
        )


def _trouble(step: Step, page: Page, registry: Any) -> str:
    """Execute a step on a page. Returns its problem in one line, or an empty text."""
    where = f"{step.filename}:{step.line}"
    match = registry.find_match(step)
    if match is None:
        unread = grammar.explain(step.name) or PhraseError(
            step.name, step.keyword, f"the sentence exists, but not after {step.step_type.title()}"
        )
        return str(PhraseError(unread.sentence, unread.word, unread.expected, where))
    page.begin(step)
    try:
        match.run(page)
    except PhraseError as error:
        return str(PhraseError(step.name, error.word, error.expected, where))
    except LoadkitError as error:
        return f'{where}: "{step.name}": {error}'
    except Exception as error:
        # A custom step may raise any exception. Only its scenario is not judged.
        return f'{where}: "{step.name}": {type(error).__name__}: {error}'
    if page.unread:
        return (
            f'{where}: "{step.name}" does not read the {min(page.unread)} below it; expected a table below '
            'a sentence such as "the users are" or "the load follows"'
        )
    return ""
