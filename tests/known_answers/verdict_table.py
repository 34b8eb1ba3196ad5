"""How often a verdict errs, by simulation: `python -m tests.known_answers.verdict_table [RUNS]` prints the table.

Each row is a process whose true p95 is known, and whose neighbours in time are more or less alike. It is judged against
limits that the truth keeps by a factor f, and the table counts pass % / fail %, for the suite's rule and beside it for
the one that it replaced (`by_batches`). At f = 1 both verdicts are wrong, and may come to 5 % each; the last column says
below what the worse of them lies with 97.5 % confidence, as a simulation errs too.

What was traded (2000 runs): the replaced rule passes more often at f = 1.25 where a queue is well used (34 % against 23 %
at ρ 0.8 over 60 s), and errs there as often: it passes up to 9 % of the runs at f = 1. Held to 5 % it would pass as
seldom as the rule in use. Further away, and where a window is worth fewer than sixty operations, it cannot decide at all.
A machine's noise upon the fast ones of a mixture left the replaced rule in doubt of what the slow ones say, however long
the window; the rule in use fails 98 % of the minutes in which 6.25 % are slow, and passes 96 % of those with 4 %.
Neither rule sees what did not happen: of spells that come six times in a window on average, as many as one run in ten
shows too few to tell.
"""

import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from loadkit.criterion import Comparison, Criterion, Family, Measure, Unit
from loadkit.judging.percentiles import examine_percentile
from loadkit.judging.statistics import (
    batch_edges,
    bounds,
    design_effect,
    effective_size,
    is_surely_above,
    is_surely_below,
    persistence,
)
from loadkit.recording import histogram as buckets
from loadkit.recording.traffic import Traffic
from loadkit.verdict import Status

__all__ = [
    "FACTORS",
    "ROWS",
    "Bursts",
    "Levels",
    "Mixture",
    "Queue",
    "Row",
    "Spells",
    "by_suite",
    "outcomes",
    "traffic_from",
]

Floats = npt.NDArray[np.float64]
Rule = Callable[[Traffic, Sequence[float]], list[Status]]
"""From the traffic and limits of p95, in seconds, to a verdict for each."""

FACTORS = (0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 6.0)
SELDOM = (1.0, 2.0)
"""Those of processes that have to be drawn anew for each."""
SERVICE_RATE = 100.0
QUANTILE = 0.95
_RATE = 100
"""Operations per second of the processes that are no queue."""
_USUAL = 0.02
_BETWEEN = 0.4
"""A limit between the usual times and the slow ones, in seconds."""


class Row(Protocol):
    """A process of known p95."""

    seconds: int

    def runs(
        self, random: np.random.Generator, factors: Sequence[float]
    ) -> Iterator[tuple[Traffic, dict[float, float]]]:
        """What is to be judged once at each factor: traffic, with the limits in seconds by factor."""
        ...


@dataclass(frozen=True, slots=True)
class Queue:
    """M/M/1: sojourn times are exponential, with rate μ(1−ρ)."""

    utilization: float
    seconds: int

    def __str__(self) -> str:
        return f"queue, ρ {self.utilization:g}, {self.seconds} s"

    @property
    def p95(self) -> float:
        """The true one, in seconds."""
        return -math.log(1 - QUANTILE) / (SERVICE_RATE * (1 - self.utilization))

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
    ) -> Iterator[tuple[Traffic, dict[float, float]]]:
        traffic = traffic_from(*self.times(random), self.seconds)
        yield traffic, {factor: factor * self.p95 for factor in factors}


@dataclass(frozen=True, slots=True)
class Levels:
    """Lognormal times about a level that wanders from second to second as an AR(1) process; φ = 0: independent."""

    memory: float
    seconds: int

    _SPREAD = 0.5

    def __str__(self) -> str:
        return f"level, φ {self.memory:g}, {self.seconds} s"

    def runs(
        self, random: np.random.Generator, factors: Sequence[float]
    ) -> Iterator[tuple[Traffic, dict[float, float]]]:
        starts = _starts(random, self.seconds)
        level = _wandering(random, self.memory, self.seconds)
        each = random.normal(size=len(starts)) + level[starts.astype(np.int64)]
        traffic = traffic_from(starts, _USUAL * np.exp(self._SPREAD * each), self.seconds)
        p95 = _USUAL * math.exp(self._SPREAD * math.sqrt(2) * 1.6449)
        yield traffic, {factor: factor * p95 for factor in factors}


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
    ) -> Iterator[tuple[Traffic, dict[float, float]]]:
        for factor in factors:
            starts = _starts(random, self.seconds)
            level = _wandering(random, self._MEMORY, self.seconds)
            each = level[starts.astype(np.int64)] + 0.5 * random.normal(size=len(starts))
            is_slow = random.random(len(starts)) < (1 - QUANTILE) / factor
            times = np.where(is_slow, self._SLOW, _USUAL * np.exp(self.wandering * each))
            yield traffic_from(starts, times, self.seconds), {factor: _BETWEEN}


@dataclass(frozen=True, slots=True)
class Spells:
    """Slow spells of `length` seconds on average, come at random; they take 5 % of the time, divided by f."""

    length: float
    seconds: int

    def __str__(self) -> str:
        return f"spells of {self.length:g} s, {self.seconds} s"

    def runs(
        self, random: np.random.Generator, factors: Sequence[float]
    ) -> Iterator[tuple[Traffic, dict[float, float]]]:
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
            yield traffic_from(starts, times, self.seconds), {factor: _BETWEEN}


@dataclass(frozen=True, slots=True)
class Bursts:
    """Twenty slow ones in a row, come at random; they are 5 % of the operations, divided by f."""

    seconds: int

    _LENGTH = 20

    def __str__(self) -> str:
        return f"bursts of {self._LENGTH}, {self.seconds} s"

    def runs(
        self, random: np.random.Generator, factors: Sequence[float]
    ) -> Iterator[tuple[Traffic, dict[float, float]]]:
        for factor in factors:
            starts = _starts(random, self.seconds)
            times = random.exponential(_USUAL, len(starts))
            # Where bursts may overlap, 1 − exp(−rate · length) of the operations lie in one.
            rate = -math.log(1 - (1 - QUANTILE) / factor) / self._LENGTH
            first = np.flatnonzero(random.random(len(starts) + self._LENGTH) < 1 - math.exp(-rate))
            slow = (first[:, np.newaxis] + np.arange(1 - self._LENGTH, 1)).ravel()
            times[slow[(slow >= 0) & (slow < len(starts))]] += 1.0
            yield traffic_from(starts, times, self.seconds), {factor: _BETWEEN}


ROWS: tuple[Row, ...] = (
    Queue(0.5, 60),
    Queue(0.8, 60),
    Queue(0.8, 300),
    Queue(0.95, 60),
    Queue(0.95, 300),
    Queue(0.95, 1200),
    Levels(0.0, 60),
    Levels(0.9, 300),
    Levels(0.98, 300),
    Mixture(0.05, 60),
    Mixture(0.05, 300),
    Bursts(60),
    Bursts(300),
    Spells(2, 1200),
    Spells(5, 1200),
    Spells(10, 1200),
)


def _starts(random: np.random.Generator, seconds: int) -> Floats:
    return np.sort(random.uniform(0, seconds, random.poisson(_RATE * seconds)))


def _wandering(random: np.random.Generator, memory: float, seconds: int) -> Floats:
    """An AR(1) process of variance 1, by second."""
    level = np.empty(seconds)
    level[0] = random.normal()
    steps = math.sqrt(1 - memory**2) * random.normal(size=seconds)
    for second in range(1, seconds):
        level[second] = memory * level[second - 1] + steps[second]
    return level


def traffic_from(starts: Floats, times: Floats, seconds: int) -> Traffic:
    """Operations that all succeed, in a window of so many seconds."""
    second = starts.astype(np.int64)
    timed = np.zeros((seconds, 3))
    timed[:, 0] = np.bincount(second, minlength=seconds)
    timed[:, 1] = np.bincount(second, times, seconds)
    np.maximum.at(timed[:, 2], second, times)
    ones = np.ones(len(second), np.int64)
    return Traffic(seconds, second, buckets.indices(times), ones, timed, timed[:, 0].astype(np.int64))


def by_suite(traffic: Traffic, limits: Sequence[float]) -> list[Status]:
    """The verdicts of the rule in use: on which side of each limit is the interval?"""
    measure = Measure("response time", Family.TIME, Unit.SECONDS, QUANTILE, "p95")
    criterion = Criterion("p95 is below the limit", measure, Comparison.IS_BELOW, limits[0])
    interval = examine_percentile(criterion, traffic).interval
    assert interval is not None
    return [_status(interval[1] <= limit, interval[0] > limit) for limit in limits]


def by_batches(traffic: Traffic, limits: Sequence[float]) -> list[Status]:
    """The verdicts of the rule that was replaced: the largest design effect, of thirty batches, at the limit and in the bulk.

    It is that of the median, p75, p90 and the limit, times (1+r)/(1−r) with r the correlation of the batches' means.
    """
    edges = batch_edges(traffic.seconds)
    used, counts = traffic.by_batch(edges)
    sizes = counts.sum(axis=1)
    beyond = np.cumsum(counts[:, ::-1], axis=1)[:, ::-1].sum(axis=0)
    bulk = [used[np.searchsorted(-beyond, -(1 - quantile) * sizes.sum())] for quantile in (0.5, 0.75, 0.9)]
    thresholds = [*map(buckets.index, limits), *bulk]
    hits = np.column_stack([counts[:, used >= threshold].sum(axis=1) for threshold in thresholds])
    sums = np.add.reduceat(traffic.timed[:, 1], edges[:-1])
    means = np.divide(sums, sizes, out=np.full(len(sizes), np.nan), where=sizes > 0)
    effects = design_effect(hits, sizes)
    worst = np.maximum(effects[: len(limits)], effects[len(limits) :].max()) * persistence(means)
    worth = effective_size(float(sizes.sum()), worst, len(sizes))
    over = worth * hits[:, : len(limits)].sum(axis=0) / sizes.sum()
    satisfied, violated = (test(over, worth, 1 - QUANTILE) for test in (is_surely_below, is_surely_above))
    return [_status(*sure) for sure in zip(satisfied, violated, strict=True)]


def _status(satisfied: bool, violated: bool) -> Status:
    return Status.PASS if satisfied else Status.FAIL if violated else Status.INCONCLUSIVE


def outcomes(
    row: Row, factors: Sequence[float], runs: int, rules: Sequence[Rule] = (by_suite,), seed: int = 1
) -> list[dict[float, tuple[float, float]]]:
    """For each rule, the shares of runs that pass and that fail, by factor."""
    random = np.random.default_rng(seed)
    found = [{factor: Counter[Status]() for factor in factors} for _ in rules]
    for _ in range(runs):
        for traffic, limits in row.runs(random, factors):
            for rule, statuses in zip(rules, found, strict=True):
                for factor, status in zip(limits, rule(traffic, [*limits.values()]), strict=True):
                    statuses[factor][status] += 1
    return [
        {factor: (count[Status.PASS] / runs, count[Status.FAIL] / runs) for factor, count in statuses.items()}
        for statuses in found
    ]


def main() -> None:
    """Print the table."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    print(f"pass % / fail % of {runs} runs; second line of each row: the rule that was replaced\n")
    print("| process, window | " + " | ".join(f"f {factor:g}" for factor in FACTORS) + " | errs |")
    print("|---" * (len(FACTORS) + 2) + "|")
    for row in ROWS:
        factors = FACTORS if isinstance(row, Queue | Levels | Mixture) else SELDOM
        found = outcomes(row, factors, runs, (by_suite, by_batches))
        for name, shares in zip((str(row), ""), found, strict=True):
            cells = [
                "{:.1f}/{:.1f}".format(*(100 * share for share in shares[factor])) if factor in shares else ""
                for factor in FACTORS
            ]
            _, most = bounds(max(shares[1.0]) * runs, runs, 0.975)
            print(f"| {name} | " + " | ".join(cells) + f" | below {100 * most:.1f} |", flush=True)


if __name__ == "__main__":
    main()
