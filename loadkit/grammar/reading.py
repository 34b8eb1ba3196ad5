"""Sentences read: the criterion that one means, or what is wrong with it."""

from functools import cache

from loadkit.criterion import Criterion
from loadkit.errors import PhraseError
from loadkit.grammar.normalization import normalize
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
    meant = normalize(sentence)
    if any(pattern(expression).fullmatch(meant) for expression in (*GIVEN, *WHEN)):
        return None
    try:
        found = _promised(sentence)
    except PhraseError as error:
        return error
    return None if found else suggestion(sentence, (*GIVEN, *WHEN, *THEN))


@cache
def _promised(text: str) -> Criterion | None:
    """The criterion; None where the sentence has the form of none.

    Dry run, step, report and command line all ask for it by the sentence: the cache reads it once.

    Raises:
        PhraseError: the parts do not belong together.

    """
    meant = normalize(text)
    for expression, meaning in THEN.items():
        matched = pattern(expression).fullmatch(meant)
        if matched:
            parts = {name: PARAMETERS[name].convert(part) for name, part in matched.groupdict().items()}
            return meaning(text, parts)
    return None
