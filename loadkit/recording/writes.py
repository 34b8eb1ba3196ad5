"""The writes of a run by their ids: acknowledged, rejected, or of unknown outcome.

After the load, an observer compares them with the stored rows. An acknowledged write must be stored
exactly once, a rejected write not at all, and a write without an answer at most once. So the ids
must be those of all rows of the run. A write of the trial carries the run's id too, so it is
included as unknown.

Each record also has its user and the moment at which its write began. So a report can state when
and for whom a lost record was written. A record takes 24 bytes in a worker until the report of its
second, and then 24 bytes in the process that collects the run. A million writes take 24 MB there,
and as much in the archive, because random ids do not compress.
"""

import struct
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt

__all__ = ["NO_WRITES", "RECORDS", "Attempt", "WriteLedger", "Writes"]

RECORDS = "records acknowledged"
"""The count, by second and population, of the records that the service acknowledged as stored."""
_FIELDS = np.dtype([("high", ">u8"), ("low", ">u8"), ("at", "<f4"), ("user", "<u4")])
"""A record: the two halves of its id, the start of its write, and the number of its user. The start
is in seconds since the start of the run, or NaN if it is not known."""
_SIZE = _FIELDS.itemsize
_ID = 16
"""Bytes of an id."""
_REST = struct.Struct("<fI")
"""The part of a record after its id."""
_NOT_KNOWN = _REST.pack(float("nan"), 0xFFFF_FFFF)


@dataclass(frozen=True, slots=True)
class Writes:
    """Records that were written, by outcome; each field holds them one after the other.

    Several can be added: see `sum_of`.
    """

    acknowledged: bytes = b""
    """The service answered that they are stored."""
    rejected: bytes = b""
    """The service answered that they are not stored."""
    unknown: bytes = b""
    """No answer came, or no code evaluated it. They may be stored, each at most once."""
    tenants: Mapping[int, str] = field(default_factory=dict)
    """The tenant of each user that wrote."""
    are_all: bool = True
    """Did each worker report its writes to the end? The writes of a worker that died are
    missing."""

    def __bool__(self) -> bool:
        return bool(self.acknowledged or self.rejected or self.unknown)

    @property
    def number(self) -> int:
        """Number of records."""
        return (len(self.acknowledged) + len(self.rejected) + len(self.unknown)) // _SIZE

    @property
    def as_unknown(self) -> Self:
        """The same records with unknown outcome, and without their times and users.

        It is for the trial, which has its own clock and users.
        """
        every = self.acknowledged + self.rejected + self.unknown
        return type(self)(unknown=_without_rest(every, _SIZE))

    @property
    def tables(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
        """The acknowledged, rejected and unknown records; fields high, low, at and user."""
        return (
            np.frombuffer(self.acknowledged, _FIELDS),
            np.frombuffer(self.rejected, _FIELDS),
            np.frombuffer(self.unknown, _FIELDS),
        )

    @classmethod
    def sum_of(cls, parts: Iterable[Self]) -> Self:
        """All records of several parts."""
        every = list(parts)
        return cls(
            b"".join(each.acknowledged for each in every),
            b"".join(each.rejected for each in every),
            b"".join(each.unknown for each in every),
            {user: tenant for each in every for user, tenant in each.tenants.items()},
            all(each.are_all for each in every),
        )

    @classmethod
    def of_ids(cls, acknowledged: bytes = b"", rejected: bytes = b"", unknown: bytes = b"") -> Self:
        """Records of which only the ids are known, 16 bytes each: a run of an earlier version."""
        return cls(
            _without_rest(acknowledged, _ID), _without_rest(rejected, _ID), _without_rest(unknown, _ID)
        )

    @staticmethod
    def ids(column: bytes) -> Iterator[uuid.UUID]:
        """The ids of the records in one column."""
        return (uuid.UUID(bytes=column[at : at + _ID]) for at in range(0, len(column), _SIZE))


def _without_rest(column: bytes, size: int) -> bytes:
    """Reduce records, or ids, of `size` bytes each to records that have only the ids."""
    return b"".join(column[at : at + _ID] + _NOT_KNOWN for at in range(0, len(column), size))


NO_WRITES = Writes()


class WriteLedger:
    """The writes of one worker's users since the last report, and the unanswered writes."""

    __slots__ = ("_acknowledged", "_number", "_open", "_rejected", "_tenants")

    def __init__(self) -> None:
        self._acknowledged = bytearray()
        self._rejected = bytearray()
        self._number = 0
        self._open: dict[int, bytes] = {}
        """The records of attempts without an outcome so far, by the number of the attempt."""
        self._tenants: dict[int, str] = {}
        """The tenant of each user that wrote since the last report."""

    def attempt(
        self, ids: Iterable[bytes], count: Callable[[int], None], *, at: float, user: int, tenant: str
    ) -> "Attempt":
        """Begin a write of one or more records.

        Args:
            ids: the ids of the records, 16 bytes each.
            count: it is called with the number of records when they are acknowledged.
            at: seconds since the start of the run.
            user: the number of the user that writes.
            tenant: the tenant of the user; "" for none.

        """
        rest = _REST.pack(at, user)
        self._number += 1
        self._open[self._number] = b"".join(each + rest for each in ids)
        self._tenants[user] = tenant
        return Attempt(self, self._number, count)

    def settle(self, number: int, *, is_stored: bool) -> int:
        """Note the outcome of an attempt, and return how many records it has.

        The result is 0 if the attempt already had an outcome.
        """
        records = self._open.pop(number, b"")
        (self._acknowledged if is_stored else self._rejected).extend(records)
        return len(records) // _SIZE

    def drain(self, *, is_final: bool = False) -> Writes:
        """Return what became known since the last call; at the end, also unanswered attempts."""
        if not self._acknowledged and not self._rejected and not is_final:
            return NO_WRITES
        unknown = b"".join(self._open.values()) if is_final else b""
        drained = Writes(bytes(self._acknowledged), bytes(self._rejected), unknown, self._tenants)
        self._acknowledged.clear()
        self._rejected.clear()
        self._tenants = {}
        if is_final:
            self._open.clear()
        return drained


@dataclass(frozen=True, slots=True)
class Attempt:
    """A write whose outcome is unknown until it is reported; only the first report counts."""

    ledger: WriteLedger
    number: int
    count: Callable[[int], None]
    """It is called with the number of records when they are acknowledged."""

    def acknowledged(self) -> None:
        """Report that the service stored the records."""
        self.count(self.ledger.settle(self.number, is_stored=True))

    def rejected(self) -> None:
        """Report that the service did not store the records."""
        self.ledger.settle(self.number, is_stored=False)
