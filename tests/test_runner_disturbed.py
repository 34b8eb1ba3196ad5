"""Runs that disturb, and runs that are compared with, by behave on a testbed that puts no load on."""

import pytest

from tests.behave_project import LOCAL, Project, project

__all__ = ["project"]

LIVELY = """
  Scenario: A fall
    Given 100 concurrent users
    And the load holds for 2 minutes
    When an instance is killed after 40 seconds
    Then the service recovers within 30 seconds

  Scenario: Growth
    Given the peak load
    Then p95 is at most 2 times that at the baseline load
    And throughput of the shop endpoints is at least 2 times that at the baseline load
"""
CONTROL = """
control = ["true"]
[levels]
peak = 200
baseline = 20
[actions]
"an instance is killed" = { do = ["kill"] }
"""


def lively(project: Project) -> None:
    project.write("environments/local.toml", LOCAL.replace("[levels]\npeak = 200\n", CONTROL))
    project.feature(LIVELY)


def test_a_dry_run_tells_the_order_and_what_disturbs(project: Project) -> None:
    lively(project)
    said = project.behave("--dry-run")
    assert said.code == 0
    runs = [line for line in said.out.splitlines() if line.startswith("Run ")]
    assert [line.split(";")[0] for line in runs] == [
        "Run A: 20 users, 30 s: is the reference of 2 criteria of other runs",
        "Run B: 200 users, 30 s: judges 2 criteria",
        "Run C: 100 users, 2 min: judges 1 criterion, disturbs the service (an instance is killed)",
    ]


@pytest.mark.slow
def test_runs_that_disturb_go_last_and_results_stay_in_gherkin_order(project: Project) -> None:
    lively(project)
    said = project.behave()
    assert said.loads == ["Run A: 20 users", "Run B: 200 users", "Run C: 100 users"]
    first = next(iter(said.criteria)).partition(" ")[2]
    assert first == "the service recovers within 30 seconds"
    statuses = {sentence.partition(" ")[2]: status for sentence, (status, _) in said.criteria.items()}
    assert statuses["p95 is at most 2 times that at the baseline load"] == "pass"
    assert (
        statuses["throughput of the shop endpoints is at least 2 times that at the baseline load"] == "fail"
    )
    # The testbed of this test brings nothing about, so there is nothing to recover from.
    assert statuses["the service recovers within 30 seconds"] == "inconclusive"


@pytest.mark.slow
def test_advice_is_told_and_never_blocks(project: Project) -> None:
    project.order(seconds=2.0)
    project.feature("""
  @advisory
  Scenario: Wished for
    Given 100 concurrent users
    Then p95 is below 500 ms

  Scenario: Promised
    Given 100 concurrent users
    Then p95 is below 10 s
""")
    said = project.behave()
    assert sorted(status for status, _ in said.criteria.values()) == ["fail", "pass"]
    assert said.code == 0
    assert "1 advisory, not counted by the gate" in said.out


def test_an_action_that_the_environment_does_not_know_is_not_judged_and_nothing_is_loaded(
    project: Project,
) -> None:
    project.feature("""
  Scenario: A fall
    Given 100 concurrent users
    When an instance is killed
    Then the service recovers within 30 seconds
""")
    said = project.behave()
    assert (said.code, said.loads) == (2, [])
    assert 'does not define "an instance is killed" in [actions]' in said.err
