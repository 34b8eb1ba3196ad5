"""Runs that earlier versions kept are read and judged as they were then."""

import json
from pathlib import Path

import pytest

from loadkit import grammar
from loadkit.judging.evidence import Evidence
from loadkit.recording.archive import load, save
from loadkit.reports.summary import summarise
from tests.builders import judge

KEPT = sorted(path for path in (Path(__file__).parent / "archived_runs").iterdir() if path.is_dir())


def verdicts_of(folder: Path) -> list[dict]:
    return json.loads((folder / "verdicts.json").read_text())["verdicts"]


def cases() -> list:
    return [
        pytest.param(folder, verdict, id=f"{folder.name}-{verdict['criterion']}")
        for folder in KEPT
        for verdict in verdicts_of(folder)
    ]


@pytest.mark.parametrize(("folder", "then"), cases())
def test_a_kept_run_is_judged_as_it_was_when_it_was_kept(folder: Path, then: dict) -> None:
    now = judge(grammar.criterion(then["criterion"]), load(folder))
    assert now.status == then["status"]
    assert now.measured == pytest.approx(then["measured"])
    assert now.samples == then["samples"]


@pytest.mark.parametrize("folder", KEPT, ids=lambda folder: folder.name)
def test_a_kept_run_has_the_figures_that_it_had(folder: Path) -> None:
    then = json.loads((folder / "verdicts.json").read_text())["summary"]
    run = load(folder)
    now = summarise(Evidence(run))
    for figure in ("operations", "failed", "dropped", "filled", "throughput", "error_rate", "window"):
        assert now[figure] == then[figure]
    for times in ("response_time", "response_time_ok", "service_time", "lateness"):
        assert now[times] == pytest.approx(then[times])
    assert set(now["by_label"]) == set(then["by_label"])


@pytest.mark.parametrize("folder", KEPT, ids=lambda folder: folder.name)
def test_a_kept_run_that_is_kept_again_says_the_same(folder: Path, tmp_path: Path) -> None:
    run = load(folder)
    again = load(save(run, tmp_path))
    for then in verdicts_of(folder):
        criterion = grammar.criterion(then["criterion"])
        assert judge(criterion, again) == judge(criterion, run)
