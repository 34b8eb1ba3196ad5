"""The keys of counts, packed into 64 bits, so that adding counts takes one sort and one sum.

A key consists of a cell, a kind and a bucket. A cell consists of a second, the number of a series
and the number of an outcome::

    second (22 bits) | series (16) | outcome (6) | kind (3) | bucket (14)
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "BUCKET_BITS",
    "KIND_BITS",
    "KIND_SHIFT",
    "OUTCOME_BITS",
    "OUTCOME_SHIFT",
    "SECOND_SHIFT",
    "SERIES_BITS",
    "SERIES_SHIFT",
    "Floats",
    "Integers",
    "grouped_counts",
    "grouped_sums",
    "insertion_places",
    "number_of",
    "numbered",
    "pack_cell",
    "pack_key",
    "renumbered",
    "rows_inserted",
    "successful_cells",
    "unpack_cell",
    "whole_seconds",
]

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

BUCKET_BITS, KIND_BITS, OUTCOME_BITS, SERIES_BITS, SECOND_BITS = 14, 3, 6, 16, 22
KIND_SHIFT = BUCKET_BITS
OUTCOME_SHIFT = KIND_SHIFT + KIND_BITS
SERIES_SHIFT = OUTCOME_SHIFT + OUTCOME_BITS
SECOND_SHIFT = SERIES_SHIFT + SERIES_BITS


def insertion_places(sorted_keys: Integers, keys: Integers) -> tuple[Integers, npt.NDArray[np.bool_]]:
    """The positions of keys among sorted ones, and whether each is new; shapes (n,)."""
    at = np.searchsorted(sorted_keys, keys)
    is_new = np.ones(len(keys), np.bool_)
    inside = at < len(sorted_keys)
    is_new[inside] = sorted_keys[at[inside]] != keys[inside]
    return at, is_new


def rows_inserted(at: Integers, *pairs: tuple[npt.NDArray[Any], npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
    """Insert the second array of each pair into the first, before its rows `at` (ascending).

    `np.insert` takes twice as long.
    """
    new = at + np.arange(len(at))
    is_old = np.ones(len(pairs[0][0]) + len(at), np.bool_)
    is_old[new] = False
    results = []
    for old, more in pairs:
        result = np.empty((len(is_old), *old.shape[1:]), old.dtype)
        result[new], result[is_old] = more, old
        results.append(result)
    return results


def _groups(keys: Integers) -> tuple[Integers, Integers, Integers]:
    """The unique keys, ascending; the order that sorts the input; where each key begins in it."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    begins = np.flatnonzero(np.diff(ordered, prepend=-1))
    return ordered[begins], order, begins


def grouped_counts(keys: Integers, counts: Integers) -> tuple[Integers, Integers]:
    """The unique keys, ascending, and the sum of the counts of each; shapes (n,)."""
    unique, order, begins = _groups(keys)
    return unique, np.add.reduceat(counts[order], begins) if len(keys) else counts


def grouped_sums(cells: Integers, sums: Floats) -> tuple[Integers, Floats]:
    """The unique cells, ascending, and the row of `SliceTable.sums` of each.

    Shapes (n,) and (n, 5).
    """
    unique, order, begins = _groups(cells)
    if not len(cells):
        return unique, sums
    rows = sums[order]
    totals = np.add.reduceat(rows, begins, axis=0)
    totals[:, 4] = np.maximum.reduceat(rows[:, 4], begins)
    return unique, totals


def whole_seconds(seconds: Floats) -> Integers:
    """Moments as whole seconds; moments before the start belong to the first second."""
    return np.maximum(np.floor(seconds), 0).astype(np.int64)


def pack_cell(second: Integers, series: Integers | np.int64, outcome: Integers | np.int64) -> Integers:
    """Pack seconds, series numbers and outcome numbers into cells; shape (n,)."""
    return (((second << SERIES_BITS) | series) << OUTCOME_BITS) | outcome


def unpack_cell(cell: Integers) -> tuple[Integers, Integers, Integers]:
    """Unpack cells into seconds, series numbers and outcome numbers; shapes (n,)."""
    outcome = cell & ((1 << OUTCOME_BITS) - 1)
    series = (cell >> OUTCOME_BITS) & ((1 << SERIES_BITS) - 1)
    return cell >> (OUTCOME_BITS + SERIES_BITS), series, outcome


def renumbered(cell: Integers, series: Integers, outcomes: Integers) -> Integers:
    """Replace the numbers of the series and outcomes in cells."""
    second, number, outcome = unpack_cell(cell)
    return pack_cell(second, series[number], outcomes[outcome])


def pack_key(cell: Integers, kind: int, bucket: Integers) -> Integers:
    """Pack cells, the number of a kind, and buckets into keys; shape (n,)."""
    return (((cell << KIND_BITS) | kind) << BUCKET_BITS) | bucket


def successful_cells(place: Integers, series: Integers) -> tuple[Integers, npt.NDArray[np.bool_]]:
    """The successful cells of the places whose log has a series, and a mask of these places.

    `place`: second · number of logs + log; shape (n,). `series`: the number of each log's series,
    or -1 for none.
    """
    second, log = np.divmod(place, len(series))
    number = series[log]
    is_in = number >= 0
    return pack_cell(second[is_in], number[is_in], np.int64(0)), is_in


def number_of(names: list[str], numbers: dict[str, int], name: str, most: int) -> int:
    """The number of a name, below `most`; it is assigned on first use.

    Args:
        names: the names by number.
        numbers: the numbers by name, as far as they are known.
        name: the name.
        most: the largest number of names.

    """
    if len(numbers) != len(names):
        numbers.clear()
        numbers.update((known, number) for number, known in enumerate(names))
    number = numbers.get(name)
    if number is None:
        if len(names) >= most:
            # The last number collects all further names (for example labels that contain ids).
            others = names[-1].split(":", 1)[0] + ":(others)"
            del numbers[names[-1]]
            names[-1] = others
            numbers[others] = most - 1
            return most - 1
        number = numbers[name] = len(names)
        names.append(name)
    return number


def numbered(names: Sequence[str], numbers: Mapping[str, int]) -> Integers:
    """The number of each name; shape (n,)."""
    if len(numbers) == 1:
        (number,) = numbers.values()
        return np.full(len(names), number, np.int64)
    return np.fromiter(map(numbers.__getitem__, names), np.int64, len(names))
