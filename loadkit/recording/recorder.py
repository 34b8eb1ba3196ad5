"""One worker's record of its load: it takes samples and produces a report each second."""

import gc
import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from loadkit.criterion import OTHERS_DATA
from loadkit.recording.exact import compared, to_compare
from loadkit.recording.examples import Example, ExampleLog
from loadkit.recording.labels import (
    MOST_JOURNEY_ERRORS,
    MOST_OUTCOMES,
    OTHER_FAILURES,
    OTHER_JOURNEY_ERRORS,
    LabelLimit,
)
from loadkit.recording.messages import (
    BYTES_RECEIVED,
    CONNECTIONS,
    CREATED_BEFORE,
    EARLIEST,
    EARLY,
    LEAST_CONNECTIONS,
    MESSAGES_RECEIVED,
    MESSAGES_SEARCHED,
    UNREADABLE,
    MessageLog,
    take,
)
from loadkit.recording.sample import Sample
from loadkit.recording.slices import Kind, SliceTable, worker_series
from loadkit.recording.stalls import CompletionLog, IdleInterval
from loadkit.recording.timing import REQUEST, Timing
from loadkit.recording.worker_second import (
    BLOCKED,
    DROPPED,
    HELD,
    HTTPX_REQUESTS,
    IN_FLIGHT,
    JOURNEY_ERROR,
    JOURNEYS,
    MET_ERROR,
    OUT_OF_DESCRIPTORS,
    SCHEDULED,
    SENT,
    USERS,
    WHOLE_WORKER,
    WITH_ERRORS,
    WorkerSecond,
)
from loadkit.recording.writes import NO_WRITES, Writes
from loadkit.workload.schedule import ROUNDING

__all__ = ["CHUNK", "PopulationRecorder", "Recorder", "Report", "TimingRecorder"]

CHUNK = 500
"""Samples counted in one step. They are few enough to block the event loop for less than a
millisecond."""
_MESSAGES = 2000
"""Messages counted in one step, over all logs, for the same reason."""
_TRACES = 1
"""Requests per population and second for which one worker asks the service to record a trace."""
_PROMPT = 0.1
"""Seconds of delay up to which a user that joins at the start of a second counts for the whole
second."""


@dataclass(frozen=True, slots=True)
class Report:
    """One worker's results of one second."""

    worker: int
    table: SliceTable
    """Everything counted since the previous report."""
    worker_second: WorkerSecond
    idle_intervals: tuple[IdleInterval, ...] = ()
    examples: tuple[Example, ...] = ()
    writes: Writes = NO_WRITES
    """The writes whose outcome became known since the previous report."""


class TimingRecorder:
    """The samples of one timing in one population. Adding a sample costs one list append."""

    __slots__ = ("_logs", "completions", "retracted", "samples", "slow_from", "timing")

    def __init__(self, timing: Timing, completions: CompletionLog, slow_from: Mapping[str, float]) -> None:
        self.timing = timing
        self.slow_from = slow_from
        """See `ExampleLog.slow_from`."""
        self.samples: list[Sample] = []
        self._logs: dict[tuple[str, str, str], MessageLog] = {}
        self.retracted: list[Sample] = []
        """Samples that were counted before and turned out to be wrong."""
        self.completions = completions

    def messages(self, label: str, tenant: str = "", region: str = "") -> MessageLog:
        """The log of the messages of a label, tenant and region, created on first use."""
        found = self._logs.get((label, tenant, region))
        if found is None:
            found = self._logs[label, tenant, region] = MessageLog(label, tenant, region)
        return found

    @property
    def logs(self) -> Iterator[MessageLog]:
        """The logs of all messages."""
        return iter(self._logs.values())

    @property
    def waiting_messages(self) -> int:
        """Messages of all logs that wait to be counted."""
        return sum([len(log.columns) for log in self._logs.values()]) // 3

    def correct(self, sample: Sample, corrected: Sample) -> None:
        """Replace a sample that was added before, even if it was already counted or reported."""
        samples = self.samples
        for place in reversed(range(len(samples))):
            if samples[place] is sample:
                samples[place] = corrected
                return
        self.retracted.append(sample)
        samples.append(corrected)


class PopulationRecorder:
    """One worker's record of one population.

    The attributes are public because the hot path updates them directly.
    """

    __slots__ = (
        "_clock",
        "_journey_errors",
        "_least_held",
        "_timings",
        "blocked",
        "bytes_received",
        "counts",
        "drawn",
        "dropped",
        "examples",
        "gauges",
        "held",
        "httpx_requests",
        "journeys",
        "messages_received",
        "messages_searched",
        "name",
        "not_searched",
        "out_of_descriptors",
        "requests",
        "scheduled",
        "searched",
        "sent",
        "traces_due",
        "users",
    )

    def __init__(self, name: str, clock: "_Seconds", journey_errors: LabelLimit) -> None:
        self.name = name
        self._journey_errors = journey_errors
        self._clock = clock
        self._timings: dict[str, TimingRecorder] = {}
        self.examples = ExampleLog()
        self.requests = self.timing(REQUEST)
        """The recorder of response times. It saves the hot path a look-up in `timing`."""
        self.held = self._least_held = 0
        self.scheduled = self.sent = self.blocked = self.dropped = 0
        self.out_of_descriptors = self.httpx_requests = self.users = self.journeys = 0
        self.searched = self.not_searched = 0
        """Answers that were searched for other tenants' data, and answers that could not be searched
        although they had to be."""
        self.bytes_received = self.messages_received = self.messages_searched = 0
        self.counts: Counter[str] = Counter()
        """Further counts of the second, by name; drivers add to them."""
        self.drawn: defaultdict[str, list[float]] = defaultdict(list)
        """Values that users drew at random, by series (`loadkit.recording.draws`)."""
        self.gauges: dict[str, float] = {}
        """Further gauges, by name; each keeps its value until it is set again."""
        self.traces_due = _TRACES
        """Requests of this second that must still ask the service for a trace."""

    @property
    def origin(self) -> float:
        """The run's start instant on the clock of the samples."""
        return self._clock.origin

    def timing(self, timing: Timing) -> TimingRecorder:
        """The recorder of a timing, created on first use."""
        found = self._timings.get(timing.key)
        if found is None:
            log = CompletionLog(self._clock.origin, self.name, timing.key)
            slow_from = self.examples.slow_from(timing)
            found = self._timings[timing.key] = TimingRecorder(timing, log, slow_from)
        return found

    @property
    def timings(self) -> Iterator[TimingRecorder]:
        """The recorders of all timings."""
        return iter(self._timings.values())

    @property
    def in_flight(self) -> int:
        """Operations that wait for an answer."""
        return sum(each.completions.in_flight for each in self._timings.values())

    def cut(self, due: int = 0) -> None:
        """Make the last report state the operations that have no answer now and are not recorded.

        `due`: arrivals that wait for a user.
        """
        self.gauges[IN_FLIGHT] = float(self.in_flight + due)

    def joined(self, join: float, now: float) -> None:
        """Note that a user joined at `now`; its planned time was `join`."""
        self.held += 1
        if join <= self._clock.begin + ROUNDING and now - join < _PROMPT:
            self._least_held += 1  # it joined at the second's start, so it was present throughout

    def left(self, leave: float) -> None:
        """Note that a user has left; its planned time was `leave`."""
        self.held -= 1
        if leave < self._clock.begin + 1 - ROUNDING:
            self._least_held = min(self._least_held, self.held)

    def journey_failed(self, error: str, met: set[str]) -> None:
        """Count an error in the code of a journey.

        Args:
            error: a sentence that names the error.
            met: the errors that the user has met before; this error is added.

        """
        error = self._journey_errors.admit(error)
        self.counts[JOURNEY_ERROR + error] += 1
        if error not in met:
            self.counts[MET_ERROR + error] += 1
            self.counts[WITH_ERRORS] += not met
            met.add(error)

    def second(self) -> tuple[dict[str, int], dict[str, float]]:
        """Return the counts and gauges of the ending second, and reset them for the next."""
        counts = {
            SCHEDULED: self.scheduled,
            SENT: self.sent,
            BLOCKED: self.blocked,
            DROPPED: self.dropped,
            OUT_OF_DESCRIPTORS: self.out_of_descriptors,
            HTTPX_REQUESTS: self.httpx_requests,
            USERS: self.users,
            JOURNEYS: self.journeys,
            compared(OTHERS_DATA): self.searched,
            to_compare(OTHERS_DATA): self.searched + self.not_searched,
            BYTES_RECEIVED: self.bytes_received,
            MESSAGES_RECEIVED: self.messages_received,
            MESSAGES_SEARCHED: self.messages_searched,
            **self.counts,
        }
        gauges = {HELD: float(self._least_held), IN_FLIGHT: float(self.in_flight), **self.gauges}
        self.counts.clear()
        if CONNECTIONS in self.gauges:
            self.gauges[LEAST_CONNECTIONS] = self.gauges[CONNECTIONS]
        self._least_held = self.held
        self.traces_due = _TRACES
        self.scheduled = self.sent = self.blocked = self.dropped = 0
        self.out_of_descriptors = self.httpx_requests = self.users = self.journeys = 0
        self.searched = self.not_searched = 0
        self.bytes_received = self.messages_received = self.messages_searched = 0
        return {name: count for name, count in counts.items() if count}, gauges


def _resident_bytes() -> int:
    """Resident memory of this process, as Linux reports it (proc(5)).

    psutil is not used, because its import takes a tenth of a worker's start.
    """
    _, resident, *_ = Path("/proc/self/statm").read_bytes().split()
    return int(resident) * os.sysconf("SC_PAGE_SIZE")


@dataclass(slots=True)
class _Seconds:
    """The current second."""

    origin: float
    """The run's start instant on the clock of the samples."""
    number: int = 0

    @property
    def begin(self) -> float:
        """The start of the second, on the clock of the samples."""
        return self.origin + self.number


class Recorder:
    """One worker's record of its populations, its event loop and its process."""

    __slots__ = (
        "_clock",
        "_counts_populations",
        "_cpu",
        "_gc_began",
        "_journey_errors",
        "_labels",
        "_lags",
        "_longest_pause",
        "_memory",
        "_outcomes",
        "_populations",
        "_series",
        "_table",
        "clock_offset",
        "worker",
    )

    def __init__(
        self, worker: int, origin: float, clock_offset: float = 0.0, *, counts_populations: bool = False
    ) -> None:
        """Begin a record.

        Args:
            worker: the worker's number.
            origin: the run's start instant on the clock of the samples.
            clock_offset: seconds by which that clock is ahead of the clock of the process that
                started the worker.
            counts_populations: also count samples by population. A single population needs no
                second count.

        """
        self.worker = worker
        self.clock_offset = clock_offset
        self._clock = _Seconds(origin)
        self._counts_populations = counts_populations
        self._series = worker_series(worker)
        self._populations: dict[str, PopulationRecorder] = {}
        self._labels = LabelLimit()
        self._outcomes = LabelLimit(MOST_OUTCOMES, OTHER_FAILURES)
        self._journey_errors = LabelLimit(MOST_JOURNEY_ERRORS, OTHER_JOURNEY_ERRORS)
        self._lags: list[tuple[float, float]] = []
        self._table = SliceTable()
        self._longest_pause = 0.0
        self._gc_began = 0.0
        self._cpu = time.process_time()
        self._memory = 0
        self._measure_memory()

    def _measure_memory(self) -> None:
        with suppress(OSError):  # it is read from a file, and users may hold the last free descriptor
            self._memory = _resident_bytes()

    def population(self, name: str) -> PopulationRecorder:
        """The recorder of a population, created on first use."""
        found = self._populations.get(name)
        if found is None:
            found = PopulationRecorder(name, self._clock, self._journey_errors)
            self._populations[name] = found
        return found

    # --- events

    def lag(self, now: float, seconds: float) -> None:
        """Note that the event loop woke `seconds` late."""
        self._lags.append((now, seconds))

    def watch_collector(self) -> None:
        """Start to time the pauses of the garbage collector."""
        gc.callbacks.append(self._collected)

    def unwatch_collector(self) -> None:
        """Stop timing the garbage collector."""
        gc.callbacks.remove(self._collected)

    def _collected(self, phase: str, _info: dict[str, Any]) -> None:
        now = time.perf_counter()
        if phase == "start":
            self._gc_began = now
        else:
            self._longest_pause = max(self._longest_pause, now - self._gc_began)

    # --- counting

    def count_full_chunks(self) -> bool:
        """Count the full chunks of samples, and one chunk of messages. Were there any?"""
        has_counted = False
        for population in self._populations.values():
            for timing in population.timings:
                while len(timing.samples) >= CHUNK:
                    self._count_chunk(population, timing, timing.samples)
                    has_counted = True
                if timing.waiting_messages >= _MESSAGES:
                    # One chunk per call: the rest waits for the next call, which comes soon.
                    self._count_messages(population, timing)
                    has_counted = True
        return has_counted

    def _count_messages(self, population: PopulationRecorder, timing: TimingRecorder) -> None:
        messages, owners, logs = take(timing.logs, _MESSAGES)
        is_finite = np.isfinite(messages[:, 0])
        if not is_finite.all():
            population.counts[UNREADABLE] += int(np.count_nonzero(~is_finite))
            messages, owners = messages[is_finite], owners[is_finite]
        if before := int(np.count_nonzero(messages[:, 0] < self._clock.origin)):
            population.counts[CREATED_BEFORE] += before
        is_early = messages[:, 0] > messages[:, 1]
        if is_early.any():
            population.counts[EARLY] += int(np.count_nonzero(is_early))
            most = float((messages[:, 0] - messages[:, 1]).max())
            population.gauges[EARLIEST] = max(most, population.gauges.get(EARLIEST, 0.0))
            messages[is_early, 0] = messages[is_early, 1]
        self._table.record_messages(
            messages,
            owners,
            logs,
            timing=timing.timing,
            origin=self._clock.origin,
            population=population.name if self._counts_populations else "",
            admit=self._labels.admit,
        )

    def _count_chunk(
        self,
        population: PopulationRecorder,
        timing: TimingRecorder,
        samples: list[Sample],
        *,
        are_retracted: bool = False,
    ) -> None:
        chunk = samples[:CHUNK]
        del samples[:CHUNK]
        self._table.record(
            chunk,
            self._clock.origin,
            self.worker,
            timing=timing.timing,
            population=population.name if self._counts_populations else "",
            admit=self._labels.admit,
            admit_outcome=self._outcomes.admit,
            are_retracted=are_retracted,
        )

    def end(self, now: float) -> None:
        """End the completion logs, before the last report."""
        for population in self._populations.values():
            for timing in population.timings:
                timing.completions.end(now)

    def report(self, gauges: Mapping[str, float] | None = None, writes: Writes = NO_WRITES) -> Report:
        """Return everything since the previous report, and begin the next second.

        Args:
            gauges: gauges of the worker as a whole, by name.
            writes: the writes whose outcome became known.

        """
        for population in self._populations.values():
            for timing in population.timings:
                while timing.samples:
                    self._count_chunk(population, timing, timing.samples)
                while timing.retracted:
                    self._count_chunk(population, timing, timing.retracted, are_retracted=True)
                while timing.waiting_messages:
                    self._count_messages(population, timing)
            for series, values in population.drawn.items():
                if values:
                    self._table.count(Kind.DRAWN, series, np.zeros(len(values)), np.array(values))
                    values.clear()
        if self._lags:
            moments, lags = np.array(self._lags, np.float64).T
            self._table.count(Kind.LAG, self._series, moments - self._clock.origin, lags)
            self._lags.clear()
        cpu = time.process_time()
        self._measure_memory()
        seconds = {name: population.second() for name, population in self._populations.items()}
        worker_second = WorkerSecond(
            worker=self.worker,
            second=self._clock.number,
            cpu_seconds=cpu - self._cpu,
            longest_pause=self._longest_pause,
            memory_bytes=self._memory,
            clock_offset=self.clock_offset,
            counts={name: counts for name, (counts, _) in seconds.items() if counts},
            gauges={name: held for name, (_, held) in seconds.items()}
            | ({WHOLE_WORKER: dict(gauges)} if gauges else {}),
        )
        idle = tuple(
            interval.since(self._clock.origin)
            for population in self._populations.values()
            for timing in population.timings
            for interval in timing.completions.drain()
        )
        examples = tuple(
            example for population in self._populations.values() for example in population.examples.drain()
        )
        report = Report(self.worker, self._table, worker_second, idle, examples, writes)
        self._table = SliceTable()
        self._cpu = cpu
        self._clock.number += 1
        self._longest_pause = 0.0
        return report
