"""What an emergency stop shows: the service collapsed, and would have gone on like that.

The rule: a criterion is judged on the steady window as far as it ran. If that is inconclusive, look
at its operations that ended in the ten seconds before the stop. If more than half of them failed,
the criterion is judged on these ten seconds, for which the load was stopped. Operations count by
their end, since one that timed out began long before. The value is a fact about these seconds, so
it has no interval.
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
    """The operations that ended just before an emergency stop; more than half of them failed."""

    window: Window
    ended: int
    failed: int

    @property
    def failing(self) -> float:
        """The share that failed."""
        return self.failed / self.ended

    @property
    def succeeded_per_second(self) -> float:
        """Successes per second."""
        return (self.ended - self.failed) / self.window.seconds


def last_seconds(run: Run) -> Window | None:
    """The seconds for which a run was stopped; None where no emergency stopped it."""
    if run.ended.kind is not EndingKind.EMERGENCY_STOP:
        return None
    end = int(run.ended_at)
    start = max(0, end - EMERGENCY_SECONDS)
    return Window(start, end - start, "until the emergency stop") if end else None


def collapse_of(case: Case, without: npt.NDArray[np.bool_] | None = None) -> Collapse | None:
    """The collapse of a criterion's operations; None where there was none.

    `without`: seconds of `last_seconds` that are left out, shape (`seconds`,).
    """
    window = last_seconds(case.evidence.run)
    if window is None:
        return None
    ended, failed = case.evidence.ended(case.criterion.scope, window, case.timing)
    if without is not None:
        ended, failed = ended[~without], failed[~without]
    collapse = Collapse(window, int(ended.sum()), int(failed.sum()))
    return collapse if collapse.failed > EMERGENCY_SHARE * collapse.ended else None
