"""The behave runner of this suite. It reads all scenarios before the first load.

A dry run only lists the runs.
"""

import re
import signal
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any, TextIO, cast

from behave.exception import ConfigError, FileNotFoundError, InvalidFileLocationError  # noqa: A004  the name is behave's
from behave.formatter.base import Formatter
from behave.model import Scenario, ScenarioOutline, Step
from behave.parser import ParserError
from behave.runner import Runner, the_step_registry

from loadkit import grammar
from loadkit.engine.testbed import Testbed
from loadkit.environment.environment import Environment
from loadkit.environment.environment import load as load_environment
from loadkit.errors import ConfigurationError, LoadkitError
from loadkit.judging.judge import judge
from loadkit.live.terminal import watcher
from loadkit.users import discovery
from steps.suite import allure_results, criteria_json, dry_run, gherkin, session
from steps.suite.output import LastingOutput
from steps.suite.reading import Reading, read
from steps.suite.reporter import Reporter

__all__ = ["AcceptanceRunner", "Options"]

REPORTS = "reports"
"""Default folder of results and runs, relative to the current directory."""


@dataclass(frozen=True, slots=True)
class Options:
    """The options given as ``-D name=value``."""

    env: str
    time_scale: float | None
    """Ratio to the stated arrival and hold times; None: as set in the environment."""
    users_scale: float | None
    """Ratio to the stated number of users; None: as set in the environment."""
    seed: int
    reports: Path
    """Folder of results and runs."""

    @classmethod
    def of(cls, userdata: dict[str, str]) -> "Options":
        """Read the user data of behave. Names with a dot belong to formatters.

        Raises:
            ConfigurationError: a name is unknown, or a value is not valid.

        """
        known = cls.__dataclass_fields__
        for name in userdata:
            if name not in known and "." not in name:
                near = get_close_matches(name, known, 1)
                hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}"
                raise ConfigurationError(f"-D {name}: unknown; {hint}")
        return cls(
            env=userdata.get("env", "local"),
            time_scale=_scale(userdata, "time_scale"),
            users_scale=_scale(userdata, "users_scale"),
            seed=_seed(userdata),
            reports=_reports(userdata),
        )

    def environment(self, root: Path) -> Environment:
        """The selected environment; the scales of the options replace its own."""
        environment = load_environment(self.env, root)
        configured = environment.settings
        settings = replace(
            configured,
            time_scale=configured.time_scale if self.time_scale is None else self.time_scale,
            users_scale=configured.users_scale if self.users_scale is None else self.users_scale,
        )
        return replace(environment, settings=settings)


class AcceptanceRunner(Runner):  # type: ignore[misc]  # behave has no types
    """The runner that pyproject.toml configures for `behave`."""

    def run(self) -> bool:
        """Run the selected scenarios.

        Raises:
            SystemExit: with the exit code of the gate, or with 2 if the session cannot start.

        """
        if not self.config.dry_run:
            # If a session cannot start, the results of the previous session must not remain.
            _remove_results(_reports(self.config.userdata))
        gherkin.install()
        standard = sys.stdout
        sys.stdout = cast("TextIO", LastingOutput(standard))
        for each in (*self.config.outputs, *self.config.reporters):
            if getattr(each, "stream", None) is not None:
                each.stream = LastingOutput(each.stream)
        try:
            return bool(super().run())
        except FileNotFoundError as error:
            # behave's message is only the name of the file.
            print(
                f"{error} does not exist; expected a file or a folder, such as features/api",
                file=sys.stderr,
            )
        except (LoadkitError, ConfigError, ParserError, InvalidFileLocationError) as error:
            print(str(error).strip().replace("\n", "; "), file=sys.stderr)
        except Exception:
            # An error in the suite is not a verdict on the service, so the exit code must not be 1.
            traceback.print_exc()
        finally:
            sys.stdout = standard
        raise SystemExit(2)

    def run_model(self, features: Any = None) -> bool:
        """Read the selected scenarios, then let behave run them. A dry run only prints the runs."""
        options = Options.of(dict(self.config.userdata))
        root = Path(self.base_dir)
        environment = options.environment(root)
        journeys = discovery.find(environment.settings.journeys, root)
        readings = {
            (scenario.filename, scenario.line): read(
                scenario, the_step_registry, environment, journeys, options.seed
            )
            for scenario in self._selected()
        }
        problems = [each for reading in readings.values() for each in reading.problems]
        problems = list(dict.fromkeys([*problems, *self._outlines_without_examples()]))
        shared = session.share(readings.values())
        if self.config.dry_run:
            self.config.reporters.clear()  # the summary of behave would be empty
            super().run_model(features)
            raise SystemExit(dry_run.show(shared, problems, environment))
        for problem in problems:
            print(problem, file=sys.stderr)
        if trouble := dry_run.too_long(shared, environment):
            raise ConfigurationError(trouble)
        return self._run_for_real(features, environment, readings, options.reports)

    def _run_for_real(
        self,
        features: Any,
        environment: Environment,
        readings: dict[tuple[str, int], Reading],
        reports: Path,
    ) -> bool:
        Scenario.continue_after_failed_step = True
        # A pipeline cancels a job with SIGTERM, so it has the same effect as Ctrl-C. SIGINT is set
        # too, because processes in the background ignore it.
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.default_int_handler)
        testbed = Testbed(
            environment, reports / "runs", watcher=watcher, tell=partial(print, file=sys.stderr)
        )
        # behave captures standard error during a step. The live status is on the original one.
        tell = partial(print, file=sys.__stderr__, flush=True)
        current = session.begin(session.Session(environment, testbed, readings, judge, tell))
        self.config.reporters.append(Reporter(self.config, current, reports=reports, explain=_explain))
        self.formatters.insert(0, PlainMessages(self.config))
        try:
            return bool(super().run_model(features))
        finally:
            current.close()

    def _selected(self) -> list[Scenario]:
        """The scenarios that will run, in order."""
        return [
            scenario
            for feature in self.features
            if feature.should_run(self.config)
            for scenario in feature.walk_scenarios()
            if scenario.should_run(self.config)
        ]

    def _outlines_without_examples(self) -> list[str]:
        """The problems of scenario outlines without examples, which produce no scenario."""
        return [
            f'{outline.filename}:{outline.line}: "{outline.name}" has no examples; expected rows below its Examples'
            for feature in self.features
            if feature.should_run(self.config)
            for outline in feature.walk_scenarios(with_outlines=True)
            if isinstance(outline, ScenarioOutline)
            and not outline.scenarios
            and outline.should_run(self.config)
        ]


class PlainMessages(Formatter):  # type: ignore[misc]  # behave has no types
    """The first formatter. For the others, it replaces stack traces by the verdict's reason."""

    name = "plain messages"

    def __init__(self, config: Any) -> None:  # the base class would open a stream
        """Prepare the formatter, which writes nothing itself."""
        self.config = config

    def result(self, step: Step) -> None:
        """Replace the message of a step that has run."""
        if isinstance(step.exception, (AssertionError, LoadkitError, *session.VERDICTS)):
            step.error_message = str(step.exception)

    def close(self) -> None:
        """Do nothing: no stream was opened."""


def _scale(userdata: dict[str, str], name: str) -> float | None:
    text = userdata.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]*\.?[0-9]+", text) or not 0 < float(text) <= 1:
        raise ConfigurationError(f"-D {name}={text}: expected a ratio above 0 and at most 1, such as 0.1")
    return float(text)


def _remove_results(reports: Path) -> None:
    """Remove the results of an earlier session, and their report page.

    Raises:
        SystemExit: with 2 if the folder is not writable.

    """
    try:
        reports.mkdir(parents=True, exist_ok=True)
        criteria_json.remove(reports)
        allure_results.remove(reports)
        (reports / allure_results.PAGE).unlink(missing_ok=True)
    except OSError as error:
        print(f"cannot write results to {reports}: {error.strerror}", file=sys.stderr)
        raise SystemExit(2) from None


def _reports(userdata: Mapping[str, str]) -> Path:
    return Path(userdata.get("reports", REPORTS))


def _seed(userdata: dict[str, str]) -> int:
    text = userdata.get("seed", "1")
    if not text.isdecimal():
        raise ConfigurationError(f"-D seed={text}: expected a whole number, such as 1")
    return int(text)


def _explain(sentence: str) -> str:
    error = grammar.explain(sentence)
    return str(error) if error else ""
