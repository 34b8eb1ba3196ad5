"""A stored run: its plan, the workers' counts and the observations.

It holds everything that judging needs. So a run can be judged again with other limits, without a
new load.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from loadkit.observers.database import DatabaseFacts
from loadkit.observers.observation import Observation
from loadkit.recording.ending import COMPLETE, INTERRUPTED, Ending
from loadkit.recording.examples import Example
from loadkit.recording.slices import SliceTable
from loadkit.recording.stalls import Stall
from loadkit.recording.worker_second import WorkerSecond
from loadkit.recording.writes import NO_WRITES, Writes
from loadkit.workload.plan import Plan

__all__ = ["BIRTHS", "DATABASE", "HTTP", "PROBED_AT", "STOP_REQUESTED", "WEBSOCKET", "Event", "Run"]

BIRTHS = "restarts"
"""The measure of the environment file that gives the start time of each instance's process, in Unix
seconds."""

STOP_REQUESTED = "stop requested"
"""The fact of a run during which somebody asked for the end of the session, by Ctrl-C or SIGTERM."""

HTTP, WEBSOCKET, DATABASE = "HTTP", "WebSocket", "the database"
"""The protocols that are probed."""
PROBED_AT = {HTTP: "ready", WEBSOCKET: "websocket_ready", DATABASE: "[database] dsn"}
"""By protocol: the key of the environment file that states what to probe."""


@dataclass(frozen=True, slots=True)
class Event:
    """An action on the service, or a change noticed in it, during the run."""

    at: float
    """Seconds since the run's start instant at which it began."""
    what: str
    """The event in words: "an instance is killed"."""
    seconds: float = 0.0
    """How long it took to complete."""
    failed: str = ""
    """Why it failed, in one sentence; empty if it succeeded."""
    restarts: int = 0
    """The number of instances that it restarts, as the environment file states it."""


@dataclass(slots=True)
class Run:
    """One load on one environment."""

    id: str
    """Unique per run; every row that the run wrote carries it."""
    plan: Plan
    started: float
    """Start instant in Unix seconds; all other moments are relative to it."""
    table: SliceTable
    worker_seconds: tuple[WorkerSecond, ...] = ()
    stalls: tuple[Stall, ...] = ()
    """Intervals in which operations were in flight and no worker received an answer."""
    observations: Mapping[str, Observation] = field(default_factory=dict)
    """By measure name."""
    probes: tuple[tuple[float, bool], ...] = ()
    """The probes of the readiness path: seconds since the start, and whether the service was up."""
    protocol_probes: Mapping[str, tuple[tuple[float, bool], ...]] = field(default_factory=dict)
    """The same for the other protocols that the run used; the keys are `WEBSOCKET` and
    `DATABASE`."""
    events: tuple[Event, ...] = ()
    examples: tuple[Example, ...] = ()
    """The first failures of each kind and the slowest operations of each label, in the order of
    time."""
    workers: int = 1
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Endpoint groups: name to label patterns in the syntax of `fnmatch`."""
    ended: Ending = COMPLETE
    """How the run ended; the text says why it was cut short."""
    ended_at: float = 0.0
    """When the load ended, in seconds since the start instant."""
    writes: Writes = NO_WRITES
    """The records that the load wrote, by their ids. The records of its trial have an unknown
    outcome."""
    database: DatabaseFacts | None = None
    """What was observed of the service's database; None if no observer read it."""
    warnings: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Versions, machine, environment and preflight checks as JSON values, for the report."""

    @property
    def was_interrupted(self) -> bool:
        """Did somebody ask for the end of the session during the run, also if it ended otherwise?"""
        return self.ended == INTERRUPTED or bool(self.facts.get(STOP_REQUESTED))

    @property
    def is_complete(self) -> bool:
        """Did the run complete its plan?"""
        return self.ended == COMPLETE
