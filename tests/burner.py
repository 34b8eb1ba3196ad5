"""A process that wants all of a processor, and is no child of who starts it: `with burning(2):`."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

NAME = f"{Path(sys.executable).name} burner.py"
"""As reports name it."""
_LONGEST = 120.0
"""Seconds after which it ends by itself, should nobody end it."""


@contextmanager
def burning(number: int = 1) -> Iterator[list[int]]:
    """Burners at the normal priority; gives their process ids. A shell that ends leaves them to the system."""
    pids = []
    for _ in range(number):
        command = f'"{sys.executable}" "{Path(__file__).resolve()}" >/dev/null 2>&1 & echo $!'
        shell = subprocess.run(["sh", "-c", command], stdout=subprocess.PIPE, check=True, text=True)
        pids.append(int(shell.stdout))
    while any(os.getsid(pid) != pid for pid in pids):
        time.sleep(0.01)
    try:
        yield pids
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    os.setsid()  # where the system shares processors among sessions, it has a share of its own
    end = time.monotonic() + _LONGEST
    while time.monotonic() < end:
        pass
