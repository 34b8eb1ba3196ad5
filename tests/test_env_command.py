"""`loadkit env`: verbs of an environment's own control command."""

import json
import sys
import time
from pathlib import Path

import pytest

from loadkit import cli
from loadkit.cli import env as command

ROOT = Path(__file__).parents[1]

CONTROL = """
import json, sys
print("working", file=sys.stderr)
known = {"slow": {"description": "it takes longer", "parameters": {"delay": 1.5}}}
logs = {"postgres": {"file": "/logs/postgres.log", "lines": ["ready", "gone to postgresql://u:secret@h/d"]}}
answers = {
    "faults": {"faults": known},
    "logs": {"logs": {**logs, "valkey": {"file": "/logs/valkey.log", "lines": []}}},
    "status": {
        "up": True, "base": "http://127.0.0.1:1", "database": "postgresql://u:secret@h/d",
        "instances": [{"name": "metrics-1", "pid": 7, "state": "running"}, {"name": "metrics-2", "state": "dead"}],
        "parts": {"postgres": {"pid": 8, "healthy": True}}, "rows": {"events": 10, "users": 2}, "faults": {},
        "incidents": [{"time": 0.0, "part": "valkey", "what": "died"}],
    },
}
print(json.dumps({"told": sys.argv[1:]} if "tell" in sys.argv[0] else answers.get(sys.argv[1], {"told": sys.argv[1:]})))
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "control.py").write_text(CONTROL)
    (tmp_path / "tell.py").write_text(CONTROL)
    (tmp_path / "environments").mkdir()
    for name, program in (("local", "control.py"), ("other", "control.py"), ("echo", "tell.py")):
        command = json.dumps([sys.executable, program])
        (tmp_path / "environments" / f"{name}.toml").write_text(
            f'base = "http://127.0.0.1:1"\nseed_allowed = true\ncontrol = {command}\n'
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
        (["up", "other"], ["up"]),
        (["fault", "local", "slow", "on"], ["fault", "slow", "on"]),
        (["fault", "slow", "off"], ["fault", "slow", "off"]),
        (
            ["fault", "local", "slow", "on", "--set", "share=0.1", "--set", "delay=1"],
            ["fault", "slow", "on", "--set", "share=0.1", "--set", "delay=1"],
        ),
        (["clean", "local", "--run", "20261123-1502-ab12"], ["clean", "--run", "20261123-1502-ab12"]),
        (["clean", "local", "--all"], ["clean", "--all"]),
        (["seed", "local", "--events", "10M"], ["seed", "--events", "10000000", "--seed", "1"]),
        (["seed", "local", "--events", "500k"], ["seed", "--events", "500000", "--seed", "1"]),
        (["seed", "local", "--events", "2.5M"], ["seed", "--events", "2500000", "--seed", "1"]),
        (["seed", "local", "--events", "1,250,000"], ["seed", "--events", "1250000", "--seed", "1"]),
        (["logs", "echo"], ["logs", "--lines", "20"]),
        (["logs", "echo", "postgres", "--lines", "5"], ["logs", "--lines", "5", "postgres"]),
    ],
)
def test_a_verb_is_handed_to_the_control_command(project: Path, capsys, arguments, told):
    code, out = env(capsys, arguments[0], *arguments[1:], "--json")
    assert (code, json.loads(out)) == (0, {"told": told})


def test_options_after_two_hyphens_are_handed_to_the_control_command(project: Path, capsys):
    code, out = env(capsys, "up", "--json", "other", "--", "--pgbouncer", "--size=4")
    assert (code, json.loads(out)) == (0, {"told": ["up", "--pgbouncer", "--size=4"]})


@pytest.mark.parametrize(
    ("is_terminal", "printed"),
    [
        (True, "up\nseeding: 1 of 3\n\x1b[1A\r\x1b[2Kseeding: 2 of 3\n3 events\nseeding: 1 of 4\n"),
        (False, "up\nseeding: 1 of 3\nseeding: 2 of 3\n3 events\nseeding: 1 of 4\n"),
    ],
)
def test_on_a_terminal_a_line_of_progress_replaces_the_last_one_of_its_topic(
    monkeypatch, capsys, is_terminal, printed
):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    progress = command._Progress()
    for line in ("up", "seeding: 1 of 3", "seeding: 2 of 3", "3 events", "seeding: 1 of 4"):
        progress(line)
    assert capsys.readouterr().err == printed


def test_faults_are_listed_with_their_parameters_a_line_each(project: Path, capsys):
    assert env(capsys, "faults", "local") == (0, "slow  it takes longer delay=1.5\n")


def test_the_last_lines_of_each_log_are_told_below_the_path_of_its_file(project: Path, capsys):
    assert env(capsys, "logs") == (
        0,
        "postgres: /logs/postgres.log\nready\ngone to postgresql://***@h/d\n\nvalkey: /logs/valkey.log\n(empty)\n",
    )


def test_a_control_command_that_tells_of_no_logs_is_one_line(project: Path, capsys):
    assert cli.main(["env", "logs", "echo"]) == 2
    assert "loadkit: the control command of echo: logs: missing" in capsys.readouterr().err


def test_what_runs_is_told_in_lines_without_quotes_or_braces(project: Path, capsys):
    died = time.strftime("%H:%M:%S", time.localtime(0.0))
    code, out = env(capsys, "status")
    assert (code, out.splitlines()) == (
        0,
        [
            "up         yes",
            "base       http://127.0.0.1:1",
            "database   postgresql://***@h/d",
            "instances  name metrics-1, pid 7, state running",
            "           name metrics-2, state dead",
            "parts      postgres: pid 8, healthy yes",
            "rows       events 10, users 2",
            "faults     none",
            f"incidents  {died}, part valkey, what died",
        ],
    )


def test_an_environment_without_control_command_is_told_in_one_line(project: Path, capsys):
    (project / "environments" / "far.toml").write_text('base = "https://example.org"\n')
    assert cli.main(["env", "scale", "far", "2"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("number", ["10G", "10B", "1.000", "1e400", "0.25", "ten", "1,25", "-1", ""])
def test_a_number_of_events_that_could_mean_another_is_refused(project: Path, capsys, number):
    assert cli.main(["env", "seed", "local", f"--events={number}"]) == 2
    assert f'cannot read "{number}" as a number of events' in capsys.readouterr().err


def test_a_database_is_not_seeded_unless_the_environment_file_allows_it(project: Path, capsys):
    (project / "environments" / "far.toml").write_text(
        f'base = "https://example.org"\ncontrol = {json.dumps([sys.executable, "control.py"])}\n'
    )
    assert cli.main(["env", "seed", "far", "--events", "10M"]) == 2
    assert capsys.readouterr() == (
        "",
        "loadkit: far.toml does not allow seeding; expected seed_allowed = true\n",
    )


@pytest.fixture
def kept_logs(tmp_path, monkeypatch) -> Path:
    """Logs that an earlier local environment left; none is up."""
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "haproxy.log").write_text("".join(f"request {number}\n" for number in range(1, 31)))
    (folder / "postgres.log").write_bytes(b"caf\xff\n")
    monkeypatch.setenv("METRICS_LOCAL_DIR", str(tmp_path))
    monkeypatch.chdir(ROOT)
    return folder


def test_the_local_environment_tells_twenty_lines_of_each_log_or_as_many_as_asked_for(kept_logs, capsys):
    last = [f"request {number}" for number in range(11, 31)]
    expected = [
        f"haproxy: {kept_logs}/haproxy.log",
        *last,
        "",
        f"postgres: {kept_logs}/postgres.log",
        "caf\ufffd",
    ]
    assert env(capsys, "logs") == (0, "\n".join(expected) + "\n")
    short = f"haproxy: {kept_logs}/haproxy.log\nrequest 29\nrequest 30\n"
    assert env(capsys, "logs", "local", "haproxy", "--lines", "2") == (0, short)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["local", "gremlins"], "there is no log of 'gremlins'; there are: haproxy, postgres"),
        (["--lines", "0"], "--lines 0: expected at least 1"),
    ],
)
def test_a_log_that_is_not_there_is_told_in_one_line(kept_logs, capsys, arguments, said):
    assert cli.main(["env", "logs", *arguments]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
