"""The faults that an instance can switch on.

Each fault is a class. It is created with its parameters when switched on; `end`, when it is
switched off, restores the instance.
"""

import asyncio
import random
import time
from typing import Any

from environments.local.service import message_faults as messages
from environments.local.service.broadcast import Broadcast
from environments.local.service.cache import Cache
from environments.local.service.database import Pool
from environments.local.service.fault import SEEDED_TENANTS, Background, Fault
from environments.local.service.telemetry import Telemetry
from environments.local.service.tokens import TenantKeys
from environments.local.service.websocket import Connections


class InjectedError(Exception):
    """A failure caused by a fault."""

    def __init__(self, status: int) -> None:
        super().__init__("a fault is switched on")
        self.status = status


class SlowShare(Fault):
    """Delays a share of the requests."""

    touches_requests = True

    def __init__(self, share: float, delay: float) -> None:
        self._share, self._delay = share, delay

    async def meet_request(self) -> None:
        """Delay the request if it is in the share."""
        if random.random() < self._share:
            await asyncio.sleep(self._delay)


class Errors(Fault):
    """A share of the requests fails, each independently at random."""

    touches_requests = True

    def __init__(self, share: float) -> None:
        self._share = share

    async def meet_request(self) -> None:
        """Fail the request if it is in the share."""
        if random.random() < self._share:
            raise InjectedError(500)


class ErrorBursts(Fault):
    """A share of the requests fails, in bursts of `burst` consecutive requests."""

    touches_requests = True

    def __init__(self, share: float, burst: float) -> None:
        # After each burst of b, (1 - s) / s * b requests succeed on average.
        self._burst = int(burst)
        self._chance = share / ((1.0 - share) * self._burst + share)
        self._left = 0

    async def meet_request(self) -> None:
        """Fail the request if it is within a burst."""
        if self._left == 0 and random.random() < self._chance:
            self._left = self._burst
        if self._left > 0:
            self._left -= 1
            raise InjectedError(500)


class RefuseAll(Fault):
    """Refuses every request immediately."""

    touches_requests = True

    async def meet_request(self) -> None:
        """Refuse the request."""
        raise InjectedError(503)


class PeriodicStall(Background):
    """Blocks the process for `length` s at multiples of `period`: all instances simultaneously."""

    def __init__(self, period: float, length: float) -> None:
        super().__init__(self._stall(period, length))

    @staticmethod
    async def _stall(period: float, length: float) -> None:
        while True:
            await asyncio.sleep(period - time.time() % period)
            time.sleep(length)  # noqa: ASYNC251 - it blocks on purpose


class CpuBurn(Background):
    """Uses a share of a core, in slices of ten milliseconds."""

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
    """Memory grows by `rate` bytes/s up to `limit` bytes; ending the fault frees it."""

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
    """Limits the pool to `size` connections in use."""

    def __init__(self, size: float, pool: Pool) -> None:
        self._pool, self._usual = pool, pool.size
        pool.resize(int(size))

    async def end(self) -> None:
        """Restore the usual size of the pool."""
        self._pool.resize(self._usual)


class PoolLeak(Background):
    """Takes a database connection every `every` seconds and does not return it."""

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
        """Return the connections."""
        await super().end()
        for connection in self._taken:
            self._pool.give_back(connection)


class CacheOff(Fault):
    """Disables the cache: no look-ups succeed, nothing is stored."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        cache.is_on = False

    async def end(self) -> None:
        """Use the cache again."""
        self._cache.is_on = True


class ForeignAnswers(Fault):
    """A share of the cache look-ups of every tenant finds the page of the first tenant."""

    _FIRST = 1

    def __init__(self, share: float, cache: Cache) -> None:
        self._share, self._cache, self._usual = share, cache, cache.place_of
        cache.place_of = self._place_of

    def _place_of(self, key: str) -> str:
        page, _, tenant = key.rpartition(":")
        return f"{page}:{self._FIRST if random.random() < self._share else tenant}"

    async def end(self) -> None:
        """Find each tenant's own page again."""
        self._cache.place_of = self._usual


class ForeignSums(Fault):
    """A share of the sums is read for the next tenant, as if the service named the wrong one."""

    def __init__(self, share: float, pool: Pool) -> None:
        self._share, self._pool, self._usual = share, pool, pool.tenant_of_sums
        pool.tenant_of_sums = self._tenant_of_sums

    def _tenant_of_sums(self, caller: int) -> int:
        return caller % SEEDED_TENANTS + 1 if random.random() < self._share else caller

    async def end(self) -> None:
        """Read each tenant's own sums again."""
        self._pool.tenant_of_sums = self._usual


class CounterReset(Fault):
    """Resets all exported counters to zero, once."""

    def __init__(self, telemetry: Telemetry) -> None:
        telemetry.reset()


class RejectedStored(Fault):
    """Stores the valid events of a share of the rejected batches."""

    def __init__(self, share: float) -> None:
        self._share = share

    def stores_rejected(self) -> bool:
        """Is the batch in the share?"""
        return random.random() < self._share


class Faults:
    """The active faults of this instance, by name."""

    def __init__(
        self,
        pool: Pool,
        cache: Cache,
        telemetry: Telemetry,
        connections: Connections,
        broadcast: Broadcast,
        keys: TenantKeys,
    ) -> None:
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
            "foreign-answers": lambda share: ForeignAnswers(share, cache),
            "foreign-sums": lambda share: ForeignSums(share, pool),
            "counter-reset": lambda: CounterReset(telemetry),
            "rejected-stored": RejectedStored,
            "events-unpublished": lambda share: messages.EventsUnpublished(share, broadcast),
            "messages-lost": lambda share: messages.MessagesLost(share, broadcast),
            "messages-doubled": lambda share: messages.MessagesDoubled(share, broadcast),
            "messages-reordered": lambda share: messages.MessagesReordered(share, broadcast),
            "messages-delayed": lambda delay: messages.MessagesDelayed(delay, broadcast),
            "foreign-messages": lambda share: messages.ForeignMessages(share, broadcast, keys),
            "connections-cut": lambda share: messages.ConnectionsCut(share, connections),
            "all-connections-cut": lambda: messages.AllConnectionsCut(connections),
            "connections-closed-at-once": lambda share: messages.ConnectionsClosedAtOnce(share, connections),
            "connections-stalled": lambda share: messages.ConnectionsStalled(share, connections),
            "reconnect-refused": lambda seconds: messages.ReconnectRefused(seconds, connections),
        }
        self._active: dict[str, tuple[dict[str, float], Fault]] = {}
        self.touch_requests = False

    async def set(self, wanted: dict[str, dict[str, float]]) -> None:
        """Switch faults on and off so that exactly the wanted ones are active."""
        for name, (parameters, fault) in list(self._active.items()):
            if wanted.get(name) != parameters:
                await fault.end()
                del self._active[name]
        for name, parameters in wanted.items():
            if name not in self._active:
                self._active[name] = (parameters, self._makers[name](**parameters))
        self.touch_requests = any(fault.touches_requests for _, fault in self._active.values())

    async def meet_request(self) -> None:
        """Apply the active faults to a request. Raises InjectedError."""
        for _, fault in list(self._active.values()):
            await fault.meet_request()

    def stores_rejected(self) -> bool:
        """Are the valid events of a rejected batch stored in spite of the rejection?"""
        return any(fault.stores_rejected() for _, fault in self._active.values())
