"""The writes of a run by their ids: acknowledged, rejected, or of unknown outcome.

After the load an observer compares them with what is stored. An acknowledged write must be there
exactly once, a rejected one not at all, and one without an answer at most once. So the ids must be
those of the run: a write of the trial or of the warm-up, which carry the run's id too, is given as
unknown.

Each id takes 16 bytes in a worker until its report of the second, and 16 bytes in the process that
collects the run: 16 MB per million writes, as much in the archive, because random ids do not
compress.
"""

import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Self

__all__ = ["NO_WRITES", "RECORDS", "Attempt", "WriteLedger", "Writes"]

RECORDS = "records acknowledged"
"""The count, by second and population, of the records that the service acknowledged as stored."""
_SIZE = 16
"""Bytes of an id."""


@dataclass(frozen=True, slots=True)
class Writes:
    """Ids of writes by outcome, 16 bytes each, one after the other. They can be added."""

    acknowledged: bytes = b""
    """The service said that they are stored."""
    rejected: bytes = b""
    """The service said that they are not."""
    unknown: bytes = b""
    """No answer came, or nobody looked at it; they may be stored, each at most once."""

    def __bool__(self) -> bool:
        return bool(self.acknowledged or self.rejected or self.unknown)

    @property
    def number(self) -> int:
        """How many writes there are."""
        return (len(self.acknowledged) + len(self.rejected) + len(self.unknown)) // _SIZE

    @property
    def as_unknown(self) -> Self:
        """The same writes, of which nothing is claimed."""
        return type(self)(unknown=self.acknowledged + self.rejected + self.unknown)

    @classmethod
    def sum_of(cls, parts: Iterable[Self]) -> Self:
        """All writes of some parts."""
        columns = [(each.acknowledged, each.rejected, each.unknown) for each in parts]
        return cls(*(b"".join(column) for column in zip(*columns, strict=True))) if columns else cls()

    @staticmethod
    def ids(column: bytes) -> Iterator[uuid.UUID]:
        """The ids of one of the columns."""
        return (uuid.UUID(bytes=column[at : at + _SIZE]) for at in range(0, len(column), _SIZE))


NO_WRITES = Writes()


class WriteLedger:
    """The writes of one worker's users since the last report, and those not answered yet."""

    __slots__ = ("_acknowledged", "_number", "_open", "_rejected")

    def __init__(self) -> None:
        self._acknowledged = bytearray()
        self._rejected = bytearray()
        self._number = 0
        self._open: dict[int, bytes] = {}
        """The ids of attempts without an outcome so far, by number."""

    def attempt(self, ids: bytes, count: Callable[[int], None]) -> "Attempt":
        """Begin a write of one or more records.

        Args:
            ids: 16 bytes for each.
            count: takes the number of records when they are acknowledged.

        """
        self._number += 1
        self._open[self._number] = ids
        return Attempt(self, self._number, count)

    def settle(self, number: int, *, is_stored: bool) -> int:
        """Note the outcome of an attempt. Return how many records it has; 0 if it had one before."""
        ids = self._open.pop(number, b"")
        (self._acknowledged if is_stored else self._rejected).extend(ids)
        return len(ids) // _SIZE

    def drain(self, *, is_final: bool = False) -> Writes:
        """What is known since the last call; in the end also the attempts without an outcome."""
        if not self._acknowledged and not self._rejected and not is_final:
            return NO_WRITES
        unknown = b"".join(self._open.values()) if is_final else b""
        drained = Writes(bytes(self._acknowledged), bytes(self._rejected), unknown)
        self._acknowledged.clear()
        self._rejected.clear()
        if is_final:
            self._open.clear()
        return drained


@dataclass(frozen=True, slots=True)
class Attempt:
    """A write whose outcome is unknown until somebody says it; only the first word counts."""

    ledger: WriteLedger
    number: int
    count: Callable[[int], None]
    """Takes the number of records when they are acknowledged."""

    def acknowledged(self) -> None:
        """The service says that it is stored."""
        self.count(self.ledger.settle(self.number, is_stored=True))

    def rejected(self) -> None:
        """The service says that it is not stored."""
        self.ledger.settle(self.number, is_stored=False)
