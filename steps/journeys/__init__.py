"""What the users of this service do. Each journey is one function, found by its title; sentences name the title.

A user logs in when it arrives and is then who its account says, until it logs out itself.
"""

from loadkit.journey import User
from steps.journeys.auth import log_in

__all__ = ["arrive"]


async def arrive(user: User) -> None:
    """Log in: done once for each user before its first operation, and not measured."""
    await log_in(user)
