"""Messages are counted like samples, without an object for each."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadkit.recording.messages import EARLIEST, EARLY, UNREADABLE, MessageLog, take
from loadkit.recording.recorder import Recorder
from loadkit.recording.sample import OK, Sample
from loadkit.recording.slices import Kind, SliceTable, label_series, tenant_series
from loadkit.recording.timing import MESSAGE
from tests.test_slices import counted, summed

MESSAGES = st.lists(
    st.builds(
        lambda created, latency, size, label, tenant, region: Sample(
            label, OK, created, created, created + latency, size, tenant, region
        ),
        st.floats(0, 100),
        st.floats(0, 5),
        st.integers(0, 1 << 20),
        st.sampled_from(["push", "edit"]),
        st.sampled_from(["", "acme", "initech"]),
        st.sampled_from(["", "Asia"]),
    ),
    max_size=30,
)
ADMITTED = {"push": "push", "edit": "(others)"}


def logs_of(samples):
    """The logs of messages that are such samples."""
    logs = {}
    for each in samples:
        series = (each.label, each.tenant, each.region)
        logs.setdefault(series, MessageLog(*series)).add(each.intended, each.end, each.size)
    return list(logs.values())


def recorded(batches, population):
    """The table of batches of messages, each with its logs."""
    table = SliceTable()
    for messages, owners, logs in batches:
        table.record_messages(
            messages,
            owners,
            logs,
            timing=MESSAGE,
            origin=10.0,
            population=population,
            admit=ADMITTED.__getitem__,
        )
    return table


@given(MESSAGES, st.sampled_from(["", "crowd"]), st.integers(1, 12))
def test_messages_count_as_successful_samples_of_their_creation_and_receipt_whatever_the_batches(
    samples, population, most
):
    by_sample, logs = SliceTable(), logs_of(samples)
    by_sample.record(samples, 10.0, timing=MESSAGE, population=population, admit=ADMITTED.__getitem__)
    batches = iter(lambda: take(logs, most), None)
    by_log = recorded(itertools.takewhile(lambda batch: batch[2], batches), population)
    assert counted(by_log) == counted(by_sample)
    assert set(by_log.series) == set(by_sample.series)
    assert summed(by_log).keys() == summed(by_sample).keys()
    for cell, sums in summed(by_sample).items():
        np.testing.assert_allclose(summed(by_log)[cell], sums, rtol=1e-9, atol=1e-5)


@given(MESSAGES, st.sampled_from(["", "crowd"]))
def test_the_logs_of_all_tenants_together_count_as_each_alone(samples, population):
    together = recorded([take(logs_of(samples), 100)] if samples else [], population)
    alone = recorded([take([log], 100) for log in logs_of(samples)], population)
    assert counted(together) == counted(alone)
    assert summed(together).keys() == summed(alone).keys()
    for cell, sums in summed(alone).items():
        np.testing.assert_allclose(summed(together)[cell], sums, rtol=1e-9, atol=1e-5)


@given(MESSAGES, st.integers(1, 12))
def test_each_message_is_taken_once_from_its_own_log(samples, most):
    logs, found = logs_of(samples), []
    while sum(map(len, logs)):
        messages, owners, owning = take(logs, most)
        assert 0 < len(messages) <= most
        found += [
            (*message, owning[owner].label, owning[owner].tenant, owning[owner].region)
            for message, owner in zip(messages.tolist(), owners.tolist(), strict=True)
        ]
    assert sorted(found) == sorted(
        (each.intended, each.end, each.size, each.label, each.tenant, each.region) for each in samples
    )


def test_messages_of_many_tenants_are_counted_before_the_second_ends():
    recorder = Recorder(0, 0.0)
    timing = recorder.population("users").timing(MESSAGE)
    logs = [timing.messages("push", f"tenant {number}") for number in range(50)]
    for log in logs:
        for _ in range(41):
            log.add(0.5, 0.6, 10)
    recorder.count_full_chunks()
    assert timing.waiting_messages == 50
    table = recorder.report().table
    _, _, sums = table.totals([label_series("push", MESSAGE)], 0, 10)
    assert sums[:, 0].sum() == 50 * 41
    for number in range(50):
        _, _, sums = table.totals([tenant_series(f"tenant {number}", MESSAGE)], 0, 10)
        assert sums[:, 0].sum() == 41


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
    assert report.worker_second.gauge(EARLIEST) == pytest.approx(0.1)
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
