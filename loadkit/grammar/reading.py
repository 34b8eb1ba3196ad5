"""Sentences read: the criterion that one means, or what is wrong with it."""

from loadkit.criterion import Criterion
from loadkit.errors import PhraseError
from loadkit.grammar.parameters import PARAMETERS
from loadkit.grammar.sentences import GIVEN, THEN, WHEN, pattern
from loadkit.grammar.suggestions import suggestion

__all__ = ["criterion", "explain"]


def criterion(text: str) -> Criterion:
    """The criterion that a sentence means, given without its `Then`.

    Raises:
        PhraseError: it cannot be read; it says which word is wrong and what would be right.

    """
    found = _promised(text)
    if found is None:
        raise suggestion(text, THEN)
    return found


def explain(sentence: str) -> PhraseError | None:
    """What is wrong with a sentence, given without its keyword; None where nothing is."""
    if any(pattern(expression).fullmatch(sentence) for expression in (*GIVEN, *WHEN)):
        return None
    try:
        found = _promised(sentence)
    except PhraseError as error:
        return error
    return None if found else suggestion(sentence, (*GIVEN, *WHEN, *THEN))


def _promised(text: str) -> Criterion | None:
    """The criterion; None where the sentence has the form of none. Raises PhraseError where its parts do not belong together."""
    for expression, meaning in THEN.items():
        matched = pattern(expression).fullmatch(text)
        if matched:
            parts = {name: PARAMETERS[name].convert(part) for name, part in matched.groupdict().items()}
            return meaning(text, parts)
    return None
