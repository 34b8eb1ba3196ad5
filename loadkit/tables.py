"""Tables of test data: CSV with a header, or JSON lines. Their files are never held in memory.

A row is a line of its file. The offsets of every thousandth row are kept, so each row is found by
reading at most a thousand lines. A file of 1 GB with 10 million rows takes 10,000 offsets.
"""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from loadkit.errors import ConfigurationError

__all__ = ["DataTable", "Row", "RowReader", "scan"]

_STEP = 1000
"""Rows between two offsets that are kept."""


class Row(dict[str, Any]):
    """A row by column. It prints without its values, which may be secret."""

    def __repr__(self) -> str:
        return "{" + ", ".join(f"{column!r}: ***" for column in self) + "}"

    __str__ = __repr__


@dataclass(frozen=True, slots=True)
class DataTable:
    """A table, and where its rows are."""

    name: str
    file: str
    """Path of the file."""
    per: Literal["user", "operation"]
    """What takes a row of its own."""
    repeat: bool
    """Do rows begin again after the last one?"""
    rows: int
    columns: tuple[str, ...]
    """Of CSV; empty for JSON lines, whose rows have names of their own."""
    offsets: tuple[int, ...]
    """Bytes before row 0, row 1000, row 2000 …"""


class RowReader:
    """Reads the rows of a table; fast where they are asked for in order."""

    __slots__ = ("_file", "_next", "_table")

    def __init__(self, table: DataTable) -> None:
        self._table = table
        self._file = Path(table.file).open("rb")  # noqa: SIM115  open as long as its worker
        self._next = -1
        """The row before which the file stands; -1 for none."""

    def row(self, number: int) -> Row:
        """A row by its number, 0 for the first."""
        if not self._next <= number <= self._next + _STEP or self._next < 0:
            self._file.seek(self._table.offsets[number // _STEP])
            self._next = number // _STEP * _STEP
        while self._next < number:
            self._file.readline()
            self._next += 1
        self._next += 1
        return _parsed(self._file.readline(), self._table.columns)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def scan(name: str, file: Path, per: Literal["user", "operation"], *, repeat: bool) -> DataTable:
    """Look through a file once: check each row, and count them.

    Raises:
        ConfigurationError: the file cannot be read, has no rows, or a row is wrong. The error names
            the line, and repeats no value.

    """
    offsets: list[int] = []
    rows = 0
    columns: tuple[str, ...] = ()
    try:
        with file.open("rb") as lines:
            first = 1
            if file.suffix.casefold() == ".csv":
                columns = _header(lines.readline(), file.name)
                first = 2
            offset = lines.tell()
            for line in _filled(lines, file.name, first):
                try:
                    _parsed(line, columns)
                except ValueError as error:
                    raise ConfigurationError(f"{file.name}:{first + rows}: {error}") from None
                if rows % _STEP == 0:
                    offsets.append(offset)
                rows += 1
                offset += len(line)
    except OSError as error:
        raise ConfigurationError(f"{file.name}: {error.strerror or type(error).__name__}") from None
    if not rows:
        raise ConfigurationError(f"{file.name}: it has no rows; expected one in each line")
    return DataTable(name, str(file), per, repeat, rows, columns, tuple(offsets))


def _filled(lines: Iterator[bytes], name: str, first: int) -> Iterator[bytes]:
    """The lines up to the empty ones at the end."""
    empty = 0
    for number, line in enumerate(lines, first):
        if not line.strip():
            empty = empty or number
        elif empty:
            raise ConfigurationError(f"{name}:{empty}: the line is empty; expected a row")
        else:
            yield line


def _header(line: bytes, name: str) -> tuple[str, ...]:
    try:
        columns = tuple(_fields(line.removeprefix(b"\xef\xbb\xbf")))
    except ValueError as error:
        raise ConfigurationError(f"{name}:1: {error}") from None
    if not all(columns) or len(set(columns)) < len(columns):
        raise ConfigurationError(f"{name}:1: expected a header of different column names, such as sku,price")
    return columns


def _parsed(line: bytes, columns: tuple[str, ...]) -> Row:
    """A row.

    Raises:
        ValueError: the line is none; the message repeats nothing of it.

    """
    if columns:
        fields = _fields(line)
        if len(fields) != len(columns):
            raise ValueError(
                f"it has {len(fields)} fields; expected {len(columns)}, as the header: {', '.join(columns)}"
            )
        return Row(zip(columns, fields, strict=True))
    try:
        value = json.loads(line)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ValueError(  # noqa: TRY004  a mistake in the file
            'it is not a JSON object; expected one in each line, such as {"sku": "a1"}'
        )
    return Row(value)


def _fields(line: bytes) -> list[str]:
    try:
        found = next(csv.reader([line.decode("utf-8").rstrip("\r\n")], strict=True), [])
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    except csv.Error:
        raise ValueError("its quotes do not match; expected each row in one line") from None
    return found
