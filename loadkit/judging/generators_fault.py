"""Fails that the load generator itself may have caused.

A fail on operations is invalid if arrivals waited for a user, or were dropped, because the load had
too few accounts. A fail on times stands if the times fail without these waits too. A fail on failures
or throughput stands if it does not come from such arrivals. Any fail stands if it remains in the
seconds in which accounts were free. Seconds with all accounts in use do not count if they began
while the service stood still: users of more accounts would have waited too. A fail is also invalid
if it comes from arrivals that were dropped because most users were thinking. The rest is about
connections.

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
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from loadkit.criterion import Criterion, Family
from loadkit.judging.connections import ended_early, fails_without_causes
from loadkit.judging.evidence import Case, Evidence
from loadkit.judging.families import Basis, FamilyRules
from loadkit.judging.finding import Finding
from loadkit.recording import health_bounds
from loadkit.recording.histogram import index, lower_edges
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
from loadkit.verdict import Status

__all__ = ["check_accounts", "check_generator_fault"]

_CATCH_UP = 5
"""After a stall, arrivals wait for accounts because of it for up to this multiple of its duration."""
_FEWEST = 10
"""A fail stands without some of its seconds if at least this many seconds remain."""
_LONG = 20
"""A service stands still if no answer arrives for longer than this multiple of the usual time."""
_STALL = 1.0
"""The shortest stall of an event loop in seconds. No service closes a connection for less."""
_SOON = 5
"""Seconds after a fault in which connections still end because of it."""
_BACK = 30
"""Seconds after a fault in which clients may still be away: they wait before each attempt."""

Booleans = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]


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
    if present.any() and not _fails_beside(case, rules, present) and _passes_without_unserved(case, present):
        return finding.become(
            Status.INVALID,
            f"arrivals were dropped in {int(present.sum())} of {window.seconds} seconds, because all users that may be "
            "present were, and most of them were thinking; use fewer journeys per second, or shorter think times",
        )
    in_use = _unexplained(seconds_with(ALL_IN_USE), case)
    if not in_use.any() or _fails_beside(case, rules, in_use):
        return finding
    sentence = (
        f"arrivals waited for a user in {int(in_use.sum())} of {window.seconds} seconds, because all accounts of "
        "this load were in use"
    )
    advice = "name more accounts, or let users share them (share_accounts = true)"
    if _passes_without_unserved(case, in_use):
        return finding.become(Status.INVALID, f"{sentence}, which may be why {finding.reason}; {advice}")
    for condition, other in rules.other_ways(case) if criterion.measure.family == Family.TIME else ():
        status = rules.find(other).status
        if status is not Status.FAIL:
            return finding.become(
                Status.INVALID,
                f"{sentence}; {condition} the verdict would be {status.value} instead of fail; {advice}",
            )
    return finding


def _passes_without_unserved(case: Case, seconds: Booleans) -> bool:
    """Would a criterion be met if no arrival of the marked seconds had lacked a user?

    For a throughput, the arrivals that lacked a user count like the others. For other criteria,
    they do not count, and times begin when an operation is sent.
    """
    criterion, window, table = case.criterion, case.window, case.evidence.run.table
    series = series_of(criterion.scope, case.evidence.run, timing_of(case.timing))
    second, outcome, bucket, count = table.select(Kind.SERVICE, series, window.start, window.end)
    dropped, unfinished = (_is(name, outcome, table.outcomes) for name in ("dropped", "unfinished"))
    # An operation that was sent and has no answer is unfinished too, but after some time.
    is_unserved = dropped | (unfinished & (bucket == 0))
    # A report can be written up to a second after an arrival.
    near = np.convolve(seconds, np.ones(3), "same") > 0
    is_unserved &= near[second - window.start]
    number = float(count.sum())
    unserved, failed = (float(count[rows].sum()) for rows in (is_unserved, (outcome != 0) & ~is_unserved))
    if not unserved:
        return False
    served = number - unserved
    match criterion.measure.family:
        case Family.ERROR_RATE:
            return failed <= criterion.limit * served
        case Family.AVAILABILITY:
            return failed <= (1 - criterion.limit) * served
        case Family.THROUGHPUT:
            share = 1 - failed / max(1.0, served)
            is_lower = not criterion.comparison.is_upper
            return is_lower and share * number >= criterion.limit * window.seconds
        case Family.TIME if criterion.measure.quantile is not None and criterion.comparison.is_upper:
            is_over = ((bucket > index(criterion.limit)) | (outcome != 0)) & ~is_unserved
            return float(count[is_over].sum()) <= (1 - criterion.measure.quantile) * served
    return False


def _is(name: str, outcome: Integers, outcomes: Sequence[str]) -> Booleans:
    """Mark the outcomes with a name. `outcome`: numbers, shape (n,); `outcomes`: names by number."""
    return np.isin(outcome, [number for number, each in enumerate(outcomes) if each == name])


def _unexplained(in_use: Booleans, case: Case) -> Booleans:
    """The seconds with all accounts in use that do not begin while the service stood still.

    Users of more accounts would have waited too. They wait until the accounts are free again, for
    some times as long as the service stood still.
    """
    criterion, window = case.criterion, case.window
    limit = criterion.limit if criterion.measure.family == Family.TIME else 0.0
    usual = 1 / max(float(case.traffic.completed.mean()), 1e-9)
    longest = max(limit, _STALL, _LONG * usual)
    # A journey holds its account during all of its operations, so stalls of each kind count.
    stalls = [
        each
        for timing in {each.timing for each in case.evidence.run.stalls}
        for each in case.evidence.stalls(criterion.scope, timing)
        if each.seconds > longest
    ]
    seconds, unexplained = np.flatnonzero(in_use), in_use.copy()
    for row in np.split(seconds, np.flatnonzero(np.diff(seconds) > _SOON) + 1):
        begin = window.start + (int(row[0]) if len(row) else 0)
        ends = [
            each.end + max(_SOON, _CATCH_UP * each.seconds)
            for each in stalls
            if each.start < begin + 1 and begin < each.end + 1
        ]
        unexplained[row[window.start + row < max(ends, default=0.0)]] = False
    return unexplained


def _fails_beside(case: Case, rules: FamilyRules, seconds: Booleans) -> bool:
    """Is the verdict a fail also without the marked seconds?

    Of a throughput this shows nothing, because fewer arrivals than usual can come in the others.
    """
    if case.criterion.measure.family == Family.THROUGHPUT or (~seconds).sum() < _FEWEST:
        return False
    rest = case.only(~seconds)
    return bool(rest.traffic.size) and rules.find(rest).status is Status.FAIL


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
