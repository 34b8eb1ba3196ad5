"""The gate never turns missing evidence into a pass."""

import json

import pytest

from loadkit.reports.gate import gate
from loadkit.verdict import EXIT_CODES, Status


def row(status="pass", *, advisory=False, rehearsed="", reason="as it was measured"):
    return {
        "sentence": "p95 stays below 500 ms",
        "feature_file": "features/api/peak.feature",
        "line": 12,
        "advisory": advisory,
        "verdict": {"status": status, "reason": reason, "rehearsed": rehearsed},
    }


@pytest.fixture
def results(tmp_path):
    def write(*rows, schema=1):
        path = tmp_path / "criteria.json"
        path.write_text(json.dumps({"schema": schema, "criteria": rows}))
        return path

    return write


def test_all_passed_is_zero(results):
    code, lines = gate(results(row(), row()))
    assert code == 0
    assert lines == ["2 criteria: 2 pass", "gate: pass (exit 0)"]


@pytest.mark.parametrize("status", list(Status))
def test_each_status_alone_has_its_code(results, status):
    code, lines = gate(results(row(status)))
    assert code == EXIT_CODES[status]
    assert lines[-1] == f"gate: {status} (exit {code})"


def test_one_failure_among_passes_is_named_with_its_place_and_reason(results):
    code, lines = gate(results(row(), row("fail", reason="p95 was 612 ms"), row()))
    assert code == 1
    assert lines[0] == "fail: features/api/peak.feature:12: p95 stays below 500 ms: p95 was 612 ms"


def test_not_judged_outranks_fail_and_fail_outranks_invalid(results):
    assert gate(results(row("fail"), row("not judged")))[0] == 2
    assert gate(results(row("invalid"), row("fail")))[0] == 1
    assert gate(results(row("inconclusive"), row("invalid")))[0] == 4


def test_an_advisory_failure_is_shown_and_does_not_count(results):
    code, lines = gate(results(row(), row("fail", advisory=True)))
    assert code == 0
    assert lines[0].startswith("fail: ")
    assert "(advisory)" in lines[0]
    assert lines[1] == "2 criteria: 1 pass, 1 fail (1 advisory, not counted by the gate)"


def test_advisory_criteria_alone_are_no_pass(results):
    code, lines = gate(results(row(advisory=True)))
    assert code == 2
    assert "every criterion is advisory" in lines[-1]


def test_no_criterion_at_all_is_no_pass(results):
    code, lines = gate(results())
    assert code == 2
    assert "an empty selection is not a pass" in lines[-1]


def test_a_missing_file_is_two_in_one_line(tmp_path):
    code, lines = gate(tmp_path / "criteria.json")
    assert code == 2
    assert len(lines) == 1
    assert "No such file" in lines[0]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   \n",
        "{",
        "null",
        "[]",
        "{}",
        '{"schema": 1}',
        '{"schema": 1, "criteria": null}',
        '{"schema": 1, "criteria": [{}]}',
        '{"schema": 1, "criteria": ["pass"]}',
        '{"schema": 2, "criteria": []}',
        json.dumps({"schema": 1, "criteria": [row("passed")]}),
        json.dumps({"schema": 1, "criteria": [row("")]}),
        json.dumps({"schema": 1, "criteria": [{**row(), "advisory": "false"}]}),
        json.dumps({"schema": 1, "criteria": [row(), row()]})[:-20],
    ],
)
def test_a_file_that_is_empty_or_corrupt_is_two_and_never_zero(tmp_path, text):
    path = tmp_path / "criteria.json"
    path.write_text(text)
    code, lines = gate(path)
    assert code == 2
    assert len(lines) == 1


def test_bytes_that_are_no_text_are_two(tmp_path):
    path = tmp_path / "criteria.json"
    path.write_bytes(b"\xff\xfe\x00\x80")
    assert gate(path)[0] == 2


def test_a_folder_without_results_is_two(tmp_path):
    assert gate(tmp_path)[0] == 2


def test_sign_off_refuses_rehearsals_one_line_each(results):
    scaled = "100 of 1000 users, 30 s of 5 min"
    path = results(row(rehearsed=scaled), row(), row(rehearsed=scaled))
    assert gate(path)[0] == 0
    code, lines = gate(path, sign_off=True)
    assert code == 2
    assert len([line for line in lines if line.startswith("rehearsed: ")]) == 2
    assert scaled in lines[0]
    assert lines[-1] == "gate: refused (exit 2): 2 of 3 criteria were only rehearsed"


def test_sign_off_of_the_real_thing_is_the_same_answer(results):
    path = results(row(), row("fail"))
    assert gate(path, sign_off=True) == gate(path)


def test_the_folder_of_the_results_is_as_good_as_the_file(results):
    path = results(row(), row("fail"))
    assert gate(path.parent) == gate(path)
