"""What the statistics of PostgreSQL gained in a run, and statements that are shown without their values."""

import pytest

from loadkit.observers.statistics import (
    Snapshot,
    dropped_between,
    has_fallen,
    indexes_between,
    statements_between,
    tables_between,
    without_values,
)
from loadkit.queries import Query

TABLE = {"name": "events", "root": "events", "pages": 900, "bytes": 1 << 23, "live": 10, "dead": 0,
         "seq_scan": 30, "idx_scan": 2_000_000, "written": 7}  # fmt: skip
INDEX = {
    "relid": 1,
    "name": "by_name",
    "table": "events",
    "root": "events",
    "idx_scan": 2_000_000,
    "bytes": 1 << 20,
}
GONE = {(1, "by_name"): 65.0}
"""At 65 s the index was missing for the first time."""


def snapshot(**changes) -> Snapshot:
    return Snapshot(1.0, 0.0, {}, **({"tables": {1: TABLE}, "indexes": {2: INDEX}} | changes))


# --- tables and indexes


def test_scans_are_those_since_the_reading_before_the_load():
    before = snapshot(
        tables={1: TABLE | {"seq_scan": 10, "idx_scan": 1_900_000, "written": 7}},
        indexes={2: INDEX | {"idx_scan": 1_900_000}},
    )
    (table,) = tables_between(before, snapshot())
    assert (table.sequential_scans, table.index_scans, table.rows_written) == (20, 100_000, 0)
    (index,) = indexes_between(before, snapshot())
    assert index.scans == 100_000


def test_a_table_and_an_index_that_are_new_count_from_zero():
    (table,) = tables_between(snapshot(tables={}), snapshot())
    assert (table.sequential_scans, table.index_scans, table.rows_written) == (30, 2_000_000, 7)
    (index,) = indexes_between(snapshot(indexes={}), snapshot())
    assert index.scans == 2_000_000


@pytest.mark.parametrize("before", [None, snapshot(tables=None, indexes=None)], ids=["no reading", "failed"])
def test_without_figures_before_the_load_the_scans_are_not_known(before: Snapshot | None):
    (table,) = tables_between(before, snapshot())
    assert (table.name, table.pages) == ("events", 900)
    assert (table.sequential_scans, table.index_scans, table.rows_written) == (None, None, None)
    (index,) = indexes_between(before, snapshot())
    assert (index.name, index.scans) == ("by_name", None)


def test_without_figures_after_the_load_there_are_no_tables_and_indexes():
    end = snapshot(tables=None, indexes=None)
    assert tables_between(snapshot(), end) == ()
    assert indexes_between(snapshot(), end) == ()


def test_an_index_counts_as_dropped_only_between_two_complete_readings():
    (index,) = dropped_between(snapshot(), snapshot(indexes={}), GONE)
    assert (index.name, index.table, index.at) == ("by_name", "events", 65.0)
    for before, end in (
        (None, snapshot(indexes={})),
        (snapshot(indexes=None), snapshot(indexes={})),
        (snapshot(), snapshot(indexes=None)),
        (snapshot(), snapshot(indexes={}, tables=None)),
    ):
        assert dropped_between(before, end, GONE) == ()


# --- resets


@pytest.mark.parametrize(
    ("rows", "is_reset"),
    [
        ([(3000, 2), (3000, 2), (3500, 4)], False),
        ([(3000, 2), (10, 2), (4000, 2)], True),
        ([(3000, 2), (3500, 0), (4000, 4)], True),
        ([(3000, 2)], False),
        ([], False),
    ],
)
def test_a_counter_that_falls_from_one_reading_to_the_next_shows_a_reset(rows, is_reset: bool):
    assert has_fallen([{"transactions": done, "deadlocks": dead} for done, dead in rows]) is is_reset


# --- statements


@pytest.mark.parametrize(
    ("statement", "shown"),
    [
        ("UPDATE t SET token = 'SECRET', n = 12.5 WHERE id = 17", "UPDATE t SET token = ?, n = ? WHERE id = ?"),
        ("""UPDATE t SET config = '{"token": "SECRET""", "UPDATE t SET config = ?"),
        ("SELECT 'it''s SECRET', 'SECRET''", "SELECT ?, ?"),
        ("SELECT $$SECRET$$, $x$SECRET $$ SECRET$x$, $x$SECRET", "SELECT ?, ?, ?"),
        ("SELECT $1, $$it's$$, 'SECRET'", "SELECT ?, ?, ?"),
        (r"SELECT E'it\'s SECRET', e'\\', 'SECRET'", "SELECT ?, ?, ?"),
        (r"SELECT E'it\'s SECRET", "SELECT ?"),
        ("SELECT E'it\\'s SECRET\\", "SELECT ?"),
        ("""SELECT "it's" FROM t1 WHERE token = 'SECRET'""", """SELECT "it's" FROM t1 WHERE token = ?"""),
        ("""SELECT "it""s'", 'SECRET'""", """SELECT "it""s'", ?"""),
        ("SELECT 1 -- it's SECRET\n, 'SECRET'", "SELECT ? , ?"),
        ("SELECT '--', '/*', 'SECRET' /* it's SECRET */ FROM t", "SELECT ?, ?, ? FROM t"),
        ("SELECT 'SECRET' /* it's SECRET", "SELECT ?"),
        ("SELECT '" + "x" * 5000 + "SECRET', 'SECRET' ", "SELECT ?, ?"),
        ("SELECT\n  '\nSECRET\n'\n FROM t", "SELECT ? FROM t"),
        (None, ""),
    ],
)  # fmt: skip
def test_a_statement_is_shown_without_its_values_wherever_it_is_cut(statement: str | None, shown: str):
    assert without_values(statement) == shown


def test_a_long_statement_is_shown_by_its_beginning():
    assert without_values("SELECT " + "a, " * 500) == ("SELECT " + "a, " * 500)[:200]


def test_a_utility_statement_of_a_run_has_no_values_and_others_keep_their_parameters():
    def row(text):
        return {"calls": 1, "seconds": 0.1, "rows": 1, "toplevel": True, "query": text}

    texts = [
        "ALTER ROLE a PASSWORD 'SECRET'",
        "ALTER ROLE a -- SECRET\nPASSWORD $x$SECRET$x$",
        "SET app.pin = 1234",
        "SELECT $1\nFROM t",
    ]
    end = snapshot(statements={(number,): row(text) for number, text in enumerate(texts)})
    found, _ = statements_between(snapshot(statements={}), end, ())
    assert {each.text: each.calls for each in found} == {
        "ALTER ROLE a PASSWORD ?": 2,
        "SET app.pin = ?": 1,
        "SELECT $1 FROM t": 1,
    }


def name_of(sql: str, text: str) -> str:
    """The name of the key query `sql` where it is what PostgreSQL calls `text`; else ""."""
    row = {"calls": 1, "seconds": 0.1, "rows": 1, "toplevel": True, "query": text}
    before, end = snapshot(statements={}), snapshot(statements={(1,): row})
    ((statement,), _) = statements_between(before, end, (Query("the query", sql),))
    return statement.query


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ("SELECT * FROM t WHERE a = 'x' AND n = 7", "select * from t where a = $1 and n = $2;"),
        ("SELECT * FROM t WHERE a IN ('x','y')", "SELECT * FROM t WHERE a IN ($1, $2)"),
        (r"""SELECT $$a$$, E'it\'s', "it's" FROM t""", """SELECT $1, $2, "it's" FROM t"""),
        ("SELECT E'one', 'two'", r"SELECT E'it\'s', 'it''s'"),
        ("SELECT n /* it's */ FROM t -- all\nWHERE n > 1", "SELECT n FROM t WHERE n > $1"),
    ],
)
def test_a_statement_has_one_shape_whatever_its_values_are(sql: str, text: str):
    assert name_of(sql, text) == "the query"


@pytest.mark.parametrize(
    "text",
    ["SELECT * FROM t WHERE b = $1", """SELECT * FROM t WHERE "a's" = $1""", "SELECT * FROM t WHERE a = b"],
)
def test_another_statement_has_another_shape(text: str):
    assert name_of("SELECT * FROM t WHERE a = 'x'", text) == ""
