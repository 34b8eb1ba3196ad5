"""The cache shared by all instances, and the channel between them."""

import contextlib
from collections.abc import AsyncIterator

from redis.asyncio import Redis
from redis.exceptions import RedisError


class Cache:
    """Bytes by key with an expiry. An unreachable cache behaves like an empty one."""

    def __init__(self, url: str) -> None:
        self._redis = Redis.from_url(url, socket_timeout=1.0, socket_connect_timeout=1.0)
        self.is_on = True
        self.hits = 0
        self.misses = 0

    async def get(self, key: str) -> bytes | None:
        """The entry, or None."""
        found: bytes | None = None
        if self.is_on:
            with contextlib.suppress(RedisError):
                answer = await self._redis.get(key)
                found = answer if isinstance(answer, bytes) else None
        if found is None:
            self.misses += 1
        else:
            self.hits += 1
        return found

    async def put(self, key: str, value: bytes, seconds: float) -> None:
        """Store an entry for `seconds`."""
        if self.is_on:
            with contextlib.suppress(RedisError):
                await self._redis.set(key, value, px=int(seconds * 1000))

    async def publish(self, channel: str, message: str) -> None:
        """Publish a message to all instances."""
        await self._redis.publish(channel, message)

    async def messages(self, channel: str) -> AsyncIterator[str]:
        """The messages published on a channel, until cancelled. Raises RedisError."""
        async with self._redis.pubsub(ignore_subscribe_messages=True) as channels:
            await channels.subscribe(channel)
            async for message in channels.listen():
                yield message["data"].decode()

    async def ping(self) -> None:
        """Check that the cache answers. Raises RedisError."""
        await self._redis.ping()

    async def close(self) -> None:
        """Disconnect."""
        await self._redis.aclose()
