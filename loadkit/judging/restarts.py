"""The implicit criterion of every run that watches it: no instance restarts unasked."""

import numpy as np

from loadkit.criterion import Unit
from loadkit.recording.run import Run
from loadkit.units import format_seconds
from loadkit.verdict import Status, Verdict

__all__ = ["BIRTHS", "SENTENCE", "unasked_restarts"]

SENTENCE = "no instance restarts"
BIRTHS = "restarts"
"""The measure of the environment file that tells when each instance's process began, in Unix
seconds."""


def unasked_restarts(run: Run) -> Verdict | None:
    """A fail where instances restarted that the plan did nothing to; None where none did, or nobody watched.

    As many restarts as there were actions are the plan's own once the first of these began.
    """
    observation = run.observations.get(BIRTHS)
    if observation is None:
        return None
    restarts = sorted(
        (float(moment) - run.started, series.instance)
        for series in observation.series
        for moment in series.times[1:][np.diff(series.values) != 0]
        if run.started <= moment <= run.started + run.ended_at
    )
    asked = sorted(event.at for event in run.events if not event.failed)
    unasked = []
    for at, instance in restarts:
        if asked and asked[0] <= at:
            asked.pop(0)
        else:
            unasked.append((at, instance))
    if not unasked:
        return None
    told = ", ".join(f"{instance} after {format_seconds(at)}" for at, instance in unasked)
    return Verdict(
        SENTENCE,
        Status.FAIL,
        f"Restarted unasked: {told}.",
        measured=float(len(unasked)),
        limit=0.0,
        unit=Unit.NUMBER,
        samples=sum(len(series.times) for series in observation.series),
        run=run.id,
    )
