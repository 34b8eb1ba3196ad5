"""What the evidence says of a criterion, before the circumstances of the run are considered."""

import math
from dataclasses import dataclass, field, replace
from typing import Any

from loadkit.criterion import Criterion, ScopeKind
from loadkit.units import distance, format_quantity, format_ratio, format_seconds
from loadkit.verdict import Status, Window

__all__ = ["Finding", "as_sentence", "broken_by", "decide", "listed", "subject", "undefined"]

_DOUBT = "; with 95 % confidence it is "
"""What stands between a value and its interval, where that does not decide."""
_LONGEST_ADVICE = 100.0
"""Times the time already spent, beyond which more of it is no advice."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A status with its figures; the fields mean what those of `Verdict` do."""

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
    """The part of the run that showed it, where that is not the one that was given."""

    def warned(self, *warnings: str) -> "Finding":
        """The same, with more to know."""
        return replace(self, warnings=(*self.warnings, *warnings))

    @property
    def value_in_words(self) -> str:
        """The reason without the doubt in it: for a finding that something else has decided."""
        return self.reason.partition(_DOUBT)[0]

    def become(self, status: Status, reason: str) -> "Finding":
        """The same figures, another status."""
        return replace(self, status=status, reason=reason)


def as_sentence(text: str) -> str:
    """A reason as a sentence of its own: "p95 …" stays as it is."""
    is_symbol = text[1:2].isdigit()
    return (text if is_symbol else text[:1].upper() + text[1:]).rstrip(".") + "."


def listed(names: list[str]) -> str:
    """Names in quotes, the first dozen of them."""
    shown = ", ".join(f'"{name}"' for name in names[:12])
    return f"{shown} and {len(names) - 12} more" if len(names) > 12 else shown or "none"


def subject(criterion: Criterion) -> str:
    """What a criterion speaks of: "p95 response time of the auth endpoints"."""
    words = [criterion.measure.statistic, criterion.measure.name]
    name = " ".join(word for word in words if word)
    if criterion.scope.kind in {ScopeKind.ALL, ScopeKind.INSTANCE}:
        return name
    joint = "for" if criterion.scope.kind is ScopeKind.REGION else "of"
    return f"{name} {joint} {criterion.scope}"


def undefined(criterion: Criterion, allowed: float) -> str:
    """Why a statistic has no value: more operations failed than it allows (a ratio)."""
    return f"{subject(criterion)} is undefined: more than {format_ratio(allowed)} of the operations failed"


def broken_by(criterion: Criterion, measured: float, samples: int) -> Finding | None:
    """The fail that a value is without any doubt in it; None where it keeps the limit."""
    limit, unit = criterion.limit, criterion.measure.unit
    if measured <= limit if criterion.comparison.is_upper else measured >= limit:
        return None
    reason = (
        f"{subject(criterion)} was {format_quantity(measured, unit)}, {distance(measured, limit)} the limit of "
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
) -> tuple[Status, str]:
    """The status that follows from what is sure, and the sentence for it.

    `satisfied`, `violated`: is it sure that the limit is kept, or broken? `growth`: how many times
    the `seconds` of the window would decide it where neither is.
    """
    unit, limit = criterion.measure.unit, criterion.limit
    lower, upper = interval
    about = subject(criterion)
    wanted = format_quantity(limit, unit)
    if measured is None:
        was = undefined(criterion, 1 - (criterion.measure.quantile or 0.0))
        far = "and failed operations count as above every limit"
    else:
        was = f"{about} was {format_quantity(measured, unit)}"
        far = f"{distance(measured, limit)} the limit of {wanted}"
    if satisfied or violated:
        # The bound that decided is the one on the limit's side.
        is_upper_bound = criterion.comparison.is_upper is satisfied
        bound = upper if is_upper_bound else lower
        sure = ""
        if measured is not None and math.isfinite(bound) and bound != measured:
            side = "at most" if is_upper_bound else "at least"
            sure = f" ({side} {format_quantity(bound, unit)} with 95 % confidence)"
        return (Status.PASS if satisfied else Status.FAIL), f"{was}{sure}, {far}"
    between = (
        f"between {format_quantity(lower, unit)} and {format_quantity(upper, unit)}, which includes"
        if math.isfinite(upper)
        else f"at least {format_quantity(lower, unit)}, which does not exclude"
    )
    if growth > _LONGEST_ADVICE:
        more = "too close to the limit to decide with a longer run"
    else:
        more = f"about {format_seconds(math.ceil(seconds * growth))} of steady load would decide it"
    return (
        Status.INCONCLUSIVE,
        f"{was}{_DOUBT}{between} the limit of {wanted}; {more}",
    )
