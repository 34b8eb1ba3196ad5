"""The parts of sentences as behave's parameter types."""

from behave.cucumber_expression import (
    StepMatcher4CucumberExpressions,
    define_parameter_type_with,
    use_step_matcher_for_cucumber_expressions,
)

from loadkit import grammar

__all__ = ["register"]


def register() -> None:
    """Make every part known to behave, and Cucumber expressions what steps are written in. Safe to repeat."""
    known = StepMatcher4CucumberExpressions.TYPE_REGISTRY
    for parameter in grammar.PARAMETERS.values():
        if not known.has_registered_type(parameter.name):
            define_parameter_type_with(
                name=parameter.name, regexp=parameter.regexp, type=object, transformer=parameter.convert
            )
    use_step_matcher_for_cucumber_expressions()
