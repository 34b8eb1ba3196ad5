"""Fails that the load generator itself may have caused.

A fail on operations is invalid if arrivals waited for a user, or were dropped, because the load had
too few accounts. A fail on times stands if the times fail without these waits too. A fail on failures
or throughput stands if it does not come from such arrivals. Any fail stands if the service stood
still while all accounts were in use: users of more accounts would have waited too. A fail is also
invalid if arrivals were dropped because most users were thinking. The rest is about connections.

A service closes a connection whose client does not read or answer for long enough. A client without
a free socket cannot reconnect. The generator has a fault while one of its event loops stands still,
or while a worker has no free socket or file. A fail is invalid if it rests on events during a
fault, or soon after it:

- Open connections: the fail stands if too few were open at a moment that is not soon after a fault.
- Lasting connections: those that ended while an event loop stood still, or soon after, do not count
  as broken. A lack of sockets is no fault here, because an open connection needs no new socket.
- Reconnecting clients: those that a fault can have kept away do not count as away.
"""

import math

import numpy as np
import numpy.typing as npt

from loadkit.criterion import Criterion, Family
from loadkit.judging.connections import ended_early, fails_without_causes
from loadkit.judging.evidence import Case, Evidence
from loadkit.judging.families import Basis, FamilyRules
from loadkit.judging.finding import Finding
from loadkit.recording import health_bounds
from loadkit.recording.histogram import lower_edges
from loadkit.recording.messages import CONNECTIONS, LEAST_CONNECTIONS
from loadkit.recording.slices import Kind, worker_series
from loadkit.recording.timing import timing_of
from loadkit.recording.traffic import series_of
from loadkit.recording.worker_second import (
    ALL_IN_USE,
    ALL_PRESENT,
    OUT_OF_DESCRIPTORS,
    SCHEDULED,
    WorkerSecond,
)
from loadkit.units import format_seconds
from loadkit.verdict import Status, Window

__all__ = ["check_accounts", "check_generator_fault"]

_UNSERVED = frozenset({"dropped", "unfinished"})
"""The outcomes of arrivals that no user served."""
_LONG = 20
"""A service stands still if no answer arrives for longer than this multiple of the usual time."""
_STALL = 1.0
"""The shortest stall of an event loop in seconds. No service closes a connection for less."""
_SOON = 5
"""Seconds after a fault in which connections still end because of it."""
_BACK = 30
"""Seconds after a fault in which clients may still be away: they wait before each attempt."""

Booleans = npt.NDArray[np.bool_]


def check_generator_fault(criterion: Criterion, evidence: Evidence, finding: Finding) -> Finding:
    """A fail on connections is invalid if the generator can have caused it; see the module."""
    family = criterion.measure.family
    if finding.status is not Status.FAIL or family not in {
        Family.CONNECTIONS,
        Family.LIFETIME,
        Family.RECONNECTION,
    }:
        return finding
    stalled, longest = _stalled(evidence)
    starved, refused = _starved(evidence)
    if family == Family.LIFETIME:
        starved, refused = np.zeros_like(starved), 0
    faults = stalled | starved
    if not faults.any():
        return finding
    causes = [
        *([f"an event loop of the load generator stood still for {format_seconds(longest)}"] * bool(longest)),
        *([f"the load generator had no socket or file for {refused:,} connections"] * bool(refused)),
    ]
    cause = " and ".join(causes)
    if _stands(Case(criterion, evidence, finding.window or evidence.whole), faults):
        return finding.warned(f"{cause}; this does not explain the fail")
    return finding.become(Status.INVALID, f"{cause}, which may be why {finding.reason}")


def check_accounts(criterion: Criterion, evidence: Evidence, rules: FamilyRules, finding: Finding) -> Finding:
    """A fail is invalid if the load had too few users or accounts for it; see the module."""
    if finding.status is not Status.FAIL or rules.basis is not Basis.OPERATIONS:
        return finding
    window = finding.window or evidence.whole
    population = None if len(evidence.run.plan.populations) == 1 else criterion.scope.population

    def seconds_with(start: str) -> Booleans:
        """The seconds of the window in which a count with this start of its name is present."""

        def has(each: WorkerSecond) -> float:
            chosen = each.counts.values() if population is None else [each.counts.get(population, {})]
            return float(any(name.startswith(start) for named in chosen for name in named))

        return np.asarray(evidence.per_second(has, window) > 0)

    case = Case(criterion, evidence, window, rules.corrects(criterion.measure.timing))
    present = seconds_with(ALL_PRESENT)
    if present.any() and _passes_without_unserved(case):
        return finding.become(
            Status.INVALID,
            f"arrivals were dropped in {int(present.sum())} of {window.seconds} seconds, because all users that may be "
            "present were, and most of them were thinking; use fewer journeys per second, or shorter think times",
        )
    in_use = seconds_with(ALL_IN_USE)
    # If the service stood still, users of more accounts would have waited for it too.
    limit = criterion.limit if criterion.measure.family == Family.TIME else 0.0
    usual = 1 / max(float(case.traffic.completed.mean()), 1e-9)
    if not in_use.any() or _stood_still(evidence, window, in_use, max(limit, _STALL, _LONG * usual)):
        return finding
    sentence = (
        f"arrivals waited for a user in {int(in_use.sum())} of {window.seconds} seconds, because all accounts of "
        "this load were in use"
    )
    advice = "name more accounts, or let users share them (share_accounts = true)"
    if criterion.measure.family != Family.TIME:
        if not _passes_without_unserved(case):
            return finding
        return finding.become(Status.INVALID, f"{sentence}, which may be why {finding.reason}; {advice}")
    for condition, other in rules.other_ways(case):
        status = rules.find(other).status
        if status is not Status.FAIL:
            return finding.become(
                Status.INVALID,
                f"{sentence}; {condition} the verdict would be {status.value} instead of fail; {advice}",
            )
    return finding


def _passes_without_unserved(case: Case) -> bool:
    """Would a criterion on failures or throughput be met if no arrival had lacked a user?

    The arrivals that lacked a user count like the others. Of a criterion on times, this is not
    known, so it could be.
    """
    criterion, window = case.criterion, case.window
    series = series_of(criterion.scope, case.evidence.run, timing_of(case.timing))
    _, outcome, _, count = case.evidence.run.table.select(Kind.RESPONSE, series, window.start, window.end)
    outcomes = case.evidence.run.table.outcomes
    is_unserved = np.isin(outcome, [place for place, name in enumerate(outcomes) if name in _UNSERVED])
    unserved, all_of_them = float(count[is_unserved].sum()), float(count.sum())
    failed = float(count[outcome != 0].sum()) - unserved
    if not unserved:
        return False
    match criterion.measure.family:
        case Family.ERROR_RATE:
            return failed <= criterion.limit * (all_of_them - unserved)
        case Family.AVAILABILITY:
            return failed <= (1 - criterion.limit) * (all_of_them - unserved)
        case Family.THROUGHPUT:
            share = 1 - failed / max(1.0, all_of_them - unserved)
            is_lower = not criterion.comparison.is_upper
            return is_lower and share * all_of_them >= criterion.limit * window.seconds
    return criterion.measure.family == Family.TIME


def _stood_still(evidence: Evidence, window: Window, seconds: Booleans, longer: float) -> bool:
    """Did the service stand still for longer than `longer` seconds in some of the marked seconds?"""
    for stall in evidence.run.stalls:
        if stall.seconds > longer:
            first = max(0, int(stall.start) - window.start)
            if seconds[first : max(first, math.ceil(stall.end) - window.start)].any():
                return True
    return False


def _stands(case: Case, faults: Booleans) -> bool:
    """Does a fail stand in spite of the generator's faults? `faults`: by second of the run."""
    family, evidence = case.criterion.measure.family, case.evidence
    if family == Family.CONNECTIONS:
        window = case.window
        # Several workers need not have the fewest connections at the same moment: see
        # `find_connections`.
        gauge = LEAST_CONNECTIONS if evidence.run.workers == 1 else CONNECTIONS
        is_clear = ~_followed(faults, _BACK)[window.start : window.end]
        return bool((evidence.total(gauge, window)[is_clear] < case.criterion.limit).any())
    whole = Case(case.criterion, evidence, evidence.whole)
    near = _followed(faults, _SOON)
    if family == Family.RECONNECTION:
        return fails_without_causes(whole, near)
    kept, ended, count = ended_early(whole)
    # A bucket is 0.2 % wide, so the end of a connection is known only to some seconds.
    broken = sum(
        int(number) for (at, until), number in zip(ended, count, strict=True) if not near[at:until].any()
    )
    share = case.criterion.measure.quantile or 1.0
    return broken > 0 and kept / (kept + broken) < share


def _stalled(evidence: Evidence) -> tuple[Booleans, float]:
    """The seconds of the run in which an event loop stood still, and the longest such time (s)."""
    whole, run = evidence.whole, evidence.run
    seconds = np.zeros(whole.seconds, np.bool_)
    workers = [worker_series(worker) for worker in range(run.workers)]
    # The lag is recorded when the loop continues.
    until, _, bucket, _ = run.table.select(Kind.LAG, workers, whole.start, whole.end)
    lags = lower_edges(bucket)
    for end, lag in zip(until[lags >= _STALL], lags[lags >= _STALL], strict=True):
        seconds[max(0, int(end) - math.ceil(lag)) : int(end) + 1] = True
    return seconds, float(lags.max(initial=0.0)) if seconds.any() else 0.0


def _starved(evidence: Evidence) -> tuple[Booleans, int]:
    """The seconds in which workers lacked sockets or files, and for how many connections."""
    whole = evidence.whole
    refused = evidence.per_second(lambda each: each.count(OUT_OF_DESCRIPTORS), whole)
    due = evidence.per_second(lambda each: each.count(SCHEDULED), whole)
    seconds = refused > health_bounds.OUT_OF_DESCRIPTORS.invalid.fixed * due
    return seconds, int(refused[seconds].sum())


def _followed(seconds: Booleans, soon: int) -> Booleans:
    """Mark the given seconds, and up to `soon` seconds after each of them; shapes (n,)."""
    marked = seconds.copy()
    for second in np.flatnonzero(seconds):
        marked[second : second + soon + 1] = True
    return marked
