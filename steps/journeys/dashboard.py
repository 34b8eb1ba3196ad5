"""The journey that reads dashboards."""

from loadkit.journey import User, journey

__all__ = ["watch"]

_DIMENSIONS = ("name", "day", "category", "platform", "user")
_OF_SESSIONS = ("platform", "user")
"""The dimensions that group sessions. The others group the events of thirty days."""


@journey("watch a dashboard")
async def watch(user: User) -> None:
    """Open the overview, read some widgets (popular ones more often), and sometimes an analysis."""
    answer = await user.get("/api/v1/dashboard/overview")
    if not user.state.get("widgets"):
        # A tenant's dashboards do not change during a run. Reading them once saves time of the load
        # generator.
        overview = answer.raise_for_status().json()["overview"]
        user.state["widgets"] = [
            widget for dashboard in overview["dashboards"] for widget in dashboard["widgets"]
        ]
        # Without this check, an answer without the tenant's data would be a fast success.
        user.check(bool(user.state["widgets"]), "the overview has dashboards")
        user.state["has_events"] = bool(overview["events"])
        user.state["has_sessions"] = bool(overview["latest_sessions"])
    await user.think()
    widgets = user.state["widgets"]
    for _ in range(3 if widgets else 0):
        widget = user.popular(widgets, "widgets")
        await user.get(f"/api/v1/dashboard/widgets/{widget}")
        await user.think()
    if user.random.random() < 0.3:
        dimension = user.popular(_DIMENSIONS, "dimensions")
        answer = await user.get("/api/v1/dashboard/analytics", params={"group_by": dimension})
        if answer.is_success:
            has_data = user.state["has_sessions" if dimension in _OF_SESSIONS else "has_events"]
            user.check(bool(answer.json()["groups"]) or not has_data, "the analysis has groups")
        await user.think()
