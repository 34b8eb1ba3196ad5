"""All that decides what a run is: its populations, what happens meanwhile, and what a rehearsal changes of it."""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

from loadkit.units import format_number, format_seconds
from loadkit.workload.workload import Model, Workload

__all__ = ["PLAIN_NAMES", "Action", "Plan", "Population", "Scaling"]

PLAIN_NAMES = {Model.CLOSED: "users", Model.REQUESTS: "requests", Model.JOURNEYS: "journeys"}
"""What the populations of each model are called where nothing else tells them apart."""


@dataclass(frozen=True, slots=True)
class Population:
    """One of the loads that a run puts on together."""

    name: str
    """In the plural, as reports and sentences have it: "users", "dashboard users", "requests"."""
    workload: Workload
    stated_level: float = 0.0
    """The highest level as the sentence states it, which a rehearsal may have lowered; 0 where no sentence does."""

    @property
    def in_words(self) -> str:
        """Its highest level: "1000 users", "1 admin user", "1200 requests per second"."""
        return self.level_in_words(f"{self.workload.peak:g}")

    def level_in_words(self, level: str) -> str:
        """A level with what it counts: "98 of 100 users", "20 journeys per second"."""
        name = self.name.removesuffix("s") if level == "1" else self.name
        return f"{level} {name}{'' if self.workload.model is Model.CLOSED else ' per second'}"


@dataclass(frozen=True, slots=True)
class Action:
    """Something that happens to the service while the load is on."""

    name: str
    """As sentences and the environment file have it: "an instance is killed"."""
    at: float | None = None
    """Seconds into the hold; None: a third of it."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """What a rehearsal changes: shorter, or with fewer users, than the sentence says."""

    users: float = 1.0
    """Ratio of the stated users or arrivals that is put on; of several populations the least."""
    time: float = 1.0
    """Ratio of the stated arrival and hold that is spent."""
    stated_hold: float = 0.0
    """The hold as written, in seconds."""

    @property
    def is_rehearsal(self) -> bool:
        """Was anything scaled?"""
        return self.users != 1.0 or self.time != 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """All that decides what a run is. Equal plans share one run; criteria are no part of it."""

    environment: str
    """Its name, as in environments/NAME.toml."""
    populations: tuple[Population, ...]
    """At least one. They start and end together; the first one's phases are those of the run."""
    actions: tuple[Action, ...] = ()
    seed: int = 1
    """Fixes schedule and shapes, not the ids that are written."""
    timeout: float = 10.0
    """Seconds for a whole request; a longer one failed."""
    drain: float = 10.0
    """Seconds after the last stage in which answers are still awaited."""
    cache: str = "warm"
    """"warm": untimed traffic first; "cold": the cache is emptied first; "as it is": neither."""
    scaling: Scaling = Scaling()

    @classmethod
    def of(cls, environment: str, workload: Workload, **others: Any) -> Self:
        """A plan of one population, called after its model; `others` are further fields by name."""
        return cls(environment, (Population(PLAIN_NAMES[workload.model], workload),), **others)

    @property
    def workload(self) -> Workload:
        """The first population's, whose phases are those of the run."""
        return self.populations[0].workload

    @property
    def seconds(self) -> float:
        """How long it lasts, without the drain: as long as its longest population."""
        return max(population.workload.seconds for population in self.populations)

    def population(self, name: str) -> Population:
        """One population by its name.

        Raises:
            KeyError: there is none of that name.

        """
        return {population.name: population for population in self.populations}[name]

    def with_workloads(self, change: Callable[[Workload], Workload]) -> Self:
        """The same plan with the workload of each population changed."""
        return replace(
            self,
            populations=tuple(
                replace(population, workload=change(population.workload)) for population in self.populations
            ),
        )

    @property
    def in_words(self) -> str:
        """Its populations at their highest: "1000 users + 50 admin users"."""
        return " + ".join(population.in_words for population in self.populations)

    @property
    def rehearsed(self) -> str:
        """What was scaled, in words ("100 of 1000 users and 5 of 50 admin users, 30 s of 5 min"); empty for the real thing."""
        words: list[str] = []
        if self.scaling.users != 1:
            words.append(" and ".join(_thinned(population) for population in self.populations))
        if self.scaling.time != 1:
            hold = self.workload.hold
            spent = hold.end - hold.start if hold else self.seconds
            words.append(f"{format_seconds(spent)} of {format_seconds(self.scaling.stated_hold)}")
        return ", ".join(words)

    @property
    def disturbs(self) -> bool:
        """Does it do something to the service, other than use it?"""
        return bool(self.actions)

    @property
    def key(self) -> str:
        """A short digest of the whole plan: equal plans, equal keys."""
        # A plan that was kept has 5.0 where its sentence had 5, and is the same plan.
        numbers = json.loads(json.dumps(self.to_json()), parse_int=float)
        return hashlib.sha256(json.dumps(numbers, sort_keys=True).encode()).hexdigest()[:12]

    def to_json(self) -> dict[str, Any]:
        """As JSON values; `loadkit.recording.archive` reads them back, also those of earlier versions."""
        return dataclasses.asdict(self)


def _thinned(population: Population) -> str:
    """How much of a population a rehearsal put on."""
    load = population.workload
    level = load.hold.level if load.hold else load.peak
    return population.level_in_words(f"{format_number(level)} of {format_number(population.stated_level)}")
