"""The parameters of sentences: each has a regular expression and a converter to its value."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from loadkit.criterion import KEY_QUERIES, Family, Measure, Scope, ScopeKind, Unit
from loadkit.errors import PhraseError
from loadkit.grammar.normalization import normalize
from loadkit.grammar.numbers import NUMBER, PERCENT, WHOLE, ambiguity, number
from loadkit.workload.workload import Lognormal, Think

__all__ = [
    "MEASURE_NAMES",
    "PARAMETERS",
    "SCOPE_EXAMPLES",
    "UNIT_EXAMPLES",
    "Parameter",
    "Quantity",
    "is_query",
    "read",
]


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number with its unit, converted to the unit in which its kind is stored."""

    value: float
    unit: Unit
    text: str
    """The text as written."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of sentences, written ``{name}`` in their expressions."""

    name: str
    regexp: str
    """Without capturing groups; `convert` takes the whole match."""
    convert: Callable[[str], Any]
    expected: str
    """Its description in messages: "a time"."""
    example: str


_QUOTED = r'"[^"]+"'

_SECONDS = {
    **dict.fromkeys(("ms", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1.0),
    **dict.fromkeys(("min", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hour", "hours"), 3600.0),
}
_BYTES = {
    "bytes": 1.0,
    **{f"{prefix}B": 1000.0 ** (power + 1) for power, prefix in enumerate("kMGT")},
    **{f"{prefix}iB": 1024.0 ** (power + 1) for power, prefix in enumerate("KMGT")},
}


def _any(words: Mapping[str, Any]) -> str:
    """A regular expression that matches the longest of some words."""
    return "(?:" + "|".join(sorted(map(re.escape, words), key=len, reverse=True)) + ")"


_DURATION = rf"{NUMBER} ?{_any(_SECONDS)}"
_SHARE = rf"{PERCENT} ?%"
_SIZE = rf"{NUMBER} ?{_any(_BYTES)}"
_RATE = rf"{NUMBER} (?:requests?|messages?|records?) per second"
_LIMIT = f"(?:{_DURATION}|{_SHARE}|{_SIZE}|{_RATE}|{NUMBER})"
_ON_AVERAGE = " on average"
_MULTIPLES = {"thousand": 1e3, "million": 1e6, "billion": 1e9}
_RECORDS = rf"{NUMBER}(?: {_any(_MULTIPLES)})?"
_SPREAD = rf"a median of {_DURATION} and a p95 of {_DURATION}"
_THINK = rf"(?:{_SPREAD}|(?:{NUMBER}(?: ?{_any(_SECONDS)})? to )?{_DURATION}|{_DURATION}{_ON_AVERAGE})"

UNIT_EXAMPLES = {
    Unit.SECONDS: "500 ms",
    Unit.RATIO: "1%",
    Unit.PER_SECOND: "1000 requests per second",
    Unit.BYTES: "2 GB",
    Unit.TIMES: "2 times",
    Unit.NUMBER: "5",
}
"""An example of a limit for each unit."""

_NAMED = {
    name: Measure(name, family, unit, timing=timing)
    for name, family, unit, timing in (
        ("error rate", Family.ERROR_RATE, Unit.RATIO, "operation"),
        ("availability", Family.AVAILABILITY, Unit.RATIO, "operation"),
        ("uptime", Family.UPTIME, Unit.RATIO, "request"),
        ("throughput", Family.THROUGHPUT, Unit.PER_SECOND, "request"),
        ("CPU utilization", Family.GAUGE, Unit.RATIO, "request"),
        ("memory usage", Family.GAUGE, Unit.BYTES, "request"),
        ("database connection pool utilization", Family.GAUGE, Unit.RATIO, "request"),
        ("connection success rate", Family.AVAILABILITY, Unit.RATIO, "connect"),
        ("workflow success rate", Family.AVAILABILITY, Unit.RATIO, "workflow"),
        ("reach", Family.REACH, Unit.RATIO, "message"),
        ("connection pool efficiency", Family.GAUGE, Unit.RATIO, "request"),
        ("cache hit ratio", Family.GAUGE, Unit.RATIO, "request"),
        ("database connections", Family.GAUGE, Unit.NUMBER, "request"),
        ("lock waits", Family.GAUGE, Unit.NUMBER, "request"),
        ("dead tuples", Family.GAUGE, Unit.NUMBER, "request"),
        ("index utilization of the key queries", Family.INDEX_USE, Unit.RATIO, "query"),
    )
}
_STATISTICS = {"median": 0.5, "mean": None, "maximum": None, "max": None}
_RESPONSE_TIME = "response time"
_TIMES = {
    _RESPONSE_TIME: "request",
    "message latency": "message",
    "connection time": "connect",
    "time to reconnect": "reconnect",
    "ping round trip": "ping",
    "send time": "send",
    "message round trip": "roundtrip",
    "query time": "query",
    "pool wait": "acquire",
    "workflow time": "workflow",
}
"""The times that sentences name, and the keys of their timings (`loadkit.recording.timing`)."""
MEASURE_NAMES = (
    *(
        f"the p95 {_RESPONSE_TIME}",
        f"the mean {_RESPONSE_TIME}",
        f"the median {_RESPONSE_TIME}",
        "p95",
        "p99",
    ),
    "the error rate",
    "the p95 message latency",
    "the p99 connection time",
    "the p95 query time",
    *_NAMED,
)
"""Measures in their most frequent form, for suggestions."""

_PERCENTILE = r"p[0-9]{1,2}(?:\.[0-9]{1,4})?"
_ORDINAL = r"[0-9]{1,2}(?:\.[0-9]{1,4})?(?:st|nd|rd|th) percentile"
_MEASURE = (
    rf"(?:(?:the )?(?:{_PERCENTILE}|{_ORDINAL}|{_any(_STATISTICS)})(?: (?:of the )?{_any(_TIMES)})?"
    rf"|(?:the )?{_any(_NAMED)}"
    rf"|the Prometheus query {_QUOTED})"
)

_NAME = r"[^\W_][\w'-]*(?: [^\W_][\w'-]*){0,3}?"
"""One to four words, as few as possible."""
_POPULATION = rf"(?:{_QUOTED} )?{_NAME}(?<! endpoint)(?<! endpoints)"
"""Such as users, dashboard users, or "ingest events" users; never the name of an endpoint group."""
_SCOPES = (
    (ScopeKind.GROUP, "of the ", r"[\w-]+", " endpoints"),
    (ScopeKind.GROUP, "of the ", KEY_QUERIES, ""),
    (ScopeKind.LABEL, 'of "', '[^"]+', '"'),
    (ScopeKind.TENANT, 'of tenant "', '[^"]+', '"'),
    (ScopeKind.REGION, "for users in ", _NAME, ""),
    (ScopeKind.POPULATION, f"of the (?!{_any(_TIMES)})", _POPULATION, ""),
    (ScopeKind.INSTANCE, "on every instance", "", ""),
    (ScopeKind.INSTANCE, "per instance", "", ""),
)
"""Kind, text before the name, name, text after the name."""
_SCOPE = "(?:" + "|".join(before + name + after for _, before, name, after in _SCOPES) + ")"
SCOPE_EXAMPLES = (
    "of the auth endpoints",
    'of "GET /api/v1/auth/me"',
    'of tenant "acme"',
    "for users in Europe",
    "of the dashboard users",
    "on every instance",
)


def _quantity(text: str) -> Quantity:
    matched = re.match("[0-9., ]*[0-9]", text)
    assert matched
    value, unit = number(matched[0]), text[matched.end() :].strip()
    if not unit:
        return Quantity(value, Unit.NUMBER, text)
    if unit == "%":
        # 99.9 / 100 and 0.999 are different doubles, and a value can equal its limit exactly.
        return Quantity(round(value / 100, 12), Unit.RATIO, text)
    if unit in _SECONDS:
        return Quantity(value * _SECONDS[unit], Unit.SECONDS, text)
    if unit in _BYTES:
        return Quantity(value * _BYTES[unit], Unit.BYTES, text)
    return Quantity(value, Unit.PER_SECOND, text)


def _value(text: str) -> float:
    return _quantity(text).value


def _spread(text: str) -> Lognormal:
    """A distribution of times: "a median of 1 minute and a p95 of 5 minutes"."""
    median, _, p95 = text.removeprefix("a median of ").partition(" and a p95 of ")
    return Lognormal(_value(median), _value(p95))


def _think(text: str) -> Think:
    if text.startswith("a median of "):
        spread = _spread(text)
        return Think(spread.median, spread.p95, "lognormal")
    if text.endswith(_ON_AVERAGE):
        mean = _value(text.removesuffix(_ON_AVERAGE))
        return Think(mean, mean, "exponential")
    low, _, high = text.rpartition(" to ")
    longest = _value(high)
    if not low:
        return Think(longest, longest)
    shortest = _quantity(low)
    if shortest.unit is Unit.NUMBER:
        # "1 to 3 seconds": the first number has the unit of the second.
        return Think(_value(low + re.sub(rf"^{NUMBER}", "", high)), longest)
    return Think(shortest.value, longest)


def _measure(text: str) -> Measure:
    words = text.removeprefix("the ")
    if words.startswith("Prometheus query "):
        return Measure(words.partition('"')[2].removesuffix('"'), Family.GAUGE, Unit.NUMBER)
    if words in _NAMED:
        return _NAMED[words]
    named = re.search(rf" (?:of the )?({_any(_TIMES)})$", words)
    name = named[1] if named else _RESPONSE_TIME
    timing, statistic = _TIMES[name], words[: named.start()] if named else words
    if statistic in _STATISTICS:
        quantile = _STATISTICS[statistic]
        shown = "max" if statistic == "maximum" else statistic
        return Measure(name, Family.TIME, Unit.SECONDS, quantile, shown, timing)
    percent = float(re.sub(r"^p|(?:st|nd|rd|th) percentile$", "", statistic))
    return Measure(name, Family.TIME, Unit.SECONDS, round(percent / 100, 9), f"p{percent:g}", timing)


def _scope(text: str) -> Scope:
    for kind, before, name, after in _SCOPES:
        matched = re.fullmatch(f"{before}({name}){after}", text)
        if matched:
            return Scope(kind, matched[1])
    raise AssertionError(text)


def _records(text: str) -> float:
    digits, _, multiple = text.rpartition(" ")
    return number(digits) * _MULTIPLES[multiple] if multiple in _MULTIPLES else number(text)


def _listed(text: str) -> tuple[str, ...]:
    """The names of a list: "Europe, Asia and America"."""
    return tuple(re.split(r", and |, | and ", text))


def _unquoted(text: str) -> str:
    return text.strip('"')


PARAMETERS: Mapping[str, Parameter] = {
    parameter.name: parameter
    for parameter in (
        Parameter("count", WHOLE, number, "a whole number", "1000"),
        Parameter("members", WHOLE, number, "a whole number", "5"),
        Parameter("batch", WHOLE, number, "a whole number", "50"),
        Parameter("records", _RECORDS, _records, "a number of records", "10 million"),
        Parameter("tenant", _QUOTED, _unquoted, "a tenant in quotes", '"globex"'),
        Parameter("duration", _DURATION, _value, "a time with its unit", "5 minutes"),
        Parameter("share", _SHARE, _value, "a share", "1%"),
        Parameter("size", _SIZE, _value, "a size", "2 GB"),
        Parameter("rate", _RATE, _value, "a rate", "1000 requests per second"),
        Parameter("limit", _LIMIT, _quantity, "a limit with its unit", "500 ms"),
        Parameter("think", _THINK, _think, "a time or a span of time", "1 to 3 seconds"),
        Parameter(
            "spread",
            _SPREAD,
            _spread,
            "a distribution of times",
            "a median of 1 minute and a p95 of 5 minutes",
        ),
        Parameter("measure", _MEASURE, _measure, "a measure", "the p95 response time"),
        Parameter("scope", _SCOPE, _scope, "a scope", "of the auth endpoints"),
        Parameter("mix", _NAME, str, "a mix of the environment", "API"),
        Parameter(
            "regions",
            rf"{_NAME}(?:(?:, and |, | and ){_NAME})*",
            _listed,
            "regions of the environment",
            "Europe, Asia and America",
        ),
        Parameter("journey", _QUOTED, _unquoted, "a journey in quotes", '"ingest events"'),
        Parameter("level", r"[\w-]+", str, "a level of the environment", "peak"),
        Parameter("factor", NUMBER, number, "a number", "2"),
        Parameter("curve", _QUOTED, _unquoted, "a curve of the environment in quotes", '"peak hour"'),
        Parameter("alert", _QUOTED, _unquoted, "an alert in quotes", '"HighLatency"'),
    )
}
"""All parameters, by name."""


def is_query(measure: Measure) -> bool:
    """Is the measure free PromQL? Other gauges that are a plain number have a name."""
    return measure.family == Family.GAUGE and measure.unit is Unit.NUMBER and measure.name not in _NAMED


def read(name: str, text: str) -> Any:
    """The value of a text that consists of one parameter, such as a cell of a table.

    Raises:
        PhraseError: the text does not match the parameter.

    """
    parameter, normalized = PARAMETERS[name], normalize(text)
    if not re.fullmatch(parameter.regexp, normalized):
        expected = f"expected {parameter.expected}, such as {parameter.example}"
        raise PhraseError(text, *(ambiguity(normalized) or (text, expected)))
    return parameter.convert(normalized)
