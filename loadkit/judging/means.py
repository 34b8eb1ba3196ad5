"""Judge means of the operations' times."""

import math

import numpy as np
import numpy.typing as npt

from loadkit.criterion import Criterion
from loadkit.judging.correlation import whole_effect
from loadkit.judging.finding import Finding, decide, subject
from loadkit.judging.shares import interval_of
from loadkit.judging.spells import Spells, confidence_of_each, in_spells, spell_starts, weigh
from loadkit.judging.statistics import (
    FARTHEST,
    Mean,
    mean_of_seconds,
    student_quantile,
    without_events,
)
from loadkit.recording.histogram import FAILED
from loadkit.recording.traffic import Traffic
from loadkit.units import format_ratio
from loadkit.verdict import Status

__all__ = ["FAILED_IN_MEAN", "examine_mean"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]

_FEW = 33.0
"""The relative increase of a mean's variance is this number, divided by the effective number of
operations. Few operations give a poor estimate of their correlation. Found by simulation.
"""
_MEAN_QUANTILE = 0.95
"""The correlation of the operations is estimated for this quantile, and used for their mean."""
_LEAST = 20
"""The fewest operations whose mean can pass. If one operation in seven is slow, fewer operations
are often all quick by chance."""
FAILED_IN_MEAN = 0.01
"""A mean is undefined if a larger share of the operations than this failed."""


def examine_mean(criterion: Criterion, traffic: Traffic, *, lulls: Booleans | None = None) -> Finding:
    """Judge the mean time of the operations.

    A failed operation counts with the time it took, such as a time limit, and at least with the
    mean of the others. So failures never lower a mean. The same is true for a lower limit ("the
    mean is above …"). If surely more than 1 % of the operations failed (95 % confidence), the
    criterion is violated, whatever the other times are. If more than 1 % failed without that
    confidence, the criterion is not satisfied.
    """
    if not traffic.timed[:, 0].any():
        return Finding(
            Status.FAIL, f"{subject(criterion)} is undefined: every operation failed", samples=traffic.size
        )
    mean = mean_of_seconds(traffic.timed[:, 1], traffic.timed[:, 0])
    is_upper, limit = criterion.comparison.is_upper, criterion.limit
    interval = (max(0.0, mean.lower), _highest_mean(traffic, mean))
    if is_upper and interval[0] <= limit < mean.value:
        # As for a share, an outage must not cast doubt on a certain violation.
        number = traffic.timed[:, 0]
        rest = (spent for spent, _ in without_events(traffic.timed[:, 1], number))
        lowers = (mean_of_seconds(each, number).lower for each in rest if each.sum() > limit * number.sum())
        interval = (next((each for each in lowers if each > limit), interval[0]), interval[1])
    failing = traffic.failed / traffic.size
    reach = interval[1] - mean.value if (mean.value < limit) is is_upper else mean.value - interval[0]
    status, reason = decide(
        criterion,
        mean.value,
        interval,
        satisfied=interval[1] < limit if is_upper else interval[0] > limit,
        violated=interval[0] > limit if is_upper else interval[1] < limit,
        growth=math.inf if mean.value == limit else max(1.0, (reach / (mean.value - limit)) ** 2),
        seconds=traffic.seconds,
        size=traffic.size,
    )
    finding = Finding(
        status,
        reason,
        mean.value,
        interval,
        traffic.size,
        details={"independent_batches": mean.worth, "failed": traffic.failed, "standard_error": mean.error},
    )
    if failing > FAILED_IN_MEAN and status is not Status.FAIL:
        attempts, failures = traffic.per_second(), traffic.per_second(FAILED)
        is_violated = interval_of(attempts, failures, FAILED_IN_MEAN)[0] > FAILED_IN_MEAN
        return finding.become(
            Status.FAIL if is_violated else Status.INCONCLUSIVE,
            f"{subject(criterion)} is undefined: {format_ratio(failing)} of the operations failed, and at most "
            f"{format_ratio(FAILED_IN_MEAN)} may; without them, {reason}",
        )
    if status is Status.PASS and traffic.size < _LEAST:
        return finding.become(
            Status.INCONCLUSIVE,
            f"{finding.value_in_words}, of {traffic.size} operations; a mean needs at least {_LEAST}",
        )
    return weigh(criterion, finding, _mean_spells(criterion, traffic, lulls))


def _highest_mean(traffic: Traffic, mean: Mean) -> float:
    """The upper bound of a mean of times. Times are skewed: a few of them make up much of the sum.

    A window often shows too few of the longest times. Then both the mean and its error are too
    small, and the usual bound passes 10 % to 20 % of the runs at the limit. Therefore the bound
    assumes one more second that is as bad as the worst one. It also allows for the uncertainty of
    the error itself if operations are correlated (`_FEW`, as for a percentile). Its half-width is
    taken on a logarithmic scale.
    """
    number, spent = traffic.timed[:, 0], traffic.timed[:, 1]
    one_more = float((spent - mean.value * number).max()) / float(number.sum())
    size = traffic.size / whole_effect(traffic, _MEAN_QUANTILE)
    error = math.hypot(mean.error * math.sqrt(1 + _FEW / size), one_more)
    half_width = error / mean.error * mean.half_width if mean.error else 0.0
    if not mean.value:  # all times are 0
        return one_more
    return mean.value * math.exp(min(half_width / mean.value, FARTHEST)) + one_more


def _mean_spells(criterion: Criterion, traffic: Traffic, lulls: Booleans | None) -> Spells:
    """Compare each spell window's mean with the limit; the seconds of the window give the error."""
    starts = spell_starts(traffic.seconds)
    lengths = np.diff(np.append(starts, traffic.seconds))
    number, spent = in_spells(traffic.timed[:, 0]), in_spells(traffic.timed[:, 1])
    means = np.divide(spent, number, out=np.full(len(number), float(criterion.limit)), where=number > 0)
    spread = in_spells((traffic.timed[:, 1] - np.repeat(means, lengths) * traffic.timed[:, 0]) ** 2)
    freedom = np.maximum(lengths - 1, 1)
    error = np.sqrt(spread * lengths / freedom) / np.maximum(number, 1)
    half_width = error * [student_quantile(confidence_of_each(len(number)), degrees) for degrees in freedom]
    over = (
        means - half_width > criterion.limit
        if criterion.comparison.is_upper
        else means + half_width < criterion.limit
    )
    return Spells.of(np.asarray(over), lulls)
