"""Generate the report of the last results with the command that pyproject.toml configures."""

import argparse

from loadkit.cli.project import run_command

__all__ = ["add", "execute"]


def add(command: argparse.ArgumentParser) -> None:
    """Add the options of the command; there are none."""


def execute(_: argparse.Namespace) -> int:
    """Run ``[tool.loadkit] report`` of pyproject.toml; the load kit generates no report itself."""
    return 2 if run_command("report", ["python", "allure/generate.py"]).returncode else 0
