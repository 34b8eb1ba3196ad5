"""The table that ends a session reads the same in 80 columns, in a pipeline's log and without colour."""

import dataclasses
import io
import math
import re

import pytest
from rich.console import Console

from loadkit.judging.evidence import Evidence
from loadkit.recording.ending import INTERRUPTED
from loadkit.verdict import Status, Verdict, Window
from steps.suite import terminal
from steps.suite.outcome import Finished, Outcome, run_line
from steps.suite.results import CriterionResult
from steps.suite.terminal import figures, show
from tests.evidence import steady_run

PASS = Verdict(
    "the p95 response time of the auth endpoints stays below 500 ms",
    Status.PASS,
    "p95 was 4.31 ms (at most 4.62 ms with 95 % confidence), 116 times below the limit of 500 ms",
    measured=0.00431, limit=0.5, unit="s", interval=(0.0041, 0.00462), samples=12345, effective_samples=4100.0,
    window=Window(125, 295), run="run-1",
)  # fmt: skip
FAIL = Verdict(
    "throughput stays above 1000 requests per second", Status.FAIL, "throughput was 912 per second, 8.8 % below the limit",
    measured=912.0, limit=1000.0, unit="per second", interval=(905.0, 920.0), samples=295, run="run-1",
)  # fmt: skip
INCONCLUSIVE = Verdict(
    "the error rate stays below 1%", Status.INCONCLUSIVE, "the error rate was between 0.8 % and 1.3 %; 4 min more would tell",
    measured=0.0101, limit=0.01, unit="ratio", interval=(0.008, 0.013), samples=900, run="run-1",
    rehearsed="100 of 1000 users, 30 s of 5 min",
)  # fmt: skip
INVALID = Verdict(
    "the p99 response time is below 100 ms", Status.INVALID, "the load generator's event loop lagged by 40 ms",
    limit=0.1, unit="s", run="run-1",
)  # fmt: skip
NOT_JUDGED = Verdict("availability is at least 99.9%", Status.NOT_JUDGED, "only 12 accounts for 1000 users")


def finished(
    verdict, scenario="The endpoints answer quickly", tags=("api", "peak", "API-1"), line=10, **changes
):
    result = CriterionResult(
        "The API at peak load", "features/api/peak.feature", scenario, 8, line, "Then", verdict.criterion, tags, (),
        verdict, "A" if verdict.run else "", 1_700_000_000.0, 1_700_000_240.0,
    )  # fmt: skip
    return Finished(dataclasses.replace(result, **changes), promise="It answers at once.")


def outcome(*criteria, runs=None):
    return Outcome(
        criteria,
        "local",
        1_700_000_000.0,
        1_700_000_300.0,
        {letter: Evidence(run) for letter, run in (runs or {}).items()},
    )


def printed(result, width=80, **settings):
    held = io.StringIO()
    show(result, Console(file=held, width=width, **settings), report="results: reports/criteria.json")
    return "\n".join(line.rstrip() for line in held.getvalue().splitlines())


def test_the_table_in_80_columns_without_colour():
    run = steady_run(60, 0)
    shown = printed(
        outcome(
            finished(PASS),
            finished(FAIL, "Throughput", ("api", "API-2")),
            finished(INCONCLUSIVE),
            finished(INVALID),
            finished(NOT_JUDGED, "It stays up", ("api", "advisory")),
            runs={"A": run},
        )
    )
    assert shown.splitlines()[1:] == [
        "",
        "The API at peak load",
        "                  The endpoints answer quickly · API-1",
        "  ✓ pass          the p95 response time of the auth endpoints stays below 500 ms",
        "                  measured 4.31 ms (4.1 – 4.62 ms) · limit 500 ms · run A",
        "                  Throughput · API-2",
        "  ✗ fail          throughput stays above 1000 requests per second",
        "                  measured 912 per second (905 – 920 per second) · limit 1000",
        "                  per second · run A",
        "                  throughput was 912 per second, 8.8 % below the limit",
        "                  The endpoints answer quickly · API-1",
        "  ? inconclusive  the error rate stays below 1% (rehearsed: 100 of 1000 users,",
        "                  30 s of 5 min)",
        "                  measured 1.01 % (0.8 – 1.3 %) · limit 1 % · run A",
        "                  the error rate was between 0.8 % and 1.3 %; 4 min more would",
        "                  tell",
        "  ! invalid       the p99 response time is below 100 ms",
        "                  limit 100 ms · run A",
        "                  the load generator's event loop lagged by 40 ms",
        "                  It stays up",
        "  - not judged    availability is at least 99.9% (advisory)",
        "                  only 12 accounts for 1000 users",
        "",
        "5 criteria: 1 pass, 1 fail, 1 inconclusive, 1 invalid, 1 not judged (1 advisory,",
        "not counted by the gate)",
        "gate: fail (exit 1)",
        "results: reports/criteria.json",
    ]


def test_a_fail_tells_what_failed_since_when_and_of_which_operations():
    fail = dataclasses.replace(
        FAIL, criterion="the error rate stays below 1%", reason="the error rate was 5 %", window=None
    )
    passed = dataclasses.replace(fail, status=Status.PASS)
    run = steady_run(60, 0, failing=True)
    shown = " ".join(printed(outcome(finished(fail), runs={"A": run})).split())
    assert "the error rate was 5 % status 503: " in shown
    assert re.search(r"126 of 2,400 operations \(\d[^)]* %\); from \d:\d\d \(", shown), shown
    assert "status 503: " not in printed(outcome(finished(passed), runs={"A": run}))


def test_a_failed_explanation_leaves_the_verdicts(monkeypatch):
    def fails(_result, _evidence):
        raise KeyError("label")

    monkeypatch.setattr(terminal, "causes_of_result", fails)
    shown = printed(outcome(finished(FAIL), runs={"A": steady_run(60, 0)}))
    assert "what failed is not known: KeyError: 'label'" in shown
    assert "gate: fail (exit 1)" in shown


def test_no_line_is_wider_than_the_terminal_and_nothing_is_cut_off():
    long = dataclasses.replace(
        FAIL, criterion="the p95 response time of " + "very " * 40 + "long labels stays below 1 s"
    )
    for width in (40, 80, 200):
        shown = printed(outcome(finished(long)), width)
        assert max(map(len, shown.splitlines())) <= width
        assert " ".join(shown.split()).count("very") == 40


def test_the_verdict_is_told_by_a_word_and_a_mark_and_not_by_colour_alone():
    criteria = [finished(verdict) for verdict in (PASS, FAIL, INCONCLUSIVE, INVALID, NOT_JUDGED)]
    plain = printed(outcome(*criteria))
    coloured = printed(outcome(*criteria), force_terminal=True, color_system="standard")
    assert "\x1b[" not in plain
    assert "\x1b[" in coloured
    for status in Status:
        assert f" {status} " in plain


def test_the_runs_come_first():
    shown = printed(outcome(finished(PASS), finished(FAIL), runs={"A": steady_run(60, 0)}))
    assert shown.splitlines()[0].startswith("Run A (1000 users, ")
    assert shown.splitlines()[0].endswith(") judges 2 criteria")


def test_a_run_that_was_cut_short_says_so():
    run = dataclasses.replace(steady_run(60, 0), ended=INTERRUPTED)
    assert run_line("B", run, 1).endswith(" judges 1 criterion; cut short: interrupted")


def test_brackets_in_what_people_wrote_are_text_and_no_markup():
    verdict = dataclasses.replace(FAIL, criterion='the query "[bold]" stays below 5', reason="[red] was 7")
    shown = printed(outcome(finished(verdict, "[dim] room", feature="[b] peak")))
    for text in ('"[bold]"', "[red] was 7", "[dim] room", "[b] peak"):
        assert text in shown


def test_an_example_is_told_beside_the_scenario_unless_its_name_tells_it():
    assert (
        finished(PASS, "They are quick -- @1.1 ", parameters=(("group", "auth"),)).scenario
        == "They are quick (auth)"
    )
    assert (
        finished(PASS, "The auth endpoints", parameters=(("group", "auth"),)).scenario == "The auth endpoints"
    )


def test_nothing_judged_is_no_pass():
    assert "gate: not judged (exit 2)" in printed(outcome())


@pytest.mark.parametrize(
    ("changes", "name", "text"),
    [
        ({"measured": None, "censored": True}, "measured", "above every limit (among failed operations)"),
        ({}, "margin", "116 times below the limit"),
        ({"interval": (0.0009, 1.2)}, "interval", "900 µs – 1.2 s"),
        ({}, "interval", "4.1 – 4.62 ms"),
        ({"unit": "", "interval": (240.0, 260.0)}, "interval", "240 – 260"),
        ({"unit": "", "interval": (25.0, 35.0)}, "interval", "25 – 35"),
        ({"unit": "", "interval": (5.0, 5.0)}, "interval", "5 – 5"),
        ({"unit": "per second", "interval": (905.0, 920.0)}, "interval", "905 – 920 per second"),
    ],
)
def test_figures_are_in_the_units_of_people(changes, name, text):
    assert figures(dataclasses.replace(PASS, **changes))[name] == text


def test_an_interval_that_bounds_nothing_is_not_shown():
    assert "interval" not in figures(dataclasses.replace(PASS, interval=(math.inf, math.inf)))


def test_warnings_are_shown_below_a_pass():
    verdict = dataclasses.replace(PASS, warnings=("response time drifted from 4 ms to 5 ms",))
    assert "note: response time drifted from 4 ms to 5 ms" in printed(outcome(finished(verdict)))


def test_a_warning_that_criteria_of_a_run_share_is_told_once_below_the_run():
    drifted = "the load generator's event loop lagged by 6 ms"
    criteria = [finished(dataclasses.replace(verdict, warnings=(drifted,))) for verdict in (PASS, FAIL)]
    shown = printed(outcome(*criteria, runs={"A": steady_run(60, 0)}))
    assert shown.splitlines()[1] == f"  note for 2 criteria: {drifted}"
    assert shown.count(drifted) == 1
