"""Judge error rate, availability, uptime and throughput."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from loadkit.criterion import Criterion, Family
from loadkit.judging.collapse import Collapse
from loadkit.judging.evidence import EVERYTHING, Case
from loadkit.judging.finding import Finding, broken_by, decide
from loadkit.judging.lulls import find_lulls
from loadkit.judging.shares import Share, interval_of
from loadkit.judging.spells import (
    Spells,
    confidence_of_each,
    dispersion,
    in_spells,
    longest_stretch,
    surely_over,
    surely_under,
    weigh,
)
from loadkit.judging.statistics import (
    fewest_to_show,
    growth_to_decide,
    mean_of_seconds,
)
from loadkit.recording.histogram import FAILED, lower_edges
from loadkit.recording.run import DATABASE, HTTP, PROBED_AT, WEBSOCKET
from loadkit.recording.slices import Kind, worker_series
from loadkit.recording.timing import CONNECT, MESSAGE, QUERY, RECORD, REQUEST
from loadkit.recording.traffic import Traffic
from loadkit.recording.worker_second import JOURNEYS
from loadkit.units import format_number, format_ratio, format_seconds
from loadkit.verdict import Status
from loadkit.workload.offered import needed, offered
from loadkit.workload.plan import Population
from loadkit.workload.workload import Model

__all__ = [
    "by_second",
    "examine_offered",
    "examine_share",
    "examine_throughput",
    "failure_effect",
    "find_share",
    "find_throughput",
    "find_uptime",
    "otherwise_sent",
    "relative",
    "share_at_collapse",
    "throughput_at_collapse",
]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]


_ROUNDING = 1e-9
"""The relative error of sums and means."""
_PROBED = 0.9
"""The share of the seconds that must have been probed."""
_SEVERITY = (Status.PASS, Status.INCONCLUSIVE, Status.FAIL)
"""The order of severity. Of several protocols, the most severe finding decides."""


def find_share(case: Case) -> Finding:
    """Judge the error rate or availability of the operations."""
    attempts, failures = case.traffic.per_second(), case.traffic.per_second(FAILED)
    lent = case.borrowed_effect(failure_effect)
    return examine_share(case.criterion, attempts, failures, lent, lulls=find_lulls(case))


def find_uptime(case: Case) -> Finding:
    """Judge the share of answered probes, for each protocol that the run used.

    Each protocol must have the stated uptime. The worst one decides, and the reason states all.
    """
    run, evidence = case.evidence.run, case.evidence
    used = {
        HTTP: evidence.has(EVERYTHING, REQUEST.key),
        WEBSOCKET: evidence.has(EVERYTHING, CONNECT.key),
        DATABASE: evidence.has(EVERYTHING, QUERY.key),
    }
    probed = {name: run.probes if name == HTTP else run.protocol_probes.get(name, ()) for name in used}
    names = [name for name in used if used[name] or probed[name]]
    found = {name: _uptime_of(case, name, probed[name]) for name in names or [HTTP]}
    first, *_ = sorted(
        found, key=lambda name: (-_SEVERITY.index(found[name].status), found[name].measured or 0.0)
    )
    decisive = found[first]
    if len(found) == 1:
        return decisive
    by_protocol = ", ".join(
        f"{name} {'not known' if each.measured is None else format_ratio(each.measured)}"
        for name, each in found.items()
    )
    return replace(
        decisive,
        reason=f"{first}: {decisive.reason} ({by_protocol})",
        details={
            **decisive.details,
            "protocols": {
                name: {
                    "status": each.status.value,
                    "uptime": each.measured,
                    "probes": each.samples,
                    **each.details,
                }
                for name, each in found.items()
            },
        },
    )


def _uptime_of(case: Case, name: str, probes: Sequence[tuple[float, bool]]) -> Finding:
    """The uptime of one protocol in this run: a fact, without a confidence interval.

    Successive probes (every 50 ms) see the same outage. So their number does not show how often
    outages occur.
    """
    window, criterion = case.window, case.criterion
    inside = [(int(at) - window.start, up) for at, up in probes if window.start <= at < window.end]
    seconds = np.array([second for second, _ in inside], np.int64)
    down = np.array([not up for _, up in inside], np.int64)
    attempts = np.bincount(seconds, minlength=window.seconds)
    if not len(probes):
        return Finding(
            Status.INCONCLUSIVE,
            f"no probe of {name} was made; the key {PROBED_AT[name]} of the environment file tells what to probe",
        )
    if np.count_nonzero(attempts) < _PROBED * window.seconds:
        return Finding(
            Status.INCONCLUSIVE,
            f"only {len(inside):,} probes of {name} were made, in {np.count_nonzero(attempts)} of "
            f"{window.seconds} seconds",
            samples=len(inside),
        )
    failures = np.bincount(seconds, down, window.seconds).astype(np.int64)
    answered, limit = len(inside) - int(failures.sum()), criterion.limit
    uptime = answered / len(inside)
    is_satisfied = criterion.comparison.accepts(uptime, limit)
    status, reason = decide(
        criterion,
        uptime,
        (uptime, uptime),
        satisfied=is_satisfied,
        violated=not is_satisfied,
        growth=1.0,
        seconds=window.seconds,
    )
    reason += f": {answered:,} of {len(inside):,} probes were answered"
    fewest = fewest_to_show(limit)
    if is_satisfied and len(inside) < fewest:
        needed_seconds = format_seconds(math.ceil(window.seconds * fewest / len(inside)))
        status = Status.INCONCLUSIVE
        reason += (
            f", and {fewest:,} are needed to show it; about {needed_seconds} of steady load would decide it"
        )
    finding = Finding(
        status,
        f"{reason}; {_seen_outages(window.seconds)}",
        uptime,
        samples=len(inside),
        details={"failed": len(inside) - answered},
    )
    return _with_spells(criterion, finding, attempts, failures)


def _seen_outages(seconds: int) -> str:
    return f"a run of this length is sure to see an outage only if it recurs within {format_seconds(seconds / 3)}"


def find_throughput(case: Case) -> Finding:
    """Judge the successes per second; not judged if the plan itself cannot reach the limit.

    If the load follows a curve, the plan offers the mean of the curve. A ten-second window is no
    violation if the plan offers less than the limit in it.
    """
    criterion, traffic, plan = case.criterion, case.traffic, case.evidence.run.plan
    makers = case.evidence.makers(criterion.scope)
    if not makers:
        return examine_throughput(criterion, traffic, _planned(case, plan.populations))
    loads = [population.workload for population in makers]
    models = {load.model for load in loads}
    most = math.nan
    if Model.JOURNEYS in models and Model.CLOSED not in models:
        most = _offered_by_journeys(case, makers)
    return examine_offered(
        case,
        by_second(case, makers, lambda population, level: offered(population.workload, level)),
        needed(loads, criterion.limit),
        _planned(case, plan.populations),
        most,
    )


def _offered_by_journeys(case: Case, makers: Sequence[Population]) -> float:
    """The most requests per second that journeys would send to a service without failures.

    The plan states how many journeys start, but not how many requests each journey sends. A request
    without a success ends or delays its journey, possibly as its first request. An arrival that
    waits for a user delays its journey too. In the worst case, only the other journeys made the
    successes. The result is infinite if there may be no other journeys.
    """
    traffic, evidence = case.traffic, case.evidence
    loads = [each for each in makers if each.workload.model is Model.JOURNEYS]
    starting = float(by_second(case, loads, lambda _, level: level).sum())
    is_one = len(evidence.run.plan.populations) == 1
    names = [None] if is_one else [each.name for each in loads]
    begun = evidence.per_second(lambda each: sum(each.count(JOURNEYS, name) for name in names), case.window)
    started = float((begun if case.kept is None else begun[case.kept]).sum()) or starting
    succeeded = min(traffic.size, int(traffic.completed.sum()))
    others = started - (traffic.size - succeeded)
    return starting / others * succeeded / traffic.seconds if others > 0 else math.inf


def examine_offered(
    case: Case, offers: Floats, least: float, planned: Floats | None, most: float = math.nan
) -> Finding:
    """Judge successes per second; not judged if the plan itself cannot reach the limit.

    Args:
        case: what is judged.
        offers: the most that the plan makes possible, by judged second.
        least: the fewest per second with which a lower limit can be judged.
        planned: see `examine_throughput`.
        most: the most per second that the plan makes possible; NaN for the mean of `offers`.

    """
    criterion, traffic = case.criterion, case.traffic
    # Because of rounding, a sum of equal offers is not exactly a multiple of one offer.
    enough = least * (1 - _ROUNDING)
    are_offered = in_spells(offers) >= enough * in_spells(np.ones(traffic.seconds))
    found = examine_throughput(criterion, traffic, planned, are_offered)
    if found.status is Status.PASS or criterion.comparison.is_upper:
        return found
    most = float(offers.mean()) if math.isnan(most) else most
    if most >= enough:
        return found
    return found.become(
        Status.NOT_JUDGED,
        f"this plan offers {format_number(most)} per second at most, and {format_number(least)} are needed "
        f"to judge a limit of {format_number(criterion.limit)}",
    )


def _planned(case: Case, populations: Sequence[Population]) -> Floats | None:
    """The planned load by second, relative to its mean; None if it is unknown or stops."""
    if len({each.workload.model for each in populations}) > 1:
        return None
    return relative(by_second(case, populations, lambda _, level: level))


def relative(planned: Floats) -> Floats | None:
    """Planned values by second, relative to their mean; None if they are unknown or reach 0."""
    is_known = np.isfinite(planned).all() and planned.min() > 0
    return np.asarray(planned / planned.mean()) if is_known else None


def by_second(
    case: Case, populations: Sequence[Population], of: Callable[[Population, float], float]
) -> Floats:
    """The sum of `of` (population, level) over populations, in the middle of each judged second."""
    middles = np.arange(case.window.start, case.window.end) + 0.5
    values = np.array(
        [sum(of(each, each.workload.level_at(middle)) for each in populations) for middle in middles],
        np.float64,
    )
    return values if case.kept is None else values[case.kept]


def share_at_collapse(case: Case, collapse: Collapse) -> Finding | None:
    """Judge the error rate or availability at a collapse; None unless it violates the criterion."""
    criterion = case.criterion
    measured = collapse.failing if criterion.measure.family == Family.ERROR_RATE else 1 - collapse.failing
    return broken_by(criterion, measured, collapse.ended)


def throughput_at_collapse(case: Case, collapse: Collapse) -> Finding | None:
    """Judge the successes per second at a collapse; None without a violation, or in a ramp."""
    if case.evidence.window is None:
        return None
    return broken_by(case.criterion, collapse.succeeded_per_second, collapse.ended)


def otherwise_sent(case: Case) -> Iterator[tuple[str, Case]]:
    """The estimated successes of a closed load without the generator's lateness.

    N users make X operations per second, so each user makes one every N/X seconds (Little's law).
    Without the mean lateness L, the users would make N / (N/X - L) operations per second.
    """
    if not case.evidence.is_closed or case.timing in {
        MESSAGE.key,
        RECORD.key,
    }:  # users do not send them one by one
        return
    run, window = case.evidence.run, case.window
    workers = [worker_series(worker) for worker in range(run.workers)]
    _, _, bucket, count = run.table.select(Kind.LATENESS, workers, window.start, window.end)
    held, _ = case.evidence.held(window)
    traffic, operations = case.traffic, float(count.sum())
    if operations and held.sum():
        late = float(count @ lower_edges(bucket)) / operations
        share_late = late * operations / float(held.sum())
        # Sums are rounded, and not seconds: ten per second would never become 10.4.
        in_time = np.rint(np.cumsum(traffic.completed) / max(1 - share_late, 0.01))
        traffic = replace(traffic, completed=np.diff(in_time, prepend=0.0).astype(np.int64))
    yield "had it sent in time,", replace(case, chosen=traffic)


def failure_effect(traffic: Traffic) -> float:
    """The design effect of failures, for a part too small for its own estimate."""
    return Share.of(traffic.per_second(), traffic.per_second(FAILED), 1.0).effect


def examine_share(
    criterion: Criterion,
    attempts: Integers,
    failures: Integers,
    borrowed_effect: float = 1.0,
    *,
    lulls: Booleans | None = None,
) -> Finding:
    """Judge the error rate, or availability, which is 1 − error rate.

    `attempts` (seconds,): operations by second; `failures` (seconds,): those that failed.
    `lulls`: the spell windows with little traffic because of the service; None if there are none.
    """
    share = Share.of(attempts, failures, borrowed_effect)
    is_failing_share = criterion.measure.family == Family.ERROR_RATE
    limit = criterion.limit
    allowed = limit if is_failing_share else 1 - limit
    lower, upper = interval_of(attempts, failures, allowed, borrowed_effect)
    total, failed = float(attempts.sum()), float(failures.sum())
    measured = share.value if is_failing_share else 1 - share.value
    interval = (lower, upper) if is_failing_share else (1 - upper, 1 - lower)
    # The interval of a share is continuous, so it does not matter whether the limit itself is
    # included.
    surely_below, surely_above = interval[1] < limit, interval[0] > limit
    is_upper = criterion.comparison.is_upper
    status, reason = decide(
        criterion,
        measured,
        interval,
        satisfied=surely_below if is_upper else surely_above,
        violated=surely_above if is_upper else surely_below,
        growth=growth_to_decide(share.value * share.size, share.size, allowed),
        seconds=len(attempts),
        size=int(total),
    )
    if status is Status.INCONCLUSIVE and allowed <= 0:
        reason = (
            f"none of {int(total):,} operations failed, but no number of operations proves that none will ever "
            "fail; state a limit above 0, such as 0.1 %"
        )
    if not is_failing_share:
        reason += f"; {_seen_outages(len(attempts))}"
    finding = Finding(
        status,
        reason,
        measured,
        interval,
        int(total),
        share.size,
        details={"failed": int(failed), "design_effect": share.effect, "batches": share.batches},
    )
    return _with_spells(criterion, finding, attempts, failures, lulls)


def _with_spells(
    criterion: Criterion,
    finding: Finding,
    attempts: Integers,
    failures: Integers,
    lulls: Booleans | None = None,
) -> Finding:
    """The finding on a share, with its bad spells considered; arguments as in `examine_share`."""
    is_failing_share = criterion.measure.family == Family.ERROR_RATE
    allowed = criterion.limit if is_failing_share else 1 - criterion.limit
    if is_failing_share is not criterion.comparison.is_upper:  # more failures are required
        return weigh(criterion, finding, Spells.of(surely_under(criterion, failures, attempts, allowed)))
    over = surely_over(criterion, failures, attempts, max(allowed, 0.0))
    stretch = longest_stretch(failures, attempts, allowed)
    return weigh(criterion, finding, Spells.of(over, lulls, stretch, len(attempts)))


def examine_throughput(
    criterion: Criterion,
    traffic: Traffic,
    planned: Floats | None = None,
    are_offered: Booleans | None = None,
) -> Finding:
    """Judge the successes per second, each counted in the second of its end.

    `planned` (seconds,): the planned load relative to its mean; None if the load is constant.
    Variation that follows the plan is not random, so it does not make the mean uncertain.
    `are_offered` (windows,): the ten-second windows for which the plan offers enough for a lower
    limit; None if all.
    """
    done = traffic.completed.astype(np.float64)
    rate = mean_of_seconds(done, np.ones(traffic.seconds) if planned is None else planned)
    interval = (max(0.0, rate.lower), rate.upper)
    limit, is_upper = criterion.limit, criterion.comparison.is_upper
    # The rate can be constant and equal to the limit, such as 0, or the rate of a steady load.
    is_at_most_allowed = criterion.comparison.includes_limit is is_upper
    surely_below = interval[1] <= limit if is_at_most_allowed else interval[1] < limit
    surely_above = interval[0] > limit if is_at_most_allowed else interval[0] >= limit
    status, reason = decide(
        criterion,
        rate.value,
        interval,
        satisfied=surely_below if is_upper else surely_above,
        violated=surely_above if is_upper else surely_below,
        growth=rate.growth_to_decide(limit),
        seconds=traffic.seconds,
    )
    finding = Finding(
        status,
        reason,
        rate.value,
        interval,
        traffic.size,
        details={
            "completed": int(done.sum()),
            "independent_batches": rate.worth,
            "standard_error": rate.error,
        },
    )
    from scipy import special

    effect = dispersion(traffic.completed)
    counts = in_spells(traffic.completed)
    lengths = in_spells(np.ones(traffic.seconds))
    each = confidence_of_each(len(counts))
    if is_upper:
        bound = np.where(counts > 0, special.gammaincinv(np.maximum(counts / effect, 1e-9), 1 - each), 0.0)
        over = bound * effect / lengths > limit
    else:
        bound = special.gammaincinv(counts / effect + 1, each)
        over = bound * effect / lengths < limit
        over &= are_offered if are_offered is not None else True
    return weigh(criterion, finding, Spells.of(np.asarray(over)))
