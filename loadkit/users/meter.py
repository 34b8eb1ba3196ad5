"""Times one user's operations: when the next is due, and the outcome of the last."""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from loadkit.clock import Clock
from loadkit.drivers.masking import also_hiding
from loadkit.recording.draws import think_times_of
from loadkit.recording.examples import DeferredExchange, Example, Exchange
from loadkit.recording.recorder import PopulationRecorder, TimingRecorder
from loadkit.recording.sample import OK, Sample
from loadkit.recording.timing import MESSAGE, REQUEST, Timing
from loadkit.users.arrival_queue import ArrivalQueue
from loadkit.users.pacer import Pacer, on_grid
from loadkit.workload.workload import Think

__all__ = ["JourneyMeter", "Meter", "Operation", "UserFinished", "no_renewal"]


_MOST_FAILED = 100
"""Maximum number of remembered operations of a user that failed after their answer."""
_SHORT_THINK = 0.01
"""Seconds: longer think times end on the pacer's grid, which changes them by less than 5 %."""


async def no_renewal() -> None:
    """Do nothing, for a user that has nothing to renew."""


class UserFinished(BaseException):
    """The user's time is over. Not an `Exception`, so that a journey does not catch it."""


class Meter:
    """Paces and records one user's operations. Moments are seconds on the run's monotonic clock.

    In a closed load an operation is due when the previous one has ended and the think time has
    passed. In an open load it is due when its arrival was due. Clients of protocols read and write
    the public attributes; `drivers.base.Meter` documents them.
    """

    __slots__ = (
        "_failed",
        "_pacer",
        "_queue",
        "_random",
        "_seed",
        "_think",
        "_think_times",
        "began",
        "checks_messages",
        "checks_rows",
        "churn",
        "exchange",
        "free",
        "has_failed",
        "has_thought",
        "idle",
        "intended",
        "is_cut",
        "is_open",
        "is_recorded",
        "is_slow",
        "longest_hold",
        "now",
        "pending",
        "pending_record",
        "recorder",
        "region",
        "renew_if_due",
        "requests",
        "run_id",
        "secrets",
        "sends_until",
        "tenant",
        "timeout",
        "unrecorded_failure",
        "until",
        "user",
    )

    timings: AbstractSet[str] = frozenset()
    """The timings (`Timing.key`) that the current journey recorded; empty in a plain `Meter`."""

    def __init__(
        self,
        recorder: PopulationRecorder,
        clock: Clock,
        pacer: Pacer,
        *,
        think: Think,
        seed: str,
        timeout: float,
        run_id: str = "",
        tenant: str = "",
        region: str = "",
        churn: float = 0.0,
        user: int = 0,
    ) -> None:
        self.recorder = recorder
        self.requests = recorder.requests
        self.now = clock.now
        self.run_id, self.tenant, self.region, self.timeout = run_id, tenant, region, timeout
        self.churn, self.user = churn, user
        self._pacer = pacer
        self._think = think
        self._think_times = recorder.drawn[think_times_of(recorder.name)]
        self._seed = seed
        self._random: random.Random | None = None
        """None until it is used: it takes 3 KB, and users who hold a connection never use it."""
        self._queue: ArrivalQueue | None = None
        self.is_open = self.is_recorded = self.is_cut = False
        self.has_thought = True
        self.has_failed = False
        """Did an operation of the current journey fail, recorded or not?"""
        self.unrecorded_failure = ""
        """The failure of the latest operation, if it failed and is not recorded; else ""."""
        self._failed: list[float] = []
        """Ends of the latest operations that failed after their answer, by a check or the body."""
        self.began = 0.0
        """Intended start of the user's journey."""
        self.intended = self.free = 0.0
        self.idle = 0.0
        """Seconds for which the user has waited for arrivals of requests."""
        self.until = self.sends_until = float("inf")
        """When the user's time is over, and when it may send no more. The second is later for the
        journey of an arrival, which may end in the drain."""
        self.longest_hold = float("inf")
        """Seconds. In the trial, a user who would hold a connection for longer leaves soon."""
        self.pending: Sample | None = None
        self.pending_record = self.requests
        """The recorder of the pending operation."""
        self.is_slow = False
        """Is the pending operation one of the slowest of its label and timing?"""
        self.exchange: DeferredExchange | None = None
        """Details of the latest operation from its client; None if there are none.

        The operation is pending, in flight or not recorded."""
        self.renew_if_due: Callable[[], Awaitable[None]] = no_renewal
        """Renews what expires, such as a token: see `User.renew_after`. The `Lifecycle` sets it."""
        self.checks_messages = self.checks_rows = False
        """Does the user's journey check that each message, or row, belongs to its tenant?"""
        self.secrets: deque[str] | None = None
        """Secret values of the user's latest rows of test data, which no example shows."""

    @property
    def arrival_wait(self) -> float:
        """Seconds for which the current arrival of a journey waited for this user.

        They are 0 after the first recorded operation, which includes them, and in a plain `Meter`.
        """
        return 0.0

    @property
    def random(self) -> random.Random:
        """The random generator of the user's think times and choices."""
        if self._random is None:
            self._random = random.Random(self._seed)
        return self._random

    # --- for clients

    def settle(self) -> None:
        """Add the pending operation to the record; checks can no longer change it.

        The hot path first tests whether an operation is pending, to save a call per answer.
        """
        pending = self.pending
        if pending is not None:
            record = self.pending_record
            if pending.outcome != OK:
                self.has_failed = True
                self.record_example(pending, record.timing, self.exchange)
            elif self.is_slow:
                self.record_example(pending, record.timing, self.exchange)
            record.samples.append(pending)
            self.pending = self.exchange = None

    def described(self, exchange: DeferredExchange) -> Exchange:
        """An exchange in words. A later operation of the client can change what it describes."""
        with also_hiding(self.secrets or ()):
            described: Exchange = exchange[0](*exchange[1:])
        return described

    def record_example(
        self, sample: Sample, timing: Timing = REQUEST, exchange: DeferredExchange | None = None
    ) -> None:
        """Keep an operation as an example of its kind, if more of that kind are wanted.

        Args:
            sample: the operation.
            timing: the kind of its time.
            exchange: its details from the client; None if there are none.

        """
        examples = self.recorder.examples
        if not examples.wants(sample, timing):
            return
        examples.add(
            Example(
                at=sample.intended - self.recorder.origin,
                seconds=sample.end - sample.intended,
                label=sample.label,
                outcome=sample.outcome,
                population=self.recorder.name,
                user=self.user,
                tenant=sample.tenant,
                region=sample.region,
                exchange=Exchange() if exchange is None else self.described(exchange),
                timing=timing.key,
                service=sample.end - sample.sent,
            )
        )

    def count_shortage(self, kind: str) -> None:
        """Count a failure for the generator's health, if the generator had no socket or file left.

        `kind` is from `kind_of`. Unrecorded operations count too, while their user is recorded.
        """
        if self.is_recorded:
            self.recorder.out_of_descriptors += kind == "no socket"

    def turn(self) -> Awaitable[float]:
        """In an open load: wait for an arrival. The result is the moment when it was due."""
        assert self._queue is not None
        self.free = self.now()
        return self._queue.turn()

    def served(self, label: str, timing: Timing = REQUEST) -> None:
        """Note that an arrival has become an operation of this label and timing."""
        if self._queue is not None:
            self._queue.note_operation(label, timing, self.tenant)
            if self.intended > self.free:
                self.idle += self.intended - self.free

    def leave(self) -> None:
        """End the user's journey.

        Raises:
            UserFinished: always.

        """
        raise UserFinished

    async def begin(self, label: str, timing: Timing = REQUEST) -> "Operation":
        """Wait until an operation is due, and record that it is sent now.

        Raises:
            UserFinished: the user's time is over.

        """
        if self.pending is not None:
            self.settle()
        if self.is_open and self.is_recorded:
            self.intended = await self.turn()
        if self.intended >= self.sends_until:
            self.leave()
        self.unrecorded_failure, self.exchange = "", None
        sent = self.now()
        operation = Operation(
            self,
            self.recorder.timing(timing) if self.is_recorded else None,
            label,
            self.intended,
            sent,
            sent - max(self.intended, self.free),
        )
        if operation.record is not None:
            if self.is_open:
                self.served(label, timing)
            else:
                self.recorder.scheduled += 1
            self.recorder.sent += 1
            operation.record.completions.sent(sent)
        self.has_thought = False
        return operation

    def received(
        self, label: str, created: float, at: float, size: int = 0, timing: Timing = MESSAGE
    ) -> None:
        """Record a message that the service sent by itself. It has no arrival and no lateness.

        Args:
            label: the label that counts it.
            created: when the service created it, on the run's clock.
            at: when its last byte arrived.
            size: bytes.
            timing: the kind of time of `at - created`.

        """
        if self.is_recorded:
            self.recorder.timing(timing).messages(label, self.tenant, self.region).add(created, at, size)

    def count(self, name: str, number: int = 1) -> None:
        """Add to a count of the current second, such as "messages lost"."""
        if self.is_recorded:
            self.recorder.counts[name] += number

    def gauge(self, name: str, value: float) -> None:
        """Set a gauge of the user's population."""
        self.recorder.gauges[name] = value

    # --- for the user and the engine

    def check(self, what: str) -> None:
        """Record the last operation as failed, with the outcome "check: `what`".

        Raises:
            RuntimeError: there is no pending operation.

        """
        if not self.is_recorded:
            return
        if self.pending is None:
            raise RuntimeError(f'check "{what}" does not follow an operation')
        self.pending = self.pending._replace(outcome=f"check: {what}")
        self._note_failed(self.pending.end)

    def fail(self, sample: Sample, kind: str) -> bool:
        """Record an operation of this user as failed, however long ago it ended.

        An operation that has already failed keeps its outcome, so it fails only once.

        Args:
            sample: the operation as it was recorded with its answer.
            kind: the outcome: "body is not JSON".

        Returns:
            Is it the pending operation?

        """
        self.has_failed = True
        is_pending = self.pending is not None and self.pending.end == sample.end
        if sample.outcome == OK and not self._has_failed_later(sample.end):
            failed = sample._replace(outcome=kind)
            if is_pending:
                self.pending = failed
            else:
                self.requests.correct(sample, failed)
                self.record_example(failed)
            self._note_failed(sample.end)
        return is_pending

    def _note_failed(self, end: float) -> None:
        self._failed.append(end)
        del self._failed[:-_MOST_FAILED]

    def _has_failed_later(self, end: float) -> bool:
        """Did the operation fail after its answer? It counts as failed if it is too old."""
        failed = self._failed
        return end in failed or (len(failed) == _MOST_FAILED and end < failed[0])

    def pace(self, queue: ArrivalQueue) -> None:
        """Start each further recorded operation when an arrival comes from `queue`."""
        self._queue = queue
        self.is_open = True

    def start(self, intended: float, until: float, sends_until: float | None = None) -> None:
        """Start recording.

        Args:
            intended: when the next operation is due.
            until: when the user's time is over.
            sends_until: all operations start before this moment (default: `until`).

        """
        self.is_recorded = True
        self.intended = intended
        self.free = self.now()
        self.until = until
        self.sends_until = until if sends_until is None else sends_until

    def think(self) -> Awaitable[None] | None:
        """The plan's think time after an answer; None if there is nothing to wait for.

        Returning None saves a coroutine per journey of users without think time.
        """
        if self.pending is not None:
            self.settle()
        self.has_thought = True
        if self.is_open:
            return None
        if not self._think.mean:
            return self.pause()
        seconds = self.think_seconds()
        self.intended += seconds
        if seconds > _SHORT_THINK:
            self.intended = on_grid(self.intended)
        return self.pause()

    def think_seconds(self) -> float:
        """A think time of the plan, without waiting; seconds."""
        think = self._think
        if think.distribution == "uniform":
            seconds = think.low + (think.high - think.low) * self.random.random()
        elif think.distribution == "lognormal":
            seconds = think.lognormal.draw(self.random)
        else:
            seconds = self.random.expovariate(1.0 / think.mean) if think.mean else 0.0
        self._think_times.append(seconds)
        return seconds

    def pause(self) -> Awaitable[None] | None:
        """Wait until the next operation is due; None if it is due now.

        Raises:
            UserFinished: the user's time is over by that moment.

        """
        if self.intended >= self.until:
            raise UserFinished
        return self._pacer.until(self.intended) if self.intended > self.now() else None


class JourneyMeter(Meter):
    """The meter of a user who serves arrivals of journeys. It notes each journey's timings.

    It is a separate class, so that operations of other loads have no extra cost.
    """

    __slots__ = ("timings",)

    timings: set[str]

    @property
    def arrival_wait(self) -> float:
        """See `Meter.arrival_wait`."""
        return max(0.0, self.free - self.intended)

    def start(self, intended: float, until: float, sends_until: float | None = None) -> None:
        """See `Meter.start`; a journey begins."""
        super().start(intended, until, sends_until)
        self.timings = set()

    def settle(self) -> None:
        """See `Meter.settle`."""
        if self.pending is not None:
            self.timings.add(self.pending_record.timing.key)
        super().settle()

    def record_example(
        self, sample: Sample, timing: Timing = REQUEST, exchange: DeferredExchange | None = None
    ) -> None:
        """See `Meter.record_example`. Workflows and operations without an answer are never pending."""
        self.timings.add(timing.key)
        super().record_example(sample, timing, exchange)


@dataclass(slots=True)
class Operation:
    """An operation in flight, for protocols without an optimized client of their own.

    It is a context manager around the code that executes the operation.
    """

    meter: Meter
    record: TimingRecorder | None
    """None if the operation is not recorded."""
    label: str
    intended: float
    sent: float
    lateness: float
    """Seconds of `sent - intended` that the generator itself caused."""
    is_over: bool = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.is_over:
            return
        now = self.meter.now()
        if isinstance(error, asyncio.CancelledError):
            self.meter.intended = self.meter.free = now
            self.meter.has_failed = True
        if self.record is not None:
            self.record.completions.given_up(now)
            if isinstance(error, asyncio.CancelledError) and not self.meter.is_cut:
                # The run ended before an answer arrived, or the journey gave up.
                sample = self._sample("unfinished", now, 0)
                self.record.samples.append(sample)
                self.meter.record_example(sample, self.record.timing, self.meter.exchange)

    def succeeded(self, at: float, size: int = 0) -> None:
        """Record an answer of `size` bytes at `at`. A check may still fail it."""
        self._ended(OK, at, size)
        if self.record is not None:
            self.record.completions.answered(at)

    def failed(self, kind: str, at: float, size: int = 0, *, was_answered: bool = False) -> None:
        """Record a failure of a kind: given up, or answered with a failure if `was_answered`."""
        self._ended(kind, at, size)
        if self.record is not None:
            completions = self.record.completions
            (completions.answered if was_answered else completions.given_up)(at)

    def _ended(self, outcome: str, at: float, size: int) -> None:
        self.is_over = True
        meter = self.meter
        meter.intended = meter.free = at
        if outcome != OK:
            meter.has_failed = True
        if self.record is not None:
            meter.pending, meter.pending_record = self._sample(outcome, at, size), self.record
            meter.is_slow = at - self.intended > self.record.slow_from.get(self.label, 0.0)

    def _sample(self, outcome: str, at: float, size: int) -> Sample:
        meter = self.meter
        return Sample(
            self.label, outcome, self.intended, self.sent, at, size, meter.tenant, meter.region, self.lateness
        )
