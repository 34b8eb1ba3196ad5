"""Allure results: one for each criterion, told apart for ever, with all that a reader needs, and nothing he must not see."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest

from loadkit.judging.evidence import Evidence
from loadkit.judging.health import Health
from loadkit.observers.database import DatabaseFacts, Waiting
from loadkit.recording.examples import Example
from loadkit.recording.timing import QUERY, REQUEST
from loadkit.reports import charts
from loadkit.verdict import Status, Window
from steps.suite import allure_results
from steps.suite.evidence import causes_of_result
from steps.suite.outcome import ContextStep
from tests.builders import run_of, samples_of
from tests.evidence import steady_run, window_of
from tests.test_report import generate
from tests.test_terminal import FAIL, INCONCLUSIVE, INVALID, NOT_JUDGED, PASS, finished, outcome

__all__ = ["generate"]

CONTEXT = (
    ContextStep("Given 1000 concurrent users of the API", has_held=True),
    ContextStep("And the load follows", has_held=True, table="| for | users |\n| 1 min | 100 |"),
)


def written(folder, *criteria, runs=None):
    """The results of some criteria, in order of their start."""
    allure_results.write(outcome(*criteria, runs=runs), folder)
    return sorted(read(folder, "*-result.json"), key=lambda entry: entry["start"])


def read(folder, pattern):
    return [json.loads(file.read_text()) for file in (folder / "allure-results").glob(pattern)]


@pytest.fixture(scope="module")
def run():
    return steady_run(
        60,
        20,
        facts={
            "environment": {"version": "1.2", "instances": ["a", "b"], "rows": {"events": 10_000_000}},
            "machine": {"cpu": "Abacus", "cores": 2, "memory_bytes": 8e9},
            "preflight": ["its version: 1.2"],
        },
    )


@pytest.fixture(scope="module")
def evidence(run, tmp_path_factory):
    """A folder with two criteria of one run and their evidence."""
    folder = tmp_path_factory.mktemp("evidence")
    judged = dataclasses.replace(PASS, window=window_of(run))
    other = dataclasses.replace(
        judged, criterion="the p95 response time of the metrics endpoints stays below 500 ms"
    )
    written(folder, finished(judged), finished(other), runs={"A": run})
    return folder


def test_the_structure_of_a_passed_result(tmp_path):
    given = dataclasses.replace(
        finished(PASS, "The <group> endpoints", parameters=(("group", "auth"),)), context=CONTEXT[:1]
    )
    (entry,) = written(tmp_path, given)
    assert re.fullmatch(r"[0-9a-f-]{36}", entry.pop("uuid"))
    assert entry["testCaseId"] == entry.pop("historyId")
    assert re.fullmatch(r"[0-9a-f]{32}", entry.pop("testCaseId"))
    assert entry == {
        "name": "the p95 response time of the auth endpoints stays below 500 ms",
        "fullName": "features/api/peak.feature > The <group> endpoints > group=auth > "
        "the p95 response time of the auth endpoints stays below 500 ms",
        "titlePath": ["features", "api", "peak.feature", "The <group> endpoints (auth)"],
        "status": "passed",
        "start": 1_700_000_000_000,
        "stop": 1_700_000_240_000,
        "descriptionHtml": "<p><b>pass</b>: p95 was 4.31 ms (at most 4.62 ms with 95 % confidence), 116 times below the limit "
        "of 500 ms</p><p><i>It answers at once.</i></p>",
        "labels": [
            {"name": "epic", "value": "API"},
            {"name": "feature", "value": "The API at peak load"},
            {"name": "story", "value": "The <group> endpoints (auth)"},
            {"name": "severity", "value": "critical"},
            {"name": "verdict", "value": "pass"},
            {"name": "environment", "value": "local"},
            {"name": "level", "value": "peak"},
            {"name": "run", "value": "A"},
            {"name": "tag", "value": "API-1"},
            {"name": "tag", "value": "api"},
            {"name": "tag", "value": "peak"},
        ],
        "links": [{"type": "link", "url": "../../features/requirements.toml#API-1", "name": "API-1"}],
        "parameters": [
            {"name": "measured", "value": "4.31 ms", "excluded": True},
            {"name": "limit", "value": "500 ms", "excluded": True},
            {"name": "margin", "value": "116 times below the limit", "excluded": True},
            {"name": "interval", "value": "4.1 – 4.62 ms", "excluded": True},
            {"name": "samples", "value": "12,345", "excluded": True},
            {"name": "independent samples", "value": "4,100", "excluded": True},
            {"name": "window", "value": "hold, seconds 125 to 420 of the run", "excluded": True},
            {"name": "run", "value": "A (run-1)", "excluded": True},
            {"name": "group", "value": "auth"},
        ],
        "steps": [
            {
                "name": "Given 1000 concurrent users of the API",
                "status": "passed",
                "start": 1_700_000_000_000,
                "stop": 1_700_000_000_000,
            },
            {
                "name": "Then the p95 response time of the auth endpoints stays below 500 ms",
                "status": "passed",
                "start": 1_700_000_000_000,
                "stop": 1_700_000_240_000,
            },
        ],
    }


@pytest.mark.slow
def test_a_failed_criterion_says_what_broke_for_whom_and_since_when_and_a_passed_one_does_not(tmp_path):
    kept = Example(30.5, 2.0, "GET /<x>", "status 503", "users", 7, tenant="acme")
    samples = samples_of([30.5, 31.5], [2.0, 2.0], "GET /<x>", "status 503", tenant="acme")
    run = run_of(
        [*samples_of(range(60), [0.1] * 60, "GET /<x>", tenant="globex"), *samples], examples=(kept,)
    )
    failed = dataclasses.replace(
        PASS, criterion="the error rate is below 1%", status=Status.FAIL, window=None
    )
    told, passed = (
        entry["descriptionHtml"]
        for entry in written(tmp_path, finished(failed), finished(PASS), runs={"A": run})
    )
    assert "status 503: 2 of 62 operations (3.23 %); from 0:30 (" in told
    assert "only tenant acme (of 2); GET /&lt;x&gt; (2 times)" in told
    assert "for example GET /&lt;x&gt; at 0:30 (" in told
    assert "what failed, for whom" in told
    assert "what failed, for whom" not in passed


@pytest.mark.parametrize(("limit", "is_slow"), [(50, True), (5000, False)])
def test_a_slow_criterion_names_the_lock_for_which_statements_waited(tmp_path, limit, is_slow):
    waiting = Waiting(9.7, "INSERT INTO orders", "LOCK TABLE orders")
    run = dataclasses.replace(
        run_of(samples_of(range(60), [0.1] * 60)), database=DatabaseFacts(waiting=(waiting,))
    )
    criterion = f"the p95 response time is below {limit} ms"
    status = Status.FAIL if is_slow else Status.PASS
    slow = dataclasses.replace(PASS, criterion=criterion, status=status, window=None)
    (entry,) = written(tmp_path, finished(slow), runs={"A": run})
    words = (
        "<b>the database</b>: statements waited for locks, the first seen at 9.7 s of the run: "
        "INSERT INTO orders; the lock was held by: LOCK TABLE orders"
    )
    assert (words in entry["descriptionHtml"]) is is_slow


@pytest.mark.parametrize(
    ("verdict", "status", "name"),
    [
        (FAIL, "failed", "throughput stays above 1000 requests per second"),
        (
            INCONCLUSIVE,
            "broken",
            "inconclusive · the error rate stays below 1% — rehearsed: 100 of 1000 users, 30 s of 5 min",
        ),
        (INVALID, "broken", "invalid · the p99 response time is below 100 ms"),
        (NOT_JUDGED, "unknown", "not judged · availability is at least 99.9%"),
    ],
)
def test_what_is_no_pass_looks_like_what_it_is(tmp_path, verdict, status, name):
    (entry,) = written(tmp_path, finished(verdict))
    assert (entry["status"], entry["name"]) == (status, name)
    assert entry["statusDetails"]["message"] == f"{verdict.status}: {verdict.reason}"
    assert entry["steps"][-1]["status"] == status


@pytest.mark.parametrize(
    "verdict", [FAIL, INCONCLUSIVE, INVALID, NOT_JUDGED], ids=lambda verdict: verdict.status
)
def test_each_verdict_that_is_no_pass_falls_into_one_category_of_its_own(tmp_path, verdict):
    (entry,) = written(tmp_path, finished(verdict))
    (categories,) = read(tmp_path, "categories.json")
    matching = [
        category["name"]
        for category in categories
        if entry["status"] in category["matchedStatuses"]
        and re.fullmatch(category["messageRegex"], entry["statusDetails"]["message"])
    ]
    assert matching == [
        {
            Status.FAIL: "Failed criterion",
            Status.INCONCLUSIVE: "Not enough evidence",
            Status.INVALID: "Load generator or its machine at fault",
            Status.NOT_JUDGED: "Not judged",
        }[verdict.status]
    ]


def test_a_criterion_keeps_its_identity_whatever_it_came_to_and_wherever_it_stands(tmp_path):
    (before,) = written(tmp_path, finished(PASS, line=10))
    failed = dataclasses.replace(PASS, status=Status.FAIL, measured=0.7, run="run-9")
    (after,) = written(tmp_path, finished(failed, line=99, scenario_line=90, run="C"))
    assert before["testCaseId"] == after["testCaseId"]


def test_no_two_results_of_a_folder_are_the_same_test_case(tmp_path):
    same = [finished(PASS), finished(dataclasses.replace(PASS, status=Status.FAIL)), finished(FAIL)]
    entries = written(tmp_path, *same)
    assert len({entry["testCaseId"] for entry in entries}) == 3
    assert [entry["status"] for entry in entries] == ["passed", "failed", "failed"]


def test_a_second_session_leaves_nothing_of_the_first(tmp_path):
    written(tmp_path, finished(PASS), finished(FAIL))
    assert len(written(tmp_path, finished(PASS))) == 1


def test_start_times_keep_the_gherkin_order_also_of_criteria_judged_at_once(tmp_path):
    criteria = [
        finished(dataclasses.replace(PASS, criterion=f"p95 is below {number} s")) for number in range(20)
    ]
    entries = written(tmp_path, *criteria)
    assert [entry["name"] for entry in entries] == [f"p95 is below {number} s" for number in range(20)]
    assert len({entry["start"] for entry in entries}) == 20


def test_a_rehearsal_says_behind_its_givens_with_what_it_was_rehearsed(tmp_path):
    (entry,) = written(tmp_path, dataclasses.replace(finished(INCONCLUSIVE), context=CONTEXT[:1]))
    assert [step["name"] for step in entry["steps"]][:2] == [
        CONTEXT[0].text,
        "rehearsed with 100 of 1000 users, 30 s of 5 min",
    ]


def test_the_givens_are_its_steps_with_their_tables_and_with_what_went_wrong(tmp_path):
    failed = ContextStep("And the cache is cold", has_held=False, message="nothing can empty it")
    (entry,) = written(tmp_path, dataclasses.replace(finished(NOT_JUDGED), context=(*CONTEXT, failed)))
    assert [step["status"] for step in entry["steps"]] == ["passed", "passed", "broken", "unknown"]
    (table,) = entry["steps"][1]["attachments"]
    assert (tmp_path / "allure-results" / table["source"]).read_text() == CONTEXT[1].table
    assert entry["steps"][2]["statusDetails"]["message"] == "nothing can empty it"


def test_an_advisory_criterion_says_so(tmp_path):
    (entry,) = written(tmp_path, finished(FAIL, tags=("api", "advisory")))
    assert entry["name"].endswith(" — advisory")
    assert {"name": "severity", "value": "minor"} in entry["labels"]


def test_a_rehearsal_and_warnings_are_told_in_the_description(tmp_path):
    verdict = dataclasses.replace(INCONCLUSIVE, warnings=("it <drifted>",))
    (entry,) = written(tmp_path, finished(verdict))
    assert "This was a rehearsal (100 of 1000 users, 30 s of 5 min)" in entry["descriptionHtml"]
    assert "Note: it &lt;drifted&gt;" in entry["descriptionHtml"]


def test_the_charts_of_a_run_are_attached_to_each_of_its_criteria_in_files_of_their_own(evidence):
    entries = read(evidence, "*-result.json")
    names = ["the measure over time", "percentiles", "load", "resources", "errors"]
    shown = [entry["attachments"] for entry in entries]
    assert [[each["name"] for each in row[:5]] for row in shown] == [names, names]
    sources = [each["source"] for row in shown for each in row]
    assert len(set(sources)) == len(sources), "a file that two results name is shown in one of them only"
    for each in (*shown[0][:5], *shown[1][:5]):
        assert (evidence / "allure-results" / each["source"]).read_bytes().startswith(b"<?xml")


def attached(evidence: Path, entry, name: str) -> str:
    (source,) = (each["source"] for each in entry["attachments"] if each["name"] == name)
    return (evidence / "allure-results" / source).read_text()


def test_the_figures_behind_a_criterion_are_those_of_its_own_scope(evidence):
    judged = next(entry for entry in read(evidence, "*-result.json") if "metrics" in entry["name"])
    header, *rows = attached(
        evidence, judged, "second by second: the metrics endpoints, response time"
    ).splitlines()
    due = [int(row.split(",")[header.split(",").index("operations_due")]) for row in rows]
    (shared,) = read(evidence, "*-globals.json")
    whole = (evidence / "allure-results" / shared["attachments"][1]["source"]).read_text().splitlines()[1:]
    assert len(rows) == len(whole)
    assert 0 < sum(due) < sum(int(row.split(",")[header.split(",").index("operations_due")]) for row in whole)


def test_a_criterion_shows_how_well_the_generator_was_and_what_was_looked_at_before(evidence):
    first = read(evidence, "*-result.json")[0]
    told = attached(evidence, first, "health of the load generator")
    assert told.startswith("health: ok")
    assert "its ratio of sent to due operations was 100 % (warning below 99.5 %, invalid below 98 %)" in told
    assert attached(evidence, first, "checks before the load") == "its version: 1.2"


def test_the_health_for_a_mean_is_not_that_for_a_percentile_with_the_same_limit(tmp_path, run):
    both = [
        dataclasses.replace(
            PASS, criterion=f"the {which} response time is below 500 ms", window=window_of(run)
        )
        for which in ("p95", "mean")
    ]
    entries = written(tmp_path, *map(finished, both), runs={"A": run})
    told = [attached(tmp_path, each, "health of the load generator") for each in entries]
    assert ["sent late (p99)" in text for text in told] == [True, False]
    assert ["sent late on average" in text for text in told] == [False, True]


def test_a_verdict_beside_an_overloaded_generator_says_whether_it_depends_on_it(tmp_path, run, monkeypatch):
    overloaded = Health("invalid", ("it sent late",), np.ones(30, bool), ())
    monkeypatch.setattr(Evidence, "health", lambda *_, **__: overloaded)
    judged = [dataclasses.replace(each, window=PASS.window) for each in (PASS, FAIL, INVALID)]
    entries = written(tmp_path, *map(finished, judged), runs={"A": run})
    told = [attached(tmp_path, each, "health of the load generator").splitlines()[1] for each in entries]
    assert told == [
        "  the verdict of this criterion, pass, does not depend on it",
        "  the verdict of this criterion, fail, does not depend on it",
        "  it sent late",
    ]


def test_what_two_criteria_show_is_drawn_once(tmp_path, run, monkeypatch):
    drawn = []
    monkeypatch.setattr("loadkit.reports.charts.load", lambda *_: drawn.append(1) or b"<svg/>")
    failed = dataclasses.replace(FAIL, window=PASS.window)
    written(tmp_path, finished(PASS), finished(failed), runs={"A": run})
    assert len(drawn) == 1


@pytest.mark.slow
def test_a_chart_of_the_run_shades_what_its_own_criterion_did_not_judge(tmp_path, run):
    judged = [dataclasses.replace(PASS, window=Window(start, 30)) for start in (20, 50)]
    entries = written(tmp_path, *map(finished, judged), runs={"A": run})
    for entry, words in zip(entries, ("judged: 0:20 to 0:50", "judged: 0:50 to 1:20"), strict=True):
        for chart in ("load", "resources", "errors"):
            assert words in attached(tmp_path, entry, chart), chart


def test_the_table_behind_a_criterion_has_the_operations_that_it_counts(tmp_path):
    run = run_of(samples_of(np.arange(0, 10, 0.1), np.full(100, 0.02)))
    run.table.record(samples_of([3.0, 3.5], [0.1, 0.1], "overview", "timeout"), timing=QUERY)
    sentences = {
        "the error rate is below 1%": ("all operations", 102),
        "the p95 response time is below 1 s": ("all operations, response time", 100),
        "the p95 query time is below 1 s": ("all operations, query time", 2),
        "CPU utilization stays below 70%": ("all operations", 102),
        "throughput stays above 10 records per second": ("all operations", 102),
    }
    criteria = [finished(dataclasses.replace(FAIL, criterion=each, window=None)) for each in sentences]
    for entry, (words, due) in zip(
        written(tmp_path, *criteria, runs={"A": run}), sentences.values(), strict=True
    ):
        header, *rows = attached(tmp_path, entry, f"second by second: {words}").splitlines()
        place = header.split(",").index("operations_due")
        assert sum(int(row.split(",")[place]) for row in rows) == due


def test_the_percentiles_behind_a_throughput_of_records_are_those_of_operations(tmp_path, run, monkeypatch):
    seen = []

    def draw(_evidence, _window, _scope, timing):
        seen.append(timing)
        return b"<svg/>"

    monkeypatch.setattr(charts, "percentiles", draw)
    sentence = "throughput stays above 10 records per second"
    written(tmp_path, finished(dataclasses.replace(FAIL, criterion=sentence)), runs={"A": run})
    assert seen == [REQUEST.key]


@pytest.mark.parametrize("chart", ["charts.measure", "charts.errors"])
def test_a_chart_that_cannot_be_drawn_costs_that_chart_alone(tmp_path, run, monkeypatch, chart):
    def fails(*_):
        raise ValueError("no\nformula")

    monkeypatch.setattr(f"loadkit.reports.{chart}", fails)
    (entry,) = written(tmp_path, finished(PASS), runs={"A": run})
    name = {"charts.measure": "the measure over time", "charts.errors": "errors"}[chart]
    told = attached(tmp_path, entry, name)
    assert told.startswith(f'cannot make "{name}": ValueError: no formula (')
    assert {each["type"] for each in entry["attachments"] if each["name"] == name} == {"text/plain"}
    assert attached(tmp_path, entry, "load").startswith("<?xml")
    assert ("ValueError: no formula" in entry["descriptionHtml"]) is (chart == "charts.measure")


def test_the_first_chart_stands_in_the_description(evidence):
    for entry in read(evidence, "*-result.json"):
        assert '<img alt="the measure over time" src="data:image/svg+xml;base64,' in entry["descriptionHtml"]


def test_the_tables_of_a_run_are_kept_once_for_all(evidence):
    (shared,) = read(evidence, "*-globals.json")
    assert [shown["name"] for shown in shared["attachments"]] == [
        "Run A · figures",
        "Run A · second by second",
        "Run A · load generator",
    ]
    figures = json.loads((evidence / "allure-results" / shared["attachments"][0]["source"]).read_text())
    assert figures["operations"] > 0


def test_a_sentence_that_is_no_criterion_of_the_grammar_has_the_charts_of_its_run(tmp_path, run):
    own = dataclasses.replace(PASS, criterion="the moon is full")
    (entry,) = written(tmp_path, finished(own), runs={"A": run})
    assert entry["attachments"][0]["name"] == "percentiles"


TWICE = "the p95 response time is at most 2 times that at the baseline load"


@pytest.fixture(scope="module")
def slow():
    """6000 requests of about 120 ms, of which two took 2.4 s."""
    times = np.full(6000, 0.12)
    times[[3000, 3001]] = 2.4
    kept = Example(30.0, 2.4, "GET /", "ok", "users", 7)
    return run_of(samples_of(np.arange(6000) / 100, times), examples=(kept,))


def compared(limit: float | None):
    """A comparison that failed; `limit` is that of its own run, which resulted from it."""
    here = None if limit is None else {"measured": 0.12, "limit": limit, "interval": (0.12, 0.12)}
    return dataclasses.replace(
        FAIL, criterion=TWICE, limit=2.0, unit="times", window=None, details={"here": here, "there": {}}
    )


def test_the_operations_of_a_comparison_are_too_slow_beyond_the_limit_that_results(tmp_path, slow):
    result = finished(compared(0.06)).result
    found = causes_of_result(result, Evidence(slow)).slow
    assert found is not None
    assert (found.limit, found.count) == (0.06, 6000)
    (entry,) = written(tmp_path, finished(compared(0.06)), runs={"A": slow})
    assert "slower than 60 ms: 6,000 of 6,000 requests" in entry["descriptionHtml"]
    assert entry["attachments"][0]["name"] == "the measure over time"


def test_the_causes_of_one_criterion_are_found_once(slow):
    """The terminal, the JSON file and the page show them."""
    evidence = Evidence(slow)
    found = causes_of_result(finished(FAIL).result, evidence)
    assert causes_of_result(finished(FAIL).result, evidence) is found
    assert causes_of_result(finished(FAIL).result, Evidence(slow)) is not found


def test_a_comparison_without_a_limit_of_its_own_run_shows_none(tmp_path, slow):
    assert causes_of_result(finished(compared(None)).result, Evidence(slow)).slow is None
    (entry,) = written(tmp_path, finished(compared(None)), runs={"A": slow})
    assert "slower than" not in entry["descriptionHtml"]
    assert entry["attachments"][0]["name"] == "percentiles"


def test_two_limits_on_the_same_operations_have_pages_of_their_own(tmp_path, slow):
    limits = [
        dataclasses.replace(FAIL, criterion=f"the {which}", window=None)
        for which in ("p95 response time is below 100 ms", "p99 response time is below 50 ms")
    ]
    entries = written(tmp_path, *map(finished, limits), runs={"A": slow})
    pages = [attached(tmp_path, each, "failures and slowest operations: all operations") for each in entries]
    assert ["slower than 100 ms" in page for page in pages] == [True, False]
    assert ["slower than 50 ms" in page for page in pages] == [False, True]


def test_the_report_refuses_results_of_which_some_are_missing(tmp_path, generate, monkeypatch):
    monkeypatch.setattr(generate, "find_node", lambda: pytest.fail("the page would be made"))
    monkeypatch.setattr(allure_results, "_title", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        written(tmp_path, finished(PASS), finished(FAIL))
    results = tmp_path / "allure-results"
    assert (results / "categories.json").exists(), "all other files come before the last one"
    with pytest.raises(generate.ReportError, match=r"only a part of the results: executor\.json is missing"):
        generate.generate(results, tmp_path / "allure")


def test_the_environment_tells_gate_suite_and_runs(evidence):
    lines = (evidence / "allure-results" / "environment.properties").read_text().splitlines()
    told = dict(line.split(" = ", 1) for line in lines)
    assert told["gate"] == "pass (exit 0)"
    assert told["environment"] == "local"
    assert told[r"service\ version"] == "1.2"
    assert told[r"service\ instances"] == "2"
    assert told[r"rows\ of\ events"] == "10,000,000"
    assert told[r"load\ generator"] == "2 cores of Abacus, 8 GB of memory"
    assert re.fullmatch(r"1000 users, \d\d:\d\d:\d\d–\d\d:\d\d:\d\d", told[r"run\ A"])


def test_what_is_to_be_known_of_a_run_is_told_with_each_of_its_criteria(tmp_path, run):
    noted = dataclasses.replace(run, warnings=("its processors were <busy>",))
    (entry,) = written(tmp_path, finished(PASS), runs={"A": noted})
    assert "Note: its processors were &lt;busy&gt;" in entry["descriptionHtml"]


def test_nothing_of_this_machine_or_its_secrets_is_in_any_file(evidence):
    import getpass
    import socket

    everything = b"".join(file.read_bytes() for file in (evidence / "allure-results").iterdir())
    for private in (str(Path.cwd()), str(Path.home()) + "/", socket.gethostname(), f'"{getpass.getuser()}"'):
        assert private.encode() not in everything
    labels = {label["name"] for entry in read(evidence, "*-result.json") for label in entry["labels"]}
    assert not labels & {"host", "thread"}


def test_the_title_of_the_page_is_the_decision_the_tally_and_what_was_judged(evidence, tmp_path):
    (executor,) = read(evidence, "executor.json")
    assert executor["reportName"] == "Gate: pass (exit 0) · 2 criteria: 2 pass · local, service 1.2"
    written(tmp_path, finished(FAIL), finished(PASS))
    (executor,) = read(tmp_path, "executor.json")
    assert executor["reportName"] == "Gate: fail (exit 1) · 2 criteria: 1 pass, 1 fail · local"
