"""`loadkit stop NAME`: end the load on an environment now. What ran is kept and judged for what it is."""

import argparse
import os
import signal
import time
from pathlib import Path

from loadkit.environment import environment, lock

__all__ = ["add", "execute"]

_PATIENCE = 60.0
"""Seconds that a run may take to gather what it has and let go."""


def add(command: argparse.ArgumentParser) -> None:
    """Give the command its options."""
    command.add_argument(
        "name", nargs="?", default="local", help="as in environments/NAME.toml (default: local)"
    )


def execute(options: argparse.Namespace) -> int:
    """Tell whoever holds the environment to end its load, as Ctrl-C would, and wait until it has."""
    chosen = environment.load(options.name, Path.cwd())
    facts = chosen.control.call("status") if chosen.control else {}
    if chosen.control and not facts.get("up"):
        print(f"{chosen.name} is not up: there is no load on it")
        return 0
    target = chosen.target(facts)
    holder = lock.holder_of(target)
    if holder is None:
        print(f"there is no load on {chosen.name} from this machine")
        return 0
    os.kill(holder.pid, signal.SIGINT)
    deadline = time.monotonic() + _PATIENCE
    while lock.holder_of(target) == holder:
        if time.monotonic() > deadline:
            print(f"{holder} was told to stop and has not after {_PATIENCE:.0f} s")
            return 2
        time.sleep(0.1)  # bounded by the deadline above
    print(f"stopped {holder}")
    return 0
