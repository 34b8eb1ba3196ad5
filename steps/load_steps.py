# mypy: disallow-untyped-decorators=False
"""Given and When: they describe the load. The first Then of a scenario starts it."""

from typing import Any

from behave import given, when

from loadkit.workload.plan import ALL_CONNECTIONS_DROP
from loadkit.workload.workload import Lognormal, Model, Think


@given("{count} concurrent user(s)")
def users(context: Any, count: float) -> None:
    context.draft.load(Model.CLOSED, count)


@given("{count} concurrent user(s) of the {mix}")
def users_of_a_mix(context: Any, count: float, mix: str) -> None:
    context.draft.load(Model.CLOSED, count, mix=mix)


@given("{count} concurrent user(s) following the {journey} journey")
def users_of_a_journey(context: Any, count: float, journey: str) -> None:
    context.draft.load(Model.CLOSED, count, journey=journey)


@given("{count} concurrent user(s) following complete workflows")
def users_of_workflows(context: Any, count: float) -> None:
    context.draft.load(Model.CLOSED, count, mix="complete workflows", called="workflow users")


@given("{count} request(s) arriving per second")
def arriving_requests(context: Any, count: float) -> None:
    context.draft.load(Model.REQUESTS, count)


@given("{count} journey(s) starting per second")
def starting_journeys(context: Any, count: float) -> None:
    context.draft.load(Model.JOURNEYS, count)


@given("{count} WebSocket connection(s)")
@given("{count} WebSocket connection(s) subscribed to {mix}")
def connections(context: Any, count: float, mix: str = "WebSocket") -> None:
    context.draft.load(Model.CLOSED, count, mix=mix, called="connections", connects=True)


@given("{count} dashboard(s) shared by {members} user(s) each")
def shared_dashboards(context: Any, count: float, members: float) -> None:
    context.draft.share_dashboards(count, members)


@given("{count} message(s) are delivered per second")
def delivered_messages(context: Any, count: float) -> None:
    context.draft.deliver(count)


@given("{share} of the connections drop every minute")
def churn(context: Any, share: float) -> None:
    context.draft.drop(share)


@given("{count} metric insert(s) per second")
@given("{count} metric insert(s) per second in batches of {batch}")
def inserts(context: Any, count: float, batch: float = 1) -> None:
    context.draft.insert(count, batch)


@given("{count} analyst(s) querying {records} record(s)")
def analysts(context: Any, count: float, records: float) -> None:
    context.draft.analyse(count, records)


@given("tenant {tenant} sends {factor} times its usual load")
def noisy_tenant(context: Any, tenant: str, factor: float) -> None:
    context.draft.send_more(tenant, factor)


@given("the {level} load")
def named_load(context: Any, level: str) -> None:
    context.draft.load_named(level)


@given("they arrive over {duration}")
def arrival(context: Any, duration: float) -> None:
    context.draft.arrive(duration)


@given("the load holds for {duration}")
def hold(context: Any, duration: float) -> None:
    context.draft.hold_for(duration)


@given("the load follows")
def stages(context: Any) -> None:
    context.draft.follow(*_table(context))


@given("the load follows the {curve} curve")
def curve(context: Any, name: str) -> None:
    context.draft.follow_curve(name)


@given("the load follows the {curve} curve over {duration}")
def curve_over(context: Any, name: str, duration: float) -> None:
    context.draft.follow_curve(name, duration)


@given("the users are")
def mix_of_users(context: Any) -> None:
    context.draft.share(*_table(context))


@given("the users are spread over {regions}")
def regions(context: Any, names: tuple[str, ...]) -> None:
    context.draft.spread(names)


@given("each user thinks for {think}")
def think_time(context: Any, think: Think) -> None:
    context.draft.think_for(think)


@given("sessions last {spread}")
def sessions(context: Any, spread: Lognormal) -> None:
    context.draft.stay_for(spread)


@given("each user starts a journey every {duration}")
def pace(context: Any, duration: float) -> None:
    context.draft.pace_at(duration)


@given("the cache is warm")
def warm_cache(context: Any) -> None:
    context.draft.cache_is("warm")


@given("the cache is cold")
def cold_cache(context: Any) -> None:
    context.draft.cache_is("cold")


@when("the load runs")
def load_runs(context: Any) -> None:
    """Do nothing: the first Then starts the load. The sentence is for readers who expect a When."""


@when("an instance is killed")
@when("an instance is killed after {duration}")
def kill_instance(context: Any, after: float | None = None) -> None:
    context.draft.happens("an instance is killed", after)


@when("the cache is emptied")
@when("the cache is emptied after {duration}")
def empty_cache(context: Any, after: float | None = None) -> None:
    context.draft.happens("the cache is emptied", after)


@when("all connections drop")
@when("all connections drop after {duration}")
def drop_connections(context: Any, after: float | None = None) -> None:
    context.draft.happens(ALL_CONNECTIONS_DROP, after)


@when("the database is restarted")
@when("the database is restarted after {duration}")
def restart_database(context: Any, after: float | None = None) -> None:
    context.draft.happens("the database is restarted", after)


@when("the load falls back to {count} user(s) after {duration}")
def load_falls_back(context: Any, count: float, after: float) -> None:
    context.draft.fall_back(count, after)


def _table(context: Any) -> tuple[list[str], list[list[str]]]:
    """The headings and rows of the table of a step, with plain spaces; empty without a table."""
    if context.table is None:
        return [], []
    headings, *rows = (
        [" ".join(cell.split()) for cell in cells]
        for cells in (context.table.headings, *(row.cells for row in context.table.rows))
    )
    return headings, rows
