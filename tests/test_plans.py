"""What is read from the plan of a query: which tables it scans, and how."""

import pytest

from loadkit.observers.database import LARGE
from loadkit.observers.plans import Relation, read_plan

RELATIONS = {
    ("public", "events"): Relation("events", LARGE, ("tenant_id", "name")),
    ("public", "tenants"): Relation("tenants", LARGE, ("id", "name")),
    ("archive", "events"): Relation("archive.events", LARGE - 1, ("tenant_id", "events")),
}


def scan(table, node="Seq Scan", plans=(), **details):
    where = {"Relation Name": table, "Schema": "public"}
    return {"Node Type": node, **where, "Plans": list(plans), "Plan Rows": 1, **details}


def by_index(table, index, **details):
    return scan(table, "Index Scan", **{"Index Name": index, "Index Cond": "(id = 1)", **details})


def scans(plan):
    """Table, node and index of each scan of a plan."""
    found = read_plan("q", "", [{"Plan": plan}], RELATIONS).scans
    return [(each.table, each.node, each.index) for each in found]


def test_the_subplan_of_a_scan_is_a_scan_of_its_own():
    policy = scan("tenants", Filter="(name = 'acme')", **{"Parent Relationship": "InitPlan"})
    assert scans(by_index("events", "events_tenant", Plans=[policy])) == [
        ("events", "Index Scan", "events_tenant"),
        ("tenants", "Seq Scan", ""),
    ]


def test_the_index_of_a_subplan_is_not_that_of_the_scan():
    policy = by_index("tenants", "tenants_pkey", **{"Parent Relationship": "SubPlan"})
    assert scans(scan("events", plans=[policy])) == [
        ("events", "Seq Scan", ""),
        ("tenants", "Index Scan", "tenants_pkey"),
    ]


def test_rows_that_an_inexact_index_reads_in_vain_are_discarded_rows():
    removed = {"Rows Removed by Filter": 5, "Rows Removed by Index Recheck": 4_995_000}
    plan = scan("events", "Bitmap Heap Scan", **removed, **{"Actual Rows": 5_000, "Actual Loops": 2})
    (found,) = read_plan("q", "", [{"Plan": plan}], RELATIONS).scans
    assert (found.kept, found.removed) == (10_000, 9_990_010)


@pytest.mark.parametrize("combined", ["BitmapAnd", "BitmapOr"])
def test_a_bitmap_scan_has_the_indexes_of_its_bitmaps(combined):
    bitmap = {"Node Type": "Bitmap Index Scan", "Plan Rows": 1}
    bitmaps = [{**bitmap, "Index Name": name} for name in ("by_name", "by_tenant")]
    policy = by_index("tenants", "tenants_pkey", **{"Parent Relationship": "InitPlan"})
    plan = scan("events", "Bitmap Heap Scan", [{**bitmap, "Node Type": combined, "Plans": bitmaps}, policy])
    assert scans(plan) == [
        ("events", "Bitmap Heap Scan", "by_name, by_tenant"),
        ("tenants", "Index Scan", "tenants_pkey"),
    ]


def test_tables_of_one_name_are_told_apart_by_their_schema():
    plan = scan("events", plans=[scan("events", Schema="archive")])
    found = read_plan("q", "", [{"Plan": plan}], RELATIONS)
    assert [(each.table, each.is_large) for each in found.scans] == [
        ("events", True),
        ("archive.events", False),
    ]
    assert [line.split("(")[0].strip() for line in found.text] == [
        "Seq Scan on events",
        "-> Seq Scan on archive.events",
    ]


def test_the_name_of_a_table_is_not_a_column_of_its_condition():
    filtered = scan("events", Schema="archive", Filter="((events.tenant_id)::text = 'acme'::text)")
    (found,) = read_plan("q", "", [{"Plan": filtered}], RELATIONS).scans
    assert found.columns == ("tenant_id",)
