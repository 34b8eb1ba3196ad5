"""`loadkit report`: make the readable report of the last results, by the command that the project names for it."""

import argparse
import subprocess
import sys
import tomllib
from pathlib import Path

from loadkit.errors import ConfigurationError

__all__ = ["add", "execute"]


def add(command: argparse.ArgumentParser) -> None:
    """Give the command its options."""


def execute(_: argparse.Namespace) -> int:
    """Run ``[tool.loadkit] report`` of pyproject.toml: the load kit itself knows no report format but its own."""
    try:
        settings = tomllib.loads(Path("pyproject.toml").read_text())
        command = settings["tool"]["loadkit"]["report"]
    except (OSError, KeyError, tomllib.TOMLDecodeError):
        raise ConfigurationError(
            'no report command here; pyproject.toml names it: [tool.loadkit] report = ["python", "allure/generate.py"]'
        ) from None
    done = subprocess.run([sys.executable if part == "python" else part for part in command], check=False)
    return 2 if done.returncode else 0
