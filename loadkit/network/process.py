"""The process of the relays: one for all regions of a run, beside the workers.

It ends when the process that started it ends for any reason.
"""

import asyncio
import gc
import os
import random
import resource
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

import uvloop

from loadkit.child_process import end_with
from loadkit.drivers.network import reachable_address
from loadkit.errors import LoadkitError
from loadkit.network.relay import DueTimes, Relay
from loadkit.target import NetworkPath
from loadkit.users.pacer import BEST_ALARM

__all__ = ["RelayFigures", "Service", "serve"]

Relays = Mapping[tuple[str, str, int], tuple[str, int]]
"""See `Target.relays`."""


@dataclass(frozen=True, slots=True)
class Service:
    """An address of the service, and how errors show it."""

    host: str
    port: int
    shown: str


@dataclass(frozen=True, slots=True)
class RelayFigures:
    """The measurements of the relays in a run."""

    cpu_seconds: float
    """Processor time in seconds."""
    late_p99: float
    """The 99th percentile of the lateness of deliveries, in seconds.

    Lateness is the time by which bytes arrive later than over the stated network."""
    connections: int
    late: Mapping[int, float] = field(default_factory=dict)
    """The longest lateness in seconds, by second of the system clock, from `RELAY_NOTED` on."""
    out_of_descriptors: int = 0
    """Users' connections that the relays reset for lack of a socket or file descriptor.

    The socket would have been the one towards the service."""


def serve(
    channel: "Connection[RelayFigures | Relays | LoadkitError, None]",
    paths: Mapping[str, NetworkPath],
    services: Sequence[Service],
    seed: int,
    parent: int,
) -> None:
    """Relay connections until the other end of the channel sends something, or closes.

    Args:
        channel: receives the `Relays` once all of them listen, or the error that prevents that; at
            the end, the `RelayFigures`.
        paths: the networks by region.
        services: the addresses of the service that users connect to.
        seed: the seed of jitter and loss.
        parent: the id of the process whose end also ends this one.

    """
    end_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when this process ends
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
        # Users' connections may still be open after the run. Closing each of them has no use.
        os._exit(0)
