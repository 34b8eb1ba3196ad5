"""Journeys of the known answers: one that tells the service who asks, and two that are the load generator's own faults."""

import resource
import time

from loadkit.journey import User, journey
from tests.known_answers.servers import WORK

FILES = 64


@journey("numbered")
async def numbered(user: User) -> None:
    """Each user has a path of its own, all under one label."""
    await user.get(f"/{user.number}", label="GET /{number}")
    await user.think()


@journey("blocking")
async def blocking(user: User) -> None:
    """Keeps the worker's event loop, and with it all its users, from going on for 200 ms."""
    await user.get(WORK)
    time.sleep(0.2)  # noqa: ASYNC251  that is the fault
    await user.think()


@journey("hoarding")
async def hoarding(user: User) -> None:
    """Leaves the worker no file for a connection beyond the first `FILES`."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, hard))
    await user.get(WORK)
    await user.think()
