"""Logging in, staying logged in, logging out."""

from loadkit.journey import User, journey

__all__ = ["come_and_go", "log_in"]


async def log_in(user: User) -> str:
    """Log in with the user's account, be that account from now on, and return the refresh token."""
    account = user.account
    answer = await user.post(
        "/api/v1/auth/login", json={"username": account.username, "password": account.password.reveal()}
    )
    answer.raise_for_status()
    tokens = answer.json()
    user.headers["Authorization"] = f"Bearer {tokens['access_token']}"
    return str(tokens["refresh_token"])


@journey("come and go")
async def come_and_go(user: User) -> None:
    """Log in, look who one is, stay a little longer, log out."""
    refresh_token = await log_in(user)
    await user.think()
    me = (await user.get("/api/v1/auth/me")).raise_for_status()
    user.check(me.json()["username"] == user.account.username, "one is who one logged in as")
    await user.think()
    answer = await user.post("/api/v1/auth/refresh", json={"refresh_token": refresh_token})
    user.headers["Authorization"] = f"Bearer {answer.raise_for_status().json()['access_token']}"
    await user.think()
    await user.post("/api/v1/auth/logout")
