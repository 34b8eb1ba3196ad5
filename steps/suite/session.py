"""One invocation of behave: which runs there are, which criterion is judged on which, and what came of it."""

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from behave.model import Scenario, Step

from loadkit.analysis.comparison import compare_loads
from loadkit.criterion import Criterion
from loadkit.environment.environment import Environment
from loadkit.errors import LoadkitError, one_line
from loadkit.judging.evidence import Evidence
from loadkit.judging.families import queries_for
from loadkit.judging.restarts import unasked_restarts
from loadkit.planning.draft import Draft
from loadkit.recording.ending import INTERRUPTED
from loadkit.recording.run import Run
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
    """The load generator was at fault."""


class NotJudged(Exception):  # noqa: N818
    """No load was put on, or the criterion has no meaning at this scale."""


VERDICTS = (Inconclusive, Invalid, NotJudged)
"""Verdicts that are neither pass nor fail."""
_RAISED: Mapping[Status, type[Exception]] = {
    Status.FAIL: AssertionError,
    Status.INCONCLUSIVE: Inconclusive,
    Status.INVALID: Invalid,
    Status.NOT_JUDGED: NotJudged,
}
"""What tells behave of each verdict that is no pass."""


class Testbed(Protocol):
    """What puts loads on an environment; see `loadkit.engine.testbed`."""

    def run(self, plan: Plan, title: str, queries: Iterable[str]) -> Run:
        """Put the load on, start to finish, and keep what was seen.

        Args:
            plan: what is put on.
            title: for the live display.
            queries: free PromQL that criteria of this run ask for.

        Raises:
            LoadkitError: it could not be put on.

        """
        ...

    def close(self) -> None:
        """Take down what was started."""
        ...


@dataclass(slots=True)
class SharedRun:
    """A run that all scenarios with its plan share, from its first mention on."""

    letter: str
    plan: Plan
    criteria: int = 0
    """How many are judged on it."""
    compared: int = 0
    """How many of other runs are compared with it."""
    queries: tuple[str, ...] = ()
    """What its criteria ask the observer for, besides named measures: free PromQL, or the alerts."""
    evidence: Evidence | None = None
    """What its run shows; None where there is none."""
    problem: str = ""
    """Why there is no run; it is not tried again."""

    @property
    def run(self) -> Run | None:
        """Its run, if there was one."""
        return None if self.evidence is None else self.evidence.run

    @property
    def title(self) -> str:
        """For the live display: "Run A: 1000 users"."""
        return f"Run {self.letter}: {self.plan.in_words}"


class Session:
    """Knows every scenario's reading before the first load, and every result after it."""

    def __init__(
        self,
        environment: Environment,
        testbed: Testbed,
        readings: Mapping[tuple[str, int], Reading],
        judge: Callable[[Criterion, Evidence], Verdict],
    ) -> None:
        """Prepare a session.

        Args:
            environment: the one that load is put on.
            testbed: puts it on.
            readings: by file and line of the scenario, in the order in which they will run.
            judge: gives the verdict.

        """
        self.environment_name = environment.name
        self.results: list[CriterionResult] = []
        self.shared = share(readings.values())
        self._testbed = testbed
        self._readings = readings
        self._judge = judge
        self._scenario: Scenario | None = None
        self._step: Step | None = None
        self._problem = ""
        self._is_interrupted = False

    @property
    def implicit(self) -> list[CriterionResult]:
        """Criteria that nobody wrote, of each run that broke one; told beside the first that was judged on it, or compared with it."""
        broken: list[CriterionResult] = []
        for letter, run in self.runs.items():
            verdict = unasked_restarts(run)
            beside = next((result for result in self.results if letter in self._judged_on(result)), None)
            if verdict is not None and beside is not None:
                tags = tuple(tag for tag in beside.tags if tag not in {*beside.requirements, "advisory"})
                broken.append(
                    replace(
                        beside,
                        keyword="And",
                        sentence=verdict.criterion,
                        tags=tags,
                        verdict=verdict,
                        run=letter,
                    )
                )
        return broken

    def _judged_on(self, result: CriterionResult) -> tuple[str, ...]:
        """The letters of the runs that a result speaks of: its own, and the one it was compared with."""
        other = result.verdict.details.get("there", {}).get("run")
        return (result.run, *(letter for letter, run in self.runs.items() if run.id == other))

    @property
    def evidence(self) -> dict[str, Evidence]:
        """What the runs show that there were, by letter."""
        return {
            shared.letter: shared.evidence for shared in self.shared.values() if shared.evidence is not None
        }

    @property
    def runs(self) -> dict[str, Run]:
        """The runs that there were, by letter."""
        return {letter: evidence.run for letter, evidence in self.evidence.items()}

    def begin_scenario(self, context: Any, scenario: Scenario) -> None:
        """Give its steps what they need."""
        self._scenario = scenario
        self._problem = "; ".join(self._reading.problems)
        context.draft = Draft()
        context.judge = self.judge

    def begin_step(self, context: Any, step: Step) -> None:
        """Remember where we are."""
        self._step = step
        context.sentence = step.name

    def end_step(self, step: Step, *, is_interrupted: bool) -> None:
        """Note what keeps the scenario, or the rest of the session, from being judged."""
        self._is_interrupted |= is_interrupted
        if step.step_type != "then" and step.has_failed() and not self._problem:
            self._problem = f'"{step.keyword} {step.name}" did not hold: {step.exception}'

    def judge(self, criterion: Criterion) -> None:
        """Judge one Then on the run of its scenario's plan, which is made where there is none yet.

        Raises:
            AssertionError: the service broke the promise.
            Inconclusive: there is not enough evidence.
            Invalid: the load generator was at fault.
            NotJudged: no load was put on, or the criterion has no meaning at this scale.

        """
        started = time.time()
        letter, verdict = self._verdict(criterion)
        self.results.append(self._result(verdict, letter, started))
        if verdict.status is not Status.PASS:
            raise _RAISED[verdict.status](verdict.reason)

    def close(self) -> None:
        """Take down what was started."""
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
            self._put_on_once(shared)
            if shared.evidence is None:
                return "", not_judged(shared.problem)
            return shared.letter, self._judge(criterion, shared.evidence)
        other = self.shared[dict(self._reading.references)[criterion.reference.level].key]
        for each in (other, shared):
            self._put_on_once(each)
        if shared.evidence is None or other.evidence is None:
            return "", not_judged(shared.problem or f"{other.title}: {other.problem}")
        return shared.letter, compare_loads(criterion, shared.evidence, other.evidence)

    def _put_on_once(self, shared: SharedRun) -> None:
        """Put a run's load on unless that was tried; before one that disturbs the service, all that do not."""
        if shared.evidence is not None or shared.problem:
            return
        if shared.plan.disturbs:
            for earlier in self.shared.values():
                if not earlier.plan.disturbs:
                    self._put_on_once(earlier)
        self._put_load_on(shared)

    def _put_load_on(self, shared: SharedRun) -> None:
        if self._is_interrupted:
            shared.problem = "the session was interrupted before its load was put on"
            return
        # Whatever comes of it, it was tried: no load is put on twice.
        shared.problem = "the session was interrupted before its load was at an end"
        try:
            run = self._testbed.run(shared.plan, shared.title, shared.queries)
        except Exception as error:
            mistake = (
                "" if isinstance(error, LoadkitError) else f"{shared.title}: a mistake in the suite itself: "
            )
            shared.problem = f"{mistake}{one_line(error)}"
            print(shared.problem, file=sys.stderr)
            return
        shared.problem = ""
        shared.evidence = Evidence(run)
        self._is_interrupted = run.ended == INTERRUPTED

    def _result(self, verdict: Verdict, letter: str, started: float) -> CriterionResult:
        scenario, step = self._scenario, self._step
        assert scenario is not None
        assert step is not None
        return CriterionResult.of(
            scenario.feature, scenario, step, verdict, run=letter, started=started, stopped=time.time()
        )


def share(readings: Iterable[Reading]) -> dict[str, SharedRun]:
    """The runs that some scenarios need, by the key of their plan: equal plans share one.

    In the order in which they are put on: as they are first mentioned, those that disturb the service last.
    """
    shared: dict[str, SharedRun] = {}
    for reading in readings:
        if reading.plan is None:
            continue
        for level, plan in reading.references:
            other = shared.setdefault(plan.key, SharedRun("", plan))
            other.compared += sum(
                criterion.reference is not None and criterion.reference.level == level
                for criterion in reading.criteria
            )
        run = shared.setdefault(reading.plan.key, SharedRun("", reading.plan))
        run.criteria += len(reading.criteria)
        asked = [query for criterion in reading.criteria for query in queries_for(criterion)]
        run.queries = tuple(dict.fromkeys([*run.queries, *asked]))
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


_current: Session | None = None


def begin(session: Session) -> Session:
    """Make a session the current one."""
    global _current  # noqa: PLW0603  behave's hooks and steps have no other way to it
    _current = session
    return session


def current() -> Session:
    """The session that behave's hooks belong to."""
    assert _current is not None, "the session is begun by steps.suite.runner, named in pyproject.toml"
    return _current
