"""The journeys of the users of this service. Each is one function; sentences refer to its title.

A user logs in when it arrives, and remains logged in until a journey logs it out.
"""

from loadkit.journey import User
from steps.journeys.auth import log_in

__all__ = ["arrive"]


async def arrive(user: User) -> None:
    """Log in. Each user does this once before its first operation, and it is not measured."""
    await log_in(user)
