"""The live status of a load: two updating lines in a terminal, else a log line every ten seconds.

It is written to the real standard error, which behave does not capture during a step. So it never
mixes with results.
"""

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from loadkit.engine.progress import Progress
from loadkit.recording.sample import OK
from loadkit.units import format_number, format_ratio, format_seconds

if TYPE_CHECKING:
    from rich.live import Live

__all__ = ["line", "watcher"]

_EVERY = 10.0
"""Seconds between two lines if the output is not a terminal."""


@contextmanager
def watcher(title: str) -> Iterator[Callable[[Progress], None]]:
    """Yield a function that shows a run's progress. Call it about once a second.

    In a terminal, the status is removed at the end.

    Args:
        title: the title of the run, such as "Run A: 1000 users".

    """
    if sys.__stderr__ is not None and sys.__stderr__.isatty():
        with ExitStack() as stack:
            yield _renewing(title, stack)
        return
    next_at = -math.inf

    def print_line(now: Progress) -> None:
        nonlocal next_at
        if now.elapsed >= next_at:
            next_at = now.elapsed + _EVERY
            print(line(title, now), file=sys.__stderr__, flush=True)

    yield print_line


def _renewing(title: str, stack: ExitStack) -> Callable[[Progress], None]:
    """Return a function that updates the status lines in a terminal, until `stack` is closed."""
    shown: list[Live] = []

    def tell(now: Progress) -> None:
        from rich.console import Console  # an earlier import would delay the load
        from rich.live import Live
        from rich.text import Text

        if not shown:
            console = Console(file=sys.__stderr__)
            shown.append(stack.enter_context(Live(console=console, transient=True, auto_refresh=False)))
        text = Text("\n".join(_status_lines(title, now)), no_wrap=True, overflow="ellipsis")
        shown[0].update(text, refresh=True)

    return tell


def line(title: str, now: Progress) -> str:
    """The status in one line.

    Example: "Run A: 1000 users  2:13/7:00 hold  1000 held  1240/s  p50 2.1 ms  p95 4.31 ms  p99 9
    ms failed 0 %  generator ok".
    """
    return "  ".join(_status_lines(title, now))


def _status_lines(title: str, now: Progress) -> list[str]:
    """The run's position and its results, one line each; both fit into 80 columns."""
    if now.elapsed < 0:
        return [f"{title}  starts in {-now.elapsed:.0f} s"]
    times = (("p50", now.p50), ("p95", now.p95), ("p99", now.p99))
    position = [
        title,
        f"{_clock(now.elapsed)}/{_clock(now.seconds)} {now.phase}",
        *([f"{now.users} held"] if now.users else []),
        *([f"{now.connections} open"] if now.connections else []),
        *([f"{format_number(now.messages)} messages/s"] if now.messages else []),
        *([f"{format_number(now.rate)}/s"] if now.rate or not now.messages else []),
    ]
    results = [
        *(f"{name} {'-' if math.isnan(value) else format_seconds(value)}" for name, value in times),
        f"failed {format_ratio(now.errors)}",
        "generator ok" if now.health == OK else now.health,
    ]
    return ["  ".join(position), "  ".join(results)]


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
