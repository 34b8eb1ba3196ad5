"""How a session of behave begins and ends, as people call it, on a testbed that puts no load on."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.behave_project import QUICK, ROOT, Project, project

__all__ = ["project"]


@pytest.mark.slow
def test_results_can_be_written_elsewhere(project: Project, tmp_path: Path) -> None:
    project.feature(QUICK)
    project.behave("-D", f"reports={tmp_path / 'elsewhere'}")
    assert (tmp_path / "elsewhere" / "criteria.json").is_file()
    assert not (project.root / "reports").exists()


def test_an_unknown_environment_ends_it_before_any_load(project: Project) -> None:
    project.feature(QUICK)
    said = project.behave("-D", "env=moon")
    assert said.err == 'no environment "moon"; there are: local\n'
    assert (said.testbed, said.code) == ([], 2)


def test_a_feature_that_is_not_there_is_named(project: Project) -> None:
    project.feature(QUICK)
    said = project.behave("features/none.feature")
    assert said.err == (
        "features/none.feature does not exist; expected a file or a folder, such as features/api\n"
    )
    assert (said.testbed, said.code) == ([], 2)


def test_a_feature_that_is_no_gherkin_ends_it_before_any_load(project: Project) -> None:
    project.feature("  Scenario: Quick\n    Given 100 concurrent users\n    nonsense\n")
    said = project.behave()
    assert "shop.feature" in said.err
    assert len(said.err.splitlines()) == 1
    assert (said.testbed, said.code) == ([], 2)


def test_a_mistake_in_the_steps_is_no_verdict_on_the_service(project: Project) -> None:
    project.feature(QUICK)
    project.write("environment.py", "import nothing_of_that_name\n")
    said = project.behave()
    assert "nothing_of_that_name" in said.err
    assert (said.testbed, said.code) == ([], 2)


@pytest.mark.slow
def test_what_an_earlier_session_found_does_not_outlive_one_that_cannot_begin(project: Project) -> None:
    project.feature(QUICK)
    assert project.behave().criteria
    assert not project.behave("-D", "env=moon").criteria


def test_journeys_that_cannot_be_imported_end_it_before_any_load(project: Project) -> None:
    project.feature(QUICK)
    project.write("shop.py", "import nothing_of_that_name\n")
    said = project.behave()
    assert "cannot import the journeys in shop" in said.err
    assert len(said.err.splitlines()) == 1
    assert (said.testbed, said.code) == ([], 2)


def test_a_rehearsal_is_said_in_every_result(project: Project) -> None:
    project.feature(QUICK.replace("Then", "And the load holds for 5 minutes\n    Then"))
    said = project.behave("-D", "time_scale=0.1", "-D", "users_scale=0.5")
    assert said.loads == ["Run A: 50 users"]
    verdicts = json.loads((project.root / "reports" / "criteria.json").read_text())["criteria"]
    assert {each["verdict"]["rehearsed"] for each in verdicts} == {"50 of 100 users, 30 s of 5 min"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "orders", [{"ended": "interrupted"}, {"ended": "worker 1 died", "facts": {"stop requested": True}}]
)
def test_after_an_interrupted_run_nothing_more_is_loaded_and_all_is_told(
    project: Project, orders: dict[str, object]
) -> None:
    project.order(**orders)
    project.feature(QUICK)
    project.feature(QUICK.replace("100", "200"), "then")
    said = project.behave()
    assert said.loads == ["Run A: 100 users"]
    assert said.testbed[-1] == "close"
    assert len(said.criteria) == 2
    assert all(status != "pass" for status, _ in said.criteria.values())
    assert said.code == 2


@pytest.mark.slow
def test_how_a_run_ended_stands_in_the_results_in_words_and_by_kind(project: Project) -> None:
    project.order(ended="worker 1 died")
    project.feature(QUICK)
    project.behave()
    (run,) = json.loads((project.root / "reports" / "criteria.json").read_text())["runs"]
    assert run["ended"] == "worker 1 died"
    assert run["ending"] == {"kind": "worker died", "detail": "worker 1"}


def test_ctrl_c_leaves_the_rest_not_judged_and_the_environment_down(project: Project) -> None:
    project.order(interrupt=True)
    project.feature(QUICK)
    said = project.behave()
    assert [status for status, _ in said.criteria.values()] == ["not judged", "not judged"]
    assert said.testbed == ["run Run A: 100 users", "close"]
    assert said.code == 2


@pytest.mark.parametrize(
    "output",
    [(), ("-o", "out.txt"), ("-o", "out.txt", "--no-summary")],
    ids=["formatter", "summary", "results"],
)
def test_results_are_written_although_nobody_reads_the_output(
    project: Project, output: tuple[str, ...]
) -> None:
    project.feature(QUICK)
    behave = subprocess.Popen(
        [sys.executable, "-u", "-m", "behave", *output],
        cwd=project.root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert behave.stdout
    assert behave.stdout.readline()
    behave.stdout.close()
    _, errors = behave.communicate(timeout=60)
    assert b"Traceback" not in errors, errors.decode()
    written = json.loads((project.root / "reports" / "criteria.json").read_text())
    assert [each["verdict"]["status"] for each in written["criteria"]] == ["pass", "pass"]
    assert behave.returncode == 0


def test_a_prometheus_query_is_handed_to_the_testbed_that_observes(project: Project) -> None:
    project.feature(
        '  Scenario: Q\n    Given 100 concurrent users\n    Then the Prometheus query "up" is above 0\n'
    )
    assert project.behave().testbed[0] == "run Run A: 100 users up"


@pytest.mark.slow
@pytest.mark.parametrize("formatter", ["plain", "pretty", "json", "allure_behave.formatter:AllureFormatter"])
def test_the_stock_formatters_work_and_show_no_stack_trace(project: Project, formatter: str) -> None:
    project.order(seconds=0.7)
    project.feature(QUICK)
    said = project.behave("-f", formatter, "-o", "stock")
    assert said.code == 1
    left = project.root / "stock"
    written = [left] if left.is_file() else list(left.iterdir())
    texts = [file.read_text() for file in written]
    assert any("p95 stays below 500 ms" in text for text in texts)
    assert any("limit of 500 ms" in text for text in texts)
    assert not any(
        "Traceback" in text for text in texts if formatter != "allure_behave.formatter:AllureFormatter"
    )


@pytest.mark.slow
def test_a_service_that_does_not_answer_is_told_in_one_line_and_costs_no_stack_trace(
    project: Project,
) -> None:
    project.write("environment.py", (ROOT / "environment.py").read_text())
    project.feature(QUICK)
    said = project.behave()
    assert [status for status, _ in said.criteria.values()] == ["not judged", "not judged"]
    assert "http://127.0.0.1:1" in said.err
    assert len(said.err.splitlines()) == 1
    assert said.code == 2
    assert "Traceback" not in said.out
