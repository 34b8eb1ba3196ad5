"""`loadkit`: the command line that needs no behave. Exit codes as in `loadkit.verdict`."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from loadkit.errors import LoadkitError

__all__ = ["main"]

_COMMANDS = {
    "run": "run a load against one URL",
    "judge": "judge a saved run again, without load",
    "gate": "decide by the last results whether a release may pass",
    "trace": "list all requirements with the criteria that judge them",
    "check": "check all sentences and list the runs, without load",
    "report": "generate the report of the last results",
    "env": "start, inspect, disturb and stop an environment",
    "stop": "stop the load on an environment",
    "calibrate": "measure how much load this machine can generate",
}
"""Each command is a module of `loadkit.cli`. Only the module in use is imported: a fast start."""


def parser(given: Sequence[str]) -> argparse.ArgumentParser:
    """The command line, with the options of the commands among the given arguments."""
    top = argparse.ArgumentParser(
        prog="loadkit",
        description="Run load against a service and judge its acceptance criteria.",
        epilog="exit codes: 0 pass, 1 fail, 2 usage, configuration or not judged, 3 inconclusive, 4 invalid",
    )
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, help_text in _COMMANDS.items():
        command = commands.add_parser(name, help=help_text)
        if name in given:
            module = import_module(f"loadkit.cli.{name}")
            command.description = module.__doc__
            command.set_defaults(execute=module.execute)
            module.add(command)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Errors that a user can cause print one line on stderr, no stack trace."""
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
        # The reader of the output closed the pipe (`| head`). This does not affect the verdicts.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code
