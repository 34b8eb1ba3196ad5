"""What users do: journeys, written as coroutines.

A journey is a coroutine function that gets a user::

    @journey("ingest events")
    async def ingest(user: User) -> None:
        answer = await user.post("/api/v1/metrics/events", json=batch())
        user.check(answer.json()["stored"] == 20, "all events are stored")
        await user.think()
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from loadkit.users.user import User

__all__ = ["Arrive", "Journey", "fetch", "journey"]

Arrive = Callable[[User], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Journey:
    """Something that users do, over and over."""

    title: str
    """As sentences name it: "ingest events"."""
    function: Callable[..., Awaitable[None]]
    """Called with the user and the arguments of the mix."""
    role: str = ""
    """Which role its user's account must have; "" for any."""
    uses: tuple[str, ...] = ("http",)
    """The protocols that it uses: names of drivers, each an attribute of its user."""

    def __call__(self, user: User, **arguments: str) -> Awaitable[None]:
        """Go through it once: a journey can be part of another."""
        return self.function(user, **arguments)

    @property
    def path(self) -> str:
        """Its place, ``module:function``, as plans carry it."""
        return f"{self.function.__module__}:{self.function.__name__}"


def journey(
    title: str, role: str = "", uses: tuple[str, ...] = ("http",)
) -> Callable[[Callable[..., Awaitable[None]]], Journey]:
    """Make a coroutine function a journey.

    Args:
        title: as sentences name it.
        role: which role its user's account must have; "" for any.
        uses: the protocols that it uses, each an attribute of its user: ("http",).

    """
    return lambda function: Journey(title, function, role, uses)


@journey("fetch")
async def fetch(user: User, method: str = "GET", path: str = "/", body: str = "", **headers: Any) -> None:
    """One request to one path, which is its own label: what ``loadkit run URL`` does."""
    content = body.encode() if body else None
    await user.request(
        method, path, content=content, headers=headers, label=f"{method} {path.partition('?')[0]}"
    )
    await user.think()
