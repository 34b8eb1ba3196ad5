"""Processes whose true p95, mean or error rate is known, and whose neighbours in time are more or less alike.

`ROWS` are those of the verdict table. Those of `UNKNOWABLE` show what no window can know: what happens more rarely than
the window sees, and a memory longer than a tenth of it.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from loadkit.judging.evidence import Evidence
from loadkit.recording import histogram as buckets
from loadkit.recording.traffic import Traffic
from tests.builders import plan_of, run_of, table_of

__all__ = [
    "FEW_EVENTS",
    "QUANTILE",
    "ROWS",
    "UNKNOWABLE",
    "Bursts",
    "Draw",
    "Failures",
    "Levels",
    "Mixture",
    "Oscillation",
    "Phases",
    "Queue",
    "Row",
    "Skewed",
    "Spells",
    "Stalls",
    "Waves",
    "traffic_from",
]

Floats = npt.NDArray[np.float64]

SERVICE_RATE = 100.0
QUANTILE = 0.95
_RATE = 100
"""Operations per second of the processes that are no queue."""
_USUAL = 0.02
_BETWEEN = 0.4
"""A limit between the usual times and the slow ones, in seconds."""


class Draw(NamedTuple):
    """The operations of one run."""

    starts: Floats
    times: Floats
    seconds: int
    failed: npt.NDArray[np.bool_] | None = None
    """Which of them failed; None: they all succeeded."""

    @property
    def traffic(self) -> Traffic:
        """Its operations, for an examination without a run; they all succeeded."""
        return traffic_from(self.starts, self.times, self.seconds)

    @property
    def evidence(self) -> Evidence:
        """Its run, of an open load without a ramp."""
        return Evidence(run_of(table_of(self.starts, self.times, self.failed), plan_of(self.seconds)))


class Row(Protocol):
    """A process of known p95, mean or error rate."""

    seconds: int

    def runs(
        self, random: np.random.Generator, factors: Sequence[float]
    ) -> Iterator[tuple[Draw, dict[float, float]]]:
        """What is to be judged once at each factor: operations, with the limits by factor."""
        ...


@dataclass(frozen=True, slots=True)
class Queue:
    """M/M/1: sojourn times are exponential, with rate μ(1−ρ)."""

    utilization: float
    seconds: int

    def __str__(self) -> str:
        return f"queue, ρ {self.utilization:g}, {self.seconds} s"

    @property
    def mean(self) -> float:
        """The true mean in seconds."""
        return 1 / (SERVICE_RATE * (1 - self.utilization))

    @property
    def p95(self) -> float:
        """The true p95 in seconds."""
        return -math.log(1 - QUANTILE) * self.mean

    def times(self, random: np.random.Generator) -> tuple[Floats, Floats]:
        """Arrivals and sojourn times of a queue in its steady state from the start (Lindley's recursion)."""
        arrival_rate = self.utilization * SERVICE_RATE
        number = int(arrival_rate * self.seconds * 1.5) + 100
        arrivals = np.cumsum(random.exponential(1 / arrival_rate, number))
        arrivals = arrivals[arrivals < self.seconds]
        service = random.exponential(1 / SERVICE_RATE, len(arrivals))
        is_busy = random.random() < self.utilization
        first = random.exponential(1 / (SERVICE_RATE - arrival_rate)) if is_busy else 0.0
        walk = np.cumsum(np.concatenate([[first], service[:-1] - np.diff(arrivals)]))
        waiting = walk - np.minimum(np.minimum.accumulate(walk), 0)
        return arrivals, waiting + service

    def runs(
        self, random: np.random.Generator, factors: Sequence[float]
    ) -> Iterator[tuple[Draw, dict[float, float]]]:
        yield Draw(*self.times(random), self.seconds), {factor: factor * self.p95 for factor in factors}


@dataclass(frozen=True, slots=True)
class Levels:
    """Lognormal times about a level that wanders from second to second as an AR(1) process; φ = 0: independent."""

    memory: float
    seconds: int

    _SPREAD = 0.5

    @property
    def mean(self) -> float:
        """The true mean in seconds."""
        return _USUAL * math.exp(self._SPREAD**2)

    def __str__(self) -> str:
        return f"level, φ {self.memory:g}, {self.seconds} s"

    def runs(
        self, random: np.random.Generator, factors: Sequence[float]
    ) -> Iterator[tuple[Draw, dict[float, float]]]:
        starts = _starts(random, self.seconds)
        level = _wandering(random, self.memory, self.seconds)
        each = random.normal(size=len(starts)) + level[starts.astype(np.int64)]
        times = _USUAL * np.exp(self._SPREAD * each)
        p95 = _USUAL * math.exp(self._SPREAD * math.sqrt(2) * 1.6449)
        yield Draw(starts, times, self.seconds), {factor: factor * p95 for factor in factors}


@dataclass(frozen=True, slots=True)
class Mixture:
    """Slow ones come independently and are 5 % of the operations, divided by f; the others wander a little together."""

    wandering: float
    """How far the level of the fast ones wanders, as a share of it; far below the limit."""
    seconds: int

    _MEMORY, _SLOW = 0.9, 1.0

    def __str__(self) -> str:
        return f"mixture, ±{self.wandering:.0%}, {self.seconds} s"

    def runs(
        self, random: np.random.Generator, factors: Sequence[float]
    ) -> Iterator[tuple[Draw, dict[float, float]]]:
        for factor in factors:
            starts = _starts(random, self.seconds)
            level = _wandering(random, self._MEMORY, self.seconds)
            each = level[starts.astype(np.int64)] + 0.5 * random.normal(size=len(starts))
            is_slow = random.random(len(starts)) < (1 - QUANTILE) / factor
            times = np.where(is_slow, self._SLOW, _USUAL * np.exp(self.wandering * each))
            yield Draw(starts, times, self.seconds), {factor: _BETWEEN}


@dataclass(frozen=True, slots=True)
class Spells:
    """Slow spells of `length` seconds on average, come at random; they take 5 % of the time, divided by f."""

    length: float
    seconds: int

    def __str__(self) -> str:
        return f"spells of {self.length:g} s, {self.seconds} s"

    def runs(
        self, random: np.random.Generator, factors: Sequence[float]
    ) -> Iterator[tuple[Draw, dict[float, float]]]:
        for factor in factors:
            share = (1 - QUANTILE) / factor
            starts = _starts(random, self.seconds)
            between = self.length * (1 - share) / share
            is_slow_first = random.random() < share
            pairs = int(2 * self.seconds / (self.length + between)) + 50
            lasting = random.exponential(1, 2 * pairs)
            lasting[::2] *= self.length if is_slow_first else between
            lasting[1::2] *= between if is_slow_first else self.length
            is_slow = (np.searchsorted(np.cumsum(lasting), starts) % 2 == 0) == is_slow_first
            times = random.exponential(_USUAL, len(starts)) + np.where(is_slow, 1.0, 0.0)
            yield Draw(starts, times, self.seconds), {factor: _BETWEEN}


@dataclass(frozen=True, slots=True)
class Bursts:
    """Twenty slow ones in a row, come at random; they are 5 % of the operations, divided by f."""

    seconds: int

    _LENGTH = 20

    def __str__(self) -> str:
        return f"bursts of {self._LENGTH}, {self.seconds} s"

    def runs(
        self, random: np.random.Generator, factors: Sequence[float]
    ) -> Iterator[tuple[Draw, dict[float, float]]]:
        for factor in factors:
            starts = _starts(random, self.seconds)
            times = random.exponential(_USUAL, len(starts))
            # Where bursts may overlap, 1 − exp(−rate · length) of the operations lie in one.
            rate = -math.log(1 - (1 - QUANTILE) / factor) / self._LENGTH
            first = np.flatnonzero(random.random(len(starts) + self._LENGTH) < 1 - math.exp(-rate))
            slow = (first[:, np.newaxis] + np.arange(1 - self._LENGTH, 1)).ravel()
            times[slow[(slow >= 0) & (slow < len(starts))]] += 1.0
            yield Draw(starts, times, self.seconds), {factor: _BETWEEN}


@dataclass(frozen=True, slots=True)
class Stalls:
    """10 ms, and a stall of `length` seconds that recurs every `period` seconds, in which operations wait to its end."""

    period: float
    length: float
    seconds: int
    jitter: float = 0.0
    """Standard deviation of the time between two stalls, as a share of the period."""
    rate: int = _RATE

    _USUAL = 0.01

    def __str__(self) -> str:
        uneven = f" ±{self.jitter:.0%}" if self.jitter else ""
        return f"stall of {self.length:g} s every {self.period:g} s{uneven}, {self.seconds} s"

    def runs(
        self, random: np.random.Generator, factors: Sequence[float]
    ) -> Iterator[tuple[Draw, dict[float, float]]]:
        starts = _starts(random, self.seconds, self.rate)
        between = self.period * (
            1 + self.jitter * random.normal(size=int(self.seconds / self.period * 2) + 9)
        )
        begins = np.cumsum(np.maximum(between, self.length)) - self.period * random.uniform(1, 2)
        since = starts - begins[np.maximum(np.searchsorted(begins, starts, side="right") - 1, 0)]
        waits = np.where((since >= 0) & (since < self.length), self.length - since, 0.0)
        p95 = self.length - (1 - QUANTILE) * self.period + self._USUAL
        yield Draw(starts, waits + self._USUAL, self.seconds), {factor: factor * p95 for factor in factors}


@dataclass(frozen=True, slots=True)
class Phases:
    """Exponential times, five times as long for `length` seconds of every `period` seconds."""

    period: float
    length: float
    seconds: int

    _SLOWER = 5.0

    def __str__(self) -> str:
        return f"{self.length:g} s slow every {self.period:g} s, {self.seconds} s"

    def runs(
        self, random: np.random.Generator, factors: Sequence[float]
    ) -> Iterator[tuple[Draw, dict[float, float]]]:
        from scipy import optimize

        starts = _starts(random, self.seconds)
        is_slow = (starts - random.uniform(0, self.period)) % self.period < self.length
        share = self.length / self.period
        p95 = optimize.brentq(
            lambda x: share * math.exp(-x / self._SLOWER) + (1 - share) * math.exp(-x) - (1 - QUANTILE),
            0,
            100,
        )
        times = random.exponential(_USUAL, len(starts)) * np.where(is_slow, self._SLOWER, 1.0)
        yield Draw(starts, times, self.seconds), {factor: factor * _USUAL * p95 for factor in factors}


@dataclass(frozen=True, slots=True)
class Waves:
    """Lognormal times about a level that is a sine, ± 0.5 on the logarithm."""

    period: float
    seconds: int

    _SPREAD = 0.5
    _P95 = 2.7342
    """The true p95 as a multiple of the median, by numerical integration."""

    def __str__(self) -> str:
        return f"waves of {self.period:g} s, {self.seconds} s"

    def runs(
        self, random: np.random.Generator, factors: Sequence[float]
    ) -> Iterator[tuple[Draw, dict[float, float]]]:
        starts = _starts(random, self.seconds)
        level = np.sin(2 * np.pi * (starts / self.period + random.uniform()))
        times = _USUAL * np.exp(self._SPREAD * (level + random.normal(size=len(starts))))
        yield Draw(starts, times, self.seconds), {factor: factor * _USUAL * self._P95 for factor in factors}


@dataclass(frozen=True, slots=True)
class Oscillation:
    """Lognormal times about a level that swings with a period, and whose size and phase wander (AR(2))."""

    period: float
    memory: float
    """What a second keeps of the swing before it, as a share."""
    seconds: int

    _SPREAD = 0.5

    def __str__(self) -> str:
        return f"oscillation of {self.period:g} s at random, r {self.memory:g}, {self.seconds} s"

    def runs(
        self, random: np.random.Generator, factors: Sequence[float]
    ) -> Iterator[tuple[Draw, dict[float, float]]]:
        starts = _starts(random, self.seconds)
        level = _swinging(random, self.period, self.memory, self.seconds)[starts.astype(np.int64)]
        times = _USUAL * np.exp(self._SPREAD * (level + random.normal(size=len(starts))))
        p95 = _USUAL * math.exp(self._SPREAD * math.sqrt(2) * 1.6449)
        yield Draw(starts, times, self.seconds), {factor: factor * p95 for factor in factors}


@dataclass(frozen=True, slots=True)
class Failures:
    """The error rate of a second wanders, or changes between two values; its mean is judged."""

    name: str
    seconds: int

    statistic = "error rate"

    def __str__(self) -> str:
        return f"error rate, {self.name}, {self.seconds} s"

    def runs(
        self, random: np.random.Generator, factors: Sequence[float]
    ) -> Iterator[tuple[Draw, dict[float, float]]]:
        starts = _starts(random, self.seconds)
        rates, mean = {
            "independent": _constant,
            "level, φ 0.9": _wandering_rate,
            "lognormal level, φ 0.8": _skewed_rate,
            "on and off for 5 s": _switching(5, 5),
            "for 3 s of 30": _switching(3, 27),
            "for 15 s of 30": _switching(15, 15),
        }[self.name](random, self.seconds)
        failed = random.random(len(starts)) < rates[starts.astype(np.int64)]
        times = random.exponential(_USUAL, len(starts))
        yield Draw(starts, times, self.seconds, failed), {factor: factor * mean for factor in factors}


def _constant(_random: np.random.Generator, seconds: int) -> tuple[Floats, float]:
    return np.full(seconds, 0.01), 0.01


def _wandering_rate(random: np.random.Generator, seconds: int) -> tuple[Floats, float]:
    return 0.1 + 0.03 * _wandering(random, 0.9, seconds).clip(-3, 3), 0.1


def _skewed_rate(random: np.random.Generator, seconds: int) -> tuple[Floats, float]:
    return 0.05 * np.exp(0.5 * _wandering(random, 0.8, seconds)), 0.05 * math.exp(0.5**2 / 2)


def _switching(on: float, off: float) -> Callable[[np.random.Generator, int], tuple[Floats, float]]:
    """A tenth fails for `on` seconds on average, and none for `off` seconds on average."""

    def rates(random: np.random.Generator, seconds: int) -> tuple[Floats, float]:
        leaves = {True: 1 / on, False: 1 / off}
        is_on = random.random() < on / (on + off)
        states = []
        for draw in random.random(seconds):
            states.append(is_on)
            is_on = is_on if draw >= leaves[is_on] else not is_on
        return np.where(states, 0.1, 0.0), 0.1 * on / (on + off)

    return rates


@dataclass(frozen=True, slots=True)
class Skewed:
    """Independent times of which few make much of the sum; their mean is judged."""

    name: str
    seconds: int

    statistic = "mean"

    def __str__(self) -> str:
        return f"mean, {self.name}, {self.seconds} s"

    def runs(
        self, random: np.random.Generator, factors: Sequence[float]
    ) -> Iterator[tuple[Draw, dict[float, float]]]:
        starts = _starts(random, self.seconds)
        times, mean = {
            "exponential": _exponential,
            "Pareto 2.1": _pareto_light,
            "Pareto 1.5 up to 10 s": _pareto_cut,
            "lognormal, sd 2": _lognormal,
            "0.05 % of 5 s": _rare,
        }[self.name](random, len(starts))
        yield Draw(starts, times, self.seconds), {factor: factor * mean for factor in factors}


def _exponential(random: np.random.Generator, number: int) -> tuple[Floats, float]:
    return random.exponential(_USUAL, number), _USUAL


def _pareto_light(random: np.random.Generator, number: int) -> tuple[Floats, float]:
    return 0.01 * (1 - random.random(number)) ** (-1 / 2.1), 0.01 * 2.1 / 1.1


def _pareto_cut(random: np.random.Generator, number: int) -> tuple[Floats, float]:
    times = np.minimum(0.01 * (1 - random.random(number)) ** (-1 / 1.5), 10.0)
    return times, 0.01 + 0.01**1.5 * (0.01**-0.5 - 10**-0.5) / 0.5


def _lognormal(random: np.random.Generator, number: int) -> tuple[Floats, float]:
    return _USUAL * np.exp(2 * random.normal(size=number)), _USUAL * math.exp(2)


def _rare(random: np.random.Generator, number: int) -> tuple[Floats, float]:
    share = 0.0005
    return np.where(random.random(number) < share, 5.0, _USUAL), share * 5.0 + (1 - share) * _USUAL


@dataclass(frozen=True, slots=True)
class MeanOf:
    """The mean of a queue or of a wandering level."""

    row: Queue | Levels

    statistic = "mean"

    def __str__(self) -> str:
        return f"mean, {self.row}"

    @property
    def seconds(self) -> int:
        """The length of the window in seconds."""
        return self.row.seconds

    def runs(
        self, random: np.random.Generator, factors: Sequence[float]
    ) -> Iterator[tuple[Draw, dict[float, float]]]:
        ((draw, _),) = self.row.runs(random, factors)
        yield draw, {factor: factor * self.row.mean for factor in factors}


ROWS: tuple[Row, ...] = (
    Queue(0.5, 60),
    Queue(0.8, 60),
    Queue(0.8, 300),
    Queue(0.95, 60),
    Queue(0.95, 300),
    Queue(0.95, 1200),
    Levels(0.0, 60),
    Levels(0.9, 60),
    Levels(0.9, 300),
    Levels(0.98, 300),
    Mixture(0.05, 60),
    Mixture(0.05, 300),
    Bursts(60),
    Bursts(300),
    Spells(2, 1200),
    Spells(5, 1200),
    Spells(10, 1200),
    Stalls(10, 1.5, 60),
    Stalls(10, 1.5, 63),
    Stalls(10, 1.5, 300),
    Stalls(10, 1.5, 300, jitter=0.1),
    Stalls(7, 0.7, 42, rate=150),
    Stalls(7, 0.7, 300, rate=150),
    Phases(60, 6, 300),
    Phases(60, 6, 330),
    Waves(60, 300),
    Waves(120, 300),
    Oscillation(8, 0.9, 60),
    Oscillation(10, 0.95, 300),
    Failures("independent", 60),
    Failures("level, φ 0.9", 300),
    Failures("lognormal level, φ 0.8", 300),
    Failures("on and off for 5 s", 300),
    Failures("for 3 s of 30", 300),
    Failures("for 15 s of 30", 300),
    Skewed("exponential", 60),
    Skewed("Pareto 2.1", 60),
    Skewed("Pareto 2.1", 300),
    Skewed("Pareto 1.5 up to 10 s", 60),
    Skewed("Pareto 1.5 up to 10 s", 300),
    Skewed("lognormal, sd 2", 60),
    Skewed("lognormal, sd 2", 300),
    Skewed("0.05 % of 5 s", 60),
    Skewed("0.05 % of 5 s", 300),
    MeanOf(Queue(0.5, 60)),
    MeanOf(Queue(0.8, 60)),
    MeanOf(Queue(0.8, 300)),
    MeanOf(Levels(0.9, 300)),
)
FEW_EVENTS: dict[Row, float] = {Spells(5, 1200): 0.065, Spells(10, 1200): 0.10}
"""Twelve spells and six in a window: who has not seen them cannot know of them, and no rule here did better."""
UNKNOWABLE: tuple[Row, ...] = (
    Stalls(100, 15, 60),
    Oscillation(10, 0.98, 300),
    Waves(600, 60),
    Spells(10, 300),
    MeanOf(Queue(0.95, 60)),
    MeanOf(Levels(0.9, 60)),
    MeanOf(Levels(0.98, 300)),
)


def _starts(random: np.random.Generator, seconds: int, rate: int = _RATE) -> Floats:
    return np.sort(random.uniform(0, seconds, random.poisson(rate * seconds)))


def _wandering(random: np.random.Generator, memory: float, seconds: int) -> Floats:
    """An AR(1) process of variance 1, by second."""
    level = np.empty(seconds)
    level[0] = random.normal()
    steps = math.sqrt(1 - memory**2) * random.normal(size=seconds)
    for second in range(1, seconds):
        level[second] = memory * level[second - 1] + steps[second]
    return level


def _swinging(random: np.random.Generator, period: float, memory: float, seconds: int) -> Floats:
    """An AR(2) process of variance 1 that swings with a period, by second."""
    one, two = 2 * memory * math.cos(2 * math.pi / period), -(memory**2)
    level = [0.0, 0.0]
    for step in random.normal(size=seconds + 500):
        level.append(one * level[-1] + two * level[-2] + step)
    variance = (1 - two) / ((1 + two) * ((1 - two) ** 2 - one**2))
    return np.array(level[-seconds:]) / math.sqrt(variance)


def traffic_from(starts: Floats, times: Floats, seconds: int) -> Traffic:
    """Operations that all succeed, in a window of so many seconds."""
    second = starts.astype(np.int64)
    timed = np.zeros((seconds, 3))
    timed[:, 0] = np.bincount(second, minlength=seconds)
    timed[:, 1] = np.bincount(second, times, seconds)
    np.maximum.at(timed[:, 2], second, times)
    ones = np.ones(len(second), np.int64)
    bucket = buckets.indices(times)
    return Traffic(seconds, second, bucket, bucket, ones, timed, timed[:, 0].astype(np.int64))
