"""Gives users rows of test data, each row once in a run.

With a row per user, user k of the run has row k. With a row per operation, worker w of n takes the
rows w, w + n, w + 2n … in order, after the rows that the trial took. So workers never share a row,
and they need no communication.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from loadkit.drivers.masking import has_secret_name
from loadkit.errors import ConfigurationError
from loadkit.tables import DataTable, Row, RowReader, TableChangedError
from loadkit.users.meter import Meter, UserFinished
from loadkit.users.row_demand import row_demand
from loadkit.workload.plan import Plan

__all__ = [
    "NO_ROWS",
    "ROWS_CHANGED",
    "UserData",
    "WorkerData",
    "require_rows",
    "tables_of",
    "used_up",
]

NO_ROWS = "rows used up: "
"""The prefix of counts of users who found no row left. The rest is the name of the table."""
_MOST_SECRETS = 64
"""Maximum number of remembered secret values of a user. An operation can use several rows."""
ROWS_CHANGED = "rows changed: "
"""The prefix of counts of users whose table has changed. The rest is the error message."""


class _UsesTables(Protocol):
    """A journey that names its tables."""

    @property
    def data(self) -> tuple[str, ...]:
        """The names of its tables."""
        ...


class WorkerData:
    """The rows of one worker's users."""

    __slots__ = ("_index", "_of", "_readers", "_secret", "_taken", "tables")

    def __init__(self, tables: Mapping[str, DataTable], index: int = 0, of: int = 1) -> None:
        """Prepare the tables that the journeys of a plan use, for worker `index` of `of`."""
        self.tables = tables
        self._index, self._of = index, of
        self._readers: dict[str, RowReader] = {}
        self._taken = dict.fromkeys(tables, 0)
        self._secret: dict[str, tuple[str, ...]] = {}
        """The secret columns of each table that was read."""

    def row(self, name: str, number: int) -> Row | None:
        """A row by its number; None if there is none."""
        table = self.tables[name]
        if number >= table.rows:
            if not table.repeat:
                return None
            number %= table.rows
        reader = self._readers.get(name)
        if reader is None:
            reader = self._readers[name] = RowReader(table)
        return reader.row(number)

    def next(self, name: str) -> Row | None:
        """The next row of this worker; None if there is none."""
        number = self.tables[name].first + self._index + self._of * self._taken[name]
        self._taken[name] += 1
        return self.row(name, number)

    def secrets_of(self, name: str, row: Row) -> list[str]:
        """The values of the columns with secret names, such as "password"."""
        columns = self._secret.get(name)
        if columns is None:  # all rows of a table have the same columns
            columns = self._secret[name] = tuple(filter(has_secret_name, row))
        return [str(row[column]) for column in columns]

    @property
    def taken(self) -> Mapping[str, int]:
        """How many rows of each table `next` has taken."""
        return {name: number for name, number in self._taken.items() if number}

    def close(self) -> None:
        """Close the files."""
        for reader in self._readers.values():
            reader.close()


class UserData:
    """One user's test data: `user.data["customers"]`, and `user.data.next("products")`."""

    __slots__ = ("_meter", "_number", "_own", "_rows")

    def __init__(self, rows: WorkerData, number: int, meter: Meter) -> None:
        self._rows = rows
        self._number = number
        self._meter = meter
        self._own: dict[str, Row] = {}
        """The user's own rows. Each search in the file would cost more than an operation."""

    def __getitem__(self, name: str) -> Row:
        """The user's own row of a table with `per = "user"`, the same each time.

        Raises:
            ConfigurationError: there is no such table, or its rows are for operations.

        """
        row = self._own.get(name)
        if row is not None:
            return row
        if self._table(name).per != "user":
            raise ConfigurationError(
                f'the table "{name}" has a row per operation; expected user.data.next("{name}")'
            )
        row = self._own[name] = self._found(name, self._rows.row, self._number)
        return row

    def next(self, name: str) -> Row:
        """The next row of a table with `per = "operation"`; nobody else gets it in this run.

        Raises:
            ConfigurationError: there is no such table, or its rows are for users.

        """
        if self._table(name).per != "operation":
            raise ConfigurationError(f'the table "{name}" has a row per user; expected user.data["{name}"]')
        return self._found(name, self._rows.next)

    def _table(self, name: str) -> DataTable:
        table = self._rows.tables.get(name)
        if table is None:
            raise ConfigurationError(
                f'no table "{name}" here: expected it in [data] of the environment file, and in the '
                f'journey: @journey("…", data=("{name}",))'
            )
        return table

    def _found(self, name: str, take: Callable[..., Row | None], *which: Any) -> Row:
        try:
            row = take(name, *which)
        except TableChangedError as error:
            if not self._meter.is_recorded:
                raise
            self._meter.count(f"{ROWS_CHANGED}{error}")
            raise UserFinished from None
        if row is not None:
            if secrets := self._rows.secrets_of(name, row):
                if self._meter.secrets is None:
                    self._meter.secrets = deque(maxlen=_MOST_SECRETS)
                self._meter.secrets += secrets
            return row
        if not self._meter.is_recorded:
            raise ConfigurationError(used_up(name))
        self._meter.count(NO_ROWS + name)
        raise UserFinished


def used_up(name: str) -> str:
    """The reason why a run ends if a table has no rows left."""
    return f'the table "{name}" has no rows left; expected more of them, or repeat = true'


def tables_of(
    journeys: Iterable[Iterable[_UsesTables]], tables: Mapping[str, DataTable]
) -> dict[str, DataTable]:
    """The tables that journeys name, if the environment has them."""
    named = {name for mix in journeys for journey in mix for name in journey.data}
    return {name: table for name, table in tables.items() if name in named}


def require_rows(
    plan: Plan,
    tables: Mapping[str, DataTable],
    used: Sequence[Sequence[Sequence[str]]],
    workers: int = 1,
) -> None:
    """Refuse a plan that needs more rows than there are.

    `loadkit.users.row_demand` counts the rows that a plan needs.

    Args:
        plan: the plan.
        tables: the tables of the environment.
        used: for each population, the tables of each journey of its mix.
        workers: the number of workers; each keeps some users free for arrivals.

    Raises:
        ConfigurationError: a table does not exist, or has too few rows.

    """
    for name in dict.fromkeys(name for mix in used for journey in mix for name in journey):
        table = tables.get(name)
        if table is None:
            raise ConfigurationError(
                f'a journey uses the table "{name}", and the environment file has none; expected such as '
                f'[data.{name}] with file = "data/{name}.csv"'
            )
        if table.repeat:
            continue
        uses = [[name in journey for journey in mix] for mix in used]
        needed = row_demand(plan, table.per, uses, workers)
        if needed.rows > table.rows - table.first:
            tried = f" and {table.first:,} for the trial" if table.first else ""
            raise ConfigurationError(
                f'the table "{name}" has {table.rows:,} rows, the plan needs {needed.rows:,}{tried}: {needed.why}; '
                "expected more rows, or repeat = true"
            )
