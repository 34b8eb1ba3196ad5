"""The tables of a run hold its figures second by second."""

import csv
import io

import numpy as np
import pytest

from loadkit.judging.evidence import Evidence
from loadkit.recording.slices import Kind, worker_series
from loadkit.recording.timing import QUERY, REQUEST
from loadkit.reports import timeline
from loadkit.workload.workload import Model
from tests.builders import plan_of, run_of, samples_of, worker_seconds_of


def rows(table):
    return list(csv.DictReader(io.StringIO(timeline.csv_of(table).decode())))


def test_a_row_for_each_second_with_what_was_due_and_how_it_ended():
    starts = np.arange(0, 5, 0.1)
    outcomes = ["status 500" if 2 <= start < 2.95 else "ok" for start in starts]
    run = run_of(
        samples_of(starts, np.full(50, 0.02), outcome=outcomes), plan_of(5, level=30, model=Model.CLOSED)
    )
    table = rows(timeline.seconds(Evidence(run)))
    assert [row["second"] for row in table] == ["0", "1", "2", "3", "4"]
    assert {row["operations_due"] for row in table} == {"10"}
    assert [row["failed"] for row in table] == ["0", "0", "10", "0", "0"]
    assert {row["users_held"] for row in table} == {"30"}
    assert float(table[0]["p95"]) == pytest.approx(0.02, rel=0.002)
    assert table[2]["p95"] == "", "a percentile among the failed has no value"


def test_the_generators_table_has_a_row_for_each_worker_and_second():
    run = run_of(
        [], plan_of(3), worker_seconds=[*worker_seconds_of(3), *worker_seconds_of(3, worker=1)], workers=2
    )
    run.table.count(Kind.LAG, worker_series(1), np.full(100, 1.5), np.full(100, 0.004))
    table = rows(timeline.generator(Evidence(run)))
    assert [(row["second"], row["worker"]) for row in table] == [
        ("0", "0"), ("0", "1"), ("1", "0"), ("1", "1"), ("2", "0"), ("2", "1"),
    ]  # fmt: skip
    assert float(table[3]["loop_lag_p99"]) == pytest.approx(0.004, rel=0.002)
    assert table[2]["loop_lag_p99"] == ""


def test_an_empty_run_has_its_columns():
    run = run_of([], plan_of(2), worker_seconds=[])
    assert timeline.csv_of(timeline.generator(Evidence(run))).decode().startswith("second,worker,")
    assert len(rows(timeline.seconds(Evidence(run)))) == 2


def mixed():
    """Ten queries per second, of which those of the third second fail, and as many requests."""
    starts = np.arange(0, 5, 0.1)
    outcomes = ["timeout" if 2 <= start < 2.95 else "ok" for start in starts]
    run = run_of(samples_of(starts, np.full(50, 0.02)), plan_of(5))
    run.table.record(samples_of(starts, np.full(50, 0.3), "overview", outcomes), timing=QUERY)
    return Evidence(run)


def test_queries_are_operations_too_and_their_times_do_not_mix_with_those_of_requests():
    table = rows(timeline.seconds(mixed()))
    assert {row["operations_due"] for row in table} == {"20"}
    assert [row["failed"] for row in table] == ["0", "0", "10", "0", "0"]
    assert {round(float(row["p95"]), 3) for row in table} == {0.02}


def test_a_table_of_one_timing_has_its_operations_alone():
    table = rows(timeline.seconds(mixed(), timing=QUERY.key))
    assert {row["operations_due"] for row in table} == {"10"}
    assert float(table[0]["p95"]) == pytest.approx(0.3, rel=0.002)
    assert [row["failed"] for row in rows(timeline.seconds(mixed(), timing=REQUEST.key))] == ["0"] * 5


def test_a_run_of_queries_alone_has_their_times():
    run = run_of([], plan_of(5))
    run.table.record(samples_of(np.arange(0, 5, 0.1), np.full(50, 0.3)), timing=QUERY)
    assert float(rows(timeline.seconds(Evidence(run)))[0]["p95"]) == pytest.approx(0.3, rel=0.002)
