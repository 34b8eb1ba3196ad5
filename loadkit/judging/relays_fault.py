"""Fails that the relay of the regions may have caused. The relay is a part of the load generator.

- If the relay has no free socket or file descriptor, it resets connections of users. Then every
  fail that rests on operations of its users is invalid.
- In seconds in which the relay is late by `RELAY_LATE` or more, it delays operations like a busy
  machine. So a fail stands if it would stand on such a machine (`contended`). This rule does not
  apply if the relay was late for as long as the drain of the run.
- A fail on the time of one operation also stands if it remains with a higher limit. This limit
  includes the longest delay that the relay can have added. A shorter lateness matters only here.
- If the relay does not answer at the end of the run, it may have hung during the load. Then every
  fail of its users is invalid.
- A proven leak of another tenant's data always stands (`proves_leak`).

The connections of users without a region do not pass through the relay, nor do database queries.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from loadkit.criterion import Criterion, Family, ScopeKind
from loadkit.judging.contended import stands
from loadkit.judging.evidence import EVERYTHING, Case, Evidence
from loadkit.judging.families import FamilyRules
from loadkit.judging.finding import Finding
from loadkit.judging.machine import Contention
from loadkit.judging.messages import proves_leak
from loadkit.recording.health_bounds import OUT_OF_DESCRIPTORS, RELAY_LATE
from loadkit.recording.timing import ACQUIRE, CONNECT, OPERATION, QUERY, RECONNECT, WORKFLOW
from loadkit.recording.worker_second import SENT
from loadkit.units import format_seconds
from loadkit.verdict import Status, Window

__all__ = ["check_relay_fault"]

_OF_DATABASE = frozenset({QUERY.key, ACQUIRE.key})
"""Timings on connections that do not pass through the relay."""
_OF_SEVERAL = frozenset({WORKFLOW.key, CONNECT.key, RECONNECT.key})
"""Timings of more than one request and its answer."""
_WAITS = 4
"""How often one operation waits for the relay: it reads and delivers the request and the answer."""

Floats = npt.NDArray[np.float64]


def check_relay_fault(
    criterion: Criterion,
    evidence: Evidence,
    rules: FamilyRules,
    finding: Finding,
    judged_by: Callable[[Criterion], Finding],
) -> Finding:
    """A fail is invalid if the relay of the regions can have caused it; see the module.

    `judged_by` returns the finding on the same evidence for the criterion with another limit.
    """
    run = evidence.run
    relay = run.facts.get("relay")
    is_relayed = relay is not None or bool(run.facts.get("regions"))
    if not is_relayed or finding.status is not Status.FAIL or not rules.rests_on_operations:
        return finding
    if not _passes_relay(criterion, evidence):
        return finding
    if relay is None:
        if proves_leak(criterion, finding):
            return finding
        return finding.become(
            Status.INVALID,
            f"the network relay of the regions did not answer at the end, which may be why {finding.reason}",
        )
    refused = int(relay.get("out_of_descriptors", 0))
    if refused > OUT_OF_DESCRIPTORS.invalid.fixed * _operations(criterion, evidence):
        sentence = (
            f"the network relay of the regions had no socket or file descriptor for {refused:,} connections"
        )
        if proves_leak(criterion, finding):
            return finding.warned(f"{sentence}; this does not explain the fail")
        return finding.become(Status.INVALID, sentence)
    window = finding.window or evidence.whole
    late = _lateness(relay, evidence.whole)[window.start : window.end]
    is_one_time = criterion.measure.family == Family.TIME and criterion.measure.timing not in _OF_SEVERAL
    is_limited = is_one_time and criterion.comparison.is_upper
    longest, is_late = float(late.max(initial=0.0)), late >= RELAY_LATE
    if not is_late.any() and not (longest and is_limited):
        return finding
    is_late = is_late if is_late.any() else late > 0
    sentence = (
        f"the network relay of the regions was late by up to {format_seconds(longest)} in {int(is_late.sum())} of "
        f"{window.seconds} seconds"
    )
    case = Case(criterion, evidence, window, rules.corrects(criterion.measure.timing))
    is_short = longest < run.plan.drain
    if proves_leak(criterion, finding) or (is_short and stands(case, rules, Contention(is_late, sentence))):
        return finding.warned(f"{sentence}; this does not explain the fail")
    if is_limited:
        eased = replace(criterion, limit=criterion.limit + _WAITS * longest)
        if judged_by(eased).status is Status.FAIL:
            return finding.warned(f"{sentence}; this does not explain the fail")
    return finding.become(Status.INVALID, f"{sentence}, which may be why {finding.reason}")


def _operations(criterion: Criterion, evidence: Evidence) -> int:
    """The number of operations that a criterion covers; of all that were sent where none is known."""
    scope = EVERYTHING if criterion.scope.kind is ScopeKind.INSTANCE else criterion.scope
    own = int(evidence.traffic(scope, timing=OPERATION.key).size)
    return own or sum(each.count(SENT) for each in evidence.run.worker_seconds)


def _passes_relay(criterion: Criterion, evidence: Evidence) -> bool:
    """Can operations of a criterion have passed through the relay?"""
    scope, relayed = criterion.scope, evidence.run.facts.get("regions") or {}
    if criterion.measure.timing in _OF_DATABASE:
        return False
    if scope.kind is ScopeKind.REGION:
        return scope.name in relayed
    makers = evidence.makers(scope) or evidence.run.plan.populations
    return any(entry.region in relayed for each in makers for entry in each.workload.mix)


def _lateness(relay: dict[str, object], whole: Window) -> Floats:
    """The relay's largest lateness (seconds) by second of a run; 0 if it is small; (`seconds`,)."""
    late = np.zeros(whole.seconds)
    seconds = relay.get("late")
    if not isinstance(seconds, list):  # a run of an earlier version, which recorded no seconds
        usual = relay.get("late_p99", 0.0)
        late[:] = usual if isinstance(usual, float) and usual >= RELAY_LATE else 0.0
        return late
    for second, longest in seconds:
        # The relay was late until this second. It is a second of the system clock, so it may end in
        # the next second of the run.
        reached = slice(max(0, second - math.ceil(longest)), max(0, second + 2))
        late[reached] = np.maximum(late[reached], longest)
    return late
