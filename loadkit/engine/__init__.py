"""Executes plans: workers, their channel, actions, progress and the uptime probe."""
