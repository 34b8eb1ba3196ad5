"""What is read from the plan of a query: which tables it scans, and how."""

import pytest

from loadkit.observers.database import LARGE
from loadkit.observers.plans import Relation, read_plan

RELATIONS = {
    "events": Relation("events", LARGE, ("tenant_id", "name")),
    "tenants": Relation("tenants", LARGE, ("id", "name")),
}


def scan(table, node="Seq Scan", plans=(), **details):
    return {"Node Type": node, "Relation Name": table, "Plans": list(plans), "Plan Rows": 1, **details}


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
