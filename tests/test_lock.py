"""One run per environment at a time."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from loadkit.environment import environment, lock
from loadkit.environment.lock import BusyError
from loadkit.target import Target

HERE = Target("here", "http://127.0.0.1:1")
THERE = Target("here", "http://127.0.0.1:2")
HOLDING = """
import signal
from loadkit.environment import lock
from loadkit.target import Target
with lock.hold(Target("here", "http://127.0.0.1:1"), "Run A: 7 users"):
    print("held", flush=True)
    signal.pause()
"""


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)


def test_who_comes_second_is_told_who_holds_it() -> None:
    with lock.hold(HERE, "Run A: 7 users"):
        with (
            pytest.raises(
                BusyError, match=rf"under load by process {os.getpid()} since .* \(Run A: 7 users\)"
            ),
            lock.hold(HERE, "another"),
        ):
            pytest.fail("it was held")
        with lock.hold(THERE, "another target"):
            pass
    with lock.hold(HERE, "after it"):
        holder = lock.holder_of(HERE)
        assert holder is not None
        assert holder.what == "after it"
    assert lock.holder_of(HERE) is None


def test_who_comes_second_is_told_to_stop_it_by_the_name_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "environments").mkdir()
    (tmp_path / "environments" / "staging.toml").write_text('name = "eu"\nbase = "http://127.0.0.1:1"\n')
    target = environment.load("staging", tmp_path).target({})
    with (
        lock.hold(target, "Run A"),
        pytest.raises(BusyError, match=r"^eu is under load .*: loadkit stop staging$"),
        lock.hold(target, "another"),
    ):
        pytest.fail("it was held")


def test_a_holder_killed_with_9_holds_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDING], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        holder = lock.holder_of(HERE)
        assert holder is not None
        assert holder.pid == process.pid
        process.send_signal(signal.SIGKILL)
    assert lock.holder_of(HERE) is None
    with lock.hold(HERE, "next"):
        pass
