"""From a criterion and a run to a verdict: right, or saying that it cannot know.

The evidence is examined once on the run's steady window (`times`, `rates`, `gauges`), and what was found is then
weighed against the run's own circumstances: was it cut short, did it hold its users, did it drift, was the load
generator at fault? Each can take a pass back; missing data never passes.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from loadkit.criterion import Criterion, Family, Scope, ScopeKind
from loadkit.judging.alerts import examine_alert
from loadkit.judging.finding import Finding, subject
from loadkit.judging.gauges import examine_gauge
from loadkit.judging.health import NO_TIME_LIMIT, health, held_per_second
from loadkit.judging.omission import correct_omission
from loadkit.judging.rates import examine_share, examine_throughput, failure_effect
from loadkit.judging.recovery import examine_recovery
from loadkit.judging.statistics import batch_edges, theil_sen
from loadkit.judging.times import (
    examine_maximum,
    examine_mean,
    examine_percentile,
    limit_effect,
    whole_effect,
)
from loadkit.judging.window import judged_phase, window
from loadkit.recording import histogram as buckets
from loadkit.recording.histogram import FAILED, quantile_of
from loadkit.recording.run import Run
from loadkit.recording.slices import Kind, label_series, region_series, tenant_series, worker_series
from loadkit.recording.traffic import Traffic, series_of, traffic_of
from loadkit.units import format_number, format_quantity, format_ratio, format_seconds
from loadkit.verdict import Status, Verdict, Window
from loadkit.workload.offered import needed, offered
from loadkit.workload.workload import Model

__all__ = ["judge", "rehearsed"]

_SMALL = 1500
"""Operations below which a part of the traffic borrows the whole's design effect."""
_HELD, _HELD_SECONDS = 0.98, 0.95
"""Users that must be held, as a share of those stated, and the share of the seconds in which they must be."""
_EMERGENCY = "emergency stop"
_EMERGENCY_SECONDS = 10

Booleans = npt.NDArray[np.bool_]


def judge(criterion: Criterion, run: Run) -> Verdict:
    """What the run says of the criterion; of one that compares two loads see `loadkit.analysis.comparison`."""
    match criterion.measure.family:
        case Family.RECOVERY:
            finding, where = examine_recovery(criterion, run)
        case Family.ALERT:
            finding, where = examine_alert(criterion, run)
        case _:
            finding, where = _on_steady_window(criterion, run)
    return Verdict(
        criterion=criterion.sentence,
        status=finding.status,
        reason=_sentence(finding.reason),
        measured=finding.measured,
        limit=criterion.limit,
        unit=criterion.unit,
        interval=finding.interval,
        samples=finding.samples,
        effective_samples=finding.effective_samples,
        window=where,
        run=run.id,
        rehearsed=rehearsed(run),
        censored=finding.censored,
        warnings=finding.warnings,
        details=finding.details,
    )


def _on_steady_window(criterion: Criterion, run: Run) -> tuple[Finding, Window | None]:
    where = window(run)
    is_stopped = run.ended.startswith(_EMERGENCY)
    if where is None and is_stopped:
        where = _remnant(run, _EMERGENCY_SECONDS)
    unjudged = _unjudgeable(criterion, run) or _no_window(run, where)
    if unjudged is not None:
        return unjudged, where
    assert where is not None
    finding = _cut_short(run, where, _Case(criterion, run, where).weighed())
    if is_stopped and finding.status is Status.INCONCLUSIVE and criterion.measure.family is not Family.GAUGE:
        # A service that collapsed late in a long run: what was stopped would have gone on as it was at the end.
        # It was stopped for ten seconds. What failed in them began up to a time-out before; an outage that began within
        # them is alone in their half. The longest end that shows it is told.
        longest, shortest = _EMERGENCY_SECONDS + int(run.plan.timeout), _EMERGENCY_SECONDS // 2
        for seconds in range(longest, shortest - 1, -1):
            remnant = _remnant(run, seconds)
            last = _cut_short(run, remnant, _Case(criterion, run, remnant).weighed())
            if last.status is Status.FAIL:
                return last, remnant
    return finding, where


def _remnant(run: Run, seconds: int) -> Window:
    """The last seconds of a run that was stopped."""
    end = int(run.ended_at)
    return Window(max(0, end - seconds), min(end, seconds), "until the emergency stop")


def rehearsed(run: Run) -> str:
    """What was scaled, in words ("100 of 1000 users, 30 s of 5 min"); empty for the real thing."""
    scaling, workload = run.plan.scaling, run.plan.workload
    words: list[str] = []
    hold = workload.hold
    if scaling.users != 1:
        things = {
            Model.CLOSED: "users",
            Model.REQUESTS: "requests per second",
            Model.JOURNEYS: "journeys per second",
        }
        level = hold.level if hold else workload.peak
        words.append(
            f"{format_number(level)} of {format_number(scaling.stated_users)} {things[workload.model]}"
        )
    if scaling.time != 1:
        spent = hold.end - hold.start if hold else workload.seconds
        words.append(f"{format_seconds(spent)} of {format_seconds(scaling.stated_hold)}")
    return ", ".join(words)


def _sentence(text: str) -> str:
    is_symbol = text[1:2].isdigit()  # p95
    return (text if is_symbol else text[:1].upper() + text[1:]) + "."


def _unjudgeable(criterion: Criterion, run: Run) -> Finding | None:
    """Why a criterion has no meaning for this run, or speaks of what it has never heard of."""
    if criterion.reference is not None:
        return Finding(
            Status.NOT_JUDGED,
            f"it compares with the {criterion.reference.level} load, of which this run alone knows nothing",
        )
    if criterion.is_amount and run.plan.scaling.users < 1:
        return Finding(
            Status.NOT_JUDGED,
            f"{subject(criterion)} depends on the number of users, and this rehearsal had {rehearsed(run)}",
        )
    scope, family = criterion.scope, criterion.measure.family
    if family is Family.GAUGE:
        if criterion.measure.name in run.observations:
            return None
        known = _listed(sorted(run.observations))
        return Finding(
            Status.NOT_JUDGED, f'"{criterion.measure.name}" was not observed; this run has {known}'
        )
    if family is Family.UPTIME or series_of(scope, run):
        return None
    if scope.kind is ScopeKind.INSTANCE:
        return Finding(Status.NOT_JUDGED, f"{criterion.measure.name} is not recorded by instance")
    if scope.kind is ScopeKind.ALL:
        return Finding(Status.INCONCLUSIVE, "no operation was recorded at all")
    if scope.kind is ScopeKind.GROUP and scope.name in run.groups:
        return Finding(Status.INCONCLUSIVE, f"not one operation of {scope} was recorded")
    known = _listed(
        {
            ScopeKind.GROUP: sorted(run.groups),
            ScopeKind.LABEL: run.table.names(label_series("")),
            ScopeKind.TENANT: run.table.names(tenant_series("")),
            ScopeKind.REGION: run.table.names(region_series("")),
        }[scope.kind]
    )
    return Finding(
        Status.NOT_JUDGED, f'there is no {scope.kind.value} "{scope.name}" in this run; it has {known}'
    )


def _listed(names: list[str]) -> str:
    shown = ", ".join(f'"{name}"' for name in names[:12])
    return f"{shown} and {len(names) - 12} more" if len(names) > 12 else shown or "none"


def _no_window(run: Run, where: Window | None) -> Finding | None:
    if where is not None and where.seconds >= 2:
        return None
    if judged_phase(run.plan) is None:
        reason = (
            "nothing is constant by plan before the first action"
            if run.plan.actions
            else "the load is never constant by plan"
        )
        return Finding(Status.NOT_JUDGED, f"{reason}, so that there is no steady window")
    if run.is_complete:
        return Finding(Status.INCONCLUSIVE, "the load was constant for less than two seconds")
    return Finding(
        Status.INCONCLUSIVE,
        f"the run was cut short after {format_seconds(run.ended_at)}, before its load was steady ({run.ended})",
    )


def _cut_short(run: Run, where: Window, finding: Finding) -> Finding:
    """What a run that ended early still says: it can show a promise broken, and it cannot show one kept.

    A run cut short after the window was complete has shown all that it was to show.
    """
    if run.is_complete:
        return finding
    judged = judged_phase(run.plan)
    end = judged.end if judged is not None and judged.name == where.phase else np.inf
    if run.ended_at >= end:
        return finding.warned(f"the run was cut short after its steady window was complete ({run.ended})")
    short = f"the run was cut short after {format_seconds(run.ended_at)} ({run.ended})"
    if finding.status is Status.PASS:
        return finding.become(
            Status.INCONCLUSIVE, f"{short}; what ran of it kept the limit: {finding.reason}"
        )
    return finding.warned(short)


@dataclass(frozen=True, slots=True)
class _Case:
    """One criterion on one window of one run."""

    criterion: Criterion
    run: Run
    where: Window

    @property
    def is_steady(self) -> bool:
        judged = judged_phase(self.run.plan)
        return judged is None or judged.is_constant

    def weighed(self) -> Finding:
        """The finding after all that may speak against it."""
        if self.criterion.measure.family is Family.GAUGE:
            return self._held(self._loaded(self._gauge()))
        if self.criterion.measure.family is Family.UPTIME:
            return self._held(self._loaded(self._uptime()))
        traffic = self._traffic(Kind.RESPONSE)
        if not traffic.size:
            return Finding(
                Status.INCONCLUSIVE, f"not one operation of {self.criterion.scope} began in the steady window"
            )
        return self._held(self._healthy(traffic, self._undrifted(traffic, self._found(traffic))))

    # --- the evidence

    def _gauge(self) -> Finding:
        begin = self.run.started + self.where.start
        observation = self.run.observations[self.criterion.measure.name]
        return examine_gauge(self.criterion, observation, begin, begin + self.where.seconds)

    def _uptime(self) -> Finding:
        probes = [
            (int(at) - self.where.start, up)
            for at, up in self.run.probes
            if self.where.start <= at < self.where.end
        ]
        if len(probes) < 0.9 * self.where.seconds:
            return Finding(
                Status.INCONCLUSIVE,
                f"only {len(probes)} probes were made in {self.where.seconds} seconds",
                samples=len(probes),
            )
        seconds = np.array([second for second, _ in probes], np.int64)
        down = np.array([not up for _, up in probes], np.int64)
        attempts = np.bincount(seconds, minlength=self.where.seconds)
        failures = np.bincount(seconds, down, self.where.seconds).astype(np.int64)
        return examine_share(self.criterion, attempts, failures, is_steady=False)

    def _traffic(self, kind: Kind) -> Traffic:
        series = series_of(self.criterion.scope, self.run)
        traffic = traffic_of(self.run, series, self.where, kind)
        # By service time too: the arrivals that a stall kept away would have waited at the service.
        is_corrected = (
            self.criterion.measure.family is Family.TIME and self.run.plan.workload.model is Model.CLOSED
        )
        if not is_corrected:
            return traffic
        return correct_omission(traffic, self.run.stalls, self.where.start, self.criterion.limit)

    def _lent_effect(self, traffic: Traffic, effect_of: Callable[[Traffic], float]) -> float:
        """The whole run's design effect, for a part of it too small to tell its own.

        A random part of a stream goes together less, as its operations lie further apart: of D − 1, its share remains.
        """
        if traffic.size >= _SMALL or self.criterion.scope.kind is ScopeKind.ALL:
            return 1.0
        whole = traffic_of(self.run, series_of(Scope(), self.run), self.where)
        return 1 + (effect_of(whole) - 1) * min(1.0, traffic.size / max(1, whole.size))

    def _found(self, traffic: Traffic) -> Finding:
        criterion = self.criterion
        match criterion.measure.family:
            case Family.THROUGHPUT:
                return self._offered(traffic, examine_throughput(criterion, traffic))
            case Family.ERROR_RATE | Family.AVAILABILITY:
                return examine_share(
                    criterion,
                    traffic.per_second(),
                    traffic.per_second(FAILED),
                    self._lent_effect(traffic, failure_effect),
                    is_steady=self.is_steady,
                )
            case _ if (quantile := criterion.measure.quantile) is not None:
                lent = self._lent_effect(traffic, lambda whole: whole_effect(whole, quantile))
                at_limit = self._lent_effect(traffic, lambda whole: limit_effect(whole, criterion.limit))
                found = examine_percentile(criterion, traffic, lent, at_limit, is_steady=self.is_steady)
                return self._with_uncorrected(traffic, found)
            case _ if criterion.measure.statistic == "max":
                return examine_maximum(criterion, traffic)
            case _:
                return self._with_uncorrected(
                    traffic, examine_mean(criterion, traffic, is_steady=self.is_steady)
                )

    def _offered(self, traffic: Traffic, found: Finding) -> Finding:
        """A throughput that the plan itself could not reach says nothing of the service."""
        criterion, workload = self.criterion, self.run.plan.workload
        if (
            found.status is Status.PASS
            or criterion.comparison.is_upper
            or criterion.scope.kind is not ScopeKind.ALL
        ):
            return found
        most = offered(workload, workload.level_at(self.where.start + self.where.seconds / 2))
        if workload.model is Model.JOURNEYS:  # what they made is what they offered
            most = traffic.size / traffic.seconds
        least = needed(workload, criterion.limit)
        if most >= least:
            return found
        return found.become(
            Status.NOT_JUDGED,
            f"this plan offers {format_number(most)} per second at most, and {format_number(least)} are needed "
            f"to judge a limit of {format_number(criterion.limit)}",
        )

    def _with_uncorrected(self, traffic: Traffic, found: Finding) -> Finding:
        if not traffic.corrected:
            return found
        series = series_of(self.criterion.scope, self.run)
        as_it_came = traffic_of(self.run, series, self.where)
        quantile = self.criterion.measure.quantile
        uncorrected = as_it_came.mean if quantile is None else quantile_of(as_it_came.histogram(), quantile)
        shown = (
            "above every time"
            if uncorrected is None
            else format_quantity(uncorrected, self.criterion.measure.unit)
        )
        return replace(
            found,
            samples=traffic.size - traffic.corrected,
            details={**found.details, "filled": traffic.corrected, "unfilled": uncorrected},
        ).warned(
            f"the service stood still; {traffic.corrected} arrivals that this kept away were added, "
            f"without them the value is {shown}"
        )

    # --- what may speak against it

    def _undrifted(self, traffic: Traffic, finding: Finding) -> Finding:
        """A drift matters where the worst third of the window does not keep the promise that the whole keeps."""
        drifting = [
            f"{name} {'rose' if change > 0 else 'fell'} by {format_ratio(abs(change))} of its median over the window"
            for name, change in self._drifts(traffic)
        ]
        if not drifting or self.criterion.measure.family is Family.THROUGHPUT:
            return finding
        said = " and ".join(drifting)
        if finding.status is not Status.PASS:
            return finding.warned(said)
        thirds = np.array_split(np.arange(traffic.seconds), 3)
        parts = [traffic.only(np.isin(np.arange(traffic.seconds), third)) for third in thirds]
        worst = [self._found(part) for part in parts if part.size]
        broken = next((each for each in worst if not self._is_satisfied_by(each)), None)
        if broken is None:
            return finding.warned(f"{said}; in the worst third of the window alone this promise is kept too")
        return finding.become(
            Status.INCONCLUSIVE,
            f"{said}, and the worst third of the window alone does not keep the limit: {broken.reason}",
        )

    def _is_satisfied_by(self, finding: Finding) -> bool:
        """Does the value measured, whatever its error, keep the promise?"""
        if finding.status is Status.FAIL or finding.measured is None:
            return False
        if self.criterion.comparison.is_upper:
            return finding.measured <= self.criterion.limit
        return finding.measured >= self.criterion.limit

    def _drifts(self, traffic: Traffic) -> list[tuple[str, float]]:
        """What rose or fell over the window, with its change as a share of its median."""
        edges = batch_edges(traffic.seconds)
        number, spent = np.add.reduceat(traffic.timed[:, :2], edges[:-1]).T
        times = spent[number > 0] / number[number > 0]
        waiting = np.zeros(traffic.seconds)
        for worker_second in self.run.worker_seconds:
            if self.where.start <= worker_second.second < self.where.start + traffic.seconds:
                waiting[worker_second.second - self.where.start] += worker_second.in_flight
        in_flight = np.add.reduceat(waiting, edges[:-1]) / np.diff(edges)
        trends = [
            (name, theil_sen(values))
            for name, values in (("the response time", times), ("the number in flight", in_flight))
            if len(values) >= 6 and values.any()
        ]
        return [
            (name, trend.change / trend.median) for name, trend in trends if trend.is_drift and trend.median
        ]

    def _healthy(self, traffic: Traffic, finding: Finding) -> Finding:
        """The generator's own faults matter where the verdict is another without the seconds in which it had them."""
        family = self.criterion.measure.family
        limit = self.criterion.limit if family is Family.TIME else NO_TIME_LIMIT
        state = health(self.run, self.where, limit)
        if state.status == "ok":
            return finding
        said = "the load generator was not well: " + "; ".join(state.reasons)
        others = self._other_ways(traffic, state.unhealthy)
        if others is None:
            return finding.become(Status.INVALID, f"{said}, all the time")
        for way, look in others:
            other = look()
            if other.status is not finding.status:
                return finding.become(
                    Status.INVALID,
                    f"{said}; {way} the verdict would be {other.status.value} instead of {finding.status.value}",
                )
        return finding.warned(f"{said}; the verdict is the same without it")

    def _other_ways(
        self, traffic: Traffic, unhealthy: Booleans
    ) -> list[tuple[str, Callable[[], Finding]]] | None:
        """To look at the run without the generator's faults; None where there is no second without them."""
        if (~unhealthy).sum() < 2:
            return None
        ways: list[tuple[str, Callable[[], Finding]]] = []
        if unhealthy.any():
            rest = traffic.only(~unhealthy)
            if not rest.size:
                return None
            ways.append(("without those seconds", lambda: self._found(rest)))
        if self.criterion.measure.family is Family.TIME:
            ways.append(("by service time", lambda: self._found(self._traffic(Kind.SERVICE))))
        if (
            self.criterion.measure.family is Family.THROUGHPUT
            and self.run.plan.workload.model is Model.CLOSED
        ):
            ways.append(("had it sent in time,", lambda: self._found(self._in_time(traffic))))
        return ways

    def _in_time(self, traffic: Traffic) -> Traffic:
        """The traffic of a closed load as it would have been, had the generator not been late.

        N users make X operations per second, each N/X seconds after the one before (Little's law); without the mean
        lateness L in it, they would make N / (N/X - L).
        """
        workers = [worker_series(worker) for worker in range(self.run.workers)]
        _, _, bucket, count = self.run.table.select(Kind.LATENESS, workers, self.where.start, self.where.end)
        held, _ = held_per_second(self.run, self.where)
        operations = float(count.sum())
        if not operations or not held.sum():
            return traffic
        late = float(count @ buckets.lower_edges(bucket)) / operations
        share_late = late * operations / float(held.sum())
        in_time = np.rint(traffic.completed / max(1 - share_late, 0.01)).astype(np.int64)
        return replace(traffic, completed=in_time)

    def _loaded(self, finding: Finding) -> Finding:
        """What the service's own gauges and probes show of a load that was perhaps never put on it."""
        state = health(self.run, self.where)
        if state.status == "ok":
            return finding
        said = "the load generator was not well: " + "; ".join(state.reasons)
        if finding.status is Status.PASS and state.unhealthy.all():
            return finding.become(Status.INVALID, f"{said}, all the time")
        return finding.warned(said)

    def _held(self, finding: Finding) -> Finding:
        """Users that are not there cannot be spoken of: only the generator can lose them."""
        if self.run.plan.workload.model is not Model.CLOSED or finding.status is Status.NOT_JUDGED:
            return finding
        held, stated = held_per_second(self.run, self.where)
        good = float(np.mean(held >= _HELD * stated))
        if good >= _HELD_SECONDS:
            return finding
        return finding.become(
            Status.INVALID,
            f"only {format_number(float(held.mean()))} of {format_number(float(stated.mean()))} users were held on average, "
            f"and at least {format_ratio(_HELD)} of them in only {format_ratio(good)} of the seconds",
        )
