"""Logging in, staying logged in, logging out."""

from collections.abc import Mapping
from typing import Any

from loadkit.drivers.http.response import Response
from loadkit.journey import User, journey

__all__ = ["come_and_go", "log_in"]


_LIFE_USED = 0.8
"""Ratio of a token's life after which it is renewed."""


async def log_in(user: User) -> str:
    """Log in with the user's account, be that account from now on, and return the refresh token."""
    account = user.account
    answer = await user.post(
        "/api/v1/auth/login", json={"username": account.username, "password": account.password.reveal()}
    )
    answer.raise_for_status()
    return _be(user, answer.json())


def _be(user: User, tokens: Mapping[str, Any]) -> str:
    """Be who the tokens are for until they are renewed, before they expire. Return the refresh token."""
    refresh_token = str(tokens["refresh_token"])

    async def renew() -> None:
        _be(user, (await _refresh(user, refresh_token)).json())

    user.headers["Authorization"] = f"Bearer {tokens['access_token']}"
    user.renew_after(tokens["expires_in"] * _LIFE_USED, renew)
    return refresh_token


async def _refresh(user: User, refresh_token: str) -> Response:
    answer = await user.post("/api/v1/auth/refresh", json={"refresh_token": refresh_token})
    return answer.raise_for_status()


@journey("come and go")
async def come_and_go(user: User) -> None:
    """Log in, look who one is, stay a little longer, log out."""
    refresh_token = await log_in(user)
    await user.think()
    me = (await user.get("/api/v1/auth/me")).raise_for_status()
    user.check(me.json()["username"] == user.account.username, "one is who one logged in as")
    await user.think()
    _be(user, (await _refresh(user, refresh_token)).json())
    await user.think()
    await user.post("/api/v1/auth/logout")
