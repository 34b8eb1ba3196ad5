"""What the reporter makes of finished scenarios: one result for each Then, and never a pass that was not judged."""

import dataclasses
import json
import time
from pathlib import Path

import pytest
from behave.configuration import Configuration
from behave.matchers import use_step_matcher
from behave.model import Scenario
from behave.parser import parse_feature
from behave.runner import ModelRunner
from behave.step_registry import StepRegistry

from loadkit import grammar
from loadkit.reports.gate import gate
from loadkit.verdict import Status, Verdict
from steps.suite import criteria_json
from steps.suite.outcome import Finished
from steps.suite.reporter import Reporter
from steps.suite.results import CriterionResult
from steps.suite.runner import _remove_results

PEAK = """
@api
Feature: The API at peak load
  The promise: it answers at once.

  Background:
    Given 1000 concurrent users

  @API-1
  Scenario: It is quick
    Then p95 is below 500 ms
    And the error rate is below 1%

  @API-2 @advisory
  Scenario Outline: The <group> endpoints
    Then p99 of the <group> endpoints is below 1 s
    Examples:
      | group   |
      | auth    |
      | metrics |
"""


@pytest.fixture(autouse=True)
def parsed_steps():
    """These steps are patterns of behave's own; the suite's matcher, which others register, is for all of a process."""
    use_step_matcher("parse")


@pytest.fixture(autouse=True)
def _as_the_suite_runs(monkeypatch):
    monkeypatch.setattr(Scenario, "continue_after_failed_step", True)


VERDICTS = {
    "pass": None,
    "fail": AssertionError,
    "inconclusive": RuntimeError,
    "invalid": RuntimeError,
    "not judged": RuntimeError,
}


def explain(sentence):
    return str(grammar.explain(sentence) or "")


class FakeSession:
    """Steps that store the verdict they were told to; "forget" stores none."""

    environment_name = "local"

    def __init__(self, verdicts):
        self.verdicts = verdicts
        self.results = []
        self.implicit = []
        self.evidence = {}

    def judge(self, context, step):
        what = self.verdicts.get(step.name, "pass")
        if what == "forget":
            return
        if what == "crash":
            raise ValueError(f"cannot read {Path.cwd()}/features/x")
        if what == "interrupt":
            raise KeyboardInterrupt
        scenario = context.scenario
        now = time.time()
        verdict = Verdict(step.name, Status(what), f"it was measured to be a {what}")
        self.results.append(
            CriterionResult(
                scenario.feature.name, scenario.filename, scenario.name, scenario.line, step.line, step.keyword,
                step.name, tuple(scenario.effective_tags), tuple(scenario._row.items()) if scenario._row else (),
                verdict, "", now, now,
            )
        )  # fmt: skip
        if VERDICTS[what]:
            raise VERDICTS[what](verdict.reason)


def behave(tmp_path, text=PEAK, arguments=(), given=lambda: None, hooks=None, **verdicts):
    """Run a feature with a session whose Thens come to `verdicts`; returns the exit code and the written document."""
    config = Configuration(["--no-summary", "--no-color", *arguments], load_config=False)
    config.reporters.clear()
    feature = parse_feature(text, filename="features/api/peak.feature")
    registry = StepRegistry()
    session = FakeSession({name.replace("_", " "): what for name, what in verdicts.items()})
    session.verdicts = verdicts.get("verdicts", session.verdicts)
    current = {}
    registry.add_step_definition("given", "{users:d} concurrent users", lambda _, users: given())
    registry.add_step_definition("given", "{users:d} rare users", lambda _, users: given())
    for pattern in ("p95 {rest}", "p99 {rest}", "the error rate {rest}"):
        registry.add_step_definition(
            "then", pattern, lambda context, rest: session.judge(context, current["step"])
        )
    runner = ModelRunner(config, [feature], registry)
    runner.hooks = {"before_step": lambda _, step: current.update(step=step), **(hooks or {})}
    config.reporters.append(Reporter(config, session, reports=tmp_path, explain=explain))
    with pytest.raises(SystemExit) as left:
        runner.run()
    return left.value.code, json.loads((tmp_path / "criteria.json").read_text())


def statuses(document):
    return [row["verdict"]["status"] for row in document["criteria"]]


def reasons(document):
    return [row["verdict"]["reason"] for row in document["criteria"]]


P95 = "p95 is below 500 ms"
ERRORS = "the error rate is below 1%"


def test_every_then_and_and_of_every_example_is_one_result_in_gherkin_order(tmp_path):
    code, document = behave(tmp_path)
    assert code == 0
    assert [row["sentence"] for row in document["criteria"]] == [
        P95,
        ERRORS,
        "p99 of the auth endpoints is below 1 s",
        "p99 of the metrics endpoints is below 1 s",
    ]
    first, last = document["criteria"][0], document["criteria"][-1]
    assert (first["feature_file"], first["line"], first["keyword"]) == (
        "features/api/peak.feature",
        11,
        "Then",
    )
    assert (first["requirements"], first["area"], first["advisory"]) == (["API-1"], "api", False)
    assert (last["parameters"], last["advisory"]) == ({"group": "metrics"}, True)
    assert len({row["id"] for row in document["criteria"]}) == 4


@pytest.mark.parametrize(
    ("verdict", "code"), [("pass", 0), ("fail", 1), ("not judged", 2), ("inconclusive", 3), ("invalid", 4)]
)
def test_the_session_leaves_with_the_code_of_its_verdicts(tmp_path, verdict, code):
    left, document = behave(tmp_path, verdicts={P95: verdict})
    assert left == code == document["exit_code"] == gate(tmp_path)[0]
    assert statuses(document)[0] == verdict


def test_an_advisory_failure_does_not_count(tmp_path):
    code, document = behave(tmp_path, verdicts={"p99 of the auth endpoints is below 1 s": "fail"})
    assert code == 0
    assert "fail" in statuses(document)


def test_a_failed_given_leaves_every_then_not_judged_with_its_message(tmp_path):
    def given():
        raise RuntimeError("only 12 accounts for 1000 users")

    code, document = behave(tmp_path, given=given)
    assert code == 2
    assert set(statuses(document)) == {"not judged"}
    told = '"Given 1000 concurrent users" failed: only 12 accounts for 1000 users'
    assert all(reason.startswith(told) for reason in reasons(document))


def test_a_sentence_that_nothing_reads_is_explained_and_not_judged(tmp_path):
    code, document = behave(tmp_path, PEAK.replace("Then p95 is below", "Then q95 is bellow"))
    assert code == 2
    assert statuses(document)[:2] == ["not judged", "pass"]
    assert 'cannot read "' in reasons(document)[0]


def test_a_given_that_nothing_reads_leaves_its_thens_not_judged(tmp_path):
    code, document = behave(tmp_path, PEAK.replace("1000 concurrent users", "1000 concurent users"))
    assert code == 2
    assert set(statuses(document)) == {"not judged"}
    assert reasons(document)[0].startswith('"Given 1000 concurent users" failed: ')


def test_a_step_that_judged_nothing_is_no_pass(tmp_path):
    code, document = behave(tmp_path, verdicts={P95: "forget"})
    assert code == 2
    assert reasons(document)[0] == "the step ran, but judged nothing"


def test_a_crash_in_a_step_is_not_judged_and_tells_no_place_of_this_machine(tmp_path):
    code, document = behave(tmp_path, verdicts={P95: "crash"})
    assert code == 2
    assert reasons(document)[0] == "cannot read features/x"
    assert str(Path.cwd()) not in (tmp_path / "criteria.json").read_text()


def test_after_an_interruption_what_was_judged_stays_and_the_rest_is_not_judged(tmp_path, capsys):
    code, document = behave(tmp_path, verdicts={ERRORS: "interrupt"})
    assert code == 2
    assert statuses(document) == ["pass", "not judged", "not judged", "not judged"]
    assert reasons(document)[1] == "interrupted"
    assert reasons(document)[2] == "the session ended before this was judged"


def test_with_stop_the_scenarios_after_a_failure_are_not_judged(tmp_path):
    code, document = behave(tmp_path, arguments=["--stop"], verdicts={P95: "fail"})
    assert statuses(document)[0] == "fail"
    assert statuses(document)[2:] == ["not judged", "not judged"]
    assert code == 1  # those not judged are advisory


@pytest.mark.parametrize("hook", ["before_feature", "before_scenario", "before_tag"])
def test_a_hook_that_fails_before_leaves_everything_not_judged(tmp_path, hook):
    def fails(*_):
        raise RuntimeError("the hook broke")

    code, document = behave(tmp_path, hooks={hook: fails})
    assert code == 2
    assert set(statuses(document)) == {"not judged"}
    assert "the hook broke" in reasons(document)[0]


def test_a_hook_that_fails_afterwards_takes_a_pass_away_but_not_a_fail(tmp_path):
    def fails(_context, scenario):
        raise RuntimeError("the hook broke")

    code, document = behave(tmp_path, hooks={"after_scenario": fails}, verdicts={P95: "fail"})
    assert code == 2
    assert statuses(document)[:2] == ["fail", "not judged"]
    assert "before that it was a pass" in reasons(document)[1]


def test_scenarios_that_tags_leave_out_are_no_results(tmp_path):
    _, document = behave(tmp_path, arguments=["--tags", "@API-1"])
    assert [row["sentence"] for row in document["criteria"]] == [P95, ERRORS]


def test_a_tag_that_selects_nothing_is_no_pass(tmp_path, capsys):
    code, document = behave(tmp_path, arguments=["--tags", "@nothing"])
    assert code == 2
    assert document["criteria"] == []
    assert "an empty selection is not a pass" in " ".join(capsys.readouterr().out.split())


def test_a_scenario_that_a_hook_skips_with_a_reason_is_not_judged(tmp_path):
    def skips(_context, scenario):
        scenario.skip("no tenants here")

    code, document = behave(tmp_path, hooks={"before_scenario": skips})
    assert code == 2
    assert reasons(document)[0] == "the scenario was skipped: no tenants here"


@pytest.mark.parametrize("error", [OSError("no space left"), KeyboardInterrupt("not waited for")])
def test_evidence_that_cannot_be_drawn_costs_no_verdict(tmp_path, monkeypatch, capsys, error):
    def fails(*_):
        raise error

    monkeypatch.setattr("steps.suite.allure_results.write", fails)
    code, document = behave(tmp_path, verdicts={P95: "fail"})
    assert code == 1 == document["exit_code"]
    assert f"no Allure results: {type(error).__name__}: {error}" in capsys.readouterr().out


@pytest.mark.parametrize(("silence", "told"), [(0.0, [1, 2, 3, 4]), (10.0, [])])
def test_long_work_on_the_results_is_told(tmp_path, monkeypatch, capsys, silence, told):
    monkeypatch.setattr("steps.suite.reporter._SILENCE", silence)
    behave(tmp_path)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("writing")]
    assert lines == [f"writing the results with their charts: {number} of 4 criteria" for number in told]


def test_causes_that_cannot_be_found_cost_no_verdict(tmp_path, monkeypatch, capsys):
    def fails(*_):
        raise ValueError("two blocks")

    monkeypatch.setattr("steps.suite.criteria_json.causes_of_result", fails)
    verdict = Verdict(P95, Status.FAIL, "it was 2 s", run="r")
    result = CriterionResult("Peak", "f.feature", "s", 1, 2, "Then", P95, (), (), verdict, "A", 0.0, 1.0)
    entry = criteria_json._criterion(Finished(result), object())
    assert entry.verdict.status is Status.FAIL
    assert f'no causes of "{P95}": ' in capsys.readouterr().err


@pytest.mark.parametrize("error", [OSError("no space left"), KeyboardInterrupt("not waited for")])
def test_results_of_which_some_are_missing_are_not_left_for_the_report(tmp_path, monkeypatch, capsys, error):
    written = []

    def fails(*_):
        written.append(len(list((tmp_path / "allure-results").glob("*-result.json"))))
        raise error

    monkeypatch.setattr("steps.suite.allure_results._write_globals", fails)
    code, document = behave(tmp_path, verdicts={P95: "fail"})
    assert (code, len(document["criteria"]), written) == (1, 4, [4])
    assert "no Allure results" in capsys.readouterr().out
    assert not (tmp_path / "allure-results").exists()


def test_a_session_begins_without_the_results_and_the_page_of_the_one_before(tmp_path):
    names = ("criteria.json", "allure-results/1-result.json", "allure/index.html", "allure-history.jsonl")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    for _ in range(2):
        _remove_results(tmp_path)
        assert [name for name in names if (tmp_path / name).exists()] == ["allure-history.jsonl"]


def test_numbers_that_are_not_finite_are_null_in_the_results(tmp_path):
    from loadkit.reports.results import plain

    assert plain({"a": (float("inf"), float("nan"), 1.5), 2: Status.PASS}) == {
        "a": [None, None, 1.5],
        "2": "pass",
    }


def test_the_document_holds_all_of_a_verdict(tmp_path):
    _, document = behave(tmp_path)
    names = {field.name for field in dataclasses.fields(Verdict)}
    assert set(document["criteria"][0]["verdict"]) == names | {"margin"}
    assert not list(tmp_path.glob(".criteria*"))


def test_verdicts_that_were_not_saved_are_told_as_no_pass(tmp_path, monkeypatch, capsys):
    def fails(*_):
        (tmp_path / "criteria.json").write_text("{}")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("steps.suite.criteria_json.write", fails)
    code, _ = behave(tmp_path)
    told = capsys.readouterr().out
    assert code == 2
    assert "gate: not judged (exit 2): the results were not saved" in told
    assert "gate: pass" not in told
