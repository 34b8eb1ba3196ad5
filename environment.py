"""Hooks of behave: they report the current scenario and step to the session."""

import logging
from typing import Any

from behave.model import Scenario, Step

from steps.suite import parameters, session

parameters.register()


def before_all(context: Any) -> None:
    # This replaces behave's default hook, because the request logs of libraries would hide the
    # results.
    context.config.setup_logging(level=logging.WARNING)


def before_scenario(context: Any, scenario: Scenario) -> None:
    session.current().begin_scenario(context, scenario)


def before_step(context: Any, step: Step) -> None:
    session.current().begin_step(context, step)


def after_step(context: Any, step: Step) -> None:
    session.current().end_step(step, is_interrupted=context.aborted)
