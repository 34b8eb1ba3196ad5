"""The journeys that send metric events and read them."""

from typing import Any

from loadkit.drivers.http.response import Response
from loadkit.journey import User, journey
from loadkit.recording.writes import Attempt
from steps.journeys.choices import METRICS, fresh_ids, fresh_key

__all__ = ["explore", "ingest", "new_events"]

_BATCH = 20
_PLATFORMS = ("web", "android", "ios", "server")


@journey("ingest events")
async def ingest(user: User) -> None:
    """Open a session with its first events, then send batches of events.

    The user chooses the ids of the events. After the load, the ids show whether each acknowledged
    event is stored exactly once. The session itself is not checked.
    """
    ids, events = new_events(user, 3)
    attempt = user.writes.attempt(*ids)
    opened = await user.post(
        "/api/v1/metrics/sessions",
        json={"platform": user.popular(_PLATFORMS, "platforms"), "events": events},
    )
    session = _outcome(user, attempt, opened, ids)["id"]
    for _ in range(3):
        await user.think()
        ids, events = new_events(user, _BATCH)
        attempt = user.writes.attempt(*ids)
        answer = await user.post(
            "/api/v1/metrics/events",
            json={"session_id": session, "events": events},
            headers={"Idempotency-Key": fresh_key(user.run_id, user.number, user.random)},
        )
        _outcome(user, attempt, answer, ids)


def _outcome(user: User, attempt: Attempt, answer: Response, ids: list[str]) -> Any:
    """Record whether the events are stored; return the answer's content."""
    if 400 <= answer.status_code < 500:
        attempt.rejected(user.http.instance_of(answer))  # after a 5xx it is unknown whether they are stored
    content = answer.raise_for_status().json()
    stored = content["ids"]
    if stored == ids:
        attempt.acknowledged(user.http.instance_of(answer))
    user.check(stored == ids, "the events are stored under their ids")
    user.acknowledged(stored[0])  # users who follow the tenant's dashboard receive them
    return content


@journey("explore events")
async def explore(user: User) -> None:
    """Read a metric's newest events, then older ones if there are any; three pages at most."""
    busiest = await _busiest(user)
    name = user.popular(METRICS, "metrics")
    params = {"name": name}
    for number in range(3):
        page = (await user.get("/api/v1/metrics/events", params=params)).raise_for_status().json()
        # Without this check, a page without the tenant's events would be a fast success.
        user.check(bool(page["events"]) or number > 0 or name not in busiest, "a busy metric has events")
        user.check(
            all(event["name"] == name for event in page["events"]), "only the requested metric is shown"
        )
        await user.think()
        if page["next"] is None:
            return
        params = {"name": name, "cursor": page["next"]}


async def _busiest(user: User) -> frozenset[str]:
    """The metrics that have events according to the tenant's overview; read once per user.

    A tenant with only old data has none.
    """
    if "busiest" not in user.state:
        answer = await user.get("/api/v1/dashboard/overview", record=False)
        if not answer.is_success:
            return frozenset()
        metrics = answer.json()["overview"]["top_metrics"]
        user.state["busiest"] = frozenset(metric["name"] for metric in metrics)
    return frozenset(user.state["busiest"])


def new_events(user: User, number: int) -> tuple[list[str], list[dict[str, Any]]]:
    """Create new ids, and events with these ids in the form that clients send.

    Popular names occur more often, and values have a long tail.
    """
    ids = fresh_ids(number)
    return ids, [
        {
            "id": each,
            "name": user.popular(METRICS, "metrics"),
            "value": round(user.random.lognormvariate(3.0, 1.0), 2),
        }
        for each in ids
    ]
