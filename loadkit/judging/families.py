"""The rules by which each family of measures is judged. Other modules can register new families.

`loadkit.criterion.Family` defines the sentences of a family. `register` adds the rules for judging
it.
"""

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from loadkit import grammar
from loadkit.criterion import Criterion, Family, Measure, Unit
from loadkit.judging.alerts import find_alert, queries_of
from loadkit.judging.collapse import Collapse
from loadkit.judging.connections import (
    find_connections,
    find_lifetime,
    find_reconnection,
    not_connected,
)
from loadkit.judging.database import find_index_use
from loadkit.judging.evidence import Case, Evidence
from loadkit.judging.exactness import find_exact
from loadkit.judging.finding import Finding
from loadkit.judging.gauges import find_gauge, unobserved
from loadkit.judging.health import NO_TIME_LIMIT
from loadkit.judging.messages import (
    find_convergence,
    find_delivery,
    find_reach,
    find_throughput_of_any,
    find_time_of_any,
)
from loadkit.judging.rates import (
    find_share,
    find_uptime,
    otherwise_sent,
    share_at_collapse,
    throughput_at_collapse,
)
from loadkit.judging.recovery import find_recovery
from loadkit.judging.times import otherwise_timed, time_at_collapse
from loadkit.recording.timing import OPERATION, OPERATIONS, WORKFLOW

__all__ = ["Basis", "FamilyRules", "queries_for", "register", "rules_of", "time_limit"]


class Basis(enum.Enum):
    """The data that a family is judged on, which determines the circumstances to consider."""

    OPERATIONS = "operations"
    """The operations in the steady window. The verdict must be the same without the seconds in
    which the generator was overloaded."""
    SERVICE = "service"
    """Other observations of the service in the steady window, such as gauges, probes and counts."""
    TIMELINE = "timeline"
    """The whole run. The family itself selects the part and considers the circumstances."""


def _nothing_asked(_: Measure) -> tuple[str, ...]:
    return ()


def _nothing_missing(_criterion: Criterion, _evidence: Evidence) -> None:
    return None


def _no_other_way(_: Case) -> Iterable[tuple[str, Case]]:
    return ()


def _nothing_at_collapse(_case: Case, _collapse: Collapse) -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyRules:
    """How the criteria of one family are judged and shown."""

    family: Family
    basis: Basis
    find: Callable[[Case], Finding]
    """The finding from the evidence, before the run's circumstances are considered."""
    queries: Callable[[Measure], tuple[str, ...]] = _nothing_asked
    """The queries that an observer must run, besides the measures of the environment file."""
    missing: Callable[[Criterion, Evidence], Finding | None] = _nothing_missing
    """Why a run cannot judge a criterion. Operations do not use it: they are judged unless
    there are none."""
    other_ways: Callable[[Case], Iterable[tuple[str, Case]]] = _no_other_way
    """Other evaluations of the operations, without the generator's effects; all must agree."""
    at_collapse: Callable[[Case, Collapse], Finding | None] = _nothing_at_collapse
    """The finding at a collapse on a criterion that is otherwise inconclusive; None if there is
    none."""
    corrects_omission: bool = False
    """Are the operations of a closed load corrected for coordinated omission? See `corrects`."""
    weighs_drift: bool = True
    """Does a drift revoke a pass if the window's worst third does not satisfy the criterion?"""
    is_slowed_by_machine: bool = False
    """Can a full machine explain a fail? If not, the fail stands (see `contended`)."""
    chart: str = ""
    """``module:function`` that draws evidence, window and criterion; "" for none."""

    def corrects(self, timing: str) -> bool:
        """Are the operations of a timing (its key) corrected for coordinated omission?"""
        return self.corrects_omission and timing in _CORRECTED

    @property
    def rests_on_operations(self) -> bool:
        """Does the finding depend on the operations of users?"""
        return self.basis is Basis.OPERATIONS or self.family in _OF_USERS


_CORRECTED = frozenset({OPERATION.key, WORKFLOW.key, *(each.key for each in OPERATIONS)})
"""The timings whose operations a stall prevents, because a user makes one after the other."""
_OF_USERS = (
    Family.RECOVERY,
    Family.CONNECTIONS,
    Family.LIFETIME,
    Family.RECONNECTION,
    Family.REACH,
    Family.DELIVERY,
    Family.CONVERGENCE,
)
"""Families on another ground whose results depend on the operations of users."""

_RULES: dict[str, FamilyRules] = {}


def register(rules: FamilyRules) -> None:
    """Add the rules of a family, or replace them."""
    _RULES[rules.family.name] = rules


def rules_of(family: Family) -> FamilyRules:
    """The rules of a family.

    Raises:
        LookupError: the family is not registered.

    """
    try:
        return _RULES[family.name]
    except KeyError:
        raise LookupError(
            f'the family "{family}" is not registered; loadkit.judging.families.register adds it'
        ) from None


def queries_for(criterion: Criterion) -> tuple[str, ...]:
    """The queries that the observer must run, besides the measures of the environment file."""
    return rules_of(criterion.measure.family).queries(criterion.measure)


def time_limit(criterion: Criterion) -> float:
    """The time limit (seconds) for which the generator's health is checked for a criterion."""
    is_of_operations = rules_of(criterion.measure.family).basis is Basis.OPERATIONS
    return criterion.limit if is_of_operations and criterion.measure.unit is Unit.SECONDS else NO_TIME_LIMIT


def _free_query(measure: Measure) -> tuple[str, ...]:
    return (measure.name,) if grammar.is_query(measure) else ()


_CHARTS = "loadkit.reports.charts"
_PROTOCOL_CHARTS = "loadkit.reports.protocol_charts"

for _rules in (
    FamilyRules(
        family=Family.TIME,
        is_slowed_by_machine=True,
        basis=Basis.OPERATIONS,
        find=find_time_of_any,
        other_ways=otherwise_timed,
        at_collapse=time_at_collapse,
        corrects_omission=True,
        chart=f"{_CHARTS}:times",
    ),
    FamilyRules(
        family=Family.ERROR_RATE,
        is_slowed_by_machine=True,
        basis=Basis.OPERATIONS,
        find=find_share,
        at_collapse=share_at_collapse,
        chart=f"{_CHARTS}:failing_share",
    ),
    FamilyRules(
        family=Family.AVAILABILITY,
        is_slowed_by_machine=True,
        basis=Basis.OPERATIONS,
        find=find_share,
        at_collapse=share_at_collapse,
        chart=f"{_CHARTS}:succeeding_share",
    ),
    FamilyRules(
        family=Family.THROUGHPUT,
        is_slowed_by_machine=True,
        basis=Basis.OPERATIONS,
        find=find_throughput_of_any,
        other_ways=otherwise_sent,
        at_collapse=throughput_at_collapse,
        weighs_drift=False,
        chart=f"{_CHARTS}:throughput",
    ),
    FamilyRules(
        family=Family.UPTIME,
        is_slowed_by_machine=True,
        basis=Basis.SERVICE,
        find=find_uptime,
        chart=f"{_CHARTS}:probes",
    ),
    FamilyRules(
        family=Family.GAUGE,
        is_slowed_by_machine=True,
        basis=Basis.SERVICE,
        find=find_gauge,
        queries=_free_query,
        missing=unobserved,
        chart=f"{_CHARTS}:gauge",
    ),
    FamilyRules(
        family=Family.RECOVERY,
        is_slowed_by_machine=True,
        basis=Basis.TIMELINE,
        find=find_recovery,
        chart=f"{_CHARTS}:recovery",
    ),
    FamilyRules(
        family=Family.ALERT,
        is_slowed_by_machine=True,
        basis=Basis.TIMELINE,
        find=find_alert,
        queries=queries_of,
        chart=f"{_CHARTS}:alerts",
    ),
    FamilyRules(
        family=Family.EXACT,
        basis=Basis.TIMELINE,
        find=find_exact,
        chart=f"{_PROTOCOL_CHARTS}:exact",
    ),
    FamilyRules(
        family=Family.CONNECTIONS,
        basis=Basis.SERVICE,
        find=find_connections,
        missing=not_connected,
        chart=f"{_PROTOCOL_CHARTS}:connections",
    ),
    FamilyRules(
        family=Family.LIFETIME,
        basis=Basis.TIMELINE,
        find=find_lifetime,
        chart=f"{_PROTOCOL_CHARTS}:disconnects",
    ),
    FamilyRules(
        family=Family.RECONNECTION,
        is_slowed_by_machine=True,
        basis=Basis.TIMELINE,
        find=find_reconnection,
        chart=f"{_PROTOCOL_CHARTS}:disconnects",
    ),
    FamilyRules(
        family=Family.REACH,
        basis=Basis.TIMELINE,
        find=find_reach,
        chart=f"{_PROTOCOL_CHARTS}:messages",
    ),
    FamilyRules(
        family=Family.DELIVERY,
        basis=Basis.TIMELINE,
        find=find_delivery,
        chart=f"{_PROTOCOL_CHARTS}:messages",
    ),
    FamilyRules(
        family=Family.CONVERGENCE,
        basis=Basis.TIMELINE,
        find=find_convergence,
        chart=f"{_PROTOCOL_CHARTS}:messages",
    ),
    FamilyRules(
        family=Family.INDEX_USE,
        basis=Basis.TIMELINE,
        find=find_index_use,
        chart=f"{_PROTOCOL_CHARTS}:database",
    ),
):
    register(_rules)
