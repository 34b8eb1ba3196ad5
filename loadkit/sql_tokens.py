"""Finds names, comments and values in SQL, so that each is shown or hidden as a whole."""

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum

__all__ = ["Token", "replace_tokens", "tokens"]


class Token(StrEnum):
    """A kind of token; other parts of SQL, such as keywords and operators, have no kind."""

    NAME = "name"
    """A name in quotation marks."""
    COMMENT = "comment"
    TEXT = "text"
    """A value in apostrophes or between dollar signs."""
    PARAMETER = "parameter"
    """``$1``, ``$2`` …"""
    NUMBER = "number"


_TOKEN = re.compile(
    r"""
    (?P<name>"(?:[^"]|"")*(?:"|$))  # an apostrophe in it begins no text
    | (?P<comment>
        --[^\n]*
        | /\*(?:(?!/\*|\*/). | /\*(?:(?!\*/).)*(?:\*/|$))*(?:\*/|$)  # a comment may have others in it
    )
    | (?P<text>
        \b[eE]'(?:[^'\\]|\\(?:.|$)|'')*(?:'|$)
        | '(?:[^']|'')*(?:'|$)
        | (?<![\w$])\$(?P<tag>[A-Za-z_]\w*|)\$.*?(?:\$(?P=tag)\$|$)
    )
    | (?P<parameter>(?<![\w$])\$[0-9]+)
    | (?P<number>(?<![\w$])(?:0[xX][0-9a-fA-F_]+|[0-9][0-9_]*(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)\b)
    """,
    re.VERBOSE | re.DOTALL,
)
"""Matches one token. The SQL may be truncated, even within a token."""


def tokens(sql: str) -> Iterator[tuple[Token, str]]:
    """The tokens of SQL in their order: the kind of each, and its text."""
    for match in _TOKEN.finditer(sql):
        yield Token(str(match.lastgroup)), match[0]


def replace_tokens(sql: str, by: Mapping[Token, str]) -> str:
    """Replace the tokens of some kinds in SQL; tokens of other kinds stay.

    Args:
        sql: one or more statements.
        by: the replacement for each token, by kind.

    """
    return _TOKEN.sub(lambda match: by.get(Token(str(match.lastgroup)), match[0]), sql)
