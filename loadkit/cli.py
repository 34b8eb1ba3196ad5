"""`loadkit`: what can be done without behave. Exit codes as in `loadkit.verdict`."""

import argparse
import os
import sys
from collections.abc import Sequence

from loadkit.commands import environment, gate, judge, report, run, stop
from loadkit.errors import LoadkitError

__all__ = ["main"]

_COMMANDS = (run, judge, gate, report, environment, stop)


def parser() -> argparse.ArgumentParser:
    """The command line, every command with its `--help`."""
    top = argparse.ArgumentParser(
        prog="loadkit",
        description="Put load on a service and judge what was promised of it.",
        epilog="exit codes: 0 pass, 1 fail, 2 usage, configuration or not judged, 3 inconclusive, 4 invalid",
    )
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add(commands)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; what the user can cause ends with one line on stderr, never with a stack trace."""
    options = parser().parse_args(arguments)
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


if __name__ == "__main__":
    sys.exit(main())
