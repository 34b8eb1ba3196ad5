"""Messages are counted like samples, without an object for each."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadkit.recording.messages import EARLY, UNREADABLE, MessageLog
from loadkit.recording.recorder import Recorder
from loadkit.recording.sample import OK, Sample
from loadkit.recording.slices import Kind, SliceTable, label_series
from loadkit.recording.timing import MESSAGE

moments = st.floats(0, 100)
rows = st.lists(st.tuples(moments, st.floats(0, 5), st.integers(0, 1 << 20)), max_size=30)


@given(rows, st.sampled_from(["", "acme"]), st.sampled_from(["", "Asia"]), st.sampled_from(["", "crowd"]))
def test_a_message_counts_as_a_successful_sample_of_its_creation_and_receipt(
    given_rows, tenant, region, population
):
    log, samples = MessageLog("push", tenant, region), []
    for created, latency, size in given_rows:
        log.add(created, created + latency, size)
        samples.append(Sample("push", OK, created, created, created + latency, size, tenant, region))
    by_sample, by_log = SliceTable(), SliceTable()
    by_sample.record(samples, 10.0, timing=MESSAGE, population=population)
    while len(log):
        by_log.record_messages(
            log.take(7),
            "push",
            timing=MESSAGE,
            tenant=tenant,
            region=region,
            origin=10.0,
            population=population,
        )
    assert by_log.series == by_sample.series
    for ours, theirs in ((by_log.keys, by_sample.keys), (by_log.counts, by_sample.counts)):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(by_log.cells, by_sample.cells)
    np.testing.assert_allclose(by_log.sums, by_sample.sums, rtol=1e-9, atol=1e-9)


def test_messages_do_not_count_in_the_generators_lateness():
    recorder = Recorder(0, 0.0)
    recorder.population("users").timing(MESSAGE).messages("push").add(0.5, 0.6, 10)
    table = recorder.report().table
    assert table.names("worker:") == []
    _, _, bucket, count = table.select(Kind.RESPONSE, [label_series("push", MESSAGE)], 0, 10)
    assert (len(bucket), count.sum()) == (1, 1)


def test_a_message_that_arrives_before_its_creation_is_counted_as_such():
    recorder = Recorder(0, 0.0)
    log = recorder.population("users").timing(MESSAGE).messages("push")
    for number in range(5000):
        log.add(0.5, 0.4 if number % 2 else 0.6, 10)
    recorder.count_full_chunks()
    report = recorder.report()
    assert report.worker_second.count(EARLY) == 2500
    _, _, sums = report.table.totals([label_series("push", MESSAGE)], 0, 10)
    assert sums[:, 0].sum() == 5000
    assert sums[:, 1].sum() == pytest.approx(250.0)


@pytest.mark.parametrize(
    ("created", "name"), [(1.7e12, EARLY), (math.nan, UNREADABLE), (-math.inf, UNREADABLE)]
)
def test_a_creation_time_that_cannot_be_spoils_no_other_message(created, name):
    recorder = Recorder(0, 0.0)
    log = recorder.population("users").timing(MESSAGE).messages("push")
    log.add(created, 0.9, 10)
    log.add(0.5, 0.6, 10)
    report = recorder.report()
    assert report.worker_second.count(name) == 1
    second, _, sums = report.table.totals([label_series("push", MESSAGE)], 0, 1 << 22)
    assert (second.max(), sums[:, 1].sum()) == (0, pytest.approx(0.1))
