"""One load over time: how many users or arrivals there are, and what they do."""

import enum
import math
from dataclasses import dataclass

__all__ = ["MixEntry", "Model", "Phase", "Stage", "Think", "Workload"]


class Model(enum.StrEnum):
    """Who decides when the next operation starts."""

    CLOSED = "closed"
    """Users: each waits for an answer, thinks, goes on. Levels are users."""
    REQUESTS = "requests"
    """Open: single requests arrive, whatever the answers. Levels are requests per second."""
    JOURNEYS = "journeys"
    """Open: journeys start, whatever the answers. Levels are journeys per second."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A straight line from the level before it to its own."""

    seconds: float
    level: float
    """Users, or arrivals per second, at its end."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A named part of a run with one kind of load; the steady window is sought inside one."""

    name: str
    start: float
    """Seconds since the run's start instant."""
    end: float
    level: float
    """Users or arrivals per second at its end."""
    is_constant: bool
    """Does the level stay what it is throughout?"""


@dataclass(frozen=True, slots=True)
class Think:
    """How long a user pauses after an answer."""

    low: float = 0.3
    """Seconds."""
    high: float = 1.3
    """Seconds."""
    distribution: str = "uniform"
    """"uniform" between low and high; "exponential" with the mean (low + high) / 2."""

    @property
    def mean(self) -> float:
        """Seconds, on average."""
        return (self.low + self.high) / 2


@dataclass(frozen=True, slots=True)
class MixEntry:
    """A share of the users, and what they do."""

    journey: str
    """``module:function``, importable from the project's root."""
    share: float
    """Ratio 0-1 of the users (closed) or of the starts (open)."""
    region: str = ""
    arguments: tuple[tuple[str, str], ...] = ()
    """Keyword arguments of the journey."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Load over time."""

    model: Model
    stages: tuple[Stage, ...]
    mix: tuple[MixEntry, ...]
    think: Think = Think()
    is_poisson: bool = True
    """Open: random arrivals; False spaces them evenly."""
    max_in_flight: int = 5000
    """Open: arrivals beyond as many unanswered ones are dropped, and count as failed."""
    pace: float = 0.0
    """Closed: seconds from the start of a user's journey to that of its next, in place of the pause between the two; a journey
    that took longer is followed at once. 0 for no pace: users think."""

    @property
    def seconds(self) -> float:
        """How long it lasts by plan, without the drain."""
        return sum(stage.seconds for stage in self.stages)

    @property
    def peak(self) -> float:
        """The highest level: users, or arrivals per second."""
        return max((stage.level for stage in self.stages), default=0.0)

    @property
    def most_users(self) -> int:
        """How many users there are at once (closed), or may become (open)."""
        return math.ceil(self.peak - 0.5) if self.model is Model.CLOSED else self.max_in_flight

    def level_at(self, moment: float) -> float:
        """The planned level, `moment` seconds after the start."""
        start, before = 0.0, 0.0
        for stage in self.stages:
            if moment < start + stage.seconds:
                return before + (stage.level - before) * (moment - start) / stage.seconds
            start, before = start + stage.seconds, stage.level
        return 0.0

    def is_constant(self, start: float, end: float) -> bool:
        """Does the level stay what it is from one moment to another? Both in seconds after the start."""
        return any(phase.is_constant and phase.start <= start and end <= phase.end for phase in self.phases())

    @property
    def hold(self) -> Phase | None:
        """The last phase of constant load at the highest level that is held; None where the load is never constant."""
        held = [phase for phase in self.phases() if phase.is_constant and phase.level > 0]
        return max(held, key=lambda phase: (phase.level, phase.start), default=None)

    def phases(self) -> tuple[Phase, ...]:
        """Its stages, named: "ramp" and "hold" for the common pair, else "stage 1" …; empty stages are left out."""
        phases: list[Phase] = []
        start, before = 0.0, 0.0
        lasting = [stage for stage in self.stages if stage.seconds > 0]
        common = (
            len(lasting) <= 2
            and bool(lasting)
            and (len(lasting) == 1 or lasting[0].level == lasting[1].level)
        )
        for stage in self.stages:
            if stage.seconds > 0:
                is_constant = stage.level == before
                name = ("hold" if is_constant else "ramp") if common else f"stage {len(phases) + 1}"
                phases.append(Phase(name, start, start + stage.seconds, stage.level, is_constant))
            start, before = start + stage.seconds, stage.level
        return tuple(phases)
