"""Login, renewal of tokens, logout."""

from collections.abc import Mapping
from typing import Any

from loadkit.drivers.http.response import Response
from loadkit.journey import User, journey

__all__ = ["come_and_go", "log_in"]


_RENEWAL_RATIO = 0.8
"""Ratio of the lifetime of a token after which it is renewed."""


async def log_in(user: User) -> str:
    """Log in with the account of the user, use its tokens from now on, and return the refresh token."""
    account = user.account
    response = await user.post(
        "/api/v1/auth/login", json={"username": account.username, "password": account.password.reveal()}
    )
    response.raise_for_status()
    return _use_tokens(user, response.json())


def _use_tokens(user: User, tokens: Mapping[str, Any]) -> str:
    """Send the access token from now on, and renew it before it expires. Return the refresh token."""
    refresh_token = str(tokens["refresh_token"])

    async def renew() -> None:
        _use_tokens(user, (await _refresh(user, refresh_token)).json())

    user.headers["Authorization"] = f"Bearer {tokens['access_token']}"
    user.renew_after(tokens["expires_in"] * _RENEWAL_RATIO, renew)
    return refresh_token


async def _refresh(user: User, refresh_token: str) -> Response:
    response = await user.post("/api/v1/auth/refresh", json={"refresh_token": refresh_token})
    return response.raise_for_status()


@journey("come and go")
async def come_and_go(user: User) -> None:
    """Log in, read the own profile, refresh the token, log out."""
    refresh_token = await log_in(user)
    await user.think()
    profile = (await user.get("/api/v1/auth/me")).raise_for_status()
    user.check(profile.json()["username"] == user.account.username, "the profile is that of the account")
    await user.think()
    _use_tokens(user, (await _refresh(user, refresh_token)).json())
    await user.think()
    await user.post("/api/v1/auth/logout")
