"""One endpoint: the common processing around every handler, in as few steps as possible.

Handlers take a Call and return the answer. The endpoint measures, authenticates, parses, refuses
and encodes.
"""

import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from time import perf_counter
from typing import Any
from urllib.parse import parse_qsl

import asyncpg
import orjson
from redis.exceptions import RedisError
from starlette.types import Receive, Scope, Send

from environments.local.service.context import Context
from environments.local.service.database import PoolTimeoutError
from environments.local.service.faults import InjectedError
from environments.local.service.tokens import Identity

_log = logging.getLogger("uvicorn.error")
_MAX_BODY = 4_000_000
_RUN_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
_IDEMPOTENCY_KEY = re.compile(rb"[\x21-\x7e]{1,128}")


class ApiError(Exception):
    """An error answer: a status and a sentence for the caller."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(slots=True)
class Call:
    """One request, as passed to a handler."""

    context: Context
    identity: Identity | None
    body: Any
    query: dict[str, str]
    path: dict[str, Any]
    run_id: str | None
    idempotency_key: str | None

    @property
    def caller(self) -> Identity:
        """The caller's identity, on an endpoint that requires a token."""
        assert self.identity is not None
        return self.identity

    def text(self, name: str, longest: int = 200) -> str:
        """A required text in the body. Raises ApiError."""
        value = self.body.get(name) if isinstance(self.body, dict) else None
        if not isinstance(value, str) or not 0 < len(value) <= longest:
            raise ApiError(422, f"{name}: expected a text of 1 to {longest} characters")
        return value


@dataclass(slots=True)
class Reply:
    """An answer with its status; `payload` is encoded unless it is bytes."""

    payload: Any
    status: int = 200
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)


Handler = Callable[[Call], Awaitable[Any]]


class Endpoint:
    """An ASGI application for one method of one path."""

    def __init__(
        self, context: Context, handler: Handler, *, group: str, method: str, route: str, role: str | None
    ) -> None:
        """Allow all callers if `role` is None, all accounts for `member`, admins for `admin`."""
        self._context = context
        self._handler = handler
        self._role = role
        self._has_body = method == "POST"
        self._timer = context.telemetry.timer(group, method, route)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        started = perf_counter()
        telemetry = self._context.telemetry
        telemetry.in_flight += 1
        status = 500
        try:
            try:
                reply = await self._answer(scope, receive)
            except Exception as error:
                reply = _error_answer(error)
            status = reply.status
            await respond(send, reply)
        finally:
            telemetry.in_flight -= 1
            self._timer.observe(status, perf_counter() - started)

    async def _answer(self, scope: Scope, receive: Receive) -> Reply:
        faults = self._context.faults
        if faults.touch_requests:
            await faults.meet_request()
        authorization = run_id = idempotency_key = None
        for name, value in scope["headers"]:
            if name == b"authorization":
                authorization = value
            elif name == b"x-run-id":
                run_id = _readable(value, _RUN_ID, "X-Run-Id")
            elif name == b"idempotency-key":
                idempotency_key = _readable(value, _IDEMPOTENCY_KEY, "Idempotency-Key")
        identity = self._identify(authorization) if self._role is not None else None
        query = scope["query_string"]
        call = Call(
            self._context,
            identity,
            await _read_body(receive) if self._has_body else None,
            dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True)) if query else {},
            scope["path_params"],
            run_id,
            idempotency_key,
        )
        answer = await self._handler(call)
        return answer if isinstance(answer, Reply) else Reply(answer)

    def _identify(self, authorization: bytes | None) -> Identity:
        if authorization is None or not authorization.startswith(b"Bearer "):
            raise ApiError(401, "a bearer token is required")
        identity = self._context.tokens.read("access", authorization[7:].decode("latin-1"))
        if identity is None:
            raise ApiError(401, "the token is invalid or expired")
        if self._role == "admin" and identity.role != "admin":
            raise ApiError(403, "the role admin is required")
        return identity


def _readable(value: bytes, pattern: re.Pattern[bytes], header: str) -> str:
    if pattern.fullmatch(value) is None:
        raise ApiError(400, f"{header}: not readable")
    return value.decode("ascii")


async def _read_body(receive: Receive) -> Any:
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body", False):
        message = await receive()
        body += message.get("body", b"")
        if len(body) > _MAX_BODY:
            raise ApiError(413, f"the body is larger than {_MAX_BODY} bytes")
    if not body:
        return None
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ApiError(400, f"the body is not JSON: {error}") from None


def _error_answer(error: Exception) -> Reply:
    if isinstance(error, ApiError):
        status, message = error.status, error.message
    elif isinstance(error, InjectedError):
        status, message = error.status, str(error)
    elif isinstance(error, asyncpg.UniqueViolationError):
        status, message = 409, "it exists already"
    elif isinstance(
        error, PoolTimeoutError | OSError | asyncpg.InterfaceError | asyncpg.PostgresConnectionError
    ):
        status, message = 503, f"the database is unavailable: {error}"
    elif isinstance(error, RedisError):
        status, message = 503, f"the cache is unavailable: {error}"
    else:
        _log.error("%s: %s", type(error).__name__, error)
        status, message = 500, "internal error"
    return error_reply(status, message)


def error_reply(status: int, message: str) -> Reply:
    """The common form of error answers."""
    return Reply({"error": HTTPStatus(status).phrase, "message": message}, status)


async def respond(send: Send, reply: Reply) -> None:
    """Send an answer as JSON."""
    payload = reply.payload
    body = payload if isinstance(payload, bytes) else orjson.dumps(payload)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *reply.headers,
    ]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
