"""Commands that a project configures in its pyproject.toml.

The load kit itself depends on no test runner and no report generator.
"""

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
        name: name of the command.
        example: example of a command, shown if none is configured.
        arguments: appended to the command.
        capture: capture the standard output of the command.

    Raises:
        ConfigurationError: the project configures no such command.

    """
    try:
        settings = tomllib.loads(Path("pyproject.toml").read_text())
        command = settings["tool"]["loadkit"][name]
    except (OSError, KeyError, tomllib.TOMLDecodeError):
        shown = ", ".join(f'"{part}"' for part in example)
        raise ConfigurationError(
            f"pyproject.toml: no {name} command; expected such as [tool.loadkit] {name} = [{shown}]"
        ) from None
    words = [sys.executable if part == "python" else part for part in command]
    return subprocess.run(
        [*words, *arguments], check=False, text=True, stdout=subprocess.PIPE if capture else None
    )
