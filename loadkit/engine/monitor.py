"""Monitors a running load: collects the workers' reports, and ends the load when necessary."""

import math
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from loadkit.clock import Clock, MonotonicClock
from loadkit.engine.channel import Channel, Disconnected
from loadkit.engine.progress import LiveStats, Progress
from loadkit.errors import LoadkitError, one_line
from loadkit.recording.ending import COMPLETE, INTERRUPTED, Ending, EndingKind
from loadkit.recording.examples import Example
from loadkit.recording.recorder import Report
from loadkit.recording.stalls import IdleInterval
from loadkit.recording.worker_second import WorkerSecond
from loadkit.recording.writes import Writes
from loadkit.users.data import NO_ROWS, ROWS_CHANGED, used_up
from loadkit.workload.plan import Plan

__all__ = ["RunMonitor"]

_BROKEN_GRACE = 2.0
"""Seconds to wait for the connection of a dead worker, which identifies the worker."""
_LOOK = 0.25
"""Maximum seconds between two checks of the run. Each check takes CPU time from the load."""
_PATIENCE = 10.0
"""Seconds that workers may take to end after the drain, or after an early end of the load."""
_HALT = 1.0
"""Seconds by which a check that is later shows that this process was halted, and perhaps the whole
machine."""


@dataclass(slots=True)
class RunMonitor:
    """Monitors the workers of one run."""

    plan: Plan
    channel: Channel
    workers: int
    stop: threading.Event
    """Ends the load when set."""
    watch: Callable[[Progress], None] | None
    """Called once a second with the progress."""
    trouble: Callable[[], Ending] = lambda: COMPLETE
    """Returns why the load must end although all workers run; `COMPLETE` if there is no reason."""
    clock: Clock = field(default_factory=MonotonicClock)
    tables: list[bytes] = field(default_factory=list)
    """Packed, so that memory use stays small in long loads."""
    worker_seconds: list[WorkerSecond] = field(default_factory=list)
    idle_intervals: dict[int, list[IdleInterval]] = field(init=False)
    """By worker."""
    examples: list[Example] = field(default_factory=list)
    writes: list[Writes] = field(default_factory=list)
    has_all_reports: bool = False
    """Did each worker report until its end? A worker that died, failed or was stuck did not."""
    warnings: list[str] = field(default_factory=list)
    ended: Ending = COMPLETE
    ended_at: float = field(init=False)
    """When the load ended, in seconds since the start.

    A worker that was stuck or died generates no load after its last report."""
    _reported: dict[int, float] = field(init=False)
    """For each worker that has not announced its end: the end of its last reported second."""
    is_interrupted: bool = False
    """Has Ctrl-C been pressed, or SIGTERM been received?"""
    _started: float = 0.0
    """The start instant in Unix seconds."""
    _broken_at: float = math.inf
    """When the end of a worker process was first detected; infinity if no process ended."""
    _shown: float = 0.0
    """When the progress was last shown."""
    _live_stats: LiveStats = field(init=False)

    def __post_init__(self) -> None:
        self.idle_intervals = {index: [] for index in range(self.workers)}
        self.ended_at = self.plan.seconds
        self._reported = dict.fromkeys(range(self.workers), 0.0)
        self._live_stats = LiveStats(self.plan, self.workers)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let Ctrl-C end the load only; a second Ctrl-C raises `KeyboardInterrupt`.

        SIGTERM has the same effect where its handler is that of Ctrl-C. The signal sets a flag. An
        exception at an arbitrary point could leave workers running without a stop message, or lose
        measurements.
        """
        before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
        if before[signal.SIGINT] is signal.SIG_IGN:
            del before[signal.SIGINT]
        if before[signal.SIGTERM] is not signal.default_int_handler:
            del before[signal.SIGTERM]
        if threading.current_thread() is not threading.main_thread() or not before:
            yield
            return

        def note(_signal: int, _frame: FrameType | None) -> None:
            if self.is_interrupted:
                raise KeyboardInterrupt
            self.is_interrupted = True

        for each in before:
            signal.signal(each, note)
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)
        if self.is_interrupted and self.ended == COMPLETE:
            self.ended = INTERRUPTED  # Ctrl-C came after the load, while actions were undone

    def follow(self, futures: Sequence["Future[None]"], started: float) -> None:
        """Collect the workers' reports until all have ended.

        Args:
            futures: the workers' results.
            started: the start instant in Unix seconds.

        Raises:
            LoadkitError: a worker could not start.

        """
        self._started = self._shown = started
        deadline = started + self.plan.seconds + self.plan.drain + _PATIENCE
        are_stuck, halted = False, 0.0
        while not (all(future.done() for future in futures) and self.channel.is_drained):
            asked = self.clock.unix_now()
            message = self.channel.next(timeout=_LOOK)
            now = self.clock.unix_now()
            if now - asked > _LOOK + _HALT:
                halted += now - asked  # workers of this machine were probably halted too
            self._take(message)
            self._show(now)
            if self.ended == COMPLETE:
                self._end(self._reason(futures, now))
            if self.ended != COMPLETE:
                deadline = min(deadline, started + self.ended_at + _PATIENCE)
            if now > deadline + halted:
                self._end(Ending(EndingKind.WORKERS_STUCK))
                self.channel.kill()
                are_stuck = True
        if self.ended == COMPLETE:
            # A process may die before it connects. Then only its future shows it.
            self._end(self._reason(futures, math.inf))
        # A worker that fails closes its channel normally, but without a last report.
        self.has_all_reports = not self._reported and not any(map(_has_failed, futures))
        if are_stuck:
            self.ended_at = min([self.ended_at, *self._reported.values()])

    def _take(self, message: Report | Disconnected | None) -> None:
        if isinstance(message, Report):
            self.tables.append(message.table.packed())
            self.worker_seconds.append(message.worker_second)
            self._reported[message.worker] = message.worker_second.second + 1.0
            self.idle_intervals[message.worker] += message.idle_intervals
            self.examples += message.examples
            if message.writes:
                self.writes.append(message.writes)
            self._live_stats.add(message)
            for counts in message.worker_second.counts.values():
                for name in counts:
                    if name.startswith(NO_ROWS):
                        self._end(Ending(EndingKind.ROWS_USED_UP, used_up(name.removeprefix(NO_ROWS))))
                    elif name.startswith(ROWS_CHANGED):
                        self._end(Ending(EndingKind.ROWS_CHANGED, name.removeprefix(ROWS_CHANGED)))
        elif isinstance(message, Disconnected) and message.is_done:
            del self._reported[message.worker]
        elif isinstance(message, Disconnected):
            self._end(Ending(EndingKind.WORKER_DIED, f"worker {message.worker}"))
            # It generated no load after its last report. It may have hung long before it died.
            self.ended_at = min(self.ended_at, self._reported.get(message.worker, math.inf))

    def _show(self, now: float) -> None:
        if self.watch is None or now < self._shown + 1.0:
            return
        # Counted from the due time, so that a late check does not delay the next one.
        self._shown = max(self._shown + 1.0, now - _LOOK)
        try:
            self.watch(self._live_stats.progress(now - self._started))
        except Exception as error:
            # The load continues without a live status.
            self.watch = None
            self.warnings.append(f"the progress could not be shown: {one_line(error)}")

    def _reason(self, futures: Sequence["Future[None]"], now: float) -> Ending:
        """The reason to end now; `COMPLETE` if there is none."""
        if self.stop.is_set() or self.is_interrupted:
            return INTERRUPTED
        if (trouble := self.trouble()) != COMPLETE:
            return trouble
        for index, future in enumerate(futures):
            error = future.exception() if future.done() else None
            if isinstance(error, LoadkitError) and now < self._started + 1.0:
                # A worker could not start, so there is no run.
                self.channel.stop()
                error.__cause__ = None
                raise error
            if isinstance(error, BrokenExecutor):
                # All futures fail together when one process dies. Its connection identifies it.
                self._broken_at = min(self._broken_at, now)
                if now < self._broken_at + _BROKEN_GRACE:
                    continue
            if error is not None:
                return Ending(EndingKind.WORKER_FAILED, f"worker {index}: {type(error).__name__}: {error}")
        # In the drain, few operations are left, and most of those hang.
        is_load_on = now < self._started + self.plan.seconds
        failing = self._live_stats.failing if is_load_on and not self.plan.actions else None
        if failing:
            operations, failures = failing
            return Ending(
                EndingKind.EMERGENCY_STOP,
                f"{failures} of {operations} operations failed in the last ten seconds",
            )
        return COMPLETE

    def _end(self, reason: Ending) -> None:
        if self.ended == COMPLETE != reason:
            self.ended = reason
            self.ended_at = min(max(self.clock.unix_now() - self._started, 0.0), self.plan.seconds)
            self.channel.stop()


def _has_failed(future: "Future[None]") -> bool:
    return future.done() and future.exception() is not None
