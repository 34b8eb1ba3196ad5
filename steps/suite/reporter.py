"""The end of a session: writes and shows one result per Then, and returns the exit code.

behave calls `Reporter.feature` after each feature, even if it never started, and `Reporter.end` at
the end. A Then without a verdict is *not judged*, with the reason. Nothing here changes another
verdict to a pass.
"""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from behave.model import Feature, Scenario, ScenarioOutline, Step
from behave.model_type import Status as StepStatus
from behave.reporter.base import Reporter as BehaveReporter
from rich.console import Console

from loadkit.judging.evidence import Evidence
from loadkit.verdict import EXIT_CODES, Status, Verdict
from steps.suite import allure_results, criteria_json, terminal
from steps.suite.outcome import ContextStep, Finished, Outcome
from steps.suite.results import CriterionResult

__all__ = ["Reporter", "Source"]

_SILENCE = 10.0
"""Seconds without a line after which a user wonders what goes on."""


class Source(Protocol):
    """The part of the session that the reporter uses."""

    @property
    def results(self) -> list[CriterionResult]:
        """The results of the Then steps, in the order they ran."""
        ...

    @property
    def implicit(self) -> list[CriterionResult]:
        """The violated implicit criteria."""
        ...

    @property
    def evidence(self) -> Mapping[str, Evidence]:
        """The evidence of the runs, by letter, in order."""
        ...

    @property
    def environment_name(self) -> str:
        """Name of the environment, as in environments/NAME.toml."""
        ...


class Reporter(BehaveReporter):  # type: ignore[misc]  # behave has no types
    """Collects the result of each Then, writes and prints all, and exits with the gate's code."""

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
            config: configuration of behave.
            source: the session.
            reports: the folder to write to.
            explain: returns the problem of a sentence that no step matches, or an empty text.

        """
        super().__init__(config)
        self._source = source
        self._reports = reports
        self._explain = explain
        self._started = time.time()
        self._finished: list[Finished] = []

    def feature(self, feature: Feature) -> None:
        """Collect the results of the scenarios of a feature."""
        stored = {_place(result): result for result in self._source.results}
        for scenario in feature.walk_scenarios(with_outlines=True):
            is_template = isinstance(scenario, ScenarioOutline) and bool(scenario.scenarios)
            if is_template or not _is_selected(scenario, self.config):
                continue
            context = tuple(_context(scenario, self._explain))
            promise = " ".join(str(line) for line in feature.description)
            criteria = [step for step in scenario.all_steps if step.step_type == "then"]
            if isinstance(scenario, ScenarioOutline):
                criteria = []  # no example replaces its placeholders
            if not criteria:
                unjudged = _without_criterion(feature, scenario, self._explain, self._started)
                self._finished.append(Finished(unjudged, context, promise))
            for step in criteria:
                place = (scenario.filename, scenario.line, step.line, step.name)
                result = stored.get(place)
                trouble = _preceding_failure(feature, scenario, step, self._explain)
                if result is None:
                    reason = trouble or _why_not_judged(scenario, step, self._explain)
                    result = _not_judged(feature, scenario, step, reason, self._started)
                elif trouble and result.verdict.status is Status.PASS:
                    reason = f"{trouble}; before that it was a pass: {result.verdict.reason}"
                    result = replace(
                        result, verdict=replace(result.verdict, status=Status.NOT_JUDGED, reason=reason)
                    )
                self._finished.append(Finished(result, context, promise))

    def end(self) -> None:
        """Write and show the results, and exit.

        Raises:
            SystemExit: always, with the code of the gate; behave itself supports only 0 and 1.

        """
        outcome = Outcome(
            criteria=(*self._finished, *(Finished(result) for result in self._source.implicit)),
            environment=self._source.environment_name,
            started=self._started,
            stopped=time.time(),
            evidence=self._source.evidence,
        )
        code, refusal = outcome.code, ""
        try:
            report = self._write(outcome)
        except OSError as error:
            # Verdicts that were not saved cannot sign off a release.
            report = f"no results: cannot write to {self._reports}: {error.strerror}"
            code = EXIT_CODES[Status.NOT_JUDGED]
            refusal = f"gate: {Status.NOT_JUDGED} (exit {code}): the results were not saved"
        terminal.show(outcome, Console(), report=report, refusal=refusal)
        sys.stdout.flush()
        sys.exit(code)

    def _write(self, outcome: Outcome) -> str:
        """Write the results. Returns a line with their location.

        Raises:
            OSError: the verdicts could not be written.

        """
        file = criteria_json.write(outcome, self._reports)
        try:
            allure_results.write(outcome, self._reports, _telling(len(outcome.criteria)))
        except (Exception, KeyboardInterrupt) as error:
            # A failure or an interruption here must neither lose the verdicts nor change the exit
            # code.
            allure_results.remove(self._reports)
            return f"results: {file} · no Allure results: {_tidy(f'{type(error).__name__}: {error}')}"
        return f"results: {file} · to generate {self._reports / allure_results.PAGE}: make report"


def _telling(criteria: int) -> Callable[[int], None]:
    """A function that prints the number of criteria written so far, at most every ten seconds.

    Their charts take a minute or more if there are hundreds of criteria.
    """
    told = time.monotonic()

    def tell(written: int) -> None:
        nonlocal told
        if time.monotonic() - told >= _SILENCE:
            told = time.monotonic()
            print(f"writing the results with their charts: {written} of {criteria} criteria", flush=True)

    return tell


def _place(result: CriterionResult) -> tuple[str, int, int, str]:
    return result.feature_file, result.scenario_line, result.line, result.sentence


def _is_selected(scenario: Scenario, config: Any) -> bool:
    """Was the scenario selected? One that a hook or step skipped with a reason also counts."""
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


def _preceding_failure(
    feature: Feature, scenario: Scenario, step: Step, explain: Callable[[str], str]
) -> str:
    """Why a Then cannot be judged, in one line: a failed hook or Given; empty if none failed."""
    for part in (feature, scenario, step):
        if part.hook_failed:
            return _tidy(part.error_message) or "a hook failed"
    if scenario.status == StepStatus.cleanup_error:
        return "cleaning up after the scenario failed"
    for earlier in scenario.all_steps:
        if earlier.step_type != "then" and _went_wrong(earlier):
            return f'"{earlier.keyword} {earlier.name}" failed: {_trouble(earlier, explain)}'
    return ""


def _why_not_judged(scenario: Scenario, step: Step, explain: Callable[[str], str]) -> str:
    """Why a Then has no verdict although its hooks and Given steps succeeded."""
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
    """The problem of a step in one line."""
    if step.status in {StepStatus.undefined, StepStatus.untested_undefined}:
        return _tidy(explain(step.name)) or "no step matches this sentence"
    if step.status in {StepStatus.skipped, StepStatus.untested}:
        return "the step was not reached"
    if isinstance(step.exception, KeyboardInterrupt):
        return "interrupted"
    if step.exception is not None and str(step.exception):
        return _tidy(str(step.exception))
    return _tidy(step.error_message) or step.status.name


def _tidy(text: str | None) -> str:
    """A text as one line, with paths relative to the current directory."""
    return " ".join((text or "").replace(f"{Path.cwd()}/", "").split())


def _without_criterion(
    feature: Feature, scenario: Scenario, explain: Callable[[str], str], now: float
) -> CriterionResult:
    """The result of a scenario without a Then: the scenario is not judged."""
    wrong = next((step for step in scenario.all_steps if _went_wrong(step)), None)
    if isinstance(scenario, ScenarioOutline):
        reason = "the scenario outline has no examples; expected rows below its Examples"
    elif wrong is None:
        reason = "the scenario has no criterion; expected a Then"
    else:
        reason = f'the scenario has no criterion; "{wrong.keyword} {wrong.name}" failed: {_trouble(wrong, explain)}'
    step = Step(scenario.filename, scenario.line, "Then", "then", scenario.name)
    return _not_judged(feature, scenario, step, reason, now)


def _not_judged(feature: Feature, scenario: Scenario, step: Step, reason: str, now: float) -> CriterionResult:
    verdict = Verdict(criterion=step.name, status=Status.NOT_JUDGED, reason=reason)
    return CriterionResult.of(feature, scenario, step, verdict, run="", started=now, stopped=now)
