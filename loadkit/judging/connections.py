"""Judge connections: how many are open, how long each lasts, how soon dropped clients reconnect.

These are facts about the connections of the run, so they have no confidence interval.
"""

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from loadkit.criterion import Criterion, Family, Scope
from loadkit.judging.courses import populations_with
from loadkit.judging.evidence import EVERYTHING, Case, Evidence
from loadkit.judging.exactness import if_as_planned
from loadkit.judging.finding import Finding
from loadkit.judging.statistics import fewest_to_show
from loadkit.recording.histogram import BUCKETS, FAILED, index, lower_edges, quantile_of
from loadkit.recording.messages import CONNECTIONS, DISCONNECTED, LEAST_CONNECTIONS, NOT_BACK
from loadkit.recording.sample import OK
from loadkit.recording.slices import Kind, label_series
from loadkit.recording.timing import CONNECT, LIFETIME, RECONNECT, Timing
from loadkit.recording.traffic import Traffic
from loadkit.units import Unit, distance, format_number, format_ratio, format_seconds
from loadkit.verdict import Status, Window
from loadkit.workload.phases import action_at
from loadkit.workload.plan import ALL_CONNECTIONS_DROP, Plan

__all__ = [
    "closed_at_once",
    "disconnects",
    "ended_early",
    "fails_without_causes",
    "find_connections",
    "find_lifetime",
    "find_reconnection",
    "no_gap",
    "not_back",
    "not_connected",
    "served",
]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_OF_SUCCESS = (Family.AVAILABILITY, Family.ERROR_RATE)
"""Families of criteria on the share of operations that succeed."""
_COHORT = 0.98
"""Ratio of the stated connections that must have been open for long enough to be judged."""
_IN_TIME = 0.002
"""A connection may open too late by this ratio of the time, which is the width of a bucket."""
_AT_ONCE = 1.0
"""Seconds. A connection that the service ends sooner counts as closed at once."""
_FELT = 60
"""Seconds after an action in which connections can end because of it. Pings find a silent
connection within forty seconds."""
_TOGETHER = 5.0
"""Seconds. If two actions are this close to each other, either can be the cause that a connection
ended."""


def not_connected(_criterion: Criterion, evidence: Evidence) -> Finding | None:
    """The finding if a run opened no connection, or its plan closes connections; None otherwise."""
    whole = evidence.whole
    if not evidence.total(CONNECTIONS, whole).any():
        return Finding(Status.INCONCLUSIVE, "no connection was open at any time")
    connected = [each.workload for each in populations_with(evidence, CONNECTIONS)]
    if any(each.churn or each.session for each in connected):
        return Finding(
            Status.NOT_JUDGED,
            "the plan itself closes connections, so the service cannot keep all of them open",
        )
    return None


def closed_at_once(case: Case) -> Integers:
    """The successful attempts whose connections ended within `_AT_ONCE`, by second; (`seconds`,).

    Connections that the generator closed, or that an action of the plan can have cut, do not count.
    The record has the second in which a connection opened. Its attempt is taken as the latest
    possible one. All counts are 0 unless the criterion is on the success of attempts.
    """
    evidence, window, attempts = case.evidence, case.window, case.traffic
    found = np.zeros(window.seconds, np.int64)
    if case.timing != CONNECT.key or case.criterion.measure.family not in _OF_SUCCESS:
        return found
    with_late = Window(window.start, window.seconds + math.ceil(evidence.run.plan.timeout), window.phase)
    closed = _ended_at_once(evidence, case.criterion.scope, with_late)
    succeeded = attempts.per_second() - attempts.per_second(FAILED)
    # Only attempts that were not complete at the end of the window can have opened after it.
    late = max(int(succeeded.sum() - attempts.completed.sum()), 0)
    left = min(late, int(closed[window.seconds :].sum()))
    for second in range(window.seconds - 1, -1, -1):
        left += int(closed[second])
        found[second] = min(left, int(succeeded[second]))
        left -= int(found[second])
    return found


def _ended_at_once(evidence: Evidence, scope: Scope, window: Window) -> Integers:
    """Connections that ended within `_AT_ONCE`, by the second in which they opened; (`seconds`,).

    Those that the generator closed, or that an action of the plan can have cut, do not count.
    """
    ended = evidence.traffic(scope, window, timing=LIFETIME.key)
    until = window.start + ended.second + 1 + lower_edges(ended.took + 1)
    is_before = until <= _first_action(evidence.run.plan)
    is_early = (ended.bucket == FAILED) & (ended.took < index(_AT_ONCE)) & is_before
    return np.bincount(ended.second[is_early], ended.count[is_early], window.seconds).astype(np.int64)


def served(case: Case) -> Traffic:
    """The operations of a case; attempts whose connections ended at once count as failures."""
    traffic, closed = case.traffic, closed_at_once(case)
    if not closed.any():
        return traffic
    failed = traffic.per_second(FAILED) + closed
    return replace(
        traffic,
        second=np.tile(np.arange(traffic.seconds), 2),
        bucket=np.repeat([0, FAILED], traffic.seconds),
        took=np.zeros(2 * traffic.seconds, np.int64),
        count=np.concatenate([traffic.per_second() - failed, failed]),
    )


def _first_action(plan: Plan) -> float:
    """The planned time of the first action, in seconds of the run; infinite without an action."""
    hold = plan.workload.hold
    return min((action_at(hold, each.at) for each in plan.actions), default=math.inf) if hold else math.inf


def no_gap(evidence: Evidence) -> str:
    """The reason why the gaps that the plan causes were not tested; "" if they were.

    Each action that ends connections must have ended at least one. A plan that drops connections
    must have dropped at least one that no action can have ended.
    """
    run = evidence.run
    cuts = [event for event in run.events if event.restarts or event.what == ALL_CONNECTIONS_DROP]
    drops = np.flatnonzero(_drops(evidence, evidence.whole))
    for event in cuts:
        following = min((int(each.at) for each in cuts if each.at > event.at + _TOGETHER), default=math.inf)
        until = min(event.at + event.seconds + _FELT, following)
        if not any(int(event.at) <= second < until for second in drops):
            return (
                f'no connection is known to have dropped because of "{event.what}", so its gap was not seen'
            )
    is_churning = any(each.workload.churn for each in run.plan.populations)
    dropped = _samples(evidence, RECONNECT)[0]
    for event in cuts:
        dropped = dropped[(dropped < int(event.at)) | (dropped > event.at + event.seconds + _FELT)]
    if is_churning and not dropped.size:
        return "the plan drops connections, and none was dropped, so there was no gap"
    return ""


def _drops(evidence: Evidence, window: Window) -> Floats:
    """Connections that ended and that the generator did not close, by second; (`seconds`,)."""
    return evidence.per_second(lambda each: each.count_of_all(DISCONNECTED), window)


def find_connections(case: Case) -> Finding:
    """Judge the fewest connections that were open at one moment of the steady window.

    A user connects when it arrives. So the judged time begins when the number of open connections
    reaches the limit for the first time, at most a time-out after the window's start. Connections
    that dropped in the window and are not back count as open for this. If the limit was reached in
    the ramp before the window, the judged time begins with the window. The last second of the load
    does not count. Each worker records the fewest connections of each second. Their sum can be too
    low, because workers need not have the fewest at the same moment.
    """
    criterion, evidence, window = case.criterion, case.evidence, case.window
    if window.end >= evidence.run.plan.seconds and window.seconds > 1:
        # Users leave when the load ends, before its last second is reported.
        window = Window(window.start, window.seconds - 1, window.phase)
    least = evidence.total(LEAST_CONNECTIONS, window)
    at_ends = evidence.total(CONNECTIONS, window)
    patience = min(math.ceil(evidence.run.plan.timeout), window.seconds - 1)
    gone = _not_back_by_second(evidence, window)
    reached = np.flatnonzero((least + gone)[: patience + 1] >= criterion.limit)
    begin = 0 if _was_reached(case, window.start) or not len(reached) else int(reached[0])
    lower, upper = float(least[begin:].min()), float(at_ends[begin:].min())
    second = window.start + begin + int(np.argmin(least[begin:]))
    where = Window(window.start + begin, window.seconds - begin, window.phase)
    sentence = f"at least {format_number(lower)} connections were open at every moment"
    finding = Finding(
        Status.PASS,
        f"{sentence}, {distance(lower, criterion.limit)} the limit of {format_number(criterion.limit)}",
        lower,
        samples=where.seconds,
        details={"opening": begin, "fewest_at": second, "disconnects": disconnects(evidence)},
        window=where,
    )
    if lower >= criterion.limit:
        return finding
    reason = (
        f"only {format_number(lower)} connections were open in second {second} of the run{_by_code(evidence)}"
    )
    if upper < criterion.limit or evidence.run.workers == 1:
        return finding.become(
            Status.FAIL,
            f"{reason}, {distance(lower, criterion.limit)} the limit of {format_number(criterion.limit)}",
        )
    return finding.become(
        Status.INCONCLUSIVE,
        f"{reason}, if all workers had the fewest at one moment, and {format_number(upper)} if not",
    )


def _not_back_by_second(evidence: Evidence, window: Window) -> Floats:
    """Connections that dropped in a window before each second, and are not back; (`seconds`,).

    Connections that ended at once do not count, because their users had not connected yet.
    """
    dropped = np.append(0.0, np.cumsum(_drops(evidence, window)))[:-1]
    dropped = dropped - np.cumsum(_ended_at_once(evidence, EVERYTHING, window))
    back = np.cumsum(evidence.traffic(window=window, timing=RECONNECT.key).completed)
    return np.asarray(np.maximum(dropped - back, 0.0))


def _was_reached(case: Case, start: int) -> bool:
    """Were enough connections open in the ramp before `start`, since the plan last reduced the load?"""
    loads = [each.workload for each in case.evidence.run.plan.populations]
    levels = np.array([sum(load.level_at(float(second)) for load in loads) for second in range(start + 1)])
    reduced = np.flatnonzero(np.diff(levels) < 0)
    first = int(reduced[-1]) + 1 if len(reduced) else 0
    if first >= start:
        return False
    ramp = Window(first, start - first, "ramp")
    return bool((case.evidence.total(LEAST_CONNECTIONS, ramp) >= case.criterion.limit).any())


def find_lifetime(case: Case) -> Finding:
    """Judge the share of the connections that remained open for a time.

    Only connections that opened early enough before the end of the load count. One that the
    generator itself closed before that time does not count.
    """
    criterion, evidence = case.criterion, case.evidence
    run, needed = evidence.run, criterion.limit
    share = criterion.measure.quantile or 1.0
    hold = run.plan.workload.hold
    planned = hold.end - hold.start if hold else 0.0
    if planned < needed:
        rehearsed = run.plan.rehearsed
        return Finding(
            Status.NOT_JUDGED,
            f"the load held for {format_seconds(planned)}, which is too short for {format_seconds(needed)}"
            + (f" (rehearsed: {rehearsed})" if rehearsed else ""),
        )
    kept, _, ended = ended_early(case)
    broken = int(ended.sum())
    details = {"kept": kept, "broken": broken, "disconnects": disconnects(evidence)}
    if not kept + broken:
        return Finding(
            Status.INCONCLUSIVE,
            f"no connection was open {format_seconds(needed)} before the end of the load",
            details=details,
        )
    value = kept / (kept + broken)
    sentence = (
        f"{kept:,} of {kept + broken:,} connections ({format_ratio(value)}) were the same for "
        f"{format_seconds(needed)}{_by_code(evidence)}"
    )
    finding = Finding(
        Status.PASS,
        f"{sentence}, {distance(value, share, Unit.RATIO)} the share of {format_ratio(share)}",
        details={**details, "share": value},
        samples=kept + broken,
        window=case.window,
    )
    if value < share:
        return finding.become(Status.FAIL, finding.reason)
    # Users without connections state none.
    connected = populations_with(evidence, CONNECTIONS)
    stated = sum(each.workload.peak for each in evidence.closed if each in connected)
    if kept + broken < _COHORT * stated:
        return finding.become(
            Status.INCONCLUSIVE,
            f"{sentence}, but the load states {format_number(stated)}, and the others were not open for as long",
        )
    return if_as_planned(case, finding)


def ended_early(case: Case) -> tuple[int, Integers, Integers]:
    """The number of connections that lasted for the time, and those that the service ended before.

    For the latter, the result has two arrays. The first has the seconds of the run from and until
    which each can have ended, (n, 2). The second has their counts, (n,).
    """
    needed = case.criterion.limit
    opened, outcome, bucket, count = _samples(case.evidence, LIFETIME)
    in_cohort = opened <= case.evidence.run.ended_at - needed * (1 - _IN_TIME)
    lasted = bucket >= index(needed)
    is_early = in_cohort & ~lasted & (outcome != OK)
    opened, bucket = opened[is_early], bucket[is_early]
    begin, end = opened + lower_edges(bucket), opened + 1 + lower_edges(bucket + 1)
    ended = np.column_stack([np.floor(begin), np.ceil(end)]).astype(np.int64)
    return int(count[in_cohort & lasted].sum()), ended, count[is_early]


def find_reconnection(case: Case) -> Finding:
    """Judge the share of the dropped clients that reconnected and resumed within a time."""
    criterion, evidence = case.criterion, case.evidence
    run, share = evidence.run, criterion.measure.quantile or 1.0
    failed = next((event for event in run.events if event.failed), None)
    if failed is not None:
        return Finding(Status.NOT_JUDGED, f'"{failed.what}" could not be carried out: {failed.failed}')
    _, outcome, bucket, count = _samples(evidence, RECONNECT)
    is_ok = outcome == OK
    is_in_time = is_ok & (bucket <= index(criterion.limit))
    back = int(count[is_in_time].sum())
    unknown = int(count[(outcome == NOT_BACK) & (bucket < index(criterion.limit))].sum())
    dropped = int(count.sum())
    late = dropped - back - unknown
    histogram = np.zeros(BUCKETS + 1, np.int64)
    np.add.at(histogram, np.where(is_ok, bucket, BUCKETS), count)
    details = {"dropped": dropped, "back_in_time": back, "late": late, "not_known": unknown}
    if not dropped:
        lost = sum(disconnects(evidence).values())
        return Finding(
            Status.INCONCLUSIVE,
            f"{lost:,} connections dropped, and their users did not reconnect automatically"
            if lost
            else "no connection dropped, so no client had to reconnect",
            details=details,
        )
    sentence = (
        f"{back:,} of {dropped:,} clients ({format_ratio(back / dropped)}) were back within "
        f"{format_seconds(criterion.limit)}"
    )
    finding = Finding(
        Status.PASS,
        f"{sentence}, and the criterion requires {format_ratio(share)}",
        quantile_of(histogram, share),
        samples=dropped,
        details=details,
        window=case.window,
    )
    if (back + unknown) / dropped < share:
        return finding.become(Status.FAIL, finding.reason)
    if back / dropped < share:
        return finding.become(
            Status.INCONCLUSIVE, f"{sentence}; the load ended before the time limit of {unknown:,} others"
        )
    others = _dropped_for_good(evidence)
    if back / (dropped + others) < share:
        return finding.become(
            Status.INCONCLUSIVE,
            f"{sentence}, but {others:,} other connections dropped, and their users did not reconnect automatically",
        )
    fewest = fewest_to_show(share)
    if dropped < fewest:
        return finding.become(
            Status.INCONCLUSIVE,
            f"{sentence}; at least {fewest} drops are needed to show {format_ratio(share)}",
        )
    return if_as_planned(case, finding)


def not_back(case: Case) -> tuple[Integers, Integers]:
    """The clients that surely did not reconnect in time: seconds of the drop, and counts; (n,)."""
    second, outcome, bucket, count = _samples(case.evidence, RECONNECT)
    late = bucket > index(case.criterion.limit)
    late |= (outcome == NOT_BACK) & (bucket >= index(case.criterion.limit))
    late |= (outcome != OK) & (outcome != NOT_BACK)
    return second[late], count[late]


def fails_without_causes(case: Case, causes: npt.NDArray[np.bool_]) -> bool:
    """Did too many clients not reconnect in time, even without those that dropped near a cause?

    `causes`: by second of the window.
    """
    away = np.zeros(case.window.seconds, np.int64)
    dropped, number = not_back(case)
    np.add.at(away, np.clip(dropped - case.window.start, 0, case.window.seconds - 1), number)
    # A cause explains the clients that should have reconnected while it lasted.
    reach = math.ceil(case.criterion.limit) + 1
    seconds = np.flatnonzero(causes)
    for second in np.flatnonzero(away):
        if ((seconds >= second) & (seconds <= second + reach)).any():
            away[second] = 0
    share = case.criterion.measure.quantile or 1.0
    return bool(away.sum() > (1 - share) * _samples(case.evidence, RECONNECT)[3].sum())


def _dropped_for_good(evidence: Evidence) -> int:
    """The number of dropped connections of labels whose users never reconnect."""
    table = evidence.run.table
    labels = {*table.labels(LIFETIME)} - {*table.labels(RECONNECT)}
    _, outcome, sums = table.totals([label_series(label, LIFETIME) for label in labels], 0, 1 << 21)
    return int(sums[outcome != 0, 0].sum())


def disconnects(evidence: Evidence) -> dict[str, int]:
    """The connections that the generator did not close, counted by reason; largest number first."""
    counts: dict[str, int] = {}
    for second in evidence.run.worker_seconds:
        for named in second.counts.values():
            for name, number in named.items():
                if name.startswith(DISCONNECTED):
                    reason = name.removeprefix(DISCONNECTED)
                    counts[reason] = counts.get(reason, 0) + number
    return dict(sorted(counts.items(), key=lambda each: -each[1]))


def _by_code(evidence: Evidence) -> str:
    """The three most frequent reasons for ends, in words: " (12 ended with closed 1006)"."""
    shown = [f"{number:,} ended with {reason}" for reason, number in disconnects(evidence).items()]
    return f" ({', '.join(shown[:3])})" if shown else ""


def _samples(evidence: Evidence, timing: Timing) -> tuple[Integers, npt.NDArray[np.str_], Integers, Integers]:
    """The samples of a timing: second of the start, outcome, bucket of the time, count; (n,)."""
    table = evidence.run.table
    series = [label_series(label, timing) for label in table.labels(timing)]
    second, outcome, bucket, count = table.select(Kind.RESPONSE, series, 0, 1 << 21)
    names = np.array(table.outcomes or [OK])
    return second, names[outcome], bucket, count
