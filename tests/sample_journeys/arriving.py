"""Journeys whose users log in first."""

from loadkit.journey import User, journey


async def arrive(user: User) -> None:
    answer = await user.post("/login", json={"username": user.account.username})
    answer.raise_for_status()
    user.headers["Authorization"] = f"Bearer {user.account.username}"
    user.state["logged in"] = True


@journey("work")
async def work(user: User) -> None:
    user.check(user.state["logged in"], "nobody works before the login")
    await user.get(f"/tasks/{user.account.username}", label=f"work as {user.account.username}")
