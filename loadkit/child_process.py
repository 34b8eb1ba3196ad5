"""A process that was started by another one of the suite."""

import ctypes
import os
import signal
import sys

__all__ = ["end_with"]

_SET_PARENT_DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG of Linux."""


def end_with(parent: int) -> None:
    """Let this process end when its parent process ends for any reason, or now if it has ended.

    Args:
        parent: the id of the parent process. It was read before this process started, because the
            parent may have ended since.

    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
