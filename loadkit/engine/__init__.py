"""Puts a plan on a service: workers, their channel, actions, progress and the uptime probe."""
