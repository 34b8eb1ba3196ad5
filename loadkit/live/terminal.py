"""How a load is going, while it goes: two lines that renew themselves, or a line every ten seconds in a pipeline's log.

It goes to the real standard error, which behave leaves alone while a step runs, and so never mixes with results.
"""

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.text import Text

from loadkit.engine.progress import Progress
from loadkit.recording.sample import OK
from loadkit.units import format_number, format_ratio, format_seconds

__all__ = ["line", "watcher"]

_EVERY = 10.0
"""Seconds between two lines where nothing can be renewed."""


@contextmanager
def watcher(title: str) -> Iterator[Callable[[Progress], None]]:
    """Give what shows a run's progress, to be called about once a second; at the end it is taken away.

    Args:
        title: of the run, such as "Run A: 1000 users".

    """
    console = Console(file=sys.__stderr__)
    if console.is_terminal:
        with Live(console=console, transient=True, auto_refresh=False) as live:
            yield lambda now: live.update(
                Text("\n".join(_told(title, now)), no_wrap=True, overflow="ellipsis"), refresh=True
            )
        return
    following = -math.inf

    def tell(now: Progress) -> None:
        nonlocal following
        if now.elapsed >= following:
            following = now.elapsed + _EVERY
            print(line(title, now), file=sys.__stderr__, flush=True)

    yield tell


def line(title: str, now: Progress) -> str:
    """As it reads: "Run A: 1000 users  2:13/7:00 hold  1000 held  1240/s  p50 2.1 ms  p95 4.31 ms  p99 9 ms  failed 0 %  generator ok"."""
    return "  ".join(_told(title, now))


def _told(title: str, now: Progress) -> list[str]:
    """Where the run is, and how it goes: each fits into 80 columns."""
    if now.elapsed < 0:
        return [f"{title}  starts in {-now.elapsed:.0f} s"]
    times = (("p50", now.p50), ("p95", now.p95), ("p99", now.p99))
    where = [
        title,
        f"{_clock(now.elapsed)}/{_clock(now.seconds)} {now.phase}",
        *([f"{now.users} held"] if now.users else []),
        f"{format_number(now.rate)}/s",
    ]
    how = [
        *(f"{name} {'-' if math.isnan(value) else format_seconds(value)}" for name, value in times),
        f"failed {format_ratio(now.errors)}",
        "generator ok" if now.health == OK else now.health,
    ]
    return ["  ".join(where), "  ".join(how)]


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
