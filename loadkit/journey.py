"""What authors of journeys import: `User` and `journey`.

A journey is a coroutine function that gets a user; `loadkit.users.journey` says more.
"""

from loadkit.drivers.base import NoResponse
from loadkit.users.journey import Arrive, Journey, fetch, journey
from loadkit.users.user import User

__all__ = ["Arrive", "Journey", "NoResponse", "User", "fetch", "journey"]
