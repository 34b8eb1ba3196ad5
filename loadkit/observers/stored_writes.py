"""Compares the writes of a run with the rows that are stored."""

import uuid
from typing import Protocol

import numpy as np
import numpy.typing as npt

from loadkit.observers.database import StoredWrites

__all__ = ["ID", "WrittenIds", "compare_writes"]

ID = 16
"""Bytes of an id."""
_EXAMPLES = 20
"""Ids that are shown of each kind."""


class WrittenIds(Protocol):
    """The ids of the writes of a run by outcome, 16 bytes each, one after the other."""

    @property
    def acknowledged(self) -> bytes:
        """The service said that they are stored."""
        ...

    @property
    def rejected(self) -> bytes:
        """The service said that they are not."""
        ...

    @property
    def unknown(self) -> bytes:
        """No answer came."""
        ...


def compare_writes(writes: WrittenIds, stored: bytes) -> StoredWrites:
    """Compare the ids that users wrote with those that are stored, 16 bytes each.

    All are sorted together, a million in two seconds; a set of them would take 100 bytes each.
    """
    columns = [
        np.frombuffer(column, ">u8").astype(np.uint64).reshape(-1, 2)
        for column in (writes.acknowledged, writes.rejected, writes.unknown, stored)
    ]
    ids = np.concatenate(columns)
    source = np.repeat(np.arange(len(columns)), [len(column) for column in columns])
    order = np.lexsort((ids[:, 1], ids[:, 0]))
    ids, source = ids[order], source[order]
    is_new = np.ones(len(ids), np.bool_)
    is_new[1:] = (ids[1:] != ids[:-1]).any(axis=1)
    place, distinct = np.cumsum(is_new) - 1, ids[is_new]
    acknowledged, rejected, unknown, rows = (
        np.bincount(place[source == number], minlength=len(distinct)) for number in range(len(columns))
    )
    lost, doubled = (acknowledged > 0) & (rows == 0), rows > 1
    phantoms = (rejected > 0) & (rows > 0)

    def shown(which: npt.NDArray[np.bool_]) -> tuple[str, ...]:
        pairs = distinct[which][:_EXAMPLES]
        return tuple(str(uuid.UUID(int=(int(high) << 64) | int(low))) for high, low in pairs)

    return StoredWrites(
        acknowledged=len(columns[0]),
        rejected=len(columns[1]),
        unknown=len(columns[2]),
        stored=len(columns[3]),
        lost=int(lost.sum()),
        doubled=int(doubled.sum()),
        phantoms=int(phantoms.sum()),
        unknown_stored=int(((unknown > 0) & (rows > 0)).sum()),
        foreign=int(((rows > 0) & (acknowledged + rejected + unknown == 0)).sum()),
        lost_examples=shown(lost),
        doubled_examples=shown(doubled),
        phantom_examples=shown(phantoms),
    )
