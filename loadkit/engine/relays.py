"""Starts the relays of the regions for one run, and detects when they die.

It also finds the addresses of the service that get no load.
"""

import asyncio
import math
import os
import resource
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any
from urllib.parse import urlsplit

from loadkit.drivers.network import unused_addresses
from loadkit.engine.executors import interrupts_blocked
from loadkit.engine.worker import SPARE_FILES, how_to_raise
from loadkit.errors import ConfigurationError, LoadkitError
from loadkit.network.process import RelayFigures, Service, serve
from loadkit.recording.ending import COMPLETE, Ending, EndingKind
from loadkit.target import NetworkPath, Target, is_loopback
from loadkit.units import format_seconds
from loadkit.workload.plan import Plan
from loadkit.workload.workload import Model, Workload

__all__ = ["Relays", "relayed"]

_START_SECONDS = 20.0
"""Seconds that the relays may take to listen."""
_STOP_SECONDS = 5.0
"""Seconds that they may take to end."""
_LATE = 0.005
"""Seconds. A greater lateness of the relays causes a warning."""


@dataclass(slots=True)
class Relays:
    """The relays of a run. They have a process only if a region needs a relay."""

    target: Target
    """The target, with the addresses of the relays."""
    paths: dict[str, NetworkPath]
    """The networks of the plan's regions."""
    unused: tuple[str, ...] = ()
    """Sentences about addresses of the service that get no load."""
    figures: RelayFigures | None = None
    """The measurements of the relays; None until they have ended."""
    _process: SpawnProcess | None = None
    _channel: "Connection[None, Any] | None" = None

    def close(self) -> None:
        """End the relays after the last connection, and receive their figures."""
        if self._channel is not None:
            self.figures = _ended(self._channel)

    @property
    def trouble(self) -> Ending:
        """Why the run must end: the relays died; `COMPLETE` if they run or are not needed."""
        if self._process is None or self._process.exitcode is None:
            return COMPLETE
        return Ending(EndingKind.RELAY_DIED, f"exit code {self._process.exitcode}")

    def facts(self, started: float) -> dict[str, Any]:
        """The networks of the regions, and the figures of the relays; empty without relays.

        `started` is the start of the run on the system clock. The seconds in which the relays were
        late are counted from it.
        """
        if not self.paths:
            return {}
        regions = {name: asdict(path) for name, path in self.paths.items()}
        if self.figures is None:
            return {"regions": regions}
        late = [[int(second - started), seconds] for second, seconds in sorted(self.figures.late.items())]
        return {"regions": regions, "relay": {**asdict(self.figures), "late": late}}

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings about addresses of the service without load, and about overloaded relays."""
        return (*self.unused, *(_of_figures(self.figures) if self.figures else ()))


def _of_figures(figures: RelayFigures) -> Iterator[str]:
    """The warnings about overloaded relays."""
    if figures.late_p99 > _LATE:
        yield (
            f"the network relay of the regions was late by {format_seconds(figures.late_p99)} (p99): times of "
            "users in regions are longer than the stated networks would make them"
        )
    if figures.out_of_descriptors:
        yield (
            f"the network relay of the regions had no socket or file descriptor for "
            f"{figures.out_of_descriptors:,} of {figures.connections:,} connections: users saw them as resets, "
            "and the service did not cause them"
        )


@contextmanager
def relayed(plan: Plan, target: Target) -> Iterator[Relays]:
    """Relay the connections of the plan's regions whose networks the target defines.

    Raises:
        ConfigurationError: the system allows the relays too few open files.
        LoadkitError: the relays could not be started.

    """
    used = {entry.region for population in plan.populations for entry in population.workload.mix}
    paths = {region: path for region, path in target.regions.items() if region in used}
    _require_files(plan, paths)
    unused = _unused(target)
    if not paths:
        yield Relays(target, {}, unused)
        return
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(
        target=serve, args=(theirs, paths, _services(target), plan.seed, os.getpid()), daemon=True
    )
    with ours:
        with interrupts_blocked():
            process.start()
        theirs.close()
        try:
            yield Relays(
                replace(target, relays=_listening(ours)), paths, unused, _process=process, _channel=ours
            )
        finally:
            ours.close()
            process.join(_STOP_SECONDS)
            if process.is_alive():
                process.kill()
                process.join()


def _require_files(plan: Plan, paths: dict[str, NetworkPath]) -> None:
    """Check that the relays may open two sockets for a connection of each of their users.

    Users of several protocols need more sockets, and an open load adds users when arrivals need
    them. Sockets that are missing then are counted, and a fail becomes invalid.

    Raises:
        ConfigurationError: the system does not allow it.

    """
    users = sum(_users_in(paths, population.workload) for population in plan.populations)
    if not users:
        return
    needed = 2 * users + SPARE_FILES
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise ConfigurationError(
            f"the network relay of the regions needs {needed} open files, two for each of {users} users; the "
            f"system allows it {hard} (ulimit -Hn); have fewer users in regions, or raise the limit: "
            f"{how_to_raise(needed)}"
        )


def _users_in(regions: Container[str], load: Workload) -> int:
    """The maximum number of users of a load in the given regions; 0 for an open load."""
    shares = sum(entry.share for entry in load.mix if entry.region in regions)
    if load.model is not Model.CLOSED or not shares:
        return 0
    return math.ceil(load.most_users * shares / sum(entry.share for entry in load.mix))


def _unused(target: Target) -> tuple[str, ...]:
    """Sentences about addresses of the service that get no load."""
    try:
        services = _services(target)
    except ValueError:  # not an address; the drivers report it
        return ()
    hosts = {each.host: each.port for each in reversed(services) if not is_loopback(each.host)}
    if not hosts:
        return ()

    async def look() -> list[str]:
        return await asyncio.gather(*(unused_addresses(*each) for each in hosts.items()))

    return tuple(filter(None, asyncio.run(look())))


def _listening(channel: "Connection[None, Any]") -> dict[tuple[str, str, int], tuple[str, int]]:
    try:
        answer = channel.recv() if channel.poll(_START_SECONDS) else None
    except EOFError:
        answer = None
    if isinstance(answer, LoadkitError):
        raise answer
    if not isinstance(answer, dict):
        raise ConfigurationError("the network relay of the regions could not be started")
    return answer


def _ended(channel: "Connection[None, Any]") -> RelayFigures | None:
    """End the relays; None if they have died."""
    try:
        channel.send(None)
        answer = channel.recv() if channel.poll(_STOP_SECONDS) else None
    except (EOFError, OSError):
        return None
    return answer if isinstance(answer, RelayFigures) else None


def _services(target: Target) -> Sequence[Service]:
    """The addresses that users connect to, each once."""
    found: dict[tuple[str, int], Service] = {}
    for address, shown in ((target.base, target.base), (target.websocket.reveal(), str(target.websocket))):
        parts = urlsplit(address)
        if parts.hostname:
            port = parts.port or (443 if parts.scheme in ("https", "wss") else 80)
            found.setdefault((parts.hostname, port), Service(parts.hostname, port, shown))
    return tuple(found.values())
