"""What broke, for whom and since when follows from counts of all operations, with examples of some."""

import dataclasses
import itertools
import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from loadkit import grammar
from loadkit.criterion import Scope, ScopeKind
from loadkit.drivers.fake import Answer
from loadkit.judging.evidence import Evidence
from loadkit.observers.database import DatabaseFacts, StoredWrites, WrittenRecord, WrongRecords
from loadkit.recording.examples import Example, ExampleLog, Exchange, select
from loadkit.recording.labels import OTHER_FAILURES
from loadkit.recording.messages import DOUBLED
from loadkit.recording.sample import OK, Sample
from loadkit.recording.slices import SliceTable
from loadkit.recording.timing import CONNECT, LIFETIME, MESSAGE, QUERY, REQUEST, ROUND_TRIP, Timing
from loadkit.reports import examples
from loadkit.reports.causes import MOST, causes_of, timings_of
from loadkit.reports.results import plain
from loadkit.target import Account, Secret, Target
from loadkit.verdict import Window
from loadkit.workload.workload import Model
from tests.builders import plan_of, run_of
from tests.virtual_time import ORIGIN, simulate
from tests.virtual_time import plan_of as simulated_plan

SECONDS = 60
WINDOW = Window(10, 50)


def example(timing=REQUEST, outcome=OK, at=20.0, seconds=0.5, **fields):
    fields = {"label": "POST /x", "population": "users", "user": 7} | fields
    return Example(at=at, seconds=seconds, outcome=outcome, timing=timing.key, **fields)


def evidence_of(*parts, kept=(), trace_url=""):
    """A run of operations: timing, label, outcome, seconds at which they begin, and tenant."""
    run = run_of([], plan_of(SECONDS))
    table = SliceTable()
    for timing, label, outcome, starts, tenant in parts:
        table.record(
            [Sample(label, outcome, at, at, at + 0.1, 10, tenant, "Europe") for at in starts], timing=timing
        )
    run.table, run.examples = table, tuple(kept)
    run.facts = {"trace_url": trace_url} if trace_url else {}
    return Evidence(run)


def steady(timing, label, number=1, tenant="acme", outcome=OK):
    return timing, label, outcome, np.repeat(np.arange(SECONDS), number).astype(float), tenant


BROKEN = (
    steady(REQUEST, "POST /x", 2), steady(REQUEST, "GET /y", 2, "globex"),
    (REQUEST, "POST /x", "status 503", [30.5, 31.0, 32.0, 41.0], "acme"),
)  # fmt: skip


def failures_of(*parts, **how):
    return {each.kind: each for each in causes_of(evidence_of(*parts), window=WINDOW, **how).failures}


def test_a_kind_of_failure_is_counted_in_the_window_and_dated_in_the_run():
    parts = (*BROKEN, (REQUEST, "POST /x", "status 503", [2.0], "acme"))
    failure = failures_of(*parts)["status 503"]
    assert (failure.count, failure.operations) == (4, 204)
    assert (failure.first, failure.last) == (2.0, 41.0)
    assert failure.by_label == {"POST /x": 4}


def test_a_failure_in_the_window_and_one_before_it_are_not_told_as_one_moment():
    parts = (*BROKEN[:2], (REQUEST, "POST /x", "status 503", [2.0, 30.5], "acme"))
    kept = [example(outcome="status 503", at=2.0), example(outcome="status 503", at=30.5)]
    causes = causes_of(evidence_of(*parts, kept=kept), window=WINDOW)
    told, shown, *_ = examples.sentences(causes)
    assert told.startswith("status 503: 1 of 201 operations (0.498 %); from 0:02 (")
    assert " to 0:30 (" in told
    assert shown.startswith("for example POST /x at 0:30 ("), "the one that was counted"
    assert [each.at for each in causes.failures[0].examples] == [30.5, 2.0]


@pytest.mark.parametrize("number", [1, 3])
def test_failures_of_one_second_are_told_as_that_moment_also_at_the_end_of_the_load(number):
    parts = (REQUEST, "GET /y", "timeout", [58.0 + place / 10 for place in range(number)], "")
    told = next(examples.sentences(causes_of(evidence_of(parts))))
    assert "; at 0:58 (" in told


def test_examples_of_kinds_beyond_the_counted_ones_are_of_the_other_failures():
    others = [5.0, *np.linspace(20, 40, 100)]
    counted = example(MESSAGE, DOUBLED, seconds=0.0, label="WS /s")
    kept = [example(outcome=f"check: order {at} is missing", at=at) for at in others[:20]]
    parts = (*BROKEN, (REQUEST, "POST /x", OTHER_FAILURES, others, "acme"), steady(MESSAGE, "WS /s"))
    evidence = evidence_of(*parts, kept=[*kept, counted])
    causes = causes_of(evidence, timings=("request", "message"), window=WINDOW)
    assert causes.failures_by_kind == {OTHER_FAILURES: 100, "status 503": 4, DOUBLED: 1}
    assert sum(causes.by_timing["request"].failures_by_kind.values()) == causes.by_timing["request"].failed
    (other,) = (each for each in causes.failures if each.kind == OTHER_FAILURES)
    assert {each.outcome for each in other.examples} == {each.outcome for each in kept}


def test_a_fault_with_a_count_of_its_own_is_none_of_the_other_failures():
    kept = [example(outcome="data of another tenant (acme)"), example(outcome="check: order 7 is missing")]
    evidence = evidence_of(*BROKEN, (REQUEST, "POST /x", OTHER_FAILURES, [20.0], "acme"), kept=kept)
    second = evidence.run.worker_seconds[20]
    counts = {"users": {"data of another tenant (acme)": 9}}
    evidence.run.worker_seconds = (dataclasses.replace(second, counts=counts),)
    found = causes_of(evidence, window=WINDOW).failures_by_kind
    assert found == {"data of another tenant (acme)": 9, "status 503": 4, OTHER_FAILURES: 1}


def test_data_of_several_tenants_is_one_fault_and_rare_answers_with_it_have_an_end():
    owners = {"acme": [20.0, 58.0], "globex": [30.0], "initech": [24.0]}
    kept = [
        example(outcome=f"data of another tenant ({owner})", at=at)
        for owner, moments in owners.items()
        for at in moments
    ]
    evidence = evidence_of(*BROKEN, kept=kept)
    seconds = list(evidence.run.worker_seconds)
    for owner, moments in owners.items():
        for at in moments:
            counts = {"users": {f"data of another tenant ({owner})": 1}}
            seconds[int(at)] = dataclasses.replace(seconds[int(at)], counts=counts)
    evidence.run.worker_seconds = tuple(seconds)
    found = {each.kind: each for each in causes_of(evidence, window=WINDOW).failures}
    leak = found["data of another tenant (acme 2, globex 1, initech 1)"]
    assert (leak.count, leak.first, leak.last) == (4, 20.0, 58.0)
    assert [each.at for each in leak.examples] == [20.0, 24.0, 30.0, 58.0]


def test_a_failure_until_the_end_of_the_load_has_no_end():
    (failure,) = failures_of((REQUEST, "GET /y", "timeout", range(33, SECONDS), "")).values()
    assert (failure.first, failure.last) == (33.0, None)


def test_it_tells_which_tenants_have_a_failure_and_of_how_many():
    assert failures_of(*BROKEN)["status 503"].whom == "only tenant acme (of 2); region Europe"
    both = failures_of(*BROKEN, (REQUEST, "GET /y", "status 503", [40.0], "globex"))
    assert "all 2 tenants (acme 4, globex 1)" in both["status 503"].whom


def test_of_a_part_of_the_operations_the_examples_tell_whose_they_are():
    kept = [example(outcome="status 503", tenant="acme", exchange=Exchange("POST /x", instance="m-2"))] * 2
    scope = Scope(ScopeKind.LABEL, "POST /x")
    (failure,) = causes_of(evidence_of(*BROKEN, kept=kept), scope, window=WINDOW).failures
    assert failure.whom == "in the 2 examples: tenant acme, instance m-2"


def test_a_failure_of_another_label_or_timing_is_no_cause():
    parts = (*BROKEN, (QUERY, "overview", "timeout", [40.0], "acme"), steady(QUERY, "overview"))
    assert set(failures_of(*parts, scope=Scope(ScopeKind.LABEL, "GET /y"))) == set()
    assert set(failures_of(*parts, timings=("query",))) == {"timeout"}
    assert set(failures_of(*parts)) == {"timeout", "status 503"}


def test_a_fault_that_is_no_operation_has_the_number_of_its_count():
    evidence = evidence_of(
        steady(MESSAGE, "WS /s"), kept=[example(MESSAGE, DOUBLED, seconds=0.0, label="WS /s")]
    )
    second = evidence.run.worker_seconds[20]
    evidence.run.worker_seconds = (dataclasses.replace(second, counts={"users": {DOUBLED: 17}}),)
    causes = causes_of(evidence, timings=("message",))
    assert causes.failures_by_kind == {DOUBLED: 17}
    assert next(examples.sentences(causes)).startswith(
        "messages doubled: 17 times (1 kept as an example); at 0:20 ("
    )


@pytest.mark.parametrize(
    ("sentence", "timings"),
    [
        ("the p95 response time is below 500 ms", ("request",)),
        ('the mean query time of "overview" is below 100 ms', ("query",)),
        ("the error rate is below 1%", ("request", "query", "roundtrip")),
        ("the connection success rate is above 99%", ("connect",)),
        ("the p99 connection time stays below 1 s", ("connect",)),
        ("at least 1000 connections stay open", ("connect", "lifetime")),
        ("95% of the clients are back within 10 seconds", ("reconnect", "connect")),
        ("no message is lost", ("message", "lifetime")),
        ("the p95 message latency is below 100 ms", ("message",)),
        ("no tenant ever sees another tenant's data", ("request", "query", "roundtrip", "message")),
        ("CPU utilization stays below 70%", ("request", "query", "roundtrip")),
        ("no alert fires", ("request", "query", "roundtrip")),
        ("the uptime is above 99%", ("request", "query", "roundtrip")),
    ],
)  # fmt: skip
def test_a_criterion_is_about_the_operations_of_its_timing(sentence, timings):
    assert timings_of(grammar.criterion(sentence)) == timings


def test_a_criterion_on_one_timing_shows_the_slowest_of_that_timing():
    kept = [
        example(REQUEST, seconds=9.0),
        example(QUERY, seconds=2.0, label="overview"),
        example(QUERY, seconds=3.0, label="overview"),
    ]
    causes = causes_of(evidence_of(*BROKEN, steady(QUERY, "overview"), kept=kept), timings=("query",))
    assert list(causes.by_timing) == ["query", "request"]
    assert [each.seconds for each in causes.by_timing["query"].slowest] == [3.0, 2.0]
    assert list(examples.sentences(causes))[-1].startswith("the longest query time: overview at 0:20 (")
    page = examples.page(causes).decode()
    assert page.index("Slowest operations: query time") < page.index(
        "<details><summary>Slowest operations: response time"
    )


def test_the_lifetimes_of_connections_have_no_slowest():
    causes = causes_of(
        evidence_of(kept=[example(LIFETIME, "closed 1006", seconds=9.0)]), timings=("lifetime",)
    )
    assert causes.by_timing["lifetime"].slowest == ()
    assert causes.failures_by_kind == {"closed 1006": 1}


def test_examples_and_slowest_are_bounded_and_each_kind_has_its_share():
    kept = [
        example(outcome=f"status {500 + kind}", at=float(at), seconds=at + kind)
        for at in range(1, 41)
        for kind in range(3)
    ]
    parts = [
        (REQUEST, "POST /x", f"status {500 + kind}", [20.0 + kind] * (3 - kind), "") for kind in range(3)
    ]
    causes = causes_of(evidence_of(*parts, kept=kept))
    assert len(causes.examples) == len(causes.by_timing["request"].slowest) == MOST
    assert {each.outcome for each in causes.examples} == {"status 500", "status 501", "status 502"}
    assert max(each.at for each in causes.examples) == 7.0


def test_the_json_of_a_criterion_has_kinds_examples_and_timings_and_its_examples_fit_the_schema():
    kept = [example(outcome="status 503", exchange=Exchange("POST /x", "503", "m-2", "a" * 32), service=0.1)]
    data = plain(causes_of(evidence_of(*BROKEN, kept=kept), window=WINDOW).to_json())
    assert data["failures_by_kind"] == {"status 503": 4}
    assert set(data) == {"failures_by_kind", "examples", "by_timing"}
    assert {key: data["by_timing"]["request"][key] for key in ("name", "operations", "failed", "failures_by_kind")} == {
        "name": "response time", "operations": 204, "failed": 4, "failures_by_kind": {"status 503": 4}
    }  # fmt: skip
    schema = json.loads((Path(examples.__file__).parent / "run.schema.json").read_text())
    for each in (*data["examples"], *data["by_timing"]["request"]["slowest"]):
        jsonschema.validate(each, schema["properties"]["examples"]["items"])


def test_failures_outside_recorded_operations_have_examples_in_the_causes_and_their_json():
    # Log-ins fail for ten seconds; in the end the service hangs, and more arrive than it may have in flight.
    def service(now, method, path):
        if path.startswith("/login"):
            return Answer(0.01, status_code=500 if now < ORIGIN + 10 else 200, body=b"no room")
        return Answer(0.01 if now < ORIGIN + 30 else 1000.0)

    plan = simulated_plan(
        "tests.sample_journeys.arriving:work",
        model=Model.REQUESTS,
        level=20,
        seconds=SECONDS,
        max_in_flight=300,
        timeout=500.0,
        drain=5.0,
    )
    accounts = tuple(Account(f"user{number}", Secret("x"), "acme") for number in range(200))
    target = Target("fake", "http://fake", accounts=accounts, journeys="tests.sample_journeys.arriving")
    load = simulate(plan, service, target=target)
    run = run_of(load.table, plan, worker_seconds=load.worker_seconds)
    run.examples = select(load.examples)
    causes = causes_of(Evidence(run))
    data = plain(causes.to_json())
    assert set(data["failures_by_kind"]) == {"status 500", "unfinished", "dropped"}
    by_kind = {
        kind: [each for each in data["examples"] if each["outcome"] == kind]
        for kind in data["failures_by_kind"]
    }
    assert all(len(same) >= 5 for same in by_kind.values())
    (label,) = {each["label"] for each in by_kind["status 500"]}
    assert label == "(arrival)"
    assert all(each["tenant"] == "acme" for same in by_kind.values() for each in same)
    shown = by_kind["status 500"][0]["exchange"]
    assert shown["request"].startswith("POST /login")
    assert shown["answer"].splitlines()[0] == "500"
    assert "no room" in shown["answer"]
    assert {each["user"] is None for each in by_kind["dropped"]} == {True}
    schema = json.loads((Path(examples.__file__).parent / "run.schema.json").read_text())
    for each in data["examples"]:
        jsonschema.validate(each, schema["properties"]["examples"]["items"])
    page = examples.page(causes).decode()
    for words in ("(arrival)", "no room", "unfinished", "dropped"):
        assert words in page, words
    assert "None" not in page
    assert "(no user, of acme)" in "\n".join(examples.sentences(causes))


def test_the_page_alone_tells_what_broke_for_whom_and_since_when_with_an_example_and_its_trace():
    kept = [example(outcome="status 503", at=30.5, seconds=2.0, tenant="acme", region="Europe", service=0.5,
                    exchange=Exchange("POST /x\n\n{}", "503\n\nno room", "m-2", "a" * 32))]  # fmt: skip
    evidence = evidence_of(*BROKEN, kept=kept, trace_url="http://traces/{trace}")
    page = examples.page(causes_of(evidence, window=WINDOW)).decode()
    for cell in ("status 503", "4 of 204 operations (1.96 %)", "only tenant acme (of 2)", "m-2", "acme", "Europe",
                 "2 s (sent 1.5 s after it was due)", f'href="http://traces/{"a" * 32}"', "no room", "from 0:30 ("):  # fmt: skip
        assert cell in page, cell


def test_of_many_lost_writes_a_sentence_names_three():
    examples_of_lost = tuple(WrittenRecord(f"{number:x}", 30.5, 12, "acme") for number in range(20))
    lost = WrongRecords(38, 30.5, 58.0, {"acme": 38}, examples_of_lost)
    evidence = evidence_of(*BROKEN)
    nothing = WrongRecords()
    evidence.run.database = DatabaseFacts(
        writes=StoredWrites(1000, 3, 0, 963, lost, nothing, nothing, 0, nothing, tenants=5)
    )
    criterion = grammar.criterion("every acknowledged write is stored exactly once")
    found = causes_of(evidence, timings=timings_of(criterion), window=WINDOW, criterion=criterion)
    first, *_ = examples.sentences(found)
    assert first.endswith("; record 0, record 1, record 2, …")


def test_if_the_instance_of_some_wrong_records_is_not_known_a_sentence_says_so():
    doubled = WrongRecords(100, 30.5, 58.0, by_instance={"m-1": 1})
    evidence, nothing = evidence_of(*BROKEN), WrongRecords()
    evidence.run.database = DatabaseFacts(
        writes=StoredWrites(1, 0, 99, 200, nothing, doubled, nothing, 99, instances=2)
    )
    criterion = grammar.criterion("every acknowledged write is stored exactly once")
    first, *_ = examples.sentences(causes_of(evidence, window=WINDOW, criterion=criterion))
    assert first.endswith("; of 1 the instance is known: only instance m-1 (of 2)")


def test_lost_writes_come_before_failed_operations_and_tell_since_when_and_for_whom():
    of_acme = WrittenRecord("3f", 30.5, 12, "acme", instance="m-2")
    lost = WrongRecords(
        *(38, 30.5, 58.0, {"acme": 30, "globex": 8}, (of_acme, WrittenRecord("4a", 58.0, 8, "globex"))),
        by_instance={"m-2": 38},
    )
    phantoms = WrongRecords(1, examples=(WrittenRecord("5b"),))
    evidence = evidence_of(*BROKEN)
    evidence.run.database = DatabaseFacts(
        writes=StoredWrites(
            *(1000, 3, 0, 963, lost, WrongRecords(), phantoms, 0, WrongRecords(2)), tenants=5, instances=2
        )
    )
    criterion = grammar.criterion("every acknowledged write is stored exactly once")
    found = causes_of(evidence, timings=timings_of(criterion), window=WINDOW, criterion=criterion)
    assert [each.kind for each in found.failures] == [
        "acknowledged, but not stored", "rejected, but stored", "stored, but written by nobody", "status 503"
    ]  # fmt: skip
    first, example, second, *_ = examples.sentences(found)
    assert first.startswith("acknowledged, but not stored: 38 of 1,000 records (3.8 %); from 0:30 (")
    assert first.endswith(
        "to the end of the load; 2 of 5 tenants (acme 30, globex 8); only instance m-2 (of 2); record 3f, record 4a"
    )
    assert example.endswith("acknowledged, but not stored (user 12, of acme, from m-2)")
    assert second == "rejected, but stored: 1 of 3 records (33.3 %); at a time that is not known"
    page = examples.page(found).decode()
    for words in ("<td>12</td>", "<td>m-2</td>", "record 3f", "acknowledged, but not stored"):
        assert words in page
    assert found.to_json()["failures_by_kind"]["acknowledged, but not stored"] == 38
    rejected = grammar.criterion("no rejected write is stored")
    assert [each.kind for each in causes_of(evidence, window=WINDOW, criterion=rejected).failures] == [
        "rejected, but stored", "status 503"
    ]  # fmt: skip
    isolation = grammar.criterion("no tenant ever sees another tenant's data")
    misplaced = WrongRecords(2, 30.5, 30.5, {"acme": 2}, (WrittenRecord("6c", 30.5, 12, "acme", "globex"),))
    facts = evidence.run.database
    evidence.run.database = dataclasses.replace(
        facts, writes=dataclasses.replace(facts.writes, misplaced=misplaced, placed=963)
    )
    found = causes_of(evidence, window=WINDOW, criterion=isolation)
    assert [each.kind for each in found.failures] == ["stored under another tenant", "status 503"]
    assert next(iter(examples.sentences(found))).startswith(
        "stored under another tenant: 2 of 963 records (0.208 %);"
    )
    assert "record 6c is stored under globex" in examples.page(found).decode()
    other = grammar.criterion("p95 stays below 500 ms")
    assert {each.kind for each in causes_of(evidence, window=WINDOW, criterion=other).failures} == {
        "status 503"
    }


def test_an_address_in_a_trace_that_is_not_plain_cannot_leave_its_attribute():
    kept = [example(outcome="timeout", exchange=Exchange("<b>", "<script>", '"><i', "a" * 32))]
    page = examples.page(causes_of(evidence_of(kept=kept, trace_url='http://t/"><script>{trace}'))).decode()
    assert "<script>" not in page
    assert "<b>GET" not in page
    assert '"><i' not in page


def test_of_all_workers_the_slowest_of_each_timing_remain():
    kept = [
        example(timing, seconds=number) for timing in (REQUEST, QUERY, CONNECT) for number in range(1, 20)
    ]
    found = select(kept)
    for timing in (REQUEST, QUERY, CONNECT):
        assert sorted(each.seconds for each in found if each.timing == timing.key) == [15, 16, 17, 18, 19]


def test_timings_without_end_take_no_memory_without_end():
    log, wanted = ExampleLog(), 0
    for number, outcome in itertools.product(range(1000), (OK, "timeout")):
        sample = Sample("x", outcome, 0.0, 0.0, 1.0, 0)
        wanted += log.wants(sample, Timing(f"t{number}", "t"))
    assert wanted <= 2 * 5 * 200
    assert log.wants(Sample("x", OK, 0.0, 0.0, 1.0, 0), ROUND_TRIP) is False
    assert log.slow_from(ROUND_TRIP)["x"] == float("inf")
