"""How an instance misbehaves when it is told to.

Each fault is a class: made with its parameters when it is switched on, `end`ed when it is switched off,
which brings the instance back as it was.
"""

import asyncio
import random
import time
from collections.abc import Coroutine
from typing import Any, ClassVar

from environments.local.service.cache import Cache
from environments.local.service.database import Pool
from environments.local.service.telemetry import Telemetry


class InjectedError(Exception):
    """A failure that a fault asked for."""

    def __init__(self, status: int) -> None:
        super().__init__("a fault is switched on")
        self.status = status


class Fault:
    """A fault that is switched on."""

    touches_requests: ClassVar[bool] = False

    async def meet_request(self) -> None:
        """Delay or refuse a request. Raises InjectedError."""

    async def end(self) -> None:
        """Bring everything back as it was."""


class SlowShare(Fault):
    """A share of the requests takes longer."""

    touches_requests = True

    def __init__(self, share: float, delay: float) -> None:
        self._share, self._delay = share, delay

    async def meet_request(self) -> None:
        """Delay it, if it is one of those."""
        if random.random() < self._share:
            await asyncio.sleep(self._delay)


class Errors(Fault):
    """A share of the requests fails, each by its own chance."""

    touches_requests = True

    def __init__(self, share: float) -> None:
        self._share = share

    async def meet_request(self) -> None:
        """Fail it, if it is one of those."""
        if random.random() < self._share:
            raise InjectedError(500)


class ErrorBursts(Fault):
    """The same share of the requests fails, but so many in a row."""

    touches_requests = True

    def __init__(self, share: float, burst: float) -> None:
        # After each burst of b, (1 - s) / s * b requests succeed on average.
        self._burst = int(burst)
        self._chance = share / ((1.0 - share) * self._burst + share)
        self._left = 0

    async def meet_request(self) -> None:
        """Fail it, if it is within a burst."""
        if self._left == 0 and random.random() < self._chance:
            self._left = self._burst
        if self._left > 0:
            self._left -= 1
            raise InjectedError(500)


class RefuseAll(Fault):
    """Every request is refused at once."""

    touches_requests = True

    async def meet_request(self) -> None:
        """Refuse it."""
        raise InjectedError(503)


class Background(Fault):
    """Something that goes on beside the requests."""

    def __init__(self, work: Coroutine[Any, Any, None]) -> None:
        self._task = asyncio.create_task(work)

    async def end(self) -> None:
        """Stop it."""
        self._task.cancel()
        await asyncio.wait([self._task])


class PeriodicStall(Background):
    """The whole process stands still for `length` seconds, at full multiples of `period`: all instances at once."""

    def __init__(self, period: float, length: float) -> None:
        super().__init__(self._stall(period, length))

    @staticmethod
    async def _stall(period: float, length: float) -> None:
        while True:
            await asyncio.sleep(period - time.time() % period)
            time.sleep(length)  # noqa: ASYNC251 - it is meant to block


class CpuBurn(Background):
    """A share of a core is burnt, in slices of ten milliseconds."""

    def __init__(self, share: float) -> None:
        super().__init__(self._burn(share))

    @staticmethod
    async def _burn(share: float) -> None:
        while True:
            until = time.thread_time() + 0.01 * share
            while time.thread_time() < until:
                pass
            await asyncio.sleep(0.01 * (1.0 - share))


class MemoryLeak(Background):
    """Memory grows by `rate` bytes/s up to `limit` bytes; the end frees it."""

    def __init__(self, rate: float, limit: float) -> None:
        super().__init__(self._leak(rate, limit))

    @staticmethod
    async def _leak(rate: float, limit: float) -> None:
        kept: list[bytearray] = []
        step = int(rate * 0.1)
        while True:
            if (len(kept) + 1) * step <= limit:
                kept.append(bytearray(b"\x01") * step)  # written to, so that it is resident
            await asyncio.sleep(0.1)


class PoolTooSmall(Fault):
    """Only `size` database connections may be in use at once."""

    def __init__(self, size: float, pool: Pool) -> None:
        self._pool, self._usual = pool, pool.size
        pool.resize(int(size))

    async def end(self) -> None:
        """Give the instance its usual pool."""
        self._pool.resize(self._usual)


class PoolLeak(Background):
    """Every `every` seconds a database connection is taken and not given back."""

    def __init__(self, every: float, pool: Pool) -> None:
        self._pool = pool
        self._taken: list[Any] = []
        super().__init__(self._leak(every))

    async def _leak(self, every: float) -> None:
        while True:
            if self._pool.used < self._pool.size:
                self._taken.append(await self._pool.take())
            await asyncio.sleep(every)

    async def end(self) -> None:
        """Give the connections back."""
        await super().end()
        for connection in self._taken:
            self._pool.give_back(connection)


class CacheOff(Fault):
    """Nothing is found in the cache, and nothing kept."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        cache.is_on = False

    async def end(self) -> None:
        """Use the cache again."""
        self._cache.is_on = True


class CounterReset(Fault):
    """All exported counters start at zero again, once."""

    def __init__(self, telemetry: Telemetry) -> None:
        telemetry.reset()


class Faults:
    """The faults of this instance that are switched on, by name."""

    def __init__(self, pool: Pool, cache: Cache, telemetry: Telemetry) -> None:
        self._makers: dict[str, Any] = {
            "slow-share": SlowShare,
            "errors": Errors,
            "error-bursts": ErrorBursts,
            "refuse-all": RefuseAll,
            "periodic-stall": PeriodicStall,
            "cpu-burn": CpuBurn,
            "memory-leak": MemoryLeak,
            "pool-too-small": lambda size: PoolTooSmall(size, pool),
            "pool-leak": lambda every: PoolLeak(every, pool),
            "cache-off": lambda: CacheOff(cache),
            "counter-reset": lambda: CounterReset(telemetry),
        }
        self._active: dict[str, tuple[dict[str, float], Fault]] = {}
        self.touch_requests = False

    async def set(self, wanted: dict[str, dict[str, float]]) -> None:
        """Switch faults on and off until exactly the wanted ones, with these parameters, are on."""
        for name, (parameters, fault) in list(self._active.items()):
            if wanted.get(name) != parameters:
                await fault.end()
                del self._active[name]
        for name, parameters in wanted.items():
            if name not in self._active:
                self._active[name] = (parameters, self._makers[name](**parameters))
        self.touch_requests = any(fault.touches_requests for _, fault in self._active.values())

    async def meet_request(self) -> None:
        """Let the faults delay or refuse a request. Raises InjectedError."""
        for _, fault in list(self._active.values()):
            await fault.meet_request()
