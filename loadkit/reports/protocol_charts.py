"""Charts of connections, messages and the database, and of events that must not occur."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from loadkit.criterion import Criterion, Unit
from loadkit.judging.connections import disconnects as ended_connections
from loadkit.judging.evidence import Evidence
from loadkit.observers.database import CACHE_HITS, LOCK_WAITS, REJECTED, WRITES
from loadkit.observers.database import CONNECTIONS as CONNECTIONS_OPEN
from loadkit.observers.database import MEASURES as DATABASE_MEASURES
from loadkit.recording.messages import (
    CONNECTIONS,
    DISCONNECTED,
    DOUBLED,
    FILLED,
    LEAST_CONNECTIONS,
    MESSAGES_RECEIVED,
    MISSING,
    OUT_OF_ORDER,
    TAIL_LOST,
)
from loadkit.recording.timing import MESSAGE
from loadkit.reports.curves import criterion_lines, observed
from loadkit.reports.drawing import (
    STROKES,
    draw_lines,
    figure_of,
    head,
    label_values,
    legend,
    over_time,
    say,
    upward,
)
from loadkit.verdict import Window

__all__ = ["connections", "database", "disconnects", "exact", "messages"]

Floats = npt.NDArray[np.float64]


def exact(evidence: Evidence, window: Window | None, criterion: Criterion) -> bytes:
    """The count per second of events that must not occur.

    A wrong record is counted in the second in which it was written. Only the comparison after the
    load finds it.
    """
    name, whole = criterion.measure.name, evidence.whole
    seconds = np.arange(0.5, whole.seconds)
    lines = [
        (kind, seconds, _padded(counts, whole.seconds))
        for kind, counts in _wrong_writes(evidence, name).items()
    ]
    if not lines:
        counts = evidence.per_second(lambda worker_second: worker_second.count(name), whole)
        lines = [(name, seconds, counts)]
    return criterion_lines(evidence.run, window, lines, Unit.NUMBER, criterion)


def _padded(counts: Sequence[int], seconds: int) -> Floats:
    """Counts by second, as many as there are seconds; later ones are added to the last."""
    places = np.minimum(np.arange(len(counts)), seconds - 1)
    return np.bincount(places, np.asarray(counts), seconds).astype(np.float64)


def _wrong_writes(evidence: Evidence, name: str) -> dict[str, tuple[int, ...]]:
    """The wrong records that a measure counts, by kind and second; {} without any."""
    facts = evidence.run.database
    if facts is None or facts.writes is None or name not in {WRITES, REJECTED}:
        return {}
    return {
        kind: wrong.per_second
        for kind, wrong in facts.writes.wrong.items()
        if wrong.per_second and (name == WRITES or wrong is facts.writes.phantoms)
    }


def connections(evidence: Evidence, window: Window | None, criterion: Criterion) -> bytes:
    """The connections open over time."""
    whole = evidence.whole
    held = evidence.total(LEAST_CONNECTIONS, whole)
    lines = [("connections open (least of each second)", np.arange(0.5, whole.seconds), held)]
    return criterion_lines(evidence.run, window, lines, Unit.NUMBER, criterion)


def database(evidence: Evidence, window: Window | None, criterion: Criterion | None = None) -> bytes:  # noqa: ARG001  all have it
    """Database connections, those that wait for a lock, and the cache hit ratio over time."""
    run = evidence.run
    names = (CONNECTIONS_OPEN, LOCK_WAITS, CACHE_HITS)
    figure = figure_of(0.55 * len(names))
    panels = figure.subplots(len(names), 1, sharex=True)
    for axes, name in zip(panels, names, strict=True):
        axes.set_title(f"{name}: {DATABASE_MEASURES[name]}", loc="left", fontsize=9)
        observation = run.observations.get(name)
        lines = [] if observation is None else list(observed(run, observation))
        if not lines:
            say(axes, "not observed" if observation is None else observation.problem or "no data was read")
            continue
        draw_lines(axes, lines)
        label_values(axes, Unit.RATIO if name == CACHE_HITS else Unit.NUMBER)
        upward(axes)
    return over_time(figure, panels, run, window)


def disconnects(evidence: Evidence, window: Window | None, criterion: Criterion | None = None) -> bytes:
    """Connections open, and those that ended per second, by reason."""
    whole = evidence.whole
    seconds = np.arange(0.5, whole.seconds)
    figure = figure_of(1.5)
    panels = figure.subplots(2, 1, sharex=True)
    draw_lines(panels[0], [("connections open", seconds, evidence.total(CONNECTIONS, whole))])
    lines = [
        (reason, seconds, _counted(evidence, DISCONNECTED + reason))
        for reason in list(ended_connections(evidence))[: len(STROKES)]
    ]
    if lines:
        draw_lines(panels[1], lines)
        legend(panels[1])
    else:
        say(panels[1], "no connection ended that the load generator did not close")
    for panel in panels:
        label_values(panel, Unit.NUMBER)
        upward(panel)
    head(figure, criterion.sentence if criterion else "Connections, and how they ended")
    return over_time(figure, panels, evidence.run, window)


def messages(evidence: Evidence, window: Window | None, criterion: Criterion | None = None) -> bytes:
    """Messages received per second, and below them the missing, duplicated and out-of-order ones.

    Messages that are missing at the end of a subscription are counted when its user leaves. This is
    mostly after the load, and the chart then shows them in the last second.
    """
    whole = evidence.whole
    seconds = np.arange(0.5, whole.seconds)
    figure = figure_of(1.5)
    panels = figure.subplots(2, 1, sharex=True)
    received = _counted(evidence, MESSAGES_RECEIVED)
    if not received.any():
        received = evidence.traffic(timing=MESSAGE.key).completed.astype(np.float64)
    draw_lines(panels[0], [("messages received per second", seconds, received)])
    named = (
        ("missing", MISSING),
        ("filled later", FILLED),
        ("doubled", DOUBLED),
        ("out of order", OUT_OF_ORDER),
    )
    at_end = _counted(evidence, TAIL_LOST)
    at_end[-1] += evidence.count(TAIL_LOST) - at_end.sum()
    lines = [(name, seconds, _counted(evidence, count)) for name, count in named]
    draw_lines(panels[1], [*lines, ("missing at the end", seconds, at_end)])
    for panel in panels:
        label_values(panel, Unit.NUMBER)
        legend(panel)
        upward(panel)
    head(figure, criterion.sentence if criterion else "Messages")
    return over_time(figure, panels, evidence.run, window)


def _counted(evidence: Evidence, name: str) -> Floats:
    return evidence.per_second(lambda worker_second: worker_second.count(name), evidence.whole)
