"""Compares the records that a run wrote with the rows that are stored."""

import math
import uuid
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from loadkit.observers.database import StoredWrites, WrittenRecord, WrongRecords

__all__ = ["Places", "Written", "compare_writes"]

_EXAMPLES = 20
"""The most records of each kind that are shown."""
_MISNAMED = (
    "the second column of [database] stored must name the tenant as the accounts do, such as {!r}, but no "
    "row is under a tenant of theirs, and one is under {!r}"
)


class Written(Protocol):
    """The records that a run wrote."""

    @property
    def tables(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
        """The acknowledged, rejected and unknown records.

        The fields high and low are the halves of the id. The field at is the start of its write, in
        seconds since the start of the run; NaN if that is not known. The field user is the number
        of its user. The field instance is the code of the instance that answered; 0 if that is not
        known.
        """
        ...

    @property
    def are_all(self) -> bool:
        """Was every write reported?"""
        ...

    @property
    def tenants(self) -> Mapping[int, str]:
        """The tenant of each user that wrote; "" for none."""
        ...

    @property
    def instances(self) -> Mapping[int, str]:
        """The instances that answered, by their codes."""
        ...


class Places:
    """The tenant under which each row is stored, in the order of the rows; 4 bytes per row."""

    def __init__(self, tenants: Iterable[str] = ()) -> None:
        self._codes: dict[str, int] = {}
        self._rows = array("I")
        for tenant in tenants:
            self.add(tenant)

    def add(self, tenant: str) -> None:
        """Add the tenant of the next row; "" for none."""
        self._rows.append(self._codes.setdefault(tenant, len(self._codes)))

    @property
    def codes(self) -> Mapping[str, int]:
        """The number of each tenant."""
        return self._codes

    @property
    def rows(self) -> npt.NDArray[np.uint32]:
        """The number of the tenant of each row."""
        return np.array(self._rows, np.uint32)


def compare_writes(
    writes: Written, stored: bytes, places: Places | None = None, tenants: frozenset[str] = frozenset()
) -> StoredWrites:
    """Compare the records that users wrote with the stored rows.

    Args:
        writes: the records that users wrote.
        stored: the ids of the rows, 16 bytes each.
        places: the tenants under which the rows are stored; None if that is not known.
        tenants: the tenants of the accounts. If no row is under one of them or under a writer's
            tenant, the database names tenants differently, such as by a number. Then no row counts
            as stored under another tenant.

    A stored record that no user reported is a record that the service created, for example by a
    retry under a new id. So all journeys whose records the statement `[database] stored` lists must
    report their ids. Journeys that cannot do so must be left out of that statement. If reports are
    missing, nothing is claimed of such a record, because a user may have written it.

    All records are sorted together, a million in two seconds. A set of them would take 100 bytes
    each.
    """
    stored_rows = _unattributed(stored, writes.tables[0].dtype)
    tables = (*writes.tables, stored_rows)
    every = np.concatenate(tables)
    high, low = (every[half].astype(np.uint64) for half in ("high", "low"))
    order = np.lexsort((low, high))
    high, low = high[order], low[order]
    source = np.repeat(np.arange(len(tables)), [len(table) for table in tables])[order]
    is_new = np.ones(len(every), np.bool_)
    is_new[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    # The sort keeps the order of equal ids, so a record of a user precedes the stored row.
    place, first = np.cumsum(is_new) - 1, order[is_new]
    acknowledged, rejected, unknown, rows = (
        np.bincount(place[source == number], minlength=len(first)) for number in range(len(tables))
    )

    is_unwritten = (rows > 0) & (acknowledged + rejected + unknown == 0)

    def wrong(which: npt.NDArray[np.bool_]) -> WrongRecords:
        return _wrong(every[first[which]], writes)

    found = StoredWrites(
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
        instances=len(writes.instances),
    )
    if places is None:
        return found
    is_row = source == len(tables) - 1
    # For each row, in the order of `stored`: the first record with its id.
    writers = np.empty(len(stored_rows), np.intp)
    writers[order[is_row] - (len(every) - len(stored_rows))] = first[place[is_row]]
    return _with_places(found, every[writers], writes, places, tenants)


def _with_places(
    found: StoredWrites,
    writers: npt.NDArray[Any],
    writes: Written,
    places: Places,
    known: frozenset[str],
) -> StoredWrites:
    """Add the rows that are stored under another tenant than their writer's.

    Rows are not compared if their writer is not known, as in the trial, or if it has no tenant.

    Args:
        found: the comparison of the ids.
        writers: for each row, the record that a user wrote under its id; the row itself if there is
            none.
        writes: the records that users wrote.
        places: the tenant under which each row is stored.
        known: the tenants of the accounts.

    """
    by_user = writes.tenants
    users = np.array(sorted(user for user, tenant in by_user.items() if tenant), np.uint32)
    if not len(users):
        return replace(found, placed=0)
    codes, rows = places.codes, places.rows
    own = np.array([codes.get(by_user[user], len(codes)) for user in users.tolist()], np.uint32)
    at = np.minimum(np.searchsorted(users, writers["user"]), len(users) - 1)
    # Records of which only the ids are known have no time.
    is_compared = (users[at] == writers["user"]) & ~np.isnan(writers["at"])
    number = int(is_compared.sum())
    names = [name or "no tenant" for name in codes]
    if number and codes.keys().isdisjoint((known | set(by_user.values())) - {""}):
        row = int(is_compared.argmax())
        name, whose = names[rows[row]], by_user[int(writers["user"][row])]
        return replace(found, placed=0, unplaced=number, misnamed=_MISNAMED.format(whose, name))
    is_misplaced = is_compared & (own[at] != rows)
    records, under = writers[is_misplaced], rows[is_misplaced]
    # A record that is stored twice under other tenants counts once.
    _, once = np.unique(records[["high", "low"]], return_index=True)
    wrong = _wrong(records[once], writes, [names[code] for code in under[once].tolist()])
    return replace(found, placed=number, misplaced=wrong)


def _unattributed(ids: bytes, fields: np.dtype[Any]) -> npt.NDArray[Any]:
    """Records of which only the ids are known."""
    halves = np.frombuffer(ids, ">u8").reshape(-1, 2)
    records = np.zeros(len(halves), fields)
    records["high"], records["low"], records["at"] = halves[:, 0], halves[:, 1], np.nan
    return records


def _wrong(records: npt.NDArray[Any], writes: Written, stored_under: Sequence[str] = ()) -> WrongRecords:
    """Describe records that are not stored as the service answered, the earliest first."""
    order = np.argsort(records["at"], kind="stable")  # records of unknown time come last
    records = records[order]
    known = records[~np.isnan(records["at"])]
    return WrongRecords(
        len(records),
        float(known["at"][0]) if len(known) else None,
        float(known["at"][-1]) if len(known) else None,
        _by_name(known["user"], writes.tenants),
        tuple(
            _record(each, writes, stored_under[place] if stored_under else "")
            for each, place in zip(records[:_EXAMPLES].tolist(), order[:_EXAMPLES].tolist(), strict=True)
        ),
        tuple(np.bincount(known["at"].clip(0).astype(np.int64)).tolist()),
        _by_name(known["instance"], writes.instances),
    )


def _by_name(numbers: npt.NDArray[np.uint32], names: Mapping[int, str]) -> dict[str, int]:
    """How often each name occurs, the most frequent first; numbers without a name are left out."""
    counts: Counter[str] = Counter()
    for number, count in Counter(numbers.tolist()).items():
        counts[names.get(number, "")] += count
    del counts[""]
    return dict(counts.most_common())


def _record(fields: tuple[int, int, float, int, int], writes: Written, stored_under: str) -> WrittenRecord:
    high, low, at, user, code = fields
    name = str(uuid.UUID(int=high << 64 | low))
    if math.isnan(at):
        return WrittenRecord(name)
    tenant, instance = writes.tenants.get(user, ""), writes.instances.get(code, "")
    return WrittenRecord(name, at, user, tenant, stored_under, instance)
