"""Describes a query and its result as text, for the examples of a report. Secrets are masked."""

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from loadkit.drivers.masking import HIDDEN, READ, Mask, has_secret_name, length_only
from loadkit.queries import Query
from loadkit.recording.examples import DeferredExchange, Exchange
from loadkit.sql_tokens import Token, replace_tokens

__all__ = ["LastQuery", "described", "waited"]

_MOST_ARGUMENTS = 20
"""Most arguments of a query that an example lists.

Also the most elements of one argument that are masked where the answer repeats them."""
_SHOWN = {Token.COMMENT: f"/* {HIDDEN} */", Token.TEXT: f"'{HIDDEN}'"}
_VALUES = (
    (re.compile(r"\)=\(.*\)", re.DOTALL), f")=({HIDDEN})"),
    (re.compile(r"contains \(.*\)", re.DOTALL), f"contains ({HIDDEN})"),
    (re.compile(r': ".*"', re.DOTALL), f': "{HIDDEN}"'),
)
"""The places where the server's errors repeat values of rows and arguments.

A colon comes before a quoted value, and not before a quoted name."""


class LastQuery:
    """The data for an example of a user's last query.

    A query only stores references here. The example is built only if it is needed.
    """

    __slots__ = ("_arguments", "_batch", "_mask", "_query", "deferred", "error", "rows")

    def __init__(self, mask: Mask) -> None:
        self._mask = mask
        self._query: Query | None = None
        self._arguments: Sequence[Any] = ()
        self._batch = 0
        self.rows: int | None = None
        """The rows that the query returned or wrote; None for unknown."""
        self.error: Exception | None = None
        """How the query failed; None if it did not."""
        self.deferred: DeferredExchange = (self._described,)
        """The exchange of each query; it describes the last one."""

    def begin(self, query: Query | None, arguments: Sequence[Any] = (), batch: int = 0) -> DeferredExchange:
        """Note a query that begins, and return its exchange; the previous query is settled."""
        self._query, self._arguments, self._batch = query, arguments, batch
        self.rows = self.error = None
        return self.deferred

    def _described(self) -> Exchange:
        return described(self._mask, self._query, self._arguments, self._batch, self.rows, self.error)


def described(
    mask: Mask,
    query: Query | None,
    arguments: Sequence[Any],
    batch: int,
    rows: int | None,
    error: BaseException | None,
) -> Exchange:
    """The query and the answer of the database as text.

    Only the types and lengths of arguments are shown. Literals and comments within SQL are shown
    only if the SQL is a named query of the project.

    Args:
        mask: the known secrets.
        query: None for an operation without a query, such as COPY or the end of a transaction.
        arguments: the query's arguments; for a batch, those of its first row.
        batch: rows of arguments; 0 for a query without a batch.
        rows: the rows that the query returned or wrote; None for unknown.
        error: how the query failed; None if it did not.

    """
    lines = []
    sql = ""
    if query is not None:
        sql = query.sql[: READ + 1]
        lines = [f'query "{query.name}"' if query.name else _without_literals(sql).split("\n", 1)[0]]
    values = list(islice(_texts(arguments), 2 * _MOST_ARGUMENTS))
    hiding = mask.hiding(sql, *(each for each in values if has_secret_name(each)), secrets=values)
    if query is not None:
        lines += ["", hiding.head(sql if query.name else _without_literals(sql)), ""]
        lines += [
            f"${number} = {length_only(value)}"
            for number, value in enumerate(arguments[:_MOST_ARGUMENTS], start=1)
        ]
        lines += [f"({len(arguments) - _MOST_ARGUMENTS} more)"] if len(arguments) > _MOST_ARGUMENTS else []
    lines += [f"a batch of {batch:,} rows"] if batch else []
    if error is not None:
        answer = hiding.head("\n".join(_error(error)))
    else:
        answer = "" if rows is None else f"{rows:,} rows"
    return Exchange("\n".join(hiding(line) if line == lines[0] else line for line in lines), answer)


def waited(pool: str) -> Exchange:
    """Describe a wait for a connection, with the state of the pool."""
    return Exchange("a connection of the pool", pool)


def _without_literals(sql: str) -> str:
    return replace_tokens(sql, _SHOWN)


def _texts(arguments: Sequence[Any]) -> Iterator[str]:
    """The values of arguments, which are masked where the answer repeats them."""
    for value in arguments:
        for each in value[:_MOST_ARGUMENTS] if isinstance(value, list | tuple) else (value,):
            if isinstance(each, bytes):
                yield each[:READ].hex()
            elif each is not None and not isinstance(each, bool):
                yield each[:READ] if isinstance(each, str) else str(each)[:READ]


def _error(error: BaseException) -> Iterator[str]:
    """The code, the text and the detail of an error, without values of rows and arguments."""
    state, text = str(getattr(error, "sqlstate", "") or ""), str(error)[:READ] or type(error).__name__
    for pattern, hidden in _VALUES:
        text = pattern.sub(hidden, text)
    yield f"{state} {text}".strip()
    for name in ("constraint_name", "table_name", "column_name"):
        value = getattr(error, name, None)
        if value:
            yield f"{name.removesuffix('_name')}: {value}"
