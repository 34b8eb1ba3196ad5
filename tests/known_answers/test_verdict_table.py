"""Every row of the verdict table, judged through the whole path: at the limit a verdict errs in one of twenty at most."""

import math

import pytest

from tests.known_answers.processes import FEW_EVENTS, ROWS, Bursts, Levels, Mixture, Queue, Row, Spells
from tests.known_answers.verdict_table import outcomes

QUICK, ALL = 60, 2000
"""Runs of a row in `make test` and in `make prove`."""
LONGEST = 330
"""Seconds: of the windows that `make test` judges. Those of 1200 s take a minute each."""
ELSEWHERE = (Queue, Mixture, Bursts, Spells)
"""Processes of which `test_simulated` judges some rows in `make test`, near the limit and away from it."""


def errs_at_most(row: Row, runs: int) -> float:
    """5 %, or more where a window shows few events, and three standard deviations of so many runs."""
    share = FEW_EVENTS.get(row, 0.05)
    return share + 3 * math.sqrt(share * (1 - share) / runs)


def is_quick(row: Row) -> bool:
    is_elsewhere = isinstance(row, ELSEWHERE) or (isinstance(row, Levels) and row.memory <= 0.9)
    return row.seconds <= LONGEST and not is_elsewhere


@pytest.mark.parametrize("row", [row for row in ROWS if is_quick(row)], ids=str)
@pytest.mark.slow
def test_at_the_limit_a_verdict_seldom_errs(row):
    assert max(outcomes(row, (1.0,), QUICK)[1.0]) <= errs_at_most(row, QUICK)


@pytest.mark.prove
@pytest.mark.timeout(3600)  # the longest windows take a quarter of an hour
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_at_the_limit_a_verdict_errs_in_one_of_twenty_at_most(row):
    factors = (1.0,) if isinstance(row, Mixture | Bursts | Spells) else (0.8, 1.0)
    shares = outcomes(row, factors, ALL, seed=2)
    assert max(shares[1.0]) <= errs_at_most(row, ALL)
    assert shares.get(0.8, (0, 0))[0] <= 0.03
