"""What each user does in the benchmark: ask, read the JSON, check it."""

from loadkit.journey import User, journey


@journey("read")
async def read(user: User) -> None:
    """One request."""
    answer = await user.get("/")
    user.check(answer.json()["id"] == 17, "is seventeen")
