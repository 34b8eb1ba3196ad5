"""The command of a project that starts, changes and stops an environment."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadkit.errors import ConfigurationError
from loadkit.target import masked

__all__ = ["Control"]


@dataclass(frozen=True, slots=True)
class Control:
    """A command that starts and stops an environment; its last line of output is a JSON object."""

    command: tuple[str, ...]
    root: Path

    def call(self, *arguments: str, progress: Callable[[str], None] | None = None) -> dict[str, Any]:
        """Run a verb and return the JSON object that it prints.

        `progress` receives the lines of its stderr, with addresses masked. It receives each line
        when the next one arrives, because the last line of a failed command is its error.

        Raises:
            ConfigurationError: the command failed; the message is its last line on stderr.

        """
        command = [sys.executable if part == "python" else part for part in self.command]
        last_line = ""
        try:
            # stdout goes to a file: two pipes read one after the other would block on long output.
            with (
                tempfile.TemporaryFile("w+") as stdout,
                subprocess.Popen(
                    [*command, *arguments], cwd=self.root, stdout=stdout, stderr=subprocess.PIPE, text=True
                ) as process,
            ):
                assert process.stderr is not None
                for line in process.stderr:
                    if progress and last_line:
                        progress(last_line)
                    last_line = masked(line.rstrip())
                process.wait()
                stdout.seek(0)
                printed = stdout.read().strip().splitlines()
        except OSError as error:
            raise ConfigurationError(f"cannot run {' '.join(self.command)}: {error.strerror}") from None
        if process.returncode:
            raise ConfigurationError(
                last_line or f"{' '.join(self.command)} {arguments[0]}: exit {process.returncode}"
            )
        if progress and last_line:
            progress(last_line)
        try:
            return dict(json.loads(printed[-1]))
        except (IndexError, ValueError):
            raise ConfigurationError(
                f"{' '.join(self.command)} {arguments[0]} printed no JSON object"
            ) from None
