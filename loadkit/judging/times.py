"""Judge the times of operations: percentiles, means and maxima."""

from collections.abc import Iterator
from dataclasses import replace

from loadkit.criterion import Criterion, Unit
from loadkit.judging.collapse import Collapse
from loadkit.judging.correlation import whole_effect
from loadkit.judging.evidence import Case
from loadkit.judging.finding import Finding, undefined
from loadkit.judging.lulls import find_lulls
from loadkit.judging.means import FAILED_IN_MEAN, examine_mean
from loadkit.judging.percentiles import examine_percentile, limit_effect
from loadkit.recording.histogram import quantile_of
from loadkit.recording.traffic import Traffic
from loadkit.units import format_number, format_quantity
from loadkit.verdict import Status

__all__ = ["examine_maximum", "find_time", "otherwise_timed", "time_at_collapse"]


def find_time(case: Case) -> Finding:
    """Judge a percentile, a mean or a maximum of the operations' times."""
    criterion, traffic = case.criterion, case.traffic
    quantile = criterion.measure.quantile
    if quantile is not None:
        lent = case.borrowed_effect(lambda whole: whole_effect(whole, quantile))
        at_limit = case.borrowed_effect(lambda whole: limit_effect(whole, criterion.limit))
        found = examine_percentile(criterion, traffic, lent, at_limit, lulls=find_lulls(case))
        return _with_uncorrected(case, found)
    if criterion.measure.statistic == "max":
        return examine_maximum(criterion, traffic)
    return _with_uncorrected(case, examine_mean(criterion, traffic, lulls=find_lulls(case)))


def time_at_collapse(case: Case, collapse: Collapse) -> Finding | None:
    """Judge a percentile or mean at a collapse; None unless failed operations make it undefined."""
    criterion = case.criterion
    quantile = criterion.measure.quantile
    allowed = FAILED_IN_MEAN if quantile is None else 1 - quantile
    if not criterion.comparison.is_upper or collapse.failing <= allowed:
        return None
    reason = undefined(criterion, allowed)
    return Finding(Status.FAIL, reason, samples=collapse.ended, censored=True)


def otherwise_timed(case: Case) -> Iterator[tuple[str, Case]]:
    """Yield the case by service time, which does not include the generator's lateness."""
    yield "by service time", case.by_service_time()


def _with_uncorrected(case: Case, found: Finding) -> Finding:
    """Add the uncorrected value if operations were corrected for coordinated omission."""
    traffic, measure = case.traffic, case.criterion.measure
    if not traffic.corrected:
        return found
    traffic_as_recorded = case.uncorrected
    uncorrected = (
        traffic_as_recorded.mean
        if measure.quantile is None
        else quantile_of(traffic_as_recorded.histogram(), measure.quantile)
    )
    shown = "above every limit" if uncorrected is None else format_quantity(uncorrected, measure.unit)
    causes = [
        f"up to {each.at_once:,} of {format_number(each.held)} {each.population} waited for one answer for up to "
        f"{format_quantity(each.seconds, Unit.SECONDS)}"
        for each in traffic.stuck
    ]
    if traffic.corrected > sum(each.added for each in traffic.stuck):
        causes.insert(0, "the service stood still")
    return replace(
        found,
        samples=traffic.size - traffic.corrected,
        details={**found.details, "filled": traffic.corrected, "unfilled": uncorrected},
    ).warned(
        f"{', and '.join(causes)}: coordinated-omission correction added {traffic.corrected:,} arrivals; "
        f"the uncorrected value is {shown}"
    )


def examine_maximum(criterion: Criterion, traffic: Traffic) -> Finding:
    """Judge the longest time, for "never exceeds" only: no sample bounds the unobserved times."""
    unit, limit = criterion.measure.unit, criterion.limit
    largest = float(traffic.timed[:, 2].max(initial=0.0))
    wanted = format_quantity(limit, unit)
    details = {"failed": traffic.failed, "largest_seen": largest}
    if criterion.comparison.is_upper and traffic.failed:
        return Finding(
            Status.FAIL,
            f"{traffic.failed:,} operations failed, and failed operations count as above every limit; "
            f"the longest of the others took {format_quantity(largest, unit)}",
            samples=traffic.size,
            censored=True,
            details=details,
        )
    satisfied = largest <= limit if criterion.comparison.is_upper else largest >= limit
    return Finding(
        Status.PASS if satisfied else Status.FAIL,
        f"the longest of {traffic.size:,} operations took {format_quantity(largest, unit)}; the limit is {wanted}",
        largest,
        samples=traffic.size,
        details=details,
    )
