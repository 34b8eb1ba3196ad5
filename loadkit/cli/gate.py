"""`loadkit gate`: decide by the last results whether a release passes, and set the exit code."""

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
        help="folder of criteria.json (default: reports)",
    )
    command.add_argument(
        "--sign-off", action="store_true", help="refuse rehearsals: only runs at the stated load count"
    )


def execute(options: argparse.Namespace) -> int:
    """Print the criteria that did not pass, and return the exit code."""
    code, lines = gate.gate(options.results, sign_off=options.sign_off)
    print("\n".join(lines))
    return code
