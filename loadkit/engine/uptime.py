"""Probes each protocol of the service during the load: HTTP, WebSocket, the database.

Uptime is a fact of the run: the share of the probes that were answered. Twenty probes per second
and protocol measure the length of an outage with a resolution of a twentieth of a second.
"""

import asyncio
import math
import threading
import time
from collections.abc import Callable, Collection, Coroutine, Mapping
from dataclasses import replace
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from string import punctuation
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar
from urllib.parse import quote, urlsplit

import uvloop

from loadkit.clock import MonotonicClock
from loadkit.drivers.base import TransportError
from loadkit.drivers.tls import context_of
from loadkit.errors import UnreachableError
from loadkit.recording.recorder import Recorder
from loadkit.recording.run import DATABASE, HTTP, PROBED_AT, WEBSOCKET
from loadkit.target import Target
from loadkit.users.meter import Meter
from loadkit.users.pacer import LoopAlarm, Pacer
from loadkit.workload.workload import Think

if TYPE_CHECKING:
    from loadkit.drivers.http.driver import HttpSession

_Result = TypeVar("_Result")

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
"""Maximum seconds between two checks whether the run is over."""
_SHORTEST = 0.001
"""The shortest wait, in seconds.

uvloop's timers may fire a millisecond early, and the remaining wait is rounded to zero. Without
this minimum, the loop would spin until the moment is reached."""
_ASKS_FOR_CREDENTIALS = frozenset({"status 401", "status 403"})
"""The failures of a handshake if the service is up and requires credentials."""
_NORMAL_CLOSURE = 1000
"""The close code of a normal closure: RFC 6455, section 7.4.1."""
_MOST_RECEIVED = 1 << 20
"""Maximum bytes of a message that a service may send to a probe. The probe reads no messages."""
_APPLICATION = "loadkit"
"""The application name, which identifies the suite's connections in the server's statistics."""
_FIRST_TIMEOUT = 5.0
"""Seconds that the service may take to answer before the load."""


def require_answer(target: Target) -> None:
    """Check that a target answers and is ready.

    Raises:
        UnreachableError: it does not answer, or is not ready.

    """
    try:
        status = _status(target, target.ready or "/")
    except (HTTPException, OSError, UnicodeError) as error:  # UnicodeError: an invalid host name
        why = str(error) or type(error).__name__
        raise UnreachableError(f"{target.base} does not answer: {why}") from None
    if target.ready and not 200 <= status < 300:
        raise UnreachableError(f"{target.base}{target.ready} returned {status}: the service is not ready")


def _status(target: Target, path: str) -> int:
    """The status of the service's answer to a GET request.

    It uses the standard library's client, so that no load waits for the import of httpx.
    """
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
    """The quoted path of a request; `path` is relative to the base address."""
    return quote(urlsplit(target.base).path + path, safe=punctuation)


class Probe(Protocol):
    """Checks whether one protocol of the service is up. Several calls may run concurrently.

    The caller limits the time of a call.
    """

    async def is_up(self) -> bool:
        """Is the protocol up? An error of the service means that it is not.

        Raises:
            OSError, TimeoutError: the service did not answer.

        """
        ...

    async def close(self) -> None:
        """Release its connection."""
        ...


class _HttpProbe:
    """Requests the readiness path; any status of 200 to 299 is up.

    It keeps one connection of the load kit's own client. These probes take 0.6 % of a core; probes
    with httpx took 4.4 %. While a probe waits for an answer, each further probe opens its own
    connection.
    """

    def __init__(self, target: Target) -> None:
        from loadkit.drivers.http.driver import HttpDriver
        from loadkit.drivers.http.headers import RequestHeaders

        self._driver = HttpDriver(_without_timeouts(target))
        self._path = quote(target.ready, safe=punctuation)
        self._headers = RequestHeaders({"user-agent": _APPLICATION, "accept": "*/*"})
        self._session: HttpSession | None = self._driver.session()
        """The kept connection; None while a probe uses it."""

    async def is_up(self) -> bool:
        session, self._session = self._session, None
        if session is None:
            session = self._driver.session()
        has_answered = False
        try:
            # The session reconnects if the service has closed the connection meanwhile.
            answer = await session.request(
                "GET", self._path, self._headers, b"", None, time.monotonic() + _FIRST_TIMEOUT
            )
            has_answered = True
        except TransportError:
            return False
        finally:
            if has_answered and self._session is None:
                self._session = session
            else:
                session.close()
        return 200 <= answer.status_code < 300

    async def close(self) -> None:
        if self._session is not None:
            self._session.close()


class _WebSocketProbe:
    """Opens a connection and closes it. A handshake that requires credentials (401, 403) is up.

    Each probe has its own connection, like each user. A redirect is down, as for users.
    """

    def __init__(self, target: Target) -> None:
        from loadkit.drivers.websocket.driver import WebSocketDriver
        from loadkit.drivers.websocket.exchanges import NOWHERE
        from loadkit.drivers.websocket.handshake import Handshake
        from loadkit.drivers.websocket.keepalive import Keepalive
        from loadkit.drivers.websocket.record import ConnectionRecord

        self._driver = WebSocketDriver(_without_timeouts(target))
        self._handshake = Handshake(
            target.websocket_ready,
            headers={"user-agent": _APPLICATION},
            subprotocols=(),
            is_compressed=False,
            max_size=_MOST_RECEIVED,
            max_frame=None,
            keepalive=Keepalive(every=math.inf, timeout=math.inf),
        )
        clock = MonotonicClock()
        self._pacer = Pacer(clock, LoopAlarm)
        # A probe is not a user. Its meter never starts, so nothing is recorded.
        meter = Meter(
            Recorder(0, clock.now()).population(""),
            clock,
            self._pacer,
            think=Think(),
            seed="",
            timeout=_FIRST_TIMEOUT,
        )
        self._record = partial(ConnectionRecord, meter, "", self._driver.exchange_format, NOWHERE)

    async def is_up(self) -> bool:
        try:
            connection = await self._driver.connect(
                self._handshake, self._record(), time.monotonic() + _FIRST_TIMEOUT
            )
        except TransportError as failure:
            return failure.kind in _ASKS_FOR_CREDENTIALS
        try:
            connection.close(_NORMAL_CLOSURE)
            await connection.lost()
        finally:
            connection.leave()
        return True

    async def close(self) -> None:
        self._pacer.close()


class _DatabaseProbe:
    """Executes a query without a table.

    It keeps one connection, and reconnects after a loss. While a probe waits for an answer, each
    further probe opens its own connection, so no probe waits for another.
    """

    def __init__(self, target: Target) -> None:
        self._address = target.database
        self._connection: Any = None
        """The kept connection; None while a probe uses it."""

    async def is_up(self) -> bool:
        import asyncpg

        connection, self._connection = self._connection, None
        has_answered = False
        try:
            if connection is None:
                connection = await asyncpg.connect(
                    self._address.reveal(), statement_cache_size=0,
                    server_settings={"application_name": _APPLICATION},
                )  # fmt: skip
            await connection.execute("SELECT 1")
            has_answered = True
        except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
            return False
        finally:
            if has_answered and self._connection is None:
                self._connection = connection
            elif connection is not None:
                connection.terminate()
        return True

    async def close(self) -> None:
        if self._connection is not None:
            self._connection.terminate()


def _without_timeouts(target: Target) -> Target:
    """The target without its own time-outs, because one time-out covers the whole probe."""
    return replace(target, connect_timeout=math.inf, read_timeout=math.inf)


def _executed(coroutine: Coroutine[Any, Any, _Result]) -> _Result:
    """Run a coroutine on a new loop, and return its result. uvloop takes less processor time."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(coroutine)


def probes_of(target: Target, uses: Collection[str]) -> dict[str, Callable[[], Probe]]:
    """The functions that create the probes of a run, by protocol.

    Args:
        target: the service; a protocol without an address to probe has no probe.
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
    """Probe each protocol once before the load, because a wrong path would always be down.

    Raises:
        UnreachableError: a protocol is not up.

    """
    for name, make in probes.items():
        if not _executed(_probe_once(make)):
            raise UnreachableError(
                f"{name} does not answer a probe before the load; check the key {PROBED_AT[name]} of the "
                "environment file"
            )


async def _probe_once(make: Callable[[], Probe]) -> bool:
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

    A probe is sent when it is due, even if earlier probes are unanswered, as in an open load. So
    the number of failed probes is proportional to the length of an outage.
    """

    def __init__(self, probes: Mapping[str, Callable[[], Probe]], started: float) -> None:
        self._makers = probes
        self._started = started
        """The run's start instant, in Unix seconds."""
        self._clock = MonotonicClock()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=lambda: _executed(self._probe()), daemon=True)
        self._answered: dict[str, list[tuple[float, bool]]] = {name: [] for name in probes}

    def answered(self, protocol: str) -> list[tuple[float, bool]]:
        """The probes of a protocol in order of time: seconds since the start, and if it was up."""
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
            if (wait := self._started + due - self._clock.unix_now()) > 0:
                await asyncio.sleep(min(max(wait, _SHORTEST), _LOOK))
                continue
            for name, probe in probes.items():
                task = asyncio.create_task(self._ask(name, probe, due))
                open_ones.add(task)
                task.add_done_callback(open_ones.discard)
            # If this machine was late, the missed probes are not sent later.
            number = max(number + 1, math.ceil((self._clock.unix_now() - self._started) / INTERVAL - 1e-6))
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
