"""Collects observations of the service after the load; a failure does not affect the run."""

from dataclasses import replace

from loadkit.errors import one_line
from loadkit.observers.base import Observer
from loadkit.observers.lifespans import lifespans
from loadkit.observers.observation import Observation
from loadkit.recording.run import Run

__all__ = ["observe"]


def observe(run: Run, observer: Observer) -> None:
    """Add an observer's observations during the run to those of the run.

    An error of the observer becomes a warning of the run and the problem of all its observations.
    Criteria on them are then inconclusive and state the reason.
    """
    start, end = run.started, run.started + run.ended_at
    try:
        observations = observer.observe(start, end)
    except Exception as error:
        problem = f"the observer failed: {one_line(error)}"
        run.warnings = (*run.warnings, problem)
        missing = {name: Observation.missing(name, problem) for name in observer.names}
        run.observations = {**missing, **run.observations}
        return
    if run.events:
        acted = start + run.events[0].at
        observations = {
            name: replace(observation, lifespans=lifespans(observation, acted, start, end))
            for name, observation in observations.items()
        }
    run.observations = {**observations, **run.observations}
