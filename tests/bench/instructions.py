"""Counts the instructions of this thread in user mode, with Linux's perf events.

Virtual machines and containers often have no such counter.
"""

import ctypes
import os
import struct
from types import TracebackType
from typing import Self

__all__ = ["InstructionCounter"]

_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}
"""Numbers of the system call."""
_SIZE = 64
"""Bytes of the first version of ``perf_event_attr``."""
_HARDWARE, _INSTRUCTIONS = 0, 1
_EXCLUDE_KERNEL, _EXCLUDE_HYPERVISOR = 1 << 5, 1 << 6


class InstructionCounter:
    """Counts from its creation on; a context manager that closes it."""

    def __init__(self, kind: int = _HARDWARE, event: int = _INSTRUCTIONS) -> None:
        """Open the counter; the arguments are the type and the config of ``perf_event_open(2)``.

        Raises:
            OSError: the kernel or the machine does not count.

        """
        number = _PERF_EVENT_OPEN.get(os.uname().machine)
        if number is None:
            raise OSError("unknown machine")
        flags = _EXCLUDE_KERNEL | _EXCLUDE_HYPERVISOR
        attributes = struct.pack("IIQQQQQ", kind, _SIZE, event, 0, 0, 0, flags).ljust(_SIZE, b"\0")
        library = ctypes.CDLL(None, use_errno=True)
        self._file = library.syscall(number, attributes, 0, -1, -1, 0)
        if self._file < 0:
            raise OSError(ctypes.get_errno(), "perf_event_open")

    def read(self) -> int:
        """How many there were since the creation."""
        return int.from_bytes(os.read(self._file, 8), "little")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)
