"""A subscription: each message is measured when its bytes arrive, without waking a task."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from math import inf, isfinite
from pathlib import Path
from typing import Any

from loadkit.drivers.base import Meter
from loadkit.drivers.canaries import TenantSearch
from loadkit.drivers.websocket.exchanges import missed, received
from loadkit.drivers.websocket.heads import StreamHeads
from loadkit.drivers.websocket.ledger import Irregularity, Stream, StreamLedger
from loadkit.drivers.websocket.record import ConnectionRecord
from loadkit.errors import located
from loadkit.recording.messages import (
    DOUBLED,
    FILLED,
    MISSING,
    NOT_RESUMED,
    OUT_OF_ORDER,
    READER,
    TAIL_LOST,
    TAIL_UNKNOWN,
    UNCLASSIFIED,
    UNREADABLE,
    MessageLog,
)
from loadkit.recording.sample import OK, Sample
from loadkit.recording.timing import MESSAGE

__all__ = ["Reader", "Subscription"]

Reader = Callable[[str | bytes], tuple[Stream, int, float] | None]
"""Reads a message: its stream, its number in the stream, and its creation time in Unix seconds.

It returns None for a message that belongs to no stream; the journey may receive that one. It raises
ValueError, as JSON parsers do, for a message that cannot be read or lacks a promised field. Any
other exception counts as an error of the reader. A missing field can be the fault of the service or
of the reader, so the reader checks the promised fields."""


class Subscription:
    """Counts and measures the messages of the streams that arrive over a connection."""

    __slots__ = (
        "_begun",
        "_code_errors",
        "_columns",
        "_following",
        "_heads",
        "_is_settled",
        "_ledger",
        "_log",
        "_meter",
        "_pass_on",
        "_read",
        "_slow_from",
        "_suspects",
        "_tail",
        "doubled",
        "filled",
        "is_ended",
        "label",
        "missing",
        "now",
        "out_of_order",
        "received",
        "record",
        "resume_by",
        "shift",
        "unreadable",
    )

    def __init__(
        self,
        read: Reader,
        meter: Meter,
        label: str,
        earlier: "Subscription | None" = None,
        *,
        after: Mapping[Stream, int] | None = None,
        heads: StreamHeads | None = None,
    ) -> None:
        """Begin, or continue an earlier subscription over a new connection.

        Args:
            read: reads each message.
            meter: its user's.
            label: the label under which its messages are counted.
            earlier: the subscription whose streams continue; gaps between the two are counted.
            after: by stream, the number after which the service continues it, if the service
                states it.
            heads: knows the messages that others received of the same streams.

        """
        self.label = label
        self.received = self.missing = self.filled = self.doubled = self.out_of_order = self.unreadable = 0
        """Numbers of messages. `missing`: left out by a gap; `filled`: missing, but came later."""
        self._read = read
        self._meter = meter
        self._ledger: StreamLedger = StreamLedger() if earlier is None else earlier._ledger  # noqa: SLF001  same class
        self._ledger.reconnected()
        self._following = self._ledger.following
        self._heads = heads
        self._begun = meter.now()
        """When it began over its own connection, on the monotonic clock."""
        self._tail = (0, 0)
        """Messages that it did not receive before its end: lost ones, and possibly lost ones."""
        self._is_settled = False
        """Are the messages that it did not receive counted, or left to a later subscription?"""
        self.is_ended = False
        """Has its connection ended?"""
        self.resume_by = inf
        """The latest moment for its user to resume it, on the monotonic clock.

        Infinite if its user closed it."""
        if earlier is not None:
            earlier._is_settled = True  # noqa: SLF001  same class
        if heads is not None:
            heads.follow(meter.tenant, self._following, meter.timeout)
        self._code_errors: set[str] | None = None
        self._log: MessageLog | None = None
        """None until the user is recorded."""
        self._columns: list[float] = []
        """The columns of the log; kept here to save one look-up per message."""
        self._pass_on: Callable[[str | bytes, int], None] = _drop
        left_out = sum(self._ledger.begin(stream, number) for stream, number in (after or {}).items())
        if left_out:
            self._count(Irregularity(missing=left_out))
        self.record: ConnectionRecord | None = None
        """The record of its connection."""
        self._suspects: Callable[[str], object] | None = None
        """Returns a true value for text that may contain another tenant's canary.

        None if this subscription does not search."""
        self._slow_from = 0.0
        """Seconds above which a message may be among the slowest of the label.

        The value may be older than the one of the recorder."""
        self.now = self.shift = 0.0
        """`now` is the arrival of the next messages' bytes on the monotonic clock.

        `shift` is added to Unix time to get the monotonic clock. Both are in seconds. The
        connection sets both."""

    @property
    def positions(self) -> dict[Stream, int]:
        """The highest number received, by stream. A client that reconnects resumes after it."""
        return {stream: number - 1 for stream, number in self._following.items()}

    @property
    def has_begun(self) -> bool:
        """Has a message of a stream, or an unreadable message, arrived?"""
        return self.received + self.unreadable > 0

    def settle(self, *, is_over: bool) -> None:
        """Count, only once, the messages that it did not receive before its end.

        It does nothing if a later subscription continues this one.

        Args:
            is_over: is its user's time over, so that nothing will continue an interrupted one?

        """
        if self._is_settled:
            return
        self._is_settled = True
        lost, unknown = self._tail
        self.missing += lost
        if self._begun_log() is None:
            return
        counts = self._meter.recorder.counts
        for name, number in (
            (TAIL_LOST, lost),
            (TAIL_UNKNOWN, unknown),
            (NOT_RESUMED, int(is_over and self._meter.now() >= self.resume_by)),
        ):
            if number:
                counts[name] += number
        if lost and self.record is not None:
            exchange = missed, self.record.exchange_format, self.record.origin, lost
            self.record.record_example(TAIL_LOST, self.now, MESSAGE, exchange)

    def give_up(self) -> None:
        """Count it as not resumed, although its user continues."""
        self.resume_by = -inf
        self.settle(is_over=True)

    def is_continued_by(self, later: "Subscription") -> bool:
        """Does a later subscription continue its streams? Then that one finds what is missing."""
        is_continued = self.has_same_options(later)
        self._is_settled = self._is_settled or is_continued
        return is_continued

    def has_same_options(self, other: "Subscription") -> bool:
        """Do both follow the streams of one subscriber, over the same or another connection?"""
        return self._ledger is other._ledger  # noqa: SLF001  same class

    # --- called by the connection

    def ended(self, at: float, *, resume_by: float) -> None:
        """Note that its connection has ended.

        Args:
            at: when, on the monotonic clock.
            resume_by: see the attribute.

        """
        self.is_ended, self.resume_by = True, resume_by
        if self._heads is not None:
            lost, unknown = self._heads.unseen(self._meter.tenant, self._following, at)
            if at - self._begun < self._meter.timeout:  # the resumed messages may have been on their way
                lost, unknown = 0, lost + unknown
            self._tail = lost, unknown
            self._heads.forget(self._following)

    def search_from_now(self) -> None:
        """Search further messages for the data of other tenants.

        The connection searched the messages before.
        """
        search = None if self.record is None else self.record.search
        if search is None:
            self._suspects = None
        elif search.is_own_found:
            self._suspects = search.is_suspect_text
        else:
            self._suspects = partial(self._suspect_or_own, search)

    def _suspect_or_own(self, search: TenantSearch, message: str) -> bool:
        """Must a message be searched for canaries? Until the own one was found, it must."""
        if search.is_own_found:
            self._suspects = search.is_suspect_text
            return bool(search.is_suspect_text(message))
        return True

    def pass_on_to(self, take: Callable[[str | bytes, int], None]) -> None:
        """Set the function that takes messages of no stream, each with its size in bytes."""
        self._pass_on = take

    def take(self, message: str | bytes, size: int) -> None:
        """Measure a message of `size` bytes."""
        suspects = self._suspects
        if suspects is not None and (message.__class__ is not str or suspects(message)) and self.record:
            self.record.look_for_others(message, self.now)
        try:
            stamp = self._read(message)
        except ValueError:
            self._not_searched()
            self.unreadable += 1
            if self._begun_log() is not None:
                self._meter.recorder.counts[UNREADABLE] += 1
                self._exemplify(UNREADABLE, message)
            return
        except Exception as error:
            self._not_searched()
            self._count_code_error(error)
            return
        if stamp is None:
            self._pass_on(message, size)
            return
        try:
            stream, number, created = stamp
            moment = created + self.shift
            if self._following.get(stream) == number:
                self._following[stream] = number + 1
            else:
                expected = self._following.get(stream)
                irregularity = self._ledger.note(stream, number)
                if irregularity is not None:
                    for kind in self._count(irregularity):
                        self._exemplify(kind, message, stream, expected, number)
        except Exception as error:
            self._count_code_error(error)
            return
        self.received += 1
        if self._log is not None or self._begun_log() is not None:
            self._columns.extend((moment, self.now, size))
            if self.now - moment > self._slow_from:
                self._note_slow(moment, message, stream, number)

    def _not_searched(self) -> None:
        """Note that the reader, which looks for other tenants' data, did not read a message."""
        record, meter = self.record, self._meter
        if record is not None and record.search is None and meter.checks_messages and record.begins():
            meter.recorder.messages_searched -= 1

    def _begun_log(self) -> MessageLog | None:
        """The log of its messages; None before the user is recorded for the first time."""
        meter = self._meter
        if self._log is None and meter.is_recorded:
            timing = meter.recorder.timing(MESSAGE)
            self._log = timing.messages(self.label, meter.tenant, meter.region)
            self._columns = self._log.columns
        return self._log

    def _note_slow(self, created: float, message: str | bytes, stream: Stream, number: int) -> None:
        """Keep a message as an example if it is one of the slowest of its label.

        All connections with the label are compared.
        """
        meter, record = self._meter, self.record
        if record is not None and isfinite(created):
            exchange = received, record.exchange_format, record.origin, message, stream, None, number
            sample = Sample(self.label, OK, created, created, self.now, 0, meter.tenant, meter.region)
            meter.record_example(sample, MESSAGE, exchange)
            self._slow_from = meter.recorder.timing(MESSAGE).slow_from.get(self.label, 0.0)

    def _exemplify(self, kind: str, message: str | bytes, *of_stream: Any) -> None:
        record = self.record
        if record is not None:
            exchange = received, record.exchange_format, record.origin, message, *of_stream
            record.record_example(kind, self.now, MESSAGE, exchange)

    def _count(self, found: Irregularity) -> list[str]:
        """Count the findings, and return the names of those that are faults."""
        self.missing += found.missing
        self.filled += found.filled
        self.doubled += found.doubled
        self.out_of_order += found.out_of_order
        if self._begun_log() is None:
            return []
        counts = self._meter.recorder.counts
        names = (MISSING, FILLED, DOUBLED, OUT_OF_ORDER, UNCLASSIFIED)
        numbers = (found.missing, found.filled, found.doubled, found.out_of_order, found.untold)
        present = [(name, number) for name, number in zip(names, numbers, strict=True) if number]
        for name, number in present:
            counts[name] += number
        return [name for name, _ in present if name != FILLED]

    def _count_code_error(self, error: Exception) -> None:
        """Count an error in the reader, which is the journey's code."""
        try:
            folder = Path(inspect.getfile(inspect.unwrap(self._read))).parent
        except TypeError:  # such as a partial function
            folder = Path()
        sentence = f"{READER} itself failed: {located(error, folder)}"
        if self._code_errors is None:
            self._code_errors = set()
        self._meter.recorder.journey_failed(sentence, self._code_errors)


def _drop(message: str | bytes, size: int) -> None:
    """Ignore a message; used until a connection sets its own function."""
