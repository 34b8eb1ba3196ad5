"""behave's runner for this suite: every scenario is read before any load, and a dry run says what a run would do."""

import re
import signal
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from behave.exception import ConfigError, FileNotFoundError, InvalidFileLocationError  # noqa: A004
from behave.formatter.base import Formatter
from behave.model import Scenario, Step
from behave.parser import ParserError
from behave.runner import Runner, the_step_registry

from loadkit import grammar
from loadkit.environment.environment import Environment
from loadkit.environment.environment import load as load_environment
from loadkit.errors import ConfigurationError, LoadkitError
from loadkit.judging.judge import judge
from loadkit.users import discovery
from steps.suite import allure_results, criteria_json, dry_run, gherkin, session
from steps.suite.bench import EnvironmentBench
from steps.suite.reading import Reading, read
from steps.suite.reporter import Reporter

__all__ = ["AcceptanceRunner", "Options"]

REPORTS = "reports"
"""Where results and runs are written unless told otherwise, from where behave was called."""


@dataclass(frozen=True, slots=True)
class Options:
    """What ``-D name=value`` sets."""

    env: str
    time_scale: float | None
    """Ratio of the stated arrival and hold; None: the environment's own."""
    users_scale: float | None
    """Ratio of the stated users; None: the environment's own."""
    seed: int
    reports: Path
    """Where results and runs are written."""

    @classmethod
    def of(cls, userdata: dict[str, str]) -> "Options":
        """Read behave's user data; names with a dot belong to formatters.

        Raises:
            ConfigurationError: a name or a value that means nothing here.

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
        """The environment that they name, with their scales in place of its own."""
        environment = load_environment(self.env, root)
        said = environment.settings
        settings = replace(
            said,
            time_scale=said.time_scale if self.time_scale is None else self.time_scale,
            users_scale=said.users_scale if self.users_scale is None else self.users_scale,
        )
        return replace(environment, settings=settings)


class AcceptanceRunner(Runner):  # type: ignore[misc]
    """Named in pyproject.toml: `behave` alone uses it."""

    def run(self) -> bool:
        """Run what behave was asked to.

        Raises:
            SystemExit: with the gate's code at the end, and with 2 where it does not come to that.

        """
        if not self.config.dry_run:
            # A session that cannot begin must not leave the results of the one before it.
            _make_room(_reports(self.config.userdata))
        gherkin.install()
        try:
            return bool(super().run())
        except FileNotFoundError as error:
            # behave says no more than the name.
            print(
                f"there is no feature {error}; expected a file or a folder, such as features/api",
                file=sys.stderr,
            )
        except (LoadkitError, ConfigError, ParserError, InvalidFileLocationError) as error:
            print(str(error).strip().replace("\n", "; "), file=sys.stderr)
        except Exception:
            # A mistake in the suite itself is no verdict on the service: 1 would say that a promise was broken.
            traceback.print_exc()
        raise SystemExit(2)

    def run_model(self, features: Any = None) -> bool:
        """Read the selected scenarios, then let behave run them; a dry run is told, and puts no load on."""
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
        problems = list(dict.fromkeys(each for reading in readings.values() for each in reading.problems))
        shared = session.share(readings.values())
        if self.config.dry_run:
            self.config.reporters.clear()  # behave's own summary has nothing to sum up
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
        # What a pipeline ends a job with is taken as Ctrl-C is, also where that is ignored, as in the background.
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.default_int_handler)
        current = session.begin(
            session.Session(environment, EnvironmentBench(environment, reports / "runs"), readings, judge)
        )
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


class PlainMessages(Formatter):  # type: ignore[misc]
    """First of the formatters: gives the others a verdict's own sentence in the place of a stack trace."""

    name = "plain messages"

    def __init__(self, config: Any) -> None:  # its base would open a stream
        """Prepare it; it writes nothing itself."""
        self.config = config

    def result(self, step: Step) -> None:
        """Take over a step that has run."""
        if isinstance(step.exception, (AssertionError, LoadkitError, *session.VERDICTS)):
            step.error_message = str(step.exception)

    def close(self) -> None:
        """Nothing was opened."""


def _scale(userdata: dict[str, str], name: str) -> float | None:
    text = userdata.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]*\.?[0-9]+", text) or not 0 < float(text) <= 1:
        raise ConfigurationError(f"-D {name}={text}: expected a ratio above 0 and at most 1, such as 0.1")
    return float(text)


def _make_room(reports: Path) -> None:
    """Take away the results of an earlier session.

    Raises:
        SystemExit: with 2, where nothing can be written there.

    """
    try:
        reports.mkdir(parents=True, exist_ok=True)
        criteria_json.remove(reports)
        allure_results.remove(reports)
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
