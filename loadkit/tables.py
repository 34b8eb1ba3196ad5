"""Tables of test data: CSV with a header, or JSON lines. Their files are never held in memory.

A row is one line of its file. A scan of the file records the offsets of some rows, at most 20,000
whatever the size of the file. To find a row, a reader seeks once and skips a few lines. For a file
of 10 million rows, every 512th offset is recorded.
"""

import csv
import difflib
import functools
import json
import os
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NoReturn

from loadkit.errors import ConfigurationError

__all__ = ["DataTable", "Row", "RowReader", "TableChangedError", "scan"]

_MOST_OFFSETS = 20_000
"""The maximum number of recorded offsets; above it, every second offset is dropped."""
_CHUNK = 1000
"""The number of rows that are checked together; single checks take four times as long."""
_LONGEST = 1 << 20
"""The maximum bytes of a line; a chunk ends when it is larger, so a scan's memory is bounded."""
_MARK = b"\xef\xbb\xbf"
"""The byte order mark, which some programs write at the start of a UTF-8 file."""
_SHOWN = 60
"""The maximum number of characters of a name in an error."""


class TableChangedError(ConfigurationError):
    """The file of a table has changed since it was scanned."""


class Row(dict[str, Any]):
    """A row by column. It prints without its values, which may be secret."""

    def __missing__(self, column: str) -> NoReturn:
        # Show only a similar name: in a file without a header, the names are values of a row.
        similar = difflib.get_close_matches(column, map(str, self), 1)
        hint = f'; did you mean "{similar[0]}"?' if similar else "; expected a name of the header"
        raise ConfigurationError(f'the row has no column "{column}" among its {len(self)}{hint}')

    def __repr__(self) -> str:
        return "{" + ", ".join(f"{column!r}: ***" for column in self) + "}"

    __str__ = __repr__


@dataclass(frozen=True, slots=True)
class DataTable:
    """A table, and the positions of its rows."""

    name: str
    file: str
    """Path of the file."""
    per: Literal["user", "operation"]
    """What takes its own row: each user, or each operation."""
    repeat: bool
    """Does the table start again at its first row after the last one?"""
    rows: int
    columns: tuple[str, ...]
    """The columns of CSV; empty for JSON lines, because each row contains its names."""
    offsets: tuple[int, ...]
    """The byte offsets of row 0, row `step`, row 2 × `step` …"""
    step: int
    stamp: tuple[int, ...]
    """Identifies a state of the file: device, inode, size and time of the last change."""
    first: int = 0
    """The first row for a load; a warm-up or a small load has taken the earlier rows."""

    def after(self, taken: int) -> "DataTable":
        """The same table without the next `taken` rows, which another load has taken."""
        return replace(self, first=self.first + taken)


class RowReader:
    """Reads the rows of a table; it is fast if they are requested in order."""

    __slots__ = ("_file", "_next", "_table")

    def __init__(self, table: DataTable) -> None:
        self._table = table
        try:
            self._file = Path(table.file).open("rb")  # noqa: SIM115  open as long as its worker
        except OSError:
            raise self._changed() from None
        self._next = 0
        """The number of the row at the current position in the file."""
        self._file.seek(table.offsets[0])

    def row(self, number: int) -> Row:
        """A row by its number, 0 for the first.

        Raises:
            TableChangedError: the file has changed since it was scanned.

        """
        table = self._table
        try:
            if _stamp(self._file.fileno()) != table.stamp:
                raise self._changed()
            if not self._next <= number < self._next + table.step:
                self._file.seek(table.offsets[number // table.step])
                self._next = number // table.step * table.step
            while self._next < number:
                self._file.readline(_LONGEST)
                self._next += 1
            self._next += 1
            return _parsed(self._file.readline(_LONGEST), table.columns)
        except (OSError, ValueError):
            raise self._changed() from None

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _changed(self) -> TableChangedError:
        name = Path(self._table.file).name
        return TableChangedError(
            f'the table "{self._table.name}" changed during the run: expected {name} to stay as it was before'
        )


def scan(name: str, file: Path, per: Literal["user", "operation"], *, repeat: bool) -> DataTable:
    """Scan a file: check its rows, and count them. An unchanged file is not read again.

    Raises:
        ConfigurationError: the file cannot be read, has no rows, or a row is wrong. The error names
            the line and repeats no value.

    """
    try:
        stamp = _stamp(file)
        rows, columns, offsets, step = _looked_through(file, stamp)
    except OSError as error:
        why = (error.strerror or type(error).__name__).casefold()
        raise ConfigurationError(f"{file.name}: {why}; expected a file that can be read") from None
    return DataTable(name, str(file), per, repeat, rows, columns, offsets, step, stamp)


def _stamp(file: Path | int) -> tuple[int, ...]:
    state = os.stat(file)  # noqa: PTH116  it takes a descriptor, too
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns


@functools.lru_cache(maxsize=64)
def _looked_through(file: Path, _state: tuple[int, ...]) -> tuple[int, tuple[str, ...], tuple[int, ...], int]:
    """The number of rows, the columns, the offsets and the step of a file in one of its states.

    The result is cached: each load of a session needs it, and a scan of 10 million rows takes
    several seconds.
    """
    offsets: list[int] = []
    rows, step = 0, 1
    columns: tuple[str, ...] = ()
    names: frozenset[str] = frozenset()
    with file.open("rb") as opened:
        lines = iter(partial(opened.readline, _LONGEST + 1), b"")
        first = 1
        offset = 0
        if file.suffix.casefold() == ".csv":
            header = next(lines, b"")
            columns = _header(header, file.name)
            first, offset = 2, len(header)
        for chunk in _chunks(_filled(lines, file.name, first)):
            if not columns and not names:
                _check(chunk[:1], columns, names, file.name, first)
                names = frozenset(_parsed(chunk[0], columns))
            _check(chunk, columns, names, file.name, first + rows)
            for line in chunk:
                if rows % step == 0:
                    offsets.append(offset)
                rows += 1
                offset += len(line)
            while len(offsets) > _MOST_OFFSETS:
                offsets, step = offsets[::2], step * 2
    if not rows:
        found = "it has a header and no rows" if columns else "it is empty"
        example = "a1,9.90" if columns else '{"sku": "a1"}'
        raise ConfigurationError(f"{file.name}: {found}; expected a row in each line, such as {example}")
    return rows, columns, tuple(offsets), step


def _chunks(lines: Iterator[bytes]) -> Iterator[list[bytes]]:
    """Group the lines that are checked together."""
    chunk: list[bytes] = []
    size = 0
    for line in lines:
        chunk.append(line)
        size += len(line)
        if len(chunk) == _CHUNK or size > _LONGEST:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _check(
    chunk: list[bytes], columns: tuple[str, ...], names: frozenset[str], name: str, first: int
) -> None:
    """Check that each line of a chunk is a row.

    Args:
        chunk: the lines.
        columns: the columns of CSV; empty for JSON lines.
        names: the names in the first row of JSON lines; empty to check that row itself.
        name: the name of the file.
        first: the number of the first line.

    Raises:
        ConfigurationError: a line is not a row.

    """
    if columns and _are_fields(chunk, len(columns)):
        return
    for number, line in enumerate(chunk, first):
        try:
            _require_names(_parsed(line, columns).keys(), names)
        except ValueError as error:
            raise ConfigurationError(f"{name}:{number}: {error}") from None


def _require_names(found: AbstractSet[str], expected: AbstractSet[str]) -> None:
    """Refuse a row whose names differ from the first row's; an empty `expected` allows any."""
    if not expected or found == expected:
        return
    lacking, more = sorted(expected - found), sorted(found - expected)
    shown = json.dumps((lacking or more)[0])[:_SHOWN]
    differs = f"it lacks {shown}, which the first row has" if lacking else f"the first row has no {shown}"
    raise ValueError(
        f"{differs}; expected the same names in each row, such as {shown}: null where there is no value"
    )


def _are_fields(chunk: list[bytes], columns: int) -> bool:
    """Is each line one row with `columns` fields? Quotes that join lines make fewer rows."""
    if any(b"\0" in line for line in chunk):
        return False
    try:
        rows = list(csv.reader([line.decode("utf-8") for line in chunk], strict=True))
    except (UnicodeDecodeError, csv.Error):
        return False
    return len(rows) == len(chunk) and all(len(row) == columns for row in rows)


def _filled(lines: Iterator[bytes], name: str, first: int) -> Iterator[bytes]:
    """The lines, without the empty lines at the end."""
    empty = 0
    for number, line in enumerate(lines, first):
        if len(line) > _LONGEST:
            raise ConfigurationError(f"{name}:{number}: {_TOO_LONG}")
        if not line.strip():
            empty = empty or number
        elif empty:
            raise ConfigurationError(f"{name}:{empty}: the line is empty; expected a row")
        else:
            yield line


def _header(line: bytes, name: str) -> tuple[str, ...]:
    """The columns; errors state a position, because a name may be a value if there is no header."""
    if not line:
        raise ConfigurationError(f"{name}: it is empty; expected a header and rows")
    if len(line) > _LONGEST:
        raise ConfigurationError(f"{name}:1: {_TOO_LONG}")
    try:
        columns = tuple(_fields(line.removeprefix(_MARK)))
    except ValueError as error:
        raise ConfigurationError(f"{name}:1: {error}") from None
    wrong = "" if columns else "it is empty"
    seen: dict[str, int] = {}
    for place, column in enumerate(columns, 1):
        if not column.strip():
            wrong = f"column {place} has no name"
        elif column in seen:
            wrong = f"columns {seen[column]} and {place} have the same name"
        seen.setdefault(column, place)
        if wrong:
            break
    if wrong:
        raise ConfigurationError(
            f"{name}:1: {wrong}; expected a header of different names, such as sku,price"
        )
    return columns


def _parsed(line: bytes, columns: tuple[str, ...]) -> Row:
    """Parse a line as a row.

    Raises:
        ValueError: the line is not a row; the message does not repeat any part of it.

    """
    if columns:
        fields = _fields(line)
        if len(fields) != len(columns):
            raise ValueError(f"it has {len(fields)} fields; expected {len(columns)}, as in the header")
        return Row(zip(columns, fields, strict=True))
    text = _text(line.removeprefix(_MARK))
    try:
        value = _JSON.decode(text)
    except _RepeatedNameError:
        raise ValueError("a name occurs twice in an object; expected each once") from None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict) or not value:
        raise ValueError(
            'it is not a JSON object; expected one in each line, such as {"sku": "a1"}, or CSV in a file .csv'
        )
    return Row(value)


def _fields(line: bytes) -> list[str]:
    text = _text(line)
    try:
        return next(csv.reader([text], strict=True), [])
    except csv.Error as error:
        if "\r" in text:
            raise ValueError("a carriage return is inside; expected lines that end with LF or CRLF") from None
        if "limit" in str(error):
            most = csv.field_size_limit()
            raise ValueError(f"a field is too long; expected at most {most:,} characters") from None
        raise ValueError("its quotes do not match; expected each row in one line") from None


def _text(line: bytes) -> str:
    """The text of a line, without its line ending."""
    if b"\0" in line:
        raise ValueError("it has a NUL byte; expected text in UTF-8")
    try:
        return line.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8; expected a file that is saved as UTF-8") from None


class _RepeatedNameError(ValueError):
    """A JSON object contains a name twice."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _RepeatedNameError
    return found


def _no_number(_name: str) -> NoReturn:
    """Refuse NaN and Infinity, which JSON does not have."""
    raise ValueError


_JSON = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_number)
_TOO_LONG = f"it is longer than {_LONGEST:,} bytes; expected a row in each line"
