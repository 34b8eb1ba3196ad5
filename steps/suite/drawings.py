"""The contents of a report's attachments, drawn in several processes at once.

A session of thirty runs has 800 charts and tables. To draw them takes minutes of processor time.
"""

import gc
import os
import signal
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.connection import Connection, wait
from typing import cast

from allure_commons.types import AttachmentType

from loadkit.child_process import end_with
from loadkit.errors import one_line
from steps.suite.evidence import Attachment

__all__ = ["Content", "Drawings", "drawings"]

Content = tuple[AttachmentType, bytes]
"""The kind and the content of an attachment."""

_PATIENCE = 180.0
"""Seconds without a result of any process, after which this process draws itself.

The attachments of a run take a few seconds, and up to half a minute after an hour of load."""
_TURN = struct.Struct("=H")
"""The number of a group, as the processes read it from a pipe."""
_MOST = 2_000
"""The number of groups whose numbers a pipe surely holds; it has one page of memory at least."""


class Drawings:
    """The contents of attachments. Attachments with equal keys are drawn once."""

    def __init__(self, pipes: Sequence[Connection] = (), elsewhere: Sequence[str] = ()) -> None:
        """Begin with nothing drawn.

        Args:
            pipes: the ends of pipes at which other processes give what they draw.
            elsewhere: the keys of what they draw.

        """
        self._pipes = list(pipes)
        self._elsewhere = frozenset(elsewhere)
        self._contents: dict[str, Content] = {}

    def of(self, attachment: Attachment) -> Content:
        """The content of an attachment; the error as text if it cannot be made."""
        key = attachment.key
        while key not in self._contents and key in self._elsewhere and self._pipes:
            self._receive()
        if key not in self._contents:
            self._contents[key] = _drawn(attachment)
        return self._contents[key]

    def _receive(self) -> None:
        """Wait for a result of any process, so that none must wait for this one."""
        ready = cast("list[Connection]", wait(self._pipes, _PATIENCE))
        if not ready:
            self._pipes.clear()
        for pipe in ready:
            try:
                self._contents |= pipe.recv()
            except (EOFError, OSError):  # its process has ended, possibly for lack of memory
                self._pipes.remove(pipe)


@contextmanager
def drawings(groups: Sequence[Sequence[Attachment]]) -> Iterator[Drawings]:
    """Draw groups of attachments, each group in one process.

    A process takes the next group when it is done with one, because some take much longer than others.

    Args:
        groups: the attachments of each run, since a run's charts use the same figures of it.

    """
    count = _processes(len(groups))
    if count < 2:
        yield Drawings()
        return
    context = get_context("fork")
    started, pipes = [], []
    turns = _turns(len(groups))
    try:
        for _ in range(count):
            here, there = context.Pipe(duplex=False)
            process = context.Process(target=_draw, args=(os.getpid(), groups, turns, there), daemon=True)
            process.start()
            there.close()  # else the pipe would not end with the process
            started.append(process)
            pipes.append(here)
        yield Drawings(pipes, [each.key for group in groups for each in group])
    finally:
        os.close(turns)
        for process, pipe in zip(started, pipes, strict=True):
            process.kill()
            process.join()
            pipe.close()


def _processes(groups: int) -> int:
    """The number of processes that draw so many groups; at most one means this process.

    A process with several threads must not fork: a lock of another thread would stay locked.
    """
    can_fork = "fork" in get_all_start_methods() and threading.active_count() == 1
    return min(groups, os.cpu_count() or 1) if can_fork and groups <= _MOST else 0


def _turns(groups: int) -> int:
    """A descriptor of a pipe from which each group's number can be read once.

    It has no lock, which a killed process would keep. The kernel gives each number to one reader.
    """
    here, there = os.pipe()
    os.write(there, b"".join(map(_TURN.pack, range(groups))))
    os.close(there)
    return here


def _draw(parent: int, groups: Sequence[Sequence[Attachment]], turns: int, pipe: Connection) -> None:
    """In a process of its own: draw one group after the other, and send the contents of each."""
    end_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when this process ends
    gc.freeze()  # else the collector would copy the memory that it shares with the parent
    while turn := os.read(turns, _TURN.size):
        contents: dict[str, Content] = {}
        for each in groups[_TURN.unpack(turn)[0]]:
            if each.key not in contents:
                contents[each.key] = _drawn(each)
        with suppress(OSError):  # the parent has ended
            pipe.send(contents)


def _drawn(attachment: Attachment) -> Content:
    try:
        return attachment.kind, attachment.draw()
    except Exception as error:
        # One failed attachment must not prevent the results of the session.
        message = f'cannot make "{attachment.title}": {one_line(error)}'
        return AttachmentType.TEXT, message.encode()
