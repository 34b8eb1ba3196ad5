"""`loadkit stop NAME`: stop the load on an environment; the partial run is archived and judged."""

import argparse
import os
import signal
import time
from pathlib import Path

from loadkit.environment import environment, lock

__all__ = ["add", "execute"]

_TIMEOUT = 120.0
"""Seconds for the session to collect its samples, write its results and release the lock."""


def add(command: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    command.add_argument(
        "name", nargs="?", default="local", help="as in environments/NAME.toml (default: local)"
    )


def execute(options: argparse.Namespace) -> int:
    """Interrupt the process that loads the environment, as Ctrl-C would, and wait for its end."""
    chosen = environment.load(options.name, Path.cwd())
    facts = chosen.control.call("status") if chosen.control else {}
    if chosen.control and not facts.get("up"):
        print(f"{chosen.name} is not up: it has no load")
        return 0
    target = chosen.target(facts)
    holder = lock.holder_of(target)
    if holder is None:
        print(f"this machine puts no load on {chosen.name}")
        return 0
    os.kill(holder.pid, signal.SIGINT)
    deadline = time.monotonic() + _TIMEOUT
    while (now := lock.holder_of(target)) is not None and now.pid == holder.pid:
        if time.monotonic() > deadline:
            print(f"{holder} received the stop signal and still runs after {_TIMEOUT:.0f} s")
            return 2
        time.sleep(0.1)  # bounded by the deadline above
    print(f"stopped {holder}")
    return 0
