"""The interface for authors of journeys: `User` and `journey`.

A journey is a coroutine function that takes a user; `loadkit.users.journey` documents it.
"""

from loadkit.drivers.base import NoResponse
from loadkit.users.journey import Arrive, Journey, fetch, journey
from loadkit.users.user import User

__all__ = ["Arrive", "Journey", "NoResponse", "User", "fetch", "journey"]
