"""Administering a tenant."""

from loadkit.journey import User, journey
from steps.journeys.choices import fresh_key

__all__ = ["administer"]


@journey("administer", role="admin")
async def administer(user: User) -> None:
    """Look at the usage, the users and the tenants; now and then make an account, seldom a tenant."""
    await user.get("/api/v1/admin/usage")
    await user.think()
    await user.get("/api/v1/admin/users")
    await user.think()
    if user.random.random() < 0.3:
        name = fresh_key(user.run_id, user.number, user.random)
        made = await user.post("/api/v1/admin/users", json={"username": name, "password": f"{name}!"})
        user.check(made.raise_for_status().json()["username"] == name, "the account has the name asked for")
        await user.think()
    await user.get("/api/v1/admin/tenants")
    if user.random.random() < 0.05:
        await user.think()
        await user.post(
            "/api/v1/admin/tenants", json={"name": fresh_key(user.run_id, user.number, user.random)}
        )
