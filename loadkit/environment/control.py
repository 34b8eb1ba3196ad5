"""The command of a project that starts, changes and stops an environment."""

import fcntl
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from loadkit.errors import ConfigurationError
from loadkit.target import masked
from loadkit.units import format_seconds

__all__ = ["LONG", "Control"]

LONG = 7200.0
"""Seconds that a verb may take which starts, fills or changes an environment."""
_SHORT = 600.0
"""Seconds that another verb may take."""
_POLL = 0.2
"""Seconds between two readings of the progress."""
_LONGEST_LINE = 65_536
"""Bytes that are kept of a line."""
_LATE_OUTPUT = 1.0
"""Seconds to wait for output after the command has ended."""


@dataclass(frozen=True, slots=True)
class Control:
    """A command that starts and stops an environment; its last line of output is a JSON object."""

    command: tuple[str, ...]
    root: Path

    def call(
        self,
        *arguments: str,
        progress: Callable[[str], None] | None = None,
        within: float | None = _SHORT,
    ) -> dict[str, Any]:
        """Run a verb and return the JSON object that it prints.

        Args:
            arguments: the verb and its arguments.
            progress: receives the lines of its stderr, with addresses masked. It receives each line
                when the next one arrives, because the last line of a failed command is its error.
            within: seconds after which the command is killed; None to wait without a limit.

        Raises:
            ConfigurationError: the command failed or took too long; the message has its last line
                on stderr.

        """
        command = [sys.executable if part == "python" else part for part in self.command]
        words = f"{' '.join(self.command)} {arguments[0]}"
        last_line = ""
        try:
            # The output goes to files. A service that the command started in the background may keep
            # writing to them; it would keep a pipe open, or die of a pipe that is closed.
            with (
                _output() as stdout,
                _output() as stderr,
                subprocess.Popen(
                    [*command, *arguments], cwd=self.root, stdout=stdout, stderr=stderr
                ) as process,
            ):
                for line in _lines(process, stderr.fileno(), within):
                    if progress and last_line:
                        progress(last_line)
                    last_line = masked(line.rstrip())
                answer = None if process.returncode else _answer(stdout.fileno())
        except TimeoutError:
            raise ConfigurationError(
                f"{words} did not end within {format_seconds(within or 0.0)}, so it was stopped"
                f"{f'; its last line: {last_line}' if last_line else ''}"
            ) from None
        except OSError as error:
            raise ConfigurationError(f"cannot run {' '.join(self.command)}: {error.strerror}") from None
        if process.returncode:
            raise ConfigurationError(last_line or f"{words}: exit {process.returncode}")
        if progress and last_line:
            progress(last_line)
        if answer is None:
            raise ConfigurationError(f"{words} printed no JSON object")
        return answer


def _output() -> BinaryIO:
    """A file without a name that receives the output of a command, and is removed when it is closed."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    # A script that opens `/dev/stderr` for writing truncates the file. Its other processes must
    # then write to the new end, not at their old offset.
    fcntl.fcntl(file, fcntl.F_SETFL, fcntl.fcntl(file, fcntl.F_GETFL) | os.O_APPEND)
    return file


def _answer(stdout: int) -> dict[str, Any] | None:
    """The JSON object in the last line of a file; None if there is none.

    In a shell script, a process such as `tee` may write the line shortly after the script has ended.

    Args:
        stdout: the file descriptor of the file that receives a command's stdout.

    """
    last = time.monotonic() + _LATE_OUTPUT
    while True:
        printed = os.pread(stdout, os.fstat(stdout).st_size, 0).decode(errors="replace").split("\n")
        with suppress(ValueError):
            answer = json.loads(next((line for line in reversed(printed) if line.strip()), ""))
            if isinstance(answer, dict):
                return answer
        if time.monotonic() > last:
            return None
        time.sleep(_POLL)


def _lines(process: subprocess.Popen[bytes], stderr: int, within: float | None) -> Iterator[str]:
    """The lines of a command's stderr until the command ends.

    Args:
        process: the command.
        stderr: the file descriptor of the file that receives its stderr.
        within: seconds after which the command is killed.

    Raises:
        TimeoutError: the command did not end in time.

    """
    last = math.inf if within is None else time.monotonic() + within
    offset, rest, has_ended, is_late = 0, b"", False, False
    while not (has_ended or is_late):
        with suppress(subprocess.TimeoutExpired):
            process.wait(_POLL)
            has_ended = True
        is_late = not has_ended and time.monotonic() > last
        if is_late:
            process.kill()
        size = os.fstat(stderr).st_size
        if size < offset:  # the command truncated it
            offset, rest = 0, b""
        received = os.pread(stderr, size - offset, offset)
        offset += len(received)
        # Progress bars end a line with a carriage return alone.
        *lines, rest = re.split(rb"[\r\n]+", rest[-_LONGEST_LINE:] + received)
        yield from (line.decode(errors="replace") for line in lines if line)
    if rest:
        yield rest.decode(errors="replace")
    if is_late:
        raise TimeoutError
