"""The end of a session: one result for each Then, written, shown, and told by the exit code.

behave calls `Reporter.feature` when a feature is through (or was never begun) and `Reporter.end` at the very end. A Then
whose step left no verdict is *not judged*, with the reason; nothing here makes a pass of anything but a pass.
"""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from behave.model import Feature, Scenario, Step
from behave.model_type import Status as StepStatus
from behave.reporter.base import Reporter as BehaveReporter
from rich.console import Console

from loadkit.judging.evidence import Evidence
from loadkit.verdict import EXIT_CODES, Status, Verdict
from steps.suite import allure_results, criteria_json, terminal
from steps.suite.outcome import ContextStep, Finished, Outcome
from steps.suite.results import CriterionResult

__all__ = ["Reporter", "Source"]


class Source(Protocol):
    """What the reporter needs to know of the session."""

    @property
    def results(self) -> list[CriterionResult]:
        """What the Then steps stored, in the order they ran."""
        ...

    @property
    def implicit(self) -> list[CriterionResult]:
        """Criteria that nobody wrote, and that were broken."""
        ...

    @property
    def evidence(self) -> Mapping[str, Evidence]:
        """What the runs show, by letter, in order."""
        ...

    @property
    def environment_name(self) -> str:
        """As in environments/NAME.toml."""
        ...


class Reporter(BehaveReporter):  # type: ignore[misc]
    """Collects what each Then came to; at the end writes it, prints it and leaves with the gate's exit code."""

    def __init__(
        self,
        config: Any,
        source: Source,
        *,
        reports: Path,
        explain: Callable[[str], str],
    ) -> None:
        """Begin to collect.

        Args:
            config: behave's configuration.
            source: the session.
            reports: the folder to write to.
            explain: says what is wrong with a sentence that no step matches; empty where it cannot tell.

        """
        super().__init__(config)
        self._source = source
        self._reports = reports
        self._explain = explain
        self._started = time.time()
        self._finished: list[Finished] = []

    def feature(self, feature: Feature) -> None:
        """Take over what the scenarios of a feature came to."""
        stored = {_place(result): result for result in self._source.results}
        for scenario in feature.walk_scenarios():
            if not _is_selected(scenario, self.config):
                continue
            context = tuple(_context(scenario, self._explain))
            for step in scenario.all_steps:
                if step.step_type != "then":
                    continue
                place = (scenario.filename, scenario.line, step.line, step.name)
                result = stored.get(place)
                trouble = _trouble_around(feature, scenario, step, self._explain)
                if result is None:
                    reason = trouble or _why_not_judged(scenario, step, self._explain)
                    result = _not_judged(feature, scenario, step, reason, self._started)
                elif trouble and result.verdict.status is Status.PASS:
                    reason = f"{trouble}; before that it was a pass: {result.verdict.reason}"
                    result = replace(
                        result, verdict=replace(result.verdict, status=Status.NOT_JUDGED, reason=reason)
                    )
                promise = " ".join(str(line) for line in feature.description)
                self._finished.append(Finished(result, context, promise))

    def end(self) -> None:
        """Write the results, show them, and leave.

        Raises:
            SystemExit: always, with the gate's code: behave itself knows only 0 and 1.

        """
        outcome = Outcome(
            criteria=(*self._finished, *(Finished(result) for result in self._source.implicit)),
            environment=self._source.environment_name,
            started=self._started,
            stopped=time.time(),
            evidence=self._source.evidence,
        )
        code = outcome.code
        try:
            report = self._write(outcome)
        except OSError as error:
            # Verdicts without evidence that can be looked up sign no release.
            report = f"no results: cannot write to {self._reports}: {error.strerror}"
            code = EXIT_CODES[Status.NOT_JUDGED]
        terminal.show(outcome, Console(), report=report)
        sys.stdout.flush()
        sys.exit(code)

    def _write(self, outcome: Outcome) -> str:
        """Write the results, and say where they are.

        Raises:
            OSError: not even the verdicts could be written.

        """
        file = criteria_json.write(outcome, self._reports)
        try:
            allure_results.write(outcome, self._reports)
        except (Exception, KeyboardInterrupt) as error:
            # Evidence that cannot be drawn, or is not waited for, must not cost the verdicts, nor change the gate's answer.
            return f"results: {file} · no Allure results: {type(error).__name__}: {error}"
        return f"results: {file} · report: make report writes {self._reports / 'allure' / 'index.html'}"


def _place(result: CriterionResult) -> tuple[str, int, int, str]:
    return result.feature_file, result.scenario_line, result.line, result.sentence


def _is_selected(scenario: Scenario, config: Any) -> bool:
    """Was it to run? One that a hook or step took out with a reason was; one that tags or places left out was not."""
    if scenario.should_skip:
        return bool(scenario.skip_reason)
    return bool(scenario.should_run(config))


def _context(scenario: Scenario, explain: Callable[[str], str]) -> Iterator[ContextStep]:
    for step in scenario.all_steps:
        if step.step_type == "then":
            return
        has_held = step.status == StepStatus.passed
        message = "" if has_held else _trouble(step, explain)
        yield ContextStep(f"{step.keyword} {step.name}", has_held, message, _table(step))


def _table(step: Step) -> str:
    if step.table is None:
        return ""
    rows = [step.table.headings, *(row.cells for row in step.table.rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def _trouble_around(feature: Feature, scenario: Scenario, step: Step, explain: Callable[[str], str]) -> str:
    """What takes the ground from under a Then, in one line: a hook that failed, a Given that did not hold; or nothing."""
    for part in (feature, scenario, step):
        if part.hook_failed:
            return _tidy(part.error_message) or "a hook failed"
    if scenario.status == StepStatus.cleanup_error:
        return "cleaning up after the scenario failed"
    for earlier in scenario.all_steps:
        if earlier.step_type != "then" and _went_wrong(earlier):
            return f'"{earlier.keyword} {earlier.name}" did not hold: {_trouble(earlier, explain)}'
    return ""


def _why_not_judged(scenario: Scenario, step: Step, explain: Callable[[str], str]) -> str:
    """Why a Then has no verdict although nothing around it went wrong."""
    if _went_wrong(step):
        return _trouble(step, explain)
    if scenario.skip_reason:
        return f"the scenario was skipped: {scenario.skip_reason}"
    if step.status == StepStatus.passed:
        return "the step ran, but judged nothing"
    return "the session ended before this was judged"


def _went_wrong(step: Step) -> bool:
    return step.status not in {StepStatus.passed, StepStatus.skipped, StepStatus.untested}


def _trouble(step: Step, explain: Callable[[str], str]) -> str:
    """What is wrong with a step, in one line."""
    if step.status in {StepStatus.undefined, StepStatus.untested_undefined}:
        return _tidy(explain(step.name)) or "no step reads this sentence"
    if step.status in {StepStatus.skipped, StepStatus.untested}:
        return "it was not reached"
    if isinstance(step.exception, KeyboardInterrupt):
        return "interrupted"
    if step.exception is not None and str(step.exception):
        return _tidy(str(step.exception))
    return _tidy(step.error_message) or step.status.name


def _tidy(text: str | None) -> str:
    """One line, without places of this machine."""
    return " ".join((text or "").replace(f"{Path.cwd()}/", "").split())


def _not_judged(feature: Feature, scenario: Scenario, step: Step, reason: str, now: float) -> CriterionResult:
    verdict = Verdict(criterion=step.name, status=Status.NOT_JUDGED, reason=reason)
    return CriterionResult.of(feature, scenario, step, verdict, run="", started=now, stopped=now)
