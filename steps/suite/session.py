"""One invocation of behave: its runs, the run of each criterion, and the results."""

import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from behave.model import Scenario, Step

from loadkit.analysis.comparison import agreed, compare_loads
from loadkit.criterion import Criterion, Reference
from loadkit.engine.testbed import NOT_RESTORED
from loadkit.environment.environment import Environment
from loadkit.errors import LoadkitError, one_line
from loadkit.judging.evidence import Evidence
from loadkit.judging.families import queries_for
from loadkit.judging.finding import as_sentence
from loadkit.judging.restarts import unasked_restarts
from loadkit.planning.draft import Draft
from loadkit.recording.run import Run
from loadkit.units import format_seconds
from loadkit.verdict import Status, Verdict
from loadkit.workload.plan import Plan
from steps.suite.reading import Reading
from steps.suite.results import CriterionResult

__all__ = [
    "VERDICTS",
    "Inconclusive",
    "Invalid",
    "NotJudged",
    "Session",
    "SharedRun",
    "Testbed",
    "begin",
    "current",
    "share",
]


class Inconclusive(Exception):  # noqa: N818  the name is the verdict
    """Not enough evidence."""


class Invalid(Exception):  # noqa: N818  as above
    """The load generator, or its machine, was at fault."""


class NotJudged(Exception):  # noqa: N818  as above
    """The load did not run, or the criterion has no meaning at this scale."""


VERDICTS = (Inconclusive, Invalid, NotJudged)
"""Verdicts that are neither pass nor fail."""
_RAISED: Mapping[Status, type[Exception]] = {
    Status.FAIL: AssertionError,
    Status.INCONCLUSIVE: Inconclusive,
    Status.INVALID: Invalid,
    Status.NOT_JUDGED: NotJudged,
}
"""The exception that reports each verdict other than a pass to behave."""
_RESTORED = "the environment is as it was before"
"""The implicit criterion of each run that disturbs the service."""


class Testbed(Protocol):
    """Runs loads on an environment; see `loadkit.engine.testbed`."""

    def run(self, plan: Plan, title: str, queries: Iterable[str], measures: Collection[str]) -> Run:
        """Run a load from start to end, and save the run.

        Args:
            plan: the plan of the load.
            title: title for the live status.
            queries: PromQL queries of the criteria of this run.
            measures: the names of the measures that these criteria judge.

        Raises:
            LoadkitError: the load could not run.

        """
        ...

    def close(self) -> None:
        """Stop what was started."""
        ...


@dataclass(slots=True)
class SharedRun:
    """A run that all scenarios with its plan share."""

    letter: str
    plan: Plan
    goes_last: bool = False
    """Does it disturb the service, or run directly before or after a run that does?"""
    around: dict[str, tuple["SharedRun", "SharedRun"]] = field(default_factory=dict)
    """The runs of its load without a tenant, directly before and after it, by their plan's key."""
    criteria: int = 0
    """Number of criteria judged on it."""
    compared: int = 0
    """Number of criteria of other runs that are compared with it."""
    queries: tuple[str, ...] = ()
    """Queries of its criteria besides the named measures: PromQL, or the alerts."""
    measures: set[str] = field(default_factory=set)
    """The names of the measures that its criteria judge."""
    evidence: Evidence | None = None
    """Evidence of the run; None before it and if it failed."""
    problem: str = ""
    """Why there is no run; the load is not tried again."""

    @property
    def run(self) -> Run | None:
        """Its run, if there was one."""
        return None if self.evidence is None else self.evidence.run

    @property
    def title(self) -> str:
        """Title for the live status: "Run A: 1000 users"."""
        return f"Run {self.letter}: {self.plan.in_words}"


class Session:
    """The readings of all scenarios before the first load, and all results after it."""

    def __init__(
        self,
        environment: Environment,
        testbed: Testbed,
        readings: Mapping[tuple[str, int], Reading],
        judge: Callable[[Criterion, Evidence], Verdict],
        tell: Callable[[str], None] = lambda _line: None,
    ) -> None:
        """Prepare a session.

        Args:
            environment: the environment under load.
            testbed: runs the loads.
            readings: readings by file and line of the scenario, in the order of execution.
            judge: returns the verdict of a criterion.
            tell: receives a line before each run of several: its number, and the remaining time.

        """
        self.environment_name = environment.name
        self.results: list[CriterionResult] = []
        self.shared = share(readings.values())
        self._testbed = testbed
        self._readings = readings
        self._judge = judge
        self._tell = tell
        self._scenario: Scenario | None = None
        self._step: Step | None = None
        self._problem = ""
        self._is_interrupted = False
        self._first_results: dict[str, CriterionResult] = {}
        """The first result based on each run, as its own run or as its reference, by letter."""

    @property
    def implicit(self) -> list[CriterionResult]:
        """The violated implicit criteria of each run.

        Each is reported with the first criterion that was judged on the run or compared with it.
        """
        return [
            _implicit(self._first_results[letter], verdict, letter)
            for letter, run in self.runs.items()
            if letter in self._first_results
            for verdict in (unasked_restarts(run), _not_restored(run))
            if verdict is not None
        ]

    @property
    def evidence(self) -> dict[str, Evidence]:
        """The evidence of all runs so far, by letter."""
        return {
            shared.letter: shared.evidence for shared in self.shared.values() if shared.evidence is not None
        }

    @property
    def runs(self) -> dict[str, Run]:
        """All runs so far, by letter."""
        return {letter: evidence.run for letter, evidence in self.evidence.items()}

    def begin_scenario(self, context: Any, scenario: Scenario) -> None:
        """Prepare the context of behave for the steps of a scenario."""
        self._scenario = scenario
        self._problem = "; ".join(self._reading.problems)
        context.draft = Draft()
        context.judge = self.judge

    def begin_step(self, context: Any, step: Step) -> None:
        """Record the current step."""
        self._step = step
        context.sentence = step.name

    def end_step(self, step: Step, *, is_interrupted: bool) -> None:
        """Record a failed step or an interruption; the scenario or session is judged no further."""
        self._is_interrupted |= is_interrupted
        if step.step_type != "then" and step.has_failed() and not self._problem:
            self._problem = f'"{step.keyword} {step.name}" failed: {step.exception}'

    def judge(self, criterion: Criterion) -> None:
        """Judge one Then on the run of its scenario's plan; first run the load if it has not run.

        Raises:
            AssertionError: the service violated the criterion.
            Inconclusive: there is not enough evidence.
            Invalid: the load generator, or its machine, was at fault.
            NotJudged: the load did not run, or the criterion has no meaning at this scale.

        """
        started = time.time()
        letter, verdict = self._verdict(criterion)
        result = self._result(verdict, letter, started)
        self.results.append(result)
        for run in self._runs_of(criterion):
            self._first_results.setdefault(run.letter, result)
        if verdict.status is not Status.PASS:
            raise _RAISED[verdict.status](verdict.reason)

    def close(self) -> None:
        """Stop what was started."""
        self._testbed.close()

    @property
    def _reading(self) -> Reading:
        assert self._scenario is not None
        return self._readings[self._scenario.filename, self._scenario.line]

    def _runs_of(self, criterion: Criterion) -> list[SharedRun]:
        """The runs that a criterion of the scenario needs, its own first; none without a load."""
        return [] if self._problem else _runs_of(criterion, self._reading, self.shared)

    def _verdict(self, criterion: Criterion) -> tuple[str, Verdict]:
        """The letter of the judged run ("" if there is none), and the verdict."""
        runs = self._runs_of(criterion)
        if not runs:
            return "", _not_judged(criterion, self._problem)
        own, *others = runs
        for each in (*others[:1], own, *others[1:]):
            self._run_once(each)
        evidence = [each.evidence for each in runs if each.evidence is not None]
        if len(evidence) < len(runs):
            failed = next(each for each in runs if each.evidence is None)
            reason = failed.problem if failed is own else f"{failed.title}: {failed.problem}"
            return "", _not_judged(criterion, reason)
        if criterion.reference is None:
            return own.letter, self._judge(criterion, evidence[0])
        if criterion.reference.without and not _is_between(*evidence):
            reason = f"the loads {criterion.reference} did not run before and after the load with it"
            return own.letter, _not_judged(criterion, reason)
        verdicts = [compare_loads(criterion, evidence[0], other) for other in evidence[1:]]
        return own.letter, agreed(criterion, verdicts)

    def _run_once(self, shared: SharedRun) -> None:
        """Run a load that was not tried before, with the runs directly before and after it.

        Runs that disturb the service come after all others.
        """
        if shared.evidence is not None or shared.problem:
            return
        if shared.goes_last:
            for earlier in self.shared.values():
                if not earlier.goes_last:
                    self._run_once(earlier)
        for before, _ in shared.around.values():
            self._run_once(before)
        self._run_load(shared)
        for _, after in shared.around.values():
            self._run_once(after)

    def _run_load(self, shared: SharedRun) -> None:
        if self._is_interrupted:
            shared.problem = "the session was interrupted before its load started"
            return
        self._tell_position(shared)
        # Set before the attempt: no load runs twice, whatever the result.
        shared.problem = "the session was interrupted before its load ended"
        try:
            run = self._testbed.run(shared.plan, shared.title, shared.queries, shared.measures)
        except Exception as error:
            cause = (
                "" if isinstance(error, LoadkitError) else f"{shared.title}: an error in the suite itself: "
            )
            shared.problem = f"{cause}{one_line(error)}"
            print(shared.problem, file=sys.stderr)
            return
        shared.problem = ""
        shared.evidence = Evidence(run)
        self._is_interrupted = run.was_interrupted

    def _tell_position(self, shared: SharedRun) -> None:
        """Report which of several runs comes next, and the remaining time of load."""
        runs = self.shared.values()
        to_go = [run for run in runs if run.evidence is None and not run.problem]
        if len(runs) > 1:
            self._tell(
                f"Run {shared.letter} ({len(runs) - len(to_go) + 1} of {len(runs)}): "
                f"{format_seconds(sum(run.plan.seconds for run in to_go))} of load remaining, including this run"
            )

    def _result(self, verdict: Verdict, letter: str, started: float) -> CriterionResult:
        scenario, step = self._scenario, self._step
        assert scenario is not None
        assert step is not None
        return CriterionResult.of(
            scenario.feature, scenario, step, verdict, run=letter, started=started, stopped=time.time()
        )


def share(readings: Iterable[Reading]) -> dict[str, SharedRun]:
    """The runs that scenarios need; equal plans share one run, which has the key of the plan.

    The runs are in order of execution: the order of the scenarios, but runs that disturb the
    service come last. A load may be compared with the same load without a tenant. That reference
    load then runs directly before and directly after it. So a slow change does not look like an
    effect of the tenant.
    """
    planned = [(reading, reading.plan) for reading in readings if reading.plan is not None]
    alone: dict[str, dict[str, Plan]] = {}
    for reading, plan in planned:
        for other in _reference_plans(reading, is_without=True):
            alone.setdefault(plan.key, {})[other.key] = other
    shared: dict[str, SharedRun] = {}
    for reading, plan in planned:
        for other in _reference_plans(reading, is_without=False):
            _add(shared, other, alone)
        if not plan.disturbs:
            _add(shared, plan, alone)
    for _, plan in planned:
        _add(shared, plan, alone)
    for reading, plan in planned:
        run = shared[plan.key]
        run.criteria += len(reading.criteria)
        run.measures |= {criterion.measure.name for criterion in reading.criteria}
        queries = [query for criterion in reading.criteria for query in queries_for(criterion)]
        run.queries = tuple(dict.fromkeys([*run.queries, *queries]))
        for criterion in reading.criteria:
            for reference in _runs_of(criterion, reading, shared)[1:]:
                reference.compared += 1
    for number, run in enumerate(shared.values()):
        run.letter = _letter(number)
    return shared


def _add(shared: dict[str, SharedRun], plan: Plan, alone: Mapping[str, Mapping[str, Plan]]) -> None:
    """Add the run of a plan at the end, between two runs of each plan that `alone` lists for it.

    The last run so far can serve as the run before. It can also be the run after an earlier load.
    """
    if plan.key in shared:
        return
    last = next(reversed(shared.values()), None)
    others, goes_last = alone.get(plan.key, {}), plan.disturbs
    before: dict[str, SharedRun] = {}
    for key, other in others.items():
        if last is not None and last.plan == other:
            before[key] = last
            continue
        is_taken = key in shared or key in alone
        before[key] = SharedRun("", other, goes_last)
        shared[f"{key} before {plan.key}" if is_taken else key] = before[key]
    run = shared[plan.key] = SharedRun("", plan, goes_last)
    for key, other in others.items():
        after = shared[f"{key} after {plan.key}"] = SharedRun("", other, goes_last)
        run.around[key] = (before[key], after)


def _runs_of(criterion: Criterion, reading: Reading, shared: Mapping[str, SharedRun]) -> list[SharedRun]:
    """The run of a criterion, and the one or two that it is compared with; none without a plan."""
    if reading.plan is None:
        return []
    own, reference = shared[reading.plan.key], criterion.reference
    if reference is None:
        return [own]
    key = _reference_plan(reference, reading).key
    return [own, *(own.around[key] if reference.without else (shared[key],))]


def _reference_plan(reference: Reference, reading: Reading) -> Plan:
    return dict(reading.references)[str(reference)]


def _reference_plans(reading: Reading, *, is_without: bool) -> list[Plan]:
    """The plans that criteria are compared with: without a tenant, or else at another level."""
    references = [each.reference for each in reading.criteria if each.reference is not None]
    return [_reference_plan(each, reading) for each in references if bool(each.without) is is_without]


def _is_between(evidence: Evidence, before: Evidence, after: Evidence) -> bool:
    """Did a run start between two others?"""
    return before.run.started <= evidence.run.started <= after.run.started


def _not_judged(criterion: Criterion, reason: str) -> Verdict:
    return Verdict(criterion.sentence, Status.NOT_JUDGED, reason, limit=criterion.limit, unit=criterion.unit)


def _not_restored(run: Run) -> Verdict | None:
    """Not judged if the run did not restore the environment; None if it did, or without a check."""
    trouble = run.facts.get(NOT_RESTORED)
    return (
        None if trouble is None else Verdict(_RESTORED, Status.NOT_JUDGED, as_sentence(trouble), run=run.id)
    )


def _implicit(explicit: CriterionResult, verdict: Verdict, letter: str) -> CriterionResult:
    """The result of an implicit criterion of a run, beside an explicit one that uses the run."""
    tags = tuple(tag for tag in explicit.tags if tag not in {*explicit.requirements, "advisory"})
    return replace(
        explicit, keyword="And", sentence=verdict.criterion, tags=tags, verdict=verdict, run=letter
    )


def _letter(number: int) -> str:
    """A, B … Z, AA, AB …"""
    letters = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters


_current: Session | None = None


def begin(session: Session) -> Session:
    """Make a session the current one."""
    global _current  # noqa: PLW0603  the hooks and steps of behave have no other access to it
    _current = session
    return session


def current() -> Session:
    """The current session, for the hooks of behave."""
    assert _current is not None, "steps.suite.runner, configured in pyproject.toml, begins the session"
    return _current
