"""A workload: the number of users or arrivals over time, and what they do."""

import enum
import math
import random
from dataclasses import dataclass

__all__ = ["Lognormal", "MixEntry", "Model", "Phase", "Stage", "Think", "Workload"]

_Z95 = 1.6448536269514722
"""The 95th percentile of the standard normal distribution."""


class Model(enum.StrEnum):
    """The load model, which determines when the next operation starts."""

    CLOSED = "closed"
    """Each user waits for an answer, thinks, and continues. Levels are users."""
    REQUESTS = "requests"
    """Open model: single requests arrive independently of the answers, in requests per second."""
    JOURNEYS = "journeys"
    """Open model: journeys start independently of the answers, in journeys per second."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A linear change from the previous level to its own."""

    seconds: float
    level: float
    """Users, or arrivals per second, at its end."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A named part of a run with one kind of load; a steady window never spans two phases."""

    name: str
    start: float
    """Seconds since the run's start instant."""
    end: float
    level: float
    """Users or arrivals per second at its end."""
    is_constant: bool
    """Is the level constant throughout?"""


@dataclass(frozen=True, slots=True)
class Lognormal:
    """A lognormal distribution of times: most are short, and a few are many times longer."""

    median: float
    """Seconds."""
    p95: float
    """Seconds, at least the median."""

    @property
    def sigma(self) -> float:
        """The standard deviation of the logarithm."""
        return math.log(self.p95 / self.median) / _Z95 if self.median else 0.0

    @property
    def mean(self) -> float:
        """The average in seconds; with a long tail, far above the median."""
        return self.median * math.exp(self.sigma**2 / 2)

    def draw(self, choices: random.Random) -> float:
        """Draw a time, in seconds."""
        return self.median * math.exp(self.sigma * choices.gauss(0.0, 1.0))


@dataclass(frozen=True, slots=True)
class Think:
    """The think time of a user after an answer."""

    low: float = 0.3
    """Seconds."""
    high: float = 1.3
    """Seconds."""
    distribution: str = "uniform"
    """"uniform" between low and high, "exponential" with the mean (low + high) / 2, or "lognormal"
    with the median low and the p95 high."""

    @property
    def mean(self) -> float:
        """The average in seconds."""
        if self.distribution == "lognormal":
            return self.lognormal.mean
        return (self.low + self.high) / 2

    @property
    def spread(self) -> float:
        """The squared coefficient of variation; 0 for a constant time."""
        if self.distribution == "lognormal":
            return math.expm1(self.lognormal.sigma**2)
        if self.distribution == "exponential":
            return 1.0
        return (self.high - self.low) ** 2 / 12 / self.mean**2 if self.mean else 0.0

    @property
    def lognormal(self) -> Lognormal:
        """The lognormal distribution with the median low and the p95 high."""
        return Lognormal(self.low, self.high)


@dataclass(frozen=True, slots=True)
class MixEntry:
    """A share of the users, and their journey."""

    journey: str
    """``module:function``, importable from the project's root."""
    share: float
    """Ratio 0-1 of the users (closed model) or of the starts (open model)."""
    region: str = ""
    arguments: tuple[tuple[str, str], ...] = ()
    """Keyword arguments of the journey."""


@dataclass(frozen=True, slots=True)
class Workload:
    """A load over time, and what its users do."""

    model: Model
    stages: tuple[Stage, ...]
    mix: tuple[MixEntry, ...]
    think: Think = Think()
    is_poisson: bool = True
    """Open model: are arrivals random? False spaces them evenly."""
    max_in_flight: int = 5000
    """Open model: arrivals beyond this number in flight are dropped and count as failed."""
    pace: float = 0.0
    """Closed model: seconds between the starts of a user's journeys; 0 for think time instead.

    It replaces the pause between journeys. After a longer journey, the next starts immediately."""
    churn: float = 0.0
    """How often per second each user drops its connection, on average; 0 for never."""
    session: Lognormal | None = None
    """Closed model: how long a user stays before another one takes its place; None: to the end."""

    @property
    def seconds(self) -> float:
        """The planned duration, without the drain."""
        return sum(stage.seconds for stage in self.stages)

    @property
    def peak(self) -> float:
        """The highest level: users, or arrivals per second."""
        return max((stage.level for stage in self.stages), default=0.0)

    @property
    def most_users(self) -> int:
        """The maximum number of concurrent users (closed model) or of arrivals in flight (open)."""
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
        """Is the level constant between two moments, both in seconds after the start?"""
        return any(phase.is_constant and phase.start <= start and end <= phase.end for phase in self.phases())

    @property
    def hold(self) -> Phase | None:
        """The last phase of constant load at the highest constant level; None without one."""
        constant = [phase for phase in self.phases() if phase.is_constant and phase.level > 0]
        return max(constant, key=lambda phase: (phase.level, phase.start), default=None)

    def phases(self) -> tuple[Phase, ...]:
        """Its non-empty stages: "ramp" and "hold" for the common pair, else "stage 1" …"""
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
