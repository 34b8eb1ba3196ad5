"""The base classes of all faults of an instance."""

import asyncio
from collections.abc import Coroutine
from typing import Any, ClassVar

SEEDED_TENANTS = 50
"""The number of tenants in the seeded data; their ids begin at 1."""


class Fault:
    """A fault that is switched on."""

    touches_requests: ClassVar[bool] = False

    async def meet_request(self) -> None:
        """Delay or refuse a request. Raises InjectedError."""

    def stores_rejected(self) -> bool:
        """Are the valid events of the next rejected batch stored in spite of the rejection?"""
        return False

    async def end(self) -> None:
        """Restore the instance."""


class Background(Fault):
    """A fault that runs as a background task."""

    def __init__(self, work: Coroutine[Any, Any, None]) -> None:
        self._task = asyncio.create_task(work)

    async def end(self) -> None:
        """Stop the task."""
        self._task.cancel()
        await asyncio.wait([self._task])
