"""A lock that allows one session per environment at a time and names its holder.

The lock is the kernel's (`flock`), so a holder killed with -9 leaves no lock behind. The content of
the file only names the holder. The lock covers one machine: suites on several machines that share a
target must coordinate in another way.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from loadkit.errors import LoadkitError
from loadkit.target import Target

__all__ = ["BusyError", "Holder", "file_of", "hold", "holder_of"]

_TRIES, _BETWEEN_TRIES = 5, 0.02


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that loads an environment."""

    pid: int
    since: float
    """Unix seconds."""
    what: str
    """Its activity: "Run A: 1000 users"."""

    def __str__(self) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(self.since))
        return f"process {self.pid} since {clock} ({self.what})"


class BusyError(LoadkitError):
    """Another process loads this environment."""


@contextlib.contextmanager
def hold(target: Target, what: str) -> Iterator[Callable[[str], None]]:
    """Hold the lock of a target while the block runs.

    Args:
        target: the target of the load.
        what: the activity, which the error of another process shows. The context manager gives a
            function that changes it.

    Raises:
        BusyError: another process holds the lock; the message names it.

    """
    path = file_of(target, "lock")
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with path.open("a+") as file:
        if not _acquire(file):
            holder = _read(path)
            raise BusyError(
                f"{target.name} is under load by {holder or 'another process'}: wait for its end, or stop "
                f"it: loadkit stop {target.file or target.name}"
            )

        def name(what: str) -> None:
            file.truncate(0)
            json.dump(asdict(Holder(os.getpid(), time.time(), what)), file)
            file.flush()

        try:
            name(what)
            yield name
        finally:
            file.truncate(0)


def holder_of(target: Target) -> Holder | None:
    """The process that loads a target now; None without one."""
    path = file_of(target, "lock")
    if not path.exists():
        return None
    with path.open("a+") as file:
        for _ in range(_TRIES):
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                if (holder := _read(path)) is not None:
                    return holder
                time.sleep(_BETWEEN_TRIES)  # the holder is just writing its name
            else:
                return None
    return None


def file_of(target: Target, kind: str) -> Path:
    """The path of this user's file about a target; the file is lost when the machine restarts.

    Args:
        target: the target.
        kind: the suffix of its name: "lock".

    """
    place = hashlib.sha256(target.base.encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"loadkit-{os.getuid()}" / f"{target.name}-{place}.{kind}"


def _acquire(file: IO[str]) -> bool:
    """Take the lock; retry, because `holder_of` in another process may block it for an instant."""
    for _ in range(_TRIES):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_BETWEEN_TRIES)  # at most 0.1 s in all
        else:
            return True
    return False


def _read(path: Path) -> Holder | None:
    try:
        return Holder(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None
