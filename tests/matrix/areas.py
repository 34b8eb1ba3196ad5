"""The areas of the matrix: for each, the load, the criteria, and what every fault must do to them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from loadkit import grammar
from loadkit.judging.health import health
from loadkit.judging.machine import contention
from loadkit.judging.window import window
from loadkit.recording.run import Run
from loadkit.verdict import Status, Verdict
from tests.builders import judge
from tests.matrix import database, messages, system, table
from tests.matrix.runs import Bench
from tests.matrix.table import EXCUSED, Row


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run showed."""

    verdicts: Mapping[str, Verdict]
    """By the name of the criterion."""
    health: str
    """As in `EXCUSED`."""


@dataclass(frozen=True, slots=True)
class Area:
    """One kind of load, and what must find its faults."""

    criteria: Mapping[str, str]
    """Sentences by name."""
    rows: tuple[Row, ...]
    usual: Callable[[str], frozenset[Status]]
    """What a criterion is while nothing is wrong."""
    load: Callable[[Bench, Row, float], Run]
    """Puts the load on for so many seconds under a row's fault."""
    hold: float
    """Seconds that the load holds where a row does not say it."""
    limit: float
    """Seconds: of the criterion that asks most of the load generator."""

    def run(self, bench: Bench, row: Row) -> Run:
        """The load under a row's fault."""
        return self.load(bench, row, row.hold or self.hold)

    def outcome(self, run: Run) -> Outcome:
        """What a run showed."""
        verdicts = {name: judge(grammar.criterion(text), run) for name, text in self.criteria.items()}
        return Outcome(verdicts, self.health(run))

    def health(self, run: Run) -> str:
        """The health of the load generator; a machine that was busy with something else is no better."""
        where = window(run)
        if where is None:
            return "invalid"
        busy = contention(run, where)
        if busy is not None and busy.seconds.mean() >= 0.05:
            return "invalid"
        return health(run, where, self.limit).status

    def allowed(self, row: Row, criterion: str, health: str) -> frozenset[Status]:
        """The verdicts on a criterion that are right under a row's fault, with such a health."""
        return row.verdicts.get(criterion, self.usual(criterion)) | EXCUSED[health]

    def wrong(self, row: Row, outcome: Outcome) -> dict[str, Verdict]:
        """The verdicts that are not right under a row's fault."""
        return {
            name: verdict
            for name, verdict in outcome.verdicts.items()
            if verdict.status not in self.allowed(row, name, outcome.health)
        }

    def told(self, row: Row, outcome: Outcome) -> list[str]:
        """The verdicts that are not right, with their reasons."""
        return [
            f"{name} is {verdict.status}: {verdict.reason}"
            for name, verdict in self.wrong(row, outcome).items()
        ]

    def flipped(self, row: Row) -> set[str]:
        """The criteria whose usual verdict is wrong under a row's fault."""
        return {name for name in self.criteria if self.usual(name).isdisjoint(self.allowed(row, name, "ok"))}


AREAS = {
    "HTTP": Area(table.CRITERIA, table.ROWS, table.usual, Bench.run, table.FULL, 0.5),
    "messages": Area(
        messages.MESSAGE_CRITERIA,
        messages.MESSAGE_ROWS,
        messages.usual_of_messages,
        Bench.stream,
        messages.MESSAGES_HOLD,
        0.1,
    ),
    "database": Area(
        database.DATABASE_CRITERIA,
        database.DATABASE_ROWS,
        database.usual_of_database,
        Bench.store,
        database.DATABASE_HOLD,
        0.045,
    ),
    "system": Area(
        system.SYSTEM_CRITERIA,
        system.SYSTEM_ROWS,
        system.usual_of_system,
        Bench.mix,
        system.SYSTEM_HOLD,
        0.25,
    ),
}
"""By name, in the order in which they are run."""
