"""A load begins soon: what judges, draws and reads files is imported while it is on, or never."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from loadkit.cli.run import _imported_meanwhile
from tests.bad_servers import always_says, in_a_thread

ROOT = Path(__file__).parent.parent
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"

HEAVY = {
    "asyncio", "cattrs", "httpx", "importlib.metadata", "matplotlib", "numpy", "pandas",
    "prometheus_api_client", "psutil", "requests", "rich", "scipy", "uvloop",
}  # fmt: skip

READS = """
import json, sys
from loadkit import cli

cli.parser(sys.argv[1:])
print(json.dumps(sorted(sys.modules)))
"""

LOADS = """
import json, sys
from loadkit import cli
from loadkit.engine import run as engine

put_on, seen = engine.run, {}

def noting(*arguments, watch, **rest):
    def note(progress):
        seen.setdefault("in the first second", sorted(sys.modules))
        watch(progress)
    return put_on(*arguments, watch=note, **rest)

if __name__ == "__main__":
    engine.run = noting
    code = cli.main(["run", *sys.argv[1:]])
    seen["at the end"] = sorted(sys.modules)
    print(json.dumps(seen))
"""


def python(*arguments: str, folder: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=folder, env=environ, check=False
    )


def loaded(folder: Path, *options: str) -> dict[str, set[str]]:
    """The modules of a command that puts load on: when the load has been on for a second, and at its end."""
    script = folder / "loads.py"
    script.write_text(LOADS)
    load = ("--users=1", "--for=2s", "--ramp=0", "--think=0.1s..0.1s")
    with in_a_thread(always_says(OK)) as server:
        done = python(str(script), f"{server.base}/", *load, *options, folder=folder)
    assert not done.stderr.count("Traceback"), done.stderr
    return {when: set(modules) for when, modules in json.loads(done.stdout.splitlines()[-1]).items()}


@pytest.mark.parametrize("command", [(), ("run",), ("report",), ("check",)])
def test_to_read_a_command_line_takes_none_of_the_large_packages(command):
    found = set(json.loads(python("-c", READS, *command).stdout))
    assert "loadkit.cli" in found
    assert not HEAVY & found


def test_the_gate_does_without_numpy(tmp_path):
    gated = "import sys; from loadkit import cli; print(cli.main(['gate', 'absent']), 'numpy' in sys.modules)"
    assert python("-c", gated, folder=tmp_path).stdout.splitlines()[-1] == "2 False"


@pytest.mark.slow
def test_before_its_first_second_is_over_a_load_needs_nothing_that_judges_or_draws(tmp_path):
    modules = loaded(tmp_path, "--that=p50 is below 30 s", "--plot=run.svg")
    judging = {"scipy", "matplotlib", "loadkit.judging.judge", "loadkit.reports.charts"}
    # psutil is there from the start: it tells which processes of this machine are the service's.
    outside = {"pandas", "httpx", "cattrs", "rich", "importlib.metadata"}
    assert not (judging | outside) & modules["in the first second"]
    assert judging <= modules["at the end"]


@pytest.mark.slow
def test_a_load_without_a_criterion_does_without_scipy_to_its_end(tmp_path):
    modules = loaded(tmp_path)
    assert "loadkit.reports.table" in modules["at the end"]
    assert not {"scipy", "pandas", "matplotlib", "httpx", "cattrs"} & modules["at the end"]


def test_what_is_imported_meanwhile_is_there_at_the_end(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "needed_afterwards.py").write_text("")
    with _imported_meanwhile(["needed_afterwards"]) as begin:
        assert "needed_afterwards" not in sys.modules
        begin()
        begin()  # once a second while the load is on
    assert sys.modules.pop("needed_afterwards").__name__ == "needed_afterwards"


def test_nothing_is_imported_where_the_load_does_not_begin(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "never_needed.py").write_text("")
    with pytest.raises(OSError, match="no load"), _imported_meanwhile(["never_needed"]):
        raise OSError("no load")
    assert "never_needed" not in sys.modules
