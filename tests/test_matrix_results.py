"""The page of the matrix's results: made by the runs, complete, and kept by runs of some rows."""

import pytest

from loadkit.verdict import Status, Verdict
from tests.matrix import results
from tests.matrix.areas import AREAS, Outcome

MESSAGES = AREAS["messages"]
LOST = next(row for row in MESSAGES.rows if row.fault == "messages-lost")
CUT = next(row for row in MESSAGES.rows if row.fault == "connections-cut")


def outcome(health="ok", **verdicts):
    """The usual verdicts, but for some."""
    usual = {name: next(iter(MESSAGES.usual(name))) for name in MESSAGES.criteria}
    statuses = {**usual, **{name: Status(word) for name, word in verdicts.items()}}
    return Outcome({name: Verdict("", status, "") for name, status in statuses.items()}, health)


def line(page, row, area="messages"):
    return results.lines_of(page.read_text())[area][row.name]


@pytest.fixture
def page(tmp_path):
    return tmp_path / "RESULTS.md"


def test_a_line_says_what_was_switched_on_and_which_verdicts_are_not_as_usual(page):
    results.record("messages", LOST, outcome(lost="fail", reach="fail"), page)
    today = results._today()
    assert line(page, LOST) == f"| messages-lost share=0.02 | reach, lost |  |  |  | yes | {today} |"


def test_a_pass_is_named_where_it_is_not_usual(page):
    results.record("messages", CUT, outcome(open="fail", back="pass"), page)
    assert line(page, CUT).startswith("| connections-cut share=0.01, after 10 s | open | back |  |  | yes |")


def test_a_verdict_that_must_not_be_is_said_to_be_wrong(page):
    results.record("messages", LOST, outcome(lost="fail", reach="pass", order="fail"), page)
    assert "**reach is pass**, **order is fail**" in line(page, LOST)


def test_doubt_is_told_and_not_wrong_where_the_machine_was_busy(page):
    results.record("messages", LOST, outcome("invalid", lost="fail", reach="fail", fresh="invalid"), page)
    assert "| reach, lost |  |  | fresh | yes; the machine was busy |" in line(page, LOST)


def test_a_run_of_some_rows_keeps_the_lines_of_the_others_and_replaces_its_own(page):
    results.record("messages", LOST, outcome(lost="fail"), page)
    results.record("messages", CUT, outcome(open="fail"), page)
    before = line(page, CUT)
    results.record("messages", LOST, outcome(lost="fail", reach="fail"), page)
    assert line(page, CUT) == before
    assert "| reach, lost |" in line(page, LOST)


def test_a_line_of_a_row_that_is_no_more_is_left_out(page):
    results.record("messages", LOST, outcome(), page)
    page.write_text(page.read_text().replace("messages-doubled", "messages-eaten"))
    results.record("messages", LOST, outcome(), page)
    assert "messages-eaten" not in page.read_text()


def test_runs_with_nothing_wrong_are_counted_by_verdict_and_a_fail_is_named(page):
    verdicts = outcome(order="fail", fresh="invalid").verdicts
    results.record_quiet(3, verdicts, page)
    found = results.lines_of(page.read_text())["Runs without a fault"]
    assert found["run 3"].startswith("| run 3 | 1 | 7 | 1 | 1 | order |")
    assert "not run yet" in found["run 4"]


def test_each_row_of_an_area_has_a_name_of_its_own():
    for area in AREAS.values():
        names = [row.name for row in area.rows]
        assert len(set(names)) == len(names)


def test_the_page_has_exactly_the_rows_and_criteria_that_there_are():
    """Run a row of the matrix to write the page anew."""
    text = results.PAGE.read_text()
    assert text == results.page_of(results.lines_of(text))
