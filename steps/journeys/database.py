"""The database journeys: users who write records through the service, and analysts who query."""

from collections.abc import Callable
from typing import Any

from loadkit.journey import User, journey
from steps.journeys.choices import METRICS
from steps.journeys.metrics import new_events

__all__ = ["insert", "insert_invalid", "query", "tenant_of"]

_CHOICES: dict[str, Callable[[User], tuple[Any, ...]]] = {
    "tenant overview": lambda _: (),
    "widget series": lambda user: (user.popular(user.state["widget_ids"], "widgets"),),
    "latest sessions": lambda _: (50,),
    "recent events": lambda user: (user.popular(METRICS, "metrics"),),
    "analytics by category": lambda user: (user.random.choice((7, 30)),),
    "hourly values": lambda user: (user.popular(METRICS, "metrics"), user.random.choice((3, 6))),
    "events by session": lambda user: (user.random.randint(3, 10),),
}
"""The key queries, the most frequent first, and how an analyst chooses their arguments."""
_INVALID_BATCH = 5
"""The number of records in a batch with one invalid record."""


@journey("insert metrics")
async def insert(user: User, batch: str = "1") -> None:
    """Store one record, or a batch of records, with ids that the user chooses.

    After the load, the ids show whether each acknowledged record is stored exactly once.
    """
    ids, events = new_events(user, int(batch))
    attempt = user.writes.attempt(*ids)
    answer = await user.post("/api/v1/metrics/events", json={"events": events})
    if answer.is_success:
        stored = answer.json()["ids"]
        if stored == ids:
            attempt.acknowledged(user.http.instance_of(answer))
        user.check(stored == ids, "the records are stored under their ids")
    elif 400 <= answer.status_code < 500:
        attempt.rejected(user.http.instance_of(answer))  # after a 5xx it is unknown whether they are stored
    await user.think()


@journey("insert invalid metrics")
async def insert_invalid(user: User) -> None:
    """Send a batch whose last record is invalid; the service must reject it and store no record.

    After the load, the ids show whether a record of a rejected batch is stored.
    """
    ids, events = new_events(user, _INVALID_BATCH)
    events[-1]["value"] = None
    attempt = user.writes.attempt(*ids)
    answer = await user.post("/api/v1/metrics/events", json={"events": events}, expect=(400, 422))
    if 400 <= answer.status_code < 500:
        attempt.rejected(user.http.instance_of(answer))  # after a 5xx it is unknown whether they are stored
    user.check(not answer.is_success, "a batch with an invalid record is rejected")
    await user.think()


@journey("query metrics", uses=("db",))
async def query(user: User) -> None:
    """Run one of the key queries in the user's tenant (frequent ones more often); read its rows."""
    tenant = await tenant_of(user)
    foreign = user.state["foreign"]
    name = user.popular(tuple(_CHOICES), "key queries")
    rows = await user.db.fetch(name, *_CHOICES[name](user))
    # If row-level security loses the tenant, it hides all rows. Such a query would be a fast
    # success.
    user.check(bool(rows) or name not in user.state["never_empty"], "the query found rows")
    for row in rows:
        if row["tenant_id"] != tenant:
            foreign(row)
    await user.think()


async def tenant_of(user: User) -> int:
    """The id of the user's tenant in the database; queried once per user."""
    if "tenant_id" not in user.state:
        tenant = await user.db.fetchval(
            "SELECT tenant_id FROM api.credentials($1)", user.account.username, label="tenant", record=False
        )
        user.db.tenant = str(tenant)
        widgets = await user.db.fetch("SELECT id FROM widgets ORDER BY id", label="widgets", record=False)
        user.state["widget_ids"] = tuple(each["id"] for each in widgets)
        has_sessions = await user.db.fetchval(
            "SELECT EXISTS (SELECT FROM sessions)", label="sessions", record=False
        )
        # The other queries find no rows if the newest events of the tenant are old.
        user.state["never_empty"] = {"widget series"} | ({"latest sessions"} if has_sessions else set())
        user.state["foreign"] = user.checks_tenants("rows")
        user.state["tenant_id"] = tenant
    return int(user.state["tenant_id"])
