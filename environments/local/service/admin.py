"""Tenants, users and usage, for admins within their own tenant."""

from environments.local.service.endpoint import ApiError, Call, Reply, json_reply
from environments.local.service.tokens import hash_password

_ROLES = ("member", "admin")


async def list_tenants(call: Call) -> Reply:
    """The caller's tenant and the tenants it created, newest first."""
    own = call.caller.tenant
    page = await call.context.pool.value("SELECT api.list_tenants($1)", own)
    return Reply(call.context.tenant_keys.fill(page, own))


async def create_tenant(call: Call) -> Reply:
    """Create a tenant below the caller's tenant."""
    name = call.text("name", 100)
    created = await call.context.pool.value(
        "SELECT api.create_tenant($1, $2, $3)", call.caller.tenant, call.run_id, name
    )
    return json_reply({"id": created, "name": name}, 201)


async def list_users(call: Call) -> Reply:
    """A page of the tenant's users; `next` is the next page's `after`."""
    try:
        after = int(call.query.get("after", "0"))
    except ValueError:
        raise ApiError(422, "after: expected the id of a user") from None
    if not 0 <= after < 2**31:
        raise ApiError(422, "after: expected the id of a user")
    own = call.caller.tenant
    page = await call.context.pool.value("SELECT api.list_users($1, $2)", own, after)
    return Reply(call.context.tenant_keys.fill(page, own))


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
    return json_reply({"id": created, "username": username, "role": role}, 201)


async def usage(call: Call) -> Reply:
    """The tenant's events by day, its users and its dashboards."""
    tenant, pool = call.caller.tenant, call.context.pool
    found = await pool.value("SELECT api.usage($1)", pool.tenant_of_sums(tenant))
    return Reply(call.context.tenant_keys.fill(found, tenant))
