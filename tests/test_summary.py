import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest

import loadkit
from loadkit.judging.evidence import Evidence
from loadkit.recording.slices import Kind, worker_series
from loadkit.recording.timing import QUERY
from loadkit.reports import table
from loadkit.reports.summary import summarise, verdict_json
from loadkit.verdict import Window
from loadkit.workload.workload import Model
from tests.builders import error_rate, judge, plan_of, response_time, run_of, samples_of, worker_seconds_of

SCHEMA = json.loads((Path(loadkit.__file__).parent / "reports" / "run.schema.json").read_text())


def a_run(failed=0.02, model=Model.CLOSED, **changes):
    random = np.random.default_rng(1)
    starts = np.sort(random.uniform(0, 60, 6000))
    outcomes = np.where(random.uniform(size=6000) < failed, "status 500", "ok").tolist()
    labels = np.where(random.uniform(size=6000) < 0.25, "POST /b", "GET /a").tolist()
    samples = samples_of(starts, random.exponential(0.02, 6000), labels, outcomes)
    run = run_of(samples, plan_of(60, model=model), worker_seconds=worker_seconds_of(60), **changes)
    run.table.count(Kind.LAG, worker_series(0), starts, np.full(6000, 0.001))
    run.table.count(Kind.LATENESS, worker_series(0), starts, np.full(6000, 0.0002))
    return run


def summary_of(run):
    figures = summarise(Evidence(run))
    verdicts = [judge(criterion, run) for criterion in (response_time(), response_time(0.99), error_rate())]
    return figures | {"verdicts": [verdict_json(verdict) for verdict in verdicts]}


def test_a_run_with_regions_has_their_figures_and_a_table_of_them():
    samples = [
        *samples_of(np.linspace(0, 59, 100), np.full(100, 0.1), region="Asia"),
        *samples_of(np.linspace(0, 59, 50), np.full(50, 0.02), outcome="status 500", region="Europe"),
    ]
    evidence = Evidence(run_of(samples, plan_of(60), worker_seconds=worker_seconds_of(60)))
    figures = summarise(evidence)
    assert {name: each["operations"] for name, each in figures["by_region"].items()} == {
        "Asia": 100,
        "Europe": 50,
    }
    assert figures["by_region"]["Europe"]["failures_by_kind"] == {"status 500": 50}
    told = [line.split() for line in table.lines(evidence, figures, [])]
    assert ["by", "region", "operations", "errors", "median", "p95"] in told
    assert ["Asia", "100", "0", "%", "100", "ms", "100", "ms"] in told


@pytest.mark.parametrize(
    "run",
    [
        a_run(),
        a_run(failed=0.0),
        a_run(failed=1.0),
        a_run(model=Model.REQUESTS),
        a_run(ended="interrupted", ended_at=1.0),
        run_of([], plan_of(60)),
    ],
    ids=["some failed", "none failed", "all failed", "open", "cut short", "nothing"],
)
def test_the_json_is_as_its_schema_says(run):
    data = json.loads(json.dumps(summary_of(run), allow_nan=False))
    jsonschema.validate(data, SCHEMA)


def test_the_schema_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_the_figures_are_those_of_the_window():
    run = a_run()
    figures = summarise(Evidence(run), Window(10, 30))
    assert figures["window"]["start"] == run.started + 10
    assert figures["operations"] == pytest.approx(3000, rel=0.05)
    assert figures["throughput"] == pytest.approx(figures["operations"] * 0.98 / 30, rel=0.02)
    assert figures["error_rate"] == figures["failed"] / figures["operations"]
    assert figures["response_time_ok"]["p95"] == pytest.approx(0.06, rel=0.1)
    assert figures["lateness"]["p99"] == pytest.approx(0.0002, rel=0.002)
    assert figures["generator"]["loop_lag_p99"] == pytest.approx(0.001, rel=0.002)
    assert figures["generator"]["cpu_seconds"] == pytest.approx(3)
    assert figures["held"] == {"stated": 100, "mean": 100, "min": 100}


def test_a_percentile_among_the_failed_is_null_and_says_so():
    figures = summarise(Evidence(a_run(failed=0.02)), Window(0, 60))["response_time"]
    assert figures["p99"] is None
    assert figures["p95"] is not None
    assert figures["censored"] is True
    assert "censored" not in summarise(Evidence(a_run(failed=0.0)), Window(0, 60))["response_time"]


def test_the_times_of_successes_are_not_those_of_what_timed_out():
    starts = np.arange(0, 60, 0.1)
    outcomes = ["timeout", *["ok"] * 599]
    times = np.where(np.arange(600) < 1, 10.0, 0.1)
    figures = summarise(
        Evidence(run_of(samples_of(starts, times, outcome=outcomes), plan_of(60))), Window(0, 60)
    )
    assert figures["response_time_ok"]["mean"] == pytest.approx(0.1)
    assert figures["response_time_ok"]["max"] == pytest.approx(0.1)
    # The time of a failed operation is read from its bucket, within 0.1 %.
    assert figures["response_time"]["mean"] == pytest.approx((10 + 599 * 0.1) / 600, rel=0.001)


def test_the_longest_service_time_is_its_own_and_not_that_of_the_response():
    starts = np.arange(0, 60, 0.1)
    figures = summarise(
        Evidence(run_of(samples_of(starts, np.full(600, 0.5), late=0.2), plan_of(60))), Window(0, 60)
    )
    assert figures["response_time"]["max"] == pytest.approx(0.5)
    assert figures["service_time"]["max"] == pytest.approx(0.3, rel=0.002)


def test_labels_add_up_to_the_whole():
    figures = summarise(Evidence(a_run()), Window(0, 60))
    labels = figures["by_label"]
    assert set(labels) == {"GET /a", "POST /b"}
    for key in ("operations", "failed"):
        assert sum(each[key] for each in labels.values()) == figures[key]


def test_failures_are_counted_by_kind_in_all_and_by_label():
    starts = np.arange(0, 60, 0.1)
    kinds = ["status 500"] * 38 + ["timeout"] * 2 + ["ok"] * 560
    labels = ["GET /a"] * 10 + ["POST /b"] * 590
    run = run_of(samples_of(starts, np.full(600, 0.1), labels, kinds), plan_of(60))
    figures = summarise(Evidence(run), Window(0, 60))
    assert list(figures["failures_by_kind"].items()) == [("status 500", 38), ("timeout", 2)]
    by_label = {label: each["failures_by_kind"] for label, each in figures["by_label"].items()}
    assert by_label == {"GET /a": {"status 500": 10}, "POST /b": {"status 500": 28, "timeout": 2}}
    assert sum(figures["failures_by_kind"].values()) == figures["failed"]
    later = summarise(Evidence(run), Window(30, 30))
    assert later["failures_by_kind"] == {}


def test_the_table_says_how_operations_failed_and_not_only_that():
    kinds = (
        ["status 500"] * 38 + ["timeout"] * 2 + [f"check: number {kind}" for kind in range(10)] + ["ok"] * 550
    )
    run = run_of(samples_of(np.arange(0, 60, 0.1), np.full(600, 0.1), outcome=kinds[::-1]), plan_of(60))
    evidence = Evidence(run)
    told = table.lines(evidence, summarise(evidence), [])
    (at,) = [number for number, line in enumerate(told) if line.startswith("  failed ")]
    assert told[at].split()[:2] == ["failed", "50"]
    assert [line.split(maxsplit=1) for line in told[at + 1 : at + 3]] == [
        ["38", "status 500"],
        ["2", "timeout"],
    ]
    assert told[at + 9].strip() == "and 4 more kinds"
    assert max(map(len, told)) <= 100


def test_what_a_stall_kept_away_is_in_the_response_time_and_not_in_the_successes():
    starts = np.concatenate([np.arange(0, 20, 0.01), np.arange(40, 60, 0.01)])
    run = run_of(
        samples_of(starts, np.full(4000, 0.01)), plan_of(60, model=Model.CLOSED), stalls=[(20.0, 40.0)]
    )
    figures = summarise(Evidence(run), Window(0, 60))
    assert figures["filled"] == pytest.approx(2000, rel=0.01)
    assert figures["response_time"]["p95"] > 10
    assert figures["response_time_ok"]["p95"] < 0.02
    assert figures["operations"] == 4000


def test_without_a_steady_window_the_whole_run_is_shown_with_a_warning():
    figures = summarise(Evidence(a_run(ended="interrupted", ended_at=1.0)))
    assert figures["window"]["seconds"] == 1
    assert any("no steady window" in warning for warning in figures["warnings"])


def test_a_bound_that_is_infinite_is_null():
    run = a_run(failed=0.01)
    data = verdict_json(judge(response_time(0.99), run))
    assert data["interval"][1] is None
    assert data["status"] in {"fail", "inconclusive"}


def test_the_table_of_a_run_of_queries_alone_has_no_error_rate_of_requests():
    run = run_of([], plan_of(60))
    run.table.record(samples_of(np.arange(60.0), np.full(60, 0.01), "recent events"), timing=QUERY)
    evidence = Evidence(run)
    told = table.lines(evidence, summarise(evidence), [])
    assert ["failed", "0", "-"] in [line.split() for line in told]
