"""A run as it is kept: what was planned, what the workers counted, what the sources saw.

It holds all that a judgement needs, so that it can be judged again, with other limits and no load.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from loadkit.observers.observation import Observation
from loadkit.recording.ending import COMPLETE, Ending
from loadkit.recording.slices import SliceTable
from loadkit.recording.stalls import Stall
from loadkit.recording.worker_second import WorkerSecond
from loadkit.workload.plan import Plan

__all__ = ["Event", "Run"]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that was done to, or noticed of, the service during the run."""

    at: float
    """Seconds since the run's start instant at which it began."""
    what: str
    """"an instance is killed"."""
    seconds: float = 0.0
    """How long it took until it was done."""
    failed: str = ""
    """Why it did not come about, in one sentence; empty where it did."""


@dataclass(slots=True)
class Run:
    """One load on one environment."""

    id: str
    """Fresh for each run; every row that it wrote carries it."""
    plan: Plan
    started: float
    """Unix seconds of its start instant; all other moments count from there."""
    table: SliceTable
    worker_seconds: tuple[WorkerSecond, ...] = ()
    stalls: tuple[Stall, ...] = ()
    """Times without any completion by any worker, although operations were in flight."""
    observations: Mapping[str, Observation] = field(default_factory=dict)
    """By the name of the measure."""
    probes: tuple[tuple[float, bool], ...] = ()
    """Once a second: seconds since the start, and was the service's readiness probe answered?"""
    events: tuple[Event, ...] = ()
    workers: int = 1
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Endpoint groups: name to label patterns, as `fnmatch` reads them."""
    ended: Ending = COMPLETE
    """How; its words say why it was cut short."""
    ended_at: float = 0.0
    """Seconds since the start instant at which load ended."""
    warnings: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Versions, machine, environment, preflight: JSON values, for the report."""

    @property
    def is_complete(self) -> bool:
        """Did it go through its plan?"""
        return self.ended == COMPLETE
