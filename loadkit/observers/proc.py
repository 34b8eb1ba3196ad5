"""Watches this machine during a load by reading /proc once a second."""

import ipaddress
import os
import re
import socket
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from loadkit.clock import MonotonicClock
from loadkit.observers.machine import Ledger, Process, Snapshot, Use
from loadkit.observers.observation import Observation
from loadkit.target import Target

__all__ = ["MachineWatcher", "command_name", "parts_behind", "read_machine"]

_INTERVAL = 1.0
"""Seconds between snapshots."""
_SHARE = 0.01
"""The largest share of a processor that watching may use. With many processes, snapshots are less
frequent."""
_FIRST_LOOK, _LONGEST_LOOK = 10, 80
"""Snapshots between two look-ups of the processes behind the target's address, at first and at
most. A look-up that finds the same processes doubles the interval, because it reads the open files
of all processes."""
_TICK = 1.0 / os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_KERNEL_THREAD = 0x00200000
"""PF_KTHREAD of the kernel's linux/sched.h."""
_INTERPRETERS = ("python", "node", "java", "ruby", "perl", "php", "sh", "bash", "dash", "deno", "bun")
_CODE = re.compile(r"(-[a-z0-9]*?[cepr])[a-z0-9]*|(--(?:eval|print))", re.IGNORECASE)
"""Matches an option of an interpreter that code may follow, also in the same argument: "-c", "-lc",
"-e" …"""
_UNSAFE = re.compile(r"\s|=|://")
"""Matches what code, settings and addresses contain, and names of programs usually do not."""
_BRIDGES = ("docker", "br-", "cni", "podman", "virbr", "lxc", "lxd", "veth")
"""The first letters of the network interfaces that lead to containers and virtual machines on this
machine."""
_UNKNOWN = "which processes on this machine belong to the environment is not known"


def read_machine(proc: Path = Path("/proc")) -> Snapshot:
    """Take a snapshot of this machine.

    Raises:
        OSError: there is no /proc, or it cannot be read.

    """
    now = time.time()
    ticks = [int(value) for value in (proc / "stat").read_text().partition("\n")[0].split()[1:]]
    user, nice, system, idle, iowait, irq, softirq, steal = (*ticks, *[0] * 8)[:8]
    processes = dict(_processes(proc))
    kernel = processes.get(2)
    return Snapshot(
        time=now,
        busy=(user + nice + system) * _TICK,
        interrupts=(irq + softirq) * _TICK,
        idle=(idle + iowait) * _TICK,
        steal=steal * _TICK,
        processes=processes,
        cores=os.cpu_count() or 1,
        pressure=dict(_pressure(proc)),
        swapped=sum(_named(proc / "vmstat", ("pswpin", "pswpout")).values()) * _PAGE,
        memory=_memory_in_use(proc),
        is_container=kernel is None or not kernel.is_kernel,
    )


def command_name(pid: int, name: str, proc: Path = Path("/proc")) -> str:
    """The name of a process in reports; for an interpreter, with its program: "python -m pytest".

    Code and other arguments are not shown, because they may contain credentials.
    """
    if not name.startswith(_INTERPRETERS):
        return name
    try:
        arguments = (proc / str(pid) / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    except OSError:
        return name
    option = ""
    for argument in filter(None, arguments[1:]):
        if option or not argument.startswith("-"):
            return f"{name}{option}" if _UNSAFE.search(argument) else f"{name}{option} {Path(argument).name}"
        if argument in {"-m", "-jar"}:
            option = f" {argument}"
        # Java has no such option, but others that look like it, such as -server.
        elif (code := _CODE.fullmatch(argument)) and not name.startswith("java"):
            return f"{name} {code[1] or code[2]}"
    return f"{name}{option}"


def _processes(proc: Path) -> Iterable[tuple[int, Process]]:
    for entry in os.listdir(proc):  # noqa: PTH208  once a second, and paths take twice the time
        if not entry.isdigit():
            continue
        with suppress(OSError, ValueError, IndexError):  # the process has ended meanwhile
            text = _read(f"{proc}/{entry}/stat")
            # The name is in parentheses, and may contain parentheses: proc_pid_stat(5).
            head, _, tail = text.rpartition(b")")
            fields = tail.split()
            pid = int(entry)
            is_kernel = bool(int(fields[6]) & _KERNEL_THREAD)
            resident = shared = b"0"
            if not is_kernel:  # kernel threads have no memory of their own, and are often the majority
                _, resident, shared, *_ = _read(f"{proc}/{entry}/statm").split()
            yield (
                pid,
                Process(
                    pid=pid,
                    parent=int(fields[1]),
                    born=int(fields[19]),
                    name=head.partition(b"(")[2].decode("utf-8", "replace"),
                    own=(int(fields[11]) + int(fields[12])) * _TICK,
                    reaped=(int(fields[13]) + int(fields[14])) * _TICK,
                    # Shared pages, such as those of a database, would count for each process.
                    resident=float((int(resident) - int(shared)) * _PAGE),
                    is_kernel=is_kernel,
                ),
            )


def _read(path: str) -> bytes:
    file = os.open(path, os.O_RDONLY)  # a third of the time of `Path.read_bytes`
    try:
        return os.read(file, 4096)
    finally:
        os.close(file)


def _pressure(proc: Path) -> Iterable[tuple[str, float]]:
    """The seconds in which some process waited, by resource; empty if the kernel has no figures."""
    for resource in ("cpu", "memory"):
        with suppress(OSError, ValueError):
            some = (proc / "pressure" / resource).read_text().partition("\n")[0]
            yield resource, int(some.rpartition("total=")[2]) / 1e6


def _named(file: Path, names: Iterable[str]) -> dict[str, int]:
    """The numbers with the given names, from a file with one name and one number per line."""
    found = {}
    with suppress(OSError, ValueError):
        for line in file.read_text().splitlines():
            name, _, value = line.partition(" ")
            if name.rstrip(":") in names:
                found[name.rstrip(":")] = int(value.split()[0])
    return found


def _memory_in_use(proc: Path) -> float:
    found = _named(proc / "meminfo", ("MemTotal", "MemAvailable"))
    return 1024.0 * (found.get("MemTotal", 0) - found.get("MemAvailable", 0))


class MachineWatcher:
    """Takes a snapshot of this machine once a second, in a thread, while it is open."""

    def __init__(self, target: Target) -> None:
        self._target = target
        roots = dict.fromkeys(target.processes, Use.ENVIRONMENT)
        self._ledger = Ledger({**roots, os.getpid(): Use.GENERATOR}, self._name)
        self._names: dict[tuple[int, int], str] = {}
        self._looks = None if target.processes else _LookupSchedule()
        """When to look up which processes of this machine belong to the environment; None for
        never."""
        self._clock = MonotonicClock()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._thread.join()

    def observations(self) -> dict[str, Observation]:
        """The figures of the machine, by name; empty if there is no /proc."""
        return self._ledger.observations()

    def _watch(self) -> None:
        try:
            read_machine()
        except (OSError, ValueError):
            return  # without /proc there are no figures, and verdicts do not use them
        while True:
            begun = time.thread_time()
            with suppress(OSError, ValueError):  # one snapshot is missing
                self._take_snapshot()
            if self._is_over.is_set():
                return
            self._is_over.wait(max(_INTERVAL, (time.thread_time() - begun) / _SHARE))

    def _take_snapshot(self) -> None:
        now = self._clock.unix_now()
        snapshot = replace(read_machine(), time=now)
        if self._looks is not None and self._looks.is_due(snapshot.processes):
            self._look_up_parts(self._looks, snapshot.processes)
        self._ledger.add(snapshot)

    def _name(self, process: Process) -> str:
        if process.key not in self._names:
            self._names[process.key] = command_name(process.pid, process.name)
        return self._names[process.key]

    def _look_up_parts(self, looks: "_LookupSchedule", present: Mapping[int, Process]) -> None:
        """Find the processes behind the target's address, if it is on this machine."""
        try:
            parts = parts_behind(self._target.base)
        except (OSError, ValueError):
            parts = set()
        if parts is None:
            self._looks = None
            return
        looks.found(parts, present)
        self._ledger.problem = "" if parts else _UNKNOWN
        for pid in parts:
            self._ledger.roots.setdefault(pid, Use.ENVIRONMENT)


class _LookupSchedule:
    """Decides when to look up the environment's processes: less often while they stay the same."""

    __slots__ = ("_every", "_known", "_left", "_until_gone_counts")

    def __init__(self) -> None:
        self._every = _FIRST_LOOK
        self._left = 0
        """Snapshots until the next look-up."""
        self._until_gone_counts = 0
        """Snapshots until an ended process may cause a look-up again."""
        self._known: dict[int, int] = {}
        """The processes that the last look-up found: by pid, when each was born."""

    def is_due(self, present: Mapping[int, Process]) -> bool:
        """Is a look-up due now? Call it once for each snapshot, with its processes.

        A look-up is due immediately if a known process has ended, even if another process has its
        pid now. In a container, processes may start and end all the time. So ended processes cause
        look-ups no more often than the first interval.
        """
        self._left -= 1
        self._until_gone_counts -= 1
        is_gone = self._until_gone_counts < 0 and any(
            pid not in present or present[pid].born != born for pid, born in self._known.items()
        )
        if is_gone:
            self._until_gone_counts = _FIRST_LOOK - 1
        return is_gone or self._left < 0

    def found(self, parts: set[int], present: Mapping[int, Process]) -> None:
        """Note the processes that a look-up found, with the processes of the snapshot."""
        known = {pid: present[pid].born for pid in parts if pid in present}
        is_same = bool(known) and known == self._known
        self._every = min(2 * self._every, _LONGEST_LOOK) if is_same else _FIRST_LOOK
        self._known, self._left = known, self._every - 1


def parts_behind(base: str) -> set[int] | None:
    """The processes on this machine that serve an address, and those that they connect to.

    The result is None if the address is on another machine. It is empty if the address is on this
    machine and the processes are not known. Processes in containers are included, because a proxy
    serves the port of a container.
    """
    import psutil  # imported here because only this look-up needs it

    parts = urlsplit(base)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    if not _is_here(parts.hostname or ""):
        return None
    try:
        connections: list[Any] = psutil.net_connections("tcp")
    except psutil.Error:
        return set()
    listening: dict[int, set[int]] = {}
    for each in connections:
        if each.status == psutil.CONN_LISTEN and each.pid:
            listening.setdefault(each.laddr.port, set()).add(each.pid)
    # Process 1 listens for services that it starts on demand, and is an ancestor of all processes.
    found = set(listening.get(port, ())) - {1}
    is_grown = True
    while is_grown and found:
        ports = {each.raddr.port for each in connections if each.pid in found and _is_local(each)}
        more = {pid for each in ports for pid in listening.get(each, ())} - found - {1, os.getpid()}
        is_grown = bool(more)
        found |= more
    return found | set(_contained()) if found else found


def _is_here(host: str) -> bool:
    """Is a host this machine, or a container or virtual machine on it?"""
    import psutil

    try:
        addresses = {ipaddress.ip_address(row[4][0]) for row in socket.getaddrinfo(host, None)}
    except (OSError, ValueError, UnicodeError):
        return False
    if any(address.is_loopback for address in addresses):
        return True
    for interface, rows in psutil.net_if_addrs().items():
        for row in rows:
            with suppress(ValueError):
                own = ipaddress.ip_address(row.address)
                if own in addresses:
                    return True
                network = ipaddress.ip_network(f"{own}/{row.netmask}", strict=False)
                if interface.startswith(_BRIDGES) and any(each in network for each in addresses):
                    return True
    return False


def _is_local(connection: Any) -> bool:
    """Does a connection lead to this machine itself?"""
    here, there = connection.laddr, connection.raddr
    return bool(there) and (there.ip == here.ip or ipaddress.ip_address(there.ip).is_loopback)


def _contained(proc: Path = Path("/proc")) -> Iterable[int]:
    """The processes that also have a process id in a container: proc_pid_status(5), NSpid.

    The kernel cuts the name of a process at 15 bytes, even within a character.
    """
    for entry in proc.iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                for line in (entry / "status").read_text("utf-8", "replace").splitlines():
                    if line.startswith("NSpid:") and len(line.split()) > 2:
                        yield int(entry.name)
