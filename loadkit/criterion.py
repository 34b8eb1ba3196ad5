"""A promise in a form that can be judged: a measure, where it holds, a comparison, a limit."""

import enum
from dataclasses import dataclass
from typing import ClassVar

from loadkit.units import Unit

__all__ = ["Comparison", "Criterion", "Family", "Measure", "Reference", "Scope", "ScopeKind", "Unit"]


class ScopeKind(enum.StrEnum):
    """What part of the traffic, or of the service, a criterion speaks of."""

    ALL = "all"
    GROUP = "group"
    """An endpoint group of the environment file."""
    LABEL = "label"
    """One operation label, such as "POST /api/v1/metrics/sessions"."""
    TENANT = "tenant"
    REGION = "region"
    INSTANCE = "instance"
    """Each instance on its own; the worst one is judged."""
    POPULATION = "population"
    """One of the loads of a run, such as "admin users"."""


_OF_OPERATIONS = tuple(kind for kind in ScopeKind if kind is not ScopeKind.INSTANCE)


@dataclass(frozen=True, slots=True)
class Family:
    """A kind of measure, and what a sentence may say of it.

    The list is open: `loadkit.judging.families` registers how a family is judged, also from
    outside.
    """

    name: str
    scopes: tuple[ScopeKind, ...] = (ScopeKind.ALL,)
    """Where its criteria may hold."""
    whose: str = "of the service as a whole"
    """What its measures belong to, for the message about a wrong scope."""
    is_amount: bool = False
    """Does it depend on how many users there are, so that fewer of them cannot judge it?"""
    compares_loads: bool = False
    """Can two loads be compared by it?"""

    TIME: ClassVar["Family"]
    """A percentile, mean or maximum of the operations' times."""
    ERROR_RATE: ClassVar["Family"]
    AVAILABILITY: ClassVar["Family"]
    THROUGHPUT: ClassVar["Family"]
    UPTIME: ClassVar["Family"]
    """The share of one-second probes that were answered."""
    GAUGE: ClassVar["Family"]
    """A named measure of the environment file, or free PromQL: raw scrapes over the window."""
    RECOVERY: ClassVar["Family"]
    """How long after what disturbs it the service is as it was before."""
    ALERT: ClassVar["Family"]
    """What the service's own alerts did."""
    EXACT: ClassVar["Family"]
    """A count that must be zero."""

    def __str__(self) -> str:
        return self.name


_OPERATIONS = "of operations, not of instances"
Family.TIME = Family("time", _OF_OPERATIONS, _OPERATIONS, compares_loads=True)
Family.ERROR_RATE = Family("error rate", _OF_OPERATIONS, _OPERATIONS)
Family.AVAILABILITY = Family("availability", _OF_OPERATIONS, _OPERATIONS)
Family.THROUGHPUT = Family("throughput", _OF_OPERATIONS, _OPERATIONS, is_amount=True, compares_loads=True)
Family.UPTIME = Family("uptime")
Family.GAUGE = Family(
    "gauge",
    (ScopeKind.ALL, ScopeKind.INSTANCE),
    'of instances; expected "on every instance", or nothing',
)
Family.RECOVERY = Family("recovery")
Family.ALERT = Family("alert")
Family.EXACT = Family("exactness")


@dataclass(frozen=True, slots=True)
class Measure:
    """What is measured."""

    name: str
    """As the sentence says it: "response time", "error rate", "CPU utilization", or the PromQL
    text."""
    family: Family
    unit: Unit
    quantile: float | None = None
    """0.95 for p95; None where the statistic is another."""
    statistic: str = ""
    """"p95", "mean", "max" … as shown; empty where the measure has only one."""
    timing: str = "request"
    """The key of the timing (`loadkit.recording.timing`) whose operations it is about."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a criterion holds."""

    kind: ScopeKind = ScopeKind.ALL
    name: str = ""

    def __str__(self) -> str:
        """For people: "the auth endpoints", "users in Europe", "the admin users"."""
        words = {
            ScopeKind.ALL: "all operations",
            ScopeKind.GROUP: f"the {self.name} endpoints",
            ScopeKind.LABEL: f'"{self.name}"',
            ScopeKind.TENANT: f'tenant "{self.name}"',
            ScopeKind.REGION: f"users in {self.name}",
            ScopeKind.INSTANCE: "every instance",
            ScopeKind.POPULATION: f"the {self.name}",
        }
        return words[self.kind]


class Comparison(enum.StrEnum):
    """The words between measure and limit (vocabulary: "Criteria")."""

    IS_BELOW = "is below"
    IS_ABOVE = "is above"
    STAYS_BELOW = "stays below"
    STAYS_ABOVE = "stays above"
    NEVER_EXCEEDS = "never exceeds"
    NEVER_FALLS_BELOW = "never falls below"
    IS_AT_MOST = "is at most"
    IS_AT_LEAST = "is at least"

    @property
    def is_upper(self) -> bool:
        """Is the limit one that the measure must stay under?"""
        return self in {
            Comparison.IS_BELOW,
            Comparison.STAYS_BELOW,
            Comparison.NEVER_EXCEEDS,
            Comparison.IS_AT_MOST,
        }

    @property
    def includes_limit(self) -> bool:
        """Does a measure equal to the limit keep the promise?"""
        return self in {
            Comparison.IS_AT_MOST,
            Comparison.IS_AT_LEAST,
            Comparison.NEVER_EXCEEDS,
            Comparison.NEVER_FALLS_BELOW,
        }

    @property
    def forbids_spells(self) -> bool:
        """Does a lasting bad spell break the promise, although the whole window keeps it?"""
        return self in {Comparison.STAYS_BELOW, Comparison.STAYS_ABOVE}

    @property
    def holds_always(self) -> bool:
        """Does a single bad ten-second window break the promise?"""
        return self in {Comparison.NEVER_EXCEEDS, Comparison.NEVER_FALLS_BELOW}


@dataclass(frozen=True, slots=True)
class Reference:
    """What a measure is compared with: the same measure, of the same users, at another load."""

    level: str
    """A load level of the environment."""
    or_limit: float | None = None
    """A value, in the measure's unit, that keeps the promise whatever the measure is at the other
    load."""


@dataclass(frozen=True, slots=True)
class Criterion:
    """One `Then` line."""

    sentence: str
    """As written, without its keyword."""
    measure: Measure
    comparison: Comparison
    limit: float
    """In `unit`."""
    scope: Scope = Scope()
    reference: Reference | None = None
    """Where it compares two loads; the limit is then how many times the value at the other one is
    allowed."""

    @property
    def unit(self) -> Unit:
        """That of its limit, and of what is measured for it."""
        return self.measure.unit if self.reference is None else Unit.TIMES

    @property
    def is_amount(self) -> bool:
        """Does it depend on how many users there are, so that fewer of them cannot judge it?"""
        return self.measure.family.is_amount and self.reference is None
