"""A criterion: a measure, its scope, a comparison and a limit."""

import enum
import math
from dataclasses import dataclass
from typing import ClassVar

from loadkit.units import Unit

__all__ = [
    "FOREIGN_DATA",
    "KEY_QUERIES",
    "OTHERS_DATA",
    "Comparison",
    "Criterion",
    "Family",
    "Measure",
    "Reference",
    "Scope",
    "ScopeKind",
    "Unit",
]

OTHERS_DATA = "answers with data of other tenants"
FOREIGN_DATA = "data of another tenant"
"""The kind of failure of such an answer; the name of that tenant follows in parentheses."""
"""The name of the measure, and of its recorded count: answers with another tenant's canary."""


class ScopeKind(enum.StrEnum):
    """The part of the traffic, or of the service, to which a criterion applies."""

    ALL = "all"
    GROUP = "group"
    """An endpoint group of the environment file."""
    LABEL = "label"
    """One operation label, such as "POST /api/v1/metrics/sessions"."""
    TENANT = "tenant"
    REGION = "region"
    INSTANCE = "instance"
    """Each instance separately; the worst one is judged."""
    POPULATION = "population"
    """One of the loads of a run, such as "admin users"."""


_OF_OPERATIONS = tuple(kind for kind in ScopeKind if kind is not ScopeKind.INSTANCE)


@dataclass(frozen=True, slots=True)
class Family:
    """A kind of measure, and the scopes and comparisons that its sentences may use.

    `loadkit.judging.families` registers how each family is judged. The list is open: an extension
    creates a family and registers its judge there.
    """

    name: str
    scopes: tuple[ScopeKind, ...] = (ScopeKind.ALL,)
    """The scopes that its criteria may have."""
    applies_to: str = "the service as a whole"
    """What its measures apply to; the error for a sentence with another scope shows it."""
    is_amount: bool = False
    """Does it depend on the number of users, so that a rehearsal with fewer cannot judge it?"""
    compares_loads: bool = False
    """Can a criterion of this family compare two loads?"""

    TIME: ClassVar["Family"]
    """A percentile, mean or maximum of the operations' times."""
    ERROR_RATE: ClassVar["Family"]
    AVAILABILITY: ClassVar["Family"]
    THROUGHPUT: ClassVar["Family"]
    UPTIME: ClassVar["Family"]
    """The share of answered probes, for each protocol."""
    GAUGE: ClassVar["Family"]
    """A named measure of the environment file, or free PromQL: raw scrapes in the window."""
    RECOVERY: ClassVar["Family"]
    """The time from a disturbance until the service is as good as before it."""
    ALERT: ClassVar["Family"]
    """Whether the service's own alerts fired, and when."""
    EXACT: ClassVar["Family"]
    """A count that must be zero."""

    CONNECTIONS: ClassVar["Family"]
    """The number of connections that are open at the same time."""
    LIFETIME: ClassVar["Family"]
    """The share of the connections that stay open for a stated time; `quantile` is the share."""
    RECONNECTION: ClassVar["Family"]
    """The share of the dropped clients that reconnect within a time; `quantile` is the share."""
    REACH: ClassVar["Family"]
    """The share of the expected messages that arrived."""
    DELIVERY: ClassVar["Family"]
    """Messages that were lost, duplicated, out of order or of another tenant; none is allowed."""
    CONVERGENCE: ClassVar["Family"]
    """Shared states that differ between their users at the end; none is allowed."""
    INDEX_USE: ClassVar["Family"]
    """The share of the key queries, and of the scans of their tables, that use an index."""

    def __str__(self) -> str:
        return self.name


KEY_QUERIES = "key queries"
"""The name of the group of all named queries of the database."""
_OPERATIONS = "operations, not to instances"
Family.TIME = Family("time", _OF_OPERATIONS, _OPERATIONS, compares_loads=True)
Family.ERROR_RATE = Family("error rate", _OF_OPERATIONS, _OPERATIONS)
Family.AVAILABILITY = Family("availability", _OF_OPERATIONS, _OPERATIONS)
Family.THROUGHPUT = Family("throughput", _OF_OPERATIONS, _OPERATIONS, is_amount=True, compares_loads=True)
Family.UPTIME = Family("uptime")
Family.GAUGE = Family(
    "gauge",
    (ScopeKind.ALL, ScopeKind.INSTANCE),
    'instances; expected "on every instance" or no scope',
)
Family.RECOVERY = Family("recovery")
Family.ALERT = Family("alert")
Family.EXACT = Family("exactness")
Family.CONNECTIONS = Family("connections", is_amount=True)
Family.LIFETIME = Family("connection lifetime")
Family.RECONNECTION = Family("reconnection")
Family.REACH = Family("reach")
Family.DELIVERY = Family("delivery")
Family.CONVERGENCE = Family("convergence")
Family.INDEX_USE = Family("index utilization")


@dataclass(frozen=True, slots=True)
class Measure:
    """What is measured."""

    name: str
    """The name in the sentence: "response time", "CPU utilization"; or the PromQL text."""
    family: Family
    unit: Unit
    quantile: float | None = None
    """0.95 for p95; None for any other statistic."""
    statistic: str = ""
    """"p95", "mean", "max" … as reports show it; empty if the measure has only one statistic."""
    timing: str = "request"
    """The key of its timing (`loadkit.recording.timing`).

    "All operations" means the operations of this timing."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The operations or instances to which a criterion applies."""

    kind: ScopeKind = ScopeKind.ALL
    name: str = ""

    def __str__(self) -> str:
        """The scope in words: "the auth endpoints", "users in Europe", "the admin users"."""
        words = {
            ScopeKind.ALL: "all operations",
            ScopeKind.GROUP: f"the {self.name}" if self.name == KEY_QUERIES else f"the {self.name} endpoints",
            ScopeKind.LABEL: f'"{self.name}"',
            ScopeKind.TENANT: f'tenant "{self.name}"',
            ScopeKind.REGION: f"users in {self.name}",
            ScopeKind.INSTANCE: "every instance",
            ScopeKind.POPULATION: f"the {self.name}",
        }
        return words[self.kind]

    @property
    def population(self) -> str | None:
        """The name of its population; None for any other kind of scope."""
        return self.name if self.kind is ScopeKind.POPULATION else None


class Comparison(enum.StrEnum):
    """The words between the measure and the limit (vocabulary: "Criteria")."""

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
        """Is the limit an upper limit?"""
        return self in {
            Comparison.IS_BELOW,
            Comparison.STAYS_BELOW,
            Comparison.NEVER_EXCEEDS,
            Comparison.IS_AT_MOST,
        }

    @property
    def includes_limit(self) -> bool:
        """Does a measured value equal to the limit satisfy the criterion?"""
        return self in {
            Comparison.IS_AT_MOST,
            Comparison.IS_AT_LEAST,
            Comparison.NEVER_EXCEEDS,
            Comparison.NEVER_FALLS_BELOW,
        }

    def accepts(self, value: float, limit: float) -> bool:
        """Does an exact value, without a confidence interval, satisfy this limit?"""
        if value == limit:
            return self.includes_limit
        return value < limit if self.is_upper else value > limit

    @property
    def forbids_spells(self) -> bool:
        """Does a lasting violation fail the criterion, even if the whole window satisfies it?"""
        return self in {Comparison.STAYS_BELOW, Comparison.STAYS_ABOVE}

    @property
    def holds_always(self) -> bool:
        """Does a single ten-second window beyond the limit violate the criterion?"""
        return self in {Comparison.NEVER_EXCEEDS, Comparison.NEVER_FALLS_BELOW}


@dataclass(frozen=True, slots=True)
class Reference:
    """The reference of a comparison: the same measure, of the same users, at another load."""

    level: str = ""
    """A load level of the environment; empty for the same load without a tenant."""
    or_limit: float | None = None
    """The "or below" limit in the measure's unit; None without one.

    A value below it satisfies the criterion, whatever the value at the other load."""
    without: str = ""
    """The tenant whose population the other load omits; empty for a comparison of levels."""

    def __str__(self) -> str:
        """The reference in words: "at the baseline load", 'without tenant "globex"'."""
        return f'without tenant "{self.without}"' if self.without else f"at the {self.level} load"


@dataclass(frozen=True, slots=True)
class Criterion:
    """One `Then` line."""

    sentence: str
    """As written, without its keyword."""
    measure: Measure
    comparison: Comparison
    limit: float
    """The limit, in `unit`."""
    scope: Scope = Scope()
    reference: Reference | None = None
    """Set for a comparison of two loads; the limit is then a multiple of the other load's value."""

    def __post_init__(self) -> None:
        """Refuse a limit that is not a finite number.

        Raises:
            ValueError: the limit is infinite or not a number.

        """
        if not math.isfinite(self.limit):
            raise ValueError(
                f'"{self.sentence}" has the limit {self.limit}; expected a finite number, such as 0.5'
            )

    @property
    def unit(self) -> Unit:
        """The unit of the limit and of the measured value."""
        return self.measure.unit if self.reference is None else Unit.TIMES

    @property
    def is_amount(self) -> bool:
        """Does it depend on the number of users, so that a rehearsal with fewer cannot judge it?"""
        return self.measure.family.is_amount and self.reference is None
