"""How a run ended."""

import enum
import re
from dataclasses import dataclass

__all__ = ["COMPLETE", "EMERGENCY_SECONDS", "EMERGENCY_SHARE", "INTERRUPTED", "Ending", "EndingKind"]

EMERGENCY_SECONDS = 10
"""Over so many seconds operations must fail for an emergency stop."""
EMERGENCY_SHARE = 0.5
"""And more of them than this share."""


class EndingKind(enum.StrEnum):
    """What ended a run."""

    COMPLETE = "complete"
    """It went through its plan."""
    INTERRUPTED = "interrupted"
    """Somebody told it to stop."""
    EMERGENCY_STOP = "emergency stop"
    """So many operations failed that the service was spared the rest."""
    WORKER_DIED = "worker died"
    """The process of a worker ended without a word."""
    WORKER_FAILED = "worker failed"
    """A worker raised an error."""
    WORKERS_STUCK = "workers stuck"
    """Workers went on after the time by which all should have ended."""


_WORDS = {
    EndingKind.COMPLETE: re.compile("complete"),
    EndingKind.INTERRUPTED: re.compile("interrupted"),
    EndingKind.EMERGENCY_STOP: re.compile("emergency stop: (.*)", re.DOTALL),
    EndingKind.WORKER_DIED: re.compile(r"(worker \d+) died"),
    EndingKind.WORKER_FAILED: re.compile(r"(worker \d+) failed: (.*)", re.DOTALL),
    EndingKind.WORKERS_STUCK: re.compile("the workers did not end"),
}
"""How each reads; its groups, after one another, are the detail."""


@dataclass(frozen=True, slots=True)
class Ending:
    """What ended a run, and what is known besides."""

    kind: EndingKind
    detail: str = ""
    """Of an emergency stop what failed, of a worker that died its name, of one that failed its name and the error."""

    def __str__(self) -> str:
        """In words: "interrupted", "worker 1 died", "emergency stop: 6 of 10 operations failed …"."""
        worker, _, error = self.detail.partition(": ")
        match self.kind:
            case EndingKind.EMERGENCY_STOP:
                return f"emergency stop: {self.detail}"
            case EndingKind.WORKER_DIED:
                return f"{self.detail} died"
            case EndingKind.WORKER_FAILED:
                return f"{worker} failed: {error}"
            case EndingKind.WORKERS_STUCK:
                return "the workers did not end"
            case EndingKind.COMPLETE | EndingKind.INTERRUPTED:
                return str(self.kind)

    @classmethod
    def read(cls, words: str) -> "Ending":
        """The ending that was written as such words.

        Raises:
            ValueError: no ending reads like that.

        """
        for kind, form in _WORDS.items():
            if found := form.fullmatch(words):
                return cls(kind, ": ".join(found.groups()))
        raise ValueError(f'no run ends with "{words}"; "interrupted" can be read')


COMPLETE = Ending(EndingKind.COMPLETE)
INTERRUPTED = Ending(EndingKind.INTERRUPTED)
