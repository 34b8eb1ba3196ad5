"""Judge the service's gauges and counters (CPU, memory, pools, hit rates) from their readings.

They are judged over the steady window.
"""

import dataclasses
import math

import numpy as np
import numpy.typing as npt

from loadkit.criterion import Criterion, ScopeKind, Unit
from loadkit.judging.evidence import Case, Evidence
from loadkit.judging.finding import Finding, decide, listed, subject
from loadkit.judging.readings import LEAST, Points, lookback, partly_answered, points_of
from loadkit.judging.spells import SPELL, weigh
from loadkit.judging.statistics import batch_edges, mean_of_batches, persistence, theil_sen
from loadkit.judging.unseen import (
    TAIL,
    are_over,
    could_be_spell,
    is_certain,
    mean_could_be_over,
    missed,
    p95_could_be_over,
    spells_of,
)
from loadkit.observers.observation import Judged, Observation
from loadkit.units import distance, format_quantity, format_ratio, format_seconds
from loadkit.verdict import Status

__all__ = [
    "examine_gauge",
    "find_gauge",
    "unobserved",
]

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]

_TAIL_ERROR = math.sqrt(TAIL * (1 - TAIL))
"""√(q(1−q)). Divided by the density at the quantile, it is the standard error for one reading."""
_NORMAL_DENSITY = 0.1031
"""The density of the standard normal distribution at its p95."""
_NEARBY = 0.04
"""The density at the p95 is estimated between the quantiles this far below and above it."""


def unobserved(criterion: Criterion, evidence: Evidence) -> Finding | None:
    """The finding if the run did not observe a measure; None if it did."""
    observations = evidence.run.observations
    if criterion.measure.name in observations:
        return None
    known = listed(sorted(observations))
    return Finding(Status.NOT_JUDGED, f'"{criterion.measure.name}" was not observed; this run has {known}')


def find_gauge(case: Case) -> Finding:
    """Judge a named measure, or free PromQL, over the window."""
    run, window = case.evidence.run, case.window
    begin = run.started + window.start
    observation = run.observations[case.criterion.measure.name]
    return examine_gauge(case.criterion, observation, begin, begin + window.seconds)


def examine_gauge(criterion: Criterion, observation: Observation, start: float, end: float) -> Finding:
    """Judge a named measure between two Unix times, by instance; the worst instance decides.

    Time that was not scraped counts as bad. If it could change a pass, the result is inconclusive.

    If an instance cannot be judged, the result is the fail of another instance, or inconclusive. It
    is never a pass.
    """
    if observation.problem:
        return Finding(Status.INCONCLUSIVE, f"{subject(criterion)} was not observed: {observation.problem}")
    if not observation.series:
        return Finding(
            Status.INCONCLUSIVE, f"{subject(criterion)} was not observed: the source has no series for it"
        )
    is_by_instance = criterion.scope.kind is ScopeKind.INSTANCE
    if is_by_instance and not all(series.instance for series in observation.series):
        return Finding(
            Status.NOT_JUDGED,
            f"{subject(criterion)} cannot be judged on every instance: the source tells a value of all together",
        )
    seconds_back = lookback(observation.query)
    if seconds_back and end - start - seconds_back < LEAST * observation.scrape_interval:
        return Finding(
            Status.INCONCLUSIVE,
            f"{subject(criterion)} cannot be judged: it looks back {format_seconds(seconds_back)}, "
            f"and the window has {format_seconds(end - start)}",
        )
    # A reading that looks back ten seconds includes the ramp during the window's first ten seconds.
    window, start = (start, end), start + seconds_back
    present = [
        series
        for series in observation.series
        if _overlaps(observation.lifespans.get(series.instance, (start, end)), start, end)
    ]
    points = [points_of(observation, series, start, end) for series in present]
    findings = [_examine(criterion, observation, each, window) for each in points]
    if not findings:
        return Finding(Status.INCONCLUSIVE, f"{subject(criterion)}: no instance existed in the window")
    worst_first = (Status.FAIL, Status.INCONCLUSIVE, Status.PASS)
    sign = 1 if criterion.comparison.is_upper else -1

    def severity(finding: Finding) -> tuple[int, float]:
        if "infinite" in finding.details and finding.status is Status.FAIL:
            return worst_first.index(finding.status), -math.inf
        return worst_first.index(finding.status), -sign * (
            finding.measured if finding.measured is not None else -math.inf
        )

    worst = min(findings, key=severity)
    by_instance = {
        each.instance: finding.measured
        for each, finding in zip(points, findings, strict=True)
        if each.instance
    }
    warnings = [
        f"the counter of {each.instance or 'the source'} was reset {each.resets} times"
        for each in points
        if each.resets
    ]
    warnings += [
        f"{each.missing} of {each.scrapes} values of {each.instance or 'the source'} are missing"
        for each in points
        if each.missing
    ]
    if observation.warnings and partly_answered(observation) not in worst.reason:
        warnings.append(partly_answered(observation))
    return dataclasses.replace(
        worst,
        warnings=(*worst.warnings, *warnings),
        details={
            **worst.details,
            "by_instance": by_instance,
            "source": observation.source,
            "query": observation.query,
        },
    )


def _overlaps(life: tuple[float, float], start: float, end: float) -> bool:
    return life[0] < end and life[1] > start


def _examine(
    criterion: Criterion, observation: Observation, points: Points, window: tuple[float, float]
) -> Finding:
    on_instance = f" on {points.instance}" if points.instance else ""
    finding, doubt = _weighed(criterion, observation, points, window, on_instance)
    if finding is None or (points.problem and not _is_fail(criterion, observation, points, finding)):
        reason = f"{subject(criterion)}{on_instance} cannot be judged: {points.problem}"
        return Finding(Status.INCONCLUSIVE, reason)
    if points.problem:
        finding = finding.warned(f"{subject(criterion)}{on_instance}: {points.problem}")
    if doubt and finding.status is Status.PASS:
        finding = finding.become(Status.INCONCLUSIVE, f"{finding.value_in_words}, but {doubt}")
    trend = _trend(_bounded(points.values, criterion.limit)) if len(points.values) >= LEAST else ""
    if trend:
        finding = finding.warned(f"{subject(criterion)}{on_instance} {trend}")
    return finding


def _is_fail(criterion: Criterion, observation: Observation, points: Points, finding: Finding) -> bool:
    """Is a finding a fail, whatever the missing readings were?"""
    return finding.status is Status.FAIL and (
        _is_extreme(criterion, observation, points) or is_certain(criterion, observation.judged, points)
    )


def _is_extreme(criterion: Criterion, observation: Observation, points: Points) -> bool:
    """Does the largest (for a lower limit, the smallest) reading decide?

    The smallest share of counted events depends on chance: a single lookup that missed is 0 %. For
    such shares, "never" is judged by the ten-second windows that are surely over the limit.
    """
    is_always = criterion.comparison.holds_always and not points.is_counted
    return is_always or observation.judged is Judged.MAXIMUM


def _weighed(
    criterion: Criterion,
    observation: Observation,
    points: Points,
    window: tuple[float, float],
    on_instance: str,
) -> tuple[Finding | None, str]:
    """The finding on the readings, and a doubt about a pass; None if there are too few readings."""
    partly = partly_answered(observation) if observation.warnings else ""
    if _is_extreme(criterion, observation, points) and len(points.values):
        return _extreme(criterion, points, on_instance), missed(points, window[0]) or partly
    if len(points.values) < LEAST:
        return None, ""
    finding = _typical(criterion, observation.judged, points, window[1] - window[0], on_instance)
    doubt = (
        p95_could_be_over(criterion, points)
        if observation.judged is Judged.P95
        else mean_could_be_over(criterion, points, finding)
    )
    if criterion.comparison.forbids_spells:
        finding = weigh(criterion, finding, spells_of(criterion, points))
        doubt = doubt or could_be_spell(criterion, points)
    if criterion.comparison.holds_always:
        finding = weigh(criterion, finding, spells_of(criterion, points))
        doubt = doubt or missed(points, window[0]) or partly
    return finding, doubt


def _extreme(criterion: Criterion, points: Points, on_instance: str) -> Finding:
    """Judge the largest reading (for a lower limit, the smallest), which has no interval."""
    is_upper, limit, unit = criterion.comparison.is_upper, criterion.limit, criterion.measure.unit
    extreme = float(points.values.max() if is_upper else points.values.min())
    word = "highest" if is_upper else "lowest"
    longest = float(max(points.interval, points.lengths.max()))
    if math.isinf(extreme):
        return _infinite(criterion, extreme, points, f"{subject(criterion)}{on_instance}", f" at its {word}")
    satisfied = criterion.comparison.accepts(extreme, limit)
    finding = Finding(
        Status.PASS if satisfied else Status.FAIL,
        f"{subject(criterion)}{on_instance} was {format_quantity(extreme, unit)} at its {word}, "
        f"{distance(extreme, limit, unit)} the limit of {format_quantity(limit, unit)}",
        extreme,
        samples=len(points.values),
    )
    if satisfied and criterion.comparison.holds_always and longest > SPELL:
        return finding.warned(f"one reading covers {format_seconds(longest)}: a shorter peak may be missed")
    return finding


def _infinite(criterion: Criterion, value: float, points: Points, name: str, at: str = "") -> Finding:
    """Compare an infinite value: +Inf is above every limit, and -Inf is below every limit."""
    is_above = value > 0
    return Finding(
        Status.FAIL if is_above is criterion.comparison.is_upper else Status.PASS,
        f"{name} was {'+Inf' if is_above else '-Inf'}{at}, {'above' if is_above else 'below'} "
        f"the limit of {format_quantity(criterion.limit, criterion.measure.unit)}",
        samples=len(points.values),
        details={"infinite": "+Inf" if is_above else "-Inf"},
    )


def _infinite_mean(criterion: Criterion, points: Points, name: str) -> Finding:
    """A mean with infinite readings: a fail if all of them violate the limit; never a pass."""
    infinite = points.values[np.isinf(points.values)]
    if are_over(criterion, infinite).all():
        return _infinite(criterion, float(infinite[0]), points, name)
    reason = f"{name} cannot be judged: {len(infinite)} of {len(points.values)} readings are infinite"
    return Finding(Status.INCONCLUSIVE, reason, samples=len(points.values))


def _bounded(values: Floats, limit: float) -> Floats:
    """The readings; the largest (smallest) finite one, or the limit, replaces infinite ones."""
    if np.isfinite(values).all():
        return values
    finite = np.append(values[np.isfinite(values)], limit)
    return np.clip(values, finite.min(), finite.max())


def _typical(
    criterion: Criterion, judged: Judged, points: Points, seconds: float, on_instance: str
) -> Finding:
    """Judge the p95 over time, or the mean; the variation of the readings gives its error.

    The readings cover the whole window, so there is no error from sampling within the window. The
    error states how well this window represents other windows like it. It is the error of the mean
    over batches. For a p95, it is larger if the density of the readings there is smaller.
    """
    edges = batch_edges(len(points.values))[:-1]
    about = f"{subject(criterion)}{on_instance}"
    if judged is Judged.MEAN and np.isinf(points.values).any():
        return _infinite_mean(criterion, points, about)
    if judged is Judged.MEAN:
        mean = mean_of_batches(np.add.reduceat(points.parts, edges), np.add.reduceat(points.wholes, edges))
        value, half_width, name = mean.value, mean.half_width, ""
    else:
        value = points.quantile(TAIL if criterion.comparison.is_upper else 1 - TAIL)
        if math.isinf(value):
            return _infinite(criterion, value, points, f"p95 of {about}")
        points = dataclasses.replace(points, values=_bounded(points.values, criterion.limit))
        weighted = np.add.reduceat(points.values * points.lengths, edges)
        mean = mean_of_batches(weighted, np.add.reduceat(points.lengths, edges))
        half_width, name = (
            mean.half_width * _tail_to_mean(points.values, is_upper=criterion.comparison.is_upper),
            "p95 of ",
        )
    interval = (value - half_width, value + half_width)
    if criterion.measure.unit is Unit.RATIO and criterion.limit <= 1:
        # A share cannot be outside 0 … 1 (or 0 … its measured value, if that is above 1). The limit
        # is within these bounds too, so clipping the interval changes no verdict.
        interval = (max(0.0, interval[0]), min(max(1.0, value), interval[1]))
    limit, is_upper = criterion.limit, criterion.comparison.is_upper
    # Readings can be constant, such as a queue that is always empty, and equal to the limit.
    low, high = (limit if math.isclose(bound, limit, rel_tol=1e-9) else bound for bound in interval)
    is_at_most_allowed = criterion.comparison.includes_limit is is_upper
    surely_below = high <= limit if is_at_most_allowed else high < limit
    surely_above = low > limit if is_at_most_allowed else low >= limit
    growth = math.inf if value == limit else max(1.0, (half_width / (value - limit)) ** 2)
    status, reason = decide(
        criterion,
        value,
        interval,
        satisfied=surely_below if is_upper else surely_above,
        violated=surely_above if is_upper else surely_below,
        growth=growth,
        seconds=seconds,
    )
    return Finding(
        status,
        reason.replace(subject(criterion), f"{name}{about}", 1),
        value,
        interval,
        len(points.values),
        len(points.values) / persistence(points.values),
    )


def _tail_to_mean(values: Floats, *, is_upper: bool) -> float:
    """The ratio of a p95's (p5's) standard error to the mean's.

    It follows from the density of the readings there, or from the normal density if that gives
    more.
    """
    deviation = float(values.std())
    if deviation == 0:
        return 0.0
    centre = TAIL if is_upper else 1 - TAIL
    low, high = np.quantile(values, [centre - _NEARBY, centre + _NEARBY])
    return _TAIL_ERROR * max(float(high - low) / (2 * _NEARBY) / deviation, 1 / _NORMAL_DENSITY)


def _trend(values: Floats) -> str:
    """The drift of the readings over the window, in words.

    Empty if there is none, or if the median is 0, because the drift is stated as a share of it.
    """
    edges = batch_edges(len(values))
    means = np.add.reduceat(values, edges[:-1]) / np.diff(edges)
    trend = theil_sen(means)
    if not trend.is_drift or not trend.median:
        return ""
    share = format_ratio(abs(trend.change) / abs(trend.median))
    return f"{'rose' if trend.change > 0 else 'fell'} by {share} of its median over the window"
