"""The implicit criterion of each run that observes restarts: the plan accounts for all of them."""

from collections.abc import Iterable

from loadkit.criterion import Unit
from loadkit.recording.run import BIRTHS, Event, Run
from loadkit.units import format_seconds
from loadkit.verdict import Status, Verdict

__all__ = ["BIRTHS", "SENTENCE", "unasked_restarts"]

SENTENCE = "no instance restarts"
_APART = 2.0
"""Seconds by which the clock of the service may be behind."""
_NEAR = 60.0
"""Seconds after the end of an action within which the instances that it restarts have started."""


def unasked_restarts(run: Run) -> Verdict | None:
    """A fail if instances restarted without an action of the plan; None if not, or not observed.

    An action that was carried out accounts for as many restarts as the environment file states,
    from its start until a minute after its end. A restart before the run does not count, even if it
    was only scraped during the run.
    """
    observation = run.observations.get(BIRTHS)
    if observation is None:
        return None
    restarts = sorted(
        (float(moment) - run.started, float(born) - run.started, series.instance)
        for series in (each.known for each in observation.series)
        for moment, born, before in zip(series.times[1:], series.values[1:], series.values[:-1], strict=True)
        if born != before
        if run.started <= born
        if run.started <= moment <= run.started + run.ended_at
    )
    unasked = _unasked(restarts, run.events, observation.scrape_interval)
    if not unasked:
        return None
    restarted = ", ".join(f"{instance} after {format_seconds(at)}" for at, _, instance in unasked)
    return Verdict(
        SENTENCE,
        Status.FAIL,
        f"Restarted unasked: {restarted}.",
        measured=float(len(unasked)),
        limit=0.0,
        unit=Unit.NUMBER,
        samples=sum(len(series.times) for series in observation.series),
        run=run.id,
    )


def _unasked(
    restarts: Iterable[tuple[float, float, str]], events: Iterable[Event], interval: float
) -> list[tuple[float, float, str]]:
    """The restarts for which no action accounts.

    An instance that had started before an action was not restarted by it. If several instances were
    first scraped at the same moment, the one that started first uses the first action.

    Args:
        restarts: the moment of the first scrape after each restart, the moment of the start, and
            the instance; by time.
        events: the actions.
        interval: seconds between scrapes; a scrape can show a restart this much later.

    """
    # Each restart uses the action whose time ends first. Actions that end later remain for others.
    asked = sorted(
        (event.at + event.seconds + _NEAR + interval, event.at)
        for event in events
        if not event.failed
        for _ in range(event.restarts)
    )
    unasked = []
    for at, born, instance in restarts:
        found = next((each for each in asked if each[1] <= born + _APART and at <= each[0]), None)
        if found is None:
            unasked.append((at, born, instance))
        else:
            asked.remove(found)
    return unasked
