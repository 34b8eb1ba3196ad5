"""The control command of an environment: its answer, its progress, and its end."""

import os
from pathlib import Path

import pytest

from loadkit.environment.control import Control
from loadkit.errors import ConfigurationError
from tests.local_environment import eventually

UP = 'print(\'{"base": "http://x"}\')'


def control(tmp_path: Path, program: str) -> Control:
    (tmp_path / "control.py").write_text(f"import subprocess, sys, time\n{program}")
    return Control(("python", "control.py"), tmp_path)


def test_its_last_line_is_its_answer_and_stderr_its_progress(tmp_path: Path) -> None:
    program = f'print("starting", file=sys.stderr)\nprint("noise" * 99999)\n{UP}'
    heard: list[str] = []
    assert control(tmp_path, program).call("up", progress=heard.append) == {"base": "http://x"}
    assert heard == ["starting"]


def test_its_progress_is_heard_while_it_works(tmp_path: Path) -> None:
    go = tmp_path / "go"
    program = f"""
print("first\\rsecond\\r\\n", file=sys.stderr, flush=True)
while not __import__("os").path.exists({str(go)!r}):
    time.sleep(0.01)
{UP}"""
    heard: list[str] = []

    def hear(line: str) -> None:
        heard.append(line)
        go.touch()

    assert control(tmp_path, program).call("up", progress=hear, within=60) == {"base": "http://x"}
    assert heard == ["first", "second"]


def test_if_it_fails_its_last_line_is_the_error(tmp_path: Path) -> None:
    program = 'print("starting", file=sys.stderr)\nsys.exit("port 80 is taken")'
    with pytest.raises(ConfigurationError, match=r"^port 80 is taken$"):
        control(tmp_path, program).call("up")


@pytest.mark.parametrize("answer", ["hello", "", "5", "[]", '{"base": '])
def test_an_answer_that_is_no_object_is_refused(tmp_path: Path, answer: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^python control\.py up printed no JSON object$"):
        control(tmp_path, f"print({answer!r})").call("up")


def test_an_answer_that_a_process_of_the_command_writes_shortly_after_its_end_is_read(tmp_path: Path) -> None:
    late = f"import time; time.sleep(0.4); {UP}"
    program = f"subprocess.Popen([sys.executable, '-c', {late!r}])"
    assert control(tmp_path, program).call("up") == {"base": "http://x"}


def test_a_script_that_truncates_its_stderr_still_has_its_last_line_as_its_error(tmp_path: Path) -> None:
    program = """
print("starting the database and everything else", file=sys.stderr, flush=True)
time.sleep(1)
subprocess.run(["sh", "-c", "echo port 80 is taken >/dev/stderr"])
sys.stderr.write("by another program")
sys.exit(1)"""
    heard: list[str] = []
    with pytest.raises(ConfigurationError, match=r"^by another program$"):
        control(tmp_path, program).call("up", progress=heard.append)
    assert heard == ["starting the database and everything else", "port 80 is taken"]


def test_a_service_that_keeps_its_output_neither_blocks_nor_ends(tmp_path: Path) -> None:
    service = """
import pathlib, sys, time
while not pathlib.Path("go").exists():
    time.sleep(0.01)
print("a request", file=sys.stderr, flush=True)
print("a request", flush=True)
pathlib.Path("written").touch()
"""
    program = f"""
service = subprocess.Popen([sys.executable, "-c", {service!r}])
{UP}"""
    try:
        assert control(tmp_path, program).call("up", within=60) == {"base": "http://x"}
    finally:
        (tmp_path / "go").touch()
    assert eventually((tmp_path / "written").exists, 60)


@pytest.mark.parametrize("before", ["", "sys.stderr.close(); os.close(2)"])
def test_if_it_does_not_end_in_time_it_is_stopped_and_its_last_line_is_named(
    tmp_path: Path, before: str
) -> None:
    program = f"""
import os
print(os.getpid(), file=sys.stderr)
print("waiting for the database? ", end="", file=sys.stderr, flush=True)
{before}
time.sleep(600)"""
    heard: list[str] = []
    expected = (
        r"^python control\.py fault did not end within 8 s, so it was stopped; "
        r"its last line: waiting for the database\?$"
    )
    with pytest.raises(ConfigurationError, match=expected):
        control(tmp_path, program).call("fault", progress=heard.append, within=8.0)
    with pytest.raises(ProcessLookupError):
        os.kill(int(heard[0]), 0)
