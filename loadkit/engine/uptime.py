"""Probes the service's readiness once a second during the load."""

import threading
import time
from types import TracebackType
from typing import Self

import httpx

from loadkit.drivers.tls import context_of
from loadkit.errors import UnreachableError
from loadkit.target import Target

__all__ = ["Probes", "require_answer"]

_INTERVAL = 1.0
"""Seconds between probes, and time-out of a probe."""
_FIRST_TIMEOUT = 5.0
"""Seconds that the service may take to answer before the load."""


def require_answer(target: Target) -> None:
    """Check that a target answers and is ready.

    Raises:
        UnreachableError: it does not answer, or is not ready.

    """
    with _client(target, _FIRST_TIMEOUT) as client:
        try:
            answer = client.get(target.base + (target.ready or "/"))
        except httpx.HTTPError as error:
            raise UnreachableError(
                f"{target.base} does not answer: {error or type(error).__name__}"
            ) from None
    if target.ready and not answer.is_success:
        raise UnreachableError(
            f"{target.base}{target.ready} returned {answer.status_code}: the service is not ready"
        )


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
        due = self._started
        with _client(self._target, _INTERVAL) as client:
            while not self._is_over.wait(max(due - time.time(), 0.0)):
                try:
                    is_up = client.get(self._target.base + self._target.ready).is_success
                except httpx.HTTPError:
                    is_up = False
                self.answered.append((due - self._started, is_up))
                due = max(due + _INTERVAL, time.time())


def _client(target: Target, timeout: float) -> httpx.Client:
    # Proxies of the machine's environment must not affect the measurement.
    return httpx.Client(timeout=timeout, trust_env=False, verify=context_of(target))
