"""Journeys for tests of skewed choices and of sessions."""

from loadkit.journey import User, journey

THINGS = tuple("abcdefgh")


@journey("choose")
async def choose(user: User) -> None:
    """Ask for one of some things, popular ones more often."""
    await user.get(f"/{user.popular(THINGS, 'things')}")
    await user.think()


@journey("tell who")
async def tell(user: User) -> None:
    """Ask for the page of the user's own account."""
    await user.get(f"/{user.account.username}/{user.number}")
    await user.think()
