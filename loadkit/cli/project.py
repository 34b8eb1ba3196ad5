"""What a project's pyproject.toml names for the load kit: commands, since the kit knows of no test runner or report."""

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
        name: of the command.
        example: what it may be, for who has none.
        arguments: appended to it.
        capture: keep what it prints on the standard output.

    Raises:
        ConfigurationError: the project names no such command.

    """
    try:
        settings = tomllib.loads(Path("pyproject.toml").read_text())
        command = settings["tool"]["loadkit"][name]
    except (OSError, KeyError, tomllib.TOMLDecodeError):
        shown = ", ".join(f'"{part}"' for part in example)
        raise ConfigurationError(
            f"no {name} command here; pyproject.toml names it: [tool.loadkit] {name} = [{shown}]"
        ) from None
    words = [sys.executable if part == "python" else part for part in command]
    return subprocess.run(
        [*words, *arguments], check=False, text=True, stdout=subprocess.PIPE if capture else None
    )
