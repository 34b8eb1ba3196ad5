"""A journey whose users misread the answer to their login."""

from loadkit.journey import User, journey


async def arrive(user: User) -> None:
    answer = await user.post("/login")
    user.headers["Authorization"] = f"Bearer {answer.json()['token']}"


@journey("idle")
async def idle(user: User) -> None:
    await user.get("/")
