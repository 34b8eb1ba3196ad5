"""The seam between workers and who started them: reports go one way, "stop" goes the other.

`loadkit.engine.local_channel` joins processes of one machine. Another one may join machines.
"""

from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from loadkit.clock import Clock
from loadkit.recording.recorder import Report

__all__ = ["Channel", "Disconnected", "Endpoint"]


@dataclass(frozen=True, slots=True)
class Disconnected:
    """Nothing more comes from a worker."""

    worker: int
    is_done: bool
    """Did it say so before? Else it died."""


class Endpoint(Protocol):
    """The worker's side; it can be pickled, and is opened and closed in the worker's process."""

    def __enter__(self) -> Self:
        """Connect."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect, when all reports are on their way."""
        ...

    def __call__(self, report: Report) -> bool:
        """Hand over a report without waiting. Return whether to go on."""
        ...

    def clock_offset(self, clock: Clock) -> float:
        """By how many seconds a clock is ahead of that of who started the worker, as it was on connecting."""
        ...


class Channel(Protocol):
    """The side of who started the workers; in use as a context."""

    def __enter__(self) -> Self:
        """Let workers connect."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let no more workers connect; after an error, those that did are told to stop."""
        ...

    def endpoint(self, worker: int) -> Endpoint:
        """The side of one worker, to be sent to it."""
        ...

    def next(self, timeout: float) -> Report | Disconnected | None:
        """What comes next from any worker; None where nothing came for `timeout` seconds."""
        ...

    @property
    def is_drained(self) -> bool:
        """Has `next` given all that comes from those workers that have connected so far?"""
        ...

    def stop(self) -> None:
        """Tell all workers to stop."""
        ...

    def kill(self) -> None:
        """End the workers themselves, where they do not stop."""
        ...
