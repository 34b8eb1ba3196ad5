"""Tenants, users and usage, for admins within their own tenant."""

from typing import Any

import orjson

from environments.local.service.endpoint import ApiError, Call, Reply
from environments.local.service.tokens import hash_password

_ROLES = ("member", "admin")


async def list_tenants(call: Call) -> dict[str, Any]:
    """The caller's tenant and the tenants it created, newest first."""
    keys = call.context.tenant_keys
    own = call.caller.tenant
    rows = await call.context.pool.rows("SELECT * FROM api.list_tenants($1)", own)
    # A tenant created here belongs to the caller's tenant, so it carries that tenant's key.
    tenants = [
        {
            "id": row["id"],
            "tenant_key": keys[row["id"] if row["id"] == own else row["parent_id"]],
            "name": row["name"],
            "created_at": row["created_at"],
        }
        for row in rows
    ]
    return {"tenants": tenants}


async def create_tenant(call: Call) -> Reply:
    """Create a tenant below the caller's."""
    name = call.text("name", 100)
    created = await call.context.pool.value(
        "SELECT api.create_tenant($1, $2, $3)", call.caller.tenant, call.run_id, name
    )
    return Reply({"id": created, "name": name}, 201)


async def list_users(call: Call) -> dict[str, Any]:
    """A page of the tenant's users; `next` is the next page's `after`."""
    try:
        after = int(call.query.get("after", "0"))
    except ValueError:
        raise ApiError(422, "after: expected the id of a user") from None
    if not 0 <= after < 2**31:
        raise ApiError(422, "after: expected the id of a user")
    rows = await call.context.pool.rows("SELECT * FROM api.list_users($1, $2)", call.caller.tenant, after)
    keys = call.context.tenant_keys
    users = [
        {
            "id": row["id"],
            "tenant_key": keys[row["tenant_id"]],
            "username": row["username"],
            "role": row["role"],
            "created_at": row["created_at"],
        }
        for row in rows
    ]
    return {"users": users, "next": rows[-1]["id"] if len(rows) == 50 else None}


async def create_user(call: Call) -> Reply:
    """Create an account in the caller's tenant."""
    username, password = call.text("username", 100), call.text("password")
    role = call.body.get("role", "member")
    if role not in _ROLES:
        raise ApiError(422, f"role: expected one of {', '.join(_ROLES)}")
    created = await call.context.pool.value(
        "SELECT api.create_user($1, $2, $3, $4, $5)",
        call.caller.tenant,
        call.run_id,
        username,
        hash_password(password),
        role,
    )
    return Reply({"id": created, "username": username, "role": role}, 201)


async def usage(call: Call) -> dict[str, Any]:
    """Events by day, users and dashboards of the tenant."""
    tenant = call.caller.tenant
    found = await call.context.pool.value("SELECT api.usage($1)", tenant)
    return {"tenant_key": call.context.tenant_keys[tenant], "usage": orjson.Fragment(found)}
