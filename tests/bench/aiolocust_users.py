"""What the loadkit journey does, as aiolocust has it: ask, read the JSON, check it; then pause."""

import asyncio
import os
import random

from aiolocust import HttpUser  # installed into an environment of its own

_LOW, _HIGH = float(os.environ["LOW"]), float(os.environ["HIGH"])


async def run(user: HttpUser) -> None:
    """One request and a pause."""
    async with user.client.get(f"{os.environ['URL']}/") as answer:
        assert (await answer.json())["id"] == 17
    await asyncio.sleep(random.uniform(_LOW, _HIGH))
