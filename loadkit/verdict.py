"""What was found of one criterion, and what a command says of several."""

import enum
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["EXIT_CODES", "Status", "Verdict", "Window", "exit_code"]


class Status(enum.StrEnum):
    """The five things that can be said of a criterion."""

    PASS = "pass"
    """The service kept the promise."""
    FAIL = "fail"
    """The service broke the promise."""
    INCONCLUSIVE = "inconclusive"
    """Not enough evidence."""
    INVALID = "invalid"
    """The load generator was at fault; the service is not blamed."""
    NOT_JUDGED = "not judged"
    """The set-up failed, no load was put on, or the criterion has no meaning at this scale."""


EXIT_CODES = {
    Status.PASS: 0,
    Status.FAIL: 1,
    Status.NOT_JUDGED: 2,
    Status.INCONCLUSIVE: 3,
    Status.INVALID: 4,
}
"""The exit code of each status alone; 2 is also that of wrong usage and configuration."""

_GRAVITY = (Status.NOT_JUDGED, Status.FAIL, Status.INVALID, Status.INCONCLUSIVE, Status.PASS)


def exit_code(statuses: Iterable[Status]) -> int:
    """The code that stands for several criteria: the first present of 2, 1, 4, 3, 0; none at all is 2, never a pass."""
    present = set(statuses)
    return next((EXIT_CODES[status] for status in _GRAVITY if status in present), 2)


@dataclass(frozen=True, slots=True)
class Window:
    """The steady part of one phase of a run: what all its criteria and gauges are judged on."""

    start: int
    """Whole seconds since the run's start instant; the first second in the window."""
    seconds: int
    """How many whole seconds it lasts."""
    phase: str = "hold"
    """The phase it lies in."""

    @property
    def end(self) -> int:
        """The first second after it."""
        return self.start + self.seconds


@dataclass(frozen=True, slots=True)
class Verdict:
    """One criterion, judged on one run."""

    criterion: str
    """The sentence as written."""
    status: Status
    reason: str
    """One sentence, with the figures that decided."""
    measured: float | None = None
    """In the criterion's own unit (seconds, ratio, per second, bytes); None where nothing was measured, or censored."""
    limit: float | None = None
    """In the same unit."""
    unit: str = ""
    """A `criterion.Unit` value."""
    interval: tuple[float, float] | None = None
    """Bounds of the measured value, each at 95 % confidence one-sided, in the same unit."""
    samples: int = 0
    """Operations, scrapes or seconds that were looked at."""
    effective_samples: float | None = None
    """What these are worth as independent ones."""
    window: Window | None = None
    run: str = ""
    """The run's id."""
    rehearsed: str = ""
    """What was scaled ("100 of 1000 users, 30 s of 5 min"); empty for the real thing."""
    censored: bool = False
    """The percentile lies among operations that failed, above every limit, so it has no value."""
    warnings: tuple[str, ...] = ()
    """What a reader should know although it did not change the verdict."""
    details: dict[str, Any] = field(default_factory=dict)
    """Further figures of the method (JSON values), for evidence: unfilled percentile, spells, design effect …"""

    @property
    def margin(self) -> float | None:
        """How far the measured value is from the limit, as a share of the limit; None where that has no meaning."""
        if self.measured is None or not self.limit:
            return None
        return abs(self.limit - self.measured) / abs(self.limit)
