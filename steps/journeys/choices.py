"""Skewed choices: few items are requested often, most rarely (Zipf's law)."""

from random import Random

__all__ = ["METRICS", "fresh_key"]


METRICS = (
    "page.view",
    "page.load_time",
    "api.latency",
    "click",
    "api.requests",
    "session.duration",
    "render.time",
    "search.query",
    "cpu.load",
    "memory.used",
    "error.client",
    "checkout.value",
    "signup",
    "crash",
)
"""Names of metrics, most popular first."""


def fresh_key(run_id: str, number: int, random: Random) -> str:
    """A text that is unique over users and runs, although a fixed seed determines `random`."""
    return f"{run_id}-{number}-{random.getrandbits(48):x}"
