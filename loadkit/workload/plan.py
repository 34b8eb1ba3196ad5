"""The plan of a run: its populations, its actions, and the scaling of a rehearsal."""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

from loadkit.units import format_number, format_seconds
from loadkit.workload.workload import Model, Workload

__all__ = ["ALL_CONNECTIONS_DROP", "PLAIN_NAMES", "Action", "Plan", "Population", "Scaling"]

PLAIN_NAMES = {Model.CLOSED: "users", Model.REQUESTS: "requests", Model.JOURNEYS: "journeys"}
"""The default names of populations by model."""

ALL_CONNECTIONS_DROP = "all connections drop"
"""The action that cuts all connections at once."""


@dataclass(frozen=True, slots=True)
class Population:
    """One of the simultaneous loads of a run."""

    name: str
    """In the plural, as in reports and sentences: "users", "dashboard users", "requests"."""
    workload: Workload
    stated_level: float = 0.0
    """The highest level stated in the sentence, before scaling; 0 if no sentence states it."""
    delivers: float = 0.0
    """Messages per second that it makes the service deliver, at its highest level; 0 for none."""
    records: float = 0.0
    """Records that each of its requests writes; 0 for none."""
    records_needed: float = 0.0
    """Records that the database must contain before the run; 0 for any number."""
    tenant: str = ""
    """The tenant of all its users; empty for any."""
    group: int = 1
    """The number of consecutive users who share something, such as a dashboard. They belong to one
    tenant."""

    @property
    def in_words(self) -> str:
        """Its highest level: "1000 users", "1 admin user", "1200 requests per second"."""
        delivered = f", {self.delivers:,.0f} messages delivered per second" if self.delivers else ""
        written = f", {self.workload.peak * self.records:,.0f} records per second" if self.records > 1 else ""
        queried = f" querying {self.records_needed:,.0f} records" if self.records_needed else ""
        return self.level_in_words(f"{self.workload.peak:g}") + queried + delivered + written

    def level_in_words(self, level: str) -> str:
        """A level with its unit: "98 of 100 users", "20 journeys per second"."""
        name = self.name.removesuffix("s") if level == "1" else self.name
        return f"{level} {name}{'' if self.workload.model is Model.CLOSED else ' per second'}"


@dataclass(frozen=True, slots=True)
class Action:
    """An action on the service during the load."""

    name: str
    """As in sentences and in the environment file: "an instance is killed"."""
    at: float | None = None
    """Seconds after the start of the hold; None for a third of the hold."""
    restarts: int = 0
    """The number of service instances that it restarts, from the environment file."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """The scaling of a rehearsal: fewer users, or less time, than the sentence states."""

    users: float = 1.0
    """Ratio of actual to stated users or arrivals; the lowest ratio of all populations."""
    time: float = 1.0
    """Ratio of actual to stated ramp and hold."""
    stated_hold: float = 0.0
    """The stated hold in seconds."""

    @property
    def is_rehearsal(self) -> bool:
        """Was anything scaled?"""
        return self.users != 1.0 or self.time != 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """The complete definition of a run, without its criteria. Equal plans share one run."""

    environment: str
    """The environment's name, as in environments/NAME.toml."""
    populations: tuple[Population, ...]
    """At least one. All start and end together; the phases of the first are those of the run."""
    actions: tuple[Action, ...] = ()
    seed: int = 1
    """Seed of the schedule and of users' random choices; written ids do not depend on it."""
    timeout: float = 10.0
    """Seconds for a whole request; a longer request fails."""
    drain: float = 10.0
    """Seconds after the last stage in which the run still waits for answers."""
    cache: str = "warm"
    """"warm": unrecorded traffic first; "cold": the cache is emptied first; "as it is": neither."""
    scaling: Scaling = Scaling()

    @classmethod
    def of(cls, environment: str, workload: Workload, **others: Any) -> Self:
        """A plan of one population, named after its model; `others` are further fields by name."""
        return cls(environment, (Population(PLAIN_NAMES[workload.model], workload),), **others)

    @property
    def workload(self) -> Workload:
        """The workload of the first population, whose phases are those of the run."""
        return self.populations[0].workload

    @property
    def records_needed(self) -> float:
        """Records that the database must contain before the run; 0 for any number."""
        return max(population.records_needed for population in self.populations)

    @property
    def seconds(self) -> float:
        """The duration of its longest population, without the drain."""
        return max(population.workload.seconds for population in self.populations)

    def population(self, name: str) -> Population:
        """The population with a name.

        Raises:
            KeyError: no population has that name.

        """
        return {population.name: population for population in self.populations}[name]

    def with_workloads(self, change: Callable[[Workload], Workload]) -> Self:
        """A copy of the plan in which `change` is applied to the workload of each population."""
        return replace(
            self,
            populations=tuple(
                replace(population, workload=change(population.workload)) for population in self.populations
            ),
        )

    @property
    def in_words(self) -> str:
        """Its populations at their highest levels: "1000 users + 50 admin users"."""
        return " + ".join(population.in_words for population in self.populations)

    @property
    def rehearsed(self) -> str:
        """What was scaled: "100 of 1000 users and 5 of 50 admin users, 30 s of 5 min"; or empty."""
        words: list[str] = []
        if self.scaling.users != 1:
            # The rate of the messages that are published for each connection is not scaled.
            scaled = [each for each in self.populations if not each.delivers]
            words.append(" and ".join(map(_thinned, scaled)))
        if self.scaling.time != 1:
            hold = self.workload.hold
            spent = hold.end - hold.start if hold else self.seconds
            words.append(f"{format_seconds(spent)} of {format_seconds(self.scaling.stated_hold)}")
        return ", ".join(words)

    @property
    def disturbs(self) -> bool:
        """Does the plan have actions on the service?"""
        return bool(self.actions)

    @property
    def key(self) -> str:
        """A short digest of the whole plan; equal plans have equal keys."""
        # An archived plan has 5.0 where its sentence had 5. Both are the same plan.
        numbers = json.loads(json.dumps(self.to_json()), parse_int=float)
        return hashlib.sha256(json.dumps(numbers, sort_keys=True).encode()).hexdigest()[:12]

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON values; `loadkit.recording.archive` reads these and earlier versions."""
        return dataclasses.asdict(self)


def _thinned(population: Population) -> str:
    """The level of a population in a rehearsal: "98 of 100 users"."""
    load = population.workload
    level = load.hold.level if load.hold else load.peak
    return population.level_in_words(f"{format_number(level)} of {format_number(population.stated_level)}")
