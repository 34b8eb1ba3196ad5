"""The journey that reads dashboards."""

from loadkit.journey import User, journey

__all__ = ["watch"]

_DIMENSIONS = ("name", "day", "category", "platform", "user")


@journey("watch a dashboard")
async def watch(user: User) -> None:
    """Open the overview, read some widgets, popular ones more often, and sometimes an analysis."""
    overview = await user.get("/api/v1/dashboard/overview")
    if "widgets" not in user.state:
        # A tenant's dashboards do not change during a run; reading them once saves the generator's
        # time.
        dashboards = overview.raise_for_status().json()["overview"]["dashboards"]
        user.state["widgets"] = [widget for dashboard in dashboards for widget in dashboard["widgets"]]
    await user.think()
    widgets = user.state["widgets"]
    for _ in range(3 if widgets else 0):
        widget = user.popular(widgets, "widgets")
        await user.get(f"/api/v1/dashboard/widgets/{widget}")
        await user.think()
    if user.random.random() < 0.3:
        dimension = user.popular(_DIMENSIONS, "dimensions")
        await user.get("/api/v1/dashboard/analytics", params={"group_by": dimension})
        await user.think()
