"""The writes of a run by their ids: acknowledged, rejected, or of unknown outcome.

After the load, an observer compares them with the stored rows. An acknowledged write must be stored
exactly once, a rejected write not at all, and a write without an answer at most once. So the ids
must be those of all rows of the run. A write of the trial carries the run's id too, so it is
included as unknown.

Each record also has its user, the moment at which its write began, and the instance that answered.
So a report can state when and for whom a lost record was written, and who acknowledged it. A record
takes 28 bytes in a worker until the report of its second, and then 28 bytes in the process that
collects the run. A million writes take 28 MB there, and most of that in the archive, because random
ids do not compress.
"""

import struct
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt

__all__ = ["NO_WRITES", "RECORDS", "Attempt", "WriteLedger", "Writes"]

RECORDS = "records acknowledged"
"""The count, by second and population, of the records that the service acknowledged as stored."""
_FIELDS = np.dtype([("high", ">u8"), ("low", ">u8"), ("at", "<f4"), ("user", "<u4"), ("instance", "<u4")])
"""A record: the two halves of its id, the start of its write, the number of its user, and the code of
the instance that answered. The start is in seconds since the start of the run, or NaN if it is not
known. The code is 0 if the instance is not known."""
_SIZE = _FIELDS.itemsize
_ID = 16
"""Bytes of an id."""
_REST, _CODE = struct.Struct("<fI"), struct.Struct("<I")
"""The two parts of a record after its id. The code of the instance is known when it has answered."""
_NO_INSTANCE = _CODE.pack(0)
_NOT_KNOWN = _REST.pack(float("nan"), 0xFFFF_FFFF) + _NO_INSTANCE


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
    instances: Mapping[int, str] = field(default_factory=dict)
    """The instances that answered, by their codes."""
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
        """The same records with unknown outcome, and without their times, users and instances.

        It is for the trial, which has its own clock and users.
        """
        every = self.acknowledged + self.rejected + self.unknown
        return type(self)(unknown=_without_rest(every, _SIZE))

    @property
    def tables(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
        """The acknowledged, rejected and unknown records; fields high, low, at, user and instance."""
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
            {code: instance for each in every for code, instance in each.instances.items()},
            all(each.are_all for each in every),
        )

    @classmethod
    def of_tables(
        cls,
        tables: Iterable[npt.NDArray[Any]],
        tenants: Mapping[int, str],
        instances: Mapping[int, str],
    ) -> Self:
        """Records as `tables` returns them. Those of an earlier version have no field instance."""
        acknowledged, rejected, unknown = (_with_all_fields(table).tobytes() for table in tables)
        return cls(acknowledged, rejected, unknown, tenants, instances)

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


def _with_all_fields(table: npt.NDArray[Any]) -> npt.NDArray[Any]:
    records = np.zeros(len(table), _FIELDS)
    for name in table.dtype.names or ():
        records[name] = table[name]
    return records


def _code_of(instance: str) -> int:
    """The code of an instance, the same in each worker; 0 for "".

    The codes of a hundred instances are different with a probability of 99.9999 %.
    """
    return zlib.crc32(instance.encode())


NO_WRITES = Writes()


class WriteLedger:
    """The writes of one worker's users since the last report, and the unanswered writes."""

    __slots__ = ("_acknowledged", "_instances", "_number", "_open", "_rejected", "_tenants")

    def __init__(self) -> None:
        self._acknowledged = bytearray()
        self._rejected = bytearray()
        self._number = 0
        self._open: dict[int, bytes] = {}
        """The records of attempts without an outcome so far, by the number of the attempt.

        They lack the code of the instance.
        """
        self._tenants: dict[int, str] = {}
        """The tenant of each user that wrote since the last report."""
        self._instances: dict[int, str] = {}
        """The instances that answered since the last report, by their codes."""

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

    def settle(self, number: int, instance: str = "", *, is_stored: bool) -> int:
        """Note the outcome of an attempt, and return how many records it has.

        The result is 0 if the attempt already had an outcome.

        Args:
            number: the number of the attempt.
            instance: the instance that answered; "" if it is not known.
            is_stored: did it store the records?

        """
        code, records = _code_of(instance), self._open.pop(number, b"")
        if code and records:
            self._instances[code] = instance
        records = _with_code(records, _CODE.pack(code))
        (self._acknowledged if is_stored else self._rejected).extend(records)
        return len(records) // _SIZE

    def drain(self, *, is_final: bool = False) -> Writes:
        """Return what became known since the last call; at the end, also unanswered attempts."""
        if not self._acknowledged and not self._rejected and not is_final:
            return NO_WRITES
        unknown = _with_code(b"".join(self._open.values()), _NO_INSTANCE) if is_final else b""
        drained = Writes(
            bytes(self._acknowledged), bytes(self._rejected), unknown, self._tenants, self._instances
        )
        self._acknowledged.clear()
        self._rejected.clear()
        self._tenants, self._instances = {}, {}
        if is_final:
            self._open.clear()
        return drained


def _with_code(records: bytes, code: bytes) -> bytes:
    """Records that lack the code of the instance, with this code."""
    length = _SIZE - _CODE.size
    return b"".join(records[at : at + length] + code for at in range(0, len(records), length))


@dataclass(frozen=True, slots=True)
class Attempt:
    """A write whose outcome is unknown until it is reported; only the first report counts."""

    ledger: WriteLedger
    number: int
    count: Callable[[int], None]
    """It is called with the number of records when they are acknowledged."""

    def acknowledged(self, instance: str = "") -> None:
        """Report that the service stored the records.

        Args:
            instance: the instance that answered; "" if it is not known.

        """
        self.count(self.ledger.settle(self.number, instance, is_stored=True))

    def rejected(self, instance: str = "") -> None:
        """Report that the service did not store the records.

        Args:
            instance: the instance that answered; "" if it is not known.

        """
        self.ledger.settle(self.number, instance, is_stored=False)
