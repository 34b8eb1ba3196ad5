"""Stop the load on an environment. The incomplete run is saved and judged."""

import argparse
import os
import signal
import time
from pathlib import Path

from loadkit.environment import environment, lock

__all__ = ["add", "execute"]

_PATIENCE = 60.0
"""Seconds that a run may take to collect its results and release the environment."""


def add(command: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    command.add_argument(
        "name", nargs="?", default="local", help="environment, as in environments/NAME.toml (default: local)"
    )


def execute(options: argparse.Namespace) -> int:
    """Interrupt the process that holds the environment, as Ctrl-C does, and wait for its end."""
    chosen = environment.load(options.name, Path.cwd())
    facts = chosen.control.call("status") if chosen.control else {}
    if chosen.control and not facts.get("up"):
        print(f"{chosen.name} is not up and has no load")
        return 0
    target = chosen.target(facts)
    holder = lock.holder_of(target)
    if holder is None:
        print(f"{chosen.name} has no load from this machine")
        return 0
    os.kill(holder.pid, signal.SIGINT)
    deadline = time.monotonic() + _PATIENCE
    while lock.holder_of(target) == holder:
        if time.monotonic() > deadline:
            print(f"{holder} did not stop within {_PATIENCE:.0f} s")
            return 2
        time.sleep(0.1)  # bounded by the deadline above
    print(f"stopped {holder}")
    return 0
