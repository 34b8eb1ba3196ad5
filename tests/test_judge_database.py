"""What a run says of the database: indexes, deadlocks, and acknowledged writes."""

import dataclasses
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from loadkit import grammar
from loadkit.criterion import KEY_QUERIES, OTHERS_DATA
from loadkit.environment.environment import load
from loadkit.judging.evidence import Evidence
from loadkit.observers.database import (
    DatabaseFacts,
    DroppedIndex,
    QueryPlan,
    Scan,
    StoredWrites,
    TableUse,
    WrittenRecord,
    WrongRecords,
)
from loadkit.observers.observation import Judged, Observation, Reading, Series
from loadkit.recording.exact import compared, to_compare
from loadkit.recording.slices import SliceTable
from loadkit.recording.timing import QUERY
from loadkit.recording.writes import RECORDS
from loadkit.reports import protocol_charts
from loadkit.verdict import Status
from loadkit.workload.workload import Model
from tests.builders import judge, plan_of, run_of, samples_of, worker_seconds_of

INDEXES = grammar.criterion("index utilization of the key queries is above 95%")
DEADLOCKS = grammar.criterion("no deadlock occurs")
WRITES = grammar.criterion("every acknowledged write is stored exactly once")
REJECTED = grammar.criterion("no rejected write is stored")
NOTHING_OF_OTHERS = grammar.criterion("no tenant ever sees another tenant's data")
RATE = grammar.criterion("throughput stays above 1000 records per second")
GOOD = Scan("metric_events", "Index Scan", True, "metric_events_by_name", kept=50, removed=0)
BAD = Scan(
    "metric_events", "Seq Scan", True, filter="…", kept=50, removed=900_000, columns=("tenant_id", "name")
)
IN_VAIN = dataclasses.replace(BAD, node="Index Scan", index="metric_events_pkey")
SMALL = Scan("metrics", "Seq Scan", False, kept=12, removed=0)
STORED = StoredWrites(acknowledged=60_000, rejected=2, unknown=3, stored=60_001, lost=WrongRecords(),
                      doubled=WrongRecords(), phantoms=WrongRecords(), unknown_stored=1, placed=60_000)  # fmt: skip


def plan(name: str, *scans: Scan, **changes) -> QueryPlan:
    return QueryPlan(name, "a test", ("Limit",), scans, 0.01, **changes)


def table(by_index: int | None, sequential: int | None) -> TableUse:
    return TableUse(
        "metric_events_2026_11", "metric_events", 90_000, 1 << 30, 10**7, 0, sequential, by_index, 5
    )


def seen(**changes) -> DatabaseFacts:
    stated = {
        "deadlocks": 0,
        "transactions": 90_000,
        "plans": (plan("recent events", GOOD), plan("catalogue", SMALL)),
        "tables": (table(5000, 0),),
        "writes": STORED,
        "writes_due": 60_000,
    }
    return DatabaseFacts(**(stated | changes))


def run_with(facts: DatabaseFacts | None, records: int = 1100, **changes):
    seconds = [
        dataclasses.replace(each, counts=each.counts | {"inserts": {RECORDS: records}})
        for each in worker_seconds_of(60)
    ]
    return run_of([], plan_of(60), worker_seconds=seconds, database=facts, **changes)


def test_indexes_pass_where_each_key_query_and_each_scan_uses_one() -> None:
    verdict = judge(INDEXES, run_with(seen()))
    assert verdict.status is Status.PASS
    assert verdict.reason.startswith(
        "Index utilization of the key queries was 100 % (2 of 2 key queries by plan, 100 % by scans; the lower one counts), "
        "5 points above the limit of 95 %"
    )
    assert "the lower of two shares" in verdict.details["definition"]


@pytest.mark.parametrize(
    ("scan", "why"),
    [
        (BAD, "the query scans the whole table"),
        (IN_VAIN, "900,000 rows are read and discarded, 50 are kept, with index metric_events_pkey"),
    ],
)
def test_a_missing_index_is_named_with_its_query_table_columns_and_the_reason(scan: Scan, why: str) -> None:
    verdict = judge(INDEXES, run_with(seen(plans=(plan("hourly values", scan), plan("recent events", GOOD)))))
    assert (verdict.status, verdict.measured) == (Status.FAIL, 0.5)
    assert verdict.reason.endswith(f'"hourly values": no index on metric_events (tenant_id, name): {why}.')


def test_the_lower_one_of_plans_and_scans_counts() -> None:
    verdict = judge(INDEXES, run_with(seen(tables=(table(80, 20),))))
    assert (verdict.status, verdict.measured) == (Status.FAIL, 0.8)


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (seen(plans=(), problems={"plans": "no answer in time"}), "no answer in time"),
        (
            seen(
                tables=(table(None, None),),
                problems={"statistics": "PostgreSQL was restarted during the run"},
            ),
            "PostgreSQL was restarted",
        ),
        (
            seen(
                tables=(table(None, None),),
                problems={"tables": "canceling statement due to lock timeout"},
            ),
            "but the scans are not known: canceling statement due to lock timeout",
        ),
        (
            seen(plans=(plan("a", GOOD), QueryPlan("b", problem="no column x"))),
            'how "b" is executed is not known: no column x',
        ),
    ],
)
def test_what_is_not_known_of_indexes_is_no_pass(facts: DatabaseFacts, reason: str) -> None:
    verdict = judge(INDEXES, run_with(facts))
    assert verdict.status is Status.INCONCLUSIVE
    assert reason in verdict.reason


@pytest.mark.parametrize("node", ["Index Scan", "Bitmap Heap Scan"])
def test_an_index_whose_discarded_rows_are_only_estimated_is_no_pass_and_not_missing(node: str) -> None:
    estimated = dataclasses.replace(IN_VAIN, node=node, kept=None, removed=None)
    stopped = plan("hourly values", estimated, problem="the example was stopped")
    verdict = judge(INDEXES, run_with(seen(plans=(plan("recent events", GOOD), stopped))))
    assert verdict.status is Status.INCONCLUSIVE
    assert "1 of 1 key queries by plan" in verdict.reason
    assert "the example was stopped" in verdict.reason
    assert (stopped.is_by_index, stopped.missing_indexes) == (None, ())
    assert estimated.in_words == "index metric_events_pkey of metric_events"


def test_an_estimated_plan_is_judged_by_what_needs_no_execution() -> None:
    estimated = dataclasses.replace(IN_VAIN, kept=None, removed=None)
    assert plan("a scan", estimated, BAD).is_by_index is False
    assert plan("no filter", dataclasses.replace(estimated, filter="")).is_by_index is True
    assert plan("a small table", dataclasses.replace(estimated, is_large=False)).is_by_index is True


def test_a_run_without_an_observer_of_the_database_does_not_judge_it() -> None:
    assert judge(INDEXES, run_with(None)).status is Status.NOT_JUDGED
    assert judge(DEADLOCKS, run_with(None)).status is Status.INCONCLUSIVE
    assert judge(WRITES, run_with(None)).status is Status.INCONCLUSIVE


def test_one_deadlock_is_a_fail_and_one_that_is_not_known_is_no_pass() -> None:
    none = judge(DEADLOCKS, run_with(seen()))
    assert none.status is Status.PASS
    assert "of all 90,000" in none.reason
    assert none.reason.endswith("these are the transactions of the run.")
    assert judge(DEADLOCKS, run_with(seen(deadlocks=1))).status is Status.FAIL
    unknown = seen(deadlocks=None, problems={"statistics": "PostgreSQL was restarted during the run"})
    verdict = judge(DEADLOCKS, run_with(unknown))
    assert verdict.status is Status.INCONCLUSIVE
    assert "PostgreSQL was restarted" in verdict.reason


def test_acknowledged_writes_are_stored_once_and_unknown_ones_are_told_apart() -> None:
    verdict = judge(WRITES, run_with(seen()))
    assert verdict.status is Status.PASS
    assert "1 of 3 writes with an unknown outcome are stored" in verdict.reason
    assert verdict.reason.endswith("60,000 writes were acknowledged, and 2 rejected.")


def test_rejected_writes_that_are_not_stored_pass_and_without_any_nothing_is_known() -> None:
    verdict = judge(REJECTED, run_with(seen(writes=dataclasses.replace(STORED, lost=WrongRecords(3)))))
    assert (verdict.status, verdict.samples) == (Status.PASS, 2)
    assert verdict.reason.endswith("60,000 writes were acknowledged, and 2 rejected.")
    without = judge(REJECTED, run_with(seen(writes=dataclasses.replace(STORED, rejected=0))))
    assert without.status is Status.INCONCLUSIVE
    assert without.reason.endswith("60,000 writes were acknowledged, and 0 rejected.")
    unknown = judge(REJECTED, run_with(seen(writes=None, problems={"writes": "permission denied"})))
    assert unknown.status is Status.INCONCLUSIVE
    assert unknown.reason.endswith("permission denied.")


def test_a_rejected_write_that_is_stored_is_a_fail_with_an_example() -> None:
    phantoms = WrongRecords(1, examples=(WrittenRecord("5b"),))
    stored = dataclasses.replace(STORED, phantoms=phantoms, lost=WrongRecords(3))
    verdict = judge(REJECTED, run_with(seen(writes=stored)))
    assert (verdict.status, verdict.measured) == (Status.FAIL, 1)
    assert "1 of 2 compared, and none is allowed: 1 rejected and yet stored (such as 5b)" in verdict.reason
    assert "lost" not in verdict.reason


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"lost": WrongRecords(2, examples=(WrittenRecord("3f"), WrittenRecord("4a")))},
            "2 lost (such as 3f)",
        ),
        ({"doubled": WrongRecords(1, examples=(WrittenRecord("5b"),))}, "1 stored twice (such as 5b)"),
        (
            {"unwritten": WrongRecords(1, examples=(WrittenRecord("6c"),))},
            "1 stored and written by nobody (such as 6c)",
        ),
    ],
)
def test_a_write_that_is_lost_doubled_or_nobodys_is_a_fail_with_an_example(change: dict, words: str) -> None:
    verdict = judge(WRITES, run_with(seen(writes=dataclasses.replace(STORED, **change))))
    assert verdict.status is Status.FAIL
    assert words in verdict.reason


def test_rows_of_which_nobody_knows_who_wrote_them_are_no_pass_and_no_fail() -> None:
    verdict = judge(WRITES, run_with(seen(writes=dataclasses.replace(STORED, foreign=4))))
    assert verdict.status is Status.INCONCLUSIVE
    assert "4 more had to be compared" in verdict.reason
    assert "who wrote 4 other rows of the run is not known" in verdict.reason


def test_writes_that_could_not_be_compared_are_no_pass() -> None:
    verdict = judge(WRITES, run_with(seen(writes=None, problems={"writes": "permission denied"})))
    assert verdict.status is Status.INCONCLUSIVE
    assert "60,000 more had to be compared: permission denied" in verdict.reason


def test_records_per_second_are_those_acknowledged_and_readable() -> None:
    verdict = judge(RATE, run_with(seen()))
    assert (verdict.status, verdict.measured) == (Status.PASS, 1100)
    assert judge(RATE, run_with(seen(), records=900)).status is Status.FAIL
    lost = judge(RATE, run_with(seen(writes=dataclasses.replace(STORED, lost=WrongRecords(3)))))
    assert lost.status is Status.FAIL
    assert "3 acknowledged records are not readable" in lost.reason
    for facts in (None, seen(writes=None, problems={"writes": "permission denied"})):
        assert judge(RATE, run_with(facts)).status is Status.INCONCLUSIVE


def test_records_of_a_population_are_its_own() -> None:
    own = grammar.criterion("throughput of the inserts stays above 1000 records per second")
    other = grammar.criterion("throughput of the users stays above 1000 records per second")
    assert judge(own, run_with(seen())).status is Status.PASS
    assert judge(other, run_with(seen())).status is Status.NOT_JUDGED


@pytest.mark.parametrize("criterion", [WRITES, REJECTED])
def test_the_chart_of_wrong_writes_has_the_seconds_in_which_they_were_written(monkeypatch, criterion) -> None:
    drawn = {}

    def note(_run, _window, lines, *_) -> bytes:
        drawn.update({name: counts.tolist() for name, _, counts in lines})
        return b""

    monkeypatch.setattr(protocol_charts, "criterion_lines", note)
    phantoms = WrongRecords(2, 1.2, 99.0, per_second=(0, 1, *[0] * 97, 1))
    lost = WrongRecords(3, 1.2, 2.5, per_second=(0, 1, 2))
    evidence = Evidence(run_with(seen(writes=dataclasses.replace(STORED, lost=lost, phantoms=phantoms))))
    protocol_charts.exact(evidence, None, criterion)
    nothing = [0] * (evidence.whole.seconds - 3)
    assert drawn.pop("rejected and yet stored") == [0, 1, 0, *nothing[:-1], 1]
    assert drawn == ({"lost": [0, 1, 2, *nothing]} if criterion is WRITES else {})


def test_lock_waits_are_judged_from_their_readings() -> None:
    criterion = grammar.criterion("lock waits never exceeds 10")
    times = 1_700_000_000.0 + np.arange(-1, 62)

    def waits(highest: float) -> Observation:
        values = np.where(np.arange(63) == 30, highest, 0.0)
        return Observation(
            "lock waits", Reading.GAUGE, "number", (Series("", times, values),), 1.0, judged=Judged.P95
        )

    assert judge(criterion, run_with(seen(), observations=[waits(3)])).status is Status.PASS
    assert judge(criterion, run_with(seen(), observations=[waits(30)])).status is Status.FAIL


def test_the_database_is_drawn_and_its_measures_are_defined_there() -> None:
    words = "".join(ET.fromstring(protocol_charts.database(Evidence(run_with(seen())), None)).itertext())
    assert "lock waits: the connections to this database that wait for a lock" in words


@pytest.mark.parametrize(("share", "status"), [(0.999, Status.PASS), (0.8, Status.FAIL)])
def test_a_cache_hit_ratio_is_that_of_the_blocks_of_the_window(share: float, status: Status) -> None:
    times = 1_700_000_000.0 + np.arange(-1, 62)
    accesses = Series("", times, 1e9 + 1e5 * np.arange(63))
    hits = Series("", times, 1e9 + share * 1e5 * np.arange(63))
    observation = Observation(
        "cache hit ratio", Reading.COUNTER, "ratio", (hits,), 1.0, capacity=(accesses,),
        capacity_reading=Reading.COUNTER, judged=Judged.MEAN,
    )  # fmt: skip
    verdict = judge(
        grammar.criterion("cache hit ratio stays above 99%"), run_with(seen(), observations=[observation])
    )
    assert verdict.status is status
    assert verdict.measured == pytest.approx(share, abs=1e-3)


def test_a_query_time_is_that_of_the_named_queries_alone() -> None:
    starts = np.arange(6000) / 100
    table = SliceTable()
    for label, seconds in (("tenant overview", 0.02), ("refresh rollup", 0.9)):
        table.record(samples_of(starts, np.full(6000, seconds), label), timing=QUERY)
    table.record(samples_of(starts, np.full(6000, 0.9), "GET /tenants"))
    run = run_of(table, plan_of(60), groups={KEY_QUERIES: ("tenant overview",)})
    for sentence, status in (
        ("the p95 query time of the key queries stays below 200 ms", Status.PASS),
        ('the mean query time of "tenant overview" is below 100 ms', Status.PASS),
        ("the p95 query time is below 200 ms", Status.FAIL),
        ('the p95 query time of "GET /tenants" is below 1 s', Status.NOT_JUDGED),
    ):
        assert judge(grammar.criterion(sentence), run).status is status, sentence


def test_an_index_that_was_dropped_during_the_run_is_told_with_the_moment() -> None:
    one = (DroppedIndex("events_by_name", "metric_events", 65.0),)
    several = (*one, DroppedIndex("a", "tenants"), DroppedIndex("b", "tenants"))
    facts = seen(plans=(plan("hourly values", BAD),), dropped_indexes=several)
    reason = judge(INDEXES, run_with(facts)).reason
    assert "the index events_by_name of metric_events was dropped 65 s after the start of the run" in reason
    assert "2 indexes of tenants (such as a) were dropped during the run" in reason
    assert "dropped" not in judge(INDEXES, run_with(seen(plans=(plan("hourly values", BAD),)))).reason


def test_the_key_queries_of_an_environment_are_its_named_queries() -> None:
    environment = load("local", Path(__file__).parent.parent)
    names = [query.name for query in environment.key_queries]
    assert "tenant overview" in names
    assert environment._groups()[KEY_QUERIES] == tuple(names)


MISPLACED = dataclasses.replace(
    STORED, misplaced=WrongRecords(2, examples=(WrittenRecord("5b", 3.0, 9, "acme", "globex"),))
)
MISNAMED = dataclasses.replace(STORED, placed=0, unplaced=60_000, misnamed="tenants are numbers")
IDS_ALONE = dataclasses.replace(STORED, placed=None)


@pytest.mark.parametrize("criterion", [WRITES, NOTHING_OF_OTHERS])
def test_a_write_that_is_stored_under_another_tenant_fails_exactness_and_isolation(criterion) -> None:
    verdict = judge(criterion, run_with(seen(writes=MISPLACED)))
    assert (verdict.status, verdict.measured) == (Status.FAIL, 2)
    words = "2 stored under another tenant (such as 5b, written by acme and stored under globex)"
    assert words in verdict.reason
    assert judge(REJECTED, run_with(seen(writes=MISPLACED))).status is Status.PASS


def test_rows_under_the_tenants_of_their_writers_pass_isolation_and_say_so() -> None:
    verdict = judge(NOTHING_OF_OTHERS, run_with(seen()))
    assert (verdict.status, verdict.samples) == (Status.PASS, 60_000)
    assert verdict.reason.endswith("60,000 stored rows are under the tenant of the user who wrote them.")


@pytest.mark.parametrize("tenants", [("acme",), ("acme", "globex")])
def test_stored_rows_alone_are_no_proof_of_isolation_if_all_users_belong_to_one_tenant(tenants) -> None:
    samples = [
        sample._replace(tenant=tenants[number % len(tenants)])
        for number, sample in enumerate(samples_of(np.arange(6000) / 100, np.full(6000, 0.01)))
    ]
    verdict = judge(NOTHING_OF_OTHERS, run_of(samples, plan_of(60), database=seen()))
    assert verdict.status is (Status.INCONCLUSIVE if len(tenants) == 1 else Status.PASS), verdict.reason
    assert ("all users belong to one tenant (acme)" in verdict.reason) == (len(tenants) == 1)


@pytest.mark.parametrize("criterion", [WRITES, NOTHING_OF_OTHERS])
def test_tenants_that_the_database_names_otherwise_are_no_pass_and_no_fail(criterion) -> None:
    verdict = judge(criterion, run_with(seen(writes=MISNAMED)))
    assert verdict.status is Status.INCONCLUSIVE
    assert "under which tenant rows are stored was not compared: tenants are numbers" in verdict.reason


@pytest.mark.parametrize("criterion", [WRITES, NOTHING_OF_OTHERS])
def test_ids_alone_are_compared_and_a_pass_claims_nothing_of_their_tenants(criterion) -> None:
    verdict = judge(criterion, searched_run(seen(writes=IDS_ALONE)))
    assert verdict.status is Status.PASS
    assert "under which tenant rows are stored was not compared: [database] stored" in verdict.reason
    assert "who wrote them" not in verdict.reason


@pytest.mark.parametrize("is_listed", [True, False])
def test_isolation_does_not_pass_where_stored_rows_could_not_be_read(*, is_listed: bool) -> None:
    facts = seen(writes=None, are_rows_listed=is_listed, problems={"writes": "no answer in time"})
    verdict = judge(NOTHING_OF_OTHERS, searched_run(facts))
    assert verdict.status is (Status.INCONCLUSIVE if is_listed else Status.PASS)
    assert "under which tenant rows are stored was not compared: no answer in time" in verdict.reason


def test_a_run_without_writes_says_nothing_of_stored_rows() -> None:
    verdict = judge(NOTHING_OF_OTHERS, searched_run(seen(writes=None, writes_due=0, are_rows_listed=True)))
    assert verdict.status is Status.PASS
    assert verdict.reason.endswith("none of all 100 that had to be compared.")


def test_an_answer_with_data_of_others_is_told_apart_from_the_stored_rows() -> None:
    facts = seen(are_rows_listed=True)
    verdict = judge(NOTHING_OF_OTHERS, searched_run(facts, found=5))
    assert verdict.status is Status.FAIL
    assert f"and none is allowed; {facts.remark(OTHERS_DATA)}" in verdict.reason
    assert "stored rows are under the tenant of the user who wrote them" in verdict.reason


def searched_run(facts: DatabaseFacts, found: int = 0):
    """A run that looked through a hundred answers for the data of other tenants."""
    run = run_with(facts)
    counts = {OTHERS_DATA: found, compared(OTHERS_DATA): 100, to_compare(OTHERS_DATA): 100}
    last = run.worker_seconds[-1]
    run.worker_seconds = (
        *run.worker_seconds[:-1],
        dataclasses.replace(last, counts=last.counts | {"all": counts}),
    )
    return run


@pytest.mark.parametrize("wrong", ["lost", "doubled", "misplaced", "phantoms"])
def test_one_write_that_is_lost_doubled_misplaced_or_stored_though_rejected_fails(wrong) -> None:
    verdict = judge(WRITES, run_with(seen(writes=dataclasses.replace(STORED, **{wrong: WrongRecords(1)}))))
    assert verdict.status is Status.FAIL


def queries_of(failing: float, queries: int = 6000) -> SliceTable:
    """Queries of a minute; a share of them fails."""
    table = SliceTable()
    starts = np.sort(np.random.default_rng(1).uniform(0, 60, queries))
    outcomes = np.where(np.arange(queries) % 100 < 100 * failing, "57014", "ok").tolist()
    table.record(samples_of(starts, np.full(queries, 0.002), "recent events", outcomes), timing=QUERY)
    return table


@pytest.mark.parametrize(
    ("sentence", "failing", "status"),
    [
        ("the error rate is below 1%", 0.0, Status.PASS),
        ("the error rate is below 1%", 0.05, Status.FAIL),
        ('the error rate of "recent events" is below 1%', 0.05, Status.FAIL),
        ("the error rate of the users is below 1%", 0.05, Status.FAIL),
        ("availability is above 99%", 0.05, Status.FAIL),
    ],
)
def test_a_failed_query_is_a_failed_operation(sentence: str, failing: float, status: Status) -> None:
    run = run_of(queries_of(failing), plan_of(60, model=Model.CLOSED))
    assert judge(grammar.criterion(sentence), run).status is status


def test_failed_queries_count_beside_requests() -> None:
    """3000 queries of which a twentieth fails, beside 3000 requests: 2.5 %."""
    table = queries_of(0.05, 3000)
    starts = np.sort(np.random.default_rng(2).uniform(0, 60, 3000))
    table.record(samples_of(starts, np.full(3000, 0.002)))
    verdict = judge(grammar.criterion("the error rate is below 1%"), run_of(table, plan_of(60)))
    assert verdict.status is Status.FAIL
    assert verdict.measured == pytest.approx(0.025)
