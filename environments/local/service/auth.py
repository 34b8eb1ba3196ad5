"""Log-in, token renewal and log-out."""

import uuid
from typing import Any

from environments.local.service.endpoint import ApiError, Call
from environments.local.service.tokens import ACCESS_SECONDS, REFRESH_SECONDS, password_matches

ENDED = "ended-logins"


async def login(call: Call) -> dict[str, Any]:
    """A pair of tokens for a user name and a password."""
    username, password = call.text("username"), call.text("password")
    account = await call.context.pool.row("SELECT * FROM api.credentials($1)", username)
    if account is None or not password_matches(password, account["password_hash"]):
        raise ApiError(401, "the user name or the password is wrong")
    return _token_pair(call, account["id"], account["tenant_id"], account["role"], uuid.uuid4().hex)


async def refresh(call: Call) -> dict[str, Any]:
    """A new pair of tokens for a refresh token."""
    identity = call.context.tokens.read("refresh", call.text("refresh_token", 500))
    if identity is None:
        raise ApiError(401, "the refresh token is invalid or expired")
    return _token_pair(call, identity.account, identity.tenant, identity.role, identity.login)


def _token_pair(call: Call, account: int, tenant: int, role: str, log_in: str) -> dict[str, Any]:
    issue = call.context.tokens.issue
    return {
        "access_token": issue("access", account, tenant, role=role, login=log_in, seconds=ACCESS_SECONDS),
        "refresh_token": issue("refresh", account, tenant, role=role, login=log_in, seconds=REFRESH_SECONDS),
        "token_type": "bearer",
        "expires_in": ACCESS_SECONDS,
        "user_id": account,
        "role": role,
        "tenant_key": call.context.tenant_keys[tenant],
    }


async def logout(call: Call) -> dict[str, Any]:
    """End the token's log-in: immediately here, and in other instances through the cache's channel.

    An instance that starts later does not know of the log-out. It accepts the tokens until they
    expire: the access token after an hour, the refresh token after a day.
    """
    log_in = call.caller.login
    call.context.tokens.end(log_in)
    await call.context.cache.publish(ENDED, log_in)
    return {"logged_out": True}


async def me(call: Call) -> dict[str, Any]:
    """The account of the token."""
    caller = call.caller
    account = await call.context.pool.row("SELECT * FROM api.me($1, $2)", caller.tenant, caller.account)
    if account is None:
        raise ApiError(404, "the account does not exist any more")
    return {
        "id": account["id"],
        "username": account["username"],
        "role": account["role"],
        "tenant": account["tenant_name"],
        "tenant_key": call.context.tenant_keys[account["tenant_id"]],
    }
