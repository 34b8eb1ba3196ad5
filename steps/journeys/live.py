"""The journeys over WebSocket: live metrics, live dashboards, and dashboards that users share.

`reader` defines how the messages of this service are read.
"""

import hashlib
import json
import time
from typing import Any

import orjson

from loadkit.drivers.base import NoResponse
from loadkit.drivers.http.response import StatusError
from loadkit.drivers.websocket.client import WebSocket
from loadkit.drivers.websocket.subscription import Reader, Subscription
from loadkit.journey import User, journey
from steps.journeys.choices import METRICS

__all__ = ["connect", "edit", "follow", "follow_dashboard", "object_of", "publish", "reader"]

TOPICS = 4
"""Topics of live metrics. Each connection follows one."""
_TOGETHER = 2
"""The number of topics of a publication. A connection receives one message of every second
publication on average: see `reach` in the environment file.

Publications on one topic take twice the requests: 2200 per second for 11,000 messages. Publications
on all four topics take 550, but each reaches all 220 connections of the largest tenant together.
Then the generator's loop lagged by 6 to 11 ms (p99). With two topics it lagged by 4 ms."""
_QUIET_END = 5.0
"""Seconds before the end in which nobody edits, so that the last edits reach all."""
_NUMBER = (float, int)
_STREAM = "WS /api/v1/stream"
_EDIT = "WS /api/v1/collab edit"
_TOKEN_RATIO = 0.8
"""Ratio of a token's lifetime after which a publisher logs in again."""


@journey("follow live metrics", uses=("http", "ws"))
async def follow(user: User) -> None:
    """Follow one topic of the tenant's live metrics; reconnect whenever the connection drops."""
    await _follow(user, f"metrics.{user.number % TOPICS}")


@journey("follow a live dashboard", uses=("http", "ws"))
async def follow_dashboard(user: User) -> None:
    """Follow the writes on the tenant's dashboard; reconnect whenever the connection drops."""
    await _follow(user, "dashboard")


async def _follow(user: User, topic: str) -> None:
    read = _noting(user) if topic == "dashboard" else reader

    async def begin(earlier: Subscription | None) -> tuple[WebSocket, Subscription]:
        path = f"/api/v1/stream?topics={topic}"
        if earlier is not None and topic in earlier.positions:
            path += f"&from={topic}:{earlier.positions[topic]}"
        ws = await connect(user, path, _STREAM)
        first = object_of(await ws.receive())
        while first.get("type") == "gap":  # the position shows the missing messages, too
            first = object_of(await ws.receive())
        begins_after = first.get("streams")
        if first.get("type") != "subscribed" or not _are_numbers(begins_after):
            raise AssertionError("expected the service to confirm the subscription first")
        subscription = ws.subscribe(read, after=earlier, begins_after=begins_after)
        if topic == "dashboard":
            user.watches(subscription, _STREAM)
        return ws, subscription

    await user.ws.stay(begin)


def _noting(user: User) -> Reader:
    """A reader that also records which writes reach the dashboard: see `ingest`."""

    def noted(message: str | bytes) -> tuple[str, int, float] | None:
        event = orjson.loads(message)
        stamp = _stamp_of(event)
        if stamp is not None:
            ids = _payload_of(event).get("ids")
            if ids:
                if not isinstance(ids, list) or not isinstance(ids[0], str):
                    raise ValueError(f"expected a list of texts as ids, read {ids!r}")
                user.reached(ids[0], _STREAM)
        return stamp

    return noted


@journey("publish live metrics", uses=("http", "ws"))
async def publish(user: User) -> None:
    """Publish one message on some topics of each tenant, in the name of one of its users.

    All messages of a tenant are one request, as a collector of metrics sends them. A failed request
    ends the journey, but only after the requests of the other tenants.
    """
    first = user.random.randrange(TOPICS)
    topics = [f"metrics.{(first + number) % TOPICS}" for number in range(_TOGETHER)]
    messages = [
        {
            "topic": topic,
            "payload": {"name": user.popular(METRICS, "metrics"), "value": round(user.random.random(), 3)},
        }
        for topic in topics
    ]
    failures: list[NoResponse | StatusError] = []
    unrecorded = ""
    for account in user.tenants:
        try:
            token = await _token(user, account)
            answer = await user.post(
                "/api/v1/stream/publish",
                json={"messages": messages},
                headers={"Authorization": token},
                tenant=account.tenant,
            )
            sequences = answer.raise_for_status().json()["sequences"]
        except (NoResponse, StatusError) as failure:
            # The messages of the other tenants are still due, because the plan states their rate.
            failures.append(failure)
            unrecorded = unrecorded or user.meter.unrecorded_failure
            continue
        for topic, number in zip(topics, sequences, strict=True):
            user.ws.knows(topic, number, account.tenant)
    if failures:
        # A login is not recorded, so its failure counts at the end of the journey. Later requests
        # have cleared it; restore it.
        user.meter.unrecorded_failure = unrecorded
        raise failures[0]


async def _token(user: User, account: Any) -> str:
    """The authorization of an account; it logs in again before the token expires."""
    tokens: dict[str, tuple[float, str]] = user.state.setdefault("tokens", {})
    expires, authorization = tokens.get(account.tenant, (0.0, ""))
    if time.monotonic() >= expires:
        answer = await user.post(
            "/api/v1/auth/login",
            json={"username": account.username, "password": account.password.reveal()},
            record=False,
            tenant=account.tenant,
        )
        granted = answer.raise_for_status().json()
        authorization = f"Bearer {granted['access_token']}"
        expires = time.monotonic() + granted["expires_in"] * _TOKEN_RATIO
        tokens[account.tenant] = expires, authorization
    return authorization


@journey("edit a shared dashboard", uses=("http", "ws"))
async def edit(user: User) -> None:
    """Edit a dashboard with others; see their edits immediately, and the same dashboard finally."""
    dashboard = user.group
    document: dict[str, tuple[int, Any]] = {}
    has_document = False
    tell = user.state.get("tell")
    if tell is None and user.meter.is_recorded:
        tell = user.state["tell"] = user.shares_state(f"dashboard {dashboard}")

    def apply(message: str | bytes) -> tuple[str, int, float] | None:
        event = orjson.loads(message)
        stamp = _stamp_of(event)
        if stamp is not None:
            change = _payload_of(event)
            key = change.get("key")
            if not isinstance(key, str) or "value" not in change:
                raise ValueError(f"expected a key and a value, read {change!r}")
            if stamp[1] > document.get(key, (0, None))[0]:
                document[key] = stamp[1], change["value"]
        return stamp

    async def begin() -> WebSocket:
        nonlocal has_document
        ws = await connect(user, f"/api/v1/collab/{dashboard}", "WS /api/v1/collab")
        state = object_of(await ws.receive())
        cells: Any = state.get("payload")
        begins_after: Any = {state.get("stream"): state.get("version")}
        if not _are_numbers(begins_after) or not _are_cells(cells):
            raise AssertionError("expected the service to send the dashboard first")
        document.clear()
        document.update({key: (each["version"], each["value"]) for key, each in cells.items()})
        has_document = True
        # The state contains all edits so far. Edits meanwhile are neither sent again nor lost.
        ws.subscribe(apply, begins_after=begins_after)
        return ws

    try:
        ws = await begin()
        while True:
            # The last pause ends when the quiet time begins, and not after the user's time. No edit
            # follows it, because all users would send that edit at the same moment.
            await ws.hold(max(0.0, min(user.think_seconds(), user.seconds_left - _QUIET_END)))
            if user.seconds_left <= _QUIET_END:
                break
            change = {"key": f"cell-{user.random.randrange(20)}", "value": user.random.randrange(1000)}
            await _confirmed(user, ws, change)
        await ws.hold()
    finally:
        if tell is not None and has_document and user.seconds_left <= 0:
            tell(_digest(document))
            user.state["tell"] = None


async def _confirmed(user: User, ws: WebSocket, change: dict[str, Any]) -> None:
    """Send an edit, and wait until the service sends it to all editors: the message round trip."""
    edits = user.state["edits"] = user.state.get("edits", 0) + 1
    name = f"{user.number}-{edits}"
    mark = f'"id":"{name}"'

    def is_answer(message: str | bytes) -> bool:
        return isinstance(message, str) and mark in message

    try:
        answer = await ws.request({**change, "id": name}, is_answer, label=_EDIT)
    except NoResponse:
        if ws.ending is not None:
            raise
        return  # the edit has failed, and the editor continues
    user.check('"type":"refused"' not in answer, "the edit was taken")


def _digest(document: dict[str, tuple[int, Any]]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:12]


async def connect(user: User, path: str, label: str) -> WebSocket:
    """Open a connection with the user's token."""
    user.ws.headers["authorization"] = user.headers["authorization"]
    return await user.ws.connect(path, label=label)


def reader(message: str | bytes) -> tuple[str, int, float] | None:
    """The stream, the sequence number and the creation time (Unix seconds) of a message.

    None for an object without a sequence number.

    Raises:
        ValueError: the message has another form. This is no error of the journey.

    """
    return _stamp_of(orjson.loads(message))


def _stamp_of(event: Any) -> tuple[str, int, float] | None:
    """The result of `reader` for a message's decoded content. Raises ValueError."""
    if isinstance(event, dict):
        if "sequence" not in event:
            return None
        stream, number, created = event.get("stream"), event["sequence"], event.get("created")
        if isinstance(stream, str) and isinstance(number, int) and isinstance(created, _NUMBER):
            return stream, number, created
    raise ValueError("expected an object with a stream, a sequence and a creation time")


def object_of(message: str | bytes) -> dict[str, Any]:
    """The JSON object in a message; an empty one if the service sent something else."""
    try:
        found = orjson.loads(message)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _payload_of(event: dict[str, Any]) -> dict[str, Any]:
    """The payload of a message's content.

    Raises:
        ValueError: it is no JSON object.

    """
    payload = event.get("payload")
    if not isinstance(payload, dict):
        raise ValueError(f"expected an object as payload, read {payload!r}")  # noqa: TRY004  parsers raise ValueError
    return payload


def _are_numbers(streams: Any) -> bool:
    """Does each stream have the number of a message?"""
    return isinstance(streams, dict) and all(
        isinstance(stream, str) and isinstance(number, int) for stream, number in streams.items()
    )


def _are_cells(cells: Any) -> bool:
    """Are these the cells of a dashboard, each with its version and value?"""
    return isinstance(cells, dict) and all(
        isinstance(cell, dict) and isinstance(cell.get("version"), int) and "value" in cell
        for cell in cells.values()
    )
