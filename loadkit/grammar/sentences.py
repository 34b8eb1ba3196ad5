"""Whole sentences: the expressions of the step files, and the criterion that each one defines.

An expression is a Cucumber expression of words, ``{parameters}`` and optional endings: ``user(s)``.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from loadkit.criterion import OTHERS_DATA, Comparison, Criterion, Family, Measure, Reference, Scope, Unit
from loadkit.errors import PhraseError
from loadkit.grammar.parameters import PARAMETERS, UNIT_EXAMPLES, Quantity, is_query

__all__ = [
    "ALERTS",
    "GIVEN",
    "THEN",
    "WHEN",
    "alert_within",
    "back_within",
    "connections_stay",
    "converged",
    "counted_exactly",
    "delivered_exactly",
    "lasting",
    "limit_criterion",
    "load_comparison",
    "no_alert",
    "observed_as",
    "pattern",
    "reaches_within",
    "recovery_within",
    "tenant_comparison",
]

ALERTS = "alerts"
"""The name of the measure of all alerts together."""

GIVEN = (
    "{count} concurrent user(s)",
    "{count} concurrent user(s) of the {mix}",
    "{count} concurrent user(s) following the {journey} journey",
    "{count} concurrent user(s) following complete workflows",
    "{count} request(s) arriving per second",
    "{count} journey(s) starting per second",
    "{count} WebSocket connection(s)",
    "{count} WebSocket connection(s) subscribed to {mix}",
    "{count} dashboard(s) shared by {members} user(s) each",
    "{count} message(s) are delivered per second",
    "{share} of the connections drop every minute",
    "{count} metric insert(s) per second",
    "{count} metric insert(s) per second in batches of {batch}",
    "{count} analyst(s) querying {records} record(s)",
    "tenant {tenant} sends {factor} times its usual load",
    "the {level} load",
    "they arrive over {duration}",
    "the load holds for {duration}",
    "the load follows",
    "the load follows the {curve} curve",
    "the load follows the {curve} curve over {duration}",
    "the users are",
    "the users are spread over {regions}",
    "each user thinks for {think}",
    "each user starts a journey every {duration}",
    "sessions last {spread}",
    "the cache is warm",
    "the cache is cold",
)
WHEN = (
    "the load runs",
    "an instance is killed",
    "an instance is killed after {duration}",
    "the cache is emptied",
    "the cache is emptied after {duration}",
    "all connections drop",
    "all connections drop after {duration}",
    "the database is restarted",
    "the database is restarted after {duration}",
    "the load falls back to {count} user(s) after {duration}",
)

_KINDS = {
    Unit.SECONDS: "a time",
    Unit.RATIO: "a share",
    Unit.PER_SECOND: "a rate",
    Unit.BYTES: "a size",
    Unit.TIMES: "a ratio",
    Unit.NUMBER: "a plain number",
}


@cache
def pattern(expression: str) -> re.Pattern[str]:
    """The regular expression of a Cucumber expression; each parameter is a named group."""
    text = re.escape(expression).replace(r"\ ", " ")
    text = re.sub(r"\\\((\w+)\\\)", r"(?:\1)?", text)
    return re.compile(
        re.sub(r"\\\{(\w+)\\\}", lambda part: f"(?P<{part[1]}>{PARAMETERS[part[1]].regexp})", text)
    )


def limit_criterion(
    sentence: str, measure: Measure, comparison: Comparison, limit: Quantity, scope: Scope | None = None
) -> Criterion:
    """The criterion that compares a measure with a limit.

    Raises:
        PhraseError: the parts do not fit together: the measure does not have that unit or scope.

    """
    scope = scope or Scope()
    name = "the query" if is_query(measure) else measure.name
    _require_unit(sentence, measure, limit)
    if measure.unit is Unit.SECONDS and limit.value == 0:
        raise PhraseError(sentence, limit.text, "nothing takes 0 s; expected a time, such as 500 ms")
    if measure.family == Family.THROUGHPUT and "message" in limit.text:
        measure = replace(measure, timing="message")
    if measure.family == Family.THROUGHPUT and "record" in limit.text:
        measure = replace(measure, timing="record")
    if measure.unit is Unit.RATIO and limit.value > 1:
        raise PhraseError(sentence, limit.text, "a share is at most 100%")
    if measure.quantile == 0:
        raise PhraseError(sentence, measure.statistic, "expected a percentile above p0, such as p95")
    if measure.statistic == "max" and comparison is not Comparison.NEVER_EXCEEDS:
        raise PhraseError(sentence, comparison, 'a maximum allows only "never exceeds"')
    if scope.kind not in measure.family.scopes:
        raise PhraseError(sentence, str(scope), f"{name} applies to {measure.family.applies_to}")
    return Criterion(sentence, measure, comparison, limit.value, scope)


def load_comparison(
    sentence: str,
    measure: Measure,
    comparison: Comparison,
    times: float,
    level: str,
    scope: Scope | None = None,
    or_limit: Quantity | None = None,
) -> Criterion:
    """The criterion that compares a measure with the same measure at another load.

    Raises:
        PhraseError: the measure cannot compare two loads, or the other limit has another unit.

    """
    if not measure.family.compares_loads or measure.statistic == "max":
        expected = "expected a response time or throughput to compare loads, such as the p95 response time"
        raise PhraseError(sentence, measure.name, expected)
    if times == 0:
        raise PhraseError(sentence, "0 times", "expected a number above 0, such as 2 times")
    scope = scope or Scope()
    if scope.kind not in measure.family.scopes:
        raise PhraseError(sentence, str(scope), f"{measure.name} applies to {measure.family.applies_to}")
    if or_limit is not None:
        _require_unit(sentence, measure, or_limit)
    reference = Reference(level, or_limit.value if or_limit else None)
    return Criterion(sentence, measure, comparison, times, scope, reference)


def tenant_comparison(
    sentence: str, measure: Measure, factor: float, tenant: str, scope: Scope | None = None
) -> Criterion:
    """The criterion that compares a measure with the same load without a tenant's population.

    Raises:
        PhraseError: the measure cannot compare two loads.

    """
    criterion = load_comparison(sentence, measure, Comparison.IS_AT_MOST, factor, "", scope)
    return replace(criterion, reference=Reference(without=tenant))


def recovery_within(sentence: str, seconds: float) -> Criterion:
    """The criterion on the time until the service recovers from a disturbance."""
    measure = Measure("recovery", Family.RECOVERY, Unit.SECONDS)
    return Criterion(sentence, measure, Comparison.IS_AT_MOST, seconds)


def alert_within(sentence: str, alert: str, seconds: float) -> Criterion:
    """The criterion that an alert of the service fires within a time."""
    measure = Measure(alert, Family.ALERT, Unit.SECONDS)
    return Criterion(sentence, measure, Comparison.IS_AT_MOST, seconds)


def observed_as(measure: Measure) -> str:
    """The name of the observation of a measure's alerts: "alerts", "alerts:HighLatency"."""
    return ALERTS if measure.unit is Unit.NUMBER else f"{ALERTS}:{measure.name}"


def no_alert(sentence: str) -> Criterion:
    """The criterion that no alert of the service fires; the limit is the number of alerts."""
    return Criterion(sentence, Measure(ALERTS, Family.ALERT, Unit.NUMBER), Comparison.IS_AT_MOST, 0.0)


def connections_stay(sentence: str, number: float) -> Criterion:
    """The criterion that a number of connections are open throughout the steady window."""
    measure = Measure("connections open", Family.CONNECTIONS, Unit.NUMBER)
    return Criterion(sentence, measure, Comparison.IS_AT_LEAST, number)


def lasting(sentence: str, share: float, seconds: float) -> Criterion:
    """The criterion that a share of the connections stay open for a time.

    Raises:
        PhraseError: the share is above 100 %, or 0.

    """
    _require_share(sentence, share)
    measure = Measure(
        "connection lifetime", Family.LIFETIME, Unit.SECONDS, round(share, 9), f"{share * 100:g}%", "lifetime"
    )
    return Criterion(sentence, measure, Comparison.IS_AT_LEAST, seconds)


def back_within(sentence: str, share: float, seconds: float) -> Criterion:
    """The criterion that a share of the dropped clients reconnect within a time.

    Raises:
        PhraseError: the share is above 100 %, or 0.

    """
    _require_share(sentence, share)
    measure = Measure(
        "time to reconnect",
        Family.RECONNECTION,
        Unit.SECONDS,
        round(share, 9),
        f"{share * 100:g}%",
        "reconnect",
    )
    return Criterion(sentence, measure, Comparison.IS_AT_MOST, seconds)


def reaches_within(sentence: str, seconds: float, share: float = 0.95) -> Criterion:
    """The criterion that a share of the events reach every subscriber within a time.

    Raises:
        PhraseError: the share is 0, or 100 % or more, which is not a percentile.

    """
    _require_share(sentence, share)
    if share == 1:
        raise PhraseError(sentence, "100%", "expected a share below 100%, such as 95%")
    statistic = f"p{share * 100:g}"
    measure = Measure(
        "time to the dashboards", Family.TIME, Unit.SECONDS, round(share, 9), statistic, "delivery"
    )
    return Criterion(sentence, measure, Comparison.IS_AT_MOST, seconds)


def delivered_exactly(sentence: str, fault: str) -> Criterion:
    """The criterion that no message is "lost", "doubled", "out of order" or "of another tenant"."""
    measure = Measure(f"messages {fault}", Family.DELIVERY, Unit.NUMBER, timing="message")
    return Criterion(sentence, measure, Comparison.IS_AT_MOST, 0.0)


def converged(sentence: str) -> Criterion:
    """The criterion that all users who share a state see the same state at the end."""
    measure = Measure("shared states that differ", Family.CONVERGENCE, Unit.NUMBER)
    return Criterion(sentence, measure, Comparison.IS_AT_MOST, 0.0)


def counted_exactly(sentence: str, count: str) -> Criterion:
    """The criterion that a count of the database is zero, such as "deadlocks"."""
    return Criterion(sentence, Measure(count, Family.EXACT, Unit.NUMBER), Comparison.IS_AT_MOST, 0.0)


def _require_share(sentence: str, share: float) -> None:
    if not 0 < share <= 1:
        raise PhraseError(sentence, f"{share * 100:g}%", "expected a share up to 100%, such as 95%")


def _require_unit(sentence: str, measure: Measure, limit: Quantity) -> None:
    if limit.unit is measure.unit:
        return
    name = "the query" if is_query(measure) else measure.name
    if limit.unit is Unit.NUMBER:
        expected = f"it needs a unit, such as {limit.text}{UNIT_EXAMPLES[measure.unit].lstrip('0123456789')}"
    else:
        expected = f"{name} is {_KINDS[measure.unit]}, such as {UNIT_EXAMPLES[measure.unit]}"
    raise PhraseError(sentence, limit.text, expected)


Meaning = Callable[[str, Mapping[str, Any]], Criterion]
"""Makes a criterion from a sentence and its parts by name."""


def _with_limit(comparison: Comparison) -> Meaning:
    return lambda sentence, parts: limit_criterion(
        sentence, parts["measure"], comparison, parts["limit"], parts.get("scope")
    )


def _with_other_load(comparison: Comparison) -> Meaning:
    return lambda sentence, parts: load_comparison(
        sentence,
        parts["measure"],
        comparison,
        parts["factor"],
        parts["level"],
        parts.get("scope"),
        parts.get("limit"),
    )


THEN: Mapping[str, Meaning] = {
    **{
        template.replace("comparison", comparison): _with_limit(comparison)
        for comparison in Comparison
        for template in (
            "{measure} comparison {limit}",
            "{measure} {scope} comparison {limit}",
            "{measure} comparison {limit} {scope}",
        )
    },
    **{
        f"{subject} {comparison} {{factor}} times that at the {{level}} load{ending}": _with_other_load(
            comparison
        )
        for subject in ("{measure}", "{measure} {scope}")
        for comparison, ending in (
            (Comparison.IS_AT_MOST, ""),
            (Comparison.IS_AT_MOST, ", or below {limit}"),
            (Comparison.IS_AT_LEAST, ""),
        )
    },
    **{
        f"{subject} is at most {{factor}} times that without tenant {{tenant}}": lambda sentence, parts: (
            tenant_comparison(
                sentence, parts["measure"], parts["factor"], parts["tenant"], parts.get("scope")
            )
        )
        for subject in ("{measure}", "{measure} {scope}")
    },
    "the service recovers within {duration}": lambda sentence, parts: recovery_within(
        sentence, parts["duration"]
    ),
    "the {alert} alert fires within {duration}": lambda sentence, parts: alert_within(
        sentence, parts["alert"], parts["duration"]
    ),
    "no alert fires": lambda sentence, _: no_alert(sentence),
    "at least {count} connection(s) stay open": lambda sentence, parts: connections_stay(
        sentence, parts["count"]
    ),
    "{share} of the connections stay open for {duration}": lambda sentence, parts: lasting(
        sentence, parts["share"], parts["duration"]
    ),
    "{share} of the clients are back within {duration}": lambda sentence, parts: back_within(
        sentence, parts["share"], parts["duration"]
    ),
    "an event reaches every dashboard within {duration}": lambda sentence, parts: reaches_within(
        sentence, parts["duration"]
    ),
    "{share} of the events reach every dashboard within {duration}": lambda sentence, parts: reaches_within(
        sentence, parts["duration"], parts["share"]
    ),
    "no message is lost": lambda sentence, _: delivered_exactly(sentence, "lost"),
    "no message is delivered twice": lambda sentence, _: delivered_exactly(sentence, "doubled"),
    "messages arrive in order": lambda sentence, _: delivered_exactly(sentence, "out of order"),
    "no message carries another tenant's data": lambda sentence, _: delivered_exactly(
        sentence, "of another tenant"
    ),
    "no tenant ever sees another tenant's data": lambda sentence, _: counted_exactly(sentence, OTHERS_DATA),
    "no deadlock occurs": lambda sentence, _: counted_exactly(sentence, "deadlocks"),
    "every acknowledged write is stored exactly once": lambda sentence, _: counted_exactly(
        sentence, "acknowledged writes not stored exactly once"
    ),
    "no rejected write is stored": lambda sentence, _: counted_exactly(
        sentence, "rejected writes that are stored"
    ),
    "all users see the same dashboard": lambda sentence, _: converged(sentence),
}
"""The expressions of all criteria, each with the function that makes the criterion."""
