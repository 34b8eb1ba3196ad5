"""A protocol from outside the load kit: a driver, a timing, a counter and a journey, and nothing else."""

import asyncio
from typing import ClassVar

from loadkit.drivers import registry
from loadkit.drivers.base import Meter
from loadkit.journey import User, journey
from loadkit.recording.timing import Timing
from loadkit.target import Target

ECHO = Timing("echo", "echo time")
SECONDS = 0.25
"""That an echo takes."""

registry.register("toy", "tests.toy_protocol:ToyDriver")


class ToyDriver:
    name: ClassVar[str] = "toy"
    descriptors_per_user: ClassVar[int] = 2

    def __init__(self, target: Target) -> None:
        self.target = target
        self.users = 0

    async def open(self) -> None:
        pass

    def client(self, meter: Meter) -> "ToyClient":
        self.users += 1
        return ToyClient(meter, self)

    def gauges(self) -> dict[str, float]:
        return {"toys in use": float(self.users)}

    async def close(self) -> None:
        pass


class ToyClient:
    def __init__(self, meter: Meter, driver: ToyDriver) -> None:
        self._meter = meter
        self._driver = driver

    async def echo(self, text: str) -> str:
        """Say it back: "broken" fails, and each echo is pushed once more."""
        with await self._meter.begin(f"echo {text}", ECHO) as operation:
            await asyncio.sleep(SECONDS)
            now = self._meter.now()
            if text == "broken":
                operation.failed("broken", now, was_answered=True)
            else:
                operation.succeeded(now, len(text))
                self._meter.received("push", now - 0.01, now)
                self._meter.count("echoes doubled", 0 if text == "once" else 1)
        return text

    def close(self) -> None:
        self._driver.users -= 1


@journey("play", uses=("toy",))
async def play(user: User, text: str = "hello") -> None:
    """Echo one text."""
    assert await user.toy.echo(text) == text
    user.check(text != "wrong", "the echo is right")
    await user.think()
