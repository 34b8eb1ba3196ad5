"""The named queries of a project: a folder of SQL files, one query each.

::

    -- name: tenant overview
    -- for: The first page that a user sees: totals and the latest sessions of the tenant.
    -- example: []
    SELECT …

The comment lines at the top state the name of the query in sentences, its purpose, and example
arguments as a JSON list. The SQL follows. It refers to the arguments as ``$1``, ``$2`` …
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from loadkit.errors import ConfigurationError
from loadkit.sql_tokens import Token, replace_tokens, tokens

__all__ = ["Query", "read_queries"]

_HEADER = re.compile(r"--\s*(name|for|example)\s*:\s*(.*)")
_READS = re.compile(
    r"(?:[\s(]|--[^\n]*\n|/\*.*?\*/)*(?:select|values|table|show|(with))\b", re.IGNORECASE | re.DOTALL
)
_WRITES = re.compile(r"\b(?:insert|update|delete|merge)\b", re.IGNORECASE)
_OTHER_WORDS = {Token.COMMENT: " ", Token.TEXT: "?", Token.NAME: "?"}
"""The replacements of tokens whose words are no keywords."""


@dataclass(frozen=True, slots=True)
class Query:
    """A query with a name."""

    name: str
    """The name in sentences: "tenant overview"."""
    sql: str
    """One statement, with ``$1``, ``$2`` … for its arguments."""
    purpose: str = ""
    """The purpose of the query, for reports."""
    example: tuple[Any, ...] = ()
    """Example arguments, as JSON values."""

    @property
    def is_read(self) -> bool:
        """Does it only read, judged by its keywords, so that it can be repeated safely?

        The first keyword decides. After WITH, no keyword may change data.
        """
        first = _READS.match(self.sql)
        return first is not None and not (first[1] and _changes_data(self.sql))


@lru_cache(maxsize=1_000)  # to find the tokens of a query takes 0.2 ms
def _changes_data(sql: str) -> bool:
    return _WRITES.search(replace_tokens(sql, _OTHER_WORDS)) is not None


@cache
def read_queries(folder: Path) -> Mapping[str, Query]:
    """The queries of a folder by name, in the order of their files.

    Raises:
        ConfigurationError: the folder does not exist or has no query, or a file is not a query.

    """
    if not folder.is_dir():
        raise ConfigurationError(
            f"no folder {_shown(folder)} of queries; expected one with files such as {_EXAMPLE}"
        )
    found: dict[str, Query] = {}
    places: dict[str, Path] = {}
    for file in sorted(folder.glob("*.sql")):
        query = _read(file)
        if query.name in found:
            raise ConfigurationError(
                f'{_shown(file)}: the name "{query.name}" is that of {places[query.name].name}, too; expected another'
            )
        found[query.name], places[query.name] = query, file
    if not found:
        raise ConfigurationError(f"no query in {_shown(folder)}; expected files such as {_EXAMPLE}")
    return found


_EXAMPLE = "tenant_overview.sql, which begins with -- name: tenant overview"


def _read(file: Path) -> Query:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError(f"{_shown(file)}: cannot be read: {why}") from None
    stated: dict[str, str] = {}
    lines = text.splitlines()
    first = len(lines)
    for number, line in enumerate(lines, 1):
        header = _HEADER.match(line)
        if header is not None:
            if header[1] in stated:
                raise ConfigurationError(
                    f"{_shown(file)}:{number}: a second {header[1]}; expected one query in each file"
                )
            stated[header[1]] = header[2].strip()
        elif line.strip() and not line.lstrip().startswith("--"):
            first = number - 1
            break
    sql = "\n".join(lines[first:]).strip().rstrip(";").rstrip()
    for key, example in (("name", "tenant overview"), ("for", "the first page that a user sees")):
        if not stated.get(key):
            raise ConfigurationError(
                f"{_shown(file)}: no {key}; expected a first line such as -- {key}: {example}"
            )
    if not sql:
        raise ConfigurationError(f"{_shown(file)}: no SQL after the comments; expected such as SELECT …")
    return Query(stated["name"], sql, stated["for"], _example(file, stated.get("example", ""), sql))


def _example(file: Path, stated: str, sql: str) -> tuple[Any, ...]:
    """The arguments of an example; their number must be that of the query's arguments."""
    try:
        arguments = json.loads(stated or "[]")
    except ValueError:
        arguments = None
    if not isinstance(arguments, list):
        raise ConfigurationError(
            f'{_shown(file)}: example: {stated}: expected a JSON list, such as -- example: ["page.view", 30]'
        )
    named = {int(text[1:]) for kind, text in tokens(sql) if kind is Token.PARAMETER}
    if len(arguments) != max(named, default=0):
        raise ConfigurationError(
            f"{_shown(file)}: the example has {len(arguments)} arguments, the SQL has {max(named, default=0)}; "
            'expected such as -- example: ["page.view", 30]'
        )
    return tuple(arguments)


def _shown(path: Path) -> str:
    """A path as errors show it: relative to the working directory if it is below that."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
