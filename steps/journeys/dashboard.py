"""Watching dashboards."""

from loadkit.journey import User, journey
from steps.journeys.choices import popular

__all__ = ["watch"]

_DIMENSIONS = ("name", "day", "category", "platform", "user")


@journey("watch a dashboard")
async def watch(user: User) -> None:
    """Open the overview and three widgets, popular ones more often; in 30 % of cases also an analysis."""
    overview = await user.get("/api/v1/dashboard/overview")
    if "widgets" not in user.state:
        # The widgets of a tenant do not change during a run; reading them once saves generator time.
        dashboards = overview.raise_for_status().json()["overview"]["dashboards"]
        user.state["widgets"] = [widget for dashboard in dashboards for widget in dashboard["widgets"]]
    await user.think()
    widgets = user.state["widgets"]
    for _ in range(3 if widgets else 0):
        await user.get(f"/api/v1/dashboard/widgets/{popular(user.random, widgets)}")
        await user.think()
    if user.random.random() < 0.3:
        await user.get("/api/v1/dashboard/analytics", params={"group_by": popular(user.random, _DIMENSIONS)})
        await user.think()
