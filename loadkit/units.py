"""Quantities as text: three significant digits, and the unit that keeps the number small."""

import enum
import math

__all__ = [
    "Unit",
    "distance",
    "format_bytes",
    "format_number",
    "format_quantity",
    "format_ratio",
    "format_seconds",
]


class Unit(enum.StrEnum):
    """The unit in which a measure is stored; only the grammar and the reports convert it."""

    SECONDS = "s"
    RATIO = "ratio"
    PER_SECOND = "per second"
    BYTES = "bytes"
    TIMES = "times"
    """A ratio of two values of one measure; it may exceed 1."""
    NUMBER = ""


def format_number(value: float) -> str:
    """A number with three significant digits, no exponent: 4.31, 1240, 0.00012, 10,000."""
    if value == 0:
        return "0"
    if not math.isfinite(value):
        return "beyond measure"
    if abs(value) >= 100:
        return f"{value:,.0f}" if abs(value) >= 9999.5 else f"{value:.0f}"
    decimals = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{min(decimals, 9)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def format_seconds(seconds: float) -> str:
    """A time as text: 4.31 ms, 1.25 s, 5 min, 3.5 h."""
    size = abs(seconds)
    if size == 0 or not math.isfinite(seconds):
        return "0 s" if size == 0 else "beyond measure"
    for most, unit, name in (
        (0.9995e-3, 1e-6, "µs"),
        (0.9995, 1e-3, "ms"),
        (119.5, 1.0, "s"),
        (7170, 60.0, "min"),
    ):
        if size < most:
            return f"{format_number(seconds / unit)} {name}"
    return f"{format_number(seconds / 3600)} h"


def format_bytes(amount: float) -> str:
    """A size in decimal units, 1 GB = 10⁹ bytes: 1.9 GB."""
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if abs(amount) >= 0.9995 * unit:
            return f"{format_number(amount / unit)} {name}"
    return f"{format_number(amount)} bytes"


def format_ratio(ratio: float) -> str:
    """A share in percent: 0.52 %; close to 100 % with more digits: 99.992 %."""
    percent = ratio * 100
    if 99 < percent < 100:
        decimals = min(9, 1 - math.floor(math.log10(100 - percent)))
        return f"{percent:.{decimals}f}".rstrip("0").rstrip(".") + " %"
    return f"{format_number(percent)} %"


def format_quantity(value: float, unit: Unit) -> str:
    """A value of a measure, given in the unit in which it is stored, as text."""
    match unit:
        case Unit.SECONDS:
            return format_seconds(value)
        case Unit.BYTES:
            return format_bytes(value)
        case Unit.RATIO:
            return format_ratio(value)
        case Unit.PER_SECOND:
            return f"{format_number(value)} per second"
        case Unit.TIMES:
            return f"{format_number(value)} times"
        case Unit.NUMBER:
            return format_number(value)


def distance(value: float, limit: float, unit: Unit = Unit.NUMBER) -> str:
    """The distance of a value from its limit, in words: "116 times below", "22 % above".

    Put "the limit of …" after it. From twice the limit on, it is "2 times": "2 times the limit".
    Ratios that differ by less than a factor of 2 are compared in percentage points: 86 % is "9
    points below" 95 %.
    """
    if value == limit:
        return "exactly at"
    side = "below" if value < limit else "above"
    low, high = sorted((abs(value), abs(limit)))
    if low == 0 or value * limit < 0:
        return side
    if high / low >= 2:
        times = f"{format_number(high / low)} times"
        return times if side == "above" else f"{times} below"
    if unit is Unit.RATIO:
        return f"{format_number(abs(limit - value) * 100)} points {side}"
    return f"{format_number(abs(limit - value) / abs(limit) * 100)} % {side}"
