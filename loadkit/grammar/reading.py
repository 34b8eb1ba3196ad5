"""Reads a sentence: returns its criterion, or the error that explains why it cannot be read."""

from functools import cache

from loadkit.criterion import Criterion
from loadkit.errors import PhraseError
from loadkit.grammar.normalization import normalize
from loadkit.grammar.parameters import PARAMETERS
from loadkit.grammar.sentences import GIVEN, THEN, WHEN, pattern
from loadkit.grammar.suggestions import suggestion

__all__ = ["criterion", "explain"]


def criterion(text: str) -> Criterion:
    """The criterion of a sentence, given without its `Then`.

    Raises:
        PhraseError: the sentence cannot be read; the error names the wrong word and a valid one.

    """
    found = _criterion(text)
    if found is None:
        raise suggestion(text, THEN)
    return found


def explain(sentence: str) -> PhraseError | None:
    """The error in a sentence, given without its keyword; None for a valid sentence."""
    normalized = normalize(sentence)
    if any(pattern(expression).fullmatch(normalized) for expression in (*GIVEN, *WHEN)):
        return None
    try:
        found = _criterion(sentence)
    except PhraseError as error:
        return error
    return None if found else suggestion(sentence, (*GIVEN, *WHEN, *THEN))


@cache
def _criterion(text: str) -> Criterion | None:
    """The criterion of a sentence; None where no expression matches.

    The dry run, a step, the report and the command line read the same sentence. Because of the
    cache, it is parsed once.

    Raises:
        PhraseError: the parts of the sentence do not fit together.

    """
    normalized = normalize(text)
    for expression, meaning in THEN.items():
        matched = pattern(expression).fullmatch(normalized)
        if matched:
            parts = {name: PARAMETERS[name].convert(part) for name, part in matched.groupdict().items()}
            return meaning(text, parts)
    return None
