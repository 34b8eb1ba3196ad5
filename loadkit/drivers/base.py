"""The interface between virtual users and protocols.

A driver holds the state of a protocol that all users of one worker share. It gives each user a
client, which journeys find under the attribute with the driver's name. The client waits on the
user's meter until an operation is due, and reports its outcome to the meter.
"""

from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import ClassVar, Protocol, Self

from loadkit.recording.examples import DeferredExchange
from loadkit.recording.recorder import PopulationRecorder, TimingRecorder
from loadkit.recording.sample import Sample
from loadkit.recording.timing import Timing
from loadkit.target import Target

__all__ = ["Client", "Driver", "Meter", "NoResponse", "TransportError"]


class TransportError(Exception):
    """No complete answer arrived."""

    def __init__(self, kind: str, at: float, answer: bytes = b"") -> None:
        super().__init__(kind)
        self.answer = answer
        """The part of an answer that had arrived, for an example."""
        self.kind = kind
        """The kind of failure: "refused", "reset", "timeout", "tls", "protocol", "no socket" …"""
        self.at = at
        """When the failure was detected, on the monotonic clock."""


class NoResponse(Exception):  # noqa: N818  it ends a journey, and is not an error of the journey
    """An operation got no answer that the journey can use; the user begins a new journey."""


class Meter(Protocol):
    """Times one user's operations for any protocol: see `loadkit.users.meter.Meter`.

    Most drivers call `begin`, then `succeeded` or `failed`. A driver whose operations take
    microseconds may inline these methods, as the HTTP client does.
    """

    now: Callable[[], float]
    """Seconds on the run's monotonic clock."""
    tenant: str
    region: str
    run_id: str
    timeout: float
    """Seconds allowed for a whole operation; the plan sets it."""
    recorder: PopulationRecorder
    requests: TimingRecorder
    """The recorder of response times."""
    is_recorded: bool
    is_open: bool
    """Is the workload open?"""
    is_cut: bool
    """Are unanswered operations left out of the record when they are cancelled?"""
    intended: float
    """Intended start of the next operation."""
    free: float
    """When the user became free to start it."""
    churn: float
    """The rate, per second, at which the user drops its connection; the plan sets it."""
    until: float
    """When the user's time is over; a connection is held until then at most."""
    sends_until: float
    """No operation starts at or after this moment."""
    longest_hold: float
    """The longest hold of a connection, in seconds; only a trial limits it.

    A user who would hold a connection for longer leaves soon."""
    has_thought: bool
    has_failed: bool
    """Did an operation fail since the journey began? It is set for unrecorded operations, too."""
    unrecorded_failure: str
    """How the latest operation failed, if it is not recorded.

    "" if the operation did not fail, or is recorded."""
    pending: Sample | None
    """The last operation, while a check may still fail it."""
    pending_record: TimingRecorder
    """The recorder of the pending operation."""
    is_slow: bool
    """Is the pending operation one of the slowest of its label and timing?"""
    checks_messages: bool
    """Does the journey check that each message belongs to its tenant?"""
    checks_rows: bool
    """Does the journey check that each row of a query belongs to its tenant?"""
    renew_if_due: Callable[[], Awaitable[None]]
    """Renews what expires, such as a token.

    A journey that lasts until the user's time is over must call it meanwhile."""
    exchange: DeferredExchange | None
    """The description of the latest operation, in case it becomes an example; None for none.

    `begin` resets it. A client sets it while the operation is in flight, or after its end."""

    def count_shortage(self, kind: str) -> None:
        """Count a failure for the generator's health, if the generator had no free socket."""
        ...

    def record_example(
        self, sample: Sample, timing: Timing = ..., exchange: DeferredExchange | None = None
    ) -> None:
        """Keep an operation that is not pending, such as one without an answer, as an example."""
        ...

    def settle(self) -> None:
        """Add the pending operation to the record."""
        ...

    def pause(self) -> Awaitable[None] | None:
        """Wait until the next operation is due; None if it is due now."""
        ...

    def turn(self) -> Awaitable[float]:
        """In an open workload: wait for an arrival. Return the moment when it was due."""
        ...

    def served(self, label: str, timing: Timing = ...) -> None:
        """In an open workload: note that an arrival became an operation of a label and timing."""
        ...

    def leave(self) -> None:
        """End the user's journey because its time is over."""
        ...

    async def begin(self, label: str, timing: Timing = ...) -> "Operation":
        """Wait until an operation is due, and record that it is sent now."""
        ...

    def received(self, label: str, created: float, at: float, size: int = 0, timing: Timing = ...) -> None:
        """Record a message that the service pushed; it has no arrival and no lateness."""
        ...

    def count(self, name: str, number: int = 1) -> None:
        """Add to a counter of the current second."""
        ...

    def gauge(self, name: str, value: float) -> None:
        """Set a gauge of the user's population."""
        ...


class Operation(Protocol):
    """An operation in flight; a context manager around the code that executes it."""

    def __enter__(self) -> Self:
        """Do nothing; the operation has already begun."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Record that the operation was given up, unless its end is already recorded."""
        ...

    def succeeded(self, at: float, size: int = 0) -> None:
        """Record an answer of `size` bytes that arrived at `at` on the run's clock."""
        ...

    def failed(self, kind: str, at: float, size: int = 0, *, was_answered: bool = False) -> None:
        """Record a failure: the operation was given up, or the answer is a failure."""
        ...


class Client(Protocol):
    """One user's client of a protocol. Its other methods are for journeys."""

    def close(self) -> None:
        """Release its resources."""
        ...


class Driver(Protocol):
    """The part of a protocol that all users of one worker share."""

    name: ClassVar[str]
    """"http", "ws", "db": the attribute of the user under which journeys find its client."""
    descriptors_per_user: ClassVar[int]
    """File descriptors that each user keeps open."""

    def __init__(self, target: Target) -> None:
        """Create the driver without opening anything; a fake may take other arguments."""
        ...

    async def open(self) -> None:
        """Prepare for the load before it begins, such as by a lookup of addresses.

        Raises:
            UnreachableError: the service cannot be reached at its address.

        """
        ...

    def client(self, meter: Meter) -> Client:
        """Create the client of a new user; nothing is sent yet."""
        ...

    def gauges(self) -> Mapping[str, float]:
        """The current gauges by name ("connections open"); called once a second."""
        ...

    async def close(self) -> None:
        """Release the shared resources."""
        ...
