"""What authors of journeys import: `User` and `journey`.

A journey is a coroutine function that gets a user; `loadkit.users.journey` says more.
"""

from loadkit.users.journey import (
    Arrive,
    Journey,
    NoResponse,
    User,
    arrival_of,
    fetch,
    find,
    journey,
    resolve,
)

__all__ = ["Arrive", "Journey", "NoResponse", "User", "arrival_of", "fetch", "find", "journey", "resolve"]
