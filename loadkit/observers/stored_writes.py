"""Compares the records that a run wrote with the rows that are stored."""

import math
import uuid
from collections import Counter
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from loadkit.observers.database import StoredWrites, WrittenRecord, WrongRecords

__all__ = ["Written", "compare_writes"]

_EXAMPLES = 20
"""Records that are shown of each kind."""


class Written(Protocol):
    """The records that a run wrote."""

    @property
    def tables(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
        """The acknowledged, rejected and unknown ones.

        Fields: high and low, the halves of the id; at, the seconds since the start of the run at
        which its write began, NaN where that is not known; and user, the number of its user.
        """
        ...

    @property
    def are_all(self) -> bool:
        """Was each write reported?"""
        ...

    @property
    def tenants(self) -> Mapping[int, str]:
        """The tenant of each user that wrote; "" for none."""
        ...


def compare_writes(writes: Written, stored: bytes) -> StoredWrites:
    """Compare the records that users wrote with the ids of those that are stored, 16 bytes each.

    A stored record that is neither acknowledged nor of unknown outcome is a phantom: the service
    made it, for example by a retry under a new id. So all journeys whose records `stored` lists must
    report their ids; those that cannot must be left out of that statement. Only where reports are
    missing is nothing claimed of such a record: a user may have written it.

    All are sorted together, a million in two seconds; a set of them would take 100 bytes each.
    """
    tables = (*writes.tables, _unattributed(stored, writes.tables[0].dtype))
    every = np.concatenate(tables)
    high, low = (every[half].astype(np.uint64) for half in ("high", "low"))
    order = np.lexsort((low, high))
    high, low = high[order], low[order]
    source = np.repeat(np.arange(len(tables)), [len(table) for table in tables])[order]
    is_new = np.ones(len(every), np.bool_)
    is_new[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    # The sort keeps the order of equal ids, so the first of them is what a user wrote, if one did.
    place, first = np.cumsum(is_new) - 1, order[is_new]
    acknowledged, rejected, unknown, rows = (
        np.bincount(place[source == number], minlength=len(first)) for number in range(len(tables))
    )

    is_unwritten = (rows > 0) & (acknowledged + rejected + unknown == 0)

    def wrong(which: npt.NDArray[np.bool_]) -> WrongRecords:
        return _wrong(every[first[which]], writes.tenants)

    return StoredWrites(
        acknowledged=len(tables[0]),
        rejected=len(tables[1]),
        unknown=len(tables[2]),
        stored=len(tables[3]),
        lost=wrong((acknowledged > 0) & (rows == 0)),
        doubled=wrong(rows > 1),
        # A record that was rejected once may have been written by another attempt.
        phantoms=wrong((rejected > 0) & (acknowledged + unknown == 0) & (rows > 0)),
        unknown_stored=int(((unknown > 0) & (rows > 0)).sum()),
        unwritten=wrong(is_unwritten & writes.are_all),
        foreign=0 if writes.are_all else int(is_unwritten.sum()),
        tenants=len(set(writes.tenants.values()) - {""}),
    )


def _unattributed(ids: bytes, fields: np.dtype[Any]) -> npt.NDArray[Any]:
    """Records of which only the ids are known."""
    halves = np.frombuffer(ids, ">u8").reshape(-1, 2)
    records = np.zeros(len(halves), fields)
    records["high"], records["low"], records["at"] = halves[:, 0], halves[:, 1], np.nan
    return records


def _wrong(records: npt.NDArray[Any], tenants: Mapping[int, str]) -> WrongRecords:
    """Records that are not stored as the service answered, the earliest first."""
    records = records[np.argsort(records["at"], kind="stable")]  # those of unknown time come last
    known = records[~np.isnan(records["at"])]
    by_tenant: Counter[str] = Counter()
    for user, number in Counter(known["user"].tolist()).items():
        by_tenant[tenants.get(user, "")] += number
    del by_tenant[""]
    return WrongRecords(
        len(records),
        float(known["at"][0]) if len(known) else None,
        float(known["at"][-1]) if len(known) else None,
        dict(by_tenant.most_common()),
        tuple(_record(each, tenants) for each in records[:_EXAMPLES].tolist()),
    )


def _record(fields: tuple[int, int, float, int], tenants: Mapping[int, str]) -> WrittenRecord:
    high, low, at, user = fields
    name = str(uuid.UUID(int=high << 64 | low))
    return WrittenRecord(name) if math.isnan(at) else WrittenRecord(name, at, user, tenants.get(user, ""))
