"""Numbers in sentences. Some are ambiguous: 1.000 means 1 to one reader and 1000 to another."""

import re
from decimal import Decimal

__all__ = ["NUMBER", "PERCENT", "WHOLE", "ambiguity", "number"]

WHOLE = r"(?:[1-9][0-9]{0,2}(?:(?:,[0-9]{3}){1,4}|(?: [0-9]{3}){1,4})|[0-9]{1,15})"
"""Digits; commas or spaces may group thousands."""
_MAY_BE_THOUSANDS = r"[1-9][0-9]{0,2}\.[0-9]{3}"
NUMBER = rf"(?!{_MAY_BE_THOUSANDS}(?![0-9])){WHOLE}(?:\.[0-9]{{1,9}})?"
PERCENT = r"[0-9]{1,15}(?:\.[0-9]{1,9})?"
"""Percentages have no groups of thousands, so 99.999 is unambiguous."""

_QUOTED = re.compile(r'"[^"]*"')
_WRITTEN = re.compile(
    r"(?<![\w.,])(?P<p>p?)(?P<number>[0-9]+(?: [0-9]{3})*(?:[.,][0-9]+)+)(?P<percent> ?%|(?:st|nd|rd|th)\b)?"
)
"""A number with a point or a comma, and the mark of a percentage or a percentile."""
_OTHERWISE = re.compile(
    rf"{_MAY_BE_THOUSANDS}|[0-9]{{1,3}}(?:\.[0-9]{{3}}){{2,}}|(?:[0-9]{{1,3}}(?:[. ][0-9]{{3}})+|[0-9]+),[0-9]+"
)
"""1.000, 1.000.000, 1,5 and 1.000,5: points that may group thousands, or a decimal comma."""


def number(text: str) -> float:
    """The value of a text that matches `NUMBER`, `PERCENT` or `WHOLE`."""
    return float(re.sub("[, ]", "", text))


def ambiguity(sentence: str) -> tuple[str, str] | None:
    """Find the first number with a decimal comma, or with a point that may group thousands.

    Returns the ambiguous text and what was expected, or None where there is no such number.

    Args:
        sentence: a normalized sentence; quoted text is not searched.

    """
    for found in _WRITTEN.finditer(_QUOTED.sub('""', sentence)):
        before, text, after = (part or "" for part in found.group("p", "number", "percent"))
        is_percent = bool(before or after)
        is_read = re.fullmatch(PERCENT if is_percent else NUMBER, text)
        if is_read or not _OTHERWISE.fullmatch(text):
            continue
        readings = [f"{before}{each:f}{after}" for each in _readings(text) if each <= 100 or not is_percent]
        if len(readings) > 1:
            either = " or ".join(readings)
            return found[0], f"it may mean {either}: write {either}"
        if readings:
            return found[0], f"expected it written as {readings[0]}"
    return None


def _readings(text: str) -> list[Decimal]:
    """The possible values of a number, the more likely one first."""
    text = text.replace(" ", "")
    comma_is_decimal = text.replace(".", "").replace(",", ".")
    point_is_decimal = text.replace(",", "")
    readings = [comma_is_decimal]
    # 0,5 never means 5, and a number has at most one decimal point.
    if point_is_decimal.count(".") < 2 and not re.match("0[0-9]", point_is_decimal):
        readings.insert(len(readings) if "," in text else 0, point_is_decimal)
    return [Decimal(each).normalize() for each in readings]
