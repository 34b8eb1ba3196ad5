"""The command `loadkit`, which works without behave. Exit codes as in `loadkit.verdict`."""

import argparse
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module

from loadkit.errors import LoadkitError

__all__ = ["main"]

_COMMANDS = {
    "run": "load one address, print the results and judge them",
    "judge": "judge an archived run again, without load",
    "gate": "decide by the last results whether a release passes",
    "trace": "list the criteria and the last verdicts of each requirement",
    "check": "check every sentence and list the planned runs, without load",
    "report": "generate the report of the last results",
    "env": "start, inspect, disturb and stop an environment",
    "stop": "stop the load on an environment",
    "calibrate": "measure the maximum load that this machine can generate",
}
"""Each command is a module of `loadkit.cli`; only the requested one is imported, to start fast."""


_PIPE_CLOSED = 141
"""The exit code if the reader of the output has gone; a process that SIGPIPE ends has the same."""


def parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """The parser of the command line, with the options of the commands named in `arguments`."""
    top = argparse.ArgumentParser(
        prog="loadkit",
        description="Load a service and judge its service-level criteria.",
        epilog="exit codes: 0 pass, 1 fail, 2 usage, configuration or not judged, 3 inconclusive, 4 invalid",
    )
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, help_text in _COMMANDS.items():
        command = commands.add_parser(name, help=help_text)
        if name in arguments:
            module = import_module(f"loadkit.cli.{name}")
            command.description = module.__doc__
            command.set_defaults(execute=module.execute)
            module.add(command)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; an error that a user can cause prints one line on stderr, no traceback."""
    given = sys.argv[1:] if arguments is None else arguments
    options = parser(given).parse_args(given)
    try:
        with _terminated_as_interrupted():
            code = int(options.execute(options))
        sys.stdout.flush()
    except LoadkitError as error:
        print(f"loadkit: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("loadkit: interrupted", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader of the output closed the pipe (`| head`). The verdicts may not be known yet.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _PIPE_CLOSED
    except Exception:
        # An error of loadkit is not a verdict on the service, so the exit code must not be 1.
        traceback.print_exc()
        return 2
    return code


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM have the effect of Ctrl-C: `timeout` and pipelines send it. So a load is judged."""
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
