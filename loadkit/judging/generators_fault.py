"""Fails that the load generator itself may have caused.

A fail on times is invalid if arrivals waited for a user because the load had too few accounts. It
stands if the times fail without these waits too. The rest is about connections.

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
from loadkit.judging.families import FamilyRules
from loadkit.judging.finding import Finding
from loadkit.recording import health_bounds
from loadkit.recording.histogram import lower_edges
from loadkit.recording.messages import CONNECTIONS, LEAST_CONNECTIONS
from loadkit.recording.slices import Kind, worker_series
from loadkit.recording.worker_second import ALL_IN_USE, OUT_OF_DESCRIPTORS, SCHEDULED, WorkerSecond
from loadkit.units import format_seconds
from loadkit.verdict import Status

__all__ = ["check_accounts", "check_generator_fault"]

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
    """A fail on times is invalid if only the waits for free accounts explain it; see the module."""
    if finding.status is not Status.FAIL or criterion.measure.family != Family.TIME:
        return finding
    window = finding.window or evidence.whole
    population = None if len(evidence.run.plan.populations) == 1 else criterion.scope.population

    def all_in_use(each: WorkerSecond) -> float:
        chosen = each.counts.values() if population is None else [each.counts.get(population, {})]
        return float(any(name.startswith(ALL_IN_USE) for named in chosen for name in named))

    seconds = int(np.count_nonzero(evidence.per_second(all_in_use, window)))
    if not seconds:
        return finding
    case = Case(criterion, evidence, window, rules.corrects(criterion.measure.timing))
    for condition, other in rules.other_ways(case):
        status = rules.find(other).status
        if status is not Status.FAIL:
            return finding.become(
                Status.INVALID,
                f"arrivals waited for a user in {seconds} of {window.seconds} seconds, because all accounts of "
                f"this load were in use; {condition} the verdict would be {status.value} instead of fail; name "
                "more accounts, or let users share them (share_accounts = true)",
            )
    return finding


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
