"""How often a verdict errs, by simulation: `python -m tests.known_answers.verdict_table [RUNS]` prints the table.

Each row is a process whose true p95 (or mean, or error rate) is known, and whose neighbours in time are more or less alike. Its runs
are judged through the whole path (`judge`), against limits that the truth keeps by a factor f. The table counts
pass % / fail %. At f = 1 both verdicts are wrong, and may come to 5 % each. The last column says below what the worse
of them lies with 97.5 % confidence, as a simulation errs too.

Rows of `UNKNOWABLE` show what no window can know: what happens more rarely than the window sees, and a memory longer
than a tenth of it.
"""

import sys
from collections import Counter
from collections.abc import Sequence

import numpy as np

from loadkit.criterion import Criterion
from loadkit.judging.judge import judge
from loadkit.judging.statistics import bounds
from loadkit.verdict import Status
from tests.builders import error_rate, response_time
from tests.known_answers.processes import QUANTILE, ROWS, UNKNOWABLE, Bursts, Mixture, Row, Spells

__all__ = ["FACTORS", "outcomes"]

FACTORS = (0.7, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 6.0)
SELDOM = (1.0, 1.5, 2.0)
"""Those of processes that have to be drawn anew for each."""


def _criterion(row: Row, limit: float) -> Criterion:
    statistic = getattr(row, "statistic", "")
    if statistic == "error rate":
        return error_rate(limit)
    return response_time(None if statistic else QUANTILE, limit, statistic=statistic)


def outcomes(
    row: Row, factors: Sequence[float], runs: int, seed: int = 1
) -> dict[float, tuple[float, float]]:
    """The shares of runs that pass and that fail, by factor."""
    random = np.random.default_rng(seed)
    found = {factor: Counter[Status]() for factor in factors}
    for _ in range(runs):
        for draw, limits in row.runs(random, factors):
            evidence = draw.evidence
            for factor, limit in limits.items():
                found[factor][judge(_criterion(row, limit), evidence).status] += 1
    return {factor: (count[Status.PASS] / runs, count[Status.FAIL] / runs) for factor, count in found.items()}


def main() -> None:
    """Print the table."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    print(f"pass % / fail % of {runs} runs\n")
    for title, rows in (("process, window", ROWS), ("unknowable", UNKNOWABLE)):
        print(f"| {title} | " + " | ".join(f"f {factor:g}" for factor in FACTORS) + " | errs |")
        print("|---" * (len(FACTORS) + 2) + "|")
        for row in rows:
            factors = SELDOM if isinstance(row, Mixture | Bursts | Spells) else FACTORS
            shares = outcomes(row, factors, runs)
            cells = [
                "{:.1f}/{:.1f}".format(*(100 * share for share in shares[factor])) if factor in shares else ""
                for factor in FACTORS
            ]
            _, most = bounds(max(shares[1.0]) * runs, runs, 0.975)
            print(f"| {row} | " + " | ".join(cells) + f" | below {100 * most:.1f} |", flush=True)
        print()


if __name__ == "__main__":
    main()
