"""What watched the service is asked once the load is over; whatever it answers, the run stands."""

from dataclasses import replace

from loadkit.errors import one_line
from loadkit.observers.base import Observer
from loadkit.observers.lifespans import lifespans
from loadkit.observers.observation import Observation
from loadkit.recording.run import Run

__all__ = ["observe"]


def observe(run: Run, observer: Observer) -> None:
    """Add to a run what an observer saw of the service meanwhile.

    An error of the observer is a warning of the run, and the problem of all that was to be observed: criteria on it
    are inconclusive, and say why.
    """
    start, end = run.started, run.started + run.ended_at
    try:
        observations = observer.observe(start, end)
    except Exception as error:
        problem = f"the observer failed: {one_line(error)}"
        run.warnings = (*run.warnings, problem)
        run.observations = {name: Observation.missing(name, problem) for name in observer.names}
        return
    if run.events:
        acted = start + run.events[0].at
        observations = {
            name: replace(seen, lifespans=lifespans(seen, acted, start, end))
            for name, seen in observations.items()
        }
    run.observations = observations
