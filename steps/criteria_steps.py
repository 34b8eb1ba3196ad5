# mypy: disallow-untyped-decorators=False
"""Then: what is promised. Each judges on its own, on the run that its scenario's plan made."""

from typing import Any

from behave import then

from loadkit import grammar
from loadkit.criterion import Comparison, Measure, Scope


@then("{measure} is below {limit}")
@then("{measure} {scope} is below {limit}")
@then("{measure} is below {limit} {scope}")
def is_below(context: Any, measure: Measure, *rest: Scope | grammar.Quantity) -> None:
    _judge(context, measure, Comparison.IS_BELOW, rest)


@then("{measure} is above {limit}")
@then("{measure} {scope} is above {limit}")
@then("{measure} is above {limit} {scope}")
def is_above(context: Any, measure: Measure, *rest: Scope | grammar.Quantity) -> None:
    _judge(context, measure, Comparison.IS_ABOVE, rest)


@then("{measure} stays below {limit}")
@then("{measure} {scope} stays below {limit}")
@then("{measure} stays below {limit} {scope}")
def stays_below(context: Any, measure: Measure, *rest: Scope | grammar.Quantity) -> None:
    _judge(context, measure, Comparison.STAYS_BELOW, rest)


@then("{measure} stays above {limit}")
@then("{measure} {scope} stays above {limit}")
@then("{measure} stays above {limit} {scope}")
def stays_above(context: Any, measure: Measure, *rest: Scope | grammar.Quantity) -> None:
    _judge(context, measure, Comparison.STAYS_ABOVE, rest)


@then("{measure} never exceeds {limit}")
@then("{measure} {scope} never exceeds {limit}")
@then("{measure} never exceeds {limit} {scope}")
def never_exceeds(context: Any, measure: Measure, *rest: Scope | grammar.Quantity) -> None:
    _judge(context, measure, Comparison.NEVER_EXCEEDS, rest)


@then("{measure} never falls below {limit}")
@then("{measure} {scope} never falls below {limit}")
@then("{measure} never falls below {limit} {scope}")
def never_falls_below(context: Any, measure: Measure, *rest: Scope | grammar.Quantity) -> None:
    _judge(context, measure, Comparison.NEVER_FALLS_BELOW, rest)


@then("{measure} is at most {limit}")
@then("{measure} {scope} is at most {limit}")
@then("{measure} is at most {limit} {scope}")
def is_at_most(context: Any, measure: Measure, *rest: Scope | grammar.Quantity) -> None:
    _judge(context, measure, Comparison.IS_AT_MOST, rest)


@then("{measure} is at least {limit}")
@then("{measure} {scope} is at least {limit}")
@then("{measure} is at least {limit} {scope}")
def is_at_least(context: Any, measure: Measure, *rest: Scope | grammar.Quantity) -> None:
    _judge(context, measure, Comparison.IS_AT_LEAST, rest)


@then("{measure} is at most {factor} times that at the {level} load")
@then("{measure} {scope} is at most {factor} times that at the {level} load")
@then("{measure} is at most {factor} times that at the {level} load, or below {limit}")
@then("{measure} {scope} is at most {factor} times that at the {level} load, or below {limit}")
def is_at_most_times(context: Any, measure: Measure, *rest: Scope | float | str | grammar.Quantity) -> None:
    _compare_loads(context, measure, Comparison.IS_AT_MOST, rest)


@then("{measure} is at least {factor} times that at the {level} load")
@then("{measure} {scope} is at least {factor} times that at the {level} load")
def is_at_least_times(context: Any, measure: Measure, *rest: Scope | float | str | grammar.Quantity) -> None:
    _compare_loads(context, measure, Comparison.IS_AT_LEAST, rest)


@then("the service recovers within {duration}")
def recovers(context: Any, seconds: float) -> None:
    context.judge(grammar.recovery_within(context.sentence, seconds))


@then("the {alert} alert fires within {duration}")
def alert_fires(context: Any, alert: str, seconds: float) -> None:
    context.judge(grammar.alert_within(context.sentence, alert, seconds))


@then("no alert fires")
def no_alert_fires(context: Any) -> None:
    context.judge(grammar.no_alert(context.sentence))


def _judge(
    context: Any, measure: Measure, comparison: Comparison, rest: tuple[Scope | grammar.Quantity, ...]
) -> None:
    """Judge what the parts of a sentence promise; `rest` is the limit and, on either side of it, the scope if any."""
    scope = next((part for part in rest if isinstance(part, Scope)), None)
    limit = next(part for part in rest if isinstance(part, grammar.Quantity))
    context.judge(grammar.promise(context.sentence, measure, comparison, limit, scope))


def _compare_loads(
    context: Any,
    measure: Measure,
    comparison: Comparison,
    rest: tuple[Scope | float | str | grammar.Quantity, ...],
) -> None:
    """Judge a measure against the same one at another load; `rest` is the scope if any, the factor, the level, the limit if any."""
    scope = rest[0] if isinstance(rest[0], Scope) else None
    limit = rest[-1] if isinstance(rest[-1], grammar.Quantity) else None
    times = next(part for part in rest if isinstance(part, float))
    level = next(part for part in rest if isinstance(part, str))
    context.judge(grammar.load_comparison(context.sentence, measure, comparison, times, level, scope, limit))
