"""The circumstances that can change a finding: the run's end, drift, generator health, users held.

Each of them can change a pass into another status. None of them results in a pass.
"""

import math
from dataclasses import replace
from itertools import chain

import numpy as np
import numpy.typing as npt

from loadkit.criterion import Criterion, Family, Scope, ScopeKind
from loadkit.judging.collapse import collapse_of
from loadkit.judging.connections import closed_at_once, served
from loadkit.judging.evidence import EVERYTHING, Case, Evidence
from loadkit.judging.families import Basis, FamilyRules, time_limit
from loadkit.judging.finding import Finding, listed, subject
from loadkit.judging.messages import proves_leak
from loadkit.judging.spells import is_over_beside
from loadkit.judging.statistics import batch_edges, theil_sen
from loadkit.recording.ending import EndingKind
from loadkit.recording.health_bounds import LATENESS, LATENESS_OF_MEAN
from loadkit.recording.run import Run
from loadkit.recording.slices import region_series, tenant_series
from loadkit.recording.timing import DELIVERY, MESSAGE, RECORD, ROUND_TRIP, timing_of
from loadkit.recording.traffic import Traffic
from loadkit.recording.worker_second import (
    BLOCKED,
    IN_FLIGHT,
    JOURNEY_ERROR,
    JOURNEYS,
    WorkerSecond,
    are_rare,
)
from loadkit.units import format_ratio, format_seconds
from loadkit.verdict import Status, Window
from loadkit.workload.phases import disturbance, judged_phase, phases

__all__ = ["collapsed", "cut_short", "mistaken", "no_window", "unjudgeable", "weighed"]

_LEAST_SECONDS = 2
"""The fewest seconds that can be judged."""

_TO_RETURN = 10.0
"""Seconds after the error of a journey until its user has connected again, besides its pause."""
_OF_THE_GENERATOR = frozenset({EndingKind.RELAY_DIED, EndingKind.ROWS_CHANGED, EndingKind.ROWS_USED_UP})
"""Endings that the load generator caused. After them, its users do not produce the stated load."""
_AWAITED_BY_NOBODY = frozenset(each.key for each in (MESSAGE, DELIVERY, RECORD))
"""Timings that are recorded on arrival. The operations in flight do not include them."""

Booleans = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]


# --- before anything is examined


def unjudgeable(case: Case, rules: FamilyRules) -> Finding | None:
    """The finding if a run cannot judge a criterion, for example of an unknown scope; else None."""
    criterion, run = case.criterion, case.evidence.run
    if criterion.reference is not None:
        return Finding(
            Status.NOT_JUDGED,
            f"it compares with the load {criterion.reference}, and a second run is needed for that"
            if criterion.reference.without
            else f"it compares with the {criterion.reference.level} load, and a second run is needed for that",
        )
    if criterion.is_amount and run.plan.scaling.users < 1:
        return Finding(
            Status.NOT_JUDGED,
            f"{subject(criterion)} depends on the number of users, and this rehearsal had {run.plan.rehearsed}",
        )
    if rules.basis is Basis.OPERATIONS:
        return _no_operations(case)
    return rules.missing(criterion, case.evidence)


def _no_operations(case: Case) -> Finding | None:
    scope, run = case.criterion.scope, case.evidence.run
    if case.evidence.has(scope, case.timing):
        return None
    if scope.kind is ScopeKind.INSTANCE:
        return Finding(Status.NOT_JUDGED, f"{case.criterion.measure.name} is not recorded by instance")
    if case.timing == ROUND_TRIP.key and not case.evidence.has(EVERYTHING, case.timing):
        return Finding(
            Status.INCONCLUSIVE,
            "no message round trip was recorded; journeys measure them with ws.request(message, matches)",
        )
    if scope.kind is ScopeKind.ALL:
        return Finding(Status.INCONCLUSIVE, "no operation was recorded at all")
    populations = [population.name for population in run.plan.populations]
    if (scope.kind, scope.name) in {
        *((ScopeKind.GROUP, name) for name in run.groups),
        *((ScopeKind.POPULATION, name) for name in populations),
    }:
        return Finding(Status.INCONCLUSIVE, f"no operation of {scope} was recorded")
    known = listed(
        {
            ScopeKind.GROUP: sorted(run.groups),
            ScopeKind.LABEL: run.table.labels(),
            ScopeKind.TENANT: run.table.names(tenant_series("")),
            ScopeKind.REGION: run.table.names(region_series("")),
            ScopeKind.POPULATION: populations,
        }[scope.kind]
    )
    return Finding(
        Status.NOT_JUDGED, f'there is no {scope.kind.value} "{scope.name}" in this run; it has {known}'
    )


def no_window(run: Run, window: Window | None) -> Finding | None:
    """The finding if a run has no usable steady window; None if it has one."""
    if window is not None and window.seconds >= _LEAST_SECONDS:
        return None
    if judged_phase(run.plan) is None:
        reason = (
            "the plan has no constant load before the first action"
            if run.plan.actions
            else "the plan has no constant load"
        )
        return Finding(Status.NOT_JUDGED, f"{reason}, so there is no steady window")
    if run.is_complete:
        return Finding(Status.INCONCLUSIVE, "the load was constant for less than two seconds")
    return Finding(
        Status.INCONCLUSIVE,
        f"the run was cut short after {format_seconds(run.ended_at)}, before its load was steady ({run.ended})",
    )


# --- after the examination


def weighed(case: Case, rules: FamilyRules) -> Finding:
    """The finding on a window, after its circumstances are considered.

    They are the drift, the warm-up, the generator's health, the users held and hidden failures.
    """
    if rules.basis is Basis.OPERATIONS:
        if not case.traffic.size:
            return Finding(
                Status.INCONCLUSIVE, f"no operation of {case.criterion.scope} began in the steady window"
            )
        found = _healthy(case, rules, _undrifted(case, rules, rules.find(case)))
        found = _with_closed(case, rules, _warmed_up(case, rules, found))
        return _held(case, _with_hidden(case, rules, found))
    return _held(case, _warmed_up(case, rules, _loaded(case, rules, rules.find(case))))


def _warmed_up(case: Case, rules: FamilyRules, finding: Finding) -> Finding:
    """State the excluded warm-up; a verdict that depends on it is inconclusive.

    A slow or failing start looks like a warm-up. Therefore the criterion is also examined on the
    whole hold. A pass stands only if the value of the hold satisfies the criterion too. A fail
    stands only if the criterion does not pass on the hold.
    """
    hold = case.evidence.hold
    if hold is None or hold.phase != case.window.phase or hold.start == case.window.start:
        return finding
    excluded = f"the first {format_seconds(case.window.start - hold.start)} of the hold"
    finding = replace(finding, details={**finding.details, "warm_up": case.window.start - hold.start})
    if finding.status not in {Status.PASS, Status.FAIL}:
        return finding.warned(f"{excluded} were excluded as warm-up")
    with_it = rules.find(replace(case, window=hold, chosen=None))
    is_pass = finding.status is Status.PASS
    if _is_satisfied_by(case, with_it) if is_pass else with_it.status is not Status.PASS:
        return finding.warned(f"{excluded} were excluded as warm-up; the verdict is the same with them")
    return finding.become(
        Status.INCONCLUSIVE,
        f"the verdict depends on {excluded}, which look like a warm-up: without them {finding.value_in_words}; "
        f"with them {with_it.reason}",
    )


def _with_hidden(case: Case, rules: FamilyRules, finding: Finding) -> Finding:
    """Make a pass inconclusive if operations that journey errors hid could break it.

    A wrong answer of the service can cause an error in a journey, although the answer counts as a
    success. The error also prevents the rest of the journey. So each error hides at most the
    operations of one journey. The criterion must also pass if all of them count as failures.
    """
    if finding.status is not Status.PASS or not case.evidence.journey_errors:
        return finding
    hidden = _hidden(case)
    why = f"{case.evidence.journey_errors}, which hides up to {int(hidden.sum()):,} operations of this window"
    return _with_failures(case, rules, finding, hidden, why)


def _with_failures(case: Case, rules: FamilyRules, finding: Finding, failures: Integers, why: str) -> Finding:
    """Make a pass inconclusive if it does not hold with more failures, by second of the window."""
    if not failures.any():
        return finding
    return _unless(case, rules, finding, served(case).with_failures(failures), why)


def _with_closed(case: Case, rules: FamilyRules, finding: Finding) -> Finding:
    """Make a pass inconclusive if connections that the service closed at once could break it."""
    closed = int(closed_at_once(case).sum()) if finding.status is Status.PASS else 0
    if not closed:
        return finding
    why = f"{closed:,} connections were accepted and ended within a second, and no user closed them"
    finding = replace(finding, details={**finding.details, "closed_at_once": closed})
    found = _unless(case, rules, finding, served(case), why)
    if found.status is not Status.PASS:
        return found
    return found.warned(f"{why}; the verdict is the same if they had failed")


def _unless(case: Case, rules: FamilyRules, finding: Finding, worst: Traffic, why: str) -> Finding:
    """Make a pass inconclusive if it does not hold for the worst case of the operations."""
    with_them = rules.find(replace(case, chosen=worst, kept=None))
    if with_them.status is Status.PASS:
        return finding
    return finding.become(
        Status.INCONCLUSIVE,
        f"{finding.value_in_words}, but {why}; if they had failed, {with_them.value_in_words}",
    )


def _hidden(case: Case) -> Integers:
    """The operations that journey errors can have hidden, by second; shape (`seconds`,).

    Each error counts as the mean number of operations per journey, and as at least one. They are
    those of the criterion's timing and population.
    """
    evidence, population = case.evidence, _population(case)
    scope = EVERYTHING if population is None else Scope(ScopeKind.POPULATION, population)

    def errors(worker_second: WorkerSecond) -> float:
        counts = worker_second.counts
        chosen = counts.values() if population is None else [counts.get(population, {})]
        return sum(
            number for named in chosen for name, number in named.items() if name.startswith(JOURNEY_ERROR)
        )

    each = 1.0
    if journeys := sum(second.count(JOURNEYS, population) for second in evidence.run.worker_seconds):
        each = max(each, evidence.traffic(scope, timing=case.timing).size / journeys)
    return np.ceil(evidence.per_second(errors, case.window) * each).astype(np.int64)


def _population(case: Case) -> str | None:
    """The population of a criterion in a run of several populations; None for all."""
    is_one = len(case.evidence.run.plan.populations) == 1
    return None if is_one else case.criterion.scope.population


def cut_short(case: Case, rules: FamilyRules, finding: Finding) -> Finding:
    """A run that ended early can still show a violated criterion, but not a satisfied one.

    If the load generator caused the end (`_OF_THE_GENERATOR`), it shows neither, because the
    service did not fail. If the judged part was complete before the end, the run can show both.
    Operations of the window without an answer at the end are not recorded. Therefore a pass must
    also hold if all of them count as failures.
    """
    run, window = case.evidence.run, case.window
    if run.is_complete:
        return finding
    if run.ended.kind in _OF_THE_GENERATOR and finding.status is not Status.NOT_JUDGED:
        return finding.become(Status.INVALID, str(run.ended))
    cause, judged = disturbance(run.plan), judged_phase(run.plan)
    end, part = math.inf, "steady window"
    if rules.family == Family.RECOVERY and cause is not None:
        end, part = cause.end, "recovery window"
    elif judged is not None and judged.name == window.phase:
        end = judged.end
    if run.ended_at >= end:
        if finding.status is Status.PASS and rules.basis is Basis.OPERATIONS:
            unanswered = _unanswered(case)
            why = f"{int(unanswered.sum()):,} operations had no answer yet when the run was cut short"
            finding = _with_failures(case, rules, finding, unanswered, why)
        return finding.warned(f"the run was cut short after its {part} was complete ({run.ended})")
    short = f"the run was cut short after {format_seconds(run.ended_at)} ({run.ended})"
    if finding.status is Status.PASS:
        return finding.become(
            Status.INCONCLUSIVE, f"{short}; the part that ran kept the limit: {finding.reason}"
        )
    return finding.warned(short)


def _unanswered(case: Case) -> Integers:
    """An upper bound of a window's operations without an answer at the end of the run, by second.

    The last report of each worker states its operations without an answer. An operation of the
    window is among them only if it had no answer at the end of the window either. A report counts
    only if it came at most a time-out (or the drain, if longer) after the window. Arrivals that
    wait for a user are operations without an answer too. Arrivals that wait
    at the end of the window came at most this time earlier, and did not find a user immediately.
    """
    evidence, window = case.evidence, case.window
    plan = evidence.run.plan
    population = _population(case)
    last = {each.worker: each for each in evidence.run.worker_seconds}.values()
    until = window.end + max(plan.timeout, plan.drain)
    at_stop = sum(each.gauge(IN_FLIGHT, population) for each in last if each.second < until)
    unanswered = np.zeros(window.seconds, np.int64)
    if case.timing not in _AWAITED_BY_NOBODY:
        waited = evidence.per_second(lambda each: each.count(BLOCKED, population), window)
        recent = waited[-math.ceil(until - window.end) :].sum()
        unanswered[-1] = int(min(at_stop, evidence.in_flight(window, population)[-1] + recent))
    return unanswered


def mistaken(criterion: Criterion, evidence: Evidence, rules: FamilyRules, finding: Finding) -> Finding:
    """Make a verdict that rests on operations invalid if the code of a journey failed.

    Such a journey did not produce the stated load, and the service did not cause this. Rare errors
    (`are_rare`) are only a warning. If they could break a pass, `_with_hidden` has already made it
    inconclusive. A fail of open connections is invalid if the errors closed those that are missing.
    Errors are only a warning beside a proven leak too (`proves_leak`).
    """
    if finding.status is Status.NOT_JUDGED or not rules.rests_on_operations or not evidence.journey_errors:
        return finding
    if are_rare(evidence.run.worker_seconds):
        if evidence.journey_errors in finding.reason:
            return finding
        is_of_connections = finding.status is Status.FAIL and criterion.measure.family == Family.CONNECTIONS
        if (
            is_of_connections
            and (finding.measured or 0.0) + _errors_before(finding, evidence) >= criterion.limit
        ):
            return finding.become(Status.INVALID, evidence.journey_errors)
        return finding.warned(f"{evidence.journey_errors}; errors of journeys are too rare to matter")
    if proves_leak(criterion, finding):
        return finding.warned(f"{evidence.journey_errors}; this does not explain the fail")
    return finding.become(Status.INVALID, evidence.journey_errors)


def _errors_before(finding: Finding, evidence: Evidence) -> int:
    """Errors of journeys that can have closed connections when the fewest were open.

    After an error, a user pauses, and then it begins the next journey.
    """
    moment = finding.details.get("fewest_at", evidence.whole.end)
    loads = [each.workload for each in evidence.run.plan.populations]
    pause = max(_TO_RETURN + max(load.think.high, load.pace) for load in loads)
    return sum(
        each.count_of_all(JOURNEY_ERROR)
        for each in evidence.run.worker_seconds
        if moment - pause <= each.second <= moment
    )


def collapsed(case: Case, rules: FamilyRules) -> Finding | None:
    """The finding on a criterion at an emergency stop (see `collapse`); None if there is none.

    Seconds in which the load generator was overloaded are excluded.
    """
    collapse = collapse_of(case)
    found = None if collapse is None else rules.at_collapse(case, collapse)
    if collapse is None or found is None:
        return None
    found = replace(
        found,
        reason=f"{found.reason}; judged on the ten seconds before the emergency stop, in which {collapse.failed:,} of the "
        f"{collapse.ended:,} operations that ended failed",
        details={
            "judged_on": "the ten seconds before the emergency stop",
            "ended": collapse.ended,
            "failed": collapse.failed,
        },
        window=collapse.window,
    )
    if lost := case.evidence.not_held(collapse.window):
        return found.become(Status.INVALID, lost)
    state = case.evidence.health(collapse.window, time_limit(case.criterion))
    if state.status == "ok":
        return found
    if state.unhealthy.all():
        return found.become(Status.INVALID, f"{state.sentence}, all the time")
    if collapse_of(case, state.unhealthy) is None:
        return found.become(
            Status.INVALID,
            f"{state.sentence}; without those seconds no more than half of the operations failed",
        )
    return found.warned(f"{state.sentence}; the verdict is the same without it")


def _undrifted(case: Case, rules: FamilyRules, finding: Finding) -> Finding:
    """A drift revokes a pass if the worst third of the window does not satisfy the criterion."""
    if not rules.weighs_drift:
        return finding
    drifting = [
        f"{name} {'rose' if change > 0 else 'fell'} by {format_ratio(abs(change))} of its median over the window"
        for name, change in _drifts(case)
    ]
    if not drifting:
        return finding
    drift = " and ".join(drifting)
    if finding.status is not Status.PASS:
        return finding.warned(drift)
    seconds = np.arange(case.traffic.seconds)
    parts = [case.only(np.isin(seconds, third)) for third in np.array_split(seconds, 3)]
    findings = [rules.find(part) for part in parts if part.traffic.size]
    violated = next((each for each in findings if not _is_satisfied_by(case, each)), None)
    if violated is None:
        return finding.warned(f"{drift}; the worst third of the window satisfies the criterion too")
    return finding.become(
        Status.INCONCLUSIVE,
        f"{drift}, and the worst third of the window does not satisfy the criterion: {violated.reason}",
    )


def _is_satisfied_by(case: Case, finding: Finding) -> bool:
    """Does the measured value satisfy the criterion, without regard to its error?"""
    if finding.status is Status.FAIL or finding.measured is None:
        return False
    if case.criterion.comparison.is_upper:
        return finding.measured <= case.criterion.limit
    return finding.measured >= case.criterion.limit


def _drifts(case: Case) -> list[tuple[str, float]]:
    """The quantities that drifted over the window, with their change as a share of the median."""
    traffic = case.traffic
    edges = batch_edges(traffic.seconds)
    number, spent = np.add.reduceat(traffic.timed[:, :2], edges[:-1]).T
    times = spent[number > 0] / number[number > 0]
    in_flight = np.add.reduceat(case.evidence.in_flight(case.window), edges[:-1]) / np.diff(edges)
    trends = [
        (name, theil_sen(values))
        for name, values in ((f"the {_timed(case)}", times), ("the number in flight", in_flight))
        if len(values) >= 6 and values.any()
    ]
    return [(name, trend.change / trend.median) for name, trend in trends if trend.is_drift and trend.median]


def _timed(case: Case) -> str:
    """The name of the time that the operations have."""
    measure = case.criterion.measure
    return measure.name if measure.family == Family.TIME else timing_of(measure.timing).name


def _healthy(case: Case, rules: FamilyRules, finding: Finding) -> Finding:
    """An overloaded generator makes a finding invalid if its effects change the verdict."""
    state = case.evidence.health(
        case.window, time_limit(case.criterion), is_mean=case.criterion.measure.statistic == "mean"
    )
    if state.status == "ok":
        return finding
    is_strict = finding.status is Status.FAIL and case.criterion.comparison.holds_always
    stands = is_strict and case.kept is None and is_over_beside(finding.details, state.unhealthy)
    rest = [] if stands else _without(case, state.unhealthy)
    if rest is None:
        return finding.become(Status.INVALID, f"{state.sentence}, all the time")
    # Service time leaves out the wait before sending. If the generator was not late, this was a
    # wait for the service, so service time would say nothing about the generator.
    is_late = any(each.is_warning for each in state.checks if each.check in {LATENESS, LATENESS_OF_MEAN})
    is_of_times = case.criterion.measure.family == Family.TIME
    for condition, other in chain(rest, rules.other_ways(case) if is_late or not is_of_times else ()):
        status = rules.find(other).status
        if status is not finding.status:
            return finding.become(
                Status.INVALID,
                f"{state.sentence}; {condition} the verdict would be {status.value} instead of {finding.status.value}",
            )
    return finding.warned(f"{state.sentence}; the verdict is the same without it")


def _without(case: Case, unhealthy: Booleans) -> list[tuple[str, Case]] | None:
    """The case without its unhealthy seconds; empty if there are none, None if too few remain."""
    if (~unhealthy).sum() < _LEAST_SECONDS:
        return None
    if not unhealthy.any():
        return []
    rest = case.only(~unhealthy)
    return [("without those seconds", rest)] if rest.traffic.size else None


def _loaded(case: Case, rules: FamilyRules, finding: Finding) -> Finding:
    """A pass of gauges or probes is invalid if the generator did not produce the load.

    If it produced the load in a part of the window, the longest such part must satisfy the
    criterion.
    """
    state = case.evidence.health(case.window)
    if state.status == "ok":
        return finding
    rest = case.evidence.loaded_part(case.window)
    if finding.status is not Status.PASS or rest == case.window:
        return finding.warned(state.sentence)
    if not rest.seconds:
        return finding.become(Status.INVALID, state.sentence_with_seconds)
    other = rules.find(replace(case, window=rest))
    if not _is_satisfied_by(case, other):
        return finding.become(
            Status.INVALID,
            f"{state.sentence}; in the longest time without that, {other.value_in_words}",
        )
    return finding.warned(f"{state.sentence}; the longest time without that satisfies the criterion too")


def _held(case: Case, finding: Finding) -> Finding:
    """A verdict without the stated users is invalid, because only the generator can lose users."""
    if finding.status is Status.NOT_JUDGED:
        return finding
    # Users connect in the ramp, but the number of users to hold is stated for the hold.
    window = case.window if case.window.phase in _phases(case) else case.evidence.window or case.window
    lost = case.evidence.not_held(window)
    return finding.become(Status.INVALID, lost) if lost else finding


def _phases(case: Case) -> set[str]:
    return {each.name for each in phases(case.evidence.run.plan)}
