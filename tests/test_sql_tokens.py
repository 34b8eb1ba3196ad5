"""Where SQL has names, comments and values."""

import pytest

from loadkit.sql_tokens import Token, replace_tokens, tokens


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("name = 'a''b'", [(Token.TEXT, "'a''b'")]),
        (r"E'it\'s' || e'\\'", [(Token.TEXT, r"E'it\'s'"), (Token.TEXT, r"e'\\'")]),
        ("$$it's$$ $a$ $b$ $a$", [(Token.TEXT, "$$it's$$"), (Token.TEXT, "$a$ $b$ $a$")]),
        ("-- a user's\n'a'", [(Token.COMMENT, "-- a user's"), (Token.TEXT, "'a'")]),
        ("'-- a'", [(Token.TEXT, "'-- a'")]),
        ("/* it's $1 */ $2", [(Token.COMMENT, "/* it's $1 */"), (Token.PARAMETER, "$2")]),
        ("/* a /* it's */ b */ $2", [(Token.COMMENT, "/* a /* it's */ b */"), (Token.PARAMETER, "$2")]),
        ("\"it's\" = 'a'", [(Token.NAME, '"it\'s"'), (Token.TEXT, "'a'")]),
        ('"a""b" = $1', [(Token.NAME, '"a""b"'), (Token.PARAMETER, "$1")]),
        ("price$1 = t.a2 + $12", [(Token.PARAMETER, "$12")]),
        (
            "1 + 2.5 - 1.5e-3 / 0x1F * 1_000",
            [(Token.NUMBER, each) for each in ("1", "2.5", "1.5e-3", "0x1F", "1_000")],
        ),
        ("e1 = t2.c3", []),
    ],
)
def test_each_token_is_found_as_a_whole(sql, expected) -> None:
    assert list(tokens(sql)) == expected


@pytest.mark.parametrize(
    "sql",
    ["'it is", r"E'it\'s", "E'it\\", "$$it's", "$a$it's $$", "\"it's", "/* it's", "/* it's /* a", "-- it's"],
)
def test_a_token_that_was_cut_off_reaches_the_end(sql) -> None:
    assert [text for _, text in tokens(f"a = {sql}")] == [sql]


def test_only_the_stated_kinds_are_replaced() -> None:
    sql = "SELECT \"a\" -- of all\nFROM b WHERE c = 'd' AND e = $1 AND f > 5"
    assert replace_tokens(sql, {}) == sql
    replaced = replace_tokens(sql, {Token.TEXT: "?", Token.COMMENT: "", Token.NUMBER: "0"})
    assert replaced == 'SELECT "a" \nFROM b WHERE c = ? AND e = $1 AND f > 0'
