"""Explains why a sentence cannot be read: the wrong word, and a valid replacement."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher

from loadkit.criterion import Measure, Unit
from loadkit.errors import PhraseError
from loadkit.grammar.normalization import normalize
from loadkit.grammar.numbers import ambiguity
from loadkit.grammar.parameters import MEASURE_NAMES, PARAMETERS, SCOPE_EXAMPLES, UNIT_EXAMPLES
from loadkit.grammar.sentences import pattern

__all__ = ["suggestion"]

_SIMILAR = 0.6
"""Minimum similarity of a word and its suggestion (`difflib` ratio; the default of `difflib`)."""
_NOT_BUILT = dict.fromkeys(
    ("cache hit rate", "the cache hit rate"),
    'this measure is not built yet ("cache hit ratio" is that of PostgreSQL)',
)
"""Measures that are not supported yet, but resemble a measure that has other values."""


def suggestion(sentence: str, expressions: Iterable[str]) -> PhraseError:
    """The error of a sentence: an ambiguous number, or a deviation from the nearest expression."""
    normalized = normalize(sentence)
    if ambiguous := ambiguity(normalized):
        return PhraseError(sentence, *ambiguous)
    nearest = min((_compare(normalized, expression) for expression in expressions), key=lambda fit: fit.cost)
    if 2 * nearest.matched < len(nearest.expression.split()):
        example = _example(nearest.expression)
        return PhraseError(sentence, sentence, f'no sentence is similar; the nearest is "{example}"')
    return PhraseError(sentence, nearest.word, nearest.expected)


@dataclass(slots=True)
class _Fit:
    """The fit of a sentence to an expression."""

    expression: str
    cost: float = 0.0
    """0 for a perfect fit; about 1 for each missing or wrong element."""
    matched: int = 0
    """The number of elements that match."""
    word: str = ""
    expected: str = ""

    def differ(self, cost: float, word: str, expected: str) -> None:
        if not self.expected:
            self.word, self.expected = word, expected
        self.cost += cost


def _compare(sentence: str, expression: str) -> _Fit:
    """Compare a sentence with an expression element by element; record each difference."""
    fit = _Fit(expression)
    elements = expression.split()
    at = 0
    measure: Measure | None = None
    for number, element in enumerate(elements):
        while sentence[at : at + 1].isspace():
            at += 1
        if at == len(sentence):
            fit.differ(
                1,
                (sentence.split() or [sentence])[-1],
                f"expected {_in_words(element)} after it",
            )
            continue
        following = elements[number + 1 :]
        is_parameter = element.startswith("{")
        word = _up_to(sentence, at, following) if is_parameter else sentence[at:].split(maxsplit=1)[0]
        matched = _matched(element, sentence[at:], following)
        if matched and not _is_wrong(element, matched, word, following, measure):
            if element == "{measure}":
                measure = PARAMETERS["measure"].convert(matched)
            at += len(matched)
            fit.matched += 1
            continue
        expected, similarity = _expected(element, word, measure)
        fit.differ(1 - similarity / 2, word, expected)
        if is_parameter or similarity >= _SIMILAR:
            at += len(word)
    rest = sentence[at:].strip()
    if rest:
        fit.differ(0.6 * len(rest.split()), rest, "nothing more is expected there")
    return fit


def _matched(element: str, rest: str, following: list[str]) -> str:
    """The text at the start of the rest of a sentence that matches an element; "" without a match.

    A parameter such as a name may have several words. It ends before the word that is most similar
    to the word expected after it.
    """
    direct = re.match(rf"(?:{pattern(element).pattern})(?!\S)", rest)
    if direct is None or not element.startswith("{") or (following and following[0].startswith("{")):
        return direct[0] if direct else ""
    ends = [word.end() for word in re.finditer(r"\S+", rest)]
    fitting = [end for end in ends if pattern(element).fullmatch(rest[:end])]
    if not following:
        return rest[: fitting[-1]]
    return rest[: max(fitting, key=lambda end: _similarity((rest[end:].split() or [""])[0], following[0]))]


def _similarity(word: str, other: str) -> float:
    return SequenceMatcher(None, word, other).ratio()


def _is_wrong(element: str, text: str, word: str, following: list[str], measure: Measure | None) -> bool:
    """Is a matching part wrong: a measure or scope with extra words, or a limit in another unit?"""
    if element in {"{measure}", "{scope}"}:
        return bool(following) and not following[0].startswith("{") and len(word) > len(text)
    if element == "{limit}" and measure is not None:
        return bool(PARAMETERS["limit"].convert(text).unit is not measure.unit)
    return False


def _up_to(sentence: str, at: int, following: list[str]) -> str:
    """The text from `at` up to the next word of the expression; one word before a parameter."""
    rest = sentence[at:].rstrip()
    if not following:
        return rest
    if following[0].startswith("{"):
        return rest.split()[0]
    found = re.match(rf"\S+(?:\s+\S+)*?(?=\s+{re.escape(following[0])}(?!\S))", rest)
    return found[0] if found else rest.split()[0]


def _expected(element: str, word: str, measure: Measure | None) -> tuple[str, float]:
    """What was expected in place of a wrong word, and the similarity of the two."""
    if element == "{limit}" and measure is not None:
        kind = "a plain number" if measure.unit is Unit.NUMBER else "a number with its unit"
        return f"expected {kind}, such as {UNIT_EXAMPLES[measure.unit]}", 0.8 if word[:1].isdigit() else 0.0
    known = {"{measure}": (*MEASURE_NAMES, *_NOT_BUILT), "{scope}": SCOPE_EXAMPLES}.get(element)
    if known is None and element.startswith("{"):
        return f"expected {_in_words(element)}", 0.8 if word[:1].isdigit() else 0.0
    similarity = {name: _similarity(word, name) for name in known or (_plain(element),)}
    nearest = max(similarity, key=lambda name: similarity[name])
    if similarity[nearest] < _SIMILAR:
        return f"expected {_in_words(element)}", similarity[nearest]
    return _NOT_BUILT.get(nearest, f'did you mean "{nearest}"?'), similarity[nearest]


def _in_words(element: str) -> str:
    """An element in words: a parameter with an example, or a word in quotes."""
    if not element.startswith("{"):
        return f'"{_plain(element)}"'
    parameter = PARAMETERS[element.strip("{}")]
    return f"{parameter.expected}, such as {parameter.example}"


def _example(expression: str) -> str:
    """An expression with examples in place of its parameters."""
    return _plain(re.sub(r"\{(\w+)\}", lambda part: PARAMETERS[part[1]].example, expression))


def _plain(expression: str) -> str:
    """An expression with its optional endings."""
    return expression.replace("(", "").replace(")", "")
