"""Starts the relays of the regions for one run, and notices when they die."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any
from urllib.parse import urlsplit

from loadkit.engine.executors import interrupts_held_back
from loadkit.errors import ConfigurationError, LoadkitError
from loadkit.network.process import RelayFigures, Service, serve
from loadkit.recording.ending import COMPLETE, Ending, EndingKind
from loadkit.target import NetworkPath, Target
from loadkit.units import format_seconds
from loadkit.workload.plan import Plan

__all__ = ["Relays", "relayed"]

_START_SECONDS = 20.0
"""Seconds that the relays may take to listen."""
_STOP_SECONDS = 5.0
"""Seconds that they may take to end."""
_LATE = 0.005
"""Seconds: a greater lateness of the relays is a warning."""


@dataclass(slots=True)
class Relays:
    """The relays of a run; without regions that need one, there is no process."""

    target: Target
    """The target, with the addresses of the relays."""
    paths: dict[str, NetworkPath]
    """The networks of the plan's regions."""
    figures: RelayFigures | None = None
    """Known after the end."""
    _process: SpawnProcess | None = None
    _channel: "Connection[None, Any] | None" = None

    def close(self) -> None:
        """End the relays, after the last connection, and learn what they did."""
        if self._channel is not None:
            self.figures = _ended(self._channel)

    @property
    def trouble(self) -> Ending:
        """Why the run must end: the relays died; `COMPLETE` if they live, or are not needed."""
        if self._process is None or self._process.exitcode is None:
            return COMPLETE
        return Ending(EndingKind.RELAY_DIED, f"exit code {self._process.exitcode}")

    @property
    def facts(self) -> dict[str, Any]:
        """The networks of the regions, and what the relays did; empty without relays."""
        if not self.paths:
            return {}
        regions = {name: asdict(path) for name, path in self.paths.items()}
        return {"regions": regions, **({"relay": asdict(self.figures)} if self.figures else {})}

    @property
    def warnings(self) -> tuple[str, ...]:
        """A warning if the relays were overloaded."""
        late = self.figures.late_p99 if self.figures else 0.0
        warning = (
            f"the network relay of the regions was late by {format_seconds(late)} (p99): times of users "
            "in regions are longer than the stated networks would make them"
        )
        return (warning,) if late > _LATE else ()


@contextmanager
def relayed(plan: Plan, target: Target) -> Iterator[Relays]:
    """Relay the connections of those regions of a plan whose network the target knows.

    Raises:
        LoadkitError: the relays could not be started.

    """
    used = {entry.region for population in plan.populations for entry in population.workload.mix}
    paths = {region: path for region, path in target.regions.items() if region in used}
    if not paths:
        yield Relays(target, {})
        return
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(
        target=serve, args=(theirs, paths, _services(target), plan.seed, os.getpid()), daemon=True
    )
    with ours:
        with interrupts_held_back():
            process.start()
        theirs.close()
        try:
            yield Relays(replace(target, relays=_listening(ours)), paths, _process=process, _channel=ours)
        finally:
            ours.close()
            process.join(_STOP_SECONDS)
            if process.is_alive():
                process.kill()
                process.join()


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
