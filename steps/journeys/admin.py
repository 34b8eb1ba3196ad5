"""The journey that administers a tenant."""

from loadkit.journey import User, journey
from steps.journeys.choices import fresh_key

__all__ = ["administer"]


@journey("administer", role="admin")
async def administer(user: User) -> None:
    """Read the usage, the users and the tenants; sometimes create an account, rarely a tenant."""
    await user.get("/api/v1/admin/usage")
    await user.think()
    await _list(user, "users")
    await user.think()
    if user.random.random() < 0.3:
        name = fresh_key(user.run_id, user.number, user.random)
        created = await user.post("/api/v1/admin/users", json={"username": name, "password": f"{name}!"})
        user.check(
            created.raise_for_status().json()["username"] == name, "the account has the requested name"
        )
        await user.think()
    await _list(user, "tenants")
    if user.random.random() < 0.05:
        await user.think()
        await user.post(
            "/api/v1/admin/tenants", json={"name": fresh_key(user.run_id, user.number, user.random)}
        )


async def _list(user: User, what: str) -> None:
    """Read the users or the tenants; the list contains the administrator's own entry."""
    answer = await user.get(f"/api/v1/admin/{what}")
    if answer.is_success:
        user.check(bool(answer.json()[what]), f"the list of {what} is not empty")
