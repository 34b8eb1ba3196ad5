"""Turning successes into failures never raises a verdict, whatever the run: a search over runs."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from loadkit.criterion import Comparison
from loadkit.recording.sample import OK
from loadkit.verdict import Status
from tests.builders import availability, error_rate, judge, plan_of, response_time, run_of, samples_of

RANK = {Status.FAIL: 0, Status.INVALID: 1, Status.INCONCLUSIVE: 1, Status.PASS: 2}
REFUSED = "status 503"


def run_with(process, seed, seconds, rate, share):
    """Starts, times, and which operations fail, of a run in which a `share` is slow or fails."""
    random = np.random.default_rng(seed)
    starts = np.sort(random.uniform(0, seconds, rate * seconds))
    times = random.exponential(0.02, len(starts))
    match process:
        case "independent":
            is_bad = random.random(len(starts)) < share
        case "bursts":
            is_bad = np.repeat(random.random(seconds * 10) < share, rate // 10)
        case "recurring":
            is_bad = starts % 10 < 10 * share
        case "wandering":
            level = np.cumsum(random.normal(size=seconds)) / np.sqrt(seconds)
            times *= np.exp(level[starts.astype(int)])
            is_bad = random.random(len(starts)) < share
    return starts, np.where(is_bad, 1.0, times), is_bad


def worse(seed, starts, failed, span, where, how):
    """More failures: all or some of the operations in a part of the window."""
    random = np.random.default_rng(seed + 1)
    seconds = starts.max()
    inside = (starts >= where * seconds) & (starts < (where + span) * seconds)
    some = inside & (random.random(len(starts)) < how)
    return failed | some


def status_of(criterion, *, slow=0.0, failing=0.0, outage=(0.0, 0.0), seconds=60):
    """A minute in which shares are slow or fail independently, and everything fails in an outage."""
    random = np.random.default_rng(1)
    starts = np.sort(random.uniform(0, seconds, 100 * seconds))
    times = np.where(random.random(len(starts)) < slow, 1.0, random.exponential(0.02, len(starts)))
    failed = (random.random(len(starts)) < failing) | ((starts >= outage[0]) & (starts < outage[1]))
    outcomes = np.where(failed, REFUSED, OK).tolist()
    return judge(criterion, run_of(samples_of(starts, times, outcome=outcomes), plan_of(seconds))).status


@pytest.mark.parametrize("length", [0.5, 3, 4.5, 6, 12, 24])
@pytest.mark.parametrize("begin", [0, 7.3, 30])
def test_an_outage_does_not_put_a_sure_fail_in_doubt(begin, length):
    outage = (begin, begin + length)
    assert status_of(error_rate(0.01), failing=0.02) is Status.FAIL
    assert status_of(error_rate(0.01), failing=0.02, outage=outage) is Status.FAIL
    assert status_of(availability(0.99), failing=0.02, outage=outage) is Status.FAIL
    assert status_of(response_time(0.95, 0.5), slow=0.08) is Status.FAIL
    assert status_of(response_time(0.95, 0.5), slow=0.08, outage=outage) is Status.FAIL
    assert status_of(response_time(None, 0.05, statistic="mean"), slow=0.08, outage=outage) is Status.FAIL


CRITERIA = {
    "p50": lambda limit: response_time(0.5, limit),
    "p95": lambda limit: response_time(0.95, limit),
    "p99": lambda limit: response_time(0.99, limit),
    "stays": lambda limit: response_time(0.95, limit, Comparison.STAYS_BELOW),
    "never": lambda limit: response_time(0.95, limit, Comparison.NEVER_EXCEEDS),
    "mean": lambda limit: response_time(None, limit, statistic="mean"),
    "error rate": lambda limit: error_rate(limit / 10),
    "availability": lambda limit: availability(1 - limit / 10),
}
"""By a limit on times in seconds; a rate of failures is judged against a tenth of the number."""


@pytest.mark.parametrize("name", CRITERIA)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    process=st.sampled_from(["independent", "bursts", "recurring", "wandering"]),
    seed=st.integers(0, 1000),
    seconds=st.sampled_from([30, 60]),
    share=st.sampled_from([0.0, 0.004, 0.008, 0.02, 0.06, 0.08]),
    limit=st.sampled_from([0.015, 0.03, 0.05, 0.06, 0.08, 0.1, 0.5]),
    span=st.sampled_from([0.02, 0.05, 0.1, 0.2, 0.4, 1.0]),
    where=st.floats(0, 1),
    how=st.sampled_from([0.01, 0.1, 0.5, 1.0]),
    fails=st.booleans(),
)
@example("independent", 1, 60, 0.02, 0.1, 0.05, 0.4, 1.0, True)
@example("independent", 1, 60, 0.08, 0.1, 0.2, 0.4, 1.0, False)
def test_more_failures_never_raise_a_verdict(
    name, process, seed, seconds, share, limit, span, where, how, fails
):
    criterion = CRITERIA[name](limit)
    starts, times, is_bad = run_with(process, seed, seconds, 50, share)
    failed = is_bad & fails
    statuses = []
    for failures in (failed, worse(seed, starts, failed, span, where, how)):
        outcomes = np.where(failures, REFUSED, OK).tolist()
        verdict = judge(criterion, run_of(samples_of(starts, times, outcome=outcomes), plan_of(seconds)))
        statuses.append(verdict.status)
    assert RANK[statuses[1]] <= RANK[statuses[0]]
