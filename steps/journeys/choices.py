"""The metrics for skewed choices (Zipf's law: few are requested often), and new names and ids."""

import os
from random import Random

__all__ = ["METRICS", "fresh_ids", "fresh_key"]


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
    """A text that is unique across users and runs, although a fixed seed determines `random`."""
    return f"{run_id}-{number}-{random.getrandbits(48):x}"


def fresh_ids(number: int) -> list[str]:
    """New ids for at most 65,536 records, in the form of UUIDs: 112 random bits, then 0, 1, 2 …

    They are unique across users and runs. Twenty ids take 8 us. If all bits of each id were random,
    they would take 14 us.
    """
    digits = os.urandom(14).hex()
    start = f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
    return [f"{start}{place:04x}" for place in range(number)]
