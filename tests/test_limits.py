"""Limits at the end of what is possible: nothing, everything, and more than that."""

import math

import numpy as np
import pytest

from loadkit import grammar
from loadkit.criterion import Comparison
from loadkit.errors import PhraseError
from loadkit.verdict import Status
from tests.builders import (
    availability,
    error_rate,
    judge,
    plan_of,
    response_time,
    run_of,
    samples_of,
    throughput,
)

SECONDS = 60
STARTS = np.arange(SECONDS * 100) / 100


def steady(outcome="ok"):
    """Exactly a hundred operations per second, each of 5 ms."""
    return run_of(samples_of(STARTS, np.full(len(STARTS), 0.005), outcome=outcome), plan_of(SECONDS))


@pytest.mark.parametrize("limit", [math.inf, -math.inf, math.nan])
def test_a_criterion_needs_a_finite_limit(limit):
    with pytest.raises(ValueError, match="expected a finite number, such as"):
        response_time(limit=limit)


@pytest.mark.parametrize("limit", [1e9, 1e15])
@pytest.mark.parametrize("statistic", ["", "mean", "max"])
def test_a_limit_far_above_every_time_passes(limit, statistic):
    criterion = response_time(
        None if statistic else 0.95, limit, Comparison.NEVER_EXCEEDS, statistic=statistic
    )
    assert judge(criterion, steady()).status is Status.PASS


def test_a_sentence_with_a_time_of_nothing_is_refused():
    with pytest.raises(PhraseError, match=r"nothing takes 0 s; expected a time, such as 500 ms"):
        grammar.criterion("the p95 response time is below 0 ms")


@pytest.mark.parametrize(
    ("comparison", "status"),
    [
        (Comparison.IS_AT_LEAST, Status.PASS),
        (Comparison.NEVER_FALLS_BELOW, Status.PASS),
        (Comparison.IS_BELOW, Status.FAIL),
        (Comparison.IS_AT_MOST, Status.PASS),
        (Comparison.STAYS_BELOW, Status.FAIL),
    ],
)
def test_a_throughput_that_is_always_the_limit_is_decided_by_the_words(comparison, status):
    assert judge(throughput(100, comparison), steady()).status is status


def test_no_success_at_all_is_no_throughput_above_nothing():
    assert judge(throughput(0), steady("refused")).status is Status.FAIL


@pytest.mark.parametrize("comparison", [Comparison.STAYS_ABOVE, Comparison.NEVER_FALLS_BELOW])
def test_a_service_that_shall_fail_and_does_passes(comparison):
    criterion = error_rate(0.5, comparison)
    assert judge(criterion, steady("refused")).status is Status.PASS
    assert judge(criterion, steady()).status is Status.FAIL


def test_an_availability_that_is_never_above_its_limit_passes():
    assert judge(availability(0.5, Comparison.NEVER_EXCEEDS), steady("refused")).status is Status.PASS
    assert judge(availability(0.5, Comparison.NEVER_EXCEEDS), steady()).status is Status.FAIL
