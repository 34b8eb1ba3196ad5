"""One invocation of behave: its runs, the run of each criterion, and the results."""

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from behave.model import Scenario, Step

from loadkit.analysis.comparison import agreed, compare_loads
from loadkit.criterion import Criterion
from loadkit.environment.environment import Environment
from loadkit.errors import LoadkitError, one_line
from loadkit.judging.evidence import Evidence
from loadkit.judging.families import queries_for
from loadkit.judging.restarts import unasked_restarts
from loadkit.planning.draft import Draft
from loadkit.recording.ending import INTERRUPTED
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


class Invalid(Exception):  # noqa: N818
    """The load generator, or its machine, was at fault."""


class NotJudged(Exception):  # noqa: N818
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


class Testbed(Protocol):
    """Runs loads on an environment; see `loadkit.engine.testbed`."""

    def run(self, plan: Plan, title: str, queries: Iterable[str]) -> Run:
        """Run a load from start to end, and save the run.

        Args:
            plan: the plan of the load.
            title: title for the live status.
            queries: PromQL queries of the criteria of this run.

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
    criteria: int = 0
    """Number of criteria judged on it."""
    compared: int = 0
    """Number of criteria of other runs that are compared with it."""
    queries: tuple[str, ...] = ()
    """Queries of its criteria besides the named measures: PromQL, or the alerts."""
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
            tell: receives a line before each of several runs: its number, and the time to go.

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

    @property
    def implicit(self) -> list[CriterionResult]:
        """The violated implicit criteria of each run.

        Each is reported with the first criterion that was judged on the run or compared with it.
        """
        violated: list[CriterionResult] = []
        for letter, run in self.runs.items():
            verdict = unasked_restarts(run)
            explicit = next((result for result in self.results if letter in self._judged_on(result)), None)
            if verdict is not None and explicit is not None:
                tags = tuple(tag for tag in explicit.tags if tag not in {*explicit.requirements, "advisory"})
                violated.append(
                    replace(
                        explicit,
                        keyword="And",
                        sentence=verdict.criterion,
                        tags=tags,
                        verdict=verdict,
                        run=letter,
                    )
                )
        return violated

    def _judged_on(self, result: CriterionResult) -> tuple[str, ...]:
        """The letters of the runs of a result: its own, and the run it was compared with."""
        other = result.verdict.details.get("there", {}).get("run")
        return (result.run, *(letter for letter, run in self.runs.items() if run.id == other))

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
        """Record a failed step or an interruption: the scenario or the session cannot be judged further."""
        self._is_interrupted |= is_interrupted
        if step.step_type != "then" and step.has_failed() and not self._problem:
            self._problem = f'"{step.keyword} {step.name}" failed: {step.exception}'

    def judge(self, criterion: Criterion) -> None:
        """Judge one Then on the run of the plan of its scenario. The load runs first if it has not run yet.

        Raises:
            AssertionError: the service violated the criterion.
            Inconclusive: there is not enough evidence.
            Invalid: the load generator, or its machine, was at fault.
            NotJudged: the load did not run, or the criterion has no meaning at this scale.

        """
        started = time.time()
        letter, verdict = self._verdict(criterion)
        self.results.append(self._result(verdict, letter, started))
        if verdict.status is not Status.PASS:
            raise _RAISED[verdict.status](verdict.reason)

    def close(self) -> None:
        """Stop what was started."""
        self._testbed.close()

    @property
    def _reading(self) -> Reading:
        assert self._scenario is not None
        return self._readings[self._scenario.filename, self._scenario.line]

    def _verdict(self, criterion: Criterion) -> tuple[str, Verdict]:
        def not_judged(reason: str) -> Verdict:
            return Verdict(
                criterion.sentence,
                Status.NOT_JUDGED,
                reason,
                limit=criterion.limit,
                unit=criterion.measure.unit,
            )

        plan = self._reading.plan
        if self._problem or plan is None:
            return "", not_judged(self._problem)
        shared = self.shared[plan.key]
        if criterion.reference is None:
            self._run_once(shared)
            if shared.evidence is None:
                return "", not_judged(shared.problem)
            return shared.letter, self._judge(criterion, shared.evidence)
        key = dict(self._reading.references)[str(criterion.reference)].key
        others = [self.shared[key], *([self.shared[key + _AGAIN]] if criterion.reference.without else [])]
        # Without the tenant, with it, and without it again, so that a slow change is no effect of it.
        for each in (others[0], shared, *others[1:]):
            self._run_once(each)
        found = [other.evidence for other in others if other.evidence is not None]
        if shared.evidence is None or len(found) < len(others):
            failed = next((each for each in others if each.evidence is None), shared)
            return "", not_judged(shared.problem or f"{failed.title}: {failed.problem}")
        verdicts = [compare_loads(criterion, shared.evidence, other) for other in found]
        return shared.letter, agreed(criterion, verdicts)

    def _run_once(self, shared: SharedRun) -> None:
        """Run a load unless that was tried. Runs that disturb the service come after all others."""
        if shared.evidence is not None or shared.problem:
            return
        if shared.plan.disturbs:
            for earlier in self.shared.values():
                if not earlier.plan.disturbs:
                    self._run_once(earlier)
        self._run_load(shared)

    def _run_load(self, shared: SharedRun) -> None:
        if self._is_interrupted:
            shared.problem = "the session was interrupted before its load started"
            return
        self._tell_position(shared)
        # Set before the attempt: no load runs twice, whatever the result.
        shared.problem = "the session was interrupted before its load ended"
        try:
            run = self._testbed.run(shared.plan, shared.title, shared.queries)
        except Exception as error:
            cause = (
                "" if isinstance(error, LoadkitError) else f"{shared.title}: an error in the suite itself: "
            )
            shared.problem = f"{cause}{one_line(error)}"
            print(shared.problem, file=sys.stderr)
            return
        shared.problem = ""
        shared.evidence = Evidence(run)
        self._is_interrupted = run.ended == INTERRUPTED

    def _tell_position(self, shared: SharedRun) -> None:
        """Tell which of several runs comes next, and how long the load of the rest takes."""
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
    """The runs that scenarios need, by the key of their plan; equal plans share one run.

    The runs are in order of execution: in the order of the scenarios, but runs that disturb the service last.
    """
    shared: dict[str, SharedRun] = {}
    for reading in readings:
        if reading.plan is None:
            continue
        references = [
            (plan, [each.reference for each in reading.criteria if str(each.reference) == words])
            for words, plan in reading.references
        ]
        for plan, compared in references:
            shared.setdefault(plan.key, SharedRun("", plan)).compared += len(compared)
        run = shared.setdefault(reading.plan.key, SharedRun("", reading.plan))
        for plan, compared in references:
            if any(each is not None and each.without for each in compared):
                again = shared.setdefault(plan.key + _AGAIN, SharedRun("", plan))
                again.compared += len(compared)
        run.criteria += len(reading.criteria)
        queries = [query for criterion in reading.criteria for query in queries_for(criterion)]
        run.queries = tuple(dict.fromkeys([*run.queries, *queries]))
    ordered = sorted(shared.items(), key=lambda item: item[1].plan.disturbs)
    for number, (_, run) in enumerate(ordered):
        run.letter = _letter(number)
    return dict(ordered)


def _letter(number: int) -> str:
    """A, B … Z, AA, AB …"""
    letters = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters


_AGAIN = " again"
"""Added to the key of a plan that is run a second time, as a reference."""
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
