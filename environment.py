"""behave's hooks: they tell the session where behave is."""

import logging
from typing import Any

from behave.model import Scenario, Step

from steps.suite import parameters, session

parameters.register()


def before_all(context: Any) -> None:
    # In place of behave's own hook: what libraries log of each request would bury the results.
    context.config.setup_logging(level=logging.WARNING)


def before_scenario(context: Any, scenario: Scenario) -> None:
    session.current().begin_scenario(context, scenario)


def before_step(context: Any, step: Step) -> None:
    session.current().begin_step(context, step)


def after_step(context: Any, step: Step) -> None:
    session.current().end_step(step, is_interrupted=context.aborted)
