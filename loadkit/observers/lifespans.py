"""The lifespans of instances in a run whose actions removed or added instances."""

from loadkit.observers.observation import Observation

__all__ = ["lifespans"]


def lifespans(
    observation: Observation, acted: float, start: float, end: float
) -> dict[str, tuple[float, float]]:
    """The lifespan in Unix seconds of each instance that was not present from `start` to `end`.

    `acted` is the moment of the plan's first action. Only instances that disappeared or appeared
    after this moment are included, because their absence is not a gap in the scrapes.
    """
    lives: dict[str, tuple[float, float]] = {}
    near = 3 * observation.scrape_interval
    for series in (each.known for each in observation.series):
        if not len(series.times):
            continue
        first, last = float(series.times[0]), float(series.times[-1])
        born = first if first > max(acted, start + near) else start
        gone = last if acted < last < end - near else end
        if (born, gone) != (start, end):
            lives[series.instance] = (born, gone)
    return lives
