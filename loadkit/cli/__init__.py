"""`loadkit`: what can be done without behave. Exit codes as in `loadkit.verdict`."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from loadkit.errors import LoadkitError

__all__ = ["main"]

_COMMANDS = {
    "run": "put load on one address",
    "judge": "judge a kept run again, without load",
    "gate": "may this release pass?",
    "trace": "which criteria judge which requirement, and what came of them",
    "check": "can every sentence be read, and which runs would there be?",
    "report": "make the readable report of the last results",
    "env": "start, look at and stop an environment",
    "stop": "end the load on an environment now",
    "calibrate": "what can this machine generate?",
}
"""Each is a module of `loadkit.cli`, imported when it is asked for: the start of one does not pay for the others."""


def parser(asked: Sequence[str]) -> argparse.ArgumentParser:
    """The command line, with the options of those commands that are asked for."""
    top = argparse.ArgumentParser(
        prog="loadkit",
        description="Put load on a service and judge what was promised of it.",
        epilog="exit codes: 0 pass, 1 fail, 2 usage, configuration or not judged, 3 inconclusive, 4 invalid",
    )
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, help_text in _COMMANDS.items():
        command = commands.add_parser(name, help=help_text)
        if name in asked:
            module = import_module(f"loadkit.cli.{name}")
            command.description = module.__doc__
            command.set_defaults(execute=module.execute)
            module.add(command)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; what the user can cause ends with one line on stderr, never with a stack trace."""
    given = sys.argv[1:] if arguments is None else arguments
    options = parser(given).parse_args(given)
    try:
        code = int(options.execute(options))
        sys.stdout.flush()
    except LoadkitError as error:
        print(f"loadkit: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("loadkit: interrupted", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader of our output went away (`| head`): nothing is wrong with what was judged.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code
