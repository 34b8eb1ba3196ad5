"""Measures the CPU and memory usage of the parts of the environment."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress

import psutil

_SECONDS = 0.5
"""Seconds over which the CPU usage is measured. The kernel counts in hundredths of a second."""


async def measure(programs: Mapping[str, int], supervisor: int) -> dict[str, dict[str, float]]:
    """Measure the usage of each part with its child processes, of the supervisor, and in total.

    Args:
        programs: process id by name of the part; the usage of 0 or of an ended process is 0.
        supervisor: process id of the supervisor, whose child processes are the parts.

    Returns:
        By name: `cpu_cores` (the mean over half a second, in cores), `memory_mb` (proportional set
        size, in 10^6 bytes, so shared pages count once in the total) and `processes`.

    """
    groups = {name: _family(pid) for name, pid in programs.items()}
    groups["supervisor"] = _family(supervisor)[:1]
    before = {process: _cpu(process) for group in groups.values() for process in group}
    began = time.monotonic()
    await asyncio.sleep(_SECONDS)
    seconds = time.monotonic() - began
    usage = {}
    for name, group in groups.items():
        spent = sum(max(0.0, _cpu(process) - before[process]) for process in group)
        usage[name] = {
            "cpu_cores": round(spent / seconds, 2),
            "memory_mb": round(sum(map(_memory, group)) / 1e6, 1),
            "processes": len(group),
        }
    usage["total"] = {
        figure: round(sum(each[figure] for each in usage.values()), 2)
        for figure in ("cpu_cores", "memory_mb", "processes")
    }
    return usage


def _family(pid: int) -> list[psutil.Process]:
    """A process and its descendants."""
    if pid == 0:
        return []
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []  # it has ended


def _cpu(process: psutil.Process) -> float:
    """CPU seconds of a process so far; 0 if it has ended."""
    with suppress(psutil.Error):
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0


def _memory(process: psutil.Process) -> int:
    """The proportional set size of a process in bytes; 0 if it has ended."""
    with suppress(psutil.Error):
        return int(process.memory_full_info().pss)
    return 0
