"""`loadkit check`: read all features without load; say what cannot be read, and which runs there would be."""

import argparse

from loadkit.cli.project import run_command

__all__ = ["add", "execute"]


def add(command: argparse.ArgumentParser) -> None:
    """Give the command its options."""
    command.add_argument("features", nargs="*", help="files or folders; all features where none are given")


def execute(options: argparse.Namespace) -> int:
    """Run ``[tool.loadkit] check`` of pyproject.toml."""
    return (
        2
        if run_command("check", ["python", "-m", "behave", "--dry-run"], *options.features).returncode
        else 0
    )
