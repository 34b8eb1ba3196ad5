"""The common parts of control commands: one verb per function, JSON output, one-line errors."""

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from environments.local.errors import LocalError


def say(line: str) -> None:
    """Print a line to standard error."""
    print(line, file=sys.stderr, flush=True)


def verbs_of(parser: argparse.ArgumentParser) -> Callable[[Any], argparse.ArgumentParser]:
    """Return a function that adds an action as a verb of the same name and returns its parser."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(action: Any) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = verbs.add_parser(
            action.__name__, help=action.__doc__, description=action.__doc__
        )
        added.set_defaults(action=action)
        return added

    return verb


def execute(begin: Callable[[], Coroutine[Any, Any, Any]]) -> int:
    """Execute a verb, print its result as JSON, and return the exit code."""
    try:
        print(json.dumps(asyncio.run(begin())))
    except LocalError as error:
        say(f"error: {error}")
        return 2
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    return 0
