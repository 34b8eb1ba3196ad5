"""Child processes that end when the supervisor ends."""

import asyncio
import ctypes
import os
import signal
import socket
import subprocess
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from environments.local.errors import LocalError

_PR_SET_PDEATHSIG = 1
_CLONE_NEWUSER = 0x10000000
_FREEZE_SECONDS = 1.0
"""The longest wait until a signal has stopped a process."""
_libc = ctypes.CDLL(None, use_errno=True)


def _drop_privileges() -> None:
    """Enter a user namespace where this root process is user 1000; files still belong to root."""
    uid, gid = os.getuid(), os.getgid()
    if _libc.unshare(_CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "no user namespace")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"1000 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"1000 {gid} 1")


def bound_to_parent(
    death_signal: signal.Signals = signal.SIGKILL, *, ordinary: bool = False
) -> Callable[[], None]:
    """A preexec function that makes the kernel signal the child when its parent dies.

    The kernel watches the parent's *thread*, so children must be started from the main thread.
    `ordinary` makes root an ordinary user. This change of credentials would clear the setting, so
    it comes first.
    """
    parent = os.getpid()

    def prepare() -> None:
        if ordinary:
            _drop_privileges()
        _libc.prctl(_PR_SET_PDEATHSIG, death_signal)
        if os.getppid() != parent:  # the parent died before the setting
            os._exit(1)

    return prepare


@dataclass(slots=True)
class Program:
    """A part's process: its command, its log, and its signals."""

    name: str
    command: Sequence[str]
    log: Path
    directory: Path
    environment: dict[str, str] = field(default_factory=dict)
    death_signal: signal.Signals = signal.SIGKILL
    stop_signal: signal.Signals = signal.SIGTERM
    ordinary: bool = False
    process: subprocess.Popen[bytes] | None = None

    def start(self, *, piped: bool = False) -> subprocess.Popen[bytes]:
        """Start the program; `piped` adds pipes for commands and answers."""
        with self.log.open("ab") as log:
            output: IO[bytes] | int = subprocess.PIPE if piped else log
            try:
                self.process = subprocess.Popen(
                    list(self.command),
                    stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
                    stdout=output,
                    stderr=log,
                    cwd=self.directory,
                    env={**os.environ, **self.environment},
                    # The setting must apply before the program starts. It is safe here, because the
                    # supervisor starts all parts from one thread.
                    preexec_fn=bound_to_parent(self.death_signal, ordinary=self.ordinary),  # noqa: PLW1509  one thread
                )
            except OSError as error:
                raise LocalError(f"{self.name} cannot be started: {error}") from error
            except subprocess.SubprocessError as error:
                raise LocalError(
                    f"{self.name} does not run as root and this machine allows no user namespace: "
                    "run as an ordinary user"
                ) from error
        return self.process

    @property
    def pid(self) -> int:
        """The process id; 0 before the start."""
        return self.process.pid if self.process else 0

    @property
    def is_alive(self) -> bool:
        """Whether the process exists, even if a signal has stopped it."""
        return self.process is not None and self.process.poll() is None

    @property
    def state(self) -> str:
        """`running`, `frozen` (stopped by a signal), `dead`, or `not started`."""
        if self.process is None:
            return "not started"
        if not self.is_alive:
            return "dead"
        # The state letter follows the command's closing parenthesis: proc(5).
        letter = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
        return "frozen" if letter == "T" else "running"

    def signal(self, number: signal.Signals) -> None:
        """Send a signal if the process was started."""
        if self.process is not None:
            self.process.send_signal(number)

    async def freeze(self) -> None:
        """Stop the process with SIGSTOP, and wait until it has stopped.

        Each thread stops at its next return from the kernel. A busy machine needs a moment for it.
        """
        self.signal(signal.SIGSTOP)
        with suppress(TimeoutError):
            await until(lambda: self.state in {"frozen", "dead", "not started"}, _FREEZE_SECONDS)

    async def stop(self, grace: float = 5.0) -> None:
        """Ask the process to end; kill it after `grace` seconds."""
        self.signal(signal.SIGCONT)
        self.signal(self.stop_signal)
        try:
            await until(lambda: not self.is_alive, grace)
        except TimeoutError:
            self.signal(signal.SIGKILL)
            await until(lambda: not self.is_alive, grace)

    def last_log_line(self) -> str:
        """The last line of the log."""
        lines = self.log.read_text(errors="replace").strip().splitlines() if self.log.exists() else []
        return lines[-1] if lines else "its log is empty"


async def until(condition: Callable[[], bool], seconds: float) -> None:
    """Wait for a condition. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def free_port() -> int:
    """A free loopback port; another process may take it before it is used."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def start_listening(
    make: Callable[[int], Program], is_ready: Callable[[int], Awaitable[bool]], seconds: float = 20.0
) -> tuple[Program, int]:
    """Start a program on a free port and wait until it is ready; retry if the port was taken.

    Raises LocalError with the last line of the program's log.
    """
    for _ in range(3):
        port = free_port()
        program = make(port)
        await start_on(program, port, is_ready, seconds)
        if program.is_alive:
            return program, port
    raise LocalError(f"{program.name} does not start: {program.last_log_line()}")


async def start_on(
    program: Program, port: int, is_ready: Callable[[int], Awaitable[bool]], seconds: float = 20.0
) -> None:
    """Start a program on the given port and wait until it is ready or has died."""
    program.start()
    try:
        async with asyncio.timeout(seconds):
            while program.is_alive and not await is_ready(port):
                await asyncio.sleep(0.02)
    except TimeoutError:
        await program.stop(grace=1.0)
        raise LocalError(
            f"{program.name} is not ready after {seconds:g} s: {program.last_log_line()}"
        ) from None


async def accepts(port: int) -> bool:
    """Whether something accepts connections on a loopback port."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
