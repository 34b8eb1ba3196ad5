"""The command of a project that starts, changes and stops an environment."""

import json
import math
import os
import re
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadkit.errors import ConfigurationError
from loadkit.target import masked
from loadkit.units import format_seconds

__all__ = ["LONG", "Control"]

LONG = 7200.0
"""Seconds that a verb may take which starts or fills an environment."""
_SHORT = 600.0
"""Seconds that another verb may take."""
_CHUNK = 65_536
_POLL = 0.2
"""Seconds between two checks whether the command has ended."""
_REST = 1.0
"""Seconds after the end of the command in which its last lines are read."""


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
            ConfigurationError: the command failed or took too long; the message is its last line on
                stderr.

        """
        command = [sys.executable if part == "python" else part for part in self.command]
        words = f"{' '.join(self.command)} {arguments[0]}"
        last_line = ""
        try:
            # stdout goes to a file: two pipes read one after the other would block on long output.
            with (
                tempfile.TemporaryFile("w+b") as stdout,
                subprocess.Popen(
                    [*command, *arguments], cwd=self.root, stdout=stdout, stderr=subprocess.PIPE
                ) as process,
            ):
                for line in _lines(process, within):
                    if progress and last_line:
                        progress(last_line)
                    last_line = masked(line.rstrip())
                stdout.seek(0)
                printed = stdout.read().decode(errors="replace").strip().splitlines()
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
        try:
            return dict(json.loads(printed[-1]))
        except (IndexError, ValueError):
            raise ConfigurationError(f"{words} printed no JSON object") from None


def _lines(process: subprocess.Popen[bytes], within: float | None) -> Iterator[str]:
    """The lines of a command's stderr until it ends.

    A service that the command started can keep stderr open, so the end of stderr is not awaited.

    Raises:
        TimeoutError: the command did not end in time; it was killed.

    """
    assert process.stderr is not None
    last = math.inf if within is None else time.monotonic() + within
    has_ended, rest = False, b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stderr, selectors.EVENT_READ)
        while time.monotonic() < last:
            if not has_ended and process.poll() is not None:
                has_ended, last = True, time.monotonic() + _REST
            if selector.select(0 if has_ended else _POLL):
                received = os.read(process.stderr.fileno(), _CHUNK)
                if not received:
                    break
                # Progress bars end a line with a carriage return alone.
                *lines, rest = re.split(rb"[\r\n]+", rest[-_CHUNK:] + received)
                yield from (line.decode(errors="replace") for line in lines if line)
            elif has_ended:
                break
    if rest:
        yield rest.decode(errors="replace")
    try:
        process.wait(None if within is None else max(0.0, last - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()
        raise TimeoutError from None
