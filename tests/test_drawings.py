"""Attachments are drawn in several processes, and have the same contents as those drawn in one."""

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time

import pytest
from allure_commons.types import AttachmentType

from steps.suite import drawings as module
from steps.suite.drawings import drawings
from steps.suite.evidence import Attachment

HERE = os.getpid()
ALONE = """
from steps.suite import drawings
from tests import test_drawings
drawings._processes = lambda _: {processes}
test_drawings.{check}()
"""


def run_alone(check, processes):
    """Run a check in a new interpreter: pytest-xdist has threads, and such a process must not fork."""
    code = ALONE.format(check=check, processes=processes)
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr


def attachment(key, draw):
    return Attachment(f"chart {key}", key, AttachmentType.CSV, draw)


def fail():
    raise ValueError("no such figure")


def contents_and_kinds():
    groups = [
        [attachment(f"{run}-{number}", f"{run}.{number}".encode) for number in range(3)] for run in range(4)
    ]
    with drawings(groups) as drawn:
        contents = [[drawn.of(each) for each in group] for group in groups]
    assert contents == [
        [(AttachmentType.CSV, f"{run}.{number}".encode()) for number in range(3)] for run in range(4)
    ]


def equal_keys():
    with tempfile.TemporaryFile() as file:

        def draw():
            os.write(file.fileno(), b"x")  # the processes share the file
            return b"drawn"

        one, same = (attachment("one", draw) for _ in range(2))
        with drawings([[one, same], [attachment("other", bytes)]]) as drawn:
            assert drawn.of(one) == drawn.of(same) == drawn.of(one) == (AttachmentType.CSV, b"drawn")
        assert os.fstat(file.fileno()).st_size == 1


def what_belongs_to_no_run():
    with drawings([[attachment("a", bytes)], [attachment("b", bytes)]]) as drawn:
        assert int(drawn.of(attachment("table", lambda: str(os.getpid()).encode()))[1]) == HERE


def one_cannot_be_drawn():
    bad, good = attachment("bad", fail), attachment("good", lambda: b"x")
    with drawings([[bad, good], [attachment("b", bytes)]]) as drawn:
        kind, content = drawn.of(bad)
        assert (kind, drawn.of(good)) == (AttachmentType.TEXT, (AttachmentType.CSV, b"x"))
    assert content.startswith(b'cannot make "chart bad": ValueError: no such figure (test_drawings.py, line ')


@pytest.mark.parametrize("processes", [0, 2], ids=["here", "elsewhere"])
@pytest.mark.parametrize(
    "check", [contents_and_kinds, equal_keys, what_belongs_to_no_run, one_cannot_be_drawn]
)
def test_the_contents_are_the_same_wherever_they_are_drawn(check, processes):
    run_alone(check.__name__, processes)


def wait_for(size, file):
    """Wait until all processes together have written so many bytes."""
    deadline = time.monotonic() + 20
    while os.fstat(file.fileno()).st_size < size:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def two_processes():
    with tempfile.TemporaryFile() as file:

        def draw():
            os.write(file.fileno(), b"x")
            wait_for(2, file)
            return str(os.getpid()).encode()

        groups = [[attachment(str(run), draw)] for run in range(2)]
        with drawings(groups) as drawn:
            pids = {int(drawn.of(each)[1]) for (each,) in groups}
    assert len(pids - {HERE}) == 2, pids


def test_other_processes_draw():
    run_alone("two_processes", 2)


def a_large_group():
    with tempfile.TemporaryFile() as file:

        def draw_slowly():
            wait_for(5, file)
            return b"last"

        def draw():
            os.write(file.fileno(), b"x")
            return b"x"

        groups = [
            [attachment("0", draw_slowly)],
            *([attachment(str(run), draw)] for run in range(1, 6)),
        ]
        with drawings(groups) as drawn:
            contents = [drawn.of(each)[1] for (each,) in groups]
    assert contents == [b"last", *[b"x"] * 5]


def test_while_one_process_draws_a_large_group_the_other_draws_the_rest():
    run_alone("a_large_group", 2)


def a_killed_process():
    def die_elsewhere():
        if os.getpid() != HERE:
            os.kill(os.getpid(), signal.SIGKILL)
        return b"x"

    groups = [[attachment(str(run), die_elsewhere)] for run in range(4)]
    with drawings(groups) as drawn:
        assert [drawn.of(each)[1] for (each,) in groups] == [b"x"] * 4


def test_what_a_killed_process_did_not_draw_is_drawn_here():
    run_alone("a_killed_process", 2)


def a_hanging_process():
    def hang_elsewhere():
        if os.getpid() != HERE:
            time.sleep(600)
        return b"x"

    module._PATIENCE = 0.2
    groups = [[attachment(str(run), hang_elsewhere)] for run in range(4)]
    with drawings(groups) as drawn:
        assert [drawn.of(each)[1] for (each,) in groups] == [b"x"] * 4
    assert multiprocessing.active_children() == []


def test_what_a_hanging_process_does_not_draw_is_drawn_here():
    run_alone("a_hanging_process", 2)


def an_interrupted_session():
    started = []

    def interrupted():
        with drawings([[attachment(str(run), lambda: time.sleep(600))] for run in range(4)]):
            started.extend(multiprocessing.active_children())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (len(started), multiprocessing.active_children()) == (2, [])


def test_no_process_remains():
    run_alone("an_interrupted_session", 2)


def test_a_process_with_threads_does_not_fork(monkeypatch):
    monkeypatch.setattr(threading, "active_count", lambda: 1)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert (module._processes(3), module._processes(30), module._processes(0)) == (3, 8, 0)
    assert (module._processes(module._MOST), module._processes(module._MOST + 1)) == (8, 0)
    monkeypatch.setattr(threading, "active_count", lambda: 2)
    assert module._processes(3) == 0


KILLED = """
import os, time
from allure_commons.types import AttachmentType
from steps.suite import drawings
from steps.suite.evidence import Attachment
drawings._processes = lambda _: 2

def draw():
    print(os.getpid(), flush=True)
    time.sleep(600)

groups = [[Attachment("t", str(n), AttachmentType.TEXT, draw)] for n in range(2)]
with drawings.drawings(groups) as drawn:
    drawn.of(groups[0][0])
"""


def test_the_processes_end_with_a_session_that_is_killed():
    with subprocess.Popen([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True) as session:
        drawing = [int(session.stdout.readline()) for _ in range(2)]
        session.kill()
        rest, _ = session.communicate(timeout=20)  # until the last process has closed its output
    assert (rest, len({session.pid, *drawing})) == ("", 3)
