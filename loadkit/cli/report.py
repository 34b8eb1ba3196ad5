"""`loadkit report`: make the readable report of the last results, by the command that the project names for it."""

import argparse

from loadkit.cli.project import run_command

__all__ = ["add", "execute"]


def add(command: argparse.ArgumentParser) -> None:
    """Give the command its options."""


def execute(_: argparse.Namespace) -> int:
    """Run ``[tool.loadkit] report`` of pyproject.toml: the load kit itself knows no report format but its own."""
    return 2 if run_command("report", ["python", "allure/generate.py"]).returncode else 0
