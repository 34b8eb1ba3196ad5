"""Whole sentences: the expressions that step files repeat, and what the parts of a criterion make together.

An expression is a Cucumber expression of words, ``{parameters}`` and optional endings such as ``user(s)``.
"""

import re
from functools import cache

from loadkit.criterion import Comparison, Criterion, Family, Measure, Scope, ScopeKind, Unit
from loadkit.errors import PhraseError
from loadkit.phrases.parameters import PARAMETERS, UNIT_EXAMPLES, Quantity, is_query

__all__ = ["GIVEN", "THEN", "WHEN", "pattern", "promise"]

GIVEN = (
    "{count} concurrent user(s)",
    "{count} concurrent user(s) of the {mix}",
    "{count} concurrent user(s) following the {journey} journey",
    "{count} request(s) arriving per second",
    "{count} journey(s) starting per second",
    "the {level} load",
    "they arrive over {duration}",
    "the load holds for {duration}",
    "the load follows",
    "the users are",
    "each user thinks for {think}",
    "the cache is warm",
    "the cache is cold",
)
WHEN = ("the load runs",)
THEN = {
    template.replace("comparison", comparison): comparison
    for comparison in Comparison
    for template in (
        "{measure} comparison {limit}",
        "{measure} {scope} comparison {limit}",
        "{measure} comparison {limit} {scope}",
    )
}
"""Every criterion's expression, with its comparison."""

_KINDS = {
    Unit.SECONDS: "a time",
    Unit.RATIO: "a share",
    Unit.PER_SECOND: "a rate",
    Unit.BYTES: "a size",
    Unit.NUMBER: "a plain number",
}
_OF_TRAFFIC = {ScopeKind.ALL, ScopeKind.GROUP, ScopeKind.LABEL, ScopeKind.TENANT, ScopeKind.REGION}
_SCOPES = {
    Family.TIME: _OF_TRAFFIC,
    Family.ERROR_RATE: _OF_TRAFFIC,
    Family.AVAILABILITY: _OF_TRAFFIC,
    Family.THROUGHPUT: _OF_TRAFFIC,
    Family.UPTIME: {ScopeKind.ALL},
    Family.GAUGE: {ScopeKind.ALL, ScopeKind.INSTANCE},
}
_WHERE = {
    **dict.fromkeys(
        (Family.TIME, Family.ERROR_RATE, Family.AVAILABILITY, Family.THROUGHPUT),
        "of operations, not of instances",
    ),
    Family.UPTIME: "of the service as a whole",
    Family.GAUGE: 'of instances; expected "on every instance", or nothing',
}
"""What a family's measures belong to, for a sentence that has them belong to something else."""


@cache
def pattern(expression: str) -> re.Pattern[str]:
    """The regular expression of a Cucumber expression; each parameter is a group of its name."""
    text = re.escape(expression).replace(r"\ ", " ")
    text = re.sub(r"\\\((\w+)\\\)", r"(?:\1)?", text)
    return re.compile(
        re.sub(r"\\\{(\w+)\\\}", lambda part: f"(?P<{part[1]}>{PARAMETERS[part[1]].regexp})", text)
    )


def promise(
    sentence: str, measure: Measure, comparison: Comparison, limit: Quantity, scope: Scope | None = None
) -> Criterion:
    """The criterion that the parts of a sentence make.

    Raises:
        PhraseError: they do not belong together: a unit that the measure does not have, a scope that it knows nothing of.

    """
    scope = scope or Scope()
    name = "the query" if is_query(measure) else measure.name
    if limit.unit is not measure.unit:
        if limit.unit is Unit.NUMBER:
            expected = (
                f"it needs a unit, such as {limit.text}{UNIT_EXAMPLES[measure.unit].lstrip('0123456789')}"
            )
        else:
            expected = f"{name} is {_KINDS[measure.unit]}, such as {UNIT_EXAMPLES[measure.unit]}"
        raise PhraseError(sentence, limit.text, expected)
    if measure.unit is Unit.RATIO and limit.value > 1:
        raise PhraseError(sentence, limit.text, "a share is at most 100%")
    if measure.quantile == 0:
        raise PhraseError(sentence, measure.statistic, "a percentile lies above p0, such as p95")
    if measure.statistic == "max" and comparison is not Comparison.NEVER_EXCEEDS:
        raise PhraseError(sentence, comparison, 'of a maximum only "never exceeds" can be said')
    if scope.kind not in _SCOPES[measure.family]:
        raise PhraseError(sentence, str(scope), f"{name} is {_WHERE[measure.family]}")
    return Criterion(sentence, measure, comparison, limit.value, scope)
