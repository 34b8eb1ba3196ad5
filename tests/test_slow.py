"""A criterion on times that failed tells how much was too slow, since when, where and for whom."""

import dataclasses

import numpy as np
import pytest

from loadkit import grammar
from loadkit.criterion import Scope, ScopeKind
from loadkit.judging.evidence import EVERYTHING, Evidence
from loadkit.recording.examples import Example, Exchange
from loadkit.recording.sample import OK, Sample
from loadkit.recording.slices import SliceTable
from loadkit.recording.timing import QUERY, RECONNECT, REQUEST
from loadkit.reports import examples
from loadkit.reports.causes import causes_of
from loadkit.reports.slow import slow_operations
from loadkit.verdict import Window
from tests.builders import plan_of, run_of

SECONDS, WINDOW = 100, Window(10, 80)
P95 = grammar.criterion("the p95 response time stays below 500 ms")
LABELS, TENANTS = ("GET /a", "GET /b", "POST /c"), ("acme", "globex", "delos", "wonka")


def evidence_of(slow, rate=60, timing=REQUEST, outcome=OK):
    """A run in which `slow(second, label, tenant)` gives the ratio of operations that take 0.9 s."""
    chance, table = np.random.default_rng(3), SliceTable()
    for second in range(SECONDS):
        samples = []
        for number in range(rate):
            label, tenant = LABELS[number % 3], TENANTS[number % 4]
            seconds = 0.9 if chance.random() < slow(second, label, tenant) else 0.01
            at = second + number / rate
            samples.append(Sample(label, outcome, at, at, at + seconds, 10, tenant))
        table.record(samples, timing=timing)
    run = run_of([], plan_of(SECONDS))
    run.table = table
    return Evidence(run)


def found(slow, criterion=P95, scope=EVERYTHING, **how):
    return slow_operations(evidence_of(slow, **how), criterion, scope, WINDOW)


def test_a_slow_time_has_its_second_its_end_and_its_share():
    between = found(lambda second, *_: 0.3 if 40 <= second < 60 else 0.001)
    assert between.first == pytest.approx(40, abs=1)
    assert between.last == pytest.approx(59, abs=1)
    assert between.operations == 80 * 60
    assert between.count == pytest.approx(20 * 60 * 0.3, rel=0.15)
    lasting = found(lambda second, *_: 0.2 if second >= 55 else 0.0)
    assert (lasting.first, lasting.last) == (pytest.approx(55, abs=1), pytest.approx(89, abs=1))


@pytest.mark.parametrize("rate", [60, 15])
def test_a_stall_some_seconds_before_a_slow_time_is_not_its_begin(rate):
    slow = found(lambda second, *_: 0.3 if second >= 42 else 0.25 if second in {36, 37} else 0.0, rate=rate)
    assert slow.first == pytest.approx(42, abs=1)


def test_a_slow_time_begins_in_the_second_that_is_slow_in_part():
    slow = found(lambda second, *_: 0.4 if second >= 42 else 0.12 if second == 41 else 0.0)
    assert slow.first == 41


def test_a_slow_time_that_goes_on_at_the_end_of_the_load_lasts():
    slow = slow_operations(
        evidence_of(lambda second, *_: 0.2 if second >= 55 else 0.0), P95, EVERYTHING, Window(10, 90)
    )
    assert slow.last is None
    assert " to the end of the load" in examples._slow_sentence(slow, run_of([], plan_of(SECONDS)))


@pytest.mark.parametrize("rate", [6, 60])
def test_single_slow_operations_are_no_slow_time(rate):
    rare = found(lambda second, *_: 0.02, rate=rate)
    assert rare is None or rare.first is None


def test_a_single_bad_second_is_no_slow_time():
    assert found(lambda second, *_: 0.9 if second == 50 else 0.0).first is None


def test_where_and_for_whom_are_those_with_more_than_the_criterion_allows():
    slow = found(
        lambda second, label, tenant: 0.4 if label == "GET /b" and tenant in {"acme", "delos"} else 0.0
    )
    assert (set(slow.by_label), slow.labels) == ({"GET /b"}, 3)
    assert (set(slow.by_tenant), slow.tenants) == ({"acme", "delos"}, 4)
    assert slow.parts[1].startswith("1 of 3 endpoints (GET /b ")
    assert slow.parts[2].startswith("2 of 4 tenants (")


def test_a_scope_of_one_label_names_no_labels_and_one_of_a_population_those_of_the_run():
    slow = found(lambda *_: 0.2, scope=Scope(ScopeKind.LABEL, "GET /a"))
    assert (slow.labels, slow.tenants, slow.operations) == (0, 0, 80 * 20)
    every = found(lambda *_: 0.2, scope=Scope(ScopeKind.POPULATION, "requests"))
    assert (every.labels, every.tenants) == (3, 4)


def test_other_criteria_and_runs_without_a_slow_operation_have_none():
    errors = grammar.criterion("the error rate is below 1%")
    rate = grammar.criterion("throughput stays above 10 requests per second")
    assert found(lambda *_: 0.2, errors) is None
    assert found(lambda *_: 0.2, rate) is None
    assert found(lambda *_: 0.0) is None


def test_failures_are_no_slow_operations():
    assert found(lambda *_: 0.5, outcome="timeout") is None


def test_queries_are_named_as_queries():
    mean = grammar.criterion("the mean query time of the key queries is below 100 ms")
    slow = found(lambda *_: 0.2, mean, timing=QUERY)
    assert "queries (" in slow.parts[0]


def test_a_criterion_that_failed_says_it_in_its_first_line_and_in_its_json():
    evidence = evidence_of(lambda second, *_: 0.3 if 40 <= second < 60 else 0.0)
    causes = causes_of(evidence, window=WINDOW, criterion=P95)
    first = next(iter(examples.sentences(causes)))
    assert first.startswith("slower than 500 ms: ")
    assert "; from 0:" in first
    assert causes.to_json()["above_limit"]["limit"] == 0.5
    assert "slower than 500 ms: " in examples.page(causes).decode()
    assert "above_limit" not in causes_of(evidence, window=WINDOW).to_json()


def test_a_slow_time_that_began_before_the_window_has_its_true_begin():
    """The window begins with second 10. An earlier slow time that had ended does not count."""
    of_the_ramp = found(lambda second, *_: 0.3 if second < 2 or 6 <= second < 60 else 0.001)
    assert (of_the_ramp.first, of_the_ramp.operations) == (6, 80 * 60)
    whole = found(lambda *_: 0.3)
    assert whole.first == 0
    of_the_window = found(lambda second, *_: 0.3 if second >= 10 else 0.0)
    assert of_the_window.first == 10


def test_the_slowest_examples_tell_for_whom_where_it_was_not_counted():
    evidence = evidence_of(lambda *_: 0.3)
    evidence.run.examples = tuple(
        Example(20.0, seconds, "GET /a", OK, "users", 7, tenant, exchange=Exchange("GET", "200", instance))
        for seconds, tenant, instance in (
            (0.9, "acme", "metrics-1"), (0.8, "acme", "metrics-2"), (0.7, "delos", "metrics-2"), (0.1, "wonka", "m-3"),
        )
    )  # fmt: skip
    of_label = causes_of(evidence, Scope(ScopeKind.LABEL, "GET /a"), window=WINDOW, criterion=P95)
    told = "in the 3 slowest examples: 2 tenants (acme 2, delos 1), 2 instances (metrics-2 2, metrics-1 1)"
    assert next(iter(examples.sentences(of_label))).endswith(told)
    counted = causes_of(evidence, window=WINDOW, criterion=P95)
    assert counted.slow_whom == "in the 3 slowest examples: 2 instances (metrics-2 2, metrics-1 1)"
    assert told in examples.page(of_label).decode()


def few(slow, window):
    """At two requests per second, a block has 30 seconds."""
    evidence = evidence_of(lambda second, *_: float(slow(second)), rate=2)
    found = slow_operations(evidence, P95, EVERYTHING, window)
    return found, examples._slow_sentence(found, evidence.run)


def test_a_short_window_of_slow_operations_is_slow_from_its_begin_to_its_end():
    slow, told = few(lambda second: second >= 10, Window(10, 30))
    assert (slow.first, slow.last, slow.count, slow.operations) == (10.0, 39.0, 60, 60)
    assert "from 0:10 (" in told
    lasting, told = few(lambda second: second >= 70, Window(70, 30))
    assert (lasting.first, lasting.last) == (70.0, None)
    assert "to the end of the load" in told


def test_a_window_of_two_blocks_is_slow_in_the_one_that_is():
    slow, _ = few(lambda second: second >= 40, Window(10, 60))
    assert (slow.first, slow.last) == (40.0, 69.0)


@pytest.mark.parametrize("seconds", [30, 60])
def test_a_short_window_that_is_slow_now_and_then_is_slow_throughout(seconds):
    slow, _ = few(lambda second: second >= 10 and second % 10 == 0, Window(10, seconds))
    assert (slow.first, slow.last, slow.count) == (10.0, 9.0 + seconds, seconds // 5)


def test_the_rest_of_a_window_is_no_block_of_its_own():
    slow, told = few(lambda second: second == 40, Window(10, 31))
    assert (slow.first, slow.count) == (None, 2)
    assert "; never more than 5 % for long" in told
    whole, _ = few(lambda second: 10 <= second < 41, Window(10, 31))
    assert (whole.first, whole.last) == (10.0, 40.0)


def test_a_single_block_that_is_slow_throughout_is_a_slow_time():
    slow, _ = few(lambda second: 40 <= second < 70, Window(10, 90))
    assert (slow.first, slow.last, slow.count) == (40.0, 69.0, 60)


@pytest.mark.parametrize(
    "sentence", ["the service recovers within 1 seconds", 'the "HighLatency" alert fires within 1 seconds']
)
def test_a_deadline_is_no_limit_of_operations(sentence):
    evidence = evidence_of(lambda *_: 0.5)
    deadline = dataclasses.replace(grammar.criterion(sentence), limit=0.5)
    assert slow_operations(evidence, P95, EVERYTHING, WINDOW) is not None
    assert slow_operations(evidence, deadline, EVERYTHING, WINDOW) is None


def test_clients_that_were_back_too_late_are_told():
    late = grammar.criterion("95% of the clients are back within 500 ms")
    slow = found(lambda *_: 0.5, late, timing=RECONNECT)
    assert (slow.limit, slow.operations) == (0.5, 80 * 60)


@pytest.mark.parametrize("seconds", range(1, 21))
def test_few_operations_of_a_short_window_are_told_as_well(seconds):
    evidence = evidence_of(lambda *_: 0.1, rate=6)
    slow = slow_operations(evidence, P95, EVERYTHING, Window(10, seconds))
    assert slow is None or slow.operations == 6 * seconds
