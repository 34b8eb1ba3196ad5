"""The process of the relays: one for all regions of a run, beside the workers.

It ends when the process that started it ends for any reason.
"""

import asyncio
import ctypes
import gc
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

import uvloop

from loadkit.drivers.network import reachable_address
from loadkit.errors import LoadkitError
from loadkit.network.relay import DueTimes, Relay
from loadkit.target import NetworkPath
from loadkit.users.pacer import BEST_ALARM

__all__ = ["RelayFigures", "Service", "serve"]

_SET_PARENT_DEATH_SIGNAL = 1

Relays = Mapping[tuple[str, str, int], tuple[str, int]]
"""As `Target.relays`."""


@dataclass(frozen=True, slots=True)
class Service:
    """An address of the service, and how errors show it."""

    host: str
    port: int
    shown: str


@dataclass(frozen=True, slots=True)
class RelayFigures:
    """What the relays did in a run."""

    cpu_seconds: float
    """Processor time."""
    late_p99: float
    """By how many seconds bytes were delivered later than the stated network would; 99th percentile."""
    connections: int
    late: Mapping[int, float] = field(default_factory=dict)
    """By second of the system clock: by how many seconds it was late at most, from `RELAY_LATE` on."""
    out_of_descriptors: int = 0
    """Connections of users that it reset, because it had no socket or file descriptor for their other end."""


def serve(
    channel: "Connection[RelayFigures | Relays | LoadkitError, None]",
    paths: Mapping[str, NetworkPath],
    services: Sequence[Service],
    seed: int,
    parent: int,
) -> None:
    """Relay connections until the other end of the channel says something, or closes.

    Args:
        channel: takes the `Relays` once all listen, or the error that prevents it; at the end, the
            `RelayFigures`.
        paths: the networks by region.
        services: the addresses of the service that users connect to.
        seed: of jitter and loss.
        parent: the process that ends this one with its own end.

    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    with channel, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(channel, paths, services, random.Random(f"{seed}:network")))


async def _serve(
    channel: "Connection[RelayFigures | Relays | LoadkitError, None]",
    paths: Mapping[str, NetworkPath],
    services: Sequence[Service],
    choices: random.Random,
) -> None:
    due_times = DueTimes(BEST_ALARM)
    relays: list[Relay] = []
    listening: dict[tuple[str, str, int], tuple[str, int]] = {}
    try:
        for service in services:
            address = await reachable_address(service.host, service.port, service.shown)
            for region, path in paths.items():
                relay = Relay(path, (address, service.port), due_times, choices)
                relays.append(relay)
                listening[region, service.host, service.port] = ("127.0.0.1", await relay.open())
    except LoadkitError as error:
        channel.send(error)
        return
    channel.send(listening)
    begun = time.process_time()
    is_over = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(channel.fileno(), is_over.set)
    watching = loop.create_task(due_times.watch())
    await is_over.wait()
    watching.cancel()
    loop.remove_reader(channel.fileno())
    due_times.close()
    try:
        channel.send(
            RelayFigures(
                time.process_time() - begun,
                due_times.lateness(0.99),
                sum(relay.connections for relay in relays),
                due_times.late,
                sum(relay.out_of_descriptors for relay in relays),
            )
        )
    except OSError:
        return  # the other end has closed
    finally:
        # Connections of users that the run left may be open; closing them one by one helps nobody.
        os._exit(0)
