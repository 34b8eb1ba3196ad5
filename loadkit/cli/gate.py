"""`loadkit gate`: may this release pass? Reads the results of a suite's run, counts criteria, and says so by exit code."""

import argparse
from pathlib import Path

from loadkit.reports import gate

__all__ = ["add", "execute"]


def add(command: argparse.ArgumentParser) -> None:
    """Give the command its options."""
    command.add_argument(
        "results", nargs="?", type=Path, default=Path("reports"), help="the folder of criteria.json"
    )
    command.add_argument(
        "--sign-off", action="store_true", help="refuse rehearsals: only the stated load counts"
    )


def execute(options: argparse.Namespace) -> int:
    """Print what is not a pass, and return the code."""
    code, lines = gate.gate(options.results, sign_off=options.sign_off)
    print("\n".join(lines))
    return code
