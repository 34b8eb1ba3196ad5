"""Overview, widgets and analytics."""

from environments.local.service.endpoint import ApiError, Call, Reply

# The maximum age of an overview in seconds. If a tenant sends twelve requests per second, all
# requests in this time cost one query.
_OVERVIEW_AGE = 30.0
_DIMENSIONS = ("name", "category", "day", "user", "platform")
_MOST = 2**31 - 1


async def overview(call: Call) -> Reply:
    """The tenant's overview, from the cache if possible."""
    tenant = call.caller.tenant
    key = f"overview:{tenant}"
    page = await call.context.cache.get(key)
    if page is None:
        pool = call.context.pool
        found = await pool.value("SELECT api.overview($1)", pool.tenant_of_sums(tenant))
        page = call.context.tenant_keys.fill(found, tenant)
        await call.context.cache.put(key, page, _OVERVIEW_AGE)
    return Reply(page)


async def widget(call: Call) -> Reply:
    """One widget with its data series."""
    tenant, wanted = call.caller.tenant, call.path["id"]
    found = (
        await call.context.pool.value("SELECT api.widget($1, $2)", tenant, wanted)
        if wanted <= _MOST
        else None
    )
    if found is None:
        raise ApiError(404, f"there is no widget {wanted}")
    return Reply(call.context.tenant_keys.fill(found, tenant))


async def analytics(call: Call) -> Reply:
    """Sums and means of the events, grouped by a dimension."""
    dimension = call.query.get("group_by", "name")
    if dimension not in _DIMENSIONS:
        raise ApiError(422, f"group_by: expected one of {', '.join(_DIMENSIONS)}")
    tenant, pool = call.caller.tenant, call.context.pool
    found = await pool.value("SELECT api.analytics($1, $2)", pool.tenant_of_sums(tenant), dimension)
    return Reply(call.context.tenant_keys.fill(found, tenant))
