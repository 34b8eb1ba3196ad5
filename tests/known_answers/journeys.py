"""Journeys of the known answers: one that tells the service who asks, and three that are the generator's own faults."""

from loadkit.journey import User, journey


@journey("numbered")
async def numbered(user: User) -> None:
    """Each user has a path of its own, all under one label."""
    await user.get(f"/{user.number}", label="GET /{number}")
    await user.think()
