"""behave from end to end, as people call it, on a testbed that puts no load on."""

import json
from pathlib import Path

import pytest

from loadkit.errors import ConfigurationError
from steps.suite.runner import Options
from tests.behave_project import HOOKS, LOCAL, QUICK, Project, project

__all__ = ["project"]


def test_the_first_then_puts_the_load_on_and_each_then_judges(project: Project) -> None:
    project.feature(QUICK)
    said = project.behave()
    assert said.loads == ["Run A: 100 users"]
    assert [status for status, _ in said.criteria.values()] == ["pass", "pass"]
    assert said.code == 0
    assert said.testbed[-1] == "close"


def test_scenarios_with_equal_plans_share_one_run(project: Project) -> None:
    project.feature(QUICK)
    project.feature(
        QUICK.replace("Then", "And the load holds for 30 seconds\n    Then"), "same in more words"
    )
    project.feature(QUICK.replace("100 concurrent users", "the peak load"), "third")
    said = project.behave()
    assert said.loads == ["Run A: 100 users", "Run B: 200 users"]
    assert said.code == 0


@pytest.mark.slow
def test_a_failed_criterion_does_not_keep_the_next_from_being_judged(project: Project) -> None:
    project.order(seconds=0.7)
    project.feature(QUICK)
    said = project.behave()
    assert [status for status, _ in said.criteria.values()] == ["fail", "pass"]
    assert said.code == 1
    assert "Traceback" not in said.out + said.err


def test_a_run_that_could_not_be_made_is_not_tried_again(project: Project) -> None:
    project.order(trouble="http://127.0.0.1:1 does not answer")
    project.feature(QUICK)
    said = project.behave()
    assert said.loads == ["Run A: 100 users"]
    assert set(said.criteria.values()) == {("not judged", "http://127.0.0.1:1 does not answer")}
    assert said.err.count("does not answer") == 1
    assert said.code == 2
    assert "Traceback" not in said.out + said.err


def test_a_run_that_a_mistake_of_the_suite_kept_from_being_is_not_tried_again_either(
    project: Project,
) -> None:
    project.order(mistake="p99")
    project.feature(QUICK)
    said = project.behave()
    assert said.loads == ["Run A: 100 users"]
    assert {status for status, _ in said.criteria.values()} == {"not judged"}
    (line,) = said.err.splitlines()
    assert line.startswith(
        "Run A: 100 users: an error in the suite itself: KeyError: 'p99' (fake_testbed.py, "
    )
    assert all(reason == line for _, reason in said.criteria.values())
    assert said.code == 2
    assert "Traceback" not in said.out + said.err


WRONG = {
    "    Given 100 concurent users\n": 'did you mean "concurrent"?',
    "    Given 100 concurrent users\n    And 200 concurrent users\n": "stated before",
    "    Given the summit load\n": 'no level "summit"',
    "    Given 100 concurrent users of the basket\n": 'no mix "basket"',
    '    Given 100 concurrent users following the "sell" journey\n': 'no journey "sell"',
    "    Given 2000 concurrent users\n": "allows 1000 users",
    "    When 100 concurrent users\n": "the sentence exists, but not after When",
}


def test_a_given_that_does_not_hold_leaves_every_then_not_judged_and_puts_no_load_on(
    project: Project,
) -> None:
    thens = "    Then p95 is below 1 s\n    And the error rate is below 1%\n"
    project.feature("".join(f"  Scenario: Wrong\n{wrong}{thens}" for wrong in WRONG))
    said = project.behave()
    assert said.loads == []
    assert len(said.criteria) == 2 * len(WRONG)
    verdicts = list(said.criteria.values())
    for number, reason in enumerate(WRONG.values()):
        assert [status for status, _ in verdicts[2 * number : 2 * number + 2]] == ["not judged", "not judged"]
        assert all(reason in why for _, why in verdicts[2 * number : 2 * number + 2])
        assert reason in said.err
    assert said.code == 2
    assert "Traceback" not in said.out + said.err


FAILS_IN_EARNEST = """
from behave import given
from steps.suite.reading import Page

@given("a neighbour that is gone")
def gone(context):
    if not isinstance(context, Page):
        raise OSError("nobody there")
"""


def test_a_given_that_fails_only_in_earnest_keeps_the_load_off_too(project: Project) -> None:
    project.write("environment.py", HOOKS + FAILS_IN_EARNEST)
    project.feature(QUICK.replace("Then", "And a neighbour that is gone\n    Then"))
    said = project.behave()
    assert said.loads == []
    assert set(said.criteria.values()) == {
        ("not judged", '"And a neighbour that is gone" failed: nobody there')
    }
    assert said.code == 2


@pytest.mark.slow
def test_one_unreadable_then_leaves_its_scenario_not_judged_and_the_others_judged(project: Project) -> None:
    project.feature(
        """
  Scenario: Wrong
    Given 200 concurrent users
    Then p95 stays bellow 500 ms
    And the error rate is below 1%
  Scenario: Right
    Given 100 concurrent users
    Then p95 is below 1 s
"""
    )
    said = project.behave()
    assert said.loads == ["Run A: 100 users"]
    assert [status for status, _ in said.criteria.values()] == ["not judged", "not judged", "pass"]
    assert (
        'features/shop.feature:5: "p95 stays bellow 500 ms": cannot read "bellow"; did you mean "below"?'
        in said.err
    )
    assert said.code == 2


@pytest.mark.parametrize("keyword", ["Given", "When"])
def test_a_given_or_when_after_a_then_is_refused_with_its_line(project: Project, keyword: str) -> None:
    late = "the load holds for 1 minute" if keyword == "Given" else "the load runs"
    project.feature(f"{QUICK}    {keyword} {late}\n    Then p95 is below 1 s\n")
    said = project.behave()
    assert said.loads == []
    assert f'features/shop.feature:7: "{keyword} {late}" is after the Then of line 5' in said.err
    assert {status for status, _ in said.criteria.values()} == {"not judged"}
    assert said.code == 2


def test_a_scenario_without_a_then_is_named_instead_of_passing(project: Project) -> None:
    project.feature(f"{QUICK}\n  Scenario: Idle\n    Given 100 concurrent users\n")
    said = project.behave("--dry-run")
    assert '"Idle" has no criterion; expected a Then' in said.err
    assert said.code == 2


OUTLINE = """Scenario Outline: Idle
    Given <n> concurrent users
    Then p95 is below 1 s
    Examples:
      | n |
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scenario", "reason"),
    [
        ("Scenario: Idle\n    Given 100 concurrent users\n", "no criterion; expected a Then"),
        ("Scenario: Idle\n    Given 100 concurrent users\n    And p95 is below 1 s\n", '"And p95 is below 1 s" failed'),
        ("Scenario: Idle\n", "no criterion; expected a Then"),
        (OUTLINE, "no examples; expected rows below its Examples"),
    ],
    ids=["no Then", "And in place of Then", "empty", "no examples"],
)  # fmt: skip
def test_a_scenario_that_states_no_criterion_is_not_judged_beside_one_that_passes(
    project: Project, scenario: str, reason: str
) -> None:
    project.feature(f"{QUICK}\n  {scenario}")
    said = project.behave()
    assert said.loads == ["Run A: 100 users"]
    status, why = list(said.criteria.values())[-1]
    assert status == "not judged"
    assert reason in why
    assert '"Idle" has no' in said.err
    assert said.code == 2
    assert project.behave("--dry-run").code == 2


def test_a_dry_run_tells_the_runs_and_puts_no_load_on(project: Project) -> None:
    project.feature(QUICK)
    project.feature(QUICK.replace("Then", "And the load holds for 5 minutes\n    Then"), "long")
    said = project.behave("--dry-run")
    assert "Run A: 100 users, 5 min: judges 2 criteria\n" in said.out
    assert (
        "Run B: 100 users, 30 s: judges 2 criteria; separate run: 30 s instead of 5 min, as in run A\n"
        in said.out
    )
    assert "2 runs, 5.5 min in total on local; no load was started\n" in said.out
    assert (said.testbed, said.criteria, said.err, said.code) == ([], {}, "", 0)


@pytest.mark.slow
def test_each_of_several_runs_tells_its_number_and_the_time_to_go(project: Project) -> None:
    project.feature(QUICK)
    project.feature(QUICK.replace("Then", "And the load holds for 5 minutes\n    Then"), "long")
    lines = [line for line in project.behave().err.splitlines() if "of load remaining" in line]
    assert lines == [
        "Run A (1 of 2): 5.5 min of load remaining, including this run",
        "Run B (2 of 2): 30 s of load remaining, including this run",
    ]


@pytest.mark.slow
def test_the_time_to_go_of_a_rehearsal_is_what_it_takes_in_a_pipeline_too(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    for name, minutes in (("short", 5), ("long", 10)):
        project.feature(QUICK.replace("Then", f"And the load holds for {minutes} minutes\n    Then"), name)
    lines = [
        line
        for line in project.behave("-D", "time_scale=0.2").err.splitlines()
        if "of load remaining" in line
    ]
    assert lines == [
        "Run A (1 of 2): 3 min of load remaining, including this run",
        "Run B (2 of 2): 60 s of load remaining, including this run",
    ]


@pytest.mark.slow
def test_a_single_run_tells_no_number(project: Project) -> None:
    project.feature(QUICK)
    assert "of load remaining" not in project.behave().err


TOGETHER = """
  Scenario: Users and admins
    Given 900 concurrent users
    And the load holds for 5 minutes
    And 50 concurrent users of the admin
    Then the error rate is below 1%
    And p95 of the admin users is below 500 ms
"""


def together(project: Project) -> None:
    admin = 'admin = [{ journey = "browse", share = 1 }]\n'
    project.write("environments/local.toml", LOCAL + admin)
    project.feature(TOGETHER)


def test_a_dry_run_names_all_populations_of_a_run(project: Project) -> None:
    together(project)
    project.feature(QUICK, "quick")
    said = project.behave("--dry-run")
    assert (said.code, said.err) == (0, "")
    assert (
        "Run B: 900 users + 50 admin users, 5 min: judges 2 criteria; separate run: no earlier run has this load\n"
        in said.out
    )


@pytest.mark.slow
def test_a_dry_run_compares_a_run_with_the_nearest_earlier_one(project: Project) -> None:
    project.feature(QUICK)
    long = QUICK.replace("Then", "And the load holds for 5 minutes\n    Then")
    project.feature(long.replace("100", "50"), "long")
    project.feature(long, "middle")
    said = project.behave("--dry-run")
    why = "separate run: 100 users instead of 50 users, as in run A\n"
    assert [line for line in said.out.splitlines(keepends=True) if line.endswith(why)], said.out


def test_the_populations_of_a_run_must_be_allowed_together(project: Project) -> None:
    together(project)
    project.feature(TOGETHER.replace("50", "101"))
    said = project.behave("--dry-run")
    assert "allows 1000 users (max_users), the plan has 1001" in said.err
    assert said.code == 2


@pytest.mark.slow
def test_a_rehearsal_of_several_populations_is_said_of_each(project: Project) -> None:
    together(project)
    said = project.behave("-D", "time_scale=0.1", "-D", "users_scale=0.1")
    assert said.loads == ["Run A: 90 users + 5 admin users"]
    verdicts = json.loads((project.root / "reports" / "criteria.json").read_text())["criteria"]
    assert {each["verdict"]["rehearsed"] for each in verdicts} == {
        "90 of 900 users and 5 of 50 admin users, 30 s of 5 min"
    }
    assert "Run A (90 users + 5 admin users" in said.out


def test_a_dry_run_explains_what_cannot_be_read_and_leaves_with_2(project: Project) -> None:
    project.feature(QUICK.replace("500 ms", "500"))
    said = project.behave("--dry-run")
    assert (
        said.err
        == 'features/shop.feature:5: "p95 stays below 500": cannot read "500"; it needs a unit, such as 500 ms\n'
    )
    assert said.code == 2


PASTED = """
  Scenario: Pasted
    Given\u00a0100  concurrent\u202fusers following the “browse” journey.
    Then\tp95  stays below\t500\u00a0ms.
    And the error rate of  „GET /shop/items“ is below 1\u202f%;
"""


@pytest.mark.slow
@pytest.mark.parametrize("formatter", ["plain", "pretty"])
def test_a_pasted_feature_is_read_and_shown_as_written(project: Project, formatter: str) -> None:
    project.feature(PASTED)
    dry = project.behave("--dry-run", "-f", formatter)
    assert 'Run A: 100 "browse" users, 30 s: judges 2 criteria\n' in dry.out
    assert (dry.err, dry.code) == ("", 0)
    said = project.behave("-f", formatter)
    assert [status for status, _ in said.criteria.values()] == ["pass", "pass"]
    assert "Then p95  stays below\t500\u00a0ms." in said.out
    assert "And the error rate of  „GET /shop/items“ is below 1\u202f%;" in said.out


@pytest.mark.slow
def test_what_is_wrong_with_a_pasted_sentence_is_told_as_written_with_its_line(project: Project) -> None:
    project.feature(PASTED.replace("stays", "stay"))
    for arguments in (["--dry-run"], []):
        assert (
            'features/shop.feature:5: "p95  stay below\t500\u00a0ms.": cannot read "stay"; did you mean "stays"?\n'
            in project.behave(*arguments).err
        )


@pytest.mark.slow
def test_a_feature_that_begins_with_a_byte_order_mark_is_read(project: Project) -> None:
    project.feature(QUICK)
    file = project.root / "features" / "shop.feature"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert project.behave("--dry-run").code == 0
    said = project.behave()
    assert [status for status, _ in said.criteria.values()] == ["pass", "pass"]


@pytest.mark.parametrize(
    ("encoding", "told"), [("cp1252", "5: cannot read the byte 0x93"), ("utf-16", "1: cannot")]
)
def test_a_feature_that_is_not_utf_8_is_named_with_its_line(
    project: Project, encoding: str, told: str
) -> None:
    project.feature(QUICK)
    file = project.root / "features" / "shop.feature"
    file.write_bytes(file.read_text().replace("p95", "p95 of “GET /shop/items”").encode(encoding))
    said = project.behave("--dry-run")
    assert said.err.startswith(f"features/shop.feature:{told}")
    assert "expected UTF-8" in said.err
    assert len(said.err.splitlines()) == 1
    assert said.code == 2


LOOSE = """
from behave import given

@given("a step that ends: so.")
def loose(context):
    pass

@given("{int} and {float} words  apart")
def apart(context, whole, part):
    assert (whole, part) == (2, 0.5)
"""


@pytest.mark.slow
def test_steps_of_the_suites_users_are_matched_as_written(project: Project) -> None:
    project.write("environment.py", HOOKS + LOOSE)
    project.feature(
        QUICK.replace("Then", "And a step that ends: so.\n    And 2 and 0.5 words  apart\n    Then")
    )
    said = project.behave()
    assert [status for status, _ in said.criteria.values()] == ["pass", "pass"]


@pytest.mark.slow
def test_more_minutes_than_the_environment_allows_are_refused_before_any_load(project: Project) -> None:
    project.feature(QUICK.replace("Then", "And the load holds for 3 hours\n    Then"))
    for arguments in (["--dry-run"], []):
        said = project.behave(*arguments)
        assert "allows 120 minutes of load (max_minutes), these runs take 180" in said.err
        assert (said.testbed, said.code) == ([], 2)


@pytest.mark.parametrize("arguments", [["--dry-run"], []])
def test_a_tag_that_selects_nothing_is_no_pass(project: Project, arguments: list[str]) -> None:
    project.feature(QUICK)
    said = project.behave("-t", "@nonexistent", *arguments)
    assert "no criterion was selected" in said.out + said.err
    assert (said.loads, said.code) == ([], 2)


@pytest.mark.parametrize(
    ("userdata", "reason"),
    [
        ({"time_scale": "fast"}, "expected a ratio above 0 and at most 1, such as 0.1"),
        ({"time_scale": "0"}, "expected a ratio above 0"),
        ({"users_scale": "2"}, "expected a ratio above 0 and at most 1"),
        ({"seed": "x"}, "expected a whole number"),
        ({"verbosity": "2"}, "unknown; there are: env, time_scale, users_scale, seed"),
        ({"timescale": "0.1"}, "did you mean time_scale?"),
    ],
)
def test_an_option_that_means_nothing_is_refused(userdata: dict[str, str], reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason.replace("?", r"\?")):
        Options.of(userdata)


def test_options_of_formatters_are_theirs() -> None:
    assert Options.of({"AllureFormatter.hide_excluded": "true"}) == Options(
        "local", None, None, 1, Path("reports")
    )
