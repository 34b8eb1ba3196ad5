"""Stores and lists metric events."""

import math
import os
import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from environments.local.service.endpoint import ApiError, Call, Reply, json_reply
from environments.local.service.stream import publish_stored_events

_MOST_EVENTS = 1000
_PAGE = 50
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.:-]{0,79}")
_PLATFORMS = ("web", "ios", "android", "server")
_STORE_EVENTS = """
    SELECT api.store_events($1, $2, $3, $4, $5,
        $6::text::uuid[], $7::text::text[], $8::text::timestamptz[], $9::text::float8[])
"""
_STORE_SESSION = """
    SELECT api.store_session($1, $2, $3, $4, $5, $6, $7, $8,
        $9::text::uuid[], $10::text::text[], $11::text::timestamptz[], $12::text::float8[])
"""
_FIRST_ID = uuid.UUID(int=0)
# The partitions cover six weeks before the end of the seeded data, and all later times. Events are
# accepted and shown for thirty days.
_OLDEST, _NEWEST = timedelta(days=30), timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Events:
    """Events as columns. Each column is the literal of a PostgreSQL array.

    asyncpg examines every element of a list, but passes a text on as it is. No element needs
    quotes: names match `_NAME`, and ids, times and numbers come from parsed values.
    """

    ids: list[str]
    names: str
    times: str | None  # None: all happened at the time of the request
    values: str


def read_events(given: Any, now: datetime) -> Events:
    """Read events from JSON: name, value, optional time (ISO 8601, default: now) and optional id.

    Raises ApiError, which names the first invalid event.
    """
    if not isinstance(given, list) or not 0 < len(given) <= _MOST_EVENTS:
        raise ApiError(422, f"events: expected a list of 1 to {_MOST_EVENTS}")
    names: list[str] = []
    values: list[float] = []
    times: dict[int, datetime] = {}
    ids = new_ids(len(given))
    for place, event in enumerate(given):
        if not isinstance(event, dict):
            raise ApiError(422, f"events[{place}]: expected an object")
        name, value = event.get("name"), event.get("value")
        if not isinstance(name, str) or _NAME.fullmatch(name) is None:
            raise ApiError(422, f"events[{place}].name: expected a name such as page.load_time")
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ApiError(422, f"events[{place}].value: expected a number")
        names.append(name)
        values.append(value)
        if event.get("time") is not None:
            times[place] = _read_time(f"events[{place}].time", event["time"], now)
        if event.get("id") is not None:
            ids[place] = str(read_id(f"events[{place}].id", event["id"]))
    return Events(
        ids,
        _array(names),
        _array(times.get(place, now).isoformat() for place in range(len(given))) if times else None,
        _array(map(repr, values)),
    )


def new_ids(count: int) -> list[str]:
    """Create random UUIDs (version 4) with one system call for all."""
    random = os.urandom(16 * count).hex()
    return [
        f"{random[at : at + 8]}-{random[at + 8 : at + 12]}-4{random[at + 13 : at + 16]}"
        f"-a{random[at + 17 : at + 20]}-{random[at + 20 : at + 32]}"
        for at in range(0, 32 * count, 32)
    ]


def _array(elements: Iterable[str]) -> str:
    return f"{{{','.join(elements)}}}"


def read_id(where: str, given: Any) -> uuid.UUID:
    """The given UUID. Raises ApiError."""
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
    """Read a time in ISO 8601; UTC if no zone is given. Raises ApiError."""
    try:
        time = datetime.fromisoformat(given)
    except (ValueError, TypeError):
        raise ApiError(422, f"{where}: expected a time such as 2026-01-31T12:00:00Z") from None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


async def create_session(call: Call) -> Reply:
    """Store a session with its events."""
    now = datetime.now(UTC)
    body = call.body if isinstance(call.body, dict) else {}
    events = read_events(body.get("events"), now)
    platform = body.get("platform", "web")
    if platform not in _PLATFORMS:
        raise ApiError(422, f"platform: expected one of {', '.join(_PLATFORMS)}")
    started = _read_time("started_at", body["started_at"], now) if "started_at" in body else now
    session = new_ids(1)[0] if body.get("id") is None else str(read_id("id", body["id"]))
    stored = await call.context.pool.value(
        _STORE_SESSION,
        call.caller.tenant,
        call.run_id,
        call.idempotency_key,
        session,
        call.caller.account,
        platform,
        started,
        now,
        _array(events.ids),
        events.names,
        events.times,
        events.values,
    )
    ids = [str(each) for each in stored] or [session, *events.ids]
    if not stored:
        publish_stored_events(call, events.ids, session)
    return _stored({"id": ids[0], "ids": ids[1:]}, is_replay=bool(stored))


async def create_events(call: Call) -> Reply:
    """Store a batch of events; a repeated Idempotency-Key repeats the answer and stores nothing."""
    body = call.body if isinstance(call.body, dict) else {}
    now = datetime.now(UTC)
    try:
        events = read_events(body.get("events"), now)
    except ApiError:
        if call.context.faults.stores_rejected():
            await _store_valid(call, body.get("events"), now)
        raise
    session = read_id("session_id", body["session_id"]) if "session_id" in body else None
    stored = await _store(call, session, events, now)
    if stored is None:
        raise ApiError(404, f"session_id: there is no session {session}")
    if not stored:
        publish_stored_events(call, events.ids)
    return _stored({"ids": [str(each) for each in stored] or events.ids}, is_replay=bool(stored))


async def _store(call: Call, session: uuid.UUID | None, events: Events, now: datetime) -> Any:
    """Store events; return no ids if they were stored, None if there is no such session.

    If an earlier request had the same key, nothing is stored; return the ids of that request.
    """
    return await call.context.pool.value(
        _STORE_EVENTS,
        call.caller.tenant,
        call.run_id,
        call.idempotency_key,
        session,
        now,
        _array(events.ids),
        events.names,
        events.times,
        events.values,
    )


async def _store_valid(call: Call, given: Any, now: datetime) -> None:
    """Store the valid events of a rejected batch, for a fault."""

    def is_valid(event: Any) -> bool:
        try:
            read_events([event], now)
        except ApiError:
            return False
        return True

    valid = [event for event in given if is_valid(event)] if isinstance(given, list) else []
    if 0 < len(valid) <= _MOST_EVENTS:
        await _store(call, None, read_events(valid, now), now)


def _stored(answer: dict[str, Any], *, is_replay: bool) -> Reply:
    return json_reply(answer, 201, ((b"idempotent-replay", b"true"),) if is_replay else ())


async def list_events(call: Call) -> Reply:
    """A page of events, newest first, by time span and optional name; `next` is a cursor."""
    now = datetime.now(UTC)
    query = call.query
    since = parse_time("from", query["from"]) if "from" in query else now - _OLDEST
    until = parse_time("to", query["to"]) if "to" in query else now + _NEWEST
    cursor_time, cursor_id = _read_cursor(query["cursor"]) if "cursor" in query else (until, _FIRST_ID)
    tenant = call.caller.tenant
    page = await call.context.pool.value(
        "SELECT api.events($1, $2, $3, $4, $5, $6, $7)",
        tenant,
        since,
        until,
        query.get("name"),
        cursor_time,
        cursor_id,
        _PAGE,
    )
    return Reply(call.context.tenant_keys.fill(page, tenant))


def _read_cursor(cursor: str) -> tuple[datetime, uuid.UUID]:
    seconds, _, last = cursor.partition("_")
    try:
        return datetime.fromtimestamp(float(seconds), UTC), uuid.UUID(last)
    except (ValueError, OverflowError, OSError):
        raise ApiError(422, "cursor: expected the `next` of an earlier page") from None
