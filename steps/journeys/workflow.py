"""The journey of a whole visit: over REST, live connections and the database."""

import time
import uuid
from collections.abc import Callable
from typing import Any

from loadkit.drivers.websocket.client import WebSocket
from loadkit.journey import User, journey
from steps.journeys.auth import log_in
from steps.journeys.choices import METRICS
from steps.journeys.database import tenant_of
from steps.journeys.live import connect, object_of

__all__ = ["complete"]

_PATIENCE = 2.0
"""Seconds within which an event must appear on a live dashboard, and an edit must reach all."""


@journey("follow a complete workflow", role="admin", uses=("http", "ws", "db"))
async def complete(user: User) -> None:
    """Log in, watch a dashboard, post an event, see it live and stored, edit, administer, leave."""
    with user.workflow("complete workflow") as workflow:
        with workflow.step("log in"):
            await log_in(user)
        await user.think()
        with workflow.step("open the live dashboard"):
            live = await connect(user, "/api/v1/stream?topics=dashboard", "WS /api/v1/stream")
            (await user.get("/api/v1/dashboard/overview")).raise_for_status()
        await user.think()
        with workflow.step("post an event"):
            event = await _post_event(user)
        with workflow.step(f"see the event within {_PATIENCE:g} s"):
            await _until(live, lambda payload: event in (payload.get("ids") or ()))
        await user.think()
        with workflow.step("find the event in the database"):
            await tenant_of(user)
            stored = await user.db.fetchval(
                "SELECT count(*) FROM metric_events WHERE time > now() - interval '5 minutes' AND id = $1",
                uuid.UUID(event),
                label="the event",
            )
            user.check(stored == 1, "the event is stored once")
        await user.think()
        with workflow.step("edit with the others"):
            await _edit(user)
        await user.think()
        with workflow.step("administer"):
            (await user.get("/api/v1/admin/usage")).raise_for_status()
        await user.think()
        with workflow.step("leave"):
            was_live = live.ending is None
            await live.close()
            await user.post("/api/v1/auth/logout")
            user.check(was_live, "the dashboard was live until the user left")


async def _post_event(user: User) -> str:
    """Post one event, and return its id."""
    event = str(uuid.uuid4())
    attempt = user.writes.attempt(event)
    answer = await user.post(
        "/api/v1/metrics/events",
        json={"events": [{"id": event, "name": user.popular(METRICS, "metrics"), "value": 1.0}]},
    )
    if 400 <= answer.status_code < 500:
        attempt.rejected(user.http.instance_of(answer))  # after a 5xx it is unknown whether it is stored
    stored = answer.raise_for_status().json()["ids"]
    if stored == [event]:
        attempt.acknowledged(user.http.instance_of(answer))
    user.check(stored == [event], "the event is stored under its id")
    return event


async def _edit(user: User) -> None:
    """Change one cell of a shared dashboard, and check that all editors receive the change.

    Users of the tenant share the dashboard. The user opens it twice and edits it once, so the other
    connection receives the edit of another editor. The user cannot wait for another user's edit.
    Most users are alone on their dashboard, and a user does not know whether another one is there.
    """
    path, label = f"/api/v1/collab/{user.number % 5}", "WS /api/v1/collab"
    async with await connect(user, path, label) as other, await connect(user, path, label) as shared:
        for each in (other, shared):
            await each.receive()  # the current dashboard; later edits arrive one by one
        key, value = f"cell-{user.number}", user.random.randrange(1_000_000)
        await shared.send({"key": key, "value": value}, label=f"{label} edit")

        def matches(change: dict[str, Any]) -> bool:
            return bool(change.get("key") == key and change.get("value") == value)

        sent = time.monotonic()
        await _until(shared, matches, sent)
        await _until(other, matches, sent)


async def _until(
    ws: WebSocket, matches: Callable[[dict[str, Any]], bool], since: float | None = None
) -> None:
    """Receive messages until one has the right payload.

    It waits at most `_PATIENCE` seconds after `since` (monotonic clock; default: now).
    """
    deadline = (time.monotonic() if since is None else since) + _PATIENCE
    while True:
        message = await ws.receive(max(0.001, deadline - time.monotonic()))
        payload = object_of(message).get("payload")
        # A message of another form is not the right one. It is no error of the journey.
        if isinstance(payload, dict) and matches(payload):
            return
