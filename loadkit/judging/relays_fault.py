"""Fails that the relay of the regions may have caused, which is a part of the load generator.

- Without a socket or file descriptor it resets connections of users. Every fail that rests on
  operations of users behind it is then invalid.
- If it is late, times are longer than the stated networks make them, by twice the lateness at most:
  a request and its answer pass it. So a criterion with an upper limit on a time is judged again with
  the limit higher by that. Users who wait for their answers also make fewer operations per second.
  So a throughput is judged again with the limit of users who wait less. A fail that remains stands.
- A late relay makes no error, and loses nothing. All other fails stand, with a warning.

Users without a region do not pass the relay, and neither do queries.
"""

import math
from collections.abc import Callable
from dataclasses import replace

from loadkit.criterion import Criterion, Family, Scope, ScopeKind, Unit
from loadkit.judging.evidence import Evidence
from loadkit.judging.families import FamilyRules
from loadkit.judging.finding import Finding
from loadkit.recording.health_bounds import LONGEST_RELAY_LATENESS, OUT_OF_DESCRIPTORS
from loadkit.recording.timing import ACQUIRE, MESSAGE, OPERATION, QUERY
from loadkit.recording.worker_second import SENT
from loadkit.units import format_seconds
from loadkit.verdict import Status
from loadkit.workload.plan import Population

__all__ = ["blamed_on_relay"]

_LATE = 0.05
"""Seconds (p99) by which a relay is late often enough to change a verdict."""
_OF_DATABASE = frozenset({QUERY.key, ACQUIRE.key})
"""Timings of connections that pass no relay."""


def blamed_on_relay(
    criterion: Criterion,
    evidence: Evidence,
    rules: FamilyRules,
    finding: Finding,
    judged_by: Callable[[Criterion], Finding],
) -> Finding:
    """A fail is invalid if the relay of the regions can have caused it; see the module.

    `judged_by` gives the finding of the same evidence on the criterion with another limit.
    """
    run = evidence.run
    relay = run.facts.get("relay")
    if relay is None or finding.status is not Status.FAIL or not rules.rests_on_operations:
        return finding
    if not _passes_relay(criterion, evidence):
        return finding
    refused = int(relay.get("out_of_descriptors", 0))
    if refused > OUT_OF_DESCRIPTORS.invalid.fixed * sum(each.count(SENT) for each in run.worker_seconds):
        return finding.become(
            Status.INVALID,
            f"the network relay of the regions had no socket or file descriptor for {refused:,} connections",
        )
    late = float(relay.get("late_p99", 0.0))
    if late < _LATE:
        return finding
    reason = f"the network relay of the regions was late by {format_seconds(late)} (p99)"
    limit = _eased(criterion, evidence, 2 * float(relay.get("late_p999", late)))
    if limit == criterion.limit:
        return finding.warned(f"{reason}, which does not explain the fail")
    if math.isfinite(limit) and judged_by(replace(criterion, limit=limit)).status is Status.FAIL:
        return finding.warned(f"{reason}; without that the criterion fails too")
    return finding.become(Status.INVALID, f"{reason}, which may be why {finding.reason}")


def _passes_relay(criterion: Criterion, evidence: Evidence) -> bool:
    """Can operations that a criterion rests on have passed the relay?"""
    scope = criterion.scope
    if criterion.measure.timing in _OF_DATABASE:
        return False
    if scope.kind is ScopeKind.REGION:
        return scope.name in _relayed(evidence)
    return any(_is_relayed(each, evidence) for each in _makers(scope, evidence))


def _relayed(evidence: Evidence) -> frozenset[str]:
    """The regions whose users connect to the relay."""
    return frozenset(evidence.run.facts.get("regions") or ())


def _makers(scope: Scope, evidence: Evidence) -> tuple[Population, ...]:
    """The populations that may have made the operations of a scope."""
    return evidence.makers(scope) or evidence.run.plan.populations


def _is_relayed(population: Population, evidence: Evidence) -> bool:
    return not _relayed(evidence).isdisjoint(entry.region for entry in population.workload.mix)


def _eased(criterion: Criterion, evidence: Evidence, late: float) -> float:
    """The limit for operations that took `late` seconds longer; infinite if none can be told.

    It is the criterion's own where lateness cannot explain a fail.
    """
    limit, measure = criterion.limit, criterion.measure
    if measure.unit is Unit.SECONDS and criterion.comparison.is_upper:
        # The relay counts no greater lateness.
        return math.inf if late >= 2 * LONGEST_RELAY_LATENESS else limit + late
    if (
        measure.family == Family.THROUGHPUT
        and measure.timing != MESSAGE.key
        and not criterion.comparison.is_upper
    ):
        return limit * _share_of_operations(criterion.scope, evidence, late)
    return limit


def _share_of_operations(scope: Scope, evidence: Evidence, late: float) -> float:
    """The share of their operations that users can make at least, each of which takes `late` longer.

    N users who make X operations per second make one every N/X seconds (Little's law). Users whose
    operations are the shortest lose the largest share. Arrivals of an open load do not wait.
    """
    window = evidence.window or evidence.whole
    shares = [1.0]
    for population in _makers(scope, evidence):
        if population not in evidence.closed or not _is_relayed(population, evidence):
            continue
        made = evidence.traffic(Scope(ScopeKind.POPULATION, population.name), window, timing=OPERATION.key)
        held, _ = evidence.held(window, population.name)
        if held.sum():
            shares.append(1 - late * made.size / float(held.sum()))
    return max(min(shares), 0.0)
