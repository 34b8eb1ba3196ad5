"""Check the sentences of all features and list the runs that they need, without load."""

import argparse

from loadkit.cli.project import run_command

__all__ = ["add", "execute"]


def add(command: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    command.add_argument("features", nargs="*", help="files or folders (default: all features)")


def execute(options: argparse.Namespace) -> int:
    """Run ``[tool.loadkit] check`` of pyproject.toml."""
    return (
        2
        if run_command("check", ["python", "-m", "behave", "--dry-run"], *options.features).returncode
        else 0
    )
