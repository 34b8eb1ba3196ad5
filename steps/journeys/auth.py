"""Log-in, token renewal and log-out."""

from collections.abc import Mapping
from typing import Any

from loadkit.drivers.http.response import Response
from loadkit.journey import User, journey

__all__ = ["come_and_go", "log_in"]


_RENEWAL_RATIO = 0.8
"""Ratio of a token's lifetime after which it is renewed."""


async def log_in(user: User) -> str:
    """Log in with the user's account, use its tokens, and return the refresh token."""
    account = user.account
    answer = await user.post(
        "/api/v1/auth/login", json={"username": account.username, "password": account.password.reveal()}
    )
    answer.raise_for_status()
    return _use_tokens(user, answer.json())


def _use_tokens(user: User, tokens: Mapping[str, Any]) -> str:
    """Use the tokens, and renew them before they expire. Return the refresh token."""
    refresh_token = str(tokens["refresh_token"])

    async def renew() -> None:
        _use_tokens(user, (await _refresh(user, refresh_token)).json())

    user.headers["Authorization"] = f"Bearer {tokens['access_token']}"
    if "tenant_key" in tokens:
        user.state["tenant_key"] = tokens["tenant_key"]
    user.renew_after(tokens["expires_in"] * _RENEWAL_RATIO, renew)
    return refresh_token


async def _refresh(user: User, refresh_token: str) -> Response:
    answer = await user.post("/api/v1/auth/refresh", json={"refresh_token": refresh_token})
    return answer.raise_for_status()


@journey("come and go")
async def come_and_go(user: User) -> None:
    """Log in, read the account, renew the tokens, and log out."""
    refresh_token = await log_in(user)
    await user.think()
    me = (await user.get("/api/v1/auth/me")).raise_for_status()
    user.check(me.json()["username"] == user.account.username, "the user is the account that logged in")
    await user.think()
    _use_tokens(user, (await _refresh(user, refresh_token)).json())
    await user.think()
    await user.post("/api/v1/auth/logout")
