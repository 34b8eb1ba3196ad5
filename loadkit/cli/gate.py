"""Decide whether a release may pass: list the criteria that do not pass and return the exit code."""

import argparse
from pathlib import Path

from loadkit.reports import gate

__all__ = ["add", "execute"]


def add(command: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    command.add_argument(
        "results",
        nargs="?",
        type=Path,
        default=Path("reports"),
        help="criteria.json or its folder (default: reports)",
    )
    command.add_argument("--sign-off", action="store_true", help="refuse rehearsals: require the stated load")


def execute(options: argparse.Namespace) -> int:
    """Print the criteria that do not pass, and return the exit code."""
    code, lines = gate.gate(options.results, sign_off=options.sign_off)
    print("\n".join(lines))
    return code
