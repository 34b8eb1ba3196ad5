"""The journeys that send metric events and read them."""

from typing import Any

from loadkit.journey import User, journey
from steps.journeys.choices import METRICS, fresh_key

__all__ = ["explore", "ingest"]

_BATCH = 20
_PLATFORMS = ("web", "android", "ios", "server")


@journey("ingest events")
async def ingest(user: User) -> None:
    """Open a session with its first events, then send batches of events."""
    opened = await user.post(
        "/api/v1/metrics/sessions",
        json={"platform": user.popular(_PLATFORMS, "platforms"), "events": _events(user, 3)},
    )
    created = opened.raise_for_status().json()
    session = created["id"]
    user.acknowledged(created["ids"][0])  # who watches the tenant's dashboard receives them
    for _ in range(3):
        await user.think()
        stored = await user.post(
            "/api/v1/metrics/events",
            json={"session_id": session, "events": _events(user, _BATCH)},
            headers={"Idempotency-Key": fresh_key(user.run_id, user.number, user.random)},
        )
        ids = stored.raise_for_status().json()["ids"]
        user.check(len(ids) == _BATCH, "every event of the batch is stored")
        user.acknowledged(ids[0])


@journey("explore events")
async def explore(user: User) -> None:
    """Read a metric's newest events, then older ones if there are any; three pages at most."""
    busiest = await _busiest(user)
    name = user.popular(METRICS, "metrics")
    params = {"name": name}
    for number in range(3):
        page = (await user.get("/api/v1/metrics/events", params=params)).raise_for_status().json()
        # A page without the tenant's events is a fast one.
        user.check(bool(page["events"]) or number > 0 or name not in busiest, "a busy metric has events")
        user.check(
            all(event["name"] == name for event in page["events"]), "only the requested metric is shown"
        )
        await user.think()
        if page["next"] is None:
            return
        params = {"name": name, "cursor": page["next"]}


async def _busiest(user: User) -> frozenset[str]:
    """The metrics of which the tenant's overview says that they have events; asked for once.

    A tenant of old data has none.
    """
    if "busiest" not in user.state:
        answer = await user.get("/api/v1/dashboard/overview", record=False)
        if not answer.is_success:
            return frozenset()
        metrics = answer.json()["overview"]["top_metrics"]
        user.state["busiest"] = frozenset(metric["name"] for metric in metrics)
    return frozenset(user.state["busiest"])


def _events(user: User, count: int) -> list[dict[str, Any]]:
    """Events as clients send them: popular names more often, values with a long tail."""
    return [
        {"name": user.popular(METRICS, "metrics"), "value": round(user.random.lognormvariate(3.0, 1.0), 2)}
        for _ in range(count)
    ]
