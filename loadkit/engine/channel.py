"""The interface between workers and their starting process: reports and stop messages.

`loadkit.engine.local_channel` connects processes of one machine. Another channel may connect
machines.
"""

from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from loadkit.clock import Clock
from loadkit.recording.recorder import Report

__all__ = ["Channel", "Disconnected", "Endpoint"]


@dataclass(frozen=True, slots=True)
class Disconnected:
    """A worker sends no more reports."""

    worker: int
    is_done: bool
    """Did it announce its end? If not, it died."""


class Endpoint(Protocol):
    """The worker's side; picklable, and opened and closed in the worker's process."""

    def __enter__(self) -> Self:
        """Connect."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect after all reports are sent."""
        ...

    def __call__(self, report: Report) -> bool:
        """Queue a report without waiting. Return whether to continue."""
        ...

    def clock_offset(self, clock: Clock) -> float:
        """Seconds by which `clock` was ahead of the starting process's clock at the connect."""
        ...


class Channel(Protocol):
    """The side of the process that starts the workers; a context manager."""

    def __enter__(self) -> Self:
        """Accept workers."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Accept no more workers; after an error, tell the connected ones to stop."""
        ...

    def endpoint(self, worker: int) -> Endpoint:
        """The endpoint of one worker, to be sent to it."""
        ...

    def next(self, timeout: float) -> Report | Disconnected | None:
        """The next message from any worker; None if none arrives for `timeout` seconds."""
        ...

    @property
    def is_drained(self) -> bool:
        """Has `next` returned all messages of the workers that have connected so far?"""
        ...

    def stop(self) -> None:
        """Tell all workers to stop."""
        ...

    def kill(self) -> None:
        """Kill the workers if they do not stop."""
        ...
