"""The named queries of a folder, and the key queries of this service."""

import re
from pathlib import Path

import pytest

from loadkit.errors import ConfigurationError
from loadkit.queries import Query, read_queries
from steps.journeys.database import _CHOICES

ROOT = Path(__file__).parent.parent
KEY_QUERIES = ROOT / "steps" / "journeys" / "queries"


def folder_of(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.sql").write_text(text)
    return folder


def test_a_query_has_its_name_purpose_example_and_one_statement(tmp_path: Path) -> None:
    text = (
        '-- name: slow items\n-- for: a page\n-- example: [3, "x"]\n-- a note\n'
        "SELECT $1,\n  $2, '$9' -- not $8\n;\n"
    )
    assert dict(read_queries(folder_of(tmp_path / "a", one=text))) == {
        "slow items": Query("slow items", "SELECT $1,\n  $2, '$9' -- not $8", "a page", (3, "x"))
    }


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("SELECT 1", "one.sql: no name; expected a first line such as -- name: tenant overview"),
        ("-- name: x\nSELECT 1", "one.sql: no for; expected a first line such as -- for: the first page that a user sees"),
        ("-- name: x\n-- for: y\n", "one.sql: no SQL after the comments; expected such as SELECT …"),
        ("-- name: x\n-- name: z\n-- for: y\nSELECT 1", "one.sql:2: a second name; expected one query in each file"),
        ("-- name: x\n-- for: y\n-- example: 3\nSELECT $1", "one.sql: example: 3: expected a JSON list, such as"),
        ("-- name: x\n-- for: y\n-- example: [\nSELECT $1", "one.sql: example: [: expected a JSON list, such as"),
        ("-- name: x\n-- for: y\nSELECT $1, $2", "one.sql: the example has 0 arguments, the SQL has 2; expected such as"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_query_is_one_line(tmp_path: Path, text: str, line: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(line)) as caught:
        read_queries(folder_of(tmp_path / "a", one=text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("sql", "is_read"),
    [
        ("SELECT 1", True),
        ("-- all\nVALUES (1)", True),
        ("((SELECT 1) UNION ALL SELECT 2)", True),
        ("WITH last AS (SELECT 1) SELECT * FROM last", True),
        ("with a as (select 'insert' AS \"update\", deleted_at /* merge */ from t) table a", True),
        ("WITH old AS (DELETE FROM t RETURNING *) SELECT * FROM old", False),
        ("(WITH new AS (INSERT INTO t VALUES (1) RETURNING *) SELECT * FROM new)", False),
        ("WITH a AS (SELECT 1) UPDATE t SET n = 1", False),
        ("WITH a AS (SELECT 1)\nMERGE INTO t USING a ON true WHEN MATCHED THEN DO NOTHING", False),
        ("INSERT INTO t SELECT 1", False),
        ("withdraw", False),
    ],
)
def test_a_query_only_reads_if_it_begins_so_and_no_part_of_it_changes_data(sql: str, is_read: bool) -> None:
    assert Query("a", sql).is_read is is_read


def test_a_folder_without_queries_and_a_name_given_twice_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"no folder .*nowhere of queries; expected one with files such as"
    ):
        read_queries(tmp_path / "nowhere")
    with pytest.raises(ConfigurationError, match=r"no query in .*empty; expected files such as"):
        read_queries(folder_of(tmp_path / "empty"))
    text = "-- name: x\n-- for: y\nSELECT 1"
    with pytest.raises(
        ConfigurationError, match=r'two.sql: the name "x" is that of one.sql, too; expected another'
    ):
        read_queries(folder_of(tmp_path / "twice", one=text, two=text))


def test_the_key_queries_are_those_that_analysts_run_and_each_only_reads() -> None:
    queries = read_queries(KEY_QUERIES)
    assert set(queries) == set(_CHOICES)
    assert {"tenant overview", "widget series", "events by session", "analytics by category"} <= set(queries)
    assert all(query.is_read and query.purpose.endswith(".") for query in queries.values())
