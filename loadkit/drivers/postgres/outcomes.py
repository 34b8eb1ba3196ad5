"""The names of PostgreSQL failures."""

import re
from typing import Self

import asyncpg

from loadkit.drivers.base import NoResponse
from loadkit.drivers.network import kind_of

__all__ = ["LOST", "TIMEOUT", "QueryFailed", "failure_of", "is_answer", "is_lost", "may_pass"]

LOST = "connection lost"
TIMEOUT = "timeout"
_NAMES = {
    "40001": "serialization failure",
    "40P01": "deadlock",
    "53300": "too many connections",
    "57P01": "terminated by the server",
    "57P02": "crash of the server",
    "57P03": "not accepting connections",
}
"""Names by SQLSTATE that are shorter or clearer than those of asyncpg's classes."""
_MAY_PASS = frozenset({"40001", "40P01", "53300", "55P03", "57P03"})
"""SQLSTATEs after which nothing was done, so that any statement can be repeated."""
_WORD = re.compile(r"[A-Z][a-z0-9]+|[A-Z]+(?=[A-Z]|$)")


class QueryFailed(NoResponse):
    """A query failed. It is recorded; the user begins a new journey."""

    def __init__(self, kind: str, sqlstate: str = "") -> None:
        super().__init__(kind)
        self.kind = kind
        """The kind of failure: "deadlock (40P01)", "connection lost", "timeout", "refused" …"""
        self.sqlstate = sqlstate
        """PostgreSQL's error code; empty if the server sent none."""

    @classmethod
    def of(cls, kind: str, error: Exception) -> Self:
        """The exception that a journey gets for an error of a kind."""
        return cls(kind, str(getattr(error, "sqlstate", "") or ""))


def failure_of(error: BaseException) -> str | None:
    """The outcome under which a failure is counted: "deadlock (40P01)", "refused", "timeout" …

    None for an error of the calling code, such as an argument of the wrong type.
    """
    if is_lost(error):
        return LOST
    if is_answer(error):
        assert isinstance(error, asyncpg.PostgresError)
        state = str(error.sqlstate or "")
        if state == "57014":
            is_timeout = "statement timeout" in str(error)
            return f"{'statement timeout' if is_timeout else 'query canceled'} (57014)"
        name = _NAMES.get(state) or _words(type(error).__name__.removesuffix("Error"))
        return f"{name} ({state})" if state else name
    if isinstance(error, TimeoutError):
        return TIMEOUT
    if isinstance(error, OSError):
        return kind_of(error)
    return None


def is_answer(error: BaseException) -> bool:
    """Did the server send the error? asyncpg raises some of its classes by itself."""
    return isinstance(error, asyncpg.PostgresError) and "severity" in vars(error) and not is_lost(error)


def is_lost(error: BaseException) -> bool:
    """Did the connection end, so that it is unknown whether its statement was executed?"""
    # A server that shuts down reports that on idle connections. For the next statement, asyncpg
    # then raises an error about its own state (InternalClientError).
    if isinstance(error, asyncpg.PostgresConnectionError | asyncpg.InternalClientError):
        return True
    return isinstance(error, asyncpg.InterfaceError) and "is closed" in str(error)


def may_pass(error: BaseException, *, is_read: bool) -> bool:
    """Can the statement be repeated, and may it then succeed?

    Args:
        error: how the statement failed.
        is_read: does the statement only read? After a lost connection, a write may have been done.

    """
    if getattr(error, "sqlstate", "") in _MAY_PASS or isinstance(error, ConnectionRefusedError):
        return True
    return is_read and is_lost(error)


def _words(name: str) -> str:
    """The words of a class's name: "UndefinedTable" as "undefined table"."""
    return " ".join(_WORD.findall(name)).lower()
