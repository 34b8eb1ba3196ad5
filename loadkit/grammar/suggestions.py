"""What is wrong with a sentence that cannot be read: the word, and one that would be right."""

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

_ALIKE = 0.6
"""How alike two words are that may be meant for each other (`difflib` ratio, its own default)."""


def suggestion(sentence: str, expressions: Iterable[str]) -> PhraseError:
    """An ambiguous number, or the first word at which a sentence leaves the nearest expression."""
    meant = normalize(sentence)
    if ambiguous := ambiguity(meant):
        return PhraseError(sentence, *ambiguous)
    nearest = min((_compare(meant, expression) for expression in expressions), key=lambda fit: fit.cost)
    if 2 * nearest.matched < len(nearest.expression.split()):
        example = _example(nearest.expression)
        return PhraseError(sentence, sentence, f'no sentence is like it; the nearest is "{example}"')
    return PhraseError(sentence, nearest.word, nearest.expected)


@dataclass(slots=True)
class _Fit:
    """How a sentence fits an expression."""

    expression: str
    cost: float = 0.0
    """0 for a perfect fit; about 1 for each element that is missing or wrong."""
    matched: int = 0
    """How many elements fit."""
    word: str = ""
    expected: str = ""

    def differ(self, cost: float, word: str, expected: str) -> None:
        if not self.expected:
            self.word, self.expected = word, expected
        self.cost += cost


def _compare(sentence: str, expression: str) -> _Fit:
    """Walk along both; where they differ, note it and go on as well as can be."""
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
                f"expected {_wanted(element)} after it",
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
        meant, alike = _meant(element, word, measure)
        fit.differ(1 - alike / 2, word, meant)
        if is_parameter or alike >= _ALIKE:
            at += len(word)
    rest = sentence[at:].strip()
    if rest:
        fit.differ(0.6 * len(rest.split()), rest, "nothing more is expected there")
    return fit


def _matched(element: str, rest: str, following: list[str]) -> str:
    """How much of the rest of a sentence is an element; "" where nothing is.

    A part may be one word or several, such as a name. Then it goes up to the word that is most like the one that is
    expected after it.
    """
    plainly = re.match(rf"(?:{pattern(element).pattern})(?!\S)", rest)
    if plainly is None or not element.startswith("{") or (following and following[0].startswith("{")):
        return plainly[0] if plainly else ""
    ends = [word.end() for word in re.finditer(r"\S+", rest)]
    fitting = [end for end in ends if pattern(element).fullmatch(rest[:end])]
    if not following:
        return rest[: fitting[-1]]
    return rest[: max(fitting, key=lambda end: _likeness((rest[end:].split() or [""])[0], following[0]))]


def _likeness(word: str, other: str) -> float:
    return SequenceMatcher(None, word, other).ratio()


def _is_wrong(element: str, text: str, word: str, following: list[str], measure: Measure | None) -> bool:
    """Is a part wrong although it can be read: a measure or scope that goes on, a limit without its measure's unit?"""
    if element in {"{measure}", "{scope}"}:
        return bool(following) and not following[0].startswith("{") and len(word) > len(text)
    if element == "{limit}" and measure is not None:
        return bool(PARAMETERS["limit"].convert(text).unit is not measure.unit)
    return False


def _up_to(sentence: str, at: int, following: list[str]) -> str:
    """The text from a place up to the next word that an expression asks for; one word where a parameter follows."""
    rest = sentence[at:].rstrip()
    if not following:
        return rest
    if following[0].startswith("{"):
        return rest.split()[0]
    found = re.match(rf"\S+(?:\s+\S+)*?(?=\s+{re.escape(following[0])}(?!\S))", rest)
    return found[0] if found else rest.split()[0]


def _meant(element: str, word: str, measure: Measure | None) -> tuple[str, float]:
    """What may be meant by a wrong word in the place of an element, in a sentence, and how alike the two are."""
    if element == "{limit}" and measure is not None:
        kind = "a plain number" if measure.unit is Unit.NUMBER else "a number with its unit"
        return f"expected {kind}, such as {UNIT_EXAMPLES[measure.unit]}", 0.8 if word[:1].isdigit() else 0.0
    known = {"{measure}": MEASURE_NAMES, "{scope}": SCOPE_EXAMPLES}.get(element)
    if known is None and element.startswith("{"):
        return f"expected {_wanted(element)}", 0.8 if word[:1].isdigit() else 0.0
    likeness = {name: _likeness(word, name) for name in known or (_plain(element),)}
    near = max(likeness, key=lambda name: likeness[name])
    if likeness[near] < _ALIKE:
        return f"expected {_wanted(element)}", likeness[near]
    return f'did you mean "{near}"?', likeness[near]


def _wanted(element: str) -> str:
    """An element in words: a parameter with an example, a word in quotes."""
    if not element.startswith("{"):
        return f'"{_plain(element)}"'
    parameter = PARAMETERS[element.strip("{}")]
    return f"{parameter.expected}, such as {parameter.example}"


def _example(expression: str) -> str:
    """An expression with examples in the place of its parameters."""
    return _plain(re.sub(r"\{(\w+)\}", lambda part: PARAMETERS[part[1]].example, expression))


def _plain(expression: str) -> str:
    """An expression with its optional endings."""
    return expression.replace("(", "").replace(")", "")
