"""The implicit criterion of every run that observes restarts: no instance restarts unasked."""

from loadkit.criterion import Unit
from loadkit.recording.run import Run
from loadkit.units import format_seconds
from loadkit.verdict import Status, Verdict

__all__ = ["BIRTHS", "SENTENCE", "unasked_restarts"]

SENTENCE = "no instance restarts"
BIRTHS = "restarts"
"""The measure of the environment file with the start time of each instance's process, in Unix
seconds."""


def unasked_restarts(run: Run) -> Verdict | None:
    """A fail if instances restarted without an action of the plan; None if not, or not observed.

    Each action that was carried out accounts for one restart at or after its time.
    """
    observation = run.observations.get(BIRTHS)
    if observation is None:
        return None
    restarts = sorted(
        (float(moment) - run.started, series.instance)
        for series in (each.known for each in observation.series)
        for moment in series.times[1:][series.values[1:] != series.values[:-1]]
        if run.started <= moment <= run.started + run.ended_at
    )
    actions = sorted(event.at for event in run.events if not event.failed)
    unasked = []
    for at, instance in restarts:
        if actions and actions[0] <= at:
            actions.pop(0)
        else:
            unasked.append((at, instance))
    if not unasked:
        return None
    restarted = ", ".join(f"{instance} after {format_seconds(at)}" for at, instance in unasked)
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
