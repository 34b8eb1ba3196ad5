"""Commands that a project's pyproject.toml defines; the load kit depends on no test runner."""

import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

from loadkit.errors import ConfigurationError

__all__ = ["run_command"]


def run_command(
    name: str, example: Sequence[str], *arguments: str, capture: bool = False
) -> "subprocess.CompletedProcess[str]":
    """Run ``[tool.loadkit] NAME`` of pyproject.toml in the current directory.

    Args:
        name: the name of the command.
        example: an example of the command, for the error.
        arguments: arguments appended to the command.
        capture: capture its standard output.

    Raises:
        ConfigurationError: the project defines no such command.

    """
    try:
        settings = tomllib.loads(Path("pyproject.toml").read_text())
        command = settings["tool"]["loadkit"][name]
    except (OSError, KeyError, tomllib.TOMLDecodeError):
        shown = ", ".join(f'"{part}"' for part in example)
        raise ConfigurationError(
            f"no {name} command in pyproject.toml; expected such as [tool.loadkit] {name} = [{shown}]"
        ) from None
    words = [sys.executable if part == "python" else part for part in command]
    return subprocess.run(
        [*words, *arguments], check=False, text=True, stdout=subprocess.PIPE if capture else None
    )
