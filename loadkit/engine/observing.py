"""Collects observations of the service after the load; a failure does not affect the run."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from loadkit.errors import one_line
from loadkit.observers.base import Observer
from loadkit.observers.database import DatabaseFacts
from loadkit.observers.lifespans import lifespans
from loadkit.observers.observation import LIFE_SIGN, Observation
from loadkit.recording.run import BIRTHS, Run

if TYPE_CHECKING:
    from loadkit.observers.postgres import PostgresObserver
    from loadkit.observers.stored_writes import Written

__all__ = ["observe", "observe_database"]


def observe(run: Run, observer: Observer) -> None:
    """Add an observer's observations during the run to those of the run.

    An error of the observer becomes a warning of the run and the problem of all its observations.
    Criteria on them are then inconclusive and state the reason.

    No criterion requests the restarts of instances. So a warning of the run states that restarts
    may have been missed.
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
    observations = {name: _of_run(observation, start) for name, observation in observations.items()}
    restarts = observations.get(BIRTHS)
    unseen = "" if restarts is None else restarts.problem or "; ".join(restarts.warnings)
    if unseen:
        run.warnings = (*run.warnings, f"restarts of instances may have been missed: {unseen}")
    if run.events:
        acted = start + run.events[0].at
        observations = {
            name: replace(observation, lifespans=lifespans(observation, acted, start, end))
            for name, observation in observations.items()
        }
    run.observations = {**observations, **run.observations}


def _of_run(observation: Observation, start: float) -> Observation:
    """An observation without the series that ended before the run.

    Samples are asked for from two scrapes before the run, so an instance that had ended then still
    has some. One that was scraped in the last interval before the run may have ended in it, unless
    another one has started since. If all series ended, the source may have, so they stay. Alerts
    that fired before stay.
    """
    times = [each.known.times for each in observation.series]
    latest_start = max((each[0] for each in times if len(each)), default=start)

    def is_of_run(own: npt.NDArray[np.float64]) -> bool:
        since = start - observation.scrape_interval
        return not len(own) or own[-1] >= start or own[-1] >= max(since, latest_start)

    series = tuple(each for each, own in zip(observation.series, times, strict=True) if is_of_run(own))
    is_of_alerts = any(each.instance == LIFE_SIGN for each in observation.series)
    if is_of_alerts or not series or len(series) == len(observation.series):
        return observation
    return replace(observation, series=series)


def observe_database(run: Run, observer: "PostgresObserver", writes: "Written") -> None:
    """Add the results of a database observer: statistics, query plans, and the stored writes.

    Args:
        run: a run during which the observer was open.
        observer: the observer of the service's database.
        writes: the records that the users of the run wrote.

    """
    try:
        run.database = observer.facts(run.id, run.started, run.ended_at, writes)
    except Exception as error:
        run.database = DatabaseFacts(problem=f"the database observer failed: {one_line(error)}")
    problems = [run.database.problem, *run.database.problems.values()]
    run.warnings = (*run.warnings, *dict.fromkeys(filter(None, problems)))
