# mypy: disallow-untyped-decorators=False
"""Then: the criteria. Each Then judges one criterion on the run of the plan of its scenario."""

from typing import Any

from behave import then

from loadkit import grammar


@then("{measure} is below {limit}")
@then("{measure} {scope} is below {limit}")
@then("{measure} is below {limit} {scope}")
@then("{measure} is above {limit}")
@then("{measure} {scope} is above {limit}")
@then("{measure} is above {limit} {scope}")
@then("{measure} stays below {limit}")
@then("{measure} {scope} stays below {limit}")
@then("{measure} stays below {limit} {scope}")
@then("{measure} stays above {limit}")
@then("{measure} {scope} stays above {limit}")
@then("{measure} stays above {limit} {scope}")
@then("{measure} never exceeds {limit}")
@then("{measure} {scope} never exceeds {limit}")
@then("{measure} never exceeds {limit} {scope}")
@then("{measure} never falls below {limit}")
@then("{measure} {scope} never falls below {limit}")
@then("{measure} never falls below {limit} {scope}")
@then("{measure} is at most {limit}")
@then("{measure} {scope} is at most {limit}")
@then("{measure} is at most {limit} {scope}")
@then("{measure} is at least {limit}")
@then("{measure} {scope} is at least {limit}")
@then("{measure} is at least {limit} {scope}")
@then("{measure} is at most {factor} times that at the {level} load")
@then("{measure} {scope} is at most {factor} times that at the {level} load")
@then("{measure} is at most {factor} times that at the {level} load, or below {limit}")
@then("{measure} {scope} is at most {factor} times that at the {level} load, or below {limit}")
@then("{measure} is at least {factor} times that at the {level} load")
@then("{measure} {scope} is at least {factor} times that at the {level} load")
@then("the service recovers within {duration}")
@then("the {alert} alert fires within {duration}")
@then("no alert fires")
def criterion(context: Any, *parts: object) -> None:
    """Judge the criterion of the sentence; only the grammar defines its meaning."""
    context.judge(grammar.criterion(context.sentence))
