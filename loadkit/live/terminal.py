"""How a load is going, while it goes: two lines that renew themselves, or a line every ten seconds in a pipeline's log.

It goes to the real standard error, which behave leaves alone while a step runs, and so never mixes with results.
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
"""Seconds between two lines where nothing can be renewed."""


@contextmanager
def watcher(title: str) -> Iterator[Callable[[Progress], None]]:
    """Give what shows a run's progress, to be called about once a second; at the end it is taken away.

    Args:
        title: of the run, such as "Run A: 1000 users".

    """
    if sys.__stderr__ is not None and sys.__stderr__.isatty():
        with ExitStack() as stack:
            yield _renewing(title, stack)
        return
    following = -math.inf

    def tell(now: Progress) -> None:
        nonlocal following
        if now.elapsed >= following:
            following = now.elapsed + _EVERY
            print(line(title, now), file=sys.__stderr__, flush=True)

    yield tell


def _renewing(title: str, stack: ExitStack) -> Callable[[Progress], None]:
    """Show it in lines that renew themselves, until the stack is closed."""
    shown: list[Live] = []

    def tell(now: Progress) -> None:
        from rich.console import Console  # imported while the load is on, so that it does not begin later
        from rich.live import Live
        from rich.text import Text

        if not shown:
            console = Console(file=sys.__stderr__)
            shown.append(stack.enter_context(Live(console=console, transient=True, auto_refresh=False)))
        text = Text("\n".join(_told(title, now)), no_wrap=True, overflow="ellipsis")
        shown[0].update(text, refresh=True)

    return tell


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
