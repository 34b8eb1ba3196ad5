"""The result of examining a criterion, before the circumstances of the run are considered."""

import math
from dataclasses import dataclass, field, replace
from typing import Any

from loadkit.criterion import Criterion, ScopeKind
from loadkit.recording.timing import CONNECT, RECONNECT
from loadkit.units import distance, format_quantity, format_ratio, format_seconds
from loadkit.verdict import Status, Window

__all__ = [
    "LONGEST_ADVICE",
    "Finding",
    "as_sentence",
    "broken_by",
    "decide",
    "listed",
    "subject",
    "undefined",
]

_DOUBT = "; with 95 % confidence it is "
"""The text between a value and its interval if the interval does not decide."""
LONGEST_ADVICE = 100.0
"""A longer run is recommended only up to this multiple of the window's length."""
_EVENTS = {CONNECT.key: "connections", RECONNECT.key: "reconnections"}
"""By timing: the name of operations whose number does not depend on the length of the run."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A status with its figures; the fields have the same meaning as those of `Verdict`."""

    status: Status
    reason: str
    measured: float | None = None
    interval: tuple[float, float] | None = None
    samples: int = 0
    effective_samples: float | None = None
    censored: bool = False
    warnings: tuple[str, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)
    window: Window | None = None
    """The part of the run that was judged, if it is not the window of the case."""

    def warned(self, *warnings: str) -> "Finding":
        """The same finding with additional warnings."""
        return replace(self, warnings=(*self.warnings, *warnings))

    @property
    def value_in_words(self) -> str:
        """The reason without the undecided interval, for a finding with another decisive reason."""
        return self.reason.partition(_DOUBT)[0]

    def become(self, status: Status, reason: str) -> "Finding":
        """The same figures with another status and reason."""
        return replace(self, status=status, reason=reason)


def as_sentence(text: str) -> str:
    """A reason as a complete sentence. The lower case of "p95 …" does not change."""
    is_symbol = text[1:2].isdigit()
    return (text if is_symbol else text[:1].upper() + text[1:]).rstrip(".") + "."


def listed(names: list[str]) -> str:
    """The first twelve names, in quotes."""
    shown = ", ".join(f'"{name}"' for name in names[:12])
    return f"{shown} and {len(names) - 12} more" if len(names) > 12 else shown or "none"


def subject(criterion: Criterion) -> str:
    """The subject of a criterion, such as "p95 response time of the auth endpoints"."""
    words = [criterion.measure.statistic, criterion.measure.name]
    name = " ".join(word for word in words if word)
    if criterion.scope.kind in {ScopeKind.ALL, ScopeKind.INSTANCE}:
        return name
    joint = "for" if criterion.scope.kind is ScopeKind.REGION else "of"
    return f"{name} {joint} {criterion.scope}"


def undefined(criterion: Criterion, allowed: float) -> str:
    """The reason for an undefined statistic: more operations failed than `allowed` (a ratio)."""
    return f"{subject(criterion)} is undefined: more than {format_ratio(allowed)} of the operations failed"


def broken_by(criterion: Criterion, measured: float, samples: int) -> Finding | None:
    """The fail of a value without an interval; None if the value satisfies the criterion."""
    limit, unit = criterion.limit, criterion.measure.unit
    if measured <= limit if criterion.comparison.is_upper else measured >= limit:
        return None
    reason = (
        f"{subject(criterion)} was {format_quantity(measured, unit)}, {distance(measured, limit, unit)} the limit of "
        f"{format_quantity(limit, unit)}"
    )
    return Finding(Status.FAIL, reason, measured, samples=samples)


def decide(
    criterion: Criterion,
    measured: float | None,
    interval: tuple[float, float],
    *,
    satisfied: bool,
    violated: bool,
    growth: float,
    seconds: float,
    size: int = 0,
) -> tuple[Status, str]:
    """The status that follows from the interval, and its reason.

    `satisfied`, `violated`: is the criterion satisfied, or violated, with confidence? `growth`: if
    neither is true, the multiple of the window's `seconds` that would decide. `size`: the number of
    judged operations. A longer run has no more connections or reconnections (`_EVENTS`), so for
    these the advice states a number of operations.
    """
    unit, limit = criterion.measure.unit, criterion.limit
    lower, upper = interval
    about = subject(criterion)
    wanted = format_quantity(limit, unit)
    if measured is None:
        value = undefined(criterion, 1 - (criterion.measure.quantile or 0.0))
        comparison = "and failed operations count as above every limit"
    else:
        value = f"{about} was {format_quantity(measured, unit)}"
        comparison = f"{distance(measured, limit, unit)} the limit of {wanted}"
    if satisfied or violated:
        # The bound on the limit's side decides.
        is_upper_bound = criterion.comparison.is_upper is satisfied
        bound = upper if is_upper_bound else lower
        confidence = ""
        if measured is not None and math.isfinite(bound) and bound != measured:
            side = "at most" if is_upper_bound else "at least"
            confidence = f" ({side} {format_quantity(bound, unit)} with 95 % confidence)"
        return (Status.PASS if satisfied else Status.FAIL), f"{value}{confidence}, {comparison}"
    between = (
        f"between {format_quantity(lower, unit)} and {format_quantity(upper, unit)}, which includes"
        if math.isfinite(upper)
        else f"at least {format_quantity(lower, unit)}, which does not exclude"
    )
    events = _EVENTS.get(criterion.measure.timing)
    if growth > LONGEST_ADVICE:
        more = f"more {events}" if events else "a longer run"
        advice = f"too close to the limit to decide with {more}"
    elif events:
        advice = f"about {math.ceil(size * growth):,} {events} in place of {size:,} would decide it"
    else:
        advice = f"about {format_seconds(math.ceil(seconds * growth))} of steady load would decide it"
    return (
        Status.INCONCLUSIVE,
        f"{value}{_DOUBT}{between} the limit of {wanted}; {advice}",
    )
