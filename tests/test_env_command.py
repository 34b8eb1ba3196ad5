"""`loadkit env`: verbs of an environment's own control command."""

import json
import sys
from pathlib import Path

import pytest

from loadkit import cli

CONTROL = """
import json, sys
print("working", file=sys.stderr)
known = {"slow": {"description": "it takes longer", "parameters": {"delay": 1.5}}}
print(json.dumps({"faults": known} if sys.argv[1] == "faults" else {"told": sys.argv[1:]}))
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "control.py").write_text(CONTROL)
    (tmp_path / "environments").mkdir()
    for name in ("local", "other"):
        command = json.dumps([sys.executable, "control.py"])
        (tmp_path / "environments" / f"{name}.toml").write_text(
            f'base = "http://127.0.0.1:1"\ncontrol = {command}\n'
        )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def env(capsys, *arguments) -> tuple[int, str]:
    code = cli.main(["env", *arguments])
    return code, capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["scale", "other", "4"], ["scale", "4"]),
        (["scale", "4"], ["scale", "4"]),
        (["fault", "local", "slow", "on"], ["fault", "slow", "on"]),
        (["fault", "slow", "off"], ["fault", "slow", "off"]),
        (
            ["fault", "local", "slow", "on", "--set", "share=0.1", "--set", "delay=1"],
            ["fault", "slow", "on", "--set", "share=0.1", "--set", "delay=1"],
        ),
        (["clean", "local", "--run", "20261123-1502-ab12"], ["clean", "--run", "20261123-1502-ab12"]),
        (["seed", "local", "--events", "10M"], ["seed", "--events", "10000000", "--seed", "1"]),
        (["logs", "local", "postgres"], ["logs", "postgres"]),
    ],
)
def test_a_verb_is_handed_to_the_control_command(project: Path, capsys, arguments, told):
    code, out = env(capsys, arguments[0], *arguments[1:], "--json")
    assert (code, json.loads(out)) == (0, {"told": told})


def test_faults_are_listed_with_their_parameters_a_line_each(project: Path, capsys):
    assert env(capsys, "faults", "local") == (0, "slow  it takes longer delay=1.5\n")


def test_an_environment_without_control_command_is_told_in_one_line(project: Path, capsys):
    (project / "environments" / "far.toml").write_text('base = "https://example.org"\n')
    assert cli.main(["env", "scale", "far", "2"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
