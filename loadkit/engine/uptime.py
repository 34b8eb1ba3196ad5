"""Probes each protocol of the service during the load: HTTP, WebSocket, the database.

Uptime above 99.9 % needs about 3000 probes that are all answered (rule of three). At twenty per
second and protocol, a load of three minutes is enough.
"""

import asyncio
import math
import threading
import time
from collections.abc import Callable, Collection, Mapping
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from string import punctuation
from types import TracebackType
from typing import Any, Protocol, Self
from urllib.parse import quote, urlsplit, urlunsplit

from loadkit.drivers.tls import context_of
from loadkit.errors import UnreachableError
from loadkit.recording.run import DATABASE, HTTP, PROBED_AT, WEBSOCKET
from loadkit.target import Address, Target

__all__ = [
    "INTERVAL",
    "Probe",
    "Probes",
    "http_connection",
    "probes_of",
    "request_path",
    "require_answer",
    "require_up",
]

INTERVAL = 0.05
"""Seconds between two probes of a protocol."""
_TIMEOUT = 1.0
"""Seconds after which a probe counts as not answered."""
_LOOK = 0.1
"""Seconds after which the probes look whether the run is over."""
_ASKS_FOR_CREDENTIALS = frozenset({401, 403})
_APPLICATION = "loadkit"
"""The application name, by which the server's figures tell the suite's connections apart."""
_FIRST_TIMEOUT = 5.0
"""Seconds that the service may take to answer before the load."""


def require_answer(target: Target) -> None:
    """Check that a target answers and is ready.

    Raises:
        UnreachableError: it does not answer, or is not ready.

    """
    try:
        status = _status(target, target.ready or "/")
    except (HTTPException, OSError, UnicodeError) as error:  # a name of which no host name can be made
        why = str(error) or type(error).__name__
        raise UnreachableError(f"{target.base} does not answer: {why}") from None
    if target.ready and not 200 <= status < 300:
        raise UnreachableError(f"{target.base}{target.ready} returned {status}: the service is not ready")


def _status(target: Target, path: str) -> int:
    """With what a service answers. By the standard library's client: no load waits until httpx is imported."""
    connection = http_connection(target)
    try:
        connection.request("GET", request_path(target, path))
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def http_connection(target: Target) -> HTTPConnection:
    """A connection of the standard library to the base address; it is not open yet."""
    parts = urlsplit(target.base)
    assert parts.hostname is not None
    if parts.scheme == "https":
        return HTTPSConnection(parts.hostname, parts.port, timeout=_FIRST_TIMEOUT, context=context_of(target))
    return HTTPConnection(parts.hostname, parts.port, timeout=_FIRST_TIMEOUT)


def request_path(target: Target, path: str) -> str:
    """A path below the base address, as a request states it."""
    return quote(urlsplit(target.base).path + path, safe=punctuation)


class Probe(Protocol):
    """Asks one protocol of the service whether it is up; several calls may run at once."""

    async def is_up(self) -> bool:
        """Did it answer? Errors of the service are an answer in the negative.

        Raises:
            OSError, TimeoutError: it did not.

        """
        ...

    async def close(self) -> None:
        """Release its connection."""
        ...


class _HttpProbe:
    """Requests the readiness path; any status of 200 to 299 is up."""

    def __init__(self, target: Target) -> None:
        import httpx  # it keeps its connections, and finds out when the service has closed one

        self._url = target.base + target.ready
        # The proxies of the machine's environment have no part in what is measured.
        self._client = httpx.AsyncClient(timeout=_TIMEOUT, trust_env=False, verify=context_of(target))
        self._error = httpx.HTTPError

    async def is_up(self) -> bool:
        try:
            return (await self._client.get(self._url)).is_success
        except self._error:
            return False

    async def close(self) -> None:
        await self._client.aclose()


class _WebSocketProbe:
    """Opens a connection and closes it. A handshake that asks for credentials (401, 403) is up."""

    def __init__(self, target: Target) -> None:
        from websockets.asyncio.client import connect
        from websockets.exceptions import InvalidHandshake, InvalidStatus

        self._connect, self._refused, self._broken = connect, InvalidStatus, InvalidHandshake
        base = (target.websocket or Address(target.base)).reveal()
        parts = urlsplit(base)
        scheme = {"https": "wss", "wss": "wss"}.get(parts.scheme, "ws")
        path = parts.path.rstrip("/") + target.websocket_ready
        self._url = urlunsplit((scheme, parts.netloc, path, parts.query, ""))
        self._tls = context_of(target) if scheme == "wss" else None

    async def is_up(self) -> bool:
        try:
            connection = await self._connect(
                self._url, ssl=self._tls, proxy=None, open_timeout=None, close_timeout=_TIMEOUT
            )
        except self._refused as refusal:
            return refusal.response.status_code in _ASKS_FOR_CREDENTIALS
        except self._broken:
            return False
        await connection.close()
        return True

    async def close(self) -> None:
        """Do nothing: each probe has a connection of its own."""


class _DatabaseProbe:
    """Asks the database over one connection, which is opened again after it was lost."""

    def __init__(self, target: Target) -> None:
        self._address = target.database
        self._connection: Any = None
        self._turn = asyncio.Lock()

    async def is_up(self) -> bool:
        import asyncpg

        async with self._turn:
            try:
                if self._connection is None:
                    self._connection = await asyncpg.connect(
                        self._address.reveal(), statement_cache_size=0,
                        server_settings={"application_name": _APPLICATION},
                    )  # fmt: skip
                await self._connection.execute("SELECT 1")
            except (asyncpg.PostgresError, asyncpg.InterfaceError):
                self._drop()
                return False
            except BaseException:
                self._drop()
                raise
        return True

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def close(self) -> None:
        self._drop()


def probes_of(target: Target, uses: Collection[str]) -> dict[str, Callable[[], Probe]]:
    """What makes the probes of a run, by protocol.

    Args:
        target: the service; a protocol without an address to probe has none.
        uses: the drivers that the run's journeys use: "http", "ws", "db".

    """
    found: dict[str, Callable[[], Probe]] = {}
    if target.ready:
        found[HTTP] = partial(_HttpProbe, target)
    if "ws" in uses and target.websocket_ready:
        found[WEBSOCKET] = partial(_WebSocketProbe, target)
    if "db" in uses and target.database:
        found[DATABASE] = partial(_DatabaseProbe, target)
    return found


def require_up(probes: Mapping[str, Callable[[], Probe]]) -> None:
    """Probe each protocol once, before the load: a wrong path would be down all the time.

    Raises:
        UnreachableError: one is not up.

    """
    for name, make in probes.items():
        if not asyncio.run(_asked_once(make)):
            raise UnreachableError(
                f"{name} does not answer a probe before the load; check the key {PROBED_AT[name]} of the "
                "environment file"
            )


async def _asked_once(make: Callable[[], Probe]) -> bool:
    probe = make()
    try:
        async with asyncio.timeout(_FIRST_TIMEOUT):
            return await probe.is_up()
    except (OSError, TimeoutError):
        return False
    finally:
        await probe.close()


class Probes:
    """Probes each protocol twenty times a second while open.

    A probe is sent when it is due, whether or not those before it were answered. So an outage costs
    as many probes as its length says, as in an open load.
    """

    def __init__(self, probes: Mapping[str, Callable[[], Probe]], started: float) -> None:
        self._makers = probes
        self._started = started
        """The run's start instant, in Unix seconds."""
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._probe()), daemon=True)
        self._answered: dict[str, list[tuple[float, bool]]] = {name: [] for name in probes}

    def answered(self, protocol: str) -> list[tuple[float, bool]]:
        """The probes of a protocol: seconds since the start, and whether it was up; in order of time."""
        return sorted(self._answered.get(protocol, ()))

    def __enter__(self) -> Self:
        if self._makers:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        if self._makers:
            self._thread.join()

    async def _probe(self) -> None:
        probes = {name: make() for name, make in self._makers.items()}
        open_ones: set[asyncio.Task[None]] = set()
        number = 0
        while not self._is_over.is_set():
            due = number * INTERVAL
            if (wait := self._started + due - time.time()) > 0:
                await asyncio.sleep(min(wait, _LOOK))
                continue
            for name, probe in probes.items():
                task = asyncio.create_task(self._ask(name, probe, due))
                open_ones.add(task)
                task.add_done_callback(open_ones.discard)
            # A machine that was late does not make up for the probes that it missed.
            number = max(number + 1, math.ceil((time.time() - self._started) / INTERVAL - 1e-6))
        await asyncio.gather(*open_ones)
        for probe in probes.values():
            await probe.close()

    async def _ask(self, name: str, probe: Probe, due: float) -> None:
        try:
            async with asyncio.timeout(_TIMEOUT):
                is_up = await probe.is_up()
        except (OSError, TimeoutError):
            is_up = False
        self._answered[name].append((due, is_up))
