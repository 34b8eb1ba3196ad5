"""`loadkit report`: generate the report of the last results with the project's report command."""

import argparse

from loadkit.cli.project import run_command

__all__ = ["add", "execute"]


def add(command: argparse.ArgumentParser) -> None:
    """Add no options: the command has none."""


def execute(_: argparse.Namespace) -> int:
    """Run ``[tool.loadkit] report`` of pyproject.toml."""
    return 2 if run_command("report", ["python", "allure/generate.py"]).returncode else 0
