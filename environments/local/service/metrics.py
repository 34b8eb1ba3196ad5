"""Stores and lists metric events."""

import math
import re
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from environments.local.service.endpoint import ApiError, Call, Reply

_MOST_EVENTS = 1000
_PAGE = 50
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.:-]{0,79}")
_PLATFORMS = ("web", "ios", "android", "server")
# The partitions cover six weeks back and three ahead; events are accepted and shown for thirty
# days.
_OLDEST, _NEWEST = timedelta(days=30), timedelta(days=1)


@dataclass(slots=True)
class Events:
    """Events as columns, in the form of the database functions."""

    ids: list[uuid.UUID]
    names: list[str]
    times: list[datetime]
    values: list[float]


def read_events(given: Any, now: datetime) -> Events:
    """Events from JSON: name and value; optional time (ISO 8601, default now) and id (default new).

    Raises ApiError, which names the first invalid event.
    """
    if not isinstance(given, list) or not 0 < len(given) <= _MOST_EVENTS:
        raise ApiError(422, f"events: expected a list of 1 to {_MOST_EVENTS}")
    events = Events([], [], [], [])
    for place, event in enumerate(given):
        if not isinstance(event, dict):
            raise ApiError(422, f"events[{place}]: expected an object")
        name, value, time = event.get("name"), event.get("value"), event.get("time")
        if not isinstance(name, str) or _NAME.fullmatch(name) is None:
            raise ApiError(422, f"events[{place}].name: expected a name such as page.load_time")
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ApiError(422, f"events[{place}].value: expected a number")
        events.names.append(name)
        events.values.append(value)
        events.times.append(now if time is None else _read_time(f"events[{place}].time", time, now))
        events.ids.append(read_id(f"events[{place}].id", event.get("id")))
    return events


def read_id(where: str, given: Any) -> uuid.UUID:
    """The given UUID, or a new one. Raises ApiError."""
    if given is None:
        return uuid.uuid4()
    try:
        return uuid.UUID(given)
    except (ValueError, AttributeError, TypeError):
        raise ApiError(422, f"{where}: expected a UUID") from None


def _read_time(where: str, given: Any, now: datetime) -> datetime:
    time = parse_time(where, given)
    if not now - _OLDEST <= time <= now + _NEWEST:
        raise ApiError(422, f"{where}: expected a time within the last 30 days")
    return time


def parse_time(where: str, given: Any) -> datetime:
    """A moment from ISO 8601; UTC if no zone is given. Raises ApiError."""
    try:
        time = datetime.fromisoformat(given)
    except (ValueError, TypeError):
        raise ApiError(422, f"{where}: expected a time such as 2026-01-31T12:00:00Z") from None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


async def create_session(call: Call) -> Reply:
    """Store a session with its events."""
    now = datetime.now(UTC)
    events = read_events(call.body.get("events") if isinstance(call.body, dict) else None, now)
    platform = call.body.get("platform", "web")
    if platform not in _PLATFORMS:
        raise ApiError(422, f"platform: expected one of {', '.join(_PLATFORMS)}")
    started = _read_time("started_at", call.body["started_at"], now) if "started_at" in call.body else now
    session = read_id("id", call.body.get("id"))
    stored = await call.context.pool.value(
        "SELECT api.store_session($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        call.caller.tenant,
        call.run_id,
        call.idempotency_key,
        session,
        call.caller.account,
        platform,
        started,
        events.ids,
        events.names,
        events.times,
        events.values,
    )
    ids = [str(each) for each in stored]
    return _stored({"id": ids[0], "ids": ids[1:]}, is_replay=stored[0] != session)


async def create_events(call: Call) -> Reply:
    """Store a batch of events; repeating an Idempotency-Key repeats the answer without storing."""
    body = call.body if isinstance(call.body, dict) else {}
    events = read_events(body.get("events"), datetime.now(UTC))
    session = read_id("session_id", body["session_id"]) if "session_id" in body else None
    stored = await call.context.pool.value(
        "SELECT api.store_events($1, $2, $3, $4, $5, $6, $7, $8)",
        call.caller.tenant,
        call.run_id,
        call.idempotency_key,
        session,
        events.ids,
        events.names,
        events.times,
        events.values,
    )
    if stored is None:
        raise ApiError(404, f"session_id: there is no session {session}")
    return _stored({"ids": [str(each) for each in stored]}, is_replay=stored[0] != events.ids[0])


def _stored(answer: dict[str, Any], *, is_replay: bool) -> Reply:
    return Reply(answer, 201, [(b"idempotent-replay", b"true")] if is_replay else [])


async def list_events(call: Call) -> dict[str, Any]:
    """A page of events, newest first, by time span and optional name; `next` is a cursor."""
    now = datetime.now(UTC)
    query = call.query
    since = parse_time("from", query["from"]) if "from" in query else now - _OLDEST
    until = parse_time("to", query["to"]) if "to" in query else now + _NEWEST
    cursor_time, cursor_id = _read_cursor(query["cursor"]) if "cursor" in query else (until, uuid.UUID(int=0))
    rows = await call.context.pool.rows(
        "SELECT * FROM api.events($1, $2, $3, $4, $5, $6, $7)",
        call.caller.tenant,
        since,
        until,
        query.get("name"),
        cursor_time,
        cursor_id,
        _PAGE,
    )
    keys = call.context.tenant_keys
    events = [
        {
            "id": row_id,
            "tenant_key": keys[tenant],
            "session_id": session,
            "name": name,
            "value": value,
            "time": time,
        }
        for row_id, tenant, session, name, value, time in rows
    ]
    full = len(rows) == _PAGE
    return {
        "events": events,
        "next": f"{rows[-1]['time'].timestamp():.6f}_{rows[-1]['id']}" if full else None,
    }


def _read_cursor(cursor: str) -> tuple[datetime, uuid.UUID]:
    seconds, _, last = cursor.partition("_")
    try:
        return datetime.fromtimestamp(float(seconds), UTC), uuid.UUID(last)
    except (ValueError, OverflowError, OSError):
        raise ApiError(422, "cursor: expected the `next` of an earlier page") from None
