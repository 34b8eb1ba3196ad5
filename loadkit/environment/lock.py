"""One run per environment at a time: a lock that names its holder, and goes with it however it ends.

The lock is the kernel's (`flock`), so that a holder killed with -9 leaves none behind; the file beside it only says who
holds it. It speaks for one machine: suites on several machines that share a target must agree otherwise.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from loadkit.errors import LoadkitError
from loadkit.target import Target

__all__ = ["BusyError", "Holder", "hold", "holder_of"]

_TRIES, _BETWEEN_TRIES = 5, 0.02


@dataclass(frozen=True, slots=True)
class Holder:
    """Who puts load on an environment."""

    pid: int
    since: float
    """Unix seconds."""
    what: str
    """What it does there: "Run A: 1000 users"."""

    def __str__(self) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(self.since))
        return f"process {self.pid} since {clock} ({self.what})"


class BusyError(LoadkitError):
    """Somebody else's load is on this environment."""


@contextlib.contextmanager
def hold(target: Target, what: str) -> Iterator[None]:
    """Keep everybody else's load off a target while the block runs.

    Args:
        target: what is loaded.
        what: told to who comes in between.

    Raises:
        BusyError: it is held; the sentence names by whom.

    """
    path = _path(target)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with path.open("a+") as file:
        if not _drained(file):
            holder = _read(path)
            raise BusyError(
                f"{target.name} is under load by {holder or 'another process'}: wait for its end, or end it: "
                f"loadkit stop {target.name}"
            )
        try:
            file.truncate(0)
            json.dump(asdict(Holder(os.getpid(), time.time(), what)), file)
            file.flush()
            yield
        finally:
            file.truncate(0)


def holder_of(target: Target) -> Holder | None:
    """Who puts load on a target now; None where nobody does."""
    path = _path(target)
    if not path.exists():
        return None
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _read(path)
    return None


def _drained(file: IO[str]) -> bool:
    """Take the lock; a try fails for an instant also where somebody only looks who holds it."""
    for _ in range(_TRIES):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_BETWEEN_TRIES)  # so few times that nobody notices
        else:
            return True
    return False


def _path(target: Target) -> Path:
    place = hashlib.sha256(target.base.encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"loadkit-{os.getuid()}" / f"{target.name}-{place}.lock"


def _read(path: Path) -> Holder | None:
    try:
        return Holder(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None
