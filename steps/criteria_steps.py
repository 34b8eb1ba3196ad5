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
@then("{measure} is at most {factor} times that without tenant {tenant}")
@then("{measure} {scope} is at most {factor} times that without tenant {tenant}")
@then("the service recovers within {duration}")
@then("the {alert} alert fires within {duration}")
@then("no alert fires")
@then("at least {count} connection(s) stay open")
@then("{share} of the connections stay open for {duration}")
@then("{share} of the clients are back within {duration}")
@then("an event reaches every dashboard within {duration}")
@then("{share} of the events reach every dashboard within {duration}")
@then("no message is lost")
@then("no message is delivered twice")
@then("messages arrive in order")
@then("no message carries another tenant's data")
@then("no tenant ever sees another tenant's data")
@then("no deadlock occurs")
@then("every acknowledged write is stored exactly once")
@then("no rejected write is stored")
@then("all users see the same dashboard")
def criterion(context: Any, *parts: object) -> None:
    """Judge the criterion of the sentence; only the grammar defines its meaning."""
    context.judge(grammar.criterion(context.sentence))
