"""The instance's application: its routes and background tasks."""

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus

import asyncpg

from environments.local.service import admin, auth, collab, dashboard, metrics, stream
from environments.local.service.cache import CacheError
from environments.local.service.config import VERSION
from environments.local.service.context import Context
from environments.local.service.database import PoolTimeoutError
from environments.local.service.endpoint import Endpoint, Handler, Reply, error_reply, json_reply
from environments.local.service.transport import Page, Request

_ROLLUP_SECONDS = 3.0
_TRIM_SECONDS = 60.0

# Group, method, path, handler, role (None: open to all).
ENDPOINTS: tuple[tuple[str, str, str, Handler, str | None], ...] = (
    ("metrics", "POST", "/api/v1/metrics/sessions", metrics.create_session, "member"),
    ("metrics", "POST", "/api/v1/metrics/events", metrics.create_events, "member"),
    ("metrics", "GET", "/api/v1/metrics/events", metrics.list_events, "member"),
    ("dashboard", "GET", "/api/v1/dashboard/overview", dashboard.overview, "member"),
    ("dashboard", "GET", "/api/v1/dashboard/widgets/{id:int}", dashboard.widget, "member"),
    ("dashboard", "GET", "/api/v1/dashboard/analytics", dashboard.analytics, "member"),
    ("auth", "POST", "/api/v1/auth/login", auth.login, None),
    ("auth", "POST", "/api/v1/auth/refresh", auth.refresh, None),
    ("auth", "POST", "/api/v1/auth/logout", auth.logout, "member"),
    ("auth", "GET", "/api/v1/auth/me", auth.me, "member"),
    ("admin", "GET", "/api/v1/admin/tenants", admin.list_tenants, "admin"),
    ("admin", "POST", "/api/v1/admin/tenants", admin.create_tenant, "admin"),
    ("admin", "GET", "/api/v1/admin/users", admin.list_users, "admin"),
    ("admin", "POST", "/api/v1/admin/users", admin.create_user, "admin"),
    ("admin", "GET", "/api/v1/admin/usage", admin.usage, "admin"),
    ("stream", "GET", "/api/v1/stream", stream.subscribe, "member"),
    ("stream", "POST", "/api/v1/stream/publish", stream.publish, "member"),
    ("stream", "GET", "/api/v1/collab/{id:int}", collab.edit, "member"),
)


_NUMBER = "/{id:int}"
_LONGEST_NUMBER = 18
_NO_PARAMETERS: dict[str, int] = {}


class App:
    """All pages of an instance, and its background tasks."""

    def __init__(self, context: Context) -> None:
        self._context = context
        # Both by path, then by method. In requests for `_numbered`, a number follows the path.
        self._exact: dict[bytes, dict[bytes, Page]] = {}
        self._numbered: dict[bytes, dict[bytes, Page]] = {}
        for group, method, path, handler, role in ENDPOINTS:
            endpoint = Endpoint(context, handler, group=group, method=method, route=path, role=role)
            pages = self._numbered if path.endswith(_NUMBER) else self._exact
            pages.setdefault(path.removesuffix(_NUMBER).encode(), {})[method.encode()] = endpoint
        for path, answer in (("/healthz", _healthz), ("/readyz", _readyz), ("/metrics", _metrics)):
            self._exact[path.encode()] = {b"GET": _Plain(context, answer)}

    def find(self, method: bytes, path: bytes) -> tuple[Page, dict[str, int]]:
        """The page of a request and the parameters in its path."""
        pages, parameters = self._exact.get(path), _NO_PARAMETERS
        if pages is None:
            parent, _, number = path.rpartition(b"/")
            pages = self._numbered.get(parent)
            if pages is None or not number.isdigit() or len(number) > _LONGEST_NUMBER:
                return _NOT_FOUND, _NO_PARAMETERS
            parameters = {"id": int(number)}
        page = pages.get(method)
        return (_Refusal(405, ((b"allow", b", ".join(pages)),)) if page is None else page), parameters

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Connect the resources and run the background tasks."""
        context = self._context
        await context.pool.open()
        work = [
            asyncio.create_task(each)
            for each in (
                _refresh_rollup(context),
                _trim_pool(context),
                _receive_logouts(context),
                context.broadcast.write(),
                context.broadcast.read(),
                context.connections.keep_alive(),
            )
        ]
        gc.collect()
        gc.freeze()  # garbage collections then skip permanent objects
        yield
        for task in work:
            task.cancel()
        await asyncio.wait(work)
        await context.pool.close()
        await context.cache.close()
        context.broadcast.close()


class _Refusal:
    """Answers a request that has no page."""

    def __init__(self, status: int, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        self._reply = error_reply(status, HTTPStatus(status).phrase, headers)

    async def answer(self, _request: Request) -> Reply:
        """Refuse the request."""
        return self._reply


_NOT_FOUND = _Refusal(404)


class _Plain:
    """A page for operators. It is not measured, and no fault applies to it."""

    def __init__(self, context: Context, answer: Callable[[Context], Awaitable[Reply]]) -> None:
        self._context = context
        self._answer = answer

    async def answer(self, _request: Request) -> Reply:
        """Answer one request."""
        return await self._answer(self._context)


async def _refresh_rollup(context: Context) -> None:
    """Update the sums every few seconds; one instance at a time does this for all."""
    while True:
        await asyncio.sleep(_ROLLUP_SECONDS)
        # Ignore failures of the database here: requests that need it report them.
        with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError, PoolTimeoutError):
            await context.pool.value("SELECT api.refresh_rollup()")


async def _trim_pool(context: Context) -> None:
    """Close surplus database connections from time to time."""
    while True:
        await asyncio.sleep(_TRIM_SECONDS)
        await context.pool.trim()


async def _receive_logouts(context: Context) -> None:
    while True:
        with contextlib.suppress(CacheError):
            async for log_in in context.cache.messages(auth.ENDED):
                context.tokens.end(log_in)
        await asyncio.sleep(0.5)


async def _healthz(_context: Context) -> Reply:
    """Report that the process answers, and its clock: see `clock` in environments/README.md."""
    return Reply(b'{"status":"ok","time":%.6f}' % time.time())


async def _readyz(context: Context) -> Reply:
    checks = {
        "database": await _is_available(context.pool.value("SELECT true")),
        "cache": await _is_available(context.cache.ping()),
    }
    ready = all(checks.values())
    facts = {"ready": ready, "instance": context.config.name, "version": VERSION, "checks": checks}
    return json_reply(facts, 200 if ready else 503)


async def _is_available(check: Awaitable[object]) -> bool:
    try:
        async with asyncio.timeout(1.0):
            await check
    except (
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
        CacheError,
        PoolTimeoutError,
        OSError,
        TimeoutError,
    ):
        return False
    return True


async def _metrics(context: Context) -> Reply:
    return Reply(context.telemetry.text().encode(), content_type=b"text/plain; version=0.0.4; charset=utf-8")
