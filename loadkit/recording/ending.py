"""How a run ended."""

import enum
import re
from dataclasses import dataclass

__all__ = ["COMPLETE", "EMERGENCY_SECONDS", "EMERGENCY_SHARE", "INTERRUPTED", "Ending", "EndingKind"]

EMERGENCY_SECONDS = 10
"""Seconds over which operations must fail before an emergency stop."""
EMERGENCY_SHARE = 0.5
"""An emergency stop needs a larger share of failed operations than this."""


class EndingKind(enum.StrEnum):
    """What ended a run."""

    COMPLETE = "complete"
    """The run completed its plan."""
    INTERRUPTED = "interrupted"
    """The run was stopped from outside, for example with Ctrl-C."""
    EMERGENCY_STOP = "emergency stop"
    """So many operations failed that the load was stopped to protect the service."""
    WORKER_DIED = "worker died"
    """The process of a worker ended without a final message."""
    WORKER_FAILED = "worker failed"
    """A worker raised an error."""
    WORKERS_STUCK = "workers stuck"
    """Workers were still running after the time by which all should have ended."""
    ROWS_USED_UP = "rows used up"
    """A journey needed test data, but all rows were taken."""
    ROWS_CHANGED = "rows changed"
    """The file of a test data table changed during the run."""
    RELAY_DIED = "relay died"
    """The process that relays the connections of regions ended. Its users lost the connection to
    the service."""


_WORDS = {
    EndingKind.COMPLETE: re.compile("complete"),
    EndingKind.INTERRUPTED: re.compile("interrupted"),
    EndingKind.EMERGENCY_STOP: re.compile("emergency stop: (.*)", re.DOTALL),
    EndingKind.WORKER_DIED: re.compile(r"(worker \d+) died"),
    EndingKind.WORKER_FAILED: re.compile(r"(worker \d+) failed: (.*)", re.DOTALL),
    EndingKind.WORKERS_STUCK: re.compile("the workers did not end"),
    EndingKind.ROWS_USED_UP: re.compile("(the table .* has no rows left; .*)", re.DOTALL),
    EndingKind.ROWS_CHANGED: re.compile("(the table .* changed during the run: .*)", re.DOTALL),
    EndingKind.RELAY_DIED: re.compile(r"the network relay of the regions died: (.*)", re.DOTALL),
}
"""The text of each kind; the regex groups, joined in order, are the detail."""


@dataclass(frozen=True, slots=True)
class Ending:
    """What ended a run, with details."""

    kind: EndingKind
    detail: str = ""
    """Emergency stop: what failed. Dead worker: its name. Failed worker: its name and the error.
    Dead relay: its exit code. Rows used up or changed: the whole sentence."""

    def __str__(self) -> str:
        """The ending as text: "interrupted", "worker 1 died", "emergency stop: 6 of 10 …"."""
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
            case EndingKind.ROWS_USED_UP | EndingKind.ROWS_CHANGED:
                return self.detail
            case EndingKind.RELAY_DIED:
                return f"the network relay of the regions died: {self.detail}"
            case EndingKind.COMPLETE | EndingKind.INTERRUPTED:
                return str(self.kind)

    @classmethod
    def read(cls, words: str) -> "Ending":
        """Parse the text of an ending.

        Raises:
            ValueError: no ending has this text.

        """
        for kind, form in _WORDS.items():
            if found := form.fullmatch(words):
                return cls(kind, ": ".join(found.groups()))
        raise ValueError(f'no run ends with "{words}"; "interrupted" can be read')


COMPLETE = Ending(EndingKind.COMPLETE)
INTERRUPTED = Ending(EndingKind.INTERRUPTED)
