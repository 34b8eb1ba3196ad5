"""The benchmark's tools are run to their end, and one that has none is ended."""

import sys

import pytest

from tests.bench import tools
from tests.bench.tools import Load, Tool, measured


def spent(tmp_path, monkeypatch, program, patience):
    monkeypatch.setattr(tools, "_PATIENCE", patience)
    monkeypatch.setattr(tools, "_LOOK", 0.01)
    answered = iter(range(1_000_000))
    tool = Tool("a tool", (sys.executable, "-c", program), "1")
    return measured(tool, "", Load(1, 1), tmp_path / "log", lambda: next(answered))


def test_a_tool_that_does_not_end_is_ended_and_the_middle_of_its_load_counts(tmp_path, monkeypatch, capsys):
    found = spent(tmp_path, monkeypatch, "while True: pass", 1)
    assert (found.middle[1], found.has_ended) == (1, False)
    assert "a tool did not end by itself" in capsys.readouterr().out


def test_a_tool_that_fails_ends_the_benchmark(tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match="a tool failed"):
        spent(tmp_path, monkeypatch, "raise SystemExit(3)", 60)


def test_a_tool_that_somebody_else_kills_ends_the_benchmark(tmp_path, monkeypatch):
    program = "import os, time; time.sleep(1); os.kill(os.getpid(), 9)"
    with pytest.raises(SystemExit, match="a tool failed"):
        spent(tmp_path, monkeypatch, program, 60)
