"""One worker's record of its load: samples in, once a second a report out."""

import gc
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil

from loadkit.recording.sample import Sample
from loadkit.recording.slices import Kind, SliceTable, WorkerSecond, worker_series
from loadkit.recording.stalls import CompletionLog, IdleInterval

__all__ = ["CHUNK", "Recorder", "Report"]

CHUNK = 500
"""Samples that are counted at once: few enough that the event loop stands still for less than a millisecond."""
_PROMPT = 0.1
"""Seconds within which a user who joins at a second's beginning joins in time."""


@dataclass(frozen=True, slots=True)
class Report:
    """What one worker saw in one second."""

    worker: int
    table: SliceTable
    """What was counted since the report before."""
    worker_second: WorkerSecond
    idle_intervals: tuple[IdleInterval, ...] = ()


class Recorder:
    """Takes samples as they come, at the price of a list's append, and counts them in chunks.

    The attributes are public because the hot path adds to them where it stands.
    """

    __slots__ = (
        "_cpu",
        "_gc_began",
        "_lags",
        "_least_held",
        "_longest_pause",
        "_memory",
        "_origin",
        "_process",
        "_second",
        "_series",
        "_table",
        "blocked",
        "httpx_requests",
        "clock_offset",
        "dropped",
        "held",
        "completion_log",
        "samples",
        "scheduled",
        "sent",
        "out_of_descriptors",
        "worker",
    )

    def __init__(self, worker: int, origin: float, clock_offset: float = 0.0) -> None:
        self.worker = worker
        self.clock_offset = clock_offset
        self._origin = origin
        """The run's start instant on the clock of the samples."""
        self._series = worker_series(worker)
        self.samples: list[Sample] = []
        self._lags: list[tuple[float, float]] = []
        self._table = SliceTable()
        self.completion_log = CompletionLog(since=origin)
        self.held = 0
        self.scheduled = self.sent = self.blocked = self.dropped = self.out_of_descriptors = (
            self.httpx_requests
        ) = 0
        self._second = 0
        self._least_held = 0
        self._longest_pause = 0.0
        self._gc_began = 0.0
        self._cpu = time.process_time()
        self._process = psutil.Process()
        self._memory = int(self._process.memory_info().rss)

    # --- what happens

    def joined(self, join: float, now: float) -> None:
        """A user is there from now on; by plan from `join`."""
        self.held += 1
        if join <= self._origin + self._second and now - join < _PROMPT:
            self._least_held += 1  # it came with the second, so it was there all through it

    def left(self, leave: float) -> None:
        """A user is gone from now on; by plan from `leave`."""
        self.held -= 1
        if leave < self._origin + self._second + 1:
            self._least_held = min(self._least_held, self.held)

    def lag(self, now: float, seconds: float) -> None:
        """The event loop woke `seconds` late."""
        self._lags.append((now, seconds))

    def watch_collector(self) -> None:
        """Time the pauses of the garbage collector from now on."""
        gc.callbacks.append(self._collected)

    def unwatch_collector(self) -> None:
        """Leave the garbage collector alone again."""
        gc.callbacks.remove(self._collected)

    def _collected(self, phase: str, _info: dict[str, Any]) -> None:
        now = time.perf_counter()
        if phase == "start":
            self._gc_began = now
        else:
            self._longest_pause = max(self._longest_pause, now - self._gc_began)

    # --- counting

    def count_full_chunks(self) -> None:
        """Count what has gathered, as long as there is a chunk of it."""
        while len(self.samples) >= CHUNK:
            self._count_chunk()

    def _count_chunk(self) -> None:
        chunk = self.samples[:CHUNK]
        del self.samples[:CHUNK]
        self._table.record(chunk, self._origin, self.worker)

    def report(self) -> Report:
        """All since the report before; the next one is of the next second."""
        while self.samples:
            self._count_chunk()
        if self._lags:
            moments, lags = np.array(self._lags, np.float64).T
            self._table.count(Kind.LAG, self._series, moments - self._origin, lags)
            self._lags.clear()
        cpu = time.process_time()
        with suppress(OSError):  # it is read from a file, and users may have taken the last one
            self._memory = int(self._process.memory_info().rss)
        worker_second = WorkerSecond(
            worker=self.worker,
            second=self._second,
            held=self._least_held,
            in_flight=self.completion_log.in_flight,
            scheduled=self.scheduled,
            sent=self.sent,
            blocked=self.blocked,
            dropped=self.dropped,
            cpu_seconds=cpu - self._cpu,
            longest_pause=self._longest_pause,
            memory_bytes=self._memory,
            out_of_descriptors=self.out_of_descriptors,
            httpx_requests=self.httpx_requests,
            clock_offset=self.clock_offset,
        )
        idle_intervals = tuple(
            IdleInterval(
                completion_log.start - self._origin,
                completion_log.waiting - self._origin,
                completion_log.end - self._origin,
            )
            for completion_log in self.completion_log.drain()
        )
        report = Report(self.worker, self._table, worker_second, idle_intervals)
        self._table = SliceTable()
        self._cpu = cpu
        self._second += 1
        self._least_held = self.held
        self._longest_pause = 0.0
        self.scheduled = self.sent = self.blocked = self.dropped = self.out_of_descriptors = (
            self.httpx_requests
        ) = 0
        return report
