"""Journeys: the actions of users, written as coroutines.

A journey is a coroutine function that takes a user::

    @journey("ingest events")
    async def ingest(user: User) -> None:
        answer = await user.post("/api/v1/metrics/events", json=batch())
        user.check(answer.json()["stored"] == 20, "all events are stored")
        await user.think()
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from loadkit.users.accounts import AccountKind
from loadkit.users.user import User

__all__ = ["Arrive", "Journey", "fetch", "journey"]

Arrive = Callable[[User], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Journey:
    """A sequence of actions that users repeat."""

    title: str
    """Its name in sentences: "ingest events"."""
    function: Callable[..., Awaitable[None]]
    """Called with the user and the arguments of the mix."""
    role: str = ""
    """The role that its user's account must have; "" for any."""
    uses: tuple[str, ...] = ("http",)
    """The protocols that it uses: names of drivers, which are attributes of its user."""
    data: tuple[str, ...] = ()
    """The tables of test data that it uses: names of the environment's ``[data]``."""
    tenant: str = ""
    """The tenant of its users, from the plan; "" for any."""
    group: int = 1
    """The number of its consecutive users who belong to one tenant, from the plan."""

    @property
    def account_kind(self) -> AccountKind:
        """The requirements on its users' accounts; no groups are needed within a named tenant."""
        return AccountKind(self.role, self.tenant, 1 if self.tenant else self.group)

    def __call__(self, user: User, **arguments: str) -> Awaitable[None]:
        """Run it once; a journey can be part of another."""
        return self.function(user, **arguments)

    @property
    def path(self) -> str:
        """Its location, ``module:function``, as stored in plans."""
        return f"{self.function.__module__}:{self.function.__name__}"


def journey(
    title: str, role: str = "", uses: tuple[str, ...] = ("http",), data: tuple[str, ...] = ()
) -> Callable[[Callable[..., Awaitable[None]]], Journey]:
    """Make a coroutine function a journey.

    Args:
        title: its name in sentences.
        role: the role that its user's account must have; "" for any.
        uses: the protocols that it uses, which are attributes of its user: ("http",).
        data: the tables of test data that it uses: ("products",) for `user.data.next("products")`.

    """
    return lambda function: Journey(title, function, role, uses, data)


@journey("fetch")
async def fetch(user: User, method: str = "GET", path: str = "/", body: str = "", **headers: Any) -> None:
    """Send one request to a path, labelled with the path; ``loadkit run URL`` uses this."""
    content = body.encode() if body else None
    await user.request(
        method, path, content=content, headers=headers, label=f"{method} {path.partition('?')[0]}"
    )
    await user.think()
