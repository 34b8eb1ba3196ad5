"""The parameters of the grammar as parameter types of behave, and the matcher of sentences."""

from behave.cucumber_expression import StepMatcher4CucumberExpressions, define_parameter_type_with
from behave.matchers import register_step_matcher_class, use_step_matcher
from behave.model_type import Argument

from loadkit import grammar

__all__ = ["SentenceMatcher", "register"]


class SentenceMatcher(StepMatcher4CucumberExpressions):  # type: ignore[misc]  # behave has no types
    """Matches a Cucumber expression with a sentence as written, or with its normalized form."""

    NAME = "sentences"

    def check_match(self, step_text: str) -> list[Argument] | None:
        """The arguments of the step; None if its expression does not match."""
        arguments: list[Argument] | None = super().check_match(step_text)
        if arguments is not None:
            return arguments
        arguments = super().check_match(grammar.normalize(step_text))
        # Formatters highlight arguments by position. Positions in the normalized form are useless.
        return arguments and [Argument(0, 0, each.original, each.value) for each in arguments]


def register() -> None:
    """Register all parameter types and the matcher in behave. May be called repeatedly."""
    known = SentenceMatcher.TYPE_REGISTRY
    for parameter in grammar.PARAMETERS.values():
        if not known.has_registered_type(parameter.name):
            define_parameter_type_with(
                name=parameter.name, regexp=parameter.regexp, type=object, transformer=parameter.convert
            )
    register_step_matcher_class(SentenceMatcher.NAME, SentenceMatcher)
    use_step_matcher(SentenceMatcher.NAME)
