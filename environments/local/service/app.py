"""The instance's application: its routes and background tasks."""

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Awaitable
from functools import partial

import asyncpg
from redis.exceptions import RedisError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from environments.local.service import admin, auth, dashboard, metrics
from environments.local.service.config import VERSION
from environments.local.service.context import Context
from environments.local.service.database import PoolTimeoutError
from environments.local.service.endpoint import Endpoint, Handler

_ROLLUP_SECONDS = 3.0

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
)


class App:
    """The application; it connects the given resources at start and disconnects them at stop."""

    def __init__(self, context: Context) -> None:
        self._by_path: dict[tuple[str, str], Endpoint] = {}
        routes = []
        for group, method, path, handler, role in ENDPOINTS:
            endpoint = Endpoint(context, handler, group=group, method=method, route=path, role=role)
            self._by_path[method, path] = endpoint
            routes.append(Route(path, endpoint, methods=[method]))
        self._starlette = _make_starlette(context, routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or start and stop with the server."""
        # Most paths have no parameters: one look-up replaces matching patterns in sequence.
        endpoint = self._by_path.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if endpoint is not None:
            scope["path_params"] = {}
            await endpoint(scope, receive, send)
        else:
            await self._starlette(scope, receive, send)


def _make_starlette(context: Context, endpoints: list[Route]) -> Starlette:
    own = [
        Route("/healthz", partial(_healthz, context)),
        Route("/readyz", partial(_readyz, context)),
        Route("/metrics", partial(_metrics, context)),
    ]
    return Starlette(
        routes=[*endpoints, *own],
        exception_handlers={HTTPException: _http_error},
        lifespan=partial(_lifespan, context),
    )


@contextlib.asynccontextmanager
async def _lifespan(context: Context, _app: Starlette) -> AsyncIterator[None]:
    await context.pool.open()
    work = [asyncio.create_task(_refresh_rollup(context)), asyncio.create_task(_receive_logouts(context))]
    gc.collect()
    gc.freeze()  # collections need not visit permanent objects
    yield
    for task in work:
        task.cancel()
    await asyncio.wait(work)
    await context.pool.close()
    await context.cache.close()


async def _refresh_rollup(context: Context) -> None:
    """Update the sums every few seconds; one instance at a time does it for all."""
    while True:
        await asyncio.sleep(_ROLLUP_SECONDS)
        # Requests that need the database report its failures.
        with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError, PoolTimeoutError):
            await context.pool.value("SELECT api.refresh_rollup()")


async def _receive_logouts(context: Context) -> None:
    while True:
        with contextlib.suppress(RedisError, OSError):
            async for log_in in context.cache.messages(auth.ENDED):
                context.tokens.end(log_in)
        await asyncio.sleep(0.5)


async def _healthz(_context: Context, _request: Request) -> Response:
    return PlainTextResponse("ok")


async def _readyz(context: Context, _request: Request) -> Response:
    checks = {
        "database": await _is_available(context.pool.value("SELECT true")),
        "cache": await _is_available(context.cache.ping()),
    }
    ready = all(checks.values())
    facts = {"ready": ready, "instance": context.config.name, "version": VERSION, "checks": checks}
    return JSONResponse(facts, 200 if ready else 503)


async def _is_available(check: Awaitable[object]) -> bool:
    try:
        async with asyncio.timeout(1.0):
            await check
    except (
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
        RedisError,
        PoolTimeoutError,
        OSError,
        TimeoutError,
    ):
        return False
    return True


async def _metrics(context: Context, _request: Request) -> Response:
    return PlainTextResponse(context.telemetry.text(), media_type="text/plain; version=0.0.4")


async def _http_error(_request: Request, error: Exception) -> Response:
    """The answer for a path or a method that does not exist."""
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail, "message": error.detail}, error.status_code, error.headers)
