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
    """A command that starts and stops an environment; it prints one JSON object as its last line."""

    command: tuple[str, ...]
    root: Path

    def call(self, *arguments: str, progress: Callable[[str], None] | None = None) -> dict[str, Any]:
        """Run a verb and return what it printed.

        Each line of its stderr goes to `progress` as it comes, with addresses masked.

        Raises:
            ConfigurationError: it failed; the sentence is its own last line on stderr.

        """
        command = [sys.executable if part == "python" else part for part in self.command]
        told = ""
        try:
            # stdout goes to a file: two pipes read one after the other would block on a long answer.
            with (
                tempfile.TemporaryFile("w+") as stdout,
                subprocess.Popen(
                    [*command, *arguments], cwd=self.root, stdout=stdout, stderr=subprocess.PIPE, text=True
                ) as process,
            ):
                assert process.stderr is not None
                for line in process.stderr:
                    if progress and told:
                        progress(told)
                    told = masked(line.rstrip())
                process.wait()
                stdout.seek(0)
                printed = stdout.read().strip().splitlines()
        except OSError as error:
            raise ConfigurationError(f"cannot run {' '.join(self.command)}: {error.strerror}") from None
        if process.returncode:
            raise ConfigurationError(
                told or f"{' '.join(self.command)} {arguments[0]}: exit {process.returncode}"
            )
        if progress and told:
            progress(told)
        try:
            return dict(json.loads(printed[-1]))
        except (IndexError, ValueError):
            raise ConfigurationError(
                f"{' '.join(self.command)} {arguments[0]} printed no JSON object"
            ) from None
