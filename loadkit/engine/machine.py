"""Facts about the load generator: software versions and the machine."""

import os
import platform
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__ = ["facts"]

_PACKAGES = ("sla-acceptance", "uvloop", "httptools", "numpy")
"""Packages whose version may affect a result."""


def facts() -> dict[str, Any]:
    """Versions and machine, as JSON values."""
    from importlib.metadata import version  # an earlier import would delay the load

    return {
        "versions": {
            "python": platform.python_version(),
            **{package: version(package) for package in _PACKAGES},
        },
        "machine": {
            "system": platform.platform(),
            "cpu": _cpu_model(),
            "cores": os.cpu_count(),
            "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        },
    }


def _cpu_model() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
