"""The record of a load."""

import itertools
from unittest.mock import patch

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from loadkit.recording import histogram as buckets
from loadkit.recording import slices
from loadkit.recording.sample import OK, Sample
from loadkit.recording.slices import Kind, SliceTable, label_series, region_series, tenant_series
from tests import builders

SAMPLES = st.lists(
    st.builds(
        lambda label, outcome, intended, late, service, size, tenant: Sample(
            label, outcome, intended, intended + late, intended + late + service, size, tenant, ""
        ),
        st.sampled_from(["GET /a", "GET /b", "POST /c"]),
        st.sampled_from([OK, "timeout", "status 500"]),
        st.floats(0, 100),
        st.floats(0, 1),
        st.floats(0, 20),
        st.integers(0, 10**6),
        st.sampled_from(["", "acme", "initech"]),
    ),
    max_size=60,
)


def counted(table: SliceTable) -> dict[tuple[object, ...], int]:
    """The table as a mapping in which numbers given to names play no part."""
    found: dict[tuple[object, ...], int] = {}
    for kind in Kind:
        for name in table.series:
            columns = table.select(kind, [name], 0, 1 << 22)
            for second, outcome, bucket, count in zip(*(column.tolist() for column in columns), strict=True):
                found[kind, name, second, table.outcomes[outcome], bucket] = count
    return found


def summed(table: SliceTable) -> dict[tuple[object, ...], list[float]]:
    found = {}
    for name in table.series:
        second, outcome, sums = table.totals([name], 0, 1 << 22)
        for where, number, row in zip(second.tolist(), outcome.tolist(), sums.tolist(), strict=True):
            found[name, where, table.outcomes[number]] = [round(value, 6) for value in row]
    return found


def table_of(samples: list[Sample]) -> SliceTable:
    table = SliceTable()
    table.record(samples)
    return table


@given(SAMPLES, st.lists(st.integers(0, 60), max_size=5))
def test_however_samples_are_cut_the_sum_is_the_same(samples, cuts):
    whole = table_of(samples)
    edges = [0, *sorted(min(cut, len(samples)) for cut in cuts), len(samples)]
    parts = [table_of(samples[start:end]) for start, end in itertools.pairwise(edges)]
    together, one_by_one = SliceTable(), SliceTable()
    together.add(*reversed(parts))
    for part in parts:
        one_by_one.add(part)
    assert counted(together) == counted(one_by_one) == counted(whole)
    for other in (together, one_by_one):
        assert summed(other).keys() == summed(whole).keys()
        for cell, sums in summed(whole).items():
            np.testing.assert_allclose(summed(other)[cell], sums, atol=1e-5)


@given(SAMPLES, SAMPLES, st.booleans())
def test_samples_that_are_retracted_leave_no_trace_in_the_sum_but_the_longest(kept, wrong, are_together):
    retraction = SliceTable()
    retraction.record(wrong, are_retracted=True)
    together, parts = SliceTable(), [table_of(wrong), retraction, table_of(kept)]
    if are_together:
        together.add(*parts)
    else:
        for part in parts:
            together.add(part)
    assert counted(together) == counted(table_of(kept))
    whole = summed(table_of(kept))
    assert summed(together).keys() == whole.keys()
    for cell, sums in whole.items():
        np.testing.assert_allclose(summed(together)[cell][:4], sums[:4], atol=1e-5)
        assert summed(together)[cell][4] >= sums[4]


@given(SAMPLES)
def test_a_table_that_was_packed_is_the_same(samples):
    table = table_of(samples)
    again = SliceTable.unpacked(table.packed())
    for name in ("series", "outcomes", "keys", "counts", "cells", "sums"):
        assert np.array_equal(getattr(again, name), getattr(table, name))
    assert counted(again) == counted(table)
    assert summed(again) == summed(table)
    again.add(table)  # it can be added to
    assert sum(counted(again).values()) == 2 * sum(counted(table).values())


@given(st.lists(SAMPLES, max_size=8), st.integers(1, 9))
def test_packed_tables_add_up_to_the_same_however_many_are_added_at_once(parts, together):
    with patch.object(slices, "_TOGETHER", together):
        whole = SliceTable.sum_of([table_of(part).packed() for part in parts])
    samples = [sample for part in parts for sample in part]
    assert counted(whole) == counted(table_of(samples))
    assert whole.sums[:, 0].sum() == table_of(samples).sums[:, 0].sum()


def test_a_busy_second_is_packed_into_a_fraction_of_its_bytes():
    random = np.random.default_rng(1)
    times = random.lognormal(np.log(0.01), 0.3, 5000)
    table = table_of([Sample("GET /", OK, 0.5, 0.5, 0.5 + time, 100) for time in times.tolist()])
    assert len(table.packed()) < (table.keys.nbytes + table.counts.nbytes) / 5


@given(SAMPLES)
def test_every_sample_is_in_one_label_and_one_tenant(samples):
    table = table_of(samples)
    labels = [label_series(name) for name in table.names("label:")]
    tenants = [tenant_series(name) for name in table.names("tenant:")]
    assert table.select(Kind.RESPONSE, labels, 0, 1 << 22)[3].sum() == len(samples)
    with_tenant = sum(bool(sample.tenant) for sample in samples)
    assert table.select(Kind.RESPONSE, tenants, 0, 1 << 22)[3].sum() == with_tenant


def test_a_sample_belongs_to_the_second_of_its_intended_start_its_completion_to_that_of_its_end():
    table = table_of([Sample("GET /a", OK, 1.9, 2.5, 4.25, 7, region="eu")])
    series = [label_series("GET /a")]
    second, _, bucket, _ = table.select(Kind.RESPONSE, series, 0, 10)
    assert (second.tolist(), bucket.tolist()) == ([1], [buckets.index(2.35)])
    second, _, bucket, _ = table.select(Kind.SERVICE, series, 0, 10)
    assert (second.tolist(), bucket.tolist()) == ([1], [buckets.index(1.75)])
    assert table.select(Kind.COMPLETED, series, 0, 10)[0].tolist() == [4]
    assert table.totals([region_series("eu")], 0, 10)[2].tolist() == [[1, 4.25 - 1.9, 1.75, 7, 4.25 - 1.9]]


def test_the_origin_of_the_samples_clock_is_taken_off():
    table = SliceTable()
    table.record([Sample("GET /a", OK, 101.5, 101.5, 102.5, 0)], origin=100.0)
    assert table.select(Kind.RESPONSE, [label_series("GET /a")], 0, 10)[0].tolist() == [1]


def test_what_came_before_the_start_belongs_to_the_first_second():
    assert table_of([Sample("GET /a", OK, -2.0, -2.0, -1.0, 0)]).cells.shape == (1,)


def test_adding_leaves_the_other_table_as_it_was():
    part = table_of([Sample("GET /a", OK, 0.0, 0.0, 1.0, 0)])
    before = counted(part)
    whole = table_of([Sample("GET /b", "timeout", 0.0, 0.0, 1.0, 0)])
    whole.add(part, part)
    assert counted(part) == before
    assert whole.select(Kind.RESPONSE, [label_series("GET /a")], 0, 1)[3].sum() == 2


def test_outcomes_beyond_what_the_key_can_hold_are_gathered():
    table = table_of([Sample("GET /a", f"status {number}", 0.0, 0.0, 1.0, 0) for number in range(100)])
    assert len(table.outcomes) == 64
    assert table.select(Kind.RESPONSE, [label_series("GET /a")], 0, 1)[3].sum() == 100


def test_counts_of_durations_stand_in_their_seconds():
    table = SliceTable()
    table.count(Kind.LAG, "worker:0", np.array([0.5, 1.5, 1.6]), np.array([0.001, 0.002, 0.002]))
    second, _, bucket, count = table.select(Kind.LAG, ["worker:0"], 0, 10)
    assert second.tolist() == [0, 1]
    assert count.tolist() == [1, 2]
    assert bucket.tolist() == [buckets.index(0.001), buckets.index(0.002)]


@given(SAMPLES, SAMPLES)
def test_what_was_looked_at_before_is_seen_with_what_came_since(before, since):
    table = table_of(before)
    counted(table)
    table.record(since)
    assert counted(table) == counted(table_of(before + since))


def test_a_stretch_of_seconds_has_those_that_began_in_it_and_no_others():
    table = table_of([Sample("GET /a", OK, second, second, second + 0.5, 1) for second in (0, 3, 3, 4, 7)])
    for start, end, expected in ((0, 8, [0, 3, 4, 7]), (3, 7, [3, 4]), (1, 3, []), (8, 9, []), (7, 8, [7])):
        second, _, _, count = table.select(Kind.RESPONSE, [label_series("GET /a")], start, end)
        assert second.tolist() == expected
        assert count.tolist() == [2 if each == 3 else 1 for each in expected]


def test_the_fast_table_of_simulations_is_that_of_the_same_samples():
    random = np.random.default_rng(1)
    starts = np.sort(random.uniform(0, 30, 2000))
    times = random.exponential(0.1, 2000)
    fast, usual = builders.table_of(starts, times), SliceTable()
    usual.record(builders.samples_of(starts, times))
    assert (fast.series, fast.outcomes) == (usual.series, usual.outcomes)
    assert np.array_equal(fast.cells, usual.cells)
    assert np.allclose(fast.sums, usual.sums)
    # `start + time − start` can round into the next bucket.
    for kind in (Kind.RESPONSE, Kind.SERVICE, Kind.COMPLETED):
        one, other = (table.select(kind, table.series, 0, 40) for table in (fast, usual))
        assert one[3].sum() == other[3].sum() == 2000
        assert abs((one[2] * one[3]).sum() - (other[2] * other[3]).sum()) <= 5
