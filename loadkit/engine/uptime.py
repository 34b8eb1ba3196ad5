"""Probes the service's readiness once a second during the load."""

import threading
import time
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from string import punctuation
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlsplit

from loadkit.drivers.tls import context_of
from loadkit.errors import UnreachableError
from loadkit.target import Target

__all__ = ["Probes", "http_connection", "request_path", "require_answer"]

_INTERVAL = 1.0
"""Seconds between probes, and time-out of a probe."""
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


class Probes:
    """Requests the readiness address once a second while open; does nothing without one."""

    def __init__(self, target: Target, started: float) -> None:
        self._target = target
        self._started = started
        """The run's start instant, in Unix seconds."""
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._probe, daemon=True)
        self.answered: list[tuple[float, bool]] = []
        """Seconds since the start, and whether the probe succeeded."""

    def __enter__(self) -> Self:
        if self._target.ready:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        if self._target.ready:
            self._thread.join()

    def _probe(self) -> None:
        import httpx  # it keeps its connection, and finds out when the service has closed it

        due = self._started
        # The proxies of the machine's environment have no part in what is measured.
        with httpx.Client(timeout=_INTERVAL, trust_env=False, verify=context_of(self._target)) as client:
            while not self._is_over.wait(max(due - time.time(), 0.0)):
                try:
                    is_up = client.get(self._target.base + self._target.ready).is_success
                except httpx.HTTPError:
                    is_up = False
                self.answered.append((due - self._started, is_up))
                due = max(due + _INTERVAL, time.time())
