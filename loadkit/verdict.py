"""The verdict on one criterion, and the exit code for several."""

import enum
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["EXIT_CODES", "Status", "Verdict", "Window", "exit_code"]


class Status(enum.StrEnum):
    """The five possible verdicts on a criterion."""

    PASS = "pass"
    """The service satisfied the criterion."""
    FAIL = "fail"
    """The service violated the criterion."""
    INCONCLUSIVE = "inconclusive"
    """The evidence is not sufficient."""
    INVALID = "invalid"
    """The load generator or its machine was at fault, not the service."""
    NOT_JUDGED = "not judged"
    """The set-up failed, there was no load, or the criterion has no meaning at this scale."""


EXIT_CODES = {
    Status.PASS: 0,
    Status.FAIL: 1,
    Status.NOT_JUDGED: 2,
    Status.INCONCLUSIVE: 3,
    Status.INVALID: 4,
}
"""The exit code of each status alone; wrong usage and configuration errors also exit with 2."""

_GRAVITY = (Status.NOT_JUDGED, Status.FAIL, Status.INVALID, Status.INCONCLUSIVE, Status.PASS)


def exit_code(statuses: Iterable[Status]) -> int:
    """The exit code of several criteria: the first of 2, 1, 4, 3, 0 that occurs; 2 for none."""
    present = set(statuses)
    return next((EXIT_CODES[status] for status in _GRAVITY if status in present), 2)


@dataclass(frozen=True, slots=True)
class Window:
    """The steady state within one phase of a run, on which criteria and gauges are judged."""

    start: int
    """Whole seconds since the run's start instant; the first second in the window."""
    seconds: int
    """Its length in whole seconds."""
    phase: str = "hold"
    """The phase that contains it."""

    @property
    def end(self) -> int:
        """The first second after it."""
        return self.start + self.seconds


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on one criterion from one run."""

    criterion: str
    """The sentence as written."""
    status: Status
    reason: str
    """One sentence, with the decisive figures."""
    measured: float | None = None
    """In the criterion's unit: seconds, ratio, per second, bytes. None if absent or censored."""
    limit: float | None = None
    """In the same unit."""
    unit: str = ""
    """A `criterion.Unit` value."""
    interval: tuple[float, float] | None = None
    """Bounds of the measured value in the same unit, each one-sided at 95 % confidence."""
    samples: int = 0
    """Number of operations, scrapes or seconds evaluated."""
    effective_samples: float | None = None
    """The number of independent samples with the same information."""
    window: Window | None = None
    run: str = ""
    """The run's id."""
    rehearsed: str = ""
    """What was scaled ("100 of 1000 users, 30 s of 5 min"); empty if the run is no rehearsal."""
    censored: bool = False
    """The percentile falls among failed operations, above every limit, so it has no value."""
    warnings: tuple[str, ...] = ()
    """Circumstances that a reader should know and that did not change the verdict."""
    details: dict[str, Any] = field(default_factory=dict)
    """Further figures as JSON values: uncorrected percentile, violations, design effect …"""

    @property
    def margin(self) -> float | None:
        """The distance between value and limit as a share of the limit; None where undefined."""
        if self.measured is None or not self.limit:
            return None
        return abs(self.limit - self.measured) / abs(self.limit)
