"""How often a verdict errs, by simulation: `python -m tests.known_answers.verdict_table [RUNS]` prints the table.

Each run is an M/M/1 queue (service rate 100/s, utilization ρ), whose sojourn times are exponential with rate μ(1−ρ),
so that the true p95 is known, and whose neighbours in time are the more alike the nearer ρ is to one. A row judges p95
against f times its true value and counts pass % / fail %. At f = 1 both are wrong, and may come to 5 % each.
"""

import math
import sys
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from loadkit import buckets
from loadkit.criterion import Comparison, Criterion, Family, Measure, Unit
from loadkit.judging.times import examine_percentile
from loadkit.judging.traffic import Traffic
from loadkit.verdict import Status

__all__ = ["FACTORS", "ROWS", "Row", "mm1", "outcomes", "traffic_from"]

Floats = npt.NDArray[np.float64]

SERVICE_RATE = 100.0
FACTORS = (0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 6.0)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    utilization: float
    seconds: int

    @property
    def p95(self) -> float:
        """The true one, in seconds."""
        return -math.log(0.05) / (SERVICE_RATE * (1 - self.utilization))


ROWS = (Row(0.5, 60), Row(0.8, 60), Row(0.8, 300), Row(0.95, 60), Row(0.95, 300), Row(0.95, 1200))


def mm1(random: np.random.Generator, row: Row) -> tuple[Floats, Floats]:
    """Arrivals and sojourn times of a queue that was in its steady state from the start (Lindley's recursion)."""
    arrival_rate = row.utilization * SERVICE_RATE
    number = int(arrival_rate * row.seconds * 1.5) + 100
    arrivals = np.cumsum(random.exponential(1 / arrival_rate, number))
    arrivals = arrivals[arrivals < row.seconds]
    service = random.exponential(1 / SERVICE_RATE, len(arrivals))
    is_busy = random.random() < row.utilization
    first = random.exponential(1 / (SERVICE_RATE - arrival_rate)) if is_busy else 0.0
    walk = np.cumsum(np.concatenate([[first], service[:-1] - np.diff(arrivals)]))
    waiting = walk - np.minimum(np.minimum.accumulate(walk), 0)
    return arrivals, waiting + service


def traffic_from(starts: Floats, times: Floats, seconds: int) -> Traffic:
    """Operations that all succeed, in a window of so many seconds."""
    second = starts.astype(np.int64)
    timed = np.zeros((seconds, 3))
    timed[:, 0] = np.bincount(second, minlength=seconds)
    timed[:, 1] = np.bincount(second, times, seconds)
    np.maximum.at(timed[:, 2], second, times)
    ones = np.ones(len(second), np.int64)
    return Traffic(seconds, second, buckets.indices(times), ones, timed, timed[:, 0].astype(np.int64))


def p95_below(limit: float) -> Criterion:
    """The criterion that a row judges."""
    measure = Measure("response time", Family.TIME, Unit.SECONDS, 0.95, "p95")
    return Criterion(f"p95 is below {limit} s", measure, Comparison.IS_BELOW, limit)


def outcomes(
    row: Row, factors: tuple[float, ...], runs: int, seed: int = 1
) -> dict[float, tuple[float, float]]:
    """The shares of runs that pass and that fail, for each factor."""
    random = np.random.default_rng(seed)
    counts = {factor: [0, 0] for factor in factors}
    for _ in range(runs):
        traffic = traffic_from(*mm1(random, row), row.seconds)
        for factor in factors:
            status = examine_percentile(p95_below(factor * row.p95), traffic).status
            counts[factor][0] += status is Status.PASS
            counts[factor][1] += status is Status.FAIL
    return {factor: (passed / runs, failed / runs) for factor, (passed, failed) in counts.items()}


def main() -> None:
    """Print the table."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    print(f"pass % / fail % of {runs} runs of an M/M/1 queue, p95 against f times its true value\n")
    print("| ρ, time | " + " | ".join(f"f {factor:g}" for factor in FACTORS) + " |")
    print("|---" * (len(FACTORS) + 1) + "|")
    for row in ROWS:
        shares = outcomes(row, FACTORS, runs)
        cells = [f"{100 * passed:.0f}/{100 * failed:.0f}" for passed, failed in shares.values()]
        print(f"| {row.utilization:g}, {row.seconds} s | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
