"""The journeys of this service's users. Each journey is one function; sentences use its title.

A user logs in with its account when it arrives, and stays logged in until it logs out.
"""

from loadkit.journey import User
from steps.journeys.auth import log_in

__all__ = ["arrive"]


async def arrive(user: User) -> None:
    """Log in once per user, before its first operation; this log-in is not measured."""
    await log_in(user)
