"""One endpoint: the common processing around every handler, in as few steps as possible.

Handlers take a Call and return the answer: a Reply, or the content of its JSON. The endpoint
measures, authenticates and parses requests, refuses invalid ones, and encodes answers.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from time import perf_counter
from typing import Any
from urllib.parse import parse_qsl

import asyncpg
import orjson

from environments.local.service.cache import CacheError
from environments.local.service.context import Context
from environments.local.service.database import PoolTimeoutError
from environments.local.service.faults import InjectedError
from environments.local.service.tokens import Identity
from environments.local.service.transport import BodyTooLargeError, Request

_log = logging.getLogger("uvicorn.error")
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
    path: dict[str, int]
    headers: dict[bytes, bytes]
    run_id: str
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
    """An encoded answer with its status; `switch_to` takes over the connection, if it is given."""

    body: bytes
    status: int = 200
    headers: tuple[tuple[bytes, bytes], ...] = ()
    content_type: bytes = b"application/json"
    switch_to: asyncio.Protocol | None = None


def json_reply(payload: Any, status: int = 200, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Reply:
    """An answer in JSON."""
    return Reply(orjson.dumps(payload), status, headers)


Handler = Callable[[Call], Awaitable[Any]]


class Endpoint:
    """Answers the requests of one method and path."""

    def __init__(
        self, context: Context, handler: Handler, *, group: str, method: str, route: str, role: str | None
    ) -> None:
        """Allow all callers if `role` is None, all accounts for `member`, admins for `admin`."""
        self._context = context
        self._handler = handler
        self._role = role
        self._has_body = method == "POST"
        self._timer = context.telemetry.timer(group, method, route)

    async def answer(self, request: Request) -> Reply:
        """Answer one request."""
        started = perf_counter()
        telemetry = self._context.telemetry
        telemetry.in_flight += 1
        status = 500
        try:
            try:
                reply = await self._answer(request)
            except Exception as error:
                reply = _error_answer(error)
            status = reply.status
            return reply
        finally:
            telemetry.in_flight -= 1
            self._timer.observe(status, perf_counter() - started)

    async def _answer(self, request: Request) -> Reply:
        faults = self._context.faults
        if faults.touch_requests:
            await faults.meet_request()
        headers = dict(request.headers)
        run_id = headers.get(b"x-run-id")
        idempotency_key = headers.get(b"idempotency-key")
        query = request.query
        call = Call(
            self._context,
            self._identify(headers.get(b"authorization")) if self._role is not None else None,
            _read_json(await request.read_body()) if self._has_body else None,
            dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True)) if query else {},
            request.parameters,
            headers,
            "" if run_id is None else _readable(run_id, _RUN_ID, "X-Run-Id"),
            None
            if idempotency_key is None
            else _readable(idempotency_key, _IDEMPOTENCY_KEY, "Idempotency-Key"),
        )
        answer = await self._handler(call)
        return answer if isinstance(answer, Reply) else json_reply(answer)

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


def _read_json(body: bytearray) -> Any:
    if not body:
        return None
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ApiError(400, f"the body is not JSON: {error}") from None


def _error_answer(error: Exception) -> Reply:
    if isinstance(error, ApiError):
        status, message = error.status, error.message
    elif isinstance(error, BodyTooLargeError):
        status, message = 413, str(error)
    elif isinstance(error, InjectedError):
        status, message = error.status, str(error)
    elif isinstance(error, asyncpg.UniqueViolationError):
        status, message = 409, "it exists already"
    elif isinstance(
        error, PoolTimeoutError | OSError | asyncpg.InterfaceError | asyncpg.PostgresConnectionError
    ):
        status, message = 503, f"the database is unavailable: {error}"
    elif isinstance(error, CacheError):
        status, message = 503, f"the cache is unavailable: {error}"
    else:
        _log.error("%s: %s", type(error).__name__, error)
        status, message = 500, "internal error"
    return error_reply(status, message)


def error_reply(status: int, message: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Reply:
    """The common form of error answers."""
    return json_reply({"error": HTTPStatus(status).phrase, "message": message}, status, headers)
