"""Judge a run after an emergency stop: the service collapsed, and would not have recovered.

The rule: a criterion is judged on the steady window up to the stop. If that is inconclusive, the
criterion's operations that ended in the ten seconds before the stop are examined. If more than half
of them failed, the criterion is judged on these ten seconds, which caused the stop. Operations
count by their end, because a timed-out operation began long before. The value is a fact about these
seconds, so it has no interval.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from loadkit.judging.evidence import Case
from loadkit.recording.ending import EMERGENCY_SECONDS, EMERGENCY_SHARE, EndingKind
from loadkit.recording.run import Run
from loadkit.verdict import Window

__all__ = ["Collapse", "collapse_of", "last_seconds"]


@dataclass(frozen=True, slots=True)
class Collapse:
    """The operations that ended just before an emergency stop, of which more than half failed."""

    window: Window
    ended: int
    failed: int

    @property
    def failing(self) -> float:
        """The share of failed operations."""
        return self.failed / self.ended

    @property
    def succeeded_per_second(self) -> float:
        """Successes per second."""
        return (self.ended - self.failed) / self.window.seconds


def last_seconds(run: Run) -> Window | None:
    """The seconds that caused a run's emergency stop; None if there was no emergency stop."""
    if run.ended.kind is not EndingKind.EMERGENCY_STOP:
        return None
    end = int(run.ended_at)
    start = max(0, end - EMERGENCY_SECONDS)
    return Window(start, end - start, "until the emergency stop") if end else None


def collapse_of(case: Case, without: npt.NDArray[np.bool_] | None = None) -> Collapse | None:
    """The collapse of a criterion's operations; None if there was none.

    `without`: excluded seconds of `last_seconds`, shape (`seconds`,).
    """
    window = last_seconds(case.evidence.run)
    if window is None:
        return None
    ended, failed = case.evidence.ended(case.criterion.scope, window, case.timing)
    if without is not None:
        ended, failed = ended[~without], failed[~without]
    collapse = Collapse(window, int(ended.sum()), int(failed.sum()))
    return collapse if collapse.failed > EMERGENCY_SHARE * collapse.ended else None
