"""The seam between virtual users and the wire.

A driver is what all users of one worker share of a protocol. It gives each user a client, the attribute of the user
that bears the driver's name. The client asks the user's meter when an operation is due, and tells it how it went.
"""

from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import ClassVar, Protocol, Self

from loadkit.recording.recorder import PopulationRecorder, TimingRecorder
from loadkit.recording.sample import Sample
from loadkit.recording.timing import Timing
from loadkit.target import Target

__all__ = ["Client", "Driver", "Meter", "NoResponse", "TransportError"]


class TransportError(Exception):
    """No whole answer came."""

    def __init__(self, kind: str, at: float) -> None:
        super().__init__(kind)
        self.kind = kind
        """"refused", "reset", "timeout", "connect timeout", "read timeout", "tls", "protocol", "address", "no socket" …"""
        self.at = at
        """When it was clear, on the monotonic clock."""


class NoResponse(Exception):  # noqa: N818  it is no error of the journey's: it says where it ended
    """An operation got no answer; the user begins a new journey."""


class Meter(Protocol):
    """One user's stopwatch, whatever the protocol: see `loadkit.users.meter.Meter`.

    Most drivers call `begin`, then `succeeded` or `failed`. A driver whose operations take microseconds may do what
    these do where it stands, as the HTTP client does.
    """

    now: Callable[[], float]
    """Seconds on the run's monotonic clock."""
    tenant: str
    region: str
    run_id: str
    timeout: float
    """Seconds for a whole operation, by plan."""
    recorder: PopulationRecorder
    requests: TimingRecorder
    """The recorder of response times."""
    is_recorded: bool
    is_open: bool
    """Do arrivals set the pace?"""
    is_cut: bool
    """Is what is unanswered now left out of the record?"""
    intended: float
    """When the next operation should start."""
    free: float
    """From when on the user could have started it."""
    until: float
    """From when on no operation starts."""
    has_thought: bool
    pending: Sample | None
    """The last operation, as long as a check may still speak of it."""
    pending_record: TimingRecorder
    """Where it goes."""

    def settle(self) -> None:
        """Hand the pending operation over to the record."""
        ...

    def turn(self) -> Awaitable[float]:
        """Where arrivals set the pace: wait for one. Return when it was due."""
        ...

    def served(self, label: str) -> None:
        """Where arrivals set the pace: one has become an operation of this label."""
        ...

    def leave(self) -> None:
        """End the user's journey: its time is over."""
        ...

    async def begin(self, label: str, timing: Timing = ...) -> "Operation":
        """Wait until an operation is due, and note that it is sent now."""
        ...

    def received(self, label: str, created: float, at: float, size: int = 0, timing: Timing = ...) -> None:
        """Note what the service sent unasked: it has no turn and no lateness."""
        ...

    def count(self, name: str, number: int = 1) -> None:
        """Add to a count of the second."""
        ...

    def gauge(self, name: str, value: float) -> None:
        """Set a gauge of the user's population."""
        ...


class Operation(Protocol):
    """An operation that is under way; a context of what carries it out."""

    def __enter__(self) -> Self:
        """Nothing: it has begun."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Note that it was given up, unless it was said how it ended."""
        ...

    def succeeded(self, at: float, size: int = 0) -> None:
        """It was answered at a moment of the run's clock, with so many bytes."""
        ...

    def failed(self, kind: str, at: float, size: int = 0, *, was_answered: bool = False) -> None:
        """It was given up, or answered with a failure of a kind."""
        ...


class Client(Protocol):
    """One user's side of a protocol. Whatever else it can do is for journeys."""

    def close(self) -> None:
        """Let go of what it holds."""
        ...


class Driver(Protocol):
    """What all users of one worker share of a protocol."""

    name: ClassVar[str]
    """"http", "ws", "db": the attribute of the user under which journeys find its client."""
    descriptors_per_user: ClassVar[int]
    """Files and sockets that each user keeps open."""

    def __init__(self, target: Target) -> None:
        """Nothing is opened yet; a fake may be made in another way."""
        ...

    async def open(self) -> None:
        """Look up addresses and the like, before load.

        Raises:
            UnreachableError: the service's address cannot be used.

        """
        ...

    def client(self, meter: Meter) -> Client:
        """A new user's client; nothing is sent yet."""
        ...

    def gauges(self) -> Mapping[str, float]:
        """What it holds now, by name ("connections open"): asked once a second."""
        ...

    async def close(self) -> None:
        """Let go of what the users shared."""
        ...
